"""Dynamic workers of JavaScript as a node has them, in real jails: what goes wrong, what ends, what goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from homing.errors import SandboxError
from homing.loading_frames import NEEDED
from homing_node.sandboxes import limits
from loaded import Workers, workers


@pytest.fixture
async def node():
    async with workers() as found:
        yield found


def code(text: str, name: str = "main.js", **more: Any) -> dict[str, Any]:
    return {"main_module": name, "modules": {name: text}, **more}


def main(body: str, before: str = "") -> dict[str, Any]:
    """A worker whose method `run` has this body; `sleep` waits for so many milliseconds."""
    return code(
        'import { WorkerEntrypoint } from "cloudflare:workers";\n'
        "const sleep = (ms) => new Promise((done) => setTimeout(done, ms));\n"
        f"{before}\nexport default class extends WorkerEntrypoint {{\n"
        f"  async run(...args) {{\n{body}\n  }}\n  quick() {{ return 'quick' }}\n}}\n"
    )


async def refused(node: Workers, key: str, **given: Any) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        await node.call(key, **given)
    return caught.value


ENDS = {
    "a tight loop": ("while (true);", "sandbox-limit", "cpu_ms"),
    "a loop of promises": ("while (true) await null;", "sandbox-limit", "cpu_ms"),
    "a regular expression that backtracks": ("/(a+)+b/.test('a'.repeat(64))", "sandbox-limit", "cpu_ms"),
    "memory": ("const all = []; for (;;) all.push(new Array(1e5).fill(all.length));", "sandbox-limit", "memory_bytes"),
    "one large buffer": ("return new ArrayBuffer(2 ** 30);", "sandbox-limit", "memory_bytes"),
    "too long a result": ("return new Uint8Array(9 << 20);", "sandbox-limit", "result_bytes"),
    "too long a text": ("return 'x'.repeat(9 << 20);", "sandbox-limit", "result_bytes"),
    "no value": ("return () => 1;", "sandbox-no-value", ""),
    "an instance": ("return new (class A {})();", "sandbox-no-value", ""),
    "what contains itself": ("const all = []; all.push(all); return all;", "sandbox-no-value", ""),
    "a deep value": ("let v = []; for (let n = 0; n < 1e5; n++) v = [v]; return v;", "sandbox-no-value", ""),
    "a key that is a list": ("return new Map([[[1], 2]]);", "sandbox-no-value", ""),
    "an exception": ("throw new RangeError('a');", "sandbox-error", "RangeError"),
    "no exception": ("throw 'a text';", "sandbox-error", "string"),
    "an exception whose text raises": (
        "throw Object.defineProperty(new Error(), 'name', { get() { throw 1 } });",
        "sandbox-error",
        "Error",
    ),
    "recursion": ("const f = () => f(); f();", "sandbox-error", "RangeError"),
    "the network": ("await fetch('http://127.0.0.1/');", "sandbox-error", "Forbidden"),
    "a module that is not there": ("await import('node:fs');", "sandbox-error", "TypeError"),
    "a module by the engine": ("await (0, eval)('import(\"./main.js\")');", "sandbox-error", "ReferenceError"),
    "a file": ("return process.env;", "sandbox-error", "ReferenceError"),
    "an assignment to an import": ("WorkerEntrypoint = 1;", "sandbox-error", "TypeError"),
}


@pytest.mark.parametrize("what", ENDS)
async def test_what_goes_wrong_is_a_typed_error_and_a_sibling_is_unharmed(node: Workers, what: str) -> None:
    body, kind, error_type = ENDS[what]
    sibling = await node.load(main("return [args, 'well']"))
    bad = await node.load(main(body))
    error = await refused(node, bad, cpu_ms=1_000)
    assert (error.code, error.error_type) == (kind, error_type), error.message
    assert await node.call(sibling, "run", 1) == [[1], "well"]
    if kind != "sandbox-limit":
        assert await node.call(bad, "quick") == "quick"  # it goes on


BAD_CODE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a syntax error": (code("\nlet x = ;"), "sandbox-syntax", "main.js:2:9"),
    "what only the engine finds": (code("let a;\nlet a;"), "sandbox-syntax", "main.js:2:"),
    "a bracket too few": (code("export default {\n  run() { return 1 }\n"), "sandbox-syntax", "main.js:"),
    "a bracket too many": (code("export default {\n}}\n"), "sandbox-syntax", "main.js:"),
    "a text without end": (code("export default {}\nconst a = `abc"), "sandbox-syntax", "main.js:2:"),
    "an error in another module": (
        {"main_module": "a.js", "modules": {"a.js": "import './lib/b.js'", "lib/b.js": "\n\nvar 1"}},
        "sandbox-syntax",
        "lib/b.js:3:",
    ),
    "an enum": (code("export default {}\nenum A { B }", "main.ts"), "sandbox-syntax", "main.ts:2:1"),
    "types in JavaScript": (code("const n: number = 1"), "sandbox-syntax", "main.js:1:"),
    "no such module": (code("\nimport a from './nobody.js'"), "sandbox-error", "main.js:2:15"),
    "a module outside": (code("import a from '../main.js'"), "sandbox-error", "main.js:1:15"),
    "a package": (code("import a from 'lodash'"), "sandbox-error", "main.js:1:15"),
    "a module of a node": (code("import a from 'node:fs'"), "sandbox-error", "main.js:1:15"),
    "no such export": (code("import { Nobody } from 'workers'"), "sandbox-syntax", "main.js:1:"),
    "an exception": (code("\n  null.x"), "sandbox-error", "main.js:2:3"),
    "an exception later": (code("await 1\nthrow new TypeError('no')"), "sandbox-error", "main.js:2:"),
}


@pytest.mark.parametrize("what", BAD_CODE)
async def test_a_code_that_does_not_load_tells_where_at_each_first_call(node: Workers, what: str) -> None:
    given, kind, place = BAD_CODE[what]
    key = await node.load(given)
    error = await refused(node, key)
    assert error.code == kind
    assert f"at {place}" in error.traceback or f"({place}" in error.traceback, error.traceback
    assert "<input>" not in error.traceback
    assert (await node.answer(key)).kind == NEEDED


async def test_lines_of_a_stack_are_those_of_the_source(node: Workers) -> None:
    text = (
        "import { deep } from './lib/deep.js'\n\ninterface Given {\n  n: number\n}\n\nexport default {\n"
        "  run(n: Given | null): unknown {\n    return deep<Given>(n)\n  }\n}\n"
    )
    modules = {"main.ts": text, "lib/deep.ts": "export const deep = <T>(given: T): T =>\n  inner(given)\n"
               "function inner<T>(n: T): T {\n  return (n as any).no.such\n}\n"}  # fmt: skip
    error = await refused(node, await node.load({"main_module": "main.ts", "modules": modules}))
    assert error.traceback.splitlines() == [
        "TypeError: cannot read property 'no' of undefined",
        "    at inner (lib/deep.ts:4:11)",
        "    at deep (lib/deep.ts:2:9)",
        "    at run (main.ts:9:28)",
    ]


async def test_calls_interleave_where_they_await_and_share_what_modules_hold(node: Workers) -> None:
    """Broken by: a call that begins when the one before it has ended."""
    body = "atOnce++; most = Math.max(most, atOnce); await sleep(200); atOnce--; return most"
    key = await node.load(main(body, "let atOnce = 0, most = 0"))
    began = time.monotonic()
    found = await asyncio.gather(*(node.call(key) for _ in range(8)))
    assert max(found) == 8
    assert time.monotonic() - began < 2


async def test_one_call_may_settle_what_another_awaits(node: Workers) -> None:
    body = "if (args[0]) { settle(args[0]); return } return await waiting"
    key = await node.load(main(body, "let settle; const waiting = new Promise((done) => { settle = done })"))
    first = asyncio.ensure_future(node.call(key))
    await asyncio.sleep(0.2)
    await node.call(key, "run", 7)
    assert await first == 7


async def test_cpu_is_counted_for_each_call(node: Workers) -> None:
    """Calls that are cheap use more together than one may. Broken by: a limit of the process's whole life."""
    key = await node.load(main("const end = performance.now() + 150; while (performance.now() < end); return 1"))
    for _ in range(4):
        assert await node.call(key, cpu_ms=600) == 1
    error = await refused(node, await node.load(main("while (true);")), cpu_ms=50)
    assert (error.error_type, error.message) == ("cpu_ms", "it used more than 50 ms of CPU")


async def test_memory_that_is_given_back_can_be_used_again(node: Workers) -> None:
    key = await node.load(main("const all = []; for (;;) all.push(new Array(1e5).fill(all.length));"))
    for _ in range(3):
        assert (await refused(node, key)).error_type == "memory_bytes"
    assert await node.call(key, "quick") == "quick"


async def test_a_call_that_nobody_waits_for_ends_and_what_it_has_begun_goes_on(node: Workers) -> None:
    """Broken by: a timer that ends with the call that set it, which leaves others waiting for ever."""
    key = await node.load(main("return await (cached ??= sleep(args[0]).then(() => 'there'))", "let cached"))
    first = asyncio.ensure_future(node.answer(key, "run", 800, wait_s=0.3))
    await asyncio.sleep(0.1)
    other = asyncio.ensure_future(node.call(key, "run", 0))
    answer = await first
    assert answer.failure is not None
    assert answer.failure[0] == "deadline-exceeded"
    assert await other == "there"
    await asyncio.sleep(limits.loaded_cancel_s + 0.3)
    assert await node.call(key, "quick") == "quick"


async def test_a_worker_that_does_not_listen_is_ended(node: Workers) -> None:
    key = await node.load(main("for (;;) await null"))
    assert (await node.answer(key, wait_s=0.2, cpu_ms=30_000)).failure is not None
    deadline = time.monotonic() + limits.loaded_cancel_s + 3
    while node.node.list():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_calls_in_flight_when_it_dies_get_the_error(node: Workers) -> None:
    key = await node.load(main("await sleep(20_000)"))
    waiting = [asyncio.ensure_future(node.call(key)) for _ in range(3)]
    await asyncio.sleep(0.3)
    (facts,) = node.node.list()
    os.kill(facts.pid, signal.SIGKILL)
    for each in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(each, SandboxError)
        assert each.code == "sandbox-died"
    assert (await node.answer(key)).kind == NEEDED


async def test_lines_have_their_call_and_level_and_a_flood_is_cut(node: Workers) -> None:
    body = "console.log('one', { a: 1 }); await sleep(5); console.error('two\\nthree'); console.debug('four'); return 1"
    await node.call(await node.load(main(body)))
    assert node.lines == [("req", 20, "one { a: 1 }"), ("req", 40, "two"), ("req", 40, "three"), ("req", 10, "four")]
    node.lines.clear()
    key = await node.load(main("for (let n = 0; n < 3000; n++) console.log(n); return 1"))
    assert await node.call(key) == 1
    assert 0 < len(node.lines) <= 1_000
    node.lines.clear()
    body = "this.ctx.waitUntil(sleep(50).then(() => { console.log('after'); null.x })); return 1"
    await node.call(await node.load(main(body)))
    async with asyncio.timeout(10):
        while len(node.lines) < 3:
            await asyncio.sleep(0.02)
    assert [line[1:] for line in node.lines][:2] == [(20, "after"), (40, "TypeError: cannot read property 'x' of null")]


async def test_values_are_those_of_one_script(node: Workers) -> None:
    given = [None, True, 2**53, -1.5, "é\0😀", b"\0\xff", datetime(2026, 1, 2, tzinfo=UTC), [{"a": {1, 2}}], {1: "x"}]
    key = await node.load(main("return [args, new Map([[1, new Set(['a'])]]), 2n ** 70n, new Date(0), undefined]"))
    expected = [given, {1: {"a"}}, 2**70, datetime(1970, 1, 1, tzinfo=UTC), None]
    assert await node.call(key, "run", *given) == expected


async def test_long_values_and_much_code_cross(node: Workers) -> None:
    key = await node.load(main("return typeof args[0] === 'string' ? args[0].length : args[0]"))
    data = os.urandom(7 << 20)
    assert await node.call(key, "run", data) == data
    key = await node.load(main("return args[0].length"))
    assert await node.call(key, "run", "é" * (2 << 20)) == 2 << 20
    modules = {f"m{n}.js": f"export const n = {n}; // {'x' * 6_000}" for n in range(900)}
    modules["main.js"] = "".join(f"import {{ n as n{n} }} from './m{n}.js'\n" for n in range(900))
    modules["main.js"] += "export default { run: () => n0 + n899 }"
    assert await node.call(await node.load({"main_module": "main.js", "modules": modules})) == 899


async def test_a_module_that_is_too_long_to_be_read_says_so(node: Workers) -> None:
    error = await refused(node, await node.load(code("export default {}\n" + "f(); ".ljust(60, "/") * 30_000)))
    assert (error.code, error.error_type) == ("sandbox-limit", "memory_bytes")
    assert "main.js is too long to be read" in error.message
