"""What becomes of types before code runs: blanks of the same length, or a refusal."""

from __future__ import annotations

import pytest

from homing_node.sandboxes.inside.typescript import Unreadable, script


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("let n: number = 1; n!", "let n         = 1; n "),
        ("const f = <T,>(x: T): x is T => x as unknown as T", "const f =     (x   )         => x                "),
        ("function f(this: F, a?: number, ...r: T[]): void {}", "function f(         a         , ...r     )       {}"),
        ("function f(a: string): void\nfunction f(a: any) {}", ";                          \nfunction f(a     ) {}"),
        ("interface A { b: C }\ntype D = A | 'x'", ";                   \n;               "),
        ("declare const x: number; 1", ";                        1"),
        ("import type { A } from 'a'; export type { A }", ";                           ;                "),
        ("f<string>('a'); new Map<string, A<B>>()", "f        ('a'); new Map              ()"),
        ("let h = <any>x; let q!: T", "let h =      x; let q    "),
        ("class A<T> extends B<T> implements C {}", "class A    extends B                 {}"),
        ("abstract class A { abstract f(): void; g() {} }", "         class A { ;                 ; g() {} }"),
        ("class A { private readonly x: T = 1 }", "class A { ;                x    = 1 }"),
        ("class A { declare x: T; [k: string]: any; m?(): void }", None),
        ("try {} catch (e: unknown) {}", "try {} catch (e         ) {}"),
        ("for (const x of y as T[]) {}", "for (const x of y       ) {}"),
        ("let u = a < b && c > d", "let u = a < b && c > d"),
        ("let s = `${x as T}`; // ü: T", "let s = `${x     }`; // ü: T"),
        ("type = 5; let type2: string", "type = 5; let type2        "),
    ],
)  # fmt: skip
def test_types_become_blanks(given: str, left: str | None) -> None:
    """Broken by: another number of blanks than the type has characters."""
    found = script(given, True).text
    assert len(found) == len(given)
    if left is not None:
        assert found == left


def test_lines_stay_where_they_were() -> None:
    given = "interface A {\n  b: string\n}\nlet x = {} as {\n  [k: string]: 'ü'\n}\nx"
    found = script(given, True).text
    assert [len(line) for line in found.split("\n")] == [len(line) for line in given.split("\n")]
    assert found.endswith("\nx")


@pytest.mark.parametrize(
    "given",
    [
        "let x = 1 as number\n(2)",
        "let x = y as number // ends\n(2)",
        "class A { a: string\n ['b'] = 1 }",
        "class A { a = 1\n private ['b'] = 1 }",
        "class A { a\n private *b() {} }",
        "type A = 1\n(2)",
        "x = 1\ntype A = 1\n(2)",
    ],
)
def test_a_line_does_not_run_into_the_next_one(given: str) -> None:
    """Broken by: a type whose place holds no semicolon."""
    assert ";" in script(given, True).text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("enum A { B }", "an enum .* <sandbox>:1:1"),
        ("namespace A { export const b = 1 }", "a namespace"),
        ("class A { constructor(private x: T) {} }", "a parameter property .* <sandbox>:1:23"),
        ("import A = require('a')", "require"),
        ("import A = B.C", "an import alias"),
        ("let x: = 1", "unexpected, at <sandbox>:1:8"),
        ("let x = {", "<sandbox>:1"),
        ("f<string>`a`", "tagged template"),
        ("let f = (a)\n: number\n=> 1", "new line"),
        ("let x = y as T\n[1]", "semicolon"),
    ],
)
def test_what_cannot_be_blanked_is_refused(given: str, told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        script(given, True)


def test_javascript_is_left_alone() -> None:
    """Broken by: reading as TypeScript what is none, where `a<b>(c)` is two comparisons."""
    for given in ("f(a<b>(c))", "let x: = 1", "enum A {}", "async function f() { await 1 }"):
        assert script(given, False) == (given, 0)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("await f()", "return (await f()\n)"),
        ("let x = await f(); x; // done", "let x = await f(); return (x\n); // done"),
        ("for await (const x of y) {}", "for await (const x of y) {}"),
        ("await (1)\nasync () => await 2", "await (1)\nreturn (async () => await 2\n)"),
    ],
)
def test_await_at_the_top_gets_a_function_around_it(given: str, left: str) -> None:
    assert script(given, False) == (f"(async () => {{\n{left}\n}})()", 1)


def test_types_and_await_together() -> None:
    assert script("await f() as T", True).text == "(async () => {\nreturn (await f()     \n)\n})()"


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UnicodeError):
        script("'\ud800'", True)
