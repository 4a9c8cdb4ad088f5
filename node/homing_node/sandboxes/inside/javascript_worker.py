"""A sandbox that is a dynamic worker of JavaScript: what `dynamic.py` is for one of Python, around an engine.

Its loop has no clock of its own: it runs what is ready, and then waits for the node or for the next timer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import _quickjs

from homing.loading import GLOBAL_OUTBOUND, JS, TS
from homing.loading_frames import Packed, decode_request
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import limits, talk
from homing_node.sandboxes.inside.javascript import Engine, cause_of, offers_of
from homing_node.sandboxes.inside.javascript_asks import Asks
from homing_node.sandboxes.inside.javascript_graph import BUILT_IN, LINES_BEFORE, BadModule, graph_of, resolve
from homing_node.workers.inside.failures import cut
from homing_node.workers.inside.limits import log_line_bytes_max

_AGAIN_MS = 10.0  # after which an engine without memory is asked again

Message = tuple[Any, ...]
Send = Callable[[Message], None]
Come = Callable[[float | None], Sequence[list[Any]]]


class _ByName(Exception):
    """JavaScript has no arguments by name."""


def is_javascript(code: Packed) -> bool:
    """Whether a worker's main module is none of Python."""
    main, modules, _ = code
    return any(name == main and kind in (JS, TS) for name, kind, _ in modules)


class Worker:
    """A dynamic worker: what is sent to it becomes calls of its entrypoints, and what they do becomes messages.

    Args:
        engine: has run nothing yet.
        code: its modules.
        offers: what it is granted.
        code_bytes: how long its code is.
        send: sends a message to the node.
        come: gives those that have come, after waiting for so many seconds at most; None: for one.
    """

    def __init__(
        self, engine: Engine, code: Packed, offers: Sequence[Sequence[Any]], code_bytes: int, send: Send, come: Come
    ) -> None:  # fmt: skip
        self._engine, self._send, self._come = engine, send, come
        self._main, self._modules, self._env = code
        self._offers = offers
        self._memory_bytes = limits.loaded_memory_bytes_of(code_bytes)
        self._asks = Asks(send, come)
        self._places: dict[str, int] = {}
        self._calls: dict[int, int] = {}  # those without an answer, by number: bytes that the result may have
        self._loaded = False
        engine.attach(self._asks)
        engine.say, engine.resolve = self._said, self._resolve

    def turn(self) -> None:
        """Run what is ready, wait for what comes next, and take it."""
        engine = self._engine
        self._guarded(engine.settle)
        for answer in self._asks.refused():
            self._enter("answer", *answer)
        self._guarded(engine.settle)
        due_ms = self._due_ms()
        for message in self._come(None if due_ms < 0 else due_ms / 1e3):
            self._take(message)
            self._guarded(engine.settle)  # what follows from one message is told from what follows from the next
        if due_ms == 0:
            self._enter("fire")

    def _take(self, message: list[Any]) -> None:
        kind = message[0]
        if kind == talk.CALL:
            self._begin(message)
        elif kind == talk.CANCEL and message[1] in self._calls:
            self._enter("cancel", message[1])
        elif kind in (talk.ANSWER, talk.REFUSAL):
            self._enter("answer", *self._asks.hear(message))

    def _begin(self, message: list[Any]) -> None:
        number, entrypoint, props, method, body, most, facet = message[1:]
        message.clear()  # what a call is made of may be long, and is not to be there twice while it runs
        start = ""
        self._calls[number] = most
        if facet:  # what it would be was told before, and is not kept
            self._fail(number, talk.NOT_SUPPORTED, message="facets whose classes are of JavaScript")
            return
        try:
            if not self._loaded:
                start = talk.START
                self._load()
                start = ""
            text = self._call(number, entrypoint, props, method, body, most)
            del body
        except BadModule as error:
            cause = talk.SYNTAX if error.kind == "SyntaxError" else talk.RAISED
            self._fail(number, start + cause, error.kind, str(error), error.trace)
        except _ByName as error:
            self._fail(number, talk.MISFIT, message=str(error))
        except MemoryError as error:
            self._fail(number, start + talk.MEMORY, "MemoryError", str(error))
        except Exception as error:  # what is nested too deeply
            self._fail(number, start + talk.RAISED, type(error).__name__, str(error))
        else:
            self._enter("call", text)

    def _call(self, number: int, entrypoint: str, props: bytes, method: str, body: bytes, most: int) -> str:
        """A call, as the engine is told of it."""
        tree = self._engine.tree
        call: dict[str, Any] = {"number": number, "entrypoint": entrypoint, "method": method, "most": most}
        call["props"] = tree(from_stored(props))
        if method:
            args, kwargs = from_stored(body)
            if kwargs:
                raise _ByName(f"{method} takes no arguments by name, as {next(iter(kwargs))} is")
            call["args"] = tree(args)
        else:
            asked, url, headers, content = decode_request(body)
            call["request"] = [asked, url, headers, tree(content)]
        return _json(call)

    def _load(self) -> None:
        graph = graph_of(self._main, self._modules, self._memory_bytes)
        self._modules.clear()  # the code may be long: it is not kept in more forms than are needed
        self._places = {each["name"]: place for place, each in enumerate(graph.modules)}
        given = {
            "script": graph.script,
            "modules": graph.modules,
            "lines": graph.lines,
            "linesBefore": LINES_BEFORE,
            "env": self._engine.tree(from_stored(self._env)),
            "offers": offers_of(self._offers),
            "outbound": GLOBAL_OUTBOUND,
            "random": os.urandom(16).hex(),
        }
        text = _json(given)
        del graph, given
        self._loaded = True
        self._engine.limit(self._memory_bytes)
        self._enter("load", text)

    # -- what JavaScript says -------------------------------------------------------------------------------------

    def _resolve(self, text: str) -> str:
        importer, specifier = json.loads(text)
        name = resolve(specifier, importer, self._places)
        return json.dumps(-1 if name in BUILT_IN else None if name is None else self._places[name])

    def _said(self, kind: str, number: int, text: str) -> None:
        if kind == "line":
            self._print(number, *json.loads(text))
        elif number in self._calls:
            try:
                self._answer(kind, number, text)
            except MemoryError:
                self._fail(number, talk.MEMORY, "MemoryError")
            except Exception as error:  # what cannot be read is no value
                self._fail(number, talk.NO_VALUE, "", str(error)[: limits.message_chars_max])

    def _answer(self, kind: str, number: int, text: str) -> None:
        parts: list[Any] = json.loads(text)
        most = self._calls[number]
        if kind == "fail":
            self._fail(number, *parts)
            return
        if kind == "respond":
            status, headers, body = parts
            message: Message = (talk.RESPOND, number, status, headers, self._engine.value(body))
        else:
            data = to_stored(self._engine.value(parts[0]))
            if len(data) > most:
                self._fail(number, talk.RESULT_BYTES, message=f"a result of {len(data)} bytes; at most {most}")
                return
            message = (talk.RETURN, number, data)
        del self._calls[number]
        self._send(message)

    def _fail(self, number: int, cause: str, error_type: str = "", message: str = "", trace: str = "") -> None:
        if self._calls.pop(number, None) is not None:
            message, trace = message[: limits.message_chars_max], trace[: limits.traceback_chars_max]
            self._send((talk.FAIL, number, cause, error_type[:200], message, trace))

    def _print(self, number: int, level: int, text: str) -> None:
        for line in text.removesuffix("\n").split("\n")[: limits.print_lines_max]:
            self._send((talk.LINE, number, level, cut(line, log_line_bytes_max)))

    # -- the engine -----------------------------------------------------------------------------------------------

    def _due_ms(self) -> float:
        try:
            return self._engine.due_ms()
        except _quickjs.JSException as error:
            self._fail_all(error)
            return _AGAIN_MS

    def _enter(self, entry: str, *arguments: int | str) -> None:
        self._guarded(self._engine.enter, entry, *arguments)

    def _guarded(self, function: Callable[..., object], *arguments: int | str) -> None:
        """Call the engine; where it fails, as without memory, so do the calls that it has."""
        try:
            function(*arguments)
        except _quickjs.JSException as error:
            self._fail_all(error)

    def _fail_all(self, error: _quickjs.JSException) -> None:
        for number in list(self._calls):
            self._fail(number, cause_of(error), "InternalError", str(error).split("\n")[0])


def _json(value: Any) -> str:
    """JSON in which letters beyond ASCII stand for themselves: escapes would take a multiple of their memory."""
    return json.dumps(value, ensure_ascii=False)


def serve(
    engine: Engine, code: Packed, offers: Sequence[Sequence[Any]], code_bytes: int, come: Come, send: Send
) -> NoReturn:  # fmt: skip
    """Be a dynamic worker until the node has gone.

    Args:
        engine, code, offers, code_bytes, come, send: see `Worker`.
    """
    worker = Worker(engine, code, offers, code_bytes, send, come)
    while True:
        worker.turn()
