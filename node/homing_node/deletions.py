"""Deletes objects while the node serves: one record of the log says that nothing is known of the object any more."""

from __future__ import annotations

from homing.errors import NotFound, NotOwner
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.host import ObjectHost
from homing_node.objects.turn_record import TurnBody
from homing_node.outside import NO_OBJECT, Outside


class Deletions:
    """Serves `Calls/Delete`.

    Args:
        outside: writes the record.
        host: knows objects that have written nothing yet.
    """

    def __init__(self, outside: Outside, host: ObjectHost) -> None:
        self._outside, self._host = outside, host

    async def __call__(self, asked: wire.DeleteRequest) -> wire.DeleteReply:
        """Delete an object, and return when that is committed.

        Calls that run in it are ended as by a reset, and its sockets are closed. What comes later finds a new object.

        Raises:
            NotOwner: this node does not serve the slot, or ceased to: the object may be deleted.
            NotFound: there is no such object.
            BadRequest: no object id, or of another slot.
            Unavailable: it is being restored or deleted, or does not end in time; nothing was written.
        """
        slot, object_id = asked.slot, asked.object
        self._outside.check_id(object_id, slot)
        epoch = self._outside.epoch(slot)
        if not epoch:
            raise NotOwner(f"slot {slot} is not served here")
        runs = self._host.runs(object_id)
        async with self._outside.alone(object_id, "it was deleted"):
            known = self._outside.meta(slot, object_id) is not None
            if known:
                lsn = self._outside.write(slot, epoch, object_id, TurnBody(wake_ms=0, gone=True))
            else:
                lsn = self._outside.last_lsn(slot)
        await self._outside.settled(slot, lsn, wrote=known)
        if not (known or runs):
            raise NotFound(NO_OBJECT)
        return wire.DeleteReply()
