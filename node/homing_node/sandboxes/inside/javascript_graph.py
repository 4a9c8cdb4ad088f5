"""The modules of a worker of JavaScript together: which are needed, by which names, and in which lines of one script.

The engine knows no names of files: all modules are one text to it, each with lines of its own. Pure.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from homing.loading import JS, TS
from homing_node.sandboxes.inside import limits
from homing_node.sandboxes.inside.javascript_modules import Module, module_of
from homing_node.sandboxes.inside.typescript import Unreadable

BUILT_IN = frozenset(("cloudflare:workers", "workers", "homing"))
LINES_BEFORE = 100_000  # of the script: those of lower numbers are in what homing has in the engine
_ALIKE = {".js": ".ts", ".mjs": ".mts"}  # how TypeScript names a module of its own


class BadModule(Exception):
    """A module is none, or asks for one that is not there.

    Args:
        kind: of the error that it is to JavaScript.
        what: is wrong.
        name, line, column: where.

    Attributes:
        kind: as above.
        trace: the stack.
    """

    def __init__(self, kind: str, what: str, name: str, line: int, column: int) -> None:
        self.kind = kind
        self.trace = f"{kind}: {what}\n    at {name}:{line}:{column}"
        super().__init__(what)


class Graph(NamedTuple):
    """What is needed of a worker's modules.

    Attributes:
        script: the text in which they all are, but for `LINES_BEFORE` lines.
        modules: those of code in the order of the script, and then the others; as `javascript_worker.js` has them.
        lines: for each of code, where its lines begin in the whole script, how many they are, and its name.
    """

    script: str
    modules: list[dict[str, Any]]
    lines: list[tuple[int, int, str]]


def resolve(specifier: str, importer: str, names: Mapping[str, Any]) -> str | None:
    """The name of the module that a module asks for; None: it is not there.

    Args:
        specifier: what is written there. `./` and `../` lead from the importer's folder, `/` and names without
            anything from the root; nothing leads out.
        importer: its name.
        names: those that there are.

    Example:
        >>> resolve("../b.js", "lib/a.js", {"b.js": 1}), resolve("./b.js", "lib/a.ts", {"lib/b.ts": 1})
        ('b.js', 'lib/b.ts')
        >>> resolve("../../b.js", "lib/a.js", {"b.js": 1})
    """
    if specifier in BUILT_IN:
        return specifier
    name = specifier.removeprefix("/")
    if specifier.startswith(("./", "../")):
        name = posixpath.normpath(posixpath.join(posixpath.dirname(importer), specifier))
    if name in names:
        return name
    stem, ending = posixpath.splitext(name)
    other = stem + _ALIKE.get(ending, ending)
    return other if other in names and importer.endswith(tuple(_ALIKE.values())) else None


def graph_of(main: str, given: Iterable[tuple[str, str, bytes]], memory_bytes: int) -> Graph:
    """What a worker needs.

    Args:
        main: the name of its main module.
        given: name, kind and content of each.
        memory_bytes: what reading one may take.

    Raises:
        BadModule: one that is needed is none, or is not there.
        MemoryError: one is longer than what can be read.
    """
    contents = {name: (kind, content) for name, kind, content in given}
    found: dict[str, Module] = {}
    others: dict[str, None] = {}
    left = [main]
    while left:
        name = left.pop()
        kind, content = contents[name]
        if name in found or name in others:
            continue
        if kind not in (JS, TS):
            others[name] = None
            continue
        module = found[name] = _read(name, kind, content, memory_bytes)
        asked = [_needed(*each, name, contents) for each in zip(module.asks, module.places, strict=True)]
        later = [resolve(each, name, contents) for each in module.later]
        left += [each for each in (*asked, *later) if each is not None and each not in BUILT_IN]
        if module.open:
            left += contents
    return _joined(found, {name: contents[name] for name in others}, contents)


def _read(name: str, kind: str, content: bytes, memory_bytes: int) -> Module:
    if len(content) * limits.javascript_bytes_per_char > memory_bytes:
        raise MemoryError(f"{name} is too long to be read in {memory_bytes} bytes of memory")
    try:
        return module_of(content.decode(), kind == TS)
    except Unreadable as error:
        raise BadModule("SyntaxError", error.what, name, *error.place) from error


def _needed(specifier: str, place: tuple[int, int], importer: str, names: Mapping[str, Any]) -> str:
    name = resolve(specifier, importer, names)
    if name is None:
        raise BadModule("Error", f"there is no module {specifier!r}, which {importer} imports", importer, *place)
    return name


def _joined(found: dict[str, Module], others: Mapping[str, tuple[str, bytes]], names: Mapping[str, Any]) -> Graph:
    places = {name: place for place, name in enumerate((*found, *others))}
    modules: list[dict[str, Any]] = []
    lines: list[tuple[int, int, str]] = []
    texts: list[str] = []
    line = LINES_BEFORE + 2  # of the head of a module; the whole begins with a bracket in a line of its own
    for name in list(found):
        module = found.pop(name)
        count = module.body.count("\n") + 1
        lines.append((line + 1, count, name))
        texts.append(f"{module.head}\n{module.body}\n{module.tail}")
        line += count + 2
        asks = [resolve(each, name, names) or "" for each in module.asks]
        modules.append(
            {
                "name": name,
                "asks": [places.get(each, -1) for each in asks],
                "imports": module.imports,
                "passedOn": module.passed_on,
                "exports": module.exports,
                "places": module.places,
                "complaint": module.complaint,
                "loose": module.loose,
            }
        )
    for name, (kind, content) in others.items():
        text = content.hex() if kind == "data" else content.decode()
        modules.append({"name": name, "kind": kind, "content": text})
    return Graph("[\n" + ",\n".join(texts) + "\n]", modules, lines)
