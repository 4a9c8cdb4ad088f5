"""What is done to objects from outside, not by calls of them: under the epoch that is served, with nothing of them
running, and done when it is committed. Backups, deletions and imports stand on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from homing.errors import BadRequest, NotOwner, TooLarge, Unavailable
from homing.ids import OBJECT_ID_BYTES, slot_of
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.log import limits as log_limits
from homing_node.log import record
from homing_node.log.shell import LogShell
from homing_node.log.store import Store
from homing_node.objects.activation import PendingCall
from homing_node.objects.host import ObjectHost
from homing_node.objects.images import meta_of
from homing_node.objects.socket_state import GatewayPort
from homing_node.objects.socket_table import GOING_AWAY
from homing_node.objects.turn_record import ObjectMeta, TurnBody, encode_body

_Part = TypeVar("_Part")
NO_OBJECT = "this object has never existed, or was deleted"
_ENVELOPE_BYTES = 256  # of a record around its body, generously
_POLL_S = 0.01


class Outside:
    """A node's objects, from outside.

    Args:
        slots: how many the cluster has.
        log, store, host: where objects are.
    """

    def __init__(self, slots: int, log: LogShell, store: Store, host: ObjectHost) -> None:
        self._slots = slots
        self._log, self._store, self._host = log, store, host

    def epoch(self, slot: int) -> int:
        """The epoch under which log and host serve the slot, or 0."""
        served, epoch = self._host.gate.slots.get(slot), self._log.serving(slot)
        return epoch if served is not None and served.epoch == epoch else 0

    def last_lsn(self, slot: int) -> int:
        """The newest record of a slot."""
        return self._log.last_lsn(slot)

    def check_id(self, object_id: bytes, slot: int) -> None:
        """Assert that an id is one of an object in a slot.

        Raises:
            BadRequest: it is not.
        """
        if len(object_id) != OBJECT_ID_BYTES or slot_of(object_id, self._slots) != slot:
            raise BadRequest(f"no id of an object in slot {slot}")

    def meta(self, slot: int, object_id: bytes) -> ObjectMeta | None:
        """What there is of an object beside its pages, committed or not; None: there is no such object."""
        mine = [data for data in self._log.records_above_pages(slot) if record.object_of(data) == object_id]
        return meta_of(mine, self._store.object(object_id))

    @asynccontextmanager
    async def alone(self, object_id: bytes, why: str) -> AsyncGenerator[None]:
        """End what runs of an object; until the end of the block nothing of it starts.

        Raises:
            Unavailable: somebody else does that already, or its activation did not end in time.
        """
        if object_id in self._host.shut:
            raise Unavailable("the object is being restored or deleted already")
        self._host.shut.add(object_id)
        try:
            self._host.evictions.end(object_id, why)
            await self._ended(object_id)
            yield
        finally:
            self._host.shut.discard(object_id)

    async def _ended(self, object_id: bytes) -> None:
        try:
            async with asyncio.timeout(limits.restore_patience_s):
                while self._host.runs(object_id):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise Unavailable("the object's activation did not end in time") from error

    def write(self, slot: int, epoch: int, object_id: bytes, body: TurnBody) -> int:
        """Append a record of an object that is `alone`; returns its lsn.

        Raises:
            NotOwner: the slot is not served under that epoch any more.
            TooLarge: it is larger than a record can be.
        """
        data = encode_body(body)
        if len(data) > log_limits.record_bytes_max - _ENVELOPE_BYTES:
            raise TooLarge("what is kept of the object beside its pages is larger than a record can be")
        if self.epoch(slot) != epoch:
            raise NotOwner(f"slot {slot} is not served here any more")
        at_ms = self._host.gate.slots[slot].times_ms(time.monotonic_ns())[0]
        lsn = self._log.propose(slot, record.TURN, at_ms, object_id, data)
        if body.wake_ms is not None:
            self._host.bell.turned(slot, object_id, body.wake_ms)
        if body.begins or body.gone:
            close = partial(_close, self._host.sockets.forget(object_id))
            self._host.gate.hold_call(slot, lsn, close, wrote=True)
        return lsn

    async def settled(self, slot: int, lsn: int, *, wrote: bool) -> None:
        """Wait as an effect does: until a record is committed and, without one of its own, the epoch confirmed.

        Raises:
            NotOwner: the slot is lost.
        """
        if not self.epoch(slot):
            raise NotOwner(f"slot {slot} is not served here any more")
        waits: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answer(reply: wire.Reply) -> None:
            if not waits.done():
                waits.set_result(not reply.HasField("failure"))

        call = PendingCall(0, wire.Call(slot=slot), answer, time.monotonic_ns(), 0)
        self._host.gate.hold(slot, lsn, call, wire.Reply(), wrote=wrote)
        if not await waits:
            raise NotOwner(f"slot {slot} was lost")


async def next_part(parts: AsyncIterator[_Part], what: str) -> _Part:
    """The next of the parts that come of something.

    Raises:
        Unavailable: it does not come in time.
        BadRequest: there is none.
    """
    try:
        async with asyncio.timeout(limits.restore_patience_s):
            return await anext(parts)
    except TimeoutError as error:
        raise Unavailable(f"the next part of the {what} did not come in time") from error
    except StopAsyncIteration as error:
        raise BadRequest(f"the {what} ends too early") from error


def _close(sockets: list[tuple[GatewayPort, int]]) -> None:
    for gateway, handle in sockets:
        gateway.tell(handle, wire.SOCKET_FRAME_GONE, GOING_AWAY, "its object was deleted or replaced")
