"""Facets of dynamic classes, in their sandbox: activations whose node is their object, at the other end of the channel.

What a facet writes goes to its object, which keeps it; a facet asks for nothing under its grants before the object has
said that what it wrote before is durable. See docs/facets.md.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from homing.facets import FacetClass
from homing.ids import ObjectId
from homing.levels import ERROR
from homing.loading_frames import decode_request
from homing.objects import DurableObjectState
from homing.values import from_stored
from homing_node.sandboxes.inside import limits, talk
from homing_node.workers.inside import channel, vfs
from homing_node.workers.inside import limits as worker_limits
from homing_node.workers.inside.activation import OUT_OF_MEMORY, Activation
from homing_node.workers.inside.coding import ByValue
from homing_node.workers.inside.facet_activation import Inner, run_here
from homing_node.workers.inside.facet_places import Place, Runner
from homing_node.workers.inside.facets import FacetKeeper
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.turn_timers import TurnTimers
from homing_node.workers.inside.turns import TurnCoroutine, current_event

Message = tuple[Any, ...]
Event = list[Any]

# The cause of a failure, by the code that the runtime of objects gives it; every other is the code's own.
_CAUSES = {"not-found": talk.NOT_FOUND, "bad-request": talk.MISFIT}


class FacetLoop(TurnTimers, asyncio.SelectorEventLoop):
    """The event loop of a dynamic worker."""

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def runtime_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """A timer of the runtime's own, whoever runs now."""
        return asyncio.SelectorEventLoop.call_at(self, self.time() + delay, callback, *args, context=context)


class Home(Protocol):
    """The dynamic worker that facets are in."""

    def class_of(self, name: str) -> ObjectClass:
        """A class of objects in its main module."""
        ...

    def facet_env(self) -> Any:
        """What its code has as `env`."""
        ...

    def line(self, event: Event | None, stream: str, text: str, level: int) -> None:
        """A line that code printed."""
        ...


class Session:
    """One facet, from its object's word that it is to run until it has ended.

    Attributes:
        number: names it to the node and the object.
        activation: None: it was not called yet.
        kept: commits that are durable.
        calls: those without an answer, and how long the result of each may be.
        traces: of what calls raised, until they are answered.
    """

    __slots__ = (
        "activation", "calls", "class_name", "commits", "content", "depth", "id", "kept", "number", "props", "traces",
    )  # fmt: skip

    def __init__(self, number: int, class_name: str, props: bytes, object_id: ObjectId, depth: int) -> None:
        self.number, self.class_name, self.props, self.id, self.depth = number, class_name, props, object_id, depth
        self.content: list[bytes] = []
        self.activation: Inner | None = None
        self.commits = self.kept = 0
        self.calls: dict[int, int] = {}
        self.traces: dict[int, str] = {}

    @property
    def settled(self) -> bool:
        """Whether all that it wrote is durable."""
        unwritten = self.activation is not None and self.activation.unwritten
        return not unwritten and self.kept == self.commits


class Facets:
    """The facets in this sandbox.

    Args:
        home: the dynamic worker.
        send: sends a message to the node.
        loop: where they run.
    """

    def __init__(self, home: Home, send: Callable[[Message], None], loop: FacetLoop) -> None:
        self._home, self._send = home, send
        self.loop = loop
        self.stubs = ByValue()
        self._numbers = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self._activations: dict[int, Activation] = {}
        self._of: dict[int, Session] = {}  # by the number of a session's own activation
        self._waits: list[asyncio.Future[None]] = []

    # -- what the node says ---------------------------------------------------------------------------------------

    def open(self, number: int, class_name: str, props: bytes, raw: bytes, name: str, depth: int, data: bytes) -> None:
        """A facet is to run; or more of its pages has come."""
        session = self._sessions.get(number)
        if session is None:
            if not self._of:
                vfs.seed_randomness()  # the fork has that of its zygote
                worker_limits.override({"database_bytes_max": worker_limits.dynamic_facet_bytes_max})
            session = self._sessions[number] = Session(number, class_name, props, ObjectId(raw, name or None), depth)
        page = worker_limits.page_bytes
        session.content.extend(data[at : at + page] for at in range(0, len(data), page))

    def call(self, number: int, call: int, method: str, body: bytes, most: int) -> None:
        """Have a facet run a call."""
        session = self._sessions.get(number)
        if session is None:
            self._send((talk.FAIL, call, talk.CANCELLED, "ObjectReset", "the facet has ended", ""))
            return
        session.calls[call] = most
        if session.activation is None:
            try:
                self._begin(session)
            except Exception as error:
                session.calls.pop(call)
                raise error from None
        assert session.activation is not None, "it was begun"
        kind, verb, http = channel.METHOD, method, None
        if not method:
            verb, url, headers, body = decode_request(body)
            kind, http = channel.FETCH, [url, headers, True]
        act = session.activation.number
        session.activation.deliver([channel.EVENT, act, call, kind, verb, body, 0, "", "", http, False, 0, 0])

    def _begin(self, session: Session) -> None:
        kind = self._home.class_of(session.class_name)
        activation = Inner(_Host(self, session), next(self._numbers), kind, 0)
        activation.depth = session.depth
        activation.start_from(session.content, DurableObjectState(activation, session.id, from_stored(session.props)))
        session.content = []
        session.activation = activation
        self._activations[activation.number] = activation
        self._of[activation.number] = session

    def cancel(self, call: int) -> None:
        """Nobody waits for a call any more, if it is one of a facet. What runs goes on."""
        session = next((each for each in self._sessions.values() if call in each.calls), None)
        if session is not None:
            del session.calls[call]
            self._send((talk.FAIL, call, talk.CANCELLED, "CancelledError", "nobody waits for this call", ""))

    def keep(self, number: int, commit: int) -> None:
        """What a facet wrote is durable, up to that commit."""
        session = self._sessions.get(number)
        if session is not None:
            session.kept = max(session.kept, commit)
            self._look()

    def close(self, number: int) -> None:
        """A facet is to end at once."""
        session = self._sessions.get(number)
        if session is not None:
            self.end(session, "the facet was ended")

    # -- for the code ---------------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Wait until all that facets here have written is durable: the output gate of what is asked of the node."""
        while not all(session.settled for session in self._sessions.values()):
            wait: asyncio.Future[None] = self.loop.create_future()
            self._waits.append(wait)
            await wait

    def _look(self) -> None:
        waits, self._waits = self._waits, []
        for wait in waits:
            if not wait.done():
                wait.set_result(None)

    def turns_of(self, event: Event) -> Activation | None:
        """The activation that runs an event."""
        return self._activations.get(event[1])

    def task_of(self, coroutine: Any, options: dict[str, Any]) -> asyncio.Task[Any] | None:
        """The task that code of a facet makes; None: it is none of a facet."""
        event = current_event.get()
        if event is None or not event[1] or isinstance(coroutine, TurnCoroutine):
            return None
        activation = self._activations.get(event[1])
        if activation is None:
            coroutine.close()
            raise asyncio.CancelledError
        return activation.spawn(coroutine, **options)

    # -- for the activations --------------------------------------------------------------------------------------

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """See `turn_keeper.Host`."""
        return self.loop.runtime_later(delay_s, callback, *args, context=contextvars.Context())

    @property
    def env(self) -> Any:
        """See `turn_keeper.Host`."""
        return self._home.facet_env()

    def log(self, event: Event | None, act: int, stream: str, text: str, level: int = ERROR) -> None:
        """See `turn_keeper.Host`."""
        session = self._of.get(event[1]) if event is not None else None
        if session is not None and event is not None and stream == "traceback":
            session.traces[event[2]] = text
        else:
            self._home.line(event, stream, text, level)

    def adopt(self, activation: Activation) -> None:
        """See `facet_activation.Host`."""
        self._activations[activation.number] = activation

    def forget(self, act: int) -> None:
        """See `turn_keeper.Host`."""
        self._activations.pop(act, None)

    def keep_facets(self, parent: Activation) -> FacetKeeper:
        """See `turn_keeper.Host`: facets of a facet are in its sandbox, and of its worker's classes."""

        async def run(place: Place, wanted: FacetClass, content: list[bytes]) -> Runner:
            return run_here(self, parent, keeper, place, wanted, content)

        keeper = FacetKeeper(parent, self.loop, self.stubs, run)
        return keeper

    def say(self, session: Session, message: Message) -> None:
        """What a facet's activation tells its node."""
        if message[0] == channel.TURN:
            _, _, number, commit, _, effects = message[:6]
            if commit is not None:
                self._commit(session, number, commit)
            for effect in effects:
                self._answer(session, *effect[:3])
            self._look()
        elif message[0] == channel.RESET:
            self.end(session, message[3])
            self._send((talk.LOST, session.number))

    def _commit(self, session: Session, number: int, commit: bytes) -> None:
        session.commits = number
        piece = limits.commit_piece_bytes
        for at in range(0, len(commit), piece):
            last = at + piece >= len(commit)
            self._send((talk.COMMIT, session.number, number, commit[at : at + piece], last))

    def _answer(self, session: Session, call: int, status: int, payload: Any) -> None:
        most = session.calls.pop(call, None)
        trace = session.traces.pop(call, "")
        if most is None:
            return  # nobody waits any more
        if status in (channel.FAILURE, channel.REFUSED):
            code, message, error_type, *_ = payload
            self._send((talk.FAIL, call, _CAUSES.get(code, talk.RAISED), error_type, message, trace))
        elif len(data := payload if status == channel.RESULT else payload[2]) > most:
            self._send((talk.FAIL, call, talk.RESULT_BYTES, "", f"a result of {len(data)} bytes; at most {most}", ""))
        elif status == channel.RESULT:
            self._send((talk.RETURN, call, payload))
        else:
            self._send((talk.RESPOND, call, *payload[:3]))

    def end(self, session: Session, why: str) -> None:
        """A facet ends, and its calls with it."""
        self._sessions.pop(session.number, None)
        activation, session.activation = session.activation, None
        if activation is not None and not activation.ended:
            activation.end()
        if activation is not None:
            self._of.pop(activation.number, None)
        cause = talk.MEMORY if why == OUT_OF_MEMORY else talk.RAISED
        for call in session.calls:
            self._send((talk.FAIL, call, cause, "ObjectReset", why, ""))
        session.calls.clear()
        self._look()


class _Host:
    """What a facet's activation takes for its worker."""

    __slots__ = ("_facets", "_session", "env", "loop", "stubs", "turns")

    def __init__(self, facets: Facets, session: Session) -> None:
        self._facets, self._session = facets, session
        self.loop, self.env, self.stubs = facets.loop, facets.env, facets.stubs
        self.turns = 0

    def send(self, message: Message) -> None:
        """See `turn_keeper.Host`; so are the others."""
        self._facets.say(self._session, message)

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """A timer of the runtime's own."""
        return self._facets.later(delay_s, callback, *args)

    def log(self, event: Event | None, act: int, stream: str, text: str) -> None:
        """Text of the code."""
        self._facets.log(event, act, stream, text)

    def forget(self, act: int) -> None:
        """The activation has ended."""
        self._facets.forget(act)

    def keep_facets(self, parent: Activation) -> FacetKeeper:
        """The facets of the facet."""
        return self._facets.keep_facets(parent)
