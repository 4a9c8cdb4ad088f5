"""One activation: an instance of an object's class, and the events that wait for it.

An event runs as a turn, or as several where its handler awaits; when a turn has ended, its writes are committed and
one TURN frame carries them with what was answered. `turns.py` drives handlers that await, `gates.py` says who
may go on, `turn_keeper.py` commits and sends, `calls.py` turns an event into a call and its end into an effect.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial
from inspect import isawaitable
from types import CoroutineType
from typing import Any, cast

from homing.bindings.assets import Site
from homing.compat import waiting
from homing.ids import ObjectId
from homing.objects import DurableObjectState, ExecutionContext
from homing.streams import ReadableStream
from homing_node.workers.inside import calls, failures, limits
from homing_node.workers.inside.channel import (
    ALARM,
    FAILURE,
    GRANTED,
    MESSAGE,
    METHOD,
    OF_EVENT,
    REFUSED,
    SOCKET_CLOSE,
    SOCKET_ERROR,
)
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.ringing import Ringing
from homing_node.workers.inside.turn_keeper import Aborted, Event, Host
from homing_node.workers.inside.turns import TurnCoroutine, current_event

_monotonic_ns = time.monotonic_ns
_NO_ARGUMENTS: Any = ((), {})
_RING_NOW: Any = ((), {"now_ms": 1 << 62})  # a test asks for the alarm, whenever it is due
_ON_SOCKETS = frozenset((MESSAGE, SOCKET_CLOSE, SOCKET_ERROR))
_NOBODY = object()
OUT_OF_MEMORY = "the object ran out of memory"
# Results that are certainly not awaitable; asking costs more than the rest of a call.
_PLAIN = frozenset((int, str, float, bool, bytes, dict, list, tuple, type(None)))
_Queued = tuple[Event, int, bool]  # an event, when it came, and whether the constructor has run for it


class Activation(Ringing):
    """See the module.

    Args:
        host: the worker.
        number: the activation's id, given by the node.
        kind: the object's class.
        context: what the instance gets as `ctx`; made from this activation.
        page_count: pages that will come; the events wait for them.
    """

    __slots__ = ("_instance", "_pages_to_come", "_queue", "_running", "_starting")

    def __init__(self, host: Host, number: int, kind: ObjectClass, page_count: int) -> None:
        super().__init__(host, number, kind)
        self._pages_to_come = page_count
        self._instance: Any = None
        self._queue: deque[_Queued] | None = None
        self._starting = False  # a handler that awaits was started but has not had its first turn
        self._running = 0  # calls of an exclusive class that have begun and not ended

    @classmethod
    def of_object(cls, host: Host, number: int, kind: ObjectClass, object_id: ObjectId, page_count: int) -> Activation:
        """The activation of an object; its pages come by `add_pages`."""
        activation = cls(host, number, kind, page_count)
        activation._context = DurableObjectState(activation, object_id)
        return activation

    # Pages and events as they come

    def add_pages(self, data: bytes) -> None:
        """The next pages of the database.

        Raises:
            ValueError: more than were announced, or not whole pages.
        """
        page = limits.page_bytes
        if len(data) % page or len(data) // page > self._pages_to_come:
            raise ValueError("pages that were not announced")
        self._content.extend(data[at : at + page] for at in range(0, len(data), page))
        self._pages_to_come -= len(data) // page
        self._deliver_queued()

    def deliver(self, event: Event) -> None:
        """Run an event now, or when what it waits for is over."""
        if event[12]:  # from here on what flows behind it has a place, also while it waits
            event[12] = self.flows().receive(OF_EVENT, event[2], event[12], b"" if event[3] == METHOD else event[5])
        awaited = self._running and event[10]  # by the call that runs: to queue it would be to stand still
        if not (((self._queue or self._running) and not awaited) or self._is_closed()):
            self._start(event)
            return
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) < limits.queued_events_max:
            self._queue.append((event, _monotonic_ns(), False))
        else:
            self._refuse(event, REFUSED, "overloaded", "too many events wait for this object", _monotonic_ns(), "calls")

    def give_up(self, call: int) -> bool:
        """Nobody waits for a call any more; returns whether it had not begun, and now does not."""
        queue = self._queue
        found = next((entry for entry in queue or () if entry[0][2] == call and not entry[2]), None)
        if queue is None or found is None:
            return False
        queue.remove(found)
        return True

    def _is_closed(self) -> bool:
        """Whether no event may start now, of whatever call it is a part."""
        return self._starting or self._pages_to_come > 0 or not self._gate.is_open

    def _deliver_queued(self) -> None:
        while not (self.ended or self._is_closed()) and (entry := self._next()) is not None:
            event, came_ns, begun = entry
            status = FAILURE if begun else REFUSED
            waited_ns = _monotonic_ns() - came_ns
            if event[6] and waited_ns > event[6] * 1_000_000:
                late = "the deadline passed before the call could start"
                self._refuse(event, status, "deadline-exceeded", late, came_ns)
            elif waited_ns > limits.queued_s_max * 1_000_000_000 and event[3] != ALARM:
                self._refuse(event, status, "overloaded", "the call was queued for too long", came_ns, "wait")
            else:
                self._start(event)

    def _next(self) -> _Queued | None:
        """The event that may start now, taken out of the queue."""
        queue = self._queue
        if not queue or not self._running:
            return queue.popleft() if queue else None
        found = next((entry for entry in queue if entry[0][10]), None)  # see `deliver`
        if found is not None:
            queue.remove(found)
        return found

    def _gate_changed(self) -> None:
        super()._gate_changed()
        self._deliver_soon()

    def _refuse(
        self, event: Event, status: int, code: str, message: str, started_ns: int, cause: str = ""
    ) -> None:  # fmt: skip
        """Answer an event that does not run; nothing of the object is touched."""
        self._effects.append((event[2], status, [code, message, cause], started_ns, _monotonic_ns()))
        if not (self._held or self._in_turn or self._stray):
            self._call = event[2]
            self._flush(0, None)

    # One event

    def _start(self, event: Event) -> None:
        """The whole of an event whose handler does not await; the beginning of one that does."""
        started_ns = _monotonic_ns()
        if event[3] == ALARM:
            function, arguments = self._ring, _RING_NOW if event[4] else _NO_ARGUMENTS
        elif event[3] in _ON_SOCKETS:
            function, arguments = calls.prepare_socket(self._kind, event, self.sockets())
        elif event[3] == GRANTED:
            function, arguments = calls.prepare_granted(self._kind, event, self.open_database)
        else:
            function, arguments = calls.prepare(self._kind, event, self._host.stubs, self._outgoing)
        if function is None:
            self._refuse(event, FAILURE, arguments[0], arguments[1], started_ns)
            return
        current_event.set(event)
        self.enter(event[2])
        try:
            if self._instance is None and not self._construct():
                self._queue = self._queue or deque()
                # It is the first when the constructor lets go of the gate.
                self._queue.appendleft((event, started_ns, True))
                return
            event[12] = 0  # its code has what flows behind it: what that drops, nobody wants
            call = partial(waiting.called, function) if waiting.gives_stacks() else function
            result: Any = call(self._instance, *arguments[0], **arguments[1])
            if event[9] is not None and calls.must_be_whole(event, result):
                result = calls.whole(result)
            if type(result) is CoroutineType or (type(result) not in _PLAIN and isawaitable(result)):
                self._run_on(event, cast("Awaitable[Any]", result), started_ns)
            else:
                self._answer(event, result, started_ns)
        except BaseException as error:
            self._fail(event, error, started_ns)
        finally:
            if not self.ended:
                self.leave()
            current_event.set(None)

    def _construct(self) -> bool:
        """Make the instance; returns whether the gate is open afterwards."""
        try:
            instance = self._kind.instance(self._context, self._host.env)
        except Aborted:
            raise
        except BaseException as error:
            raise calls.ConstructorFailed from error
        self._instance = instance
        return self._gate.is_open

    def _run_on(self, event: Event, awaitable: Awaitable[Any], started_ns: int) -> None:
        self._starting = True
        self._running += self._kind.exclusive
        handler = self._handle(event, awaitable, started_ns)
        task = self._track(TurnCoroutine(handler, self, event[2], self._first_step_done))
        task.add_done_callback(calls.seen)

    async def _handle(self, event: Event, awaitable: Awaitable[Any], started_ns: int) -> None:
        try:
            result = await awaitable
            if event[9] is not None and calls.must_be_whole(event, result):
                result = await calls.whole(result)
            self._answer(event, result, started_ns)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._fail(event, error, started_ns)
        finally:
            if self._kind.exclusive:
                self._running -= 1
                self._deliver_soon()

    def _answer(self, event: Event, result: Any, started_ns: int) -> None:
        effect, streams = calls.effect_of(event, result, started_ns, self._host.stubs, self.sockets)
        if streams:
            self._send_behind(event, streams)
        self._effects.append(effect)

    def _send_behind(self, event: Event, streams: Sequence[ReadableStream]) -> None:
        """Send the streams that are in an answer."""
        self.flows().send(OF_EVENT, event[2], streams)

    def _deliver_soon(self) -> None:
        if self._queue:
            # Not from here: what has ended is inside a turn of its own.
            self._host.loop.call_soon(self._deliver_queued)

    def _first_step_done(self) -> None:
        self._starting = False
        self._deliver_soon()

    def _fail(self, event: Event, error: BaseException, started_ns: int) -> None:
        """Object code raised: answer its call, or end the activation where it cannot go on."""
        if self.ended:
            return
        built = not isinstance(error, calls.ConstructorFailed)
        cause = error if built else error.__cause__ or error
        if isinstance(cause, MemoryError):
            self.reset("object-reset", OUT_OF_MEMORY)
            return
        effect = calls.failure_of(event, cause, started_ns, may_misfit=built)
        if effect[2][0] != "bad-request":
            self._host.log(event, self.number, "traceback", failures.trace_of(cause))
        self._effects.append(effect)
        if not built:
            self._constructor_failed(effect, rings=any(each[3] == ALARM for each in (event, *self._waiting())))

    def _waiting(self) -> Iterator[Event]:
        return (entry[0] for entry in self._queue or ())

    def _constructor_failed(self, effect: failures.Effect, *, rings: bool) -> None:
        """Every call that waits for the object meets the constructor's error; its writes are dropped."""
        if self._database is not None:
            self._database.rollback()
        if rings:
            self._ring_in_vain()
        self._effects.extend((event[2], *effect[1:]) for event in self._waiting())
        if self._effects:
            self._flush(0, None)
        self.reset("object-reset", f"the constructor raised {effect[2][2]}: {effect[2][1]}")

    def address(self) -> tuple[str, ObjectId]:
        """See `outgoing.Caller`."""
        return self._kind.name, self._context.id

    @property
    def logged_as(self) -> int:
        """The number under which the node knows whose lines are its."""
        return self.number

    # The end

    def close_if_idle(self, *, leaving: bool = False) -> bool:
        """End the activation unless something of it is still to happen; returns whether it ended.

        Args:
            leaving: live sockets, and streams that are kept and not read, are no reason to stay.
        """
        if self.busy:
            return False
        if not leaving and self._sockets is not None and self._sockets.live:
            return False
        if not leaving and self._flows is not None and self._flows.comes:
            return False
        self.end()
        return True

    @property
    def busy(self) -> bool:
        """Whether something of it is still to happen."""
        goes_on = (
            self._queue or self._tasks or self._timers or self._outgoing or self._stray or self._held or self._in_turn
        )
        if goes_on or self._pages_to_come or not self._gate.is_open:
            return True
        return self._facets is not None and self._facets.busy

    def end(self) -> None:
        """See `TurnKeeper`."""
        super().end()
        self._queue = None
        self._instance = None
        self._context = None
        self._alarms = None
        self._content = []


class Entrypoint(Activation):
    """The application's `Default` class: every event has an instance of its own, and there is no storage.

    Args:
        host: the worker.
        kind: the class.
        site: the static assets, which may answer before it.
    """

    __slots__ = ("_site",)

    def __init__(self, host: Host, kind: ObjectClass, site: Site | None) -> None:
        super().__init__(host, 0, kind, 0)
        self._site = site
        self._context = ExecutionContext(self)

    def _start(self, event: Event) -> None:
        answer = calls.effect_of_site(event, self._site, _monotonic_ns()) if self._site is not None else None
        if answer is not None:
            self.enter(event[2])
            self._effects.append(answer)
            self.leave()
            return
        self._instance = _NOBODY if event[3] in _ON_SOCKETS else None  # listeners belong to the call that accepted
        super()._start(event)

    def _constructor_failed(self, effect: failures.Effect, *, rings: bool) -> None:
        """Only this event is concerned."""

    def address(self) -> tuple[str, ObjectId]:
        """See `outgoing.Caller`."""
        raise TypeError("the entrypoint has no address: it can pass nothing by reference")

    def reset(self, code: str, message: str) -> None:
        """There is nothing to reset; what happened is logged."""
        self._host.log(current_event.get(), 0, "error", message)
