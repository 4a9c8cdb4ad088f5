"""What JavaScript asks under its grants: no more at once than the node takes, and the rest in line."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from homing.errors import BadRequest, HomingError, from_wire
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.javascript_values import Kept, from_javascript, to_javascript


class _Ask(NamedTuple):
    number: int
    place: int
    operation: str
    arguments: bytes


Answer = tuple[int, str]
"""The number of an ask, and what `javascript.js` reads: the value, or why there is none."""


class Asks:
    """The asks of one run.

    Args:
        send: writes a message.
        wait: gives the messages that have come, after so many seconds at most; None: when there is one.

    Attributes:
        kept: long bytes, on their way in or out; the engine's.
    """

    def __init__(
        self, send: Callable[[tuple[Any, ...]], None], wait: Callable[[float | None], Sequence[list[Any]]]
    ) -> None:  # fmt: skip
        self._send, self._wait = send, wait
        self.kept = Kept()
        self._number = 0
        self._line: deque[_Ask] = deque()
        self._sent: dict[int, int] = {}  # by number: bytes of its arguments
        self._refused: list[Answer] = []  # those that were never sent

    def __bool__(self) -> bool:
        """Whether there is an ask without an answer."""
        return bool(self._line or self._sent or self._refused)

    def ask(self, place: int, operation: str, text: str) -> int:
        """Ask for something; the answer comes by `answers`.

        Args:
            place: of the grant.
            operation: what is asked for.
            text: the arguments, as `javascript_values` has them.

        Returns:
            The number of the ask.
        """
        self._number += 1
        try:
            ask = _Ask(self._number, place, operation, to_stored(from_javascript(json.loads(text), self.kept)))
            if len(ask.arguments) > talk.ask_bytes_max:
                raise from_wire("too-large", f"a call of {len(ask.arguments)} bytes; at most {talk.ask_bytes_max}")
            self._line.append(ask)
        except Exception as error:  # none is raised into the engine
            self._refused.append((self._number, _refusal(error)))
        self._send_some()
        return self._number

    def answers(self, wait_s: float | None) -> list[Answer]:
        """What has come, after so many seconds at most; None: when something has."""
        found = self.refused()
        found += [self.hear(message) for message in self._wait(0 if found else wait_s)]
        return found

    def refused(self) -> list[Answer]:
        """Those that were never sent."""
        found, self._refused = self._refused, []
        return found

    def hear(self, message: Sequence[Any]) -> Answer:
        """The node has answered."""
        kind, number, *said = message
        self._sent.pop(number, None)
        self._send_some()
        return number, self._answer(*said) if kind == talk.ANSWER else _refused(*said)

    def _answer(self, data: bytes) -> str:
        try:
            return json.dumps({"value": to_javascript(from_stored(data), self.kept)})
        except Exception as error:
            return _refusal(error)

    def _send_some(self) -> None:
        while self._line and len(self._sent) < talk.asks_at_once_max:
            size = len(self._line[0].arguments)
            if sum(self._sent.values()) + size > talk.asks_bytes_at_once_max:
                return
            ask = self._line.popleft()
            self._sent[ask.number] = size
            self._send((talk.ASK, *ask))


def _refused(code: str, message: str, error_type: str, retry_after_s: float) -> str:
    name = type(from_wire(code, message, error_type=error_type)).__name__
    return json.dumps({"refusal": [name, code, message, error_type, retry_after_s or None]})


def _refusal(error: Exception) -> str:
    """Of what was not sent, or cannot be read."""
    code = error.code if isinstance(error, HomingError) else BadRequest.code
    return _refused(code, str(error), "", 0)
