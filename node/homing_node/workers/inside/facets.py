"""The facets of one object: who runs, what was asked of them, and what their turns become in their object's turns.

A facet is to its object what an object is to its node. Each turn of one is a turn of its object, too: the pages that it
changed are written to the object's database and committed with whatever else that has to commit, and its answers are
told only then. So one record holds both, or none. See docs/facets.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextvars import Context
from inspect import isawaitable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from homing.errors import BadRequest, HomingError, NotSupported, ObjectReset, Overloaded, TooLarge
from homing.facets import FACET_DEPTH_MAX, FacetCallback, FacetClass, facet_class
from homing.http import Request, Response
from homing.ids import ObjectId
from homing.streams import ReadableStream
from homing_node.workers.inside import limits
from homing_node.workers.inside.answered import failure_of, response_of
from homing_node.workers.inside.channel import EVENT, FAILURE, FETCH, METHOD, REFUSED
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.facet_pages import FacetPages
from homing_node.workers.inside.outgoing import Outgoing, Stubs
from homing_node.workers.inside.pages import BadCommit, PageMismatch
from homing_node.workers.inside.turns import current_event

Event = list[Any]


class Parent(Protocol):
    """An activation that has facets."""

    ended: bool
    depth: int

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
        """Have it run a call."""
        ...

    def end(self) -> None:
        """End it at once; nothing is heard of it any more."""
        ...


Open = Callable[["Place", FacetClass, list[bytes]], Awaitable[Runner]]
"""Has a facet run: its place, what it is to be, and the pages of its database."""


class _Call:
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
        self.calls: dict[int, _Call] = {}
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


class FacetKeeper:
    """The facets of one activation (`homing.facets.FacetKeeper`).

    Args:
        parent: the activation.
        loop: where all of it runs.
        stubs: encodes what is sent.
        run: has a facet run.
    """

    __slots__ = ("_live", "_loop", "_numbers", "_parent", "_places", "_run", "_stubs", "_unsettled")

    def __init__(self, parent: Parent, loop: asyncio.AbstractEventLoop, stubs: Stubs, run: Open) -> None:
        self._parent, self._loop, self._stubs, self._run = parent, loop, stubs, run
        self._numbers = itertools.count(1)
        self._places: WeakValueDictionary[str, Place] = WeakValueDictionary()
        self._live: dict[str, Place] = {}  # that run, or have calls; the one that was called last is last
        self._unsettled: set[Place] = set()  # that wrote since the object's last commit

    # -- what the object's code asks for --------------------------------------------------------------------------

    def place(self, name: str, callback: FacetCallback) -> Place:
        """See `homing.facets.FacetKeeper`."""
        if self._parent.depth >= FACET_DEPTH_MAX:
            raise BadRequest(f"a tree of facets is at most {FACET_DEPTH_MAX} deep, its root included")
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = Place(self, name, callback)
        place.callback = callback
        return place

    def abort(self, name: str, reason: BaseException) -> None:
        """See `homing.facets.FacetKeeper`."""
        place = self._places.pop(name, None)
        if place is not None:
            place.broken = reason
            self._end(place, reason)

    def delete(self, name: str) -> None:
        """See `homing.facets.FacetKeeper`."""
        self.abort(name, ObjectReset(f"the facet {name!r} was deleted"))
        self._pages().delete(name)

    def clone(self, source: str, target: str) -> None:
        """See `homing.facets.FacetKeeper`."""
        self._pages().clone(source, target)
        self.abort(target, ObjectReset(f"the facet {target!r} was replaced"))

    def list(self) -> list[str]:
        """See `homing.facets.FacetKeeper`."""
        return self._pages().names()

    def _pages(self) -> FacetPages:
        database = self._parent.open_database()
        database.on_undone, database.on_emptied = self.undone, self.emptied
        return FacetPages(database)

    # -- calls ----------------------------------------------------------------------------------------------------

    def call(self, place: Place, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Begin a call of a method."""
        body = self._stubs.encode_whole([args, kwargs]) if args or kwargs else b""
        return self._begin(place, METHOD, method, body, None, self._stubs.decode_result)

    def fetch(self, place: Place, request: Request, body: bytes) -> asyncio.Future[Response]:
        """Send a facet a request."""
        http = [request.url, request.headers.raw(), True]  # its answer comes whole
        return self._begin(place, FETCH, request.method, body, http, response_of)

    async def fetch_with(self, place: Place, request: Request) -> Response:
        """Send a facet a request whose body is still to be read."""
        return await self.fetch(place, request, await request.bytes())

    def _begin(
        self, place: Place, kind: int, method: str, body: bytes, http: list[Any] | None, read: Callable[[Any], Any]
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        passed = self._parent.outgoing().lend()
        error = self._refused(place, body)
        if error is not None:
            self._parent.outgoing().take_back(passed)
            future.set_exception(error)
            return future
        asked = current_event.get()
        caller, request_id, traceparent = (asked[2], asked[7], asked[8]) if asked is not None else (0, "", "")
        number = next(self._numbers)
        place.calls[number] = _Call(future, read, passed, caller)
        event = [EVENT, 0, number, kind, method, body, 0, request_id, traceparent, http, False, 0, 0]
        self._live[place.name] = self._live.pop(place.name, place)
        if place.runner is None:
            place.waiting.append(event)
            if len(place.waiting) == 1:
                self._parent.spawn(self._start(place))
        else:
            self._loop.call_soon(self._deliver, place, place.runner, event, context=Context())
        return future

    @staticmethod
    def _refused(place: Place, body: bytes) -> BaseException | None:
        if place.broken is not None:
            return place.broken
        if len(place.calls) >= limits.queued_events_max:
            return Overloaded("too many calls wait for this facet", cause="calls")
        if len(body) > limits.answer_bytes_max:
            return TooLarge(f"a call of {len(body)} bytes; at most {limits.answer_bytes_max}")
        return None

    @staticmethod
    def _deliver(place: Place, runner: Runner, event: Event) -> None:
        if place.runner is runner:  # else it has ended meanwhile, and the call with it
            runner.deliver(event)

    async def _start(self, place: Place) -> None:
        """Have a facet run, for the calls that wait; its callback says what it is to be."""
        try:
            found = place.callback()
            wanted = facet_class(await found if isawaitable(found) else found)
            self._make_room()
            place.number, content = self._pages().read(place.name)
            runner = await self._run(place, wanted, content)
        except Exception as error:
            self._end(place, error)
            return
        if place.broken is not None or self._parent.ended:
            runner.end()
            return
        place.runner = runner
        waiting, place.waiting = place.waiting, []
        for event in waiting:
            self._loop.call_soon(self._deliver, place, runner, event, context=Context())

    def _make_room(self) -> None:
        """End the facet that was idle the longest, where too many run.

        Raises:
            Overloaded: none is idle.
        """
        running = [place for place in self._live.values() if place.runner is not None]
        if len(running) < limits.facets_max:
            return
        idle = next((place for place in running if not self._busy(place)), None)
        if idle is None:
            raise Overloaded(f"{limits.facets_max} facets of an object are busy; no more fit", cause="facets")
        self._end(idle, ObjectReset("another facet needed its place"))

    # -- turns ----------------------------------------------------------------------------------------------------

    def caller_of(self, place: Place, call: int) -> int:
        """The object's call on whose behalf a call of a facet was made; 0: of none."""
        found = place.calls.get(call)
        return found.caller if found is not None else 0

    def take(self, place: Place, commit: bytes | None, answers: list[tuple[Any, ...]]) -> None:
        """Take a turn of a facet into the turn of its object that is under way; `turned` is called at its end."""
        place.ready.extend(answers)
        if commit is None:
            return
        database = self._parent.open_database()
        undo = database.savepoint()
        try:
            place.number = self._pages().write(place.name, place.number, commit)
        except (HomingError, BadCommit, PageMismatch) as error:
            database.undo_or_rollback(undo)
            place.ready.clear()
            self._end(place, error if isinstance(error, HomingError) else ObjectReset(f"its commit is none: {error}"))
            return
        database.release(undo)
        self._unsettled.add(place)

    def turned(self, place: Place) -> None:
        """The object has committed what a facet did, or has undone it and ended the facet: tell what it answered."""
        ready, place.ready = place.ready, []
        for number, status, payload, *_ in ready:
            call = place.calls.pop(number, None)
            if call is not None:
                self._settle(call, status, payload)

    def _settle(self, call: _Call, status: int, payload: Any) -> None:
        self._parent.outgoing().take_back(call.passed)
        if call.future.done():
            return
        if status in (FAILURE, REFUSED):
            call.future.set_exception(failure_of(payload))
            return
        try:
            call.future.set_result(call.read(payload))
        except (TypeError, ValueError) as error:
            call.future.set_exception(NotSupported(f"the answer of a facet cannot be read: {error}"))

    def kept(self) -> None:
        """The object has committed."""
        self._unsettled.clear()

    def undone(self) -> None:
        """The object's transaction was undone, and with it what its facets wrote: they begin anew."""
        places, self._unsettled = self._unsettled, set()
        for place in places:
            place.ready.clear()
            self._end(place, ObjectReset("what the facet wrote was undone with its object's transaction"))

    def emptied(self) -> None:
        """All that the object has stored was deleted, and what its facets stored with it."""
        for name in list(self._places):
            self.abort(name, ObjectReset(f"the facet {name!r} was deleted"))

    def reset(self, place: Place, error: HomingError) -> None:
        """A facet has ended itself; what it answered before counts."""
        self.turned(place)
        self._end(place, error)

    # -- ends -----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something of a facet is still to happen."""
        return any(self._busy(place) for place in self._live.values())

    @staticmethod
    def _busy(place: Place) -> bool:
        return bool(place.calls) or (place.runner is not None and place.runner.busy)

    def _end(self, place: Place, error: BaseException) -> None:
        """It runs no more; calls without an answer get the error. The next call starts it anew."""
        runner, place.runner = place.runner, None
        place.waiting.clear()
        calls, place.calls = place.calls, {}
        self._live.pop(place.name, None)
        self._unsettled.discard(place)
        if runner is not None:
            runner.end()
        for call in calls.values():
            if not self._parent.ended:
                self._parent.outgoing().take_back(call.passed)
            if not call.future.done():
                call.future.set_exception(error)

    def end(self) -> None:
        """The object has ended."""
        for place in list(self._live.values()):
            for call in place.calls.values():
                call.future.cancel()
            self._end(place, ObjectReset("its object has ended"))
