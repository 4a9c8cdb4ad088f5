"""One facet, as its object's code has it, and what it stands on: its object, and whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from homing.facets import FacetCallback, FacetClass
from homing.http import Request, Response
from homing.ids import ObjectId
from homing.streams import ReadableStream
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.outgoing import Outgoing

if TYPE_CHECKING:
    from homing_node.workers.inside.facets import FacetKeeper

Event = list[Any]


class Parent(Protocol):
    """An activation that has facets."""

    ended: bool
    depth: int

    @property
    def within(self) -> FacetKeeper | None:
        """Of a facet: whose it is."""
        ...

    def enter(self, call: int) -> None:
        """A turn begins."""
        ...

    def leave(self) -> BaseException | None:
        """A turn has ended."""
        ...

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run a coroutine in turns of its own."""
        ...

    def open_database(self) -> Database:
        """Its database."""
        ...

    def outgoing(self) -> Outgoing:
        """Has what its calls pass by reference."""
        ...

    def facet_id(self) -> ObjectId:
        """What a facet has as `ctx.id` that is given none."""
        ...


class Runner(Protocol):
    """A facet that runs, here or in a sandbox."""

    @property
    def busy(self) -> bool:
        """Whether something of it is still to happen."""
        ...

    def deliver(self, event: Event, /) -> None:
        """Have it run a call, or send it on its way: the code that makes it runs."""
        ...

    def kept(self) -> None:
        """What it wrote is in a commit of its object."""
        ...

    def end(self) -> None:
        """End it at once; nothing is heard of it any more."""
        ...


Open = Callable[["Place", FacetClass, list[bytes]], Awaitable[Runner]]
"""Has a facet run: its place, what it is to be, and the pages of its database."""


class FacetCall:
    """Attributes: future, of who awaits it; read, makes its result; passed, by reference; caller, the object's call."""

    __slots__ = ("caller", "future", "passed", "read")

    def __init__(self, future: asyncio.Future[Any], read: Callable[[Any], Any], passed: list[int], caller: int) -> None:
        self.future, self.read, self.passed, self.caller = future, read, passed, caller


class Place:
    """One facet, as its stubs have it (`homing.facets.FacetPlace`).

    Attributes:
        name: of the facet.
        callback: says what it is to be.
        number: of what it has stored; 0: nothing.
        runner: None: it does not run.
        calls: those without an answer, by number.
        waiting: events that wait until it runs.
        ready: answers of a turn that its object has not committed yet.
        broken: it was aborted, for this reason.
    """

    __slots__ = (
        "__weakref__", "_keeper", "broken", "callback", "calls", "name", "number", "ready", "runner", "waiting",
    )  # fmt: skip

    def __init__(self, keeper: FacetKeeper, name: str, callback: FacetCallback) -> None:
        self._keeper = keeper
        self.name = name
        self.callback = callback
        self.number = 0
        self.runner: Runner | None = None
        self.calls: dict[int, FacetCall] = {}
        self.waiting: list[Event] = []
        self.ready: list[tuple[Any, ...]] = []
        self.broken: BaseException | None = None

    def call_method(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """See `homing.facets.FacetPlace`."""
        return self._keeper.call(self, method, args, kwargs)

    def call_fetch(self, request: Request) -> asyncio.Future[Response]:
        """See `homing.facets.FacetPlace`."""
        body = request.homing_body
        if isinstance(body, ReadableStream):
            return asyncio.ensure_future(self._keeper.fetch_with(self, request))
        return self._keeper.fetch(self, request, body)
