"""Facets: objects inside an object, each with a class and a database of its own. See docs/facets.md.

Names and shapes are those of https://developers.cloudflare.com/dynamic-workers/usage/durable-object-facets/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from homing.errors import BadRequest
from homing.http import Request, Response, as_request
from homing.ids import ObjectId
from homing.loading import CallLimits

if TYPE_CHECKING:
    from homing.bindings.loader import WorkerStub

FACET_NAME_CHARS_MAX = 256
FACET_PROPS_BYTES_MAX = 64 * 1024
FACET_DEPTH_MAX = 4
"""How deep a tree of facets is, its root included."""


@dataclass(frozen=True, slots=True, eq=False)
class DynamicClass:
    """A class of objects in a dynamic worker, for `ctx.facets.get`; `worker.get_durable_object_class` gives it.

    Attributes:
        worker: has it.
        name: of the class, in the worker's main module.
        props: what its code has as `self.ctx.props` (`homing.values.to_stored`).
        limits: of each call.
    """

    worker: WorkerStub
    name: str
    props: bytes
    limits: CallLimits


@dataclass(frozen=True, slots=True)
class FacetClass:
    """What a facet is to be: what the callback of `ctx.facets.get` gives.

    Attributes:
        kind: a class that extends `DurableObject`, or one of a dynamic worker.
        id: what the facet has as `ctx.id`; None: its parent's.
    """

    kind: type[Any] | DynamicClass
    id: ObjectId | None = None


def facet_class(given: object) -> FacetClass:
    """What a facet is to be, of a `FacetClass`, a class, or a dict with `class` and `id`.

    Raises:
        BadRequest: it is none of these.

    Example:
        >>> from homing import DurableObject
        >>> facet_class({"class": DurableObject}).kind.__name__
        'DurableObject'
    """
    if isinstance(given, FacetClass):
        return given
    kind: Any = given
    object_id: Any = None
    if isinstance(given, Mapping):
        named = dict(cast("Mapping[str, Any]", given))
        kind, object_id = named.pop("class", None), named.pop("id", None)
        if named:
            raise BadRequest(f"a facet has a class and an id, and no {', '.join(map(str, named))[:100]}")
    if not isinstance(kind, (type, DynamicClass)):
        raise BadRequest('the callback of facets.get gives {"class": a class of objects}')
    if object_id is not None and not isinstance(object_id, ObjectId):
        raise BadRequest("the id of a facet is an ObjectId")
    return FacetClass(cast("type[Any] | DynamicClass", kind), object_id)


FacetCallback = Callable[[], Any]


class FacetPlace(Protocol):
    """A facet as its stubs call it; the worker's runtime implements it."""

    @property
    def name(self) -> str:
        """Of the facet."""
        ...

    def call_method(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Begin a call of a public method."""
        ...

    def call_fetch(self, request: Request) -> asyncio.Future[Response]:
        """Begin a request to its `fetch`."""
        ...


class FacetKeeper(Protocol):
    """Who has the facets of an object; the worker's runtime implements it."""

    def place(self, name: str, callback: FacetCallback) -> FacetPlace:
        """The facet of a name, there already or not."""
        ...

    def abort(self, name: str, reason: BaseException) -> None:
        """End a facet."""
        ...

    def delete(self, name: str) -> None:
        """End a facet, and forget what it has stored."""
        ...

    def clone(self, source: str, target: str) -> None:
        """Copy what a facet has stored."""
        ...

    def list(self) -> list[str]:
        """The names of those that have stored something."""
        ...


class FacetAborted(Exception):
    """What calls of a facet raise that was aborted with no exception for a reason."""


class Facets:
    """An object's facets, `self.ctx.facets`: objects inside it that only it can call.

    What a facet stores is a part of what its object stores: one record holds what both wrote, and backups, moves and
    the object's end take it along. Facets have no alarms and accept no sockets.

    Example:
        >>> class Notebook(DurableObject):
        ...     async def add(self, chapter, text):
        ...         return await self.ctx.facets.get(chapter, lambda: {"class": Chapter}).add(text)
    """

    __slots__ = ("_keeper",)

    def __init__(self, keeper: FacetKeeper) -> None:
        self._keeper = keeper

    def get(self, name: str, callback: FacetCallback) -> FacetStub:
        """A stub of the facet of a name; the facet starts with its first call.

        Args:
            name: of 1 to 256 characters.
            callback: says what the facet is to be, whenever it starts: `{"class": a class, "id": an id or absent}`. It
                may be asynchronous. What it raises, whoever made the call gets.

        Raises:
            BadRequest: no such name, or the tree of facets would be deeper than four, its root included.
        """
        return FacetStub(self._keeper.place(_checked(name), callback))

    def abort(self, name: str, reason: object = None) -> None:
        """End a facet at once. What it stored stays; its stubs, and calls that run, raise the reason from now on.

        The next `get` gives a new stub, whose callback may name another class: that is how its code is replaced.

        Args:
            name: of the facet; if it does not run, nothing happens.
            reason: an exception; of anything else a `FacetAborted` is made.
        """
        error = reason if isinstance(reason, BaseException) else FacetAborted(_text(reason))
        self._keeper.abort(_checked(name), error)

    def delete(self, name: str) -> None:
        """End a facet as `abort` does, and forget all that it and its own facets stored, in this turn's transaction."""
        self._keeper.delete(_checked(name))

    def clone(self, source: str, target: str) -> None:
        """Have a facet begin with what another has stored, in this turn's transaction; one of that name is replaced.

        Raises:
            BadRequest: it is one and the same facet.
            NotFound: the source has stored nothing.
        """
        if source == target:
            raise BadRequest("a facet is cloned under another name")
        self._keeper.clone(_checked(source), _checked(target))

    def list(self) -> list[str]:
        """The names of the facets that have stored something, sorted."""
        return self._keeper.list()


class FacetStub:
    """A facet to call: every public method of its class is one of the stub. It cannot be sent to others.

    Example:
        >>> await self.ctx.facets.get("draft", lambda: {"class": Chapter}).add("Once upon a time")  # doctest: +SKIP
    """

    __slots__ = ("_place",)

    def __init__(self, place: FacetPlace) -> None:
        self._place = place

    def fetch(self, request: Request | str, **options: Any) -> asyncio.Future[Response]:
        """Send the facet an HTTP request; bodies go and come whole.

        Args:
            request: a request, or its URL.
            options: with a URL, what `Request` takes: `method`, `headers`, `body`.
        """
        return self._place.call_fetch(as_request(request, options))

    def __getattr__(self, method: str) -> Callable[..., asyncio.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            return self._place.call_method(method, args, kwargs)

        return call

    def __repr__(self) -> str:
        return f"FacetStub({self._place.name!r})"


def _checked(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= FACET_NAME_CHARS_MAX:
        raise BadRequest(f"the name of a facet is a text of 1 to {FACET_NAME_CHARS_MAX} characters")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadRequest("the name of a facet must be valid Unicode") from error
    return name


def _text(reason: object) -> str:
    return "the facet was aborted" if reason is None else str(reason)
