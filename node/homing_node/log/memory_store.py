"""A store without a disk, for the simulator and for tests: it forgets at a crash just what was not brought to disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import islice

from homing.errors import StoreFailed
from homing.ids import SLOTS_DEFAULT, slot_of
from homing_node.log.store import (
    CutRecords,
    DropObject,
    DropSlot,
    ObjectPart,
    Op,
    Part,
    PutObject,
    PutPages,
    PutRecord,
    SetApplied,
    SetDamaged,
    SetPromise,
    SetWhole,
    SlotImage,
    SlotOp,
)


@dataclass(slots=True)
class _Slot:
    """What is on disk of a slot.

    Invariant: every lsn in `records` is at or above `floor` and at or below `top`.
    """

    promised: int = 0
    claimant: str = ""
    applied_lsn: int = 0
    applied_epoch: int = 0
    applied_hash: bytes = bytes(16)
    records: dict[int, bytes] = field(default_factory=dict[int, bytes])
    floor: int = 0
    top: int = -1
    whole: bool = False
    incomplete: bool = False
    votes: bool = False
    damaged: bool = False

    def run(self, lsn: int, limit: int) -> list[bytes]:
        """Records from an lsn on, up to the first that is missing."""
        found: list[bytes] = []
        get = self.records.get
        while len(found) < limit and (data := get(lsn)) is not None:
            found.append(data)
            lsn += 1
        return found

    def remove(self, first: int, end: int) -> None:
        """Forget the records from `first` to below `end`."""
        records = self.records
        if end - first <= len(records):
            for lsn in range(first, end):
                records.pop(lsn, None)
        else:
            for lsn in [lsn for lsn in records if first <= lsn < end]:
                del records[lsn]

    def image(self) -> SlotImage:
        """As `Store.load` gives it."""
        records = self.run(self.applied_lsn + 1, len(self.records))
        last = self.applied_lsn + len(records)
        damaged = self.damaged or (self.top > last and any(lsn > last for lsn in self.records))
        return SlotImage(
            self.promised, self.claimant, self.applied_lsn, self.applied_epoch, self.applied_hash, records, damaged,
            self.whole, self.incomplete, self.votes, min([self.applied_lsn, *(lsn - 1 for lsn in self.records)]),
        )  # fmt: skip


class MemoryStore:
    """The `Store` of the simulator, with the crash model of a disk.

    `write_unsynced` queues a batch, `sync` brings the oldest ones to disk, `crash` loses the rest; reads see what is on
    disk. `write` is one after the other, so it has the meaning that `Store` gives it. Batches never overtake.

    Args:
        disk_id: the disk's name.
        trusted: what the store says of itself.
        free_bytes: what `disk_free_bytes` says.
        slots: how many the cluster has.

    Example:
        >>> store = MemoryStore("d1")
        >>> store.write_unsynced([PutRecord(0, 1, b"a")])
        >>> store.crash()
        >>> store.load()
        {}
    """

    def __init__(
        self, disk_id: str = "memory", *, trusted: bool = True, free_bytes: int = 1 << 40, slots: int = SLOTS_DEFAULT
    ) -> None:
        self.disk_id = disk_id
        self.trusted = trusted
        self.free_bytes = free_bytes
        self._slot_count = slots
        self._slots: dict[int, _Slot] = {}
        self._pages: dict[bytes, dict[int, bytes]] = {}
        self._objects: dict[bytes, bytes] = {}
        self._wakes: dict[bytes, int] = {}  # Invariant: none is 0
        self._unsynced: deque[Sequence[Op]] = deque()
        self._failure: StoreFailed | None = None

    # -- writing and failing ----------------------------------------------------------------------------------

    def write(self, batch: Sequence[Op]) -> None:
        """Bring everything queued, and this batch, to disk.

        Raises:
            StoreFailed: the store was closed, or told to fail.
        """
        self.write_unsynced(batch)
        self.sync()

    def write_unsynced(self, batch: Sequence[Op], *, wait: bool = True) -> bool:
        """Queue a batch; a crash before `sync` loses it. It always keeps up.

        Raises:
            StoreFailed: as `write`.
        """
        del wait
        if self._failure is not None:
            raise self._failure
        if batch:
            self._unsynced.append(batch)
        return True

    @property
    def unsynced(self) -> int:
        """How many batches are not on disk yet."""
        return len(self._unsynced)

    def sync(self, batches: int | None = None) -> None:
        """Bring the oldest batches to disk.

        Args:
            batches: how many; None for all.

        Raises:
            StoreFailed: as `write`.
        """
        if self._failure is not None:
            raise self._failure
        queued = self._unsynced
        for _ in range(len(queued) if batches is None else min(batches, len(queued))):
            self._apply(queued.popleft())

    def settle(self) -> None:
        """Nothing follows."""

    def crash(self, kept: int = 0) -> None:
        """The machine stops: un-synced batches are lost, but for the `kept` oldest, which the disk had by chance.

        The store can be used again, as after a new start; a failure it was told of is over.
        """
        self._failure = None
        self.sync(kept)
        self._unsynced.clear()

    def fail(self, reason: str) -> None:
        """Let every later write raise, as a full or broken disk does, until `crash`."""
        self._failure = StoreFailed(reason)

    def close(self) -> None:
        """Refuse every later write. Idempotent."""
        if self._failure is None:
            self._failure = StoreFailed("the store is closed")

    def _apply(self, batch: Sequence[Op]) -> None:
        slots = self._slots
        for op in batch:
            if isinstance(op, PutRecord):
                slot = slots.get(op.slot) or self._slot(op.slot)
                slot.records[op.lsn] = op.data
                slot.top = max(slot.top, op.lsn)
                slot.floor = min(slot.floor, op.lsn)
            elif isinstance(op, PutObject):
                self._put_object(op)
            elif isinstance(op, PutPages):
                self._put_pages(op)
            elif isinstance(op, DropObject):
                self._drop_object(op.object)
            else:
                self._apply_slot(slots.get(op.slot) or self._slot(op.slot), op)

    def _slot(self, number: int) -> _Slot:
        return self._slots.setdefault(number, _Slot())

    def _apply_slot(self, slot: _Slot, op: SlotOp) -> None:
        if isinstance(op, DropSlot):
            self._drop(op.slot, votes=op.votes)
        elif isinstance(op, SetWhole):
            slot.whole, slot.incomplete, slot.votes, slot.damaged = True, False, False, False
        elif isinstance(op, SetDamaged):
            slot.damaged = True
        elif isinstance(op, SetPromise):
            slot.promised, slot.claimant = op.epoch, op.claimant
        elif isinstance(op, SetApplied):
            slot.applied_lsn, slot.applied_epoch, slot.applied_hash = op.lsn, op.epoch, op.hash
        elif isinstance(op, CutRecords):
            slot.remove(op.from_lsn, slot.top + 1)
            slot.top = min(slot.top, op.from_lsn - 1)
        elif op.below_lsn > slot.floor:
            slot.remove(slot.floor, op.below_lsn)
            slot.floor = op.below_lsn

    def _drop(self, number: int, *, votes: bool) -> None:
        old = self._slots[number]
        self._slots[number] = _Slot(old.promised, old.claimant, incomplete=True, votes=votes, damaged=old.damaged)
        for kept in (self._pages, self._objects, self._wakes):
            for object_id in [found for found in kept if slot_of(found, self._slot_count) == number]:
                del kept[object_id]

    def _put_object(self, op: PutObject) -> None:
        self._objects[op.object] = op.data
        if op.wake_ms:
            self._wakes[op.object] = op.wake_ms
        else:
            self._wakes.pop(op.object, None)

    def _put_pages(self, op: PutPages) -> None:
        pages = self._pages.setdefault(op.object, {})
        pages.update(op.pages)
        for number in [number for number in pages if number > op.page_count]:
            del pages[number]

    def _drop_object(self, object_id: bytes) -> None:
        for kept in (self._pages, self._objects, self._wakes):
            kept.pop(object_id, None)

    # -- reading ----------------------------------------------------------------------------------------------

    def load(self) -> dict[int, SlotImage]:
        """Every slot that the store has anything of."""
        images = {number: self._slots[number].image() for number in sorted(self._slots)}
        return {number: image for number, image in images.items() if image != SlotImage()}

    def records(self, slot: int, from_lsn: int, limit: int) -> list[bytes]:
        """Up to `limit` records: the run without gaps that begins at `from_lsn`; empty if that is not there."""
        found = self._slots.get(slot)
        return found.run(from_lsn, limit) if found is not None else []

    def pages(self, object_id: bytes) -> Iterator[tuple[int, bytes]]:
        """The pages of an object's database, ascending, as of now."""
        return iter(sorted(self._pages.get(object_id, {}).items()))

    def page(self, object_id: bytes, number: int) -> bytes | None:
        """One page of an object's database, or None."""
        return self._pages.get(object_id, {}).get(number)

    def object(self, object_id: bytes) -> bytes | None:
        """What `PutObject` said last, or None."""
        return self._objects.get(object_id)

    def objects(self, after: bytes, limit: int, tag: bytes) -> list[tuple[bytes, bytes]]:
        """Objects with `id[2:10] == tag` and an id above `after`, ascending, with their data."""
        ids = sorted(found for found in self._objects if found[2:10] == tag and found > after)
        return [(object_id, self._objects[object_id]) for object_id in islice(ids, limit)]

    def wakes(self, slot: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` of the slot's objects that are to be woken, the earliest first; see `Store`."""
        mine = ((at, found) for found, at in self._wakes.items() if slot_of(found, self._slot_count) == slot)
        return nsmallest(limit, mine)

    def part(self, slot: int, place: bytes, bytes_max: int) -> Part:
        """A part of the slot's objects; see `Store`."""
        found: list[ObjectPart] = []
        size = 0
        start, page = (_order(place[:32]), int.from_bytes(place[32:], "big")) if place else (b"", 1)
        for object_id in sorted(self._objects, key=_order):
            if slot_of(object_id, self._slot_count) != slot or _order(object_id) < start:
                continue
            if size >= bytes_max:
                return Part(found, object_id + (1).to_bytes(4, "big"))
            first = page if _order(object_id) == start else 1
            pages = self._pages.get(object_id, {})
            part = ObjectPart(object_id, self._objects[object_id] if first == 1 else b"", len(pages), first)
            part.wake_ms = self._wakes.get(object_id, 0) if first == 1 else 0
            found.append(part)
            for number in range(first, len(pages) + 1):
                if size >= bytes_max and part.pages:
                    return Part(found, object_id + number.to_bytes(4, "big"))
                part.pages.append(pages[number])
                size += len(pages[number])
            size += 64 + len(part.data)
        return Part(found, b"")

    def disk_free_bytes(self) -> int:
        """What was said when it was made."""
        return self.free_bytes


def _order(object_id: bytes) -> bytes:
    """Objects of one class together, as the real store has them."""
    return object_id[2:10] + object_id[:2] + object_id[10:]
