"""A dynamic worker of JavaScript without a jail, and a node for it: messages in, messages out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from homing.loading import worker_code
from homing.loading_frames import decode_code, encode, encode_code
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.javascript import Engine
from homing_node.sandboxes.inside.javascript_worker import Worker

ENDS = (talk.RETURN, talk.RESPOND, talk.FAIL)
Ask = Callable[[int, str, Any], Any]


class Idle(Exception):
    """A worker waits for its node, which says nothing more."""


class Sandbox:
    """A worker, what it has said, and a node that answers what it asks.

    Args:
        modules: its modules; the first is the main one.
        offers: what it is granted.
        ask: answers; what it raises is a refusal.
    """

    def __init__(self, modules: dict[str, Any], offers: Sequence[Any] = (), ask: Ask | None = None) -> None:
        given = {"main_module": next(iter(modules)), "modules": modules, "env": {"K": [1]}}
        data = encode_code(worker_code(given))
        self.said: list[tuple[Any, ...]] = []
        self._come: list[list[Any]] = []
        self._ask, self._number = ask, 0
        self._worker = Worker(Engine(), decode_code(data), offers, len(data), self._send, self._came)

    def _send(self, message: tuple[Any, ...]) -> None:
        self.said.append(message)
        if message[0] == talk.ASK and self._ask is not None:
            _, number, place, operation, data = message
            try:
                answer = to_stored(self._ask(place, operation, from_stored(data)))
                self._come.append([talk.ANSWER, number, answer])
            except KeyError as error:
                self._come.append([talk.REFUSAL, number, "grant-ended", str(error), "", 0.0])

    def _came(self, wait_s: float | None) -> list[list[Any]]:
        found, self._come = self._come, []
        if not found:
            if wait_s is None:
                raise Idle
            time.sleep(wait_s)
        return found

    def begin(self, method: str, *args: Any, entrypoint: str = "", body: bytes = b"", facet: int = 0) -> int:
        self._number += 1
        body = body or to_stored([list(args), {}])
        self._come.append([talk.CALL, self._number, entrypoint, to_stored({"p": 1}), method, body, 1 << 20, facet])
        return self._number

    def cancel(self, number: int) -> None:
        self._come.append([talk.CANCEL, number])

    def answer(self, number: int) -> tuple[Any, ...]:
        for _ in range(1_000):
            idle = False
            try:
                self._worker.turn()
            except Idle:
                idle = True
            for message in self.said:
                if message[0] in ENDS and message[1] == number:
                    return message
            assert not idle, "it waits for what nobody says"
        raise AssertionError("no answer")

    def call(self, method: str, *args: Any, entrypoint: str = "") -> Any:
        kind, _, *said = self.answer(self.begin(method, *args, entrypoint=entrypoint))
        assert kind == talk.RETURN, said
        return from_stored(said[0])

    def fetch(self, url: str, method: str = "GET", headers: Sequence[Any] = (), body: bytes = b"") -> tuple[Any, ...]:
        return self.answer(self.begin("", body=encode((method, url, list(headers), body))))


def value(expression: str, *args: Any, before: str = "", **modules: Any) -> Any:
    """What an expression comes to in a module of a worker."""
    text = f"{before}\nexport default {{ async run(x) {{ return {expression} }} }}"
    others = {name.replace("_", "."): text for name, text in modules.items()}
    return Sandbox({"main.js": text, **others}).call("run", *args)
