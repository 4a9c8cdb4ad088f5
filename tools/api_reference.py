"""docs/reference/api.md, written from the docstrings of what an application and its tests import.

    api_reference.py            write the page
    api_reference.py --check    fail where the page is not what the docstrings say

`GROUPS` says what is on the page, and in which order; whatever `homing` exports must be.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, get_overloads

import homing
from homing import (
    alarms,
    client,
    errors,
    facets,
    grants,
    http,
    ids,
    loading,
    objects,
    sandbox_news,
    sandboxes,
    sockets,
    storage,
    streams,
    stubs,
    testing,
    transform,
    workflows,
)
from homing.bindings import cron, d1, kv, loader, workflow_step
from homing.bindings import workflows as bound_workflows

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "api.md"
LINE_CHARS_MAX = 100
# Public for the runtime's sake: an application has no use for them.
NOT_FOR_APPLICATIONS = frozenset(
    {
        "SqlCursor.settle", "D1Database.submit", "ObjectId.from_address", "ObjectId.bound", "ObjectId.check_bound",
        "ObjectId.is_of", "WorkerStub.homing_call", "WorkerStub.homing_key",
    }
)  # fmt: skip

BEGINNING = """# API

What an application and its tests import from `homing`. This page is made from docstrings, with `make reference`.

In an application for Cloudflare's Python Workers the same things have the names of JavaScript, such as `getByName`
([run an application of Cloudflare's](../how-to/cloudflare.md))."""


@dataclass(frozen=True)
class Group:
    """A part of the page.

    Attributes:
        made: functions, and classes that the reader makes instances of.
        given: classes that the reader extends, catches, or is given instances of.
    """

    title: str
    text: str = ""
    made: Sequence[Any] = ()
    given: Sequence[Any] = ()

    @property
    def entries(self) -> list[Any]:
        """All of it, in the order of the page."""
        return [*self.made, *self.given]


GROUPS = (
    Group(
        "Objects",
        "An application extends the first three, and is given the others.",
        given=(
            objects.DurableObject, objects.WorkerEntrypoint, stubs.RpcTarget, objects.DurableObjectState,
            objects.ExecutionContext,
        ),
    ),
    Group(
        "Facets",
        "`self.ctx.facets`: objects inside an object. More: [facets](../facets.md).",
        given=(facets.Facets, facets.FacetStub, facets.FacetClass, facets.DynamicClass, facets.FacetAborted),
    ),
    Group(
        "Calls to other objects",
        "`self.env` has a namespace for each class. More: [calls between objects](../calls.md).",
        given=(stubs.DurableObjectNamespace, stubs.DurableObjectStub, stubs.RpcStub, ids.ObjectId),
    ),
    Group(
        "Storage",
        "`self.ctx.storage` is a `Storage`, its `sql` an `Sql`, its `kv` a `Kv`. An `SqlValue` is None, int, float,\n"
        "str or bytes, a `Row` a dict of these by column name. More: [alarms](../alarms.md),\n"
        "[limits](../how-to/limits.md).",
        given=(
            storage.Storage, storage.Transaction, storage.Sql, storage.SqlCursor, storage.Kv, storage.Done,
            alarms.Alarm,
        ),
    ),
    Group(
        "HTTP",
        "`HeadersLike` is a mapping of names to values, or pairs of them. A `BodyLike` is bytes, text, None,\n"
        "or a stream of `Pieces`: anything that can be iterated, also asynchronously.\n"
        "More: [bodies that flow](../bodies.md).",
        made=(http.Request, http.Response, http.Headers, http.fetch, streams.ReadableStream, transform.TransformStream),
        given=(streams.StreamReader, transform.StreamWriter),
    ),
    Group(
        "Sandboxes",
        "More: [sandboxes](../sandboxes.md).",
        made=(
            sandboxes.run, sandboxes.Limits,
            grants.http, grants.stub, grants.sql, grants.kv, grants.files, grants.named,
        ),
        given=(sandboxes.Ran, grants.Grant, sandbox_news.Use),
    ),
    Group(
        "Dynamic workers",
        "`env.NAME` for `worker_loaders` of a configuration. More: [dynamic workers](../dynamic-workers.md).",
        made=(loading.WorkerCode, loading.CallLimits),
        given=(loader.WorkerLoader, loader.WorkerStub, loader.LoadedEntrypoint),
    ),
    Group(
        "WebSockets",
        "More: [sockets](../sockets.md).",
        made=(sockets.WebSocketPair, sockets.WebSocketRequestResponsePair),
        given=(sockets.WebSocket, sockets.SocketEvent),
    ),
    Group(
        "Bindings",
        "What `self.env` has for `kv_namespaces`, `d1_databases` and `workflows` of a configuration.",
        given=(kv.KvNamespace, d1.D1Database, d1.D1PreparedStatement, bound_workflows.Workflow),
    ),
    Group(
        "Workflows and cron triggers",
        "An application extends `WorkflowEntrypoint`. More: [workflows](../workflows.md).",
        made=(workflows.WorkflowEntrypoint, workflows.NonRetryableError),
        given=(workflows.WorkflowEvent, workflow_step.WorkflowStep, bound_workflows.WorkflowInstance,
               cron.ScheduledController),
    ),
    Group(
        "Clients",
        "For programs outside the cluster.",
        made=(client.Client, client.SyncClient),
        given=(client.Stub, client.SyncStub),
    ),
    Group(
        "Tests",
        "In `homing.testing`. In `homing.testing.fixtures`, for pytest, `homing_cluster` is a `Cluster` for all\n"
        "tests, of the application that `homing_app` names. More: [test an application](../how-to/test.md).",
        made=(testing.Cluster, testing.ClusterProcess, testing.free_port),
        given=(testing.Clock, testing.StartFailed),
    ),
    Group(
        "Errors",
        "All have the attributes of `HomingError`. Codes, and what to do: [errors](errors.md).",
        given=[kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)],
    ),
)  # fmt: skip


# -- docstrings -------------------------------------------------------------------------------------------------------

_SECTION = re.compile(r"(Args|Attributes|Handlers|Returns|Raises|Example):(?: (.*))?")
_ENTRY = re.compile(r"(\w+\(.*?\)|\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")
_CODE = re.compile(r"(?:>>>|\.\.\.) ?(.*?)(?:  # doctest: .*)?")


def to_markdown(docstring: str, *, leave_out: str = "") -> str:
    """A docstring with the sections that this project writes, as Markdown; without one of them."""
    blocks: list[str] = []
    prose: list[str] = []
    lines = [*inspect.cleandoc(docstring).splitlines(), ""]
    while lines:
        line = lines.pop(0)
        section = _SECTION.fullmatch(line)
        if section is None and line:
            prose.append(line)
            continue
        if prose:
            blocks.append("\n".join(prose))
            prose = []
        if section is not None:
            body: list[str] = []
            while lines and (not lines[0] or lines[0].startswith("    ")):
                body.append(lines.pop(0)[4:])
            if section[1] != leave_out:
                blocks += _section(section[1], section[2] or "", [each for each in body if each])
    return "\n\n".join(blocks)


def _section(title: str, text: str, body: Sequence[str]) -> Iterator[str]:
    if title == "Example":
        yield "```python\n" + "\n".join(map(_example, body)) + "\n```"
    elif title == "Returns":
        yield "Returns: " + "\n".join(body)
    else:
        yield f"{title}: {text}".rstrip()
        if body:
            yield "\n".join(map(_item, body))


def _item(line: str) -> str:
    entry = _ENTRY.fullmatch(line)
    if entry is None:
        return f"  {line.strip()}"
    names = [entry[1]] if "(" in entry[1] else entry[1].split(", ")
    return f"- {', '.join(f'`{name}`' for name in names)}: {entry[2]}"


def _example(line: str) -> str:
    """Code without its prompt; what it prints is a comment."""
    code = _CODE.fullmatch(line)
    return f"# {line}" if code is None else code[1]


# -- signatures -------------------------------------------------------------------------------------------------------


class _Written(str):
    """An annotation as it was written: `inspect` shows it with `repr`."""

    __slots__ = ()
    __repr__ = str.__str__


def _written(annotation: Any) -> Any:
    return _Written(annotation) if isinstance(annotation, str) else annotation


def signature(name: str, function: Any, *, bound: bool, returns: bool = True) -> str:
    """How something is called; a parameter has a line of its own where one line is too short for all.

    Args:
        name: what it is called by.
        function: what says what it takes.
        bound: its first parameter is given by Python.
        returns: whether to say what comes back.
    """
    plain = inspect.signature(function)
    given = list(plain.parameters.values())[1 if bound else 0 :]
    parameters = [each.replace(annotation=_written(each.annotation)) for each in given]
    back = _written(plain.return_annotation) if returns else inspect.Signature.empty
    before = "async " if inspect.iscoroutinefunction(function) else ""
    whole = before + name + str(inspect.Signature(parameters, return_annotation=back))
    if len(whole) <= LINE_CHARS_MAX:
        return whole
    parts = list(map(str, parameters))
    by_name = [each.kind is each.KEYWORD_ONLY for each in parameters]
    if any(by_name) and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        parts.insert(by_name.index(True), "*")
    end = f") -> {back}" if " -> " in whole else ")"
    return "\n".join([f"{before}{name}(", *(f"    {part}," for part in parts), end])


def _python(*lines: str) -> str:
    return "```python\n" + "\n".join(lines) + "\n```"


# -- the page ---------------------------------------------------------------------------------------------------------


class Writer:
    """Writes the page. What two classes inherit from one that is not on it is told once."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._classes = {entry for group in groups for entry in group.entries if inspect.isclass(entry)}
        self._told: dict[Any, str] = {}

    def page(self) -> str:
        """All of it."""
        parts = [BEGINNING]
        parts.append("\n".join(f"- {g.title}: {', '.join(map(_link, g.entries))}" for g in self._groups))
        for group in self._groups:
            parts += [f"## {group.title}", group.text]
            for entry in group.entries:
                parts += self._entry(entry, made=entry in group.made)
        return "\n\n".join(filter(None, parts)) + "\n"

    def _entry(self, entry: Any, *, made: bool) -> Iterator[str]:
        name = entry.__name__
        yield f"### `{name}`"
        if not inspect.isclass(entry):
            yield _python(signature(name, entry, bound=False))
            yield to_markdown(_docstring(entry, name))
            return
        if made:
            yield _python(signature(name, entry.__init__, bound=True, returns=False))
        if entry.__base__ in self._classes:
            yield f"Extends {_link(entry.__base__)}."
        yield to_markdown(_docstring(entry, name), leave_out="" if made else "Args")
        elsewhere: dict[str, list[str]] = {}
        for key, member in self._members(entry):
            if member in self._told:
                elsewhere.setdefault(self._told[member], []).append(f"`{key}`")
            else:
                self._told[member] = name
                yield from _member(f"{name}.{key}", key, member)
        for other, keys in elsewhere.items():
            yield f"As on `{other}`: {', '.join(keys)}."

    def _members(self, kind: type) -> Iterator[tuple[str, Any]]:
        """The public members of a class and of its bases that have no entry, those of the most basic first."""
        others = [each for each in kind.__mro__[1:] if each.__module__.startswith("homing")]
        bases = [each for each in reversed(others) if each not in self._classes]
        for owner in (*bases, kind):
            for name, member in vars(owner).items():
                hidden = name.startswith(("_", "homing_")) or f"{kind.__name__}.{name}" in NOT_FOR_APPLICATIONS
                if not hidden and isinstance(member, (FunctionType, classmethod, property)):
                    yield name, member


def _member(title: str, name: str, member: Any) -> Iterator[str]:
    yield f"#### `{title}`"
    if isinstance(member, property):
        yield _python(f"{name}: {inspect.signature(member.fget).return_annotation}" if member.fget else name)
        yield to_markdown(_docstring(member, title))
        return
    function: Any = getattr(member, "__func__", member)  # in a class method there is one
    yield _python(*(signature(name, shape, bound=True) for shape in get_overloads(function) or [function]))
    yield to_markdown(_docstring(function, title))


def _docstring(thing: Any, name: str) -> str:
    if not thing.__doc__:
        sys.exit(f"{name} has no docstring")
    return str(thing.__doc__)


def _link(entry: Any) -> str:
    return f"[`{entry.__name__}`](#{entry.__name__.lower()})"


def missing(groups: Sequence[Group], *modules: ModuleType) -> list[str]:
    """What modules export and no group has."""
    there = [entry for group in groups for entry in group.entries]
    exported = {name: getattr(module, name) for module in modules for name in module.__all__}
    return sorted(name for name, value in exported.items() if not inspect.ismodule(value) and value not in there)


def main(arguments: Sequence[str]) -> None:
    if absent := missing(GROUPS, homing, testing):
        sys.exit(f"in no group of {Path(__file__).name}: {', '.join(absent)}")
    text = Writer(GROUPS).page()
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(f"{PAGE.name} is not what the docstrings say: make reference")


if __name__ == "__main__":
    main(sys.argv[1:])
