"""Modules of JavaScript as the engine gets them: what is asked for and exported, where lines stay."""

from __future__ import annotations

import pytest

from homing_node.sandboxes.inside.javascript_graph import BadModule, Graph, graph_of, resolve
from homing_node.sandboxes.inside.javascript_modules import OWN, module_of
from homing_node.sandboxes.inside.typescript import Unreadable

ROOM = 1 << 26
D = "default"


@pytest.mark.parametrize(
    ("code", "imports", "asks"),
    [
        ("import a from './m.js'", (("a", 0, "default"),), ("./m.js",)),
        ("import * as n from 'm'", (("n", 0, "*"),), ("m",)),
        ("import 'x'; import 'x'; import './y'", (), ("x", "./y")),
        ("import a, { b as c, default as d } from 'm'", (("a", 0, D), ("c", 0, "b"), ("d", 0, D)), ("m",)),
        ('import { "x y" as f } from "m" with { type: "json" }', (("f", 0, "x y"),), ("m",)),
        ("import { type } from 'm'", (("type", 0, "type"),), ("m",)),
        ("f(import.meta.url, import('z'))", (), ()),
    ],
)  # fmt: skip
def test_what_is_imported(code: str, imports: object, asks: object) -> None:
    module = module_of(code, False)
    assert (module.imports, module.asks) == (imports, asks)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("import a from 'm'", ";                "),
        ("import {\n  a,\n} from 'm'\na()", ";       \n    \n          \n;(0,a)()"),
        ("import a from 'm'; if (x) a(); else a`1`", ";                  if (x) (0,a)(); else (0,a)`1`"),
        ("import a from 'm'; x = { a() {}, b: a(1) }; new a(); o.a()", None),
        ("export default { a: 1 }", f"{OWN}.default={{ a: 1 }}"),
        ("export default function () {}\n(1)", f"{OWN}.default=function () {{}};\n(1)"),
        ("export default class {}", f"{OWN}.default=class {{}};"),
        ("export default async () => 1", f"{OWN}.default=async () => 1"),
        ("export default function f() {}", ";              function f() {}"),
        ("export const a = 1, b = 2", ";      const a = 1, b = 2"),
        ("export { a, b as c }", ";                   "),
        ("await import('x'); import.meta; new.target", f"await {OWN}('x'); {OWN}.meta; new.target"),
        ("const text = 'import(1)'", "const text = 'import(1)'"),
    ],
)  # fmt: skip
def test_what_is_left_has_its_lines_and_columns(code: str, body: str | None) -> None:
    found = module_of(code, False).body
    assert found.count("\n") == code.count("\n")
    if body is None:
        assert found.endswith("x = { a() {}, b: (0,a)(1) }; new a(); o.a()")
    else:
        assert found == body


@pytest.mark.parametrize(
    ("code", "exports", "passed_on"),
    [
        ("export const { a, b: [c, d = 1], ...e } = x, f = 1", ("a", "c", "d", "e", "f"), ()),
        ("export async function* f() {}\nexport class A {}\nexport function g() {}", ("f", "A", "g"), ()),
        ("export { a, b as c, d as default, e as 'x y' }", ("a", "c", "default", "x y"), ()),
        ("export default 1", ("default",), ()),
        ("export default class A {}", ("default",), ()),
        ("export { a, default as b } from 'm'", (), (("a", 0, "a"), ("b", 0, "default"))),
        ("export * from 'm'; export * as n from 'm'", (), (("*", 0, "*"), ("n", 0, "*"))),
    ],
)
def test_what_is_exported(code: str, exports: object, passed_on: object) -> None:
    module = module_of(code, False)
    assert (module.exports, module.passed_on) == (exports, passed_on)


def test_types_are_neither_imported_nor_exported() -> None:
    """What is imported and not used but as a type is not asked for, as TypeScript has it."""
    module = module_of(
        "import type { A } from 'a'\nimport { B, type C } from 'b'\nimport { D } from 'd'\nimport E from 'e'\n"
        "import 'f'\nexport type { A }\nexport interface I {}\nexport type T = D\nexport function g(x: E): void\n"
        "export function g(x: B) { return new B() }\nexport default {} satisfies I\n",
        True,
    )
    assert module.asks == ("b", "f")
    assert module.imports == (("B", 0, "B"),)
    assert module.exports == ("g", "default")
    assert module.loose


@pytest.mark.parametrize(
    ("code", "types"),
    [
        ("import { type A } from 'a'", False),
        ("export interface A {}", False),
        ("export = a", True),
        ("export enum A {}", True),
        ("import a = require('a')", True),
        ("export namespace A {}", True),
        ("let a: = 1", True),
        ("import a from 'a\\n'", False),
    ],
)
def test_what_no_module_has_is_refused(code: str, types: bool) -> None:
    with pytest.raises(Unreadable) as caught:
        module_of(code, types)
    assert caught.value.place[0] == 1


def test_what_only_the_engine_can_say_is_left_to_it() -> None:
    assert module_of("let a = ;", False).complaint is not None
    assert module_of("let a; let a", False).complaint is None


def test_awaits_and_imports_of_unknown_name_are_seen() -> None:
    assert module_of("await 1", False).awaits
    assert not module_of("async function f() { await 1 }", False).awaits
    assert module_of("import(x)", False).open
    module = module_of("import('./x.js')", False)
    assert (module.open, module.later) == (False, ("./x.js",))


NAMES = dict.fromkeys(("main.js", "lib/a.js", "lib/b.ts", "c.mts", "raw", "..x/y.js"))


@pytest.mark.parametrize(
    ("specifier", "importer", "name"),
    [
        ("./lib/a.js", "main.js", "lib/a.js"),
        ("../main.js", "lib/a.js", "main.js"),
        ("./a.js", "lib/b.ts", "lib/a.js"),
        ("./././../lib/a.js", "lib/b.ts", "lib/a.js"),
        ("lib/a.js", "lib/b.ts", "lib/a.js"),
        ("/lib/a.js", "lib/b.ts", "lib/a.js"),
        ("raw", "lib/b.ts", "raw"),
        ("./b.js", "lib/b.ts", "lib/b.ts"),
        ("../c.mjs", "lib/b.ts", "c.mts"),
        ("./b.js", "lib/a.js", None),
        ("../../main.js", "lib/a.js", None),
        ("../main.js", "main.js", None),
        ("./..x/y.js", "main.js", "..x/y.js"),
        ("a.js", "lib/b.ts", None),
        ("./lib/a", "main.js", None),
        ("file:///main.js", "main.js", None),
        ("", "main.js", None),
        (".", "main.js", None),
        ("cloudflare:workers", "main.js", "cloudflare:workers"),
    ],
)
def test_names_lead_to_modules_of_the_set_and_nowhere_else(specifier: str, importer: str, name: str | None) -> None:
    assert resolve(specifier, importer, NAMES) == name


def graph(main: str, **modules: str | bytes) -> Graph:
    given = [(name.replace("_", "."), kind_of(name), text.encode() if isinstance(text, str) else text)
             for name, text in modules.items()]  # fmt: skip
    return graph_of(main, given, ROOM)


def kind_of(name: str) -> str:
    return {"js": "js", "ts": "ts", "txt": "text", "json": "json", "bin": "data"}[name.rpartition("_")[2]]


def test_what_is_not_asked_for_is_not_read() -> None:
    found = graph(
        "main.js", main_js="import './a.js'", a_js="import('./t.txt')", bad_js="let = ;", t_txt="x", u_txt="y"
    )
    assert [each["name"] for each in found.modules] == ["main.js", "a.js", "t.txt"]
    everything = graph("main.js", main_js="import(name)", a_js="1", t_txt="x", b_bin=b"\0")
    assert {each["name"] for each in everything.modules} == {"main.js", "a.js", "t.txt", "b.bin"}


def test_lines_of_the_script_are_those_of_each_module() -> None:
    found = graph("main.js", main_js="import './a.js'\n\nmark", a_js="one\nother\n")
    whole = ("\n" * 100_000 + found.script).split("\n")
    assert [name for *_, name in found.lines] == ["main.js", "a.js"]
    for first, count, name in found.lines:
        body = whole[first - 1 : first - 1 + count]
        assert body == (["; ".ljust(15), "", "mark"] if name == "main.js" else ["one", "other", ""])


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("\nimport './nobody.js'", "Error", "main.js:2:8"),
        ("export { a } from './nobody.js'", "Error", "main.js:1:19"),
        ("\n  import 'a\\x62'", "SyntaxError", "main.js:2:10"),
    ],
)
def test_what_is_wrong_has_its_place(text: str, kind: str, place: str) -> None:
    with pytest.raises(BadModule) as caught:
        graph("main.js", main_js=text)
    assert caught.value.kind == kind
    assert caught.value.trace.endswith(f"\n    at {place}")


def test_a_module_has_a_bound_on_its_length() -> None:
    with pytest.raises(MemoryError, match=r"main\.js is too long"):
        graph_of("main.js", [("main.js", "js", b"x" * 1_000)], 50_000)
