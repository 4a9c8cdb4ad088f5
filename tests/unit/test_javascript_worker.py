"""A dynamic worker of JavaScript without a jail: how modules are linked, how calls go on, and what grants are to it."""

from __future__ import annotations

from typing import Any

from homing.loading import GLOBAL_OUTBOUND, worker_code
from homing.loading_frames import decode_code, encode_code
from homing.values import from_stored
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.javascript_worker import is_javascript
from javascript_sandbox import ENDS, Sandbox, value


def test_what_is_javascript_is_told_by_the_main_module() -> None:
    for name, expected in (("a.js", True), ("a.ts", True), ("a.py", False)):
        assert (
            is_javascript(decode_code(encode_code(worker_code({"main_module": name, "modules": {name: ""}}))))
            is expected
        )


# -- modules ----------------------------------------------------------------------------------------------------------


def test_what_is_imported_is_what_it_is_now() -> None:
    """Broken by: values that are copied when a module is linked."""
    counter = "export let n = 0; export const bump = () => { n++ }; export { n as default }"
    before = "import d, { n, bump } from './c.js'; import * as all from './c.js'"
    assert value("[n, bump(), n, all.n, d, Object.keys(all)]", before=before, c_js=counter) == [
        0, None, 1, 1, 1, ["bump", "default", "n"],
    ]  # fmt: skip


def test_modules_may_import_each_other() -> None:
    a = "import { b } from './b.js'\nexport function a() { return 'a' }\nexport const both = a() + b()"
    b = "import { a } from './a.js'\nexport function b() { return 'b' + a() }\nexport const early = b()"
    before = "import { both } from './a.js'; import { early } from './b.js'"
    assert value("[both, early]", before=before, a_js=a, b_js=b) == ["aba", "ba"]


def test_what_is_not_there_yet_cannot_be_read() -> None:
    a = "import { b } from './b.js'; export const a = 1"
    b = "import { a } from './a.js'; export let b; try { a } catch (error) { b = error.name }"
    assert value("b", before="import './a.js'; import { b } from './b.js'", a_js=a, b_js=b) == "ReferenceError"


def test_modules_run_once_and_in_order() -> None:
    modules = {f"{name}_js": f"import './log.js'; {more}; log.push('{name}')" for name, more in (
        ("a", "import './b.js'"), ("b", "await new Promise(done => setTimeout(done, 5))"), ("c", "import './a.js'"),
    )}  # fmt: skip
    before = "import './a.js'; import './c.js'; import './b.js'"
    assert value("log", before=before, log_js="globalThis.log = []", **modules) == ["b", "a", "c"]


def test_names_that_are_passed_on() -> None:
    modules = {
        "one_js": "export const a = 1, both = 1; export default 'one'",
        "two_js": "export const b = 2, both = 2; export { a as 'x y' } from './one.js'",
        "all_js": "export * from './one.js'; export * from './two.js'; export * as two from './two.js'",
    }
    before = "import * as all from './all.js'; import { 'x y' as xy, two } from './all.js'"
    found = value(
        "[Object.keys(all), xy, two.b, typeof all.default, Object.prototype.toString.call(all)]",
        before=before,
        **modules,
    )
    assert found == [["a", "b", "two", "x y"], 1, 2, "undefined", "[object Module]"]
    told = Sandbox(
        {"main.js": "import { both } from './all.js'", **{n.replace("_", "."): t for n, t in modules.items()}}
    )
    assert told.answer(told.begin("run"))[2:5] == (
        "start:syntax", "SyntaxError", "all.js has more than one export 'both', which main.js imports",
    )  # fmt: skip


def test_what_is_imported_cannot_be_assigned_and_has_no_this() -> None:
    a = "export const who = function () { return this === undefined }; export const tag = (parts) => parts[0]"
    before = "import { who, tag } from './a.js'\nlet found = 0\nfound = 1\nwho()\n"
    before += "function own() { try { who = 1 } catch (error) { return error.name } }"
    assert value("[who(), tag`x`, own(), found]", before=before, a_js=a) == [True, "x", "TypeError", 1]


def test_import_as_a_function() -> None:
    before = "const name = './a.js'"
    assert value("(await import(name)).a", before=before, a_js="export const a = 1") == 1
    assert value("(await import(`${name}`)) === (await import('a.js'))", before=before, a_js="") is True
    assert (
        value("import('../a.js').catch(e => e.message)", a_js="")
        == "there is no module '../a.js', which main.js imports"
    )
    assert value("import('./a.js').catch(e => e.message)", a_js="throw new Error('no')") == "no"
    assert value("import.meta.url", before="") == "file:///main.js"


def test_modules_that_are_no_code() -> None:
    sandbox = Sandbox({
        "main.js": "import json from './a.json'; import text from './t'; import data from './d'\n"
        "export default { run: () => [json.n, text, data instanceof ArrayBuffer, data] }",
        "a.json": {"json": {"n": [1, None]}}, "t": {"text": "é\u2028"}, "d": {"data": b"\0\xff"},
    })  # fmt: skip
    assert sandbox.call("run") == [[1, None], "é\u2028", True, b"\0\xff"]


def test_default_exports_have_the_name_that_they_should() -> None:
    a = "export default () => 1"
    assert value("[a.name, a()]", before="import a from './a.js'", a_js=a) == ["default", 1]


# -- calls ------------------------------------------------------------------------------------------------------------

CLASSES = """
import { WorkerEntrypoint, waitUntil, env } from "cloudflare:workers";
class Base extends WorkerEntrypoint {
  inherited() { return [this.ctx.props.p, this.env.K, env === this.env] }
}
export default class extends Base {
  constructor(ctx, env) { super(ctx, env); this.own = () => "own" }
  get value() { return 7 }
  #hidden() {}
  slow(ms) { return new Promise((done) => setTimeout(done, ms, ms)) }
  later() { waitUntil(Promise.reject(new Error("late"))); return this.own() }
}
export class NotOne {}
export const handlers = { double: (n, env, ctx) => [n * 2, env.K, ctx.props.p], value: 1 };
"""


def test_methods_of_a_class_are_its_own_and_those_that_it_inherits() -> None:
    sandbox = Sandbox({"main.js": CLASSES})
    assert sandbox.call("inherited") == [1, [1], True]
    assert sandbox.call("later") == "own"
    assert sandbox.call("double", 4, entrypoint="handlers") == [8, [1], 1]
    for method, entrypoint in (
        ("own", ""), ("value", ""), ("constructor", ""), ("toString", ""), ("ctx", ""), ("nothing", ""),
        ("x", "NotOne"),
        ("value", "handlers"), ("hasOwnProperty", "handlers"), ("__proto__", "handlers"), ("x", "toString"),
    ):  # fmt: skip
        assert sandbox.answer(sandbox.begin(method, entrypoint=entrypoint))[2] == talk.NOT_FOUND, method
    assert any(message[0] == talk.LINE and message[3] == "Error: late" for message in sandbox.said)


def test_a_call_that_is_given_up_fails_once() -> None:
    sandbox = Sandbox({"main.js": CLASSES})
    first, second = sandbox.begin("slow", 50), sandbox.begin("slow", 5)
    assert from_stored(sandbox.answer(second)[2]) == 5
    sandbox.cancel(first)
    assert sandbox.answer(first)[2] == talk.CANCELLED
    assert sandbox.call("slow", 1) == 1
    sandbox.cancel(first)  # again, and one that never was
    sandbox.cancel(77)
    assert sandbox.call("slow", 60) == 60
    assert [message[1] for message in sandbox.said if message[0] in ENDS].count(first) == 1


def test_a_facet_is_none_of_its_own() -> None:
    sandbox = Sandbox({"main.js": CLASSES})
    told = sandbox.answer(sandbox.begin("slow", 1, facet=1))
    assert told[2:5] == (talk.NOT_SUPPORTED, "", "facets whose classes are of JavaScript")
    assert sandbox.call("slow", 1) == 1


def test_lines_belong_to_the_call_that_goes_on() -> None:
    text = """export default { async run(x) {
        for (let n = 0; n < 2; n++) { console.log(x); await new Promise((done) => setTimeout(done, 2)) }
    } }"""
    sandbox = Sandbox({"main.js": text})
    numbers = [sandbox.begin("run", name) for name in "ab"]
    for number in numbers:
        sandbox.answer(number)
    assert [message[1:4] for message in sandbox.said if message[0] == talk.LINE] == [
        (1, 20, "a"), (2, 20, "b"), (1, 20, "a"), (2, 20, "b"),
    ]  # fmt: skip


def test_names_of_a_run_of_one_script_are_not_those_of_a_worker() -> None:
    assert value("[typeof env, typeof fetch, typeof URL, typeof __inner, typeof __say, typeof process]") == [
        "undefined", "function", "function", "undefined", "undefined", "undefined",
    ]  # fmt: skip


# -- grants -----------------------------------------------------------------------------------------------------------

OFFERS = [
    ("hits", "stub", ["add"]),
    ("api", "http", []),
    ("tree", "files", [{"a/b.txt": b"text"}, True]),
    (GLOBAL_OUTBOUND, "fetch", []),
]  # fmt: skip


def answered(place: int, operation: str, said: Any) -> Any:
    if place == 0:
        return said[0][0] + 1
    method, url, headers, body = said if place == 1 else said[0]
    if "refused" in url:
        raise KeyError(url)
    return [
        200 if place == 1 else 302,
        [["X-Method", method], ["x-at", f"{place}"]],
        body or f"{url} {headers}".encode(),
    ]


def granted(expression: str) -> Any:
    text = f"export default {{ async run(x, env, ctx) {{ return {expression} }} }}"
    return Sandbox({"main.js": text}, OFFERS, answered).call("run")


def test_grants_are_members_of_env() -> None:
    assert granted("[await env.hits.add(2), Object.keys(env)]") == [3, ["K", "hits", "api", "tree"]]
    assert granted("(await env.api.fetch('https://a.example/x', { headers: { A: 'b' } })).text()") == (
        "https://a.example/x [['a', 'b']]"
    )
    assert granted("(await fetch('https://a.example', { method: 'post', body: new Uint8Array([65]) })).text()") == "A"
    answer = "(async a => [a.status, a.ok, a.url, a.headers.get('X-METHOD'), a.headers.get('x-at')])"
    assert granted(f"{answer}(await fetch(new Request('https://a.example/?q=é')))") == [
        302, False, "https://a.example/?q=%C3%A9", "GET", "3",
    ]  # fmt: skip
    assert granted("fetch('https://refused.example/').catch(e => [e.name, e.code, e instanceof Error])") == [
        "GrantEnded", "grant-ended", True,
    ]  # fmt: skip
    assert granted("fetch('https://a.example/', { redirect: 'error' }).catch(e => e.message)") == (
        "https://a.example/ answers with a redirect"
    )
    assert granted("fetch('no url').catch(e => e.name)") == "TypeError"


def test_files_are_in_the_sandbox() -> None:
    code = """(async tree => {
        await tree.write("c", "é"); await tree.write("d", new Uint8Array([1])); await tree.delete("d")
        const refused = []
        const long = "x".repeat(5 << 20)
        for (const attempt of [() => tree.read("d"), () => tree.write("../x", ""), () => tree.write("e", long),
                               () => tree.delete("d")]) {
            try { await attempt() } catch (error) { refused.push(error.name) }
        }
        return [await tree.list(), await tree.list("a"), await tree.text("a/b.txt"), await tree.read("c"), refused]
    })(env.tree)"""
    assert granted(code) == [
        ["a/b.txt", "c"], ["a/b.txt"], "text", "é".encode(),
        ["FileNotFoundError", "BadRequest", "TooLarge", "FileNotFoundError"],
    ]  # fmt: skip
