"""How the forwarder takes the calls of a lane to their node: in order, and without losing time behind one another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from homing.errors import Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_placement.events import TableSeen
from homing_placement.records import NodeRecord, SlotRecord
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.pending import KIND_METHOD, Lane, Pending

NODE = NodeRecord(id="n1", address="n1:1", disk="d", incarnation="i")
FOR_EVER_S = 1e12


class Table:
    """One node owns everything."""

    ready = asyncio.Event()
    gateways: Mapping[str, Any] = {}
    nodes: Mapping[str, NodeRecord] = {"n1": NODE}

    def route(self, slot: int) -> tuple[NodeRecord | None, SlotRecord | None]:
        return NODE, None

    async def refresh(self, slot: int) -> object:
        return None

    def on_change(self, callback: Callable[[TableSeen], None], /) -> None:
        """Nothing changes."""


class Link:
    """A stream to a node that refuses the first call some times, and takes everything else."""

    node = NODE
    up = True

    def __init__(self, forwarder: Forwarder, refuses: int) -> None:
        self.sent: list[int] = []
        self.refusals = 0
        self._forwarder, self._refuses = forwarder, refuses

    def send(self, pending: Pending) -> bool:
        if self.refusals < self._refuses:
            self.refusals += 1
            failure = wire.Failure(code=Unavailable.code, message="not now")
            self._forwarder.answered(pending, wire.Reply(id=pending.id, failure=failure))
            return True
        pending.link = cast("Any", self)
        self.sent.append(pending.order)
        return True


def calls(count: int) -> list[Pending]:
    lane = Lane(b"lane")
    made: list[Pending] = []
    for number in range(1, count + 1):
        pending = Pending(KIND_METHOD, "C", "", b"", 0, "m", b"", "", FOR_EVER_S, 0, lambda _: None)
        pending.lane, pending.order = lane, number
        lane.calls[number] = pending
        made.append(pending)
    return made


async def test_what_waits_behind_another_call_goes_when_that_has_gone() -> None:
    """Seen to fail when it waits longer each time, as if it had been refused itself: a second and more after a move."""
    forwarder = Forwarder(cast("Any", Table()), lazy=True)
    link = Link(forwarder, refuses=6)
    forwarder.links["n1"] = cast("Any", link)
    running = asyncio.ensure_future(forwarder.run())
    await asyncio.sleep(0)
    made = 0
    for pending in calls(1_000):
        forwarder.submit(pending)
        made += 1
        await asyncio.sleep(0.003)
        if link.sent:
            break
    assert link.refusals == 6, "only the first was tried"
    assert len(link.sent) in (made - 1, made), "the last may have come after that"
    assert link.sent == [*range(1, len(link.sent) + 1)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
