"""What an activation does at the edges of its turns: commit, send, and keep account of tasks and timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from homing.errors import HomingError
from homing_node.workers.inside import failures
from homing_node.workers.inside.alarms import earliest_ms
from homing_node.workers.inside.channel import CALL, FAILURE, OF_CALL, OF_EVENT, REFUSED, RESET, TURN
from homing_node.workers.inside.coding import Coding
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.facets import FacetKeeper
from homing_node.workers.inside.flows import Flows
from homing_node.workers.inside.framing import MessageTooLarge
from homing_node.workers.inside.gates import InputGate, Section
from homing_node.workers.inside.outgoing import Outgoing
from homing_node.workers.inside.sockets import ObjectSockets
from homing_node.workers.inside.turns import Timer, TurnCoroutine, current_event

Event = list[Any]


class Host(Protocol):
    """What an activation asks of the worker that it lives in."""

    env: Any
    turns: int

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where everything runs."""
        ...

    @property
    def stubs(self) -> Coding:
        """How values are sent."""
        ...

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue a frame for the node."""
        ...

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """A timer of the runtime's own."""
        ...

    def log(self, event: Event | None, act: int, stream: str, text: str) -> None:
        """Send text of an object's code to the node."""
        ...

    def forget(self, act: int) -> None:
        """The activation has ended."""
        ...

    def keep_facets(self, parent: Any) -> FacetKeeper:
        """The facets of an activation."""
        ...


class Aborted(BaseException):
    """Unwinds object code whose activation has ended; not an Exception, so that ordinary handlers let it pass."""


class TurnKeeper:
    """The turns of one activation; see `turns.Turns`.

    Args:
        host: the worker.
        number: the activation's id, given by the node.
    """

    __slots__ = (
        "_call",
        "_commits",
        "_database",
        "_effects",
        "_facets",
        "_flows",
        "_gate",
        "_held",
        "_host",
        "_in_turn",
        "_opened",
        "_outgoing",
        "_sockets",
        "_stray",
        "_tasks",
        "_timers",
        "ended",
        "number",
    )

    def __init__(self, host: Host, number: int) -> None:
        self.number = number
        self.ended = False  # Invariant: nothing is sent for this activation once it is set
        self._host = host
        self._database: Database | None = None
        self._gate = InputGate()
        self._effects: list[failures.Effect] = []  # of this turn, or since an async transaction began
        self._commits = 0
        self._held: int = 0  # async transactions that are open: turns end without a commit
        self._in_turn = False
        self._call = 0  # on whose behalf this turn runs
        self._stray = False  # storage was used outside of any turn; a turn is made of it
        self._tasks: set[asyncio.Task[Any]] | None = None
        self._timers: set[Timer] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._outgoing: Outgoing | None = None
        self._sockets: ObjectSockets | None = None
        self._flows: Flows | None = None
        self._facets: FacetKeeper | None = None

    # The gate

    def admits(self) -> bool:
        """See `Turns`."""
        return self._gate.admits()

    def opened(self) -> asyncio.Future[None]:
        """See `Turns`."""
        if self._opened is None:
            self._opened = self._host.loop.create_future()
        return self._opened

    def _end_section(self, section: Section) -> None:
        self._gate.end(section)
        self._gate_changed()

    def _gate_changed(self) -> None:
        """A section has ended: whoever waited looks again."""
        opened, self._opened = self._opened, None
        if opened is not None and not opened.done():
            opened.set_result(None)

    # Turns

    def enter(self, call: int) -> None:
        """A turn begins; what was written outside of any turn is a turn of its own before it."""
        if self._stray:
            self._end_stray()
        self._in_turn = True
        self._call = call

    def leave(self) -> BaseException | None:
        """A turn has ended: commit what it wrote, send what it said."""
        self._in_turn = False
        self._host.turns += 1
        if self._held or self.ended:
            if self._outgoing is not None:  # it is over with the activation
                self._send_calls(self._outgoing)  # a transaction that is open has no part in them
            return None
        database = self._database
        if database is not None and (database.in_transaction or database.file.dirty):
            wake_ms: int | None = None
            try:
                commit = database.commit()
                if commit is not None and database.alarms_changed:
                    wake_ms = earliest_ms(database)
                    database.alarms_changed = False
            except HomingError as error:
                return self._commit_failed(error)
            except BaseException as error:
                self.reset("object-reset", f"the commit failed: {failures.message_of(error)}")
                return Aborted()
            if self._facets is not None:
                self._facets.kept()
            if commit is not None:
                self._commits += 1
                self._flush(self._commits, commit, wake_ms)
                return None
        if self._effects or (self._sockets is not None and self._sockets.unsent):
            self._flush(0, None)
        elif self._outgoing is not None:
            self._send_calls(self._outgoing)
        return None

    def _flush(self, n: int, commit: bytes | None, wake_ms: int | None = None) -> None:
        """Send a turn; `wake_ms`: when its commit lets the earliest alarm ring, if that has changed."""
        effects, self._effects = self._effects, []
        said = self._sockets.take() if self._sockets is not None else []
        turn = (TURN, self.number, n, commit, self._call, effects)
        try:
            self._host.send(turn if wake_ms is None and not said else (*turn, wake_ms, said))
        except MessageTooLarge as error:
            self.reset("object-reset", f"a turn cannot be sent: {error}")
        else:
            if self._outgoing is not None:
                self._send_calls(self._outgoing)

    def _send_calls(self, outgoing: Outgoing) -> None:
        """Send what the turn calls, behind what it wrote."""
        if outgoing.unsent:
            for made in outgoing.take():
                self._host.send((CALL, self.number, self._call, *made))

    def outgoing(self) -> Outgoing:
        """See `outgoing.Caller`."""
        self._on_begin()
        if self._outgoing is None:
            self._outgoing = Outgoing(self._host.loop)
        return self._outgoing

    def flows(self) -> Flows:
        """The streams that flow."""
        if self.ended:
            raise Aborted
        if self._flows is None:
            self._flows = Flows(self.number, self._host.loop, self._host.send, self.spawn, self._log_error)
        return self._flows

    def on_flow(self, side: int, number: int, at: int, data: bytes, end: int) -> None:
        """A piece of a stream that comes, or its end."""
        if self._flows is not None:
            self._flows.came(side, number, at, data, end)

    def on_taken(self, side: int, number: int, at: int, cost: int) -> None:
        """So much of a stream that is sent here was taken."""
        if self._flows is not None:
            self._flows.taken(side, number, at, cost)

    def sockets(self) -> ObjectSockets:
        """See `homing.objects.Runtime`."""
        if self.ended:
            raise Aborted
        if self._sockets is None:
            self._sockets = ObjectSockets(self._on_begin)
        return self._sockets

    def on_reply(self, number: int, status: int, payload: Any, count: int = 0) -> None:
        """A call that was made here has an answer, behind which so many streams flow."""
        if self._outgoing is not None:
            streams = self.flows().receive(OF_CALL, number, count) if count else ()
            self._outgoing.answered(number, status, payload, streams)

    def on_facet(self, session: int, commit: int, data: bytes, last: bool) -> None:
        """What a facet in a sandbox wrote; with 0 for a commit it has reset itself."""
        facet = self._facets.sessions.get(session) if self._facets is not None else None
        if facet is None:
            return
        if commit:
            facet.came(commit, data, last=last)
        else:
            facet.lost()

    def _commit_failed(self, error: HomingError) -> HomingError:
        """What the turn wrote was undone: its calls failed, whatever they answered, and what it calls is not called."""
        if self._outgoing is not None:
            self._outgoing.undo(error)
        if self._sockets is not None:
            self._sockets.undo()
        self._effects = [
            effect if effect[1] in (FAILURE, REFUSED) else self._undone(effect, error) for effect in self._effects
        ]
        if self._effects:
            self._flush(0, None)
        return error

    def _undone(self, effect: failures.Effect, error: HomingError) -> failures.Effect:
        number, _, _, started_ns, ended_ns, *flowing = effect
        if flowing and self._flows is not None:
            self._flows.drop(OF_EVENT, number, *flowing)
        return failures.of_error(number, error, started_ns, ended_ns)

    def _on_begin(self) -> None:
        """A transaction or a call begins. Outside of any turn (a callback of the loop) a turn is made of it."""
        if self.ended:
            raise Aborted
        if not self._in_turn and not self._stray:
            self._stray = True
            event = current_event.get()
            self._call = event[2] if event is not None else 0
            self._host.loop.call_soon(self._end_stray)

    def _end_stray(self) -> None:
        if self._stray:
            self._stray = False
            failed = self.leave()
            if failed is not None and not self.ended:
                self._log_error(failed)

    def _log_error(self, error: BaseException) -> None:
        if not self.ended:
            self._host.log(current_event.get(), self.number, "traceback", failures.trace_of(error))

    # Tasks and timers of the object's code

    def spawn(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        """A task that the object's code makes."""
        event = current_event.get()
        call = event[2] if event is not None else 0
        return self._track(TurnCoroutine(coroutine, self, call), **options)

    def _track(self, coroutine: TurnCoroutine, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self._host.loop, **options)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def add_timer(self, timer: Timer) -> None:
        """See `Turns`."""
        if self._timers is None:
            self._timers = set()
        self._timers.add(timer)

    def remove_timer(self, timer: Timer) -> None:
        """See `Turns`."""
        if self._timers is not None:
            self._timers.discard(timer)

    # The end

    def reset(self, code: str, message: str) -> None:
        """The activation is broken: end it and say so. What the current turn wrote is dropped."""
        if self.ended:
            return
        self._host.send((RESET, self.number, code, message))
        self.end()

    def end(self) -> None:
        """Drop everything at once. Code of the object that still runs finds its storage closed."""
        self.ended = True
        tasks, self._tasks = self._tasks, None
        for task in tasks or ():
            task.cancel()
        timers, self._timers = self._timers, None
        for timer in timers or ():
            timer.cancel()
        self._gate_changed()
        self._effects = []
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            outgoing.end()
        facets, self._facets = self._facets, None
        if facets is not None:
            facets.end()
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            sockets.end()
        flows, self._flows = self._flows, None
        if flows is not None:
            flows.end()
        # No circles are left: they would keep the memory until the next collection.
        database, self._database = self._database, None
        if database is not None:
            database.close()
        self._host.forget(self.number)
