"""`env.LOADER` with JavaScript and TypeScript in a real cluster: values, grants, requests, tails, and bad input."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "loader"

MAIN = """
import { WorkerEntrypoint, env } from "cloudflare:workers";
import prices from "./data/prices.json";
import note from "./note.txt";
import raw from "raw.bin";
import { total, type Row } from "./lib/total.js";

export default class extends WorkerEntrypoint<Env> {
  async fetch(request: Request): Promise<Response> {
    console.log("hello from", request.url);
    const out = { "x-out": request.headers.get("X-In") ?? "" };
    return new Response(`${request.method} ${request.url} ${await request.text()}`, { status: 201, headers: out });
  }
  async run(n: number = 1) {
    await new Promise((done) => setTimeout(done, 10));
    const rows: Row[] = [{ n: prices.apple }];
    return [n, this.ctx.props, this.env.K, env === this.env, note, [...new Uint8Array(raw)], total(rows)];
  }
  boom(n: number) { return total([null as any]) }
}

export class Other extends WorkerEntrypoint {
  who() { return ["other", this.ctx.props.user] }
}

export const handler = {
  async fetch(request: Request, env: Env, ctx: any) {
    const later = await import("./lib/later.ts");
    return Response.json({ k: env.K, props: ctx.props, later: later.default(2) });
  },
};

interface Env { K: unknown }
"""

CODE: dict[str, Any] = {
    "mainModule": "main.ts",
    "modules": {
        "main.ts": MAIN,
        "lib/total.ts": (
            "import { one } from '../one.mjs'\n"
            "export interface Row { n: number }\n"
            "export const total = (rows: Row[]): number =>\n  rows.reduce((sum, row) => sum + row.n, one())\n"
        ),
        "lib/later.ts": "export default (n: number) => n * 21;",
        "one.mjs": "export function one() { return this === undefined ? 1 : 100 }",
        "note.txt": {"text": "a note"},
        "data/prices.json": {"json": {"apple": 3}},
        "raw.bin": {"data": b"\0\xff"},
    },
    "env": {"K": {"deep": [1, 2**70]}},
}


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP, nodes=1) as running:
        yield running


@pytest.fixture(scope="module")
def host(cluster: Cluster) -> Any:
    return cluster.get("Host", "a")


def small(body: str, **more: Any) -> dict[str, Any]:
    text = "import { WorkerEntrypoint } from 'homing'\nexport default class extends WorkerEntrypoint {\n"
    text += f"  async run() {{ {body} }}\n}}\n"
    return {"main_module": "m.js", "modules": {"m.js": text}, **more}


def test_an_object_loads_code_and_calls_it(host: Any) -> None:
    assert host.call(CODE) == [201, "1", "POST https://any.example/path?q=1 body"]
    found = host.call(CODE, "run", [5], props={"user": 7})
    assert found == [5, {"user": 7}, {"deep": [1, 2**70]}, True, "a note", [0, 255], 4]
    assert host.call(CODE, "who", entrypoint="Other", props={"user": "ada"}) == ["other", "ada"]


def test_an_object_of_handlers_gets_env_and_context(cluster: Cluster) -> None:
    with httpx.Client(base_url=cluster.url, timeout=60) as http:
        text = "export default { fetch: async (request, env, ctx) => new Response(await request.text() + env.K, "
        text += "{ headers: { 'x-out': request.headers.get('x-in') } }) }"
        code = {"mainModule": "w.js", "modules": {"w.js": text}, "env": {"K": "!"}}
        answer = http.post("/some/path", json={"id": "js", "code": code}, headers={"x-in": "in"})
        assert (answer.status_code, answer.headers["x-out"], answer.text[-1]) == (200, "in", "!")


def test_get_loads_it_once_and_load_each_time(host: Any) -> None:
    text = "let n = 0\nexport default { run: () => ++n }"
    code = {"main_module": "m.js", "modules": {"m.js": text}}
    assert [host.call(code, "run", worker="js counts") for _ in range(3)] == [1, 2, 3]
    assert [host.call(code, "run") for _ in range(2)] == [1, 1]


def test_what_code_raises_has_its_stack(host: Any) -> None:
    name, message, error_type, trace = host.refused(CODE, "boom", [0])
    assert (name, error_type) == ("SandboxError", "TypeError")
    assert message == "cannot read property 'n' of null"
    assert "(lib/total.ts:4:" in trace
    assert "boom (main.ts:" in trace
    assert "native" not in trace.splitlines()[-1]


MODULES = {"m.js": ""}
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no main module": ({"main_module": "a.js", "modules": MODULES}, {}, "BadRequest"),
    "a main module that is no code": ({"main_module": "a", "modules": {"a": {"text": ""}}}, {}, "BadRequest"),
    "a name with ../": ({"main_module": "m.js", "modules": {**MODULES, "../a.js": ""}}, {}, "BadRequest"),
    "Python beside it": ({"main_module": "m.js", "modules": {**MODULES, "a.py": ""}}, {}, "BadRequest"),
    "WebAssembly": ({"main_module": "m.js", "modules": {**MODULES, "a": {"wasm": b""}}}, {}, "NotSupported"),
    "CommonJS": ({"main_module": "m.js", "modules": {**MODULES, "a.cjs": ""}}, {}, "NotSupported"),
    "a syntax error": ({"main_module": "m.js", "modules": {"m.js": "let x = ;"}}, {}, "SandboxSyntaxError"),
    "an enum": ({"main_module": "m.ts", "modules": {"m.ts": "enum A {}"}}, {}, "SandboxSyntaxError"),
    "an import of nothing": ({"main_module": "m.js", "modules": {"m.js": "import 'nobody'"}}, {}, "SandboxError"),
    "an import from outside": ({"main_module": "m.js", "modules": {"m.js": "import '../m.js'"}}, {}, "SandboxError"),
    "it raises": ({"main_module": "m.js", "modules": {"m.js": "null.x"}}, {}, "SandboxError"),
    "no entrypoint": ({"main_module": "m.js", "modules": MODULES}, {}, "NotFound"),
    "a class that is none": ({"main_module": "m.js", "modules": {"m.js": "export default class {}"}}, {}, "NotFound"),
    "no such entrypoint": (CODE, {"entrypoint": "Nobody"}, "NotFound"),
    "an entrypoint of all objects": (CODE, {"entrypoint": "constructor"}, "NotFound"),
    "no such method": (CODE, {"method": "nothing"}, "NotFound"),
    "a method of all objects": (CODE, {"method": "toString"}, "NotFound"),
    "a constructor": (CODE, {"method": "constructor"}, "NotFound"),
    "no fetch": (small(""), {"method": ""}, "NotFound"),
    "no response": (
        {"main_module": "m.js", "modules": {"m.js": "export default { fetch: () => 'text' }"}},
        {"method": ""},
        "SandboxError",
    ),
    "two arguments for a handler": (
        {"main_module": "m.js", "modules": {"m.js": "export default { run: () => 1 }"}},
        {"args": [1, 2]},
        "BadRequest",
    ),
    "a loop": (small("while (true);"), {"limits": {"cpuMs": 100}}, "SandboxLimit"),
    "memory": (small("for (const all = [];;) all.push(new Array(1e5).fill(1))"), {}, "SandboxLimit"),
    "a long result": (small("return 'x'.repeat(9 << 20)"), {}, "SandboxLimit"),
    "no value": (small("return () => 1"), {}, "SandboxNoValue"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_a_typed_error_and_a_sibling_is_unharmed(host: Any, cluster: Cluster, what: str) -> None:
    code, given, kind = REFUSED[what]
    sibling = cluster.get("Host", "js sibling")
    before = sibling.call(CODE, "run", worker="well")
    assert host.refused(code, **given)[0] == kind
    assert sibling.call(CODE, "run", worker="well") == before


def test_arguments_by_name_are_for_python(cluster: Cluster) -> None:
    text = "import { WorkerEntrypoint } from 'workers'\nexport class Named extends WorkerEntrypoint { total() {} "
    text += "fetch() { return Response.json([this.ctx.props, this.env.K]) } }"
    with pytest.raises(Exception, match="total takes no arguments by name, as b is"):
        cluster.get("Foreign", "js").ask({"main.py": {"js": text}})


def test_without_an_outbound_nothing_goes_out(host: Any) -> None:
    name, message, error_type, _ = host.granted(small("return (await fetch('https://a.example/')).status"), "none")
    assert (name, error_type) == ("SandboxError", "Forbidden")
    assert "no global_outbound" in message


def test_every_request_goes_through_the_outbound(host: Any) -> None:
    text = "const a = await fetch('https://a.example/x', { method: 'POST', body: 'b', headers: { 'x-in': 'i' } });"
    text += "return [a.status, a.headers.get('x-a'), await a.text()]"
    assert host.granted(small(text), "self") == [202, "b", "own POST b"]
    assert host.granted(small(text), "stub") == [200, None, "gateway saw https://a.example/x i"]
    passed = "const a = await fetch(new Request(new URL('/y?z', 'https://a.example/x')));"
    passed += "const b = new Response(a.body, a); "
    passed += "return [b.status, b.headers.get('x-a'), await b.text(), b instanceof Response]"
    assert host.granted(small(passed), "self") == [202, "b", "own GET ", True]


def test_what_is_granted_can_be_called_and_nothing_else(host: Any) -> None:
    assert host.granted(small("return await this.env.own.told('hi')"), "none") == ["hi", {"user": 7}]
    assert host.granted(small("return await this.env.pairs.get('key')"), "none") == "value"
    for text in (
        "this.env.own.events()",
        "this.env.pairs.put('key', 1)",
        "this.env.nothing.x()",
        "this.env.global_outbound.fetch()",
    ):
        assert host.granted(small(f"return await {text}"), "self")[0] == "SandboxError"
    assert host.granted(small("return Object.keys(this.env).sort()"), "self") == ["own", "pairs"]


def test_calls_of_a_call_are_counted(host: Any) -> None:
    body = "for (let n = 0; n < {}; n++) await this.env.own.told('x')"
    name, _, error_type, _ = host.granted(small(body.replace("{}", "4")), "none")
    assert (name, error_type) == ("SandboxError", "SandboxLimit")
    assert host.granted(small(body.replace("{}", "3")), "none") is None


def test_a_grant_is_revoked_while_its_worker_runs(host: Any) -> None:
    body = "await new Promise((done) => setTimeout(done, 1000)); return await this.env.own.told('late')"
    name, _, error_type, _ = host.granted(small(body), "revoke")
    assert (name, error_type) == ("SandboxError", "GrantEnded")


def test_tails_are_told_what_became_of_each_call(host: Any, cluster: Cluster) -> None:
    body = "console.log('a line'); await 1; console.warn('worse'); return 1"
    code = small(body, limits={"cpu_ms": 200})
    text = code["modules"]["m.js"].rstrip("}\n") + "}\n  boom() { null.x }\n  loop() { while (true); }\n}"
    code["modules"] = {"m.js": text}
    before = len(cluster.get("Host", "tail").events())
    for method in ("run", "boom", "loop"):
        host.tailed(code, method)
    tail, deadline = cluster.get("Host", "tail"), time.monotonic() + 10
    while len(events := tail.events()) < before + 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    by_outcome = {each["outcome"]: each for each in events}
    assert by_outcome.keys() == {"ok", "exception", "exceededCpu"}
    logs = [(each["level"], each["message"]) for each in by_outcome["ok"]["logs"]]
    assert logs == [(20, "a line"), (30, "worse")]
    (error,) = by_outcome["exception"]["exceptions"]
    assert (error["name"], error["message"]) == ("TypeError", "cannot read property 'x' of null")
    assert "boom (m.js:" in error["stack"]
