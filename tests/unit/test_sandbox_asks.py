"""The asks of one run: what is none ends the sandbox, what is one is answered, and no bound is passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from homing.errors import ApplicationError, GrantEnded, HomingError
from homing_node.broker.grants import Hand, Offer
from homing_node.broker.opened import GrantUse
from homing_node.sandboxes import limits
from homing_node.sandboxes.asks import Asks
from homing_node.sandboxes.inside import talk


class Open:
    """A grant that does what a test says."""

    id = "0"

    def __init__(self, do: Callable[[str, bytes], Any]) -> None:
        self._do = do
        self.closed = False

    async def ask(self, operation: str, arguments: bytes) -> bytes:
        answer = self._do(operation, arguments)
        return answer if isinstance(answer, bytes) else await answer

    def use(self) -> GrantUse:
        raise NotImplementedError

    def revoke(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, do: Callable[[str, bytes], Any]) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.queued = 0
        hand = Hand()
        hand.add(Offer("files", "files", ()), None)
        hand.add(Offer("a", "stub", ("x",)), Open(do))
        self.asks = Asks(hand, self.said.append, lambda: self.queued)

    def take(self, *parts: Any) -> None:
        self.asks.take(*parts)
        self.asks.check()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.asks.check()


async def test_what_is_asked_is_answered_as_it_comes() -> None:
    late: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    world = World(lambda operation, arguments: late if operation == "late" else arguments * 2)
    world.take(1, 1, "late", b"")
    world.take(5, 1, "x", b"ab")
    await world.settle()
    assert world.said == [(talk.ANSWER, 5, b"abab")]
    late.set_result(b"z")
    await world.settle()
    assert world.said[1:] == [(talk.ANSWER, 1, b"z")]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (GrantEnded("revoked"), ("grant-ended", "revoked", "", 0.0)),
        (ApplicationError("no", error_type="KeyError"), ("application-error", "no", "KeyError", 0.0)),
        (KeyError("the inside"), (HomingError.code, "the node failed on this call", "", 0.0)),
        (HomingError("x" * 9_000), (HomingError.code, "x" * limits.refusal_chars_max, "", 0.0)),
    ],
)
async def test_what_fails_is_told_without_the_inside(error: Exception, told: tuple[Any, ...]) -> None:
    def fails(operation: str, arguments: bytes) -> bytes:
        raise error

    world = World(fails)
    world.take(1, 1, "x", b"")
    await world.settle()
    assert world.said == [(talk.REFUSAL, 1, *told)]


@pytest.mark.parametrize(
    "parts",
    [
        (2, 1, "x", b""),  # its number was used
        (1, 1, "x", b""),
        (3, 0, "x", b""),  # files, of which nothing is asked
        (3, 2, "x", b""),
        (3, -1, "x", b""),
        (3, True, "x", b""),
        (3.0, 1, "x", b""),
        (3, 1, b"x", b""),
        (3, 1, "x", "text"),
        (3, 1, "x" * (talk.operation_chars_max + 1), b""),
        (3, 1, "x", bytes(talk.ask_bytes_max + 1)),
        (3, 1, "x"),
    ],
)
async def test_what_is_no_ask_is_refused(parts: tuple[Any, ...]) -> None:
    """Broken by: each condition of `Asks.take`, left out."""
    world = World(lambda operation, arguments: b"")
    world.take(2, 1, "x" * talk.operation_chars_max, b"")
    with pytest.raises((TypeError, ValueError)):
        world.take(*parts)


async def test_no_more_at_once_than_the_bounds() -> None:
    waits: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    world = World(lambda operation, arguments: waits)
    for number in range(talk.asks_at_once_max):
        world.take(number + 1, 1, "x", b"")
    with pytest.raises(ValueError, match="too many"):
        world.take(100, 1, "x", b"")
    world = World(lambda operation, arguments: waits)
    half = bytes(talk.asks_bytes_at_once_max // 2)
    world.take(1, 1, "x", half)
    world.take(2, 1, "x", half)
    with pytest.raises(ValueError, match="too many"):
        world.take(3, 1, "x", b"x")


async def test_who_does_not_read_gets_no_more() -> None:
    world = World(lambda operation, arguments: b"answer")
    world.queued = limits.answers_queued_bytes_max
    world.take(1, 1, "x", b"")
    await world.settle()
    assert [each[:3] for each in world.said] == [(talk.REFUSAL, 1, "overloaded")]


async def test_after_the_run_nothing_is_answered() -> None:
    waits: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    world = World(lambda operation, arguments: waits)
    world.take(1, 1, "x", b"")
    await world.settle()
    world.asks.close()
    await world.settle()
    assert waits.cancelled()
    assert world.said == []


async def test_an_ask_that_is_given_up_is_cancelled_and_makes_room() -> None:
    """Broken by: `leave` without its `cancel`, or without `_forget`."""
    waits: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    world = World(lambda operation, arguments: waits if operation == "waits" else b"answer")
    world.take(1, 1, "waits", b"ab")
    await world.settle()
    world.asks.leave(1)
    world.asks.check()
    for number in range(talk.asks_at_once_max):  # all of its room is there again
        world.take(number + 2, 1, "x", b"")
    await world.settle()
    assert waits.cancelled()
    assert [said[:2] for said in world.said] == [(talk.ANSWER, n + 2) for n in range(talk.asks_at_once_max)]
    world.asks.leave(1)
    world.asks.leave(3)  # its answer was on its way
    await world.settle()
    assert len(world.said) == talk.asks_at_once_max


@pytest.mark.parametrize("number", [0, -1, 2, True, "1", None])
async def test_what_never_was_asked_is_not_given_up(number: object) -> None:
    """Broken by: each condition of `leave`."""
    world = World(lambda operation, arguments: b"")
    world.take(1, 1, "x", b"")
    with pytest.raises((TypeError, ValueError)):
        world.asks.leave(number)
