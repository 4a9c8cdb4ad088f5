"""Reading JavaScript and TypeScript before it runs: types become blanks, and `await` at the top a function around it.

The tree comes from tree-sitter. A type is replaced by as many spaces as it has characters, so that lines and columns
stay what they were; a semicolon stands where a line that vanished would let its neighbours run together. What has a
meaning when it runs (enums, namespaces, parameter properties) is refused, as other strippers of types do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

FILE_NAME = "<sandbox>"
LANGUAGE = Language(tree_sitter_typescript.language_typescript())
_parser = Parser(LANGUAGE)

_TYPES = frozenset(
    {"type_annotation", "type_predicate_annotation", "asserts_annotation", "type_parameters", "type_arguments"}
    | {"implements_clause", "accessibility_modifier", "override_modifier"}
)  # fmt: skip
_TYPE_STATEMENTS = frozenset(
    {"interface_declaration", "type_alias_declaration", "ambient_declaration", "function_signature"}
)  # fmt: skip
_TYPE_MEMBERS = frozenset({"abstract_method_signature", "method_signature", "index_signature"})
_REFUSED = {
    "enum_declaration": "an enum",
    "internal_module": "a namespace",
    "module": "a module",
    "import_alias": "an import alias",
    "import_require_clause": "`import … = require`",
}
_FUNCTIONS = frozenset(
    {"function_declaration", "function_expression", "generator_function", "generator_function_declaration"}
    | {"arrow_function", "method_definition", "class_static_block"}
)  # fmt: skip
_STATEMENTS = frozenset(
    {"expression_statement", "lexical_declaration", "variable_declaration", "return_statement", "throw_statement"}
    | {"public_field_definition"}
)  # fmt: skip
_CONTINUES = re.compile(rb"[ \t]*(?://[^\n]*)?\r?\n\s*[(\[`+\-/*]")
_BRACKETS = re.compile(rb"\n\s*\[|[({\[<]|[)}\]]|(?<!=)>")
_VISIBLE = re.compile(r"[^\r\n\u2028\u2029]")


class Unreadable(Exception):
    """It is no TypeScript, or has what cannot be blanked out; the text says what and in which line.

    Args:
        what: is wrong.
        node: where.

    Attributes:
        what: as above.
        place: line and column, both from 1 on.
    """

    def __init__(self, what: str, node: Node) -> None:
        self.what, self.place = what, (node.start_point.row + 1, node.start_point.column + 1)
        super().__init__(f"{what}, at {FILE_NAME}:{self.place[0]}:{self.place[1]}")


class Script(NamedTuple):
    """What the engine is given.

    Attributes:
        text: JavaScript.
        lines_before: lines of it that the code has not.
    """

    text: str
    lines_before: int


class Edit(NamedTuple):
    """Bytes of the source that give way: to `text`, or to blanks of which `text` takes the first places."""

    start: int
    end: int
    text: str = ""


def script(code: str, types: bool) -> Script:
    """Code as the engine can run it.

    Args:
        code: JavaScript or TypeScript.
        types: it is TypeScript.

    Raises:
        Unreadable: it is no TypeScript, or cannot be stripped.
        UnicodeError: it is no text.

    Example:
        >>> script("let n: number = 1; n!", True).text
        'let n         = 1; n '
    """
    source = code.encode()
    if not types and b"await" not in source:
        return Script(code, 0)
    root = tree_of(source)
    if types:
        check(root)
    edits = list(blanks(root, source)) if types else []
    awaits = b"await" in source and awaits_at_top(root)
    if awaits:
        edits += _last_expression(root)
    text = edited(source, edits)
    return Script(f"(async () => {{\n{text}\n}})()", 1) if awaits else Script(text, 0)


def tree_of(source: bytes) -> Node:
    """The root of its tree."""
    return _parser.parse(source).root_node


def edited(source: bytes, edits: Iterable[Edit]) -> str:
    """The source, after edits that do not overlap."""
    texts: dict[tuple[int, int], str] = {}
    for start, end, text in edits:  # one that has a text wins over one of the same bytes that has none
        texts[start, end] = text or texts.get((start, end), "")
    pieces: list[str] = []
    place = 0
    for (start, end), text in sorted(texts.items()):
        pieces.append(source[place:start].decode())
        pieces.append(text + _VISIBLE.sub(" ", source[start:end].decode())[len(text) if end > start else 0 :])
        place = end
    pieces.append(source[place:].decode())
    return "".join(pieces)


def check(root: Node) -> None:
    """See that a tree is one of TypeScript.

    Raises:
        Unreadable: it is not.
    """
    if not root.has_error:
        return
    node = root
    while not (node.is_error or node.is_missing):
        node = next(each for each in node.children if each.has_error or each.is_missing)
    found = (node.text or b"").decode(errors="replace").split("\n")[0][:60]
    what = f"`{node.type}` is missing" if node.is_missing else f"`{found}` is unexpected"
    raise Unreadable(what, node)


def refusal(node: Node, what: str) -> Unreadable:
    """Of what means more than a type."""
    return Unreadable(f"{what} has a meaning beyond types, and is not supported", node)


# -- await at the top -------------------------------------------------------------------------------------------------


def awaits_at_top(root: Node) -> bool:
    """Whether it has an `await` that is in no function."""
    left = [root]
    while left:
        node = left.pop()
        if node.type == "await_expression" or (
            node.type == "for_in_statement" and any(each.type == "await" for each in node.children)
        ):
            return True
        if node.type not in _FUNCTIONS:
            left.extend(node.children)
    return False


def _last_expression(root: Node) -> list[Edit]:
    """Edits that make the last statement, if it is an expression, what the function around it returns."""
    statements = [each for each in root.named_children if each.type not in ("comment", "empty_statement")]
    if not statements or statements[-1].type != "expression_statement":
        return []
    expression = statements[-1].named_children[0]
    return [Edit(expression.start_byte, expression.start_byte, "return ("), _closing(expression.end_byte)]


def _closing(end: int) -> Edit:
    return Edit(end, end, "\n)")


# -- types ------------------------------------------------------------------------------------------------------------


def blanks(root: Node, source: bytes) -> Iterator[Edit]:
    """Edits that take the types out.

    Raises:
        Unreadable: there is what means more than a type, or cannot be taken out.
    """
    left = [root]
    while left:
        node = left.pop()
        if node.type in _REFUSED:
            raise refusal(node, _REFUSED[node.type])
        if node.type in _TYPES:
            _check_end(node, source)
            yield _whole(node)
        elif is_only_type(node):
            yield Edit(node.start_byte, node.end_byte, ";")
        else:
            yield from _blanks_of(node, source)
            left.extend(node.children[:1] if node.type in ("as_expression", "satisfies_expression") else node.children)


def is_only_type(node: Node) -> bool:
    """Whether nothing of it is there when it runs."""
    kinds = {each.type for each in node.children}
    if node.type in ("import_statement", "export_statement"):
        return "type" in kinds or bool(kinds & _TYPE_STATEMENTS)
    if node.type == "public_field_definition":
        return bool(kinds & {"declare", "abstract"})
    return node.type in _TYPE_STATEMENTS or node.type in _TYPE_MEMBERS


def _blanks_of(node: Node, source: bytes) -> Iterator[Edit]:
    """Blanks among what a node consists of, but for what `_TYPES` names."""
    match node.type:
        case "as_expression" | "satisfies_expression":
            _check_end(node.children[-1], source)
            yield Edit(node.children[1].start_byte, node.end_byte, ";" if _ends_a_statement(node, source) else "")
        case "non_null_expression":
            yield _whole(node.children[-1])
        case "abstract_class_declaration":
            yield from (_whole(each) for each in node.children if each.type == "abstract")
        case "variable_declarator":
            yield from (_whole(each) for each in node.children if each.type == "!")
        case "required_parameter" | "optional_parameter":
            yield from _of_parameter(node)
        case "public_field_definition" | "method_definition":
            yield from _of_member(node)
        case "type_assertion" | "arrow_function":
            _check_lines(node, source)
        case "binary_expression":
            _check_template(node)
        case _:
            pass


def _whole(node: Node, text: str = "") -> Edit:
    return Edit(node.start_byte, node.end_byte, text)


def _ends_a_statement(node: Node, source: bytes) -> bool:
    """Whether a statement ends here without a semicolon, and the next line would go on with it if the type was gone."""
    if not _CONTINUES.match(source, node.end_byte):
        return False
    above = node.parent
    if above is not None and above.type == "call_expression":  # so says the grammar; to TypeScript it is none
        return True
    while above is not None and above.end_byte == node.end_byte:
        if above.type in _STATEMENTS:
            return True
        above = above.parent
    return False


def _of_parameter(node: Node) -> Iterator[Edit]:
    for each in node.children:
        if each.type in ("accessibility_modifier", "override_modifier", "readonly"):
            raise refusal(each, "a parameter property")
        if each.type == "?":
            yield _whole(each)
        if each.type == "this":
            after = node.next_sibling
            comma = after is not None and after.type == ","
            yield Edit(node.start_byte, each.end_byte)
            if after is not None and comma:
                yield _whole(after)


def _of_member(node: Node) -> Iterator[Edit]:
    """Of a member of a class: where its first word goes, or a type at its end, a semicolon ends the line before it."""
    has_value = node.type == "method_definition" or any(each.type == "=" for each in node.children)
    for place, each in enumerate(node.children):
        if each.type in ("readonly", "accessibility_modifier", "override_modifier"):
            yield _whole(each, "" if place else ";")
        elif each.type in ("?", "!") or (each.type == "type_annotation" and not has_value):
            yield _whole(each, "" if has_value else ";")


def _check_lines(node: Node, source: bytes) -> None:
    """JavaScript allows no new line before an arrow, and ends `return` at one: a type with one cannot be blanked."""
    arrow = next((each for each in node.children if each.type == "=>"), None)
    for each in node.children:
        types = each.type in ("type_parameters", "type_arguments")
        before_arrow = arrow is not None and each.end_byte <= arrow.start_byte and each.type.endswith("_annotation")
        if (types and b"\n" in source[each.start_byte : each.end_byte]) or (
            before_arrow and arrow is not None and b"\n" in source[each.start_byte : arrow.start_byte]
        ):
            raise Unreadable("a type with a new line in it, here, cannot be taken out", each)


def _check_end(node: Node, source: bytes) -> None:
    """A bracket at the beginning of a line goes on with a type to the grammar; to TypeScript it begins a statement."""
    depth = 0
    for found in _BRACKETS.finditer(source, node.start_byte, node.end_byte):
        bracket = found[0]
        if depth == 0 and len(bracket) > 1:
            raise Unreadable("a line that begins with a bracket needs a semicolon before it", node)
        depth += -1 if bracket in b")}]>" else 1


def _check_template(node: Node) -> None:
    """The grammar takes type arguments of a tagged template for two comparisons."""
    first, last = node.children[0], node.children[-1]
    if last.type == "template_string" and first.type == "binary_expression" and first.children[1].type == "<":
        raise Unreadable("type arguments of a tagged template are not supported", node)
