"""Reads slots for backups, and writes objects of backups into slots, while the node serves.

What is read is of one moment: pages are brought up to what was committed when the request came, the epoch is confirmed
(rule 19), and the pages stand still to the end, as they do for a snapshot. What is written goes through the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack

from homing.errors import BadRequest, NotFound, NotOwner, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.log.replica import Replica
from homing_node.log.shell import LogShell
from homing_node.log.store import ObjectPart
from homing_node.objects.restored import Incoming, Whole, messages
from homing_node.objects.turn_record import decode_meta
from homing_node.outside import NO_OBJECT, Outside, next_part

_FIRST_PAGE = (1).to_bytes(4, "big")
_POLL_S = 0.01

Write = Callable[[wire.SlotPart], Awaitable[None]]
Raise = Callable[[int, int], None]
Owner = Callable[[int], tuple[int, str]]


class Backups:
    """Serves `Calls/ReadSlot` and `Calls/RestoreSlot`.

    Args:
        cluster, node: the names of the cluster and of this node.
        slots: how many the cluster has.
        log: has the pages.
        outside: writes objects.
        raise_above: (slot, epoch) claims a slot that was just resigned under an epoch above that one.
        owner_of: (slot) to (epoch, owner's node id) as this node knows it.
    """

    def __init__(
        self, cluster: str, node: str, slots: int, *, log: LogShell, outside: Outside, raise_above: Raise,
        owner_of: Owner,
    ) -> None:  # fmt: skip
        self._cluster, self._node, self._slots = cluster, node, slots
        self._log, self._outside = log, outside
        self._raise_above, self._owner_of = raise_above, owner_of
        self._readers = asyncio.Semaphore(limits.backups_at_once_max)
        self._writers = asyncio.Semaphore(limits.backups_at_once_max)

    # -- reading ----------------------------------------------------------------------------------------------

    async def read(self, asked: wire.ReadSlotRequest, write: Write) -> None:
        """Write all that a slot holds, or one object of it, in parts.

        Raises:
            NotOwner: this node does not serve the slot, or ceased to.
            NotFound: there is no such object.
            BadRequest: no object id, or of another slot.
            Unavailable: the pages cannot be read here, or nobody confirms the epoch; or the object should be whole and
                is not.
            TimeoutError: the reader takes no part for `backup_patience_s`.
        """
        if asked.object:
            self._outside.check_id(asked.object, asked.slot)
        async with self._readers:
            epoch = self._outside.epoch(asked.slot)
            if not epoch:
                raise NotOwner(f"slot {asked.slot} is not served here")
            lsn = self._log.core.replica(asked.slot).commit
            begin = asyncio.timeout(limits.backup_begin_s)
            try:
                async with begin:
                    await self._outside.settled(asked.slot, lsn, wrote=False)
                    async with self._log.still(asked.slot, lsn) as replica:
                        begin.reschedule(None)
                        await self._parts(asked, epoch, replica, write)
            except TimeoutError as error:
                if not begin.expired():
                    raise
                raise Unavailable(f"slot {asked.slot} could not be read in time") from error

    async def _parts(self, asked: wire.ReadSlotRequest, epoch: int, replica: Replica, write: Write) -> None:
        slot, wanted, base = asked.slot, asked.object, replica.base_lsn
        head = wire.SlotHead(
            cluster=self._cluster, slot=slot, slots=self._slots, epoch=epoch, promised=replica.promised, lsn=base
        )
        await _patiently(write, wire.SlotPart(head=head))
        place, found = (wanted + _FIRST_PAGE if wanted else b""), False
        whole = Whole()
        while True:
            part = await self._log.part(slot, place, limits.backup_part_bytes)
            if self._outside.epoch(slot) != epoch or not replica.healthy or replica.base_lsn != base:
                raise NotOwner(f"slot {slot} is not served here any more")
            objects = [each for each in part.objects if wanted in (b"", each.object)]
            place, found = part.next_place, found or bool(objects)
            last = not place or not place.startswith(wanted)
            self._check(slot, whole, objects, last=last)
            if asked.whole:
                _check_restored(objects)
            for message in messages(objects):
                await _patiently(write, message)
            if last:
                break
        if wanted and not found:
            raise NotFound(NO_OBJECT)
        await _patiently(write, wire.SlotPart(end=True))

    def _check(self, slot: int, whole: Whole, objects: Iterable[ObjectPart], *, last: bool) -> None:
        """Pages that are missing here may be on another replica."""
        try:
            whole.take(objects, last=last)
        except ValueError as error:
            self._log.resign(slot, "an object's pages are damaged")
            raise Unavailable(f"what this node holds of slot {slot} is damaged") from error

    # -- writing ----------------------------------------------------------------------------------------------

    async def restore(self, parts: AsyncIterator[wire.SlotPart]) -> wire.RestoreReply:
        """Write the objects that come, and return when all of them are committed.

        Raises:
            NotOwner: this node does not own the slot, or ceased to: objects up to some place are there.
            BadRequest: an object exists and may not be replaced, or what comes is no part of a backup.
            TooLarge: an object is larger than objects can be.
            Unavailable: no new epoch came about in time, or the parts ceased to come.
        """
        async with self._writers:
            target = (await next_part(parts, "backup")).target
            if not target.restore or target.slot >= self._slots or target.above > limits.restore_epoch_max:
                raise BadRequest("the restore names no slot of this cluster, no run, or no possible epoch")
            epoch = await self._epoch_above(target.slot, target.above)
            async with AsyncExitStack() as alone:
                run = Restore(self._outside, target, epoch, alone)
                while not (part := await next_part(parts, "backup")).end:
                    for piece in part.objects:
                        await run.take(piece)
                    await run.settled()
                run.check_complete()
            return wire.RestoreReply(epoch=epoch, objects=run.objects)

    async def _epoch_above(self, slot: int, above: int) -> int:
        """The epoch under which the slot is served here; if it is not above another, the slot is claimed anew."""
        try:
            async with asyncio.timeout(limits.restore_patience_s):
                while (epoch := self._outside.epoch(slot)) <= above:
                    if epoch:
                        self._log.resign(slot, f"what is restored into it was written under epoch {above}")
                        self._raise_above(slot, above)
                    elif self._owner_of(slot)[1] != self._node:
                        raise NotOwner(f"slot {slot} is not owned here")
                    await asyncio.sleep(_POLL_S)
                return epoch
        except TimeoutError as error:
            raise Unavailable(f"slot {slot} could not be claimed above epoch {above} in time") from error


class Restore:
    """One run that writes objects into a slot.

    Args:
        outside: writes them.
        target: the slot, and what may be replaced.
        epoch: under which they are written.
        alone: keeps from starting the object that is being written; its owner closes it.

    Attributes:
        objects: how many are complete.
    """

    def __init__(self, outside: Outside, target: wire.RestoreTarget, epoch: int, alone: AsyncExitStack) -> None:
        self._outside, self._target, self._epoch, self._alone = outside, target, epoch, alone
        self._now: Incoming | None = None
        self._skipped: bytes = b""  # an object that this run restored before, on another stream
        self._last_lsn = outside.last_lsn(target.slot)  # of the newest record that was written
        self.objects = 0

    async def take(self, piece: wire.StoredObject) -> None:
        """Write what can be written after one more part of an object.

        Raises:
            HomingError: as `Backups.restore`.
        """
        if piece.object == self._skipped:
            return
        if self._now is None or self._now.object != piece.object:
            self.check_complete()
            self._now = await self._begin(piece.object)
            if self._now is None:
                self._skipped = bytes(piece.object)
                return
        for body in self._now.take(piece):
            self._last_lsn = self._outside.write(self._target.slot, self._epoch, piece.object, body)
        if self._now.done:
            self.objects += 1
            await self._alone.aclose()

    async def settled(self) -> None:
        """Wait until what was written is committed.

        Raises:
            NotOwner: the slot is lost.
        """
        await self._outside.settled(self._target.slot, self._last_lsn, wrote=True)

    async def _begin(self, object_id: bytes) -> Incoming | None:
        """Shut an object, and end what runs of it; None if this run has restored it already."""
        self._outside.check_id(object_id, self._target.slot)
        if not self._may_write(object_id):
            return None
        await self._alone.enter_async_context(self._outside.alone(object_id, "it is being restored from a backup"))
        return Incoming(object_id, self._target.restore)

    def _may_write(self, object_id: bytes) -> bool:
        """Whether an object is to be written; False if this run has restored it already.

        Raises:
            BadRequest: it exists, and may not be replaced.
        """
        meta = self._outside.meta(self._target.slot, object_id)
        if meta is None or meta.restoring:
            return True
        if meta.restore == self._target.restore:
            return False
        if not self._target.overwrite:
            raise BadRequest(f"object {object_id.hex()} exists")
        return True

    def check_complete(self) -> None:
        """Assert that the object that came last is complete.

        Raises:
            BadRequest: parts of it did not come.
        """
        if self._now is not None and not self._now.done:
            raise BadRequest("the parts of an object are not complete")


def _check_restored(objects: Iterable[ObjectPart]) -> None:
    if any(each.data and decode_meta(each.data).restoring for each in objects):
        raise Unavailable("its restore from a backup did not finish: restore it again")


async def _patiently(write: Write, part: wire.SlotPart) -> None:
    async with asyncio.timeout(limits.backup_patience_s):
        await write(part)
