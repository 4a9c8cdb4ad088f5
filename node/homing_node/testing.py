"""What tests do to a cluster of their own: run code in an object, ring its alarm, evict it, set the clock ahead.

Only a node that was started with HOMING_TESTING serves it: in any other cluster nobody may do that to an object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from homing.errors import BadRequest, NotSupported
from homing.ids import OBJECT_ID_BYTES
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.clock import SystemClock
from homing_node.objects.host import ObjectHost


class AheadClock:
    """The machine's clocks, but for the one on the wall, which may be set ahead."""

    monotonic_ns = staticmethod(time.monotonic_ns)

    def __init__(self) -> None:
        self.ahead_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this cluster believes."""
        return SystemClock.wall_ms() + self.ahead_ms


class HandOfTests:
    """Serves `Calls/Test`.

    Args:
        host: runs the objects.
        serving: (slot) gives the epoch in which this node serves it, or 0.
        clock: what alarms go by; None: this node was not started for tests.
        tell: passes the workers how far the clock is ahead, in milliseconds.
    """

    def __init__(
        self,
        host: ObjectHost,
        serving: Callable[[int], int],
        clock: AheadClock | None,
        tell: Callable[[int], None],
    ) -> None:
        self._host, self._serving, self._clock, self._tell = host, serving, clock, tell

    async def __call__(self, request: wire.TestRequest) -> wire.TestReply:
        """Do what is asked.

        Raises:
            NotSupported: this node was not started for tests.
            BadRequest: nothing that this version knows is asked.
            Unavailable: the object does not go to sleep.
        """
        if self._clock is None:
            raise NotSupported("this cluster was not started for tests (HOMING_TESTING)")
        what = request.WhichOneof("what")
        if what == "run":
            return await self._call(request.run, wire.CALL_KIND_RUN)
        if what == "ring":
            return await self._call(request.ring, wire.CALL_KIND_ALARM)
        if what == "evict":
            await self._host.evictions.evict(request.evict.object)
        elif what == "clock":
            self._clock.ahead_ms = request.clock.ahead_ms
            self._tell(request.clock.ahead_ms)
        else:
            raise BadRequest("the request asks nothing that this version knows")
        return wire.TestReply()

    async def _call(self, m: wire.TestObject, kind: wire.CallKind) -> wire.TestReply:
        if len(m.object) != OBJECT_ID_BYTES:
            raise BadRequest(f"an object id is {OBJECT_ID_BYTES} bytes")
        answered: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        call = wire.Call(
            slot=m.slot, epoch=self._serving(m.slot), object=m.object, class_name=m.class_name, name=m.name,
            kind=kind, body=m.body, method="now", timeout_ms=limits.test_call_ms,
        )  # fmt: skip
        self._host.call(call, answered.set_result)
        reply = await answered
        return wire.TestReply(failure=reply.failure if reply.HasField("failure") else None, body=reply.body)
