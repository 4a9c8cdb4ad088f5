"""The facets of one object: who runs, what was asked of them, and what their turns become in their object's turns.

A facet is to its object what an object is to its node. Each turn of one is a turn of its object, too: the pages that it
changed are written to the object's database and committed with whatever else that has to commit, and its answers are
told only then. So one record holds both, or none. See docs/facets.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from inspect import isawaitable
from typing import Any
from weakref import WeakValueDictionary

from homing.errors import ApplicationError, BadRequest, HomingError, ObjectReset, Overloaded, TooLarge
from homing.facets import FACET_DEPTH_MAX, FacetCallback, facet_class
from homing.http import Request, Response
from homing_node.workers.inside import limits
from homing_node.workers.inside.answered import failure_of, response_of
from homing_node.workers.inside.channel import EVENT, FAILURE, FETCH, METHOD, REFUSED
from homing_node.workers.inside.coding import Coding
from homing_node.workers.inside.facet_pages import FacetPages
from homing_node.workers.inside.facet_places import Event, FacetCall, Open, Parent, Place, Runner
from homing_node.workers.inside.pages import BadCommit, PageMismatch
from homing_node.workers.inside.turns import current_event

_sessions = itertools.count(1)  # of this process: the node tells them by their activation besides


class FacetKeeper:
    """The facets of one activation (`homing.facets.FacetKeeper`).

    Args:
        parent: the activation.
        loop: where all of it runs.
        stubs: encodes what is sent.
        run: has a facet run.

    Attributes:
        sessions: facets that run in sandboxes, of the whole tree, by the number that the node knows them by.
    """

    __slots__ = ("_live", "_loop", "_numbers", "_parent", "_places", "_run", "_stubs", "_unsettled", "sessions")

    def __init__(self, parent: Parent, loop: asyncio.AbstractEventLoop, stubs: Coding, run: Open) -> None:
        self._parent, self._loop, self._stubs, self._run = parent, loop, stubs, run
        self._numbers = itertools.count(1)
        self._places: WeakValueDictionary[str, Place] = WeakValueDictionary()
        self._live: dict[str, Place] = {}  # that run, or have calls; the one that was called last is last
        self._unsettled: set[Place] = set()  # that wrote since the object's last commit
        above = parent.within
        self.sessions: dict[int, Any] = above.sessions if above is not None else {}

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
        place.calls[number] = FacetCall(future, read, passed, caller)
        event = [EVENT, 0, number, kind, method, body, 0, request_id, traceparent, http, False, 0, 0]
        self._live[place.name] = self._live.pop(place.name, place)
        if place.runner is None:
            place.waiting.append(event)
            if len(place.waiting) == 1:
                self._parent.spawn(self._start(place))
        else:
            place.runner.deliver(event)
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
            runner.deliver(event)

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
            call = place.calls.get(number)
            if call is None:
                continue
            if status in (FAILURE, REFUSED):
                self.answer(place, number, error=failure_of(payload))
                continue
            try:
                result = call.read(payload)
            except (TypeError, ValueError) as error:
                broken = ApplicationError(f"the answer cannot be read: {error}", error_type="ValueError")
                self.answer(place, number, error=broken)
            else:
                self.answer(place, number, result)

    def answer(self, place: Place, number: int, result: Any = None, error: BaseException | None = None) -> None:
        """A call has its end: tell who awaits it."""
        call = place.calls.pop(number, None)
        if call is None:
            return
        self._parent.outgoing().take_back(call.passed)
        if not place.calls and place.runner is None:
            self._live.pop(place.name, None)
        if call.future.done():
            return
        if error is None:
            call.future.set_result(result)
        else:
            call.future.set_exception(error)

    def gone(self, place: Place, runner: Runner) -> None:
        """A facet runs no more; calls that it has get answers still. The next one starts it anew."""
        self._unsettled.discard(place)
        if place.runner is runner:
            place.runner = None

    def again(self, place: Place, runner: Runner, event: Event) -> None:
        """A facet was not there any more when a call came to it: it starts anew, and the call goes to that."""
        if event[2] not in place.calls:
            return
        if place.runner is runner:
            place.runner = None
            runner.end()
        if place.runner is not None:
            place.runner.deliver(event)
        else:
            place.waiting.append(event)
            if len(place.waiting) == 1:
                self._parent.spawn(self._start(place))

    def next_session(self) -> int:
        """A number for a facet that is to run in a sandbox."""
        return next(_sessions)

    def kept(self) -> None:
        """The object has committed what its facets wrote; a facet waits until its own object has."""
        if self._parent.within is None:
            self.pass_on_kept()

    def pass_on_kept(self) -> None:
        """The root of the tree has committed: tell those that wrote."""
        places, self._unsettled = self._unsettled, set()
        for place in places:
            if place.runner is not None:
                place.runner.kept()

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
