"""A facet that runs beside its object, in the same process: an activation whose node is its object."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import lru_cache
from inspect import isclass
from typing import Any, NoReturn, Protocol

from homing.errors import BadRequest, NotSupported
from homing.facets import FacetClass
from homing.ids import ObjectId
from homing.objects import DurableObject, DurableObjectState
from homing.streams import ReadableStream
from homing_node.workers.inside.activation import Activation
from homing_node.workers.inside.alarms import Alarms
from homing_node.workers.inside.answered import failure_of
from homing_node.workers.inside.channel import RESET, TURN
from homing_node.workers.inside.coding import Coding
from homing_node.workers.inside.facet_places import Place
from homing_node.workers.inside.facets import FacetKeeper
from homing_node.workers.inside.flows import Flows
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.outgoing import Outgoing
from homing_node.workers.inside.sockets import ObjectSockets
from homing_node.workers.inside.turn_keeper import Aborted, Event

_numbers = itertools.count(-1, -1)  # of activations that the node does not know


class Host(Protocol):
    """The worker, to facets: a `turn_keeper.Host` that finds activations by their numbers."""

    env: Any

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where everything runs."""
        ...

    @property
    def stubs(self) -> Coding:
        """How values are sent."""
        ...

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """A timer of the runtime's own."""
        ...

    def log(self, event: Event | None, act: int, stream: str, text: str) -> None:
        """Send text of an object's code to the node."""
        ...

    def adopt(self, activation: Activation) -> None:
        """From now on an activation is found by its number."""
        ...

    def forget(self, act: int) -> None:
        """The activation has ended."""
        ...

    def keep_facets(self, parent: Any) -> FacetKeeper:
        """The facets of an activation."""
        ...


class _Between:
    """What a facet takes for its worker, and for the node behind it: what it sends goes to its object."""

    __slots__ = ("_host", "_keeper", "_parent", "_place", "env", "facet", "loop", "stubs", "turns")

    def __init__(self, host: Host, parent: Activation, keeper: FacetKeeper, place: Place) -> None:
        self._host, self._parent, self._keeper, self._place = host, parent, keeper, place
        self.loop, self.env, self.stubs = host.loop, host.env, host.stubs
        self.turns = 0  # each is one of its object's, too, and counted there
        self.facet: FacetActivation | None = None

    def send(self, message: tuple[Any, ...]) -> None:
        """A turn, or the word that the facet has reset itself; a facet says nothing else."""
        if message[0] == TURN:
            _, _, _, commit, _, effects = message[:6]
            self._keeper.take(self._place, commit, effects)
            if self.facet is not None and not self.facet.leaves:
                self._keeper.turned(self._place)
        elif message[0] == RESET:
            self._keeper.reset(self._place, failure_of((*message[2:4], "")))

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """A timer of the runtime's own."""
        return self._host.later(delay_s, callback, *args)

    def log(self, event: Event | None, act: int, stream: str, text: str) -> None:
        """Send text to the node, as its object's."""
        self._host.log(event, self._parent.logged_as, stream, text)

    def forget(self, act: int) -> None:
        """The activation has ended."""
        self._host.forget(act)

    def keep_facets(self, parent: Any) -> FacetKeeper:
        """The facets of the facet."""
        return self._host.keep_facets(parent)


class Inner(Activation):
    """An activation inside an object: it has no alarms, no sockets, and nothing of it can be called from elsewhere."""

    __slots__ = ("depth",)

    def start_from(self, content: list[bytes], context: DurableObjectState) -> None:
        """Give it the pages of its database, and what its instance gets as `ctx`."""
        self._content, self._context = content, context

    @property
    def unwritten(self) -> bool:
        """Whether it has written what is in no commit yet."""
        database = self._database
        return database is not None and (database.in_transaction or bool(database.file.dirty))

    def address(self) -> tuple[str, ObjectId]:
        """See `outgoing.Caller`."""
        raise TypeError("a facet can pass nothing by reference")

    def sockets(self) -> ObjectSockets:
        """See `homing.objects.Runtime`."""
        raise NotSupported("a facet has no WebSockets: its object accepts them")

    @property
    def alarms(self) -> Alarms:
        """See `homing.storage_engine.Coordinator`."""
        raise NotSupported("a facet has no alarms: its object sets them")

    def _send_behind(self, event: Event, streams: Sequence[ReadableStream]) -> NoReturn:
        raise NotSupported("what a facet answers can hold no streams")


class FacetActivation(Inner):
    """The activation of a facet; each of its turns is one of its object, too (`facets.Runner`).

    Args:
        host: the worker.
        parent: the activation of its object.
        keeper: of the object's facets.
        place: of this one.
        kind: its class.
    """

    __slots__ = ("_keeper", "_parent", "_place", "leaves")

    def __init__(
        self, host: Host, parent: Activation, keeper: FacetKeeper, place: Place, kind: ObjectClass
    ) -> None:  # fmt: skip
        between = _Between(host, parent, keeper, place)
        super().__init__(between, next(_numbers), kind, 0)
        between.facet = self
        self._parent, self._keeper, self._place = parent, keeper, place
        self.depth = parent.depth + 1
        self.leaves = False  # a turn of it ends: its object commits that, and then it is told
        host.adopt(self)

    def deliver(self, event: Event) -> None:
        """See `facets.Runner`: not from within a turn of its object."""
        event[1] = self.number
        self._host.loop.call_soon(self._come, event, context=Context())

    def _come(self, event: Event) -> None:
        if not self.ended:  # else its object has ended it since, and the call with it
            super().deliver(event)

    def kept(self) -> None:
        """See `facets.Runner`."""
        if self._facets is not None:
            self._facets.pass_on_kept()

    @property
    def within(self) -> FacetKeeper | None:
        """See `facets.Parent`."""
        return self._keeper

    @property
    def logged_as(self) -> int:
        """The number under which the node knows its object."""
        return self._parent.logged_as

    def enter(self, call: int) -> None:
        """See `Turns`."""
        super().enter(call)
        self._parent.enter(self._keeper.caller_of(self._place, call))

    def leave(self) -> BaseException | None:
        """See `Turns`."""
        goes_on, self.leaves = not self.ended, True
        failed = super().leave()
        self._leave_parent()
        return Aborted() if failed is None and goes_on and self.ended else failed

    def _leave_parent(self) -> None:
        self.leaves = False
        if not self._parent.ended:
            self._parent.leave()
        self._keeper.turned(self._place)

    def end(self) -> None:
        """See `facets.Runner`."""
        in_turn, self._in_turn = self._in_turn, False
        super().end()
        if in_turn:
            self._leave_parent()

    # What it does besides, its object does

    def outgoing(self) -> Outgoing:
        """See `outgoing.Caller`."""
        self._on_begin()
        return self._parent.outgoing()

    def flows(self) -> Flows:
        """The streams of calls that it makes."""
        return self._parent.flows()


@lru_cache(maxsize=256)
def class_of(make: type[Any]) -> ObjectClass:
    """A class of facets.

    Raises:
        BadRequest: it is no class of objects.
    """
    if not isclass(make) or not issubclass(make, DurableObject) or vars(make).get("homing_base"):
        raise BadRequest(f"a facet's class extends DurableObject, and {make.__qualname__} does not")
    return ObjectClass(make)


def run_here(
    host: Host, parent: Activation, keeper: FacetKeeper, place: Place, wanted: FacetClass, content: list[bytes]
) -> FacetActivation:
    """Have a facet of a class of this process run in it.

    Raises:
        BadRequest: it is no class of objects.
    """
    if not isinstance(wanted.kind, type):
        raise NotSupported("a facet of a dynamic class has no facets of other dynamic classes")
    facet = FacetActivation(host, parent, keeper, place, class_of(wanted.kind))
    facet.start_from(content, DurableObjectState(facet, wanted.id or parent.facet_id()))
    return facet
