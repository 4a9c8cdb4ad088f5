"""What becomes of code, and how what is asked and answered travels; without any jail."""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest

import homing
from homing.errors import BadRequest, NotSupported, SandboxLimit, SandboxNoValue
from homing.sandboxes import Asked, Limits, decode_outcome, encode_outcome, limits_of
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside.evaluation import evaluate
from homing_node.sandboxes.inside.talk import FAILURE, NO_VALUE, RAISED, RESULT, RESULT_BYTES, SYNTAX


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch):
    """`evaluate` makes the code the main module; the tests' own comes back."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("1 + 1", 2),
        ("x = 1", None),
        ("", None),
        ("for x in range(3): pass\nx", 2),
        ("def f(n):\n    return n * 2\nf(n)", 42),
        ("import asyncio\nasync def f(): return 7\nawait f()", 7),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nP(3).x", 3),
        ("raise SystemExit", None),
        ("{'a': [1, (2, 3)], 'b': b'x'}", {"a": [1, [2, 3]], "b": b"x"}),
        ("(yes := 5)", 5),
    ],
)
def test_the_last_expression_is_the_result(code: str, result: object):
    kind, data = evaluate(code, {"n": 21}, 1_000)
    assert kind == RESULT
    assert from_stored(data) == result


@pytest.mark.parametrize(
    ("code", "cause", "error_type"),
    [
        ("x = ", SYNTAX, "SyntaxError"),
        ("a\0b", SYNTAX, None),
        ("1 / 0", RAISED, "ZeroDivisionError"),
        ("import nothing_of_this_name", RAISED, "ModuleNotFoundError"),
        ("def f(): f()\nf()", RAISED, "RecursionError"),
        ("raise SystemExit(3)", RAISED, "SystemExit"),
        ("raise KeyboardInterrupt", RAISED, "KeyboardInterrupt"),
        ("object()", NO_VALUE, "TypeError"),
        ("x = []\nx.append(x)\nx", NO_VALUE, "ValueError"),
        ("'x' * 2000", RESULT_BYTES, "TooLarge"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", RAISED, "E"),
    ],
)
def test_what_goes_wrong_is_told(code: str, cause: str, error_type: str | None):
    kind, found, name, _, _ = evaluate(code, {}, 1_000)
    assert kind == FAILURE
    assert found == cause
    assert error_type in (None, name)


def test_the_traceback_is_of_the_code_and_shows_its_lines():
    trace = evaluate("def f():\n    return 1 / 0\nf()", {}, 100)[4]
    assert 'File "<sandbox>", line 2, in f' in trace
    assert "return 1 / 0" in trace
    assert "evaluation.py" not in trace


def test_what_is_asked_travels():
    asked = Asked("x", to_stored({"a": 1}), b"in", Limits(wall_s=1, memory_bytes=10), "ada")
    assert Asked.decode(asked.encode()) == asked
    for wrong in (b"", b"\xc1", b"\x93\x01\x02\x03", to_stored(["x", b"", b"", {"wall_s": "1"}, ""])):
        with pytest.raises(BadRequest):
            Asked.decode(wrong)


@pytest.mark.parametrize("given", [{"wall_s": 0}, {"wall_s": 121}, {"cpu_s": True}, {"memory_bytes": 1.5}, {"x": 1}])
def test_limits_that_cannot_be_are_refused(given: dict[str, float]):
    with pytest.raises(BadRequest):
        limits_of(given)


def test_an_outcome_travels():
    ran = decode_outcome(encode_outcome((to_stored(5), b"out", b"\xff", None, 1.5)))
    assert (ran.check(), ran.stdout, ran.stderr, ran.duration_ms) == (5, "out", "�", 1.5)
    error = ["sandbox-limit", "too long", "wall_s", ""]
    with pytest.raises(SandboxLimit) as raised:
        decode_outcome(encode_outcome((None, b"", b"", error, 1.0))).check()
    assert raised.value.limit == "wall_s"


def test_bytes_that_are_no_value_are_an_error_of_the_code():
    """A sandbox that was taken over says what it likes; seen to fail without the `except` around the result."""
    for forged in (b"\xc1", b"\xd4\x63x", b"\x91" * 2_000):
        assert isinstance(decode_outcome(encode_outcome((forged, b"", b"", None, 1.0))).error, SandboxNoValue)


async def test_run_is_for_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("homing.sandbox_runner._state.runner", None)  # which a test of workers may have left
    with pytest.raises(NotSupported):
        await homing.run("1")
    with pytest.raises(NotSupported):
        await homing.grants.named("x").revoke()


@pytest.mark.parametrize(
    ("code", "is_in_two"),
    [
        ("1", True),
        ("x = 1\nx + 1  # why", True),
        ("\n\n'ab'\n\n", True),
        ("def f():\n    return 2\nf()", True),
        ("'a text'\n__doc__", True),
        ("[n for n in 'ab']", True),
        ("x = 1\n\n1 / 0", True),
        ("try:\n    x\nexcept NameError:\n    1\n(lambda: 3)()", True),
        ("x = (1,\n2)", False),
        ('x = """\n5"""', False),
        ('"""\n5\n"""', False),
        ("x = 1 + \\\n2", False),
        ("if True:\n    3", False),
        ("try:\n    x\nexcept NameError: 7", False),
        ("1; 2", False),
        ("*[1], 2", False),
        ("x = 1\n# nothing", False),
        ("x = 1\r1 / 0", False),
        ("import asyncio\nawait asyncio.sleep(0)\n4", False),
        ("import asyncio\nawait asyncio.sleep(0, 4)", False),
        ("from __future__ import annotations\n5", False),
        ("def f(\n6", False),
        ("x =\n7", False),
    ],
)
def test_code_whose_last_line_is_compiled_apart_means_the_same(
    code: str, is_in_two: bool, monkeypatch: pytest.MonkeyPatch
):
    compiled: list[tuple[str, bool]] = []  # the mode, and whether of a tree
    refused: list[str] = []

    def compiling(source: str | ast.Module, file: str, mode: str, *args: Any, **given: Any) -> Any:
        if mode in refused:
            raise SyntaxError
        made = compile(source, file, mode, *args, **given)
        compiled.append((mode, isinstance(source, ast.Module)))
        return made

    monkeypatch.setattr("homing_node.sandboxes.inside.evaluation.compile", compiling, raising=False)
    answer = evaluate(code, {}, 1_000)
    assert (compiled == [("exec", False), ("eval", False)]) is is_in_two
    refused.append("eval")
    assert evaluate(code, {}, 1_000) == answer
