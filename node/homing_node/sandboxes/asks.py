"""What a sandbox asks for under its grants, and what it is answered. Nothing of an ask is believed.

A number that is not higher than all before it, the place of a grant that the run does not have, an ask above the
bounds of `talk`: none of these is said by the code that waits at the other end, so each ends the sandbox. What the
grant itself refuses is an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from homing.errors import ApplicationError, HomingError, Overloaded
from homing_node.broker.grants import Hand
from homing_node.sandboxes import limits
from homing_node.sandboxes.inside import talk

_log = structlog.stdlib.get_logger("homing.sandboxes")


class Asks:
    """The asks of one run.

    Args:
        hand: its grants.
        send: sends a message to the sandbox.
        queued_bytes: how much of that it has not read.
    """

    def __init__(self, hand: Hand, send: Callable[[tuple[Any, ...]], None], queued_bytes: Callable[[], int]) -> None:
        self._hand, self._send, self._queued_bytes = hand, send, queued_bytes
        self._newest = 0
        self._running: dict[int, tuple[asyncio.Task[None], int]] = {}  # by number: who answers, bytes of arguments
        self._bytes = 0  # Invariant: the sum over _running, at most `talk.asks_bytes_at_once_max`

    def take(self, number: Any, place: Any, operation: Any, arguments: Any) -> None:
        """Take an ask; its answer is sent when there is one.

        Raises:
            TypeError, ValueError: it is none.
        """
        if (type(number), type(place), type(operation), type(arguments)) != (int, int, str, bytes):
            raise TypeError("an ask of something else")
        if number <= self._newest:
            raise ValueError("an ask with a number that was used")
        if not self._hand.has(place):
            raise ValueError("an ask under a grant that is not its own")
        if len(operation) > talk.operation_chars_max or len(arguments) > talk.ask_bytes_max:
            raise ValueError("an ask that is too long")
        if len(self._running) >= talk.asks_at_once_max or self._bytes + len(arguments) > talk.asks_bytes_at_once_max:
            raise ValueError("too many asks at once")
        self._newest = number
        self._bytes += len(arguments)
        task = asyncio.ensure_future(self._answer(number, place, operation, arguments))
        self._running[number] = task, len(arguments)

    async def _answer(self, number: int, place: int, operation: str, arguments: bytes) -> None:
        try:
            said = talk.ANSWER, number, await self._done(place, operation, arguments)
        except HomingError as error:
            said = talk.REFUSAL, number, *_told(error)
        except Exception:  # a fault in one ask ends that ask only
            _log.exception("an ask of a sandbox failed")
            said = talk.REFUSAL, number, *_told(HomingError("the node failed on this call"))
        if self._forget(number):
            self._send(said)

    async def _done(self, place: int, operation: str, arguments: bytes) -> bytes:
        answer = await self._hand.ask(place, operation, arguments)
        if self._queued_bytes() + len(answer) > limits.answers_queued_bytes_max:
            raise Overloaded("the sandbox does not read what it has asked for")
        return answer

    def leave(self, number: Any) -> None:
        """Nobody in the sandbox waits for an answer any more; it may be on its way, or there.

        Raises:
            TypeError, ValueError: there was no such ask.
        """
        if type(number) is not int:
            raise TypeError("no number of an ask")
        if not 0 < number <= self._newest:
            raise ValueError("an ask that never was is given up")
        found = self._running.get(number)
        if found is not None:
            self._forget(number)
            found[0].cancel()

    def _forget(self, number: int) -> bool:
        """An ask is over; returns whether it was not before."""
        task, size = self._running.pop(number, (None, 0))
        self._bytes -= size
        return task is not None

    def close(self) -> None:
        """The run is over: nobody hears an answer any more."""
        for task, _ in list(self._running.values()):
            task.cancel()
        self._running.clear()

    def check(self) -> None:
        """Assert the invariants."""
        assert len(self._running) <= talk.asks_at_once_max
        assert self._bytes == sum(size for _, size in self._running.values()) <= talk.asks_bytes_at_once_max


def _told(error: HomingError) -> tuple[str, str, str, float]:
    """Code, message, type, and when to try again. A `Refusal` of the broker has said nothing of the inside."""
    message = error.message[: limits.refusal_chars_max]
    cause = error.error_type if isinstance(error, ApplicationError) else ""
    return error.code, message, cause, error.retry_after_s or 0.0
