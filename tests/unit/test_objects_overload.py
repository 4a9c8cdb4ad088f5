"""An object that has too much to do says which of the causes it is."""

from __future__ import annotations

import json

import pytest

from homing.errors import Overloaded, from_wire
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.problems import problem
from homing_node.objects import limits
from homing_node.objects.limits import HostLimits
from homing_placement.routing.policy import error_of
from host_world import HostWorld


def refused(world: HostWorld, number: int) -> wire.Failure:
    failure = world.replies[number].failure
    assert failure.code == "overloaded"
    return failure


def test_too_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "calls_per_object_max", 2)
    world = HostWorld()
    assert [world.call("a") for _ in range(2)]
    assert refused(world, world.call("a")).error_type == "calls"
    world.call("b")
    assert len(world.worker.frames(3)) == 3, "another object goes on"


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "calls_bytes_per_object_max", 4)
    world = HostWorld()
    world.call("a")
    assert world.call("a") not in world.replies, "a body of two bytes, beside another"
    assert refused(world, world.call("a")).error_type == "bytes"


def test_too_many_within_ten_seconds() -> None:
    """Calls that have ended count, too. Seen to fail without the window, and with one that never begins anew."""
    world = HostWorld(HostLimits(calls_per_window_max=3))
    for n in range(1, 4):
        world.call("a")
        world.turn(world.event(), n)
    world.clock.seconds += 4
    failure = refused(world, world.call("a"))
    assert failure.error_type == "rate"
    assert failure.retry_after_ms == pytest.approx(6_000, abs=50)
    world.call("b")
    world.clock.seconds += 7
    assert world.call("a") not in world.replies


@pytest.mark.parametrize("cause", ["calls", "bytes", "wait", "rate", ""])
def test_the_cause_reaches_clients_and_objects(cause: str) -> None:
    error = error_of(wire.Failure(code="overloaded", message="x", error_type=cause, retry_after_ms=2_000))
    assert isinstance(error, Overloaded)
    status, headers, body = problem(error, "r")
    assert (status, dict(headers)[b"retry-after"]) == (429, b"2")
    assert json.loads(body).get("cause", "") == cause
    found = from_wire("overloaded", "x", error_type=cause)
    assert isinstance(found, Overloaded)
    assert found.cause == cause
