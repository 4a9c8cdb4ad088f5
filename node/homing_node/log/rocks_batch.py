"""From the operations of a batch to one RocksDB write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rocksdict import WriteBatch

from homing.ids import slot_of
from homing_node.log import rocks_keys as keys
from homing_node.log.store import (
    DropObject,
    DropSlot,
    Op,
    PutObject,
    PutPages,
    PutRecord,
    SetApplied,
    SetDamaged,
    SetPromise,
    SetWhole,
    SlotOp,
    TrimRecords,
)

point_deletes_max = 512
"""Up to so many keys are deleted one by one: each range delete makes later reads of fresh data dearer."""


class BatchBuilder:
    """Builds batches, and remembers what spares a read before a delete: of an object only within one batch.

    Args:
        known: reads how many pages an object has on disk, and when it is to be woken.
        tags: reads which classes have objects here.
        slots: how many the cluster has for objects that no jurisdiction binds.
        disk_id: of the disk on which slots become whole.

    Invariant: what is remembered is true of the database with every batch built so far; after one that was not written,
    `forget` must be called.
    """

    def __init__(
        self, known: Callable[[bytes], tuple[int, int]], tags: Callable[[], Iterable[bytes]], slots: int, disk_id: str
    ) -> None:
        self._read_known = known
        self._read_tags = tags
        self._slots = slots
        self._disk_id = disk_id.encode()
        self._floors: dict[int, int] = {}  # slot: no record of it is below this lsn
        self._known: dict[bytes, tuple[int, int]] = {}

    def forget(self) -> None:
        """Remember nothing: the last batch was not written."""
        self._floors.clear()

    def build(self, ops: Sequence[Op], number: int) -> WriteBatch:
        """The write that applies `ops` in order and carries the batch's number."""
        self._known.clear()
        writes = WriteBatch(raw_mode=True)
        put = writes.put
        record_key = keys.record_key
        for op in ops:
            if isinstance(op, PutRecord):
                put(record_key(op.slot, op.lsn), op.data)
            elif isinstance(op, PutPages):
                self._pages(writes, op)
            elif isinstance(op, PutObject):
                self._object(writes, op)
            elif isinstance(op, DropObject):
                self._drop_object(writes, op.object)
            else:
                self._slot_op(writes, op)
        put(keys.batch_key(number), keys.U64.pack(number))
        return writes

    def _slot_op(self, writes: WriteBatch, op: SlotOp) -> None:
        if isinstance(op, SetApplied):
            writes.put(keys.slot_key(keys.APPLIED, op.slot), keys.encode_applied(op.lsn, op.epoch, op.hash))
        elif isinstance(op, SetPromise):
            writes.put(keys.slot_key(keys.PROMISE, op.slot), keys.encode_promise(op.epoch, op.claimant))
        elif isinstance(op, TrimRecords):
            self._trim(writes, op.slot, op.below_lsn)
        elif isinstance(op, DropSlot):
            self._drop(writes, op.slot, votes=op.votes)
        elif isinstance(op, SetWhole):
            writes.put(keys.slot_key(keys.WHOLE, op.slot), self._disk_id)
            writes.delete(keys.slot_key(keys.INCOMPLETE, op.slot))
            writes.delete(keys.slot_key(keys.DAMAGED, op.slot))
        elif isinstance(op, SetDamaged):
            writes.put(keys.slot_key(keys.DAMAGED, op.slot), op.why.encode())
        else:
            writes.delete_range(keys.record_key(op.slot, op.from_lsn), keys.log_end(op.slot))
            if op.from_lsn < self._floors.get(op.slot, 0):
                del self._floors[op.slot]  # the log may begin lower from here on

    def _trim(self, writes: WriteBatch, slot: int, below: int) -> None:
        floor = self._floors.get(slot, 0)
        if below <= floor:
            return
        self._floors[slot] = below
        if below - floor > point_deletes_max:
            writes.delete_range(keys.record_key(slot, floor), keys.record_key(slot, below))
        else:
            for lsn in range(floor, below):
                writes.delete(keys.record_key(slot, lsn))

    def _drop(self, writes: WriteBatch, slot: int, *, votes: bool) -> None:
        self._floors.pop(slot, None)
        writes.put(keys.slot_key(keys.INCOMPLETE, slot), bytes((votes,)))
        writes.delete(keys.slot_key(keys.WHOLE, slot))
        writes.delete(keys.slot_key(keys.APPLIED, slot))
        writes.delete_range(keys.record_key(slot, 0), keys.log_end(slot))
        writes.delete_range(*keys.wake_range(slot))
        # Also the classes that only this batch brings: objects of other slots that lie between must be left alone.
        tags = {*self._read_tags(), *(object_id[2:10] for object_id in self._known)}
        ranges = [each for kind in (keys.PAGE, keys.COUNT) for each in keys.id_ranges(kind, slot, self._slots, tags)]
        for each in [*ranges, *(each for tag in tags for each in keys.tag_ranges(tag, slot, self._slots))]:
            writes.delete_range(*each)

    def _pages(self, writes: WriteBatch, op: PutPages) -> None:
        put, pack = writes.put, keys.U32.pack
        stem = keys.PAGE + op.object
        count = op.page_count
        for number, data in op.pages.items():
            if number <= count:
                put(stem + pack(number), data)
        before, wake_ms = self._known_of(op.object)
        if count == before:
            return
        self._keep(writes, op.object, count, wake_ms)
        self._cut(writes, op.object, count, before)

    @staticmethod
    def _cut(writes: WriteBatch, object_id: bytes, count: int, before: int) -> None:
        """Remove the pages above `count`, of `before`."""
        if before - count > point_deletes_max:
            writes.delete_range(keys.page_key(object_id, count + 1), keys.page_key(object_id, before + 1))
        else:
            for number in range(count + 1, before + 1):
                writes.delete(keys.page_key(object_id, number))

    def _drop_object(self, writes: WriteBatch, object_id: bytes) -> None:
        page_count, wake_ms = self._known_of(object_id)
        self._cut(writes, object_id, 0, page_count)
        if wake_ms:
            writes.delete(keys.wake_key(slot_of(object_id, self._slots), wake_ms, object_id))
        writes.delete(keys.COUNT + object_id)
        writes.delete(keys.object_key(object_id))
        self._known[object_id] = (0, 0)

    def _object(self, writes: WriteBatch, op: PutObject) -> None:
        writes.put(keys.object_key(op.object), op.data)
        page_count, before = self._known_of(op.object)
        if op.wake_ms == before:
            return
        slot = slot_of(op.object, self._slots)
        if before:
            writes.delete(keys.wake_key(slot, before, op.object))
        if op.wake_ms:
            writes.put(keys.wake_key(slot, op.wake_ms, op.object), b"")
        self._keep(writes, op.object, page_count, op.wake_ms)

    def _known_of(self, object_id: bytes) -> tuple[int, int]:
        known = self._known.get(object_id)
        if known is None:
            known = self._known[object_id] = self._read_known(object_id)
        return known

    def _keep(self, writes: WriteBatch, object_id: bytes, page_count: int, wake_ms: int) -> None:
        self._known[object_id] = (page_count, wake_ms)
        writes.put(keys.COUNT + object_id, keys.encode_count(page_count, wake_ms))
