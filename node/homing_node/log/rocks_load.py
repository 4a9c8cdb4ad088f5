"""Reading every slot at start, around whatever is damaged.

A damaged block may hold keys of several slots, and which ones cannot be known. So a slot counts as damaged when reading
on from its first key fails: the slots on both sides of a bad block, and all that would begin inside it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from homing_node.log import rocks_keys as keys
from homing_node.log.rocks_db import Cursor, Damaged, RocksDatabase
from homing_node.log.store import SlotImage


def load_slots(db: RocksDatabase, slots: int, disk_id: str) -> tuple[dict[int, SlotImage], dict[int, str]]:
    """Every slot, and the damage that is not yet written down: slot to reason.

    Args:
        db: the database.
        slots: damage is looked for in slots below this number.
        disk_id: of this disk.

    Raises:
        StoreFailed: the disk refused.
    """
    loading = _Loading(db, slots, disk_id.encode())
    loading.meta(keys.PROMISE, keys.PROMISE_END, loading.take_promise)
    loading.meta(keys.APPLIED, keys.APPLIED_END, loading.take_applied)
    loading.meta(keys.WHOLE, keys.WHOLE_END, loading.take_whole)
    loading.meta(keys.INCOMPLETE, keys.INCOMPLETE_END, loading.take_incomplete)
    for image in loading.images.values():
        image.trimmed = image.applied_lsn  # where no record is kept at all
    loading.logs()
    loading.meta(keys.DAMAGED, keys.DAMAGED_END, loading.take_damage)
    found = {slot: why for slot, why in loading.damage.items() if slot not in loading.known}
    return {slot: loading.images[slot] for slot in sorted(loading.images)}, found


class _Loading:
    def __init__(self, db: RocksDatabase, slots: int, disk_id: bytes) -> None:
        self.db = db
        self.disk_id = disk_id
        self.slots = slots
        self.images: dict[int, SlotImage] = {}
        self.damage: dict[int, str] = {}
        self.known: set[int] = set()  # slots whose damage is written down

    def image(self, slot: int) -> SlotImage:
        found = self.images.get(slot)
        if found is None:
            found = self.images[slot] = SlotImage()
        return found

    def damaged(self, slot: int, why: str) -> None:
        if slot < self.slots:
            self.image(slot).damaged = True
            self.damage.setdefault(slot, why)

    def take_promise(self, slot: int, value: bytes) -> None:
        image = self.image(slot)
        image.promised, image.claimant = keys.decode_promise(value)

    def take_applied(self, slot: int, value: bytes) -> None:
        image = self.image(slot)
        image.applied_lsn, image.applied_epoch, image.applied_hash = keys.decode_applied(value)

    def take_whole(self, slot: int, value: bytes) -> None:
        self.image(slot).whole = value == self.disk_id

    def take_incomplete(self, slot: int, value: bytes) -> None:
        image = self.image(slot)
        image.incomplete, image.votes = True, value == b"\1"

    def take_damage(self, slot: int, value: bytes) -> None:
        self.known.add(slot)
        self.damaged(slot, value.decode(errors="replace"))

    def meta(self, kind: bytes, end: bytes, take: Callable[[int, bytes], None]) -> None:
        """Read one kind of value for every slot."""
        cursor = self.db.cursor(end)
        for slot in self._slots_at(cursor, kind):
            try:
                take(slot, cursor.value())
            except (struct.error, UnicodeDecodeError) as error:
                self.damaged(slot, f"a value of the slot cannot be read: {error}")

    def logs(self) -> None:
        """Read every slot's log from where its pages end."""
        cursor = self.db.cursor(keys.LOG_END)
        for slot in self._slots_at(cursor, keys.LOG):
            image = self.image(slot)
            try:
                gap = _read_run(cursor, slot, image)
            except Damaged as error:
                self.damaged(slot, str(error))
                continue
            if gap:
                self.damaged(slot, gap)

    def _slots_at(self, cursor: Cursor, kind: bytes) -> Iterator[int]:
        """Each slot that has a key of a kind, with the cursor at the first one."""
        slot = 0
        while slot <= 0xFFFF:
            try:
                if not cursor.seek(keys.slot_key(kind, slot)):
                    return
            except Damaged as error:
                if slot >= self.slots:
                    return
                self.damaged(slot, str(error))
                slot += 1
                continue
            slot = keys.slot_of_key(cursor.key())
            yield slot
            slot += 1


def _read_run(cursor: Cursor, slot: int, image: SlotImage) -> str:
    """Read the records above the applied point; returns what is wrong with them, or nothing."""
    wanted = image.applied_lsn + 1
    found = True
    first = keys.record_place(cursor.key())[1]
    image.trimmed = min(image.applied_lsn, first - 1)
    if first < wanted:
        found = cursor.seek(keys.record_key(slot, wanted))
    records = image.records
    while found:
        at, lsn = keys.record_place(cursor.key())
        if at != slot:
            return ""
        if lsn != wanted + len(records):
            return f"record {wanted + len(records)} is missing below {lsn}"
        records.append(cursor.value())
        found = cursor.next()
    return ""
