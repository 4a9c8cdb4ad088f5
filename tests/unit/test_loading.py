"""The code of a dynamic worker: what is taken, what is refused and with which error, and how it travels."""

from __future__ import annotations

from typing import Any

import pytest

from homing.errors import BadRequest, HomingError, NotSupported, TooLarge
from homing.grants import Given, files, http
from homing.loading import (
    CODE_BYTES_MAX,
    CPU_MS_DEFAULT,
    CPU_MS_MAX,
    MODULES_MAX,
    SUB_REQUESTS_MAX,
    CallLimits,
    Module,
    WorkerCode,
    limits_of,
    worker_code,
)
from homing.loading_frames import (
    Answer,
    Call,
    Event,
    Part,
    decode_answer,
    decode_call,
    decode_code,
    decode_part,
    encode,
    encode_code,
    pieces_of,
)
from homing.values import from_stored

MAIN = {"main.py": ""}


def test_names_of_javascript_and_of_python_say_the_same() -> None:
    ours = worker_code(
        {
            "main_module": "main.py", "modules": MAIN, "limits": {"cpu_ms": 9, "sub_requests": 2},
            "global_outbound": None, "compatibility_date": "2026-01-01",
        }
    )  # fmt: skip
    theirs = worker_code(
        {
            "mainModule": "main.py", "modules": MAIN, "limits": {"cpuMs": 9, "subRequests": 2},
            "globalOutbound": None, "compatibilityDate": "2026-01-01",
        }
    )  # fmt: skip
    assert ours == theirs
    assert ours.limits == CallLimits(9, 2)
    assert worker_code(ours) is ours


def test_every_kind_of_module_is_taken() -> None:
    code = WorkerCode(
        "main.py",
        {
            "main.py": "x = 1",
            "lib/a.py": {"py": "y"},
            "note.txt": {"text": "ä"},
            "a.json": {"json": {"n": [1]}},
            "b.json": {"json": "[1]"},
            "raw": {"data": bytearray(b"\0")},
        },
    )
    script = {"a.js": "1", "b.mjs": "2", "c.ts": "3", "d.mts": "4", "e": {"js": "5"}, "f": {"ts": "6"}}
    kinds = {name: kind for name, (kind, _) in WorkerCode("f", script).checked.items()}
    assert kinds == {"a.js": "js", "b.mjs": "js", "c.ts": "ts", "d.mts": "ts", "e": "js", "f": "ts"}
    assert code.checked == {
        "main.py": Module("py", b"x = 1"),
        "lib/a.py": Module("py", b"y"),
        "note.txt": Module("text", "ä".encode()),
        "a.json": Module("json", b'{"n":[1]}'),
        "b.json": Module("json", b"[1]"),
        "raw": Module("data", b"\0"),
    }
    assert code.limits == CallLimits(CPU_MS_DEFAULT)


BAD: dict[str, tuple[Any, type[Exception]]] = {
    "no main module": ({"modules": MAIN}, BadRequest),
    "no modules": ({"main_module": "main.py"}, BadRequest),
    "a main module that is not there": ({"main_module": "a.py", "modules": MAIN}, BadRequest),
    "a main module that is no Python": ({"main_module": "a", "modules": {"a": {"text": ""}}}, BadRequest),
    "a main module that is no name": ({"main_module": 7, "modules": MAIN}, BadRequest),
    "a name that leads out": ({"modules": {"../a.py": ""}}, BadRequest),
    "a name that leads out in the middle": ({"modules": {"a/../../b.py": ""}}, BadRequest),
    "an absolute name": ({"modules": {"/a.py": ""}}, BadRequest),
    "an empty name": ({"modules": {"": ""}}, BadRequest),
    "an empty part": ({"modules": {"a//b.py": ""}}, BadRequest),
    "a dot": ({"modules": {"./a.py": ""}}, BadRequest),
    "a backslash": ({"modules": {"..\\a.py": ""}}, BadRequest),
    "a null character": ({"modules": {"a\0.py": ""}}, BadRequest),
    "a name that is none": ({"modules": {1: ""}}, BadRequest),
    "a long name": ({"modules": {"a" * 600 + ".py": ""}}, BadRequest),
    "a deep name": ({"modules": {"a/" * 40 + "b.py": ""}}, BadRequest),
    "ten thousand modules": ({"modules": {f"m{n}.py": "" for n in range(10_000)}}, TooLarge),
    "code of 65 MiB": ({"modules": {"a": {"data": bytes(65 << 20)}}}, TooLarge),
    "two of one import": ({"modules": {"a.py": "", "a/__init__.py": ""}}, BadRequest),
    "two kinds": ({"modules": {"a": {"text": "", "data": b""}}}, BadRequest),
    "no kind": ({"modules": {"a": {}}}, BadRequest),
    "a kind that is not there": ({"modules": {"a": {"exe": b""}}}, BadRequest),
    "JavaScript beside Python": ({"modules": {**MAIN, "a.js": {"js": ""}}}, BadRequest),
    "Python beside TypeScript": ({"main_module": "a.ts", "modules": {**MAIN, "a.ts": ""}}, BadRequest),
    "JavaScript that is bytes": ({"main_module": "a", "modules": {"a": {"js": b""}}}, BadRequest),
    "modules of CommonJS": ({"modules": {"a": {"cjs": ""}}}, NotSupported),
    "CommonJS by its name": ({"modules": {"a.cjs": ""}}, NotSupported),
    "JSX": ({"modules": {"a.tsx": ""}}, NotSupported),
    "WebAssembly": ({"modules": {"a": {"wasm": b""}}}, NotSupported),
    "a text of no kind": ({"modules": {"a.txt": ""}}, BadRequest),
    "data that is text": ({"modules": {"a": {"data": "x"}}}, BadRequest),
    "text that is none": ({"modules": {"a": {"text": "\ud800"}}}, BadRequest),
    "JSON that is none": ({"modules": {"a": {"json": "{"}}}, BadRequest),
    "JSON of what has none": ({"modules": {"a": {"json": object()}}}, BadRequest),
    "an unknown field": ({"modul": {}}, BadRequest),
    "a field twice": ({"mainModule": "main.py"}, BadRequest),
    "an unknown limit": ({"limits": {"cpu": 1}}, BadRequest),
    "no CPU": ({"limits": {"cpu_ms": 0}}, BadRequest),
    "too much CPU": ({"limits": {"cpu_ms": CPU_MS_MAX + 1}}, BadRequest),
    "a part of a millisecond": ({"limits": {"cpu_ms": 1.5}}, BadRequest),
    "a true limit": ({"limits": {"sub_requests": True}}, BadRequest),
    "a long tenant": ({"tenant": "x" * 201}, BadRequest),
    "many tails": ({"tails": [None] * 9}, BadRequest),
    "no dict": ([], BadRequest),
    "an env of a name that is taken": ({"env": {"global_outbound": 1}}, BadRequest),
    "requests through nothing": ({"global_outbound": object()}, TypeError),
    "requests through a grant of something else": ({"global_outbound": files({"a": "b"})}, TypeError),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_code_is_refused(what: str) -> None:
    given, kind = BAD[what]
    if isinstance(given, dict) and what not in ("no main module", "no modules"):
        given = {"main_module": "main.py", **given}
        given["modules"] = {**given.get("modules", {}), **MAIN}
    with pytest.raises((HomingError, TypeError)) as caught:
        worker_code(given)
    assert type(caught.value) is kind


def test_limits_of_size_are_at_their_edge() -> None:
    """Broken by: `<` for `<=`, or names that are not counted."""
    most = CODE_BYTES_MAX - len("main.py") - len("a")
    WorkerCode("main.py", {**MAIN, "a": {"data": bytes(most)}})
    with pytest.raises(TooLarge):
        WorkerCode("main.py", {**MAIN, "a": {"data": bytes(most + 1)}})
    WorkerCode("m0.py", {f"m{n}.py": "" for n in range(MODULES_MAX)})
    with pytest.raises(TooLarge):
        WorkerCode("m0.py", {f"m{n}.py": "" for n in range(MODULES_MAX + 1)})
    encode_code(WorkerCode("main.py", MAIN, {"a": "x" * ((1 << 20) - 8)}))
    with pytest.raises(TooLarge):
        encode_code(WorkerCode("main.py", MAIN, {"a": "x" * (1 << 20)}))
    with pytest.raises(TypeError):
        encode_code(WorkerCode("main.py", MAIN, {"a": object()}))


def test_grants_are_parted_from_values() -> None:
    items = http("a.example", methods=["GET"], paths=["/**"])
    code = WorkerCode("main.py", MAIN, {"n": 1, "items": items}, global_outbound=items)
    assert (dict(code.values), dict(code.grants)) == ({"n": 1}, {"items": items, "global_outbound": items})


def test_the_lower_limit_counts() -> None:
    assert CallLimits(10, 3).lower(CallLimits(5, 7)) == CallLimits(5, 3)
    assert limits_of(None) == CallLimits(CPU_MS_MAX, SUB_REQUESTS_MAX)
    assert limits_of({"cpu_ms": 5}).lower(CallLimits(7, 1)) == CallLimits(5, 1)


def test_all_of_it_travels() -> None:
    code = WorkerCode("main.py", {"main.py": "x", "a": {"data": b"\xff"}}, {"n": 2**70})
    main, modules, env = decode_code(encode_code(code))
    assert (main, modules) == ("main.py", [("main.py", "py", b"x"), ("a", "data", b"\xff")])
    assert from_stored(env) == {"n": 2**70}
    part = Part("k", "ada", 1, 2, True, (Given("a", b"k", "http", b""),), 5, 0, b"hello")
    assert decode_part(encode(part)) == part
    call = Call("k", "E", b"p", 5, 6, "m", b"b")
    assert decode_call(encode(call)) == call
    answer = Answer(3, failure=("a", "b", "c", "d"), event=Event("ok", [(1, 20, "x")], ["T", "m", "t"], 1.5, 2.0))
    assert decode_answer(encode(answer)) == answer
    assert [*pieces_of(b"", 2)] == [(0, b"")]
    assert [*pieces_of(b"abc", 2)] == [(0, b"ab"), (2, b"c")]
    for decode in (decode_part, decode_call):
        for wrong in (b"", b"\xc1", encode(answer), b"\x90"):
            with pytest.raises(BadRequest):
                decode(wrong)
