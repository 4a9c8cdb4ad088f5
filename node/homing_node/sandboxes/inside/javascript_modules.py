"""A module of JavaScript or TypeScript, made ready for an engine that has modules of its own, but loads none.

Each becomes a generator that runs in two steps: functions are there and exports can be asked for after the first, as
modules that import each other need it, and the second is its code. What it imports are getters of an object around
it, by `with`, so that they stay bound to what the other module has at that time. Lines and columns stay those of the
source; `javascript_worker.js` runs what comes of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tree_sitter import Node, Query, QueryCursor

from homing_node.sandboxes.inside.typescript import (
    LANGUAGE,
    Edit,
    Unreadable,
    awaits_at_top,
    blanks,
    check,
    edited,
    is_only_type,
    refusal,
    tree_of,
)

OWN = "\u0131mport"  # for `import` in front of a bracket or a dot: as long, and a name that nobody takes (no dot)
_DEFAULT = f"{OWN}.default="  # as long as what it stands for
_CALLS = Query(LANGUAGE, "(call_expression function: (identifier) @called)")
_IMPORTS = Query(LANGUAGE, "(call_expression function: (import) @import arguments: (arguments) @given)")
_METAS = Query(LANGUAGE, "(meta_property) @meta")
_NAMES = Query(LANGUAGE, "[(identifier) (shorthand_property_identifier)] @name")
_BODIES = frozenset(("program", "statement_block", "switch_case", "switch_default"))
_PATTERNS = frozenset(
    {"object_pattern", "array_pattern", "pair_pattern", "rest_pattern", "object_assignment_pattern"}
    | {"assignment_pattern"}
)  # fmt: skip
_NAMED = frozenset(
    {"function_declaration", "generator_function_declaration", "class_declaration", "abstract_class_declaration"}
)  # fmt: skip
_ANONYMOUS = frozenset(("function_expression", "generator_function", "class"))
_VARIABLES = frozenset(("lexical_declaration", "variable_declaration"))
ALL = "*"  # in place of a name: all that a module exports


class Module(NamedTuple):
    """What is known of a module before it runs.

    Attributes:
        head, body, tail: text of a function of `OWN` and of an object with what is imported; it gives the
            generator. The body has the lines of the source.
        asks: other modules, as they are named, in the order in which they are to run.
        places: of each of these the line and the column.
        imports: local name, place in `asks`, and name there, or `ALL`.
        passed_on: name, place in `asks`, and name there, of what it exports of others; a name may be `ALL`.
        exports: names of its own, `default` included.
        later: modules of `import(…)` that are named there.
        open: it has an `import(…)` of which only running it tells the name.
        awaits: it has an `await` at its top.
        complaint: where the parser stumbled, and over what: whether this is JavaScript, the engine has to say.
        loose: a name that another module does not export is no error yet: it may be a type.
    """

    head: str
    body: str
    tail: str
    asks: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    imports: tuple[tuple[str, int, str], ...]
    passed_on: tuple[tuple[str, int, str], ...]
    exports: tuple[str, ...]
    later: tuple[str, ...]
    open: bool
    awaits: bool
    complaint: tuple[str, int, int] | None
    loose: bool


def module_of(code: str, types: bool) -> Module:
    """Read a module.

    Args:
        code: its text.
        types: it is TypeScript.

    Raises:
        Unreadable: it is no TypeScript, cannot be stripped, or imports and exports as no module can.

    Example:
        >>> module_of("import a from './a.js'; export const b = a + 1", False).body
        ';                       ;        const b = a + 1'
    """
    source = code.encode()
    root = tree_of(source)
    try:
        check(root)
        complaint = None
    except Unreadable as error:
        if types:
            raise
        complaint = (error.what, *error.place)
    reader = _Reader(root, source, types)
    edits = [*(blanks(root, source) if types else ()), *reader.edits(), *_of_later(root, reader)]
    awaits = b"await" in source and awaits_at_top(root)
    getters = ",".join(f"get {json.dumps(name)}(){{return {local}}}" for name, local in reader.exports.items())
    head = f"(function({OWN},imports){{{'with(imports)' if reader.imports else ''}return {'async ' if awaits else ''}"
    head += f'function*(){{"use strict";yield[{{{getters}}}];'
    return Module(
        head, edited(source, edits), "}})", tuple(reader.asks), tuple(reader.asks.values()), tuple(reader.imports),
        tuple(reader.passed_on), (*reader.exports, *reader.assigned), tuple(reader.later), reader.open, awaits,
        complaint, types,
    )  # fmt: skip


def _of_later(root: Node, reader: _Reader) -> Iterator[Edit]:
    """What begins with `import` and is no statement."""
    found = QueryCursor(_IMPORTS).captures(root)
    for node, given in zip(found.get("import", ()), found.get("given", ()), strict=True):
        yield Edit(node.start_byte, node.end_byte, OWN)
        first = given.named_children[0] if given.named_children else None
        if first is not None and first.type == "string":
            reader.later.append(_string(first))
        else:
            reader.open = True
    for node in QueryCursor(_METAS).captures(root).get("meta", ()):
        if (node.text or b"").startswith(b"import"):
            yield Edit(node.start_byte, node.start_byte + len("import"), OWN)


class _Reader:
    """Reads the statements at the top of a module that import and export.

    Attributes:
        asks: of each the line and the column.
        imports, passed_on, later, open: see `Module`.
        exports: by name: what it is called in the module.
        assigned: "default", where that has no name.
    """

    def __init__(self, root: Node, source: bytes, types: bool) -> None:
        self._root, self._source, self._types = root, source, types
        self.asks: dict[str, tuple[int, int]] = {}
        self.imports: list[tuple[str, int, str]] = []
        self.passed_on: list[tuple[str, int, str]] = []
        self.exports: dict[str, str] = {}
        self.assigned: list[str] = []
        self.later: list[str] = []
        self.open = False
        self._used = frozenset(_names_in(root)) if types else frozenset[str]()

    def edits(self) -> Iterator[Edit]:
        """Edits that leave what a function may have."""
        for node in self._root.children:
            if self._types and is_only_type(node):
                continue
            if node.type == "import_statement":
                self._import(node)
                yield Edit(node.start_byte, node.end_byte, ";")
            elif node.type == "export_statement":
                yield from self._export(node)
        yield from self._calls()

    def _ask(self, source: Node) -> int:
        name, at = _string(source), source.start_point
        self.asks.setdefault(name, (at.row + 1, at.column + 1))
        return list(self.asks).index(name)

    def _import(self, node: Node) -> None:
        source = node.child_by_field_name("source")
        if source is None:
            raise refusal(node, "an import of no module")
        clause = next((each for each in node.children if each.type == "import_clause"), None)
        names = list(self._imported(clause)) if clause is not None else []
        if self._types and names and not any(local in self._used for local, _ in names):
            return  # only types of it are used
        place = self._ask(source)
        self.imports += [(local, place, name) for local, name in names]

    def _imported(self, clause: Node) -> Iterator[tuple[str, str]]:
        """Local names, and those in the other module."""
        for each in clause.named_children:
            if each.type == "identifier":
                yield _text(each), "default"
            elif each.type == "namespace_import":
                yield _text(each.named_children[0]), ALL
            elif each.type == "named_imports":
                for one in each.named_children:
                    if one.type == "import_specifier" and not self._is_type(one):
                        name, local = _two_names(one)
                        yield local, name

    def _is_type(self, node: Node) -> bool:
        """Whether a name in braces has `type` before it."""
        kinds = [each.type for each in node.children]
        if "type" not in kinds[:1] or len(kinds) == 1:
            return False
        if not self._types:
            raise Unreadable("`type` is unexpected", node)
        return True

    def _export(self, node: Node) -> Iterator[Edit]:
        kinds = {each.type for each in node.children}
        source, value = node.child_by_field_name("source"), node.child_by_field_name("value")
        declaration = node.child_by_field_name("declaration")
        if source is not None or "export_clause" in kinds:
            self._names(node, None if source is None else self._ask(source))
            yield Edit(node.start_byte, node.end_byte, ";")
        elif declaration is not None and (declaration.type in _VARIABLES or declaration.type in _NAMED):
            names = [_text(name) for name in _declared(declaration)]
            self.exports.update({"default": names[0]} if "default" in kinds else dict(zip(names, names, strict=True)))
            yield Edit(node.start_byte, declaration.start_byte, ";")
        elif value is not None and "default" in kinds:
            yield from self._assigned(node, value)
        elif not node.has_error:  # else the engine says what is wrong with it
            raise refusal(node, f"`{_text(node).split(chr(10))[0][:60]}`")

    def _assigned(self, node: Node, value: Node) -> Iterator[Edit]:
        """Of a default without a name: an assignment, which a declaration needs no semicolon after."""
        end = next(each.end_byte for each in node.children if each.type == "default")
        blank = self._source[end : end + 1] in (b" ", b"\t")
        self.assigned = ["default"]
        yield Edit(node.start_byte, end + blank, _DEFAULT)
        first = value  # the parser goes on with a bracket in the next line
        while first.type not in _ANONYMOUS and first.children and first.children[0].start_byte == value.start_byte:
            first = first.children[0]
        if first.type in _ANONYMOUS:
            yield Edit(first.end_byte, first.end_byte, ";")

    def _names(self, node: Node, place: int | None) -> None:
        clause = next((each for each in node.children if each.type == "export_clause"), None)
        if clause is not None:
            for each in clause.named_children:
                if each.type != "export_specifier" or self._is_type(each):
                    continue
                local, name = _two_names(each)
                if place is None:
                    self.exports[name] = local
                else:
                    self.passed_on.append((name, place, local))
        elif place is not None:
            under = next((each for each in node.children if each.type == "namespace_export"), None)
            self.passed_on.append((ALL if under is None else _text(under.named_children[0]), place, ALL))

    def _calls(self) -> Iterator[Edit]:
        """What is imported is a member of an object; called as it stands it would get that as its `this`."""
        names = {local for local, _, _ in self.imports}
        if not names:
            return
        for node in QueryCursor(_CALLS).captures(self._root).get("called", ()):
            if _text(node) in names:
                yield Edit(node.start_byte, node.start_byte, ";(0," if _begins_a_statement(node) else "(0,")
                yield Edit(node.end_byte, node.end_byte, ")")


def _begins_a_statement(node: Node) -> bool:
    """Whether the line before, without a semicolon, would go on with a bracket that is put here."""
    above = node.parent
    while above is not None and above.start_byte == node.start_byte:
        if above.type == "expression_statement":
            return above.parent is not None and above.parent.type in _BODIES
        above = above.parent
    return False


def _names_in(root: Node) -> Iterator[str]:
    """Names that are used as values, as far as that can be told without knowing what is declared where."""
    for node in QueryCursor(_NAMES).captures(root).get("name", ()):
        above = node.parent
        if above is None or above.type not in ("import_clause", "import_specifier", "namespace_import"):
            yield _text(node)


def _declared(node: Node) -> Iterable[Node]:
    """The names that a declaration makes."""
    if node.type in _NAMED:
        name = node.child_by_field_name("name")
        return [] if name is None else [name]
    names: list[Node] = []
    for each in node.named_children:
        target = each.child_by_field_name("name") if each.type == "variable_declarator" else None
        if target is not None:
            names += _bound(target)
    return names


def _bound(pattern: Node) -> Iterator[Node]:
    """The names in a pattern."""
    if pattern.type in ("identifier", "shorthand_property_identifier_pattern"):
        yield pattern
    elif pattern.type in ("object_assignment_pattern", "assignment_pattern"):
        yield from _bound(pattern.children[0])
    elif pattern.type == "pair_pattern":
        yield from _bound(pattern.named_children[-1])
    elif pattern.type in _PATTERNS:
        for each in pattern.named_children:
            yield from _bound(each)


def _two_names(specifier: Node) -> tuple[str, str]:
    """The name of an export or import, and what it is called after `as`."""
    names = [_name(each) for each in specifier.named_children]
    return names[0], names[-1]


def _name(node: Node) -> str:
    return _string(node) if node.type == "string" else _text(node)


def _string(node: Node) -> str:
    """The value of a literal in quotes."""
    text = _text(node)[1:-1]
    if "\\" in text:
        raise Unreadable("the name of a module, or of an export, has no backslash", node)
    return text


def _text(node: Node) -> str:
    return (node.text or b"").decode()
