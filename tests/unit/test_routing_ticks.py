"""The clock of calls: it looks at those that are under way, and sleeps while there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.simulation.node.loop import Clock, Loop

from homing.errors import DeadlineExceeded
from homing_placement.events import TableSeen
from homing_placement.records import NodeRecord
from homing_placement.routing import forward
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.limits import TICK_S
from homing_placement.routing.pending import KIND_METHOD, Pending


class Nobody:
    """No node is there."""

    nodes: Mapping[str, NodeRecord] = {}

    def route(self, slot: int) -> tuple[None, None]:
        return None, None

    def on_change(self, callback: Callable[[TableSeen], None], /) -> None:
        """Nothing changes."""


def test_who_has_no_calls_does_not_wake_and_ends_the_next_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when an idle process looked forty times a second: of an idle cluster that was most of its work."""
    clock = Clock(pytest.fail)
    loop = Loop(clock, "gateway")
    monkeypatch.setattr(
        forward, "time", SimpleNamespace(monotonic=lambda: clock.now, monotonic_ns=lambda: int(clock.now * 1e9))
    )
    forwarder = Forwarder(cast("Any", Nobody()), lazy=True)
    running: list[asyncio.Task[None]] = []
    loop.spawn(lambda: running.append(loop.create_task(forwarder.run())))

    def steps_until(end: float) -> int:
        before = clock.steps
        clock.run_until(end)
        return clock.steps - before

    for begins in (10.0, 20.0):
        steps_until(begins)
        assert steps_until(begins + 5) == 0
        ended: list[float] = []
        call = Pending(
            KIND_METHOD, "C", "", b"", 0, "m", b"", "", clock.now + 2, 0, lambda _, ended=ended: ended.append(clock.now)
        )
        loop.spawn(forwarder.submit, call)
        assert steps_until(begins + 9) > 0
        assert isinstance(call.error, DeadlineExceeded)
        assert begins + 7 <= ended[0] <= begins + 7 + 2 * TICK_S
    running[0].cancel()
    clock.run_until(30.0)
    assert running[0].cancelled()
