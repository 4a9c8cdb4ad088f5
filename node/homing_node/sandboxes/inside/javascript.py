"""JavaScript in a sandbox: QuickJS, its values and its loop. In a sandbox, or in a test.

The engine is made once, in the zygote, with what `javascript.js` defines; each sandbox has the copy that a fork is. It
is an interpreter: it makes no memory executable, which the sealed filter would refuse.

Only numbers and ASCII cross between the two languages, as JSON. A function of Python's that JavaScript calls never
raises: the bindings would leave the exception pending while JavaScript goes on.
"""

from __future__ import annotations

import io
import json
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

import _quickjs

from homing.grants import FILES
from homing.values import to_stored
from homing_node.sandboxes.inside import limits
from homing_node.sandboxes.inside.javascript_asks import Asks
from homing_node.sandboxes.inside.javascript_values import Kept, from_javascript, to_javascript
from homing_node.sandboxes.inside.talk import FAILURE, MEMORY, NO_VALUE, RAISED, RESULT, RESULT_BYTES, SYNTAX
from homing_node.sandboxes.inside.typescript import Script, Unreadable, script

_PRELUDE = [Path(__file__).with_name(f"javascript{part}.js").read_text() for part in ("", "_web", "_worker")]
_ENTRIES = ("begin", "outcome", "due", "fire", "answer", "load", "call", "cancel")
_HOST = ("write", "relax", "tighten", "random", "encode", "decode", "ask", "say", "resolve", "keep", "kept")
_CAUSES = frozenset((RAISED, SYNTAX, MEMORY, NO_VALUE))
_NO_MEMORY = ("InternalError: out of memory", "null")  # null where there is none for an exception either
_ENGINE_SHARE = 0.75  # of the memory that code may have: the engine's own error comes before the kernel's
_RELAXED_SHARE = 0.9  # when it is over, to say what went wrong

Answer = tuple[Any, ...]
Write = Callable[[str], object]
Say = Callable[[str, int, str], None]


class Granted(NamedTuple):
    """What a run may ask for.

    Attributes:
        offers: of each grant its name, its kind and its operations.
        asks: carries them out; None: nothing is granted.
    """

    offers: Sequence[Sequence[Any]] = ()
    asks: Asks | None = None


class Engine:
    """An engine that has run nothing yet. It is for one run, or one worker.

    Attributes:
        say: gets what a worker says: a kind, the number of a call, and JSON.
        kept: long bytes, on their way in or out.
        resolve: gives the place of a module, of JSON of the one that asks and of what it asks for, as JSON.

    Raises:
        RuntimeError: the prelude does not fit this version of the engine.
    """

    def __init__(self) -> None:
        self._context = context = _quickjs.Context()
        context.set_max_stack_size(limits.javascript_stack_bytes)
        self._streams: dict[int, Write] = {}
        self._asks: Asks | None = None
        self.kept = Kept()
        self._tight_bytes = self._relaxed_bytes = self._full_bytes = 0
        self.say: Say = lambda kind, number, text: None
        self.resolve: Callable[[str], str] = lambda text: "null"
        for name in _HOST:
            context.add_callable(f"__{name}", _never_raising(getattr(self, f"_{name}")))
        for part in _PRELUDE:
            context.eval(part)
        entries = {name: context.get(f"__{name}") for name in _ENTRIES}
        if not all(isinstance(entry, _quickjs.Object) for entry in entries.values()):
            raise RuntimeError("the prelude of JavaScript does not define what it should")
        self._entries = cast("dict[str, _quickjs.Object]", entries)
        context.eval("".join(f"delete globalThis.__{name};" for name in (*_ENTRIES, "inner")))

    def run(
        self, code: Script, names: Mapping[str, Any], granted: Granted, memory_bytes: int, out: TextIO, err: TextIO
    ) -> tuple[str, Any]:  # fmt: skip
        """Run code to its end.

        Args:
            code: what `script` made of it.
            names: what it finds defined.
            granted: what it may ask for.
            memory_bytes: what the sandbox may have beyond what it had.
            out, err: what it prints to.

        Returns:
            "result" and the value as `from_javascript` reads it; or a cause (`talk`) and type, message and traceback.
        """
        self._streams = {1: out.write, 2: err.write}
        if granted.asks is not None:
            self.attach(granted.asks)
        given = {
            "code": code.text,
            "before": code.lines_before,
            "offers": offers_of(granted.offers),
            "names": [[name, self.tree(value)] for name, value in names.items()],
            "random": os.urandom(16).hex(),
        }
        self.limit(memory_bytes)
        try:
            self.enter("begin", json.dumps(given))
            told = self._until_told()
        except _quickjs.JSException as error:  # of the prelude itself, where there is no memory for it
            return cause_of(error), ["InternalError", str(error), ""]
        if type(told) is not str:  # there was no memory for the text
            return MEMORY, ["InternalError", "out of memory", ""]
        kind, *parts = json.loads(told)
        return (kind, parts[0]) if kind == "result" else (parts[0], parts[1:])

    def value(self, node: Any) -> Any:
        """The value of a tree that the engine wrote; see `from_javascript`."""
        return from_javascript(node, self.kept)

    def tree(self, value: Any) -> Any:
        """A tree for the engine to read; see `to_javascript`."""
        return to_javascript(value, self.kept)

    def _until_told(self) -> object:
        while True:
            self.settle()
            if (told := self.enter("outcome")) is not None:
                return told
            due_ms = self.due_ms()
            if due_ms < 0 and not self._asks:
                return json.dumps(["failure", RAISED, "Error", "it waits for a promise that nothing will settle", ""])
            self._wait(None if due_ms < 0 else due_ms / 1e3)
            if due_ms == 0:
                self.enter("fire")

    def _wait(self, seconds: float | None) -> None:
        if not self._asks:
            time.sleep(seconds or 0)
            return
        for number, text in self._asks.answers(seconds):
            self.enter("answer", number, text)

    # -- what a loop needs ----------------------------------------------------------------------------------------

    def limit(self, memory_bytes: int) -> None:
        """From now on it may take a share of so many bytes more."""
        self._full_bytes = _resident_bytes_most() + int(memory_bytes * _ENGINE_SHARE / 2)
        used = self._context.memory()["malloc_size"]
        self._relaxed_bytes = used + int(memory_bytes * _RELAXED_SHARE)
        self._tight_bytes = used + int(memory_bytes * _ENGINE_SHARE)
        self._context.set_memory_limit(self._tight_bytes)

    def attach(self, asks: Asks) -> None:
        """From now on it may ask."""
        self._asks, asks.kept = asks, self.kept

    def enter(self, entry: str, *arguments: int | str) -> object:
        """Call one of the entries of the prelude.

        Raises:
            _quickjs.JSException: it failed, as where there is no memory.
        """
        return self._entries[entry](*arguments)

    def settle(self) -> None:
        """Run what is to be run at once."""
        while self._context.execute_pending_job():
            pass

    def due_ms(self) -> float:
        """Milliseconds until a timer is to be fired; below 0: there is none."""
        return cast("float", self.enter("due"))

    # -- what JavaScript calls ------------------------------------------------------------------------------------

    def _write(self, stream: int, text: str) -> None:
        self._streams[stream](json.loads(text))

    def _relax(self) -> bool:
        """Let the engine have somewhat more; whether it had taken about all that it had."""
        self._context.set_memory_limit(self._relaxed_bytes)
        return _resident_bytes_most() >= self._full_bytes

    def _tighten(self) -> None:
        self._context.set_memory_limit(self._tight_bytes)

    def _say(self, kind: str, number: float, text: str) -> None:
        self.say(kind, int(number), text)

    def _resolve(self, text: str) -> str:
        return self.resolve(text)

    def _keep(self, number: float, data: str) -> int:
        return self.kept.more(int(number), bytes.fromhex(data))

    def _kept(self, number: float, at: float, count: float) -> str:
        return self.kept.piece(int(number), int(at), int(count))

    def _random(self, count: int) -> str:
        return os.urandom(count).hex()

    def _encode(self, text: str) -> str:
        return str(json.loads(text)).encode("utf-8", "replace").hex()

    def _ask(self, place: int, operation: str, text: str) -> int:
        return self._asks.ask(place, operation, text) if self._asks is not None else 0

    def _decode(self, data: str) -> str:
        return json.dumps(bytes.fromhex(data).decode("utf-8", "replace"))


def cause_of(error: _quickjs.JSException) -> str:
    """Why the prelude itself fails."""
    return MEMORY if str(error).startswith(_NO_MEMORY) else RAISED


def offers_of(offers: Sequence[Sequence[Any]]) -> list[Any]:
    """What is granted, as JSON can have it; operations of files are these."""
    return [
        [name, kind, [to_javascript(operations[0]), operations[1]] if kind == FILES else operations]
        for name, kind, operations in offers
    ]


def rehearse() -> None:
    """Do what runs do in an engine that is thrown away: what is made at the first use of something is made once."""
    for code in ("const f = (n: number): number => n + 1; console.log(f(1)); [{ a: 1.5 }]", "await 1; throw Error()"):
        evaluate(Engine(), code, True, {"n": {}}, 1_000, 1 << 24, io.StringIO(), io.StringIO())


def _never_raising(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose exceptions are null to JavaScript: code that gets hold of it may call it with anything."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:
            return None

    return call


def _resident_bytes_most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def evaluate(
    engine: Engine, code: str, types: bool, arguments: Mapping[str, Any], result_bytes_max: int, memory_bytes: int,
    out: TextIO, err: TextIO, granted: Granted | None = None,
) -> Answer:  # fmt: skip
    """Run code as a script of its own.

    Args:
        engine: has run nothing yet.
        code: JavaScript, or TypeScript; `await` is allowed at its top. Its value, as `eval` has it, is its result;
            that of a promise is what it resolves to.
        types: it is TypeScript.
        arguments: names that it finds defined.
        result_bytes_max: what its result may have.
        memory_bytes: what it may take.
        out, err: what it prints to.
        granted: what it may ask for; None: nothing.

    Returns:
        A RESULT or a FAILURE (`talk`).

    Example:
        >>> import sys
        >>> ran = evaluate(Engine(), "n * 2", False, {"n": 21}, 100, 1 << 24, sys.stdout, sys.stderr)
        >>> ran == (RESULT, to_stored(42))
        True
    """
    if types and len(code) * limits.typescript_bytes_per_char > memory_bytes:
        return FAILURE, MEMORY, "", "", ""
    try:
        text = script(code, types)
    except (Unreadable, UnicodeError) as error:
        return FAILURE, SYNTAX, "SyntaxError", str(error)[: limits.message_chars_max], ""
    try:
        kind, found = engine.run(text, arguments, granted or Granted(), memory_bytes, out, err)
    except MemoryError:
        return FAILURE, MEMORY, "", "", ""
    except Exception as error:
        cause = MEMORY if isinstance(error.__cause__, MemoryError) else RAISED
        return FAILURE, cause, type(error).__name__, str(error)[: limits.message_chars_max], ""
    return _result(engine, found, result_bytes_max) if kind == "result" else _failure(kind, found)


def _result(engine: Engine, found: Any, result_bytes_max: int) -> Answer:
    try:
        data = to_stored(engine.value(found))
    except MemoryError:
        return FAILURE, MEMORY, "", "", ""
    except Exception as error:
        return FAILURE, NO_VALUE, type(error).__name__, str(error)[: limits.message_chars_max], ""
    if len(data) > result_bytes_max:
        return FAILURE, RESULT_BYTES, "TooLarge", f"a result of {len(data)} bytes; at most {result_bytes_max}", ""
    return RESULT, data


def _failure(cause: str, texts: list[str]) -> Answer:
    error_type, message, trace = texts
    known = cause if cause in _CAUSES else RAISED
    return (
        FAILURE, known, error_type[:200], message[: limits.message_chars_max], trace[: limits.traceback_chars_max],
    )  # fmt: skip
