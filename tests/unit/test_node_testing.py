"""The hands of a test: only where a cluster was started for tests, and only on loopback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from homing.errors import BadRequest, ConfigurationError, NotSupported
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.settings import GatewaySettings
from homing_node.clock import SystemClock
from homing_node.settings import NodeSettings
from homing_node.testing import AheadClock, HandOfTests

NOBODY = cast("Any", None)


async def test_a_node_that_was_not_started_for_tests_refuses() -> None:
    """Seen to fail without the check: any gateway could run code in an object."""
    hand = HandOfTests(NOBODY, lambda _: 1, None, lambda _: None)
    for request in (
        wire.TestRequest(run=wire.TestObject(object=bytes(32))),
        wire.TestRequest(clock=wire.TestClock(ahead_ms=1)),
    ):
        with pytest.raises(NotSupported, match="HOMING_TESTING"):
            await hand(request)


async def test_the_clock_is_set_here_and_told_to_workers() -> None:
    clock, told = AheadClock(), list[int]()
    hand = HandOfTests(NOBODY, lambda _: 1, clock, told.append)
    await hand(wire.TestRequest(clock=wire.TestClock(ahead_ms=3_600_000)))
    assert told == [3_600_000]
    assert clock.wall_ms() - SystemClock.wall_ms() == pytest.approx(3_600_000, abs=1_000)


@pytest.mark.parametrize("request_", [wire.TestRequest(), wire.TestRequest(ring=wire.TestObject(object=b"short"))])
async def test_what_asks_nothing_that_is_known(request_: wire.TestRequest) -> None:
    with pytest.raises(BadRequest):
        await HandOfTests(NOBODY, lambda _: 1, AheadClock(), lambda _: None)(request_)


def test_beyond_loopback_there_are_no_tests(tmp_path: Path) -> None:
    node = NodeSettings(tmp_path, "n1", ("http://127.0.0.1:1",), tmp_path, testing=True)
    node.check()
    with pytest.raises(ConfigurationError, match="HOMING_TESTING"):
        replace(node, listen="0.0.0.0:1", insecure=True).check()
    gateway = GatewaySettings(("http://127.0.0.1:1",), testing=True)
    gateway.check()
    with pytest.raises(ConfigurationError, match="HOMING_TESTING"):
        replace(gateway, listen="0.0.0.0:1", api_token="x" * 32, insecure=True).check()
