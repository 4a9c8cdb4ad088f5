"""JavaScript and TypeScript in a node's sandboxes: bad input, what an engine lets out, and what its process is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from homing.errors import BadRequest
from homing.sandboxes import JAVASCRIPT, TYPESCRIPT, Asked, decode_outcome, encode_outcome
from homing_node.sandboxes.service import Sandboxes
from homing_node.workers.jail_system import status_of
from jailed import proc
from sandboxed import run, sandboxes, sleeping


@pytest.fixture
async def node() -> AsyncIterator[Sandboxes]:
    async with sandboxes() as found:
        yield found


BAD = {
    "a syntax error": ("let x = ", {}, "sandbox-syntax", "SyntaxError"),
    "code that is no text": ("a\0b", {}, "sandbox-syntax", "SyntaxError"),
    "an import of what is not there": ("import('fs')", {}, "sandbox-error", "ReferenceError"),
    "a function of another runtime": ("require('fs')", {}, "sandbox-error", "ReferenceError"),
    "an endless loop": ("for (;;);", {"cpu_s": 0.2}, "sandbox-limit", "cpu_s"),
    "an endless loop of promises": (
        "const f = () => { Promise.resolve().then(f) }; f(); new Promise(() => {})",
        {"cpu_s": 0.2}, "sandbox-limit", "cpu_s"),
    "an endless loop of timers": (
        "setInterval(() => {}, 0); new Promise(() => {})", {"wall_s": 0.2}, "sandbox-limit", "wall_s"),
    "sleep for ever": ("new Promise(f => setTimeout(f, 1e9))", {"wall_s": 0.2}, "sandbox-limit", "wall_s"),
    "a wait that nobody ends": (
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", {"wall_s": 0.2}, None, None),
    "a pattern that never ends": ("/(a+)+$/.test('a'.repeat(64) + 'b')", {"cpu_s": 0.2}, "sandbox-limit", "cpu_s"),
    "a number that never ends": ("let x = 3n; for (;;) x = x * x % 7n ** 99999n", {"cpu_s": 0.2}, None, None),
    "recursion": ("const f = () => f(); f()", {}, "sandbox-error", "RangeError"),
    "recursion of the parser": ("[".__mul__(1_000_000), {}, "sandbox-error", "RangeError"),
    "recursion in C": ("let x = []; for (let n = 0; n < 1e5; n++) x = [x]; JSON.stringify(x)", {}, None, None),
    "recursion of a pattern": ("new RegExp('('.repeat(1e6))", {}, None, None),
    "4 GiB at once": ("'x'.repeat(2 ** 29) + 'x'.repeat(2 ** 29)", {}, "sandbox-limit", "memory_bytes"),
    "4 GiB of bytes": ("new ArrayBuffer(2 ** 31 - 1)", {}, "sandbox-limit", "memory_bytes"),
    "memory bit by bit": ("const x = []; for (;;) x.push(new Array(1e5).fill(1))", {}, "sandbox-limit", "memory_bytes"),
    "memory byte by byte": ("const x = []; for (;;) x.push({})", {}, "sandbox-limit", "memory_bytes"),
    "memory, caught and taken again": (
        "const x = []; for (;;) try { x.push(new Array(1e5)) } catch {}", {"cpu_s": 0.5}, "sandbox-limit", "cpu_s"),
    "100 MiB of output": (
        "for (let n = 0; n < 1600; n++) console.log('x'.repeat(65535))", {}, "sandbox-limit", "output_bytes"),
    "a million lines": ("for (;;) console.log()", {}, "sandbox-limit", "output_bytes"),
    "a result that is a function": ("() => 1", {}, "sandbox-no-value", "TypeError"),
    "a result that contains itself": ("const x = []; x.push(x); x", {}, "sandbox-no-value", "TypeError"),
    "a result that is too large": ("'x'.repeat(2 << 20)", {}, "sandbox-limit", "result_bytes"),
    "a promise that nobody settles": ("new Promise(() => {})", {}, "sandbox-error", "Error"),
    "an exception whose text raises": (
        "class E extends Error { get message() { throw 1 } }; throw new E", {}, "sandbox-error", "Error"),
    "an exception that is none": ("throw null", {}, "sandbox-error", "object"),
}  # fmt: skip

HOSTILE = {
    "an array that changes while it is sorted": "const a = [3, 2, 1]; a.sort(() => { a.length = 0; return 1 })",
    "an array that changes while it is joined": "const a = [1, { toString() { a.length = 0 } }, 3]; a.join()",
    "an array that changes while it is sent": "const a = [{ get x() { a.length = 0 } }, 1]; a",
    "bytes that shrink while they are sent": (
        "const b = new ArrayBuffer(8, { maxByteLength: 8 }); const u = new Uint8Array(b);"
        "[{ get x() { b.resize(0) } }, u]"
    ),
    "bytes that are detached": "const b = new ArrayBuffer(8); const u = new Uint8Array(b); b.transfer(); u",
    "a class whose iterator throws": "class M extends Map { [Symbol.iterator]() { throw 1 } }; new M",
    "a proxy of everything": "new Proxy({}, new Proxy({}, { get() { throw new Error('x') } }))",
    "a proxy that answers with itself": "const p = new Proxy({}, { ownKeys: () => p, get: () => p }); p",
    "a reviver that changes the tree": "JSON.parse('[1,[2]]', function (k, v) { this.length = 0; return v })",
    "a getter in the middle of spread": "({ ...{ get a() { throw Error('x') } } })",
    "a species that lies": (
        "class A extends Array { static get [Symbol.species]() { return function () { return {} } } };"
        "new A(1, 2).map(x => x)"
    ),
    "a generator that calls itself": "function* g() { i.next() }; const i = g(); i.next()",
    "a registry of what is gone": (
        "const r = new FinalizationRegistry(() => { throw 1 }); for (let n = 0; n < 1e4; n++) r.register({}, 1)"
    ),
    "lastIndex beyond the text": "const r = /x/g; r.lastIndex = 2 ** 53; r.exec('x')",
    "a date beyond time": "new Date(8.64e15 + 1)",
    "a property of each kind": "const o = {}; for (let n = 0; n < 1e5; n++) o['p' + n] = n; Object.keys(o).length",
    "a template of a million parts": "'x'.repeat(1e5).split('').reduce((a, b) => a + b).length",
    "names of the prelude": "__begin('{}'); __fire(); __outcome()",
}

REACHES = {
    "a module of the engine: std": "(await import('std')).loadFile('/etc/passwd')",
    "a module of the engine: os": "(await import('os')).open('/etc/passwd', 0)",
    "a module of the engine: bjson": "await import('bjson')",
    "a module by its path": "await import('/usr/lib/python3.11/os.py')",
    "a module by its address": "await import('file:///etc/passwd')",
    "the global of std": "std.loadFile('/etc/passwd')",
    "the global of os": "os.exec(['/bin/sh'])",
    "a program's arguments": "scriptArgs",
    "node's modules": "process.binding('fs')",
    "node's require through a constructor": "console.log.constructor('return process')().mainModule",
    "a function of Deno": "Deno.readTextFileSync('/etc/passwd')",
    "the network: fetch": "await fetch('http://127.0.0.1/')",
    "the network: XMLHttpRequest": "new XMLHttpRequest()",
    "the network: WebSocket": "new WebSocket('ws://127.0.0.1')",
    "another thread": "new Worker('x')",
    "machine code": "new WebAssembly.Module(new Uint8Array(8))",
    "the caller of a function": "(function f() { return f.caller.caller })().constructor",
    "the caller through its arguments": "(function () { return arguments.callee.caller })().constructor",
    "the host's functions": "__write(1, '1')",
    "the engine's collector": "gc()",
    "a function of Python": "console.log.__globals__.sys",
    "the bytes of code": "eval(new Uint8Array([0x43]).buffer).constructor('return std')()",
}


@pytest.mark.parametrize("language", [JAVASCRIPT, TYPESCRIPT])
async def test_bad_input_is_a_typed_error_and_its_sibling_is_unharmed(language: str) -> None:
    async with sandboxes() as node:
        sibling, _ = await sleeping(node)
        wrong: list[str] = []
        for name, (code, given, expected, error_type) in BAD.items():
            if language == TYPESCRIPT and code.startswith("["):
                continue  # its brackets are missing: that is no TypeScript
            ran = await run(node, code, language=language, **given)
            found = (ran.error.code, ran.error.error_type) if ran.error is not None else (None, None)
            if expected is not None and (found[0] != expected or error_type not in (None, found[1])):
                wrong.append(f"{name}: {found} {ran.error}")
            if (await run(node, "6 * 7", language=language)).result != 42:
                wrong.append(f"{name}: the next run came to nothing")
        assert not wrong, "\n".join(wrong)
        assert not sibling.done()
        sibling.cancel()
        await asyncio.gather(sibling, return_exceptions=True)


async def test_hostile_code_ends_with_a_value_or_a_typed_error(node: Sandboxes) -> None:
    for name, code in HOSTILE.items():
        ran = await run(node, code, language=JAVASCRIPT)
        assert ran.error is None or ran.error.code in ("sandbox-error", "sandbox-no-value"), (name, ran.error)


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("enum A { B }", "sandbox-syntax"),
        ("let x: = 1", "sandbox-syntax"),
        ("`${" * 1_000_000, "sandbox-limit"),
        ("a<" * 1_000_000, "sandbox-limit"),
        ("let x: " + "A<" * 50_000, "sandbox-syntax"),
        ("(" * 100_000, "sandbox-syntax"),
    ],
)  # fmt: skip
async def test_bad_typescript_is_a_typed_error(node: Sandboxes, code: str, limit: str) -> None:
    ran = await run(node, code, language=TYPESCRIPT)
    assert ran.error is not None
    assert ran.error.code == limit, ran.error


async def test_nothing_is_within_reach(node: Sandboxes) -> None:
    for name, code in REACHES.items():
        ran = await run(node, code, language=JAVASCRIPT)
        assert ran.error is not None, (name, ran.result)
        assert (ran.error.code, ran.error.error_type) in (
            ("sandbox-error", "ReferenceError"),
            ("sandbox-error", "TypeError"),
        ), (name, ran.error)


async def test_functions_of_the_host_that_leak_are_worth_nothing(node: Sandboxes) -> None:
    """A trace may show functions of the prelude: what they reach is the sandbox's own output and its own memory."""
    code = """
        const found = [];
        Error.prepareStackTrace = (_, frames) => frames;
        const spy = { get x() {
            for (const frame of new Error().stack) try { found.push(frame.getFunction()) } catch {}
            for (const each of found) for (const junk of [[], [7, "x"], [-1], ["{"], [{}, {}]]) {
                try { each(...junk) } catch {}
            }
            return 1;
        } };
        spy
    """
    ran = await run(node, code, language=JAVASCRIPT, cpu_s=0.5)
    assert ran.error is None or ran.error.code in ("sandbox-error", "sandbox-no-value", "sandbox-limit"), ran.error
    assert (await run(node, "1", language=JAVASCRIPT)).result == 1


async def test_a_process_that_runs_javascript_has_nothing_either(node: Sandboxes) -> None:
    assert (await run(node, "1", language=JAVASCRIPT)).result == 1
    known = {each.number for each in node.list()}
    code = "console.log(1); await new Promise(f => setTimeout(f, 60000))"
    task = asyncio.ensure_future(run(node, code, language=JAVASCRIPT, wall_s=60))
    while not (found := [each for each in node.list() if each.number not in known and each.pid]):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    pid = found[0].pid
    status = status_of(pid)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "2")
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2", "3"]
    maps = proc(pid, "maps").splitlines()
    assert maps
    assert not [line for line in maps if "wx" in line.split()[1]]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_siblings_have_other_random_numbers(node: Sandboxes) -> None:
    """They are forked with one engine; seen to fail without the seed of each run."""
    found = [(await run(node, "[Math.random(), crypto.randomUUID()]", language=JAVASCRIPT)).check() for _ in range(4)]
    assert len({each[0] for each in found}) == len({each[1] for each in found}) == 4


async def test_what_it_prints_and_reads(node: Sandboxes) -> None:
    code = "console.log(stdin.trim()); console.error('e'); n"
    asked = Asked(code, stdin=b"one\n", language=TYPESCRIPT)
    ran = decode_outcome(encode_outcome(await node.run(asked)))
    assert (ran.stdout, ran.stderr) == ("one\n", "e\n")
    assert ran.error is not None
    assert (ran.error.error_type, ran.error.message) == ("ReferenceError", "n is not defined")
    assert "at <eval> (<sandbox>:1:" in ran.error.traceback


async def test_a_language_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest, match="typescript"):
        Asked("1", language="ruby")
