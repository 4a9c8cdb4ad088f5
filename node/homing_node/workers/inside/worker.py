"""The worker: it takes the node's messages, and owns the activations that live in this process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from homing.errors import BadRequest
from homing.facets import FacetClass
from homing.http import let_fetch
from homing.ids import ObjectId
from homing.levels import ERROR, WARNING
from homing.sandbox_runner import let_run
from homing.sockets import let_accept
from homing.tuning import drop_caches
from homing_node.workers.inside import application, channel, failures, limits, testing
from homing_node.workers.inside.activation import Activation, Entrypoint
from homing_node.workers.inside.application import Application
from homing_node.workers.inside.facet_activation import run_here
from homing_node.workers.inside.facet_places import Place, Runner
from homing_node.workers.inside.facet_remote import run_in_sandbox
from homing_node.workers.inside.facets import FacetKeeper
from homing_node.workers.inside.framing import BadFrame
from homing_node.workers.inside.looks import Looks
from homing_node.workers.inside.loops import WorkerLoop
from homing_node.workers.inside.outgoing import Stubs
from homing_node.workers.inside.output import LineBudget
from homing_node.workers.inside.turn_keeper import Aborted, Event
from homing_node.workers.inside.turns import TurnCoroutine, current_event
from homing_node.workers.inside.wire import Wire


class Worker:
    """See the module; it is the `Host` of its activations.

    Args:
        loop: the loop that everything runs in.
        trim: asks the allocator to give unused memory back, where that is possible.
    """

    def __init__(self, loop: WorkerLoop, trim: Callable[[], None] = lambda: None) -> None:
        self.loop: Any = loop
        self.env: Any = None
        self.turns = 0
        self.wire: Wire | None = None
        self._trim = trim
        self._application: Application | None = None
        self._activations: dict[int, Activation] = {}
        self.stubs = Stubs(self._current)
        self._looks = Looks(self._send_from_any)
        self._budget = LineBudget(time.monotonic)
        self._thread = threading.get_ident()
        self._ended = 0  # activations that ended since memory was last given back
        self._take: dict[int, Callable[[Event], None]] = {
            channel.HELLO: self._hello,
            channel.OPEN: self._open,
            channel.PAGES: self._pages,
            channel.CLOSE: self._close,
            channel.ABORT: self._abort,
            channel.PING: self._ping,
            channel.REPLY: self._reply,
            channel.SOCKETS: self._know_sockets,
            channel.CLOCK: self._set_clock,
            channel.LOOK: self._look,
            channel.FACET: self._facet,
            channel.FLOW: self._flow,
            channel.TAKEN: self._taken,
            channel.GIVE_UP: self._give_up,
        }
        self.loop.owner = self
        self.loop.set_task_factory(self._make_task)
        self.loop.set_exception_handler(self._on_loop_error)

    # Messages of the node

    def on_message(self, message: Event) -> None:
        """Take one message.

        Raises:
            BadFrame: the node broke the protocol.
        """
        if message[0] == channel.EVENT:
            activation = self._activations.get(message[1])
            if activation is not None:  # else it has ended, and the node is about to know
                activation.deliver(message)
            return
        try:
            self._take[message[0]](message)
        except (AttributeError, LookupError, TypeError, ValueError, BadRequest) as error:
            raise BadFrame(f"a message of kind {message[0]}: {error!r}") from error

    def _hello(self, message: Event) -> None:
        given = message[1]
        limits.override(given.get("limits") or {})
        if given.get("ahead_ms") is not None:
            testing.install(given["ahead_ms"])
        try:
            self._application = application.load(
                given["app"], given["main"], self.stubs, given.get("bindings") or {}, given.get("packages") or ""
            )
        except BaseException as error:
            self.send((channel.FAILED, type(error).__name__, failures.message_of(error), failures.trace_of(error)))
            return
        self.env = self._application.env
        let_fetch(self.stubs.call_outbound)
        let_run(self.stubs)
        let_accept(self.stubs.accept_socket)
        if self._application.default is not None:
            self._activations[0] = Entrypoint(self, self._application.default, self._application.site)
        gc.collect()
        gc.freeze()  # what was imported stays; collections need not look at it
        self.send((channel.READY, self._application.summary()))

    def _open(self, message: Event) -> None:
        _, number, class_name, object_id, name, page_count, pages = message
        if self._application is None or number in self._activations or number == 0:
            raise ValueError("an activation that cannot be opened")
        if page_count > limits.pages_max:
            raise ValueError("a database over its limit")
        kind = self._application.classes[class_name]
        activation = Activation.of_object(self, number, kind, ObjectId(object_id, name), page_count)
        self._activations[number] = activation
        if pages:
            activation.add_pages(pages)

    def _pages(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.add_pages(message[2])
        elif message[1] < 0:
            self._looks.add_pages(message[1], message[2])

    def _look(self, message: Event) -> None:
        self._looks.ask(*message[1:4])

    def _close(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        done = activation is None or activation.close_if_idle(leaving=bool(message[2]))
        self.send((channel.CLOSED, message[1], done))

    def _abort(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.end()
        self.send((channel.CLOSED, message[1], True))

    def _know_sockets(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.sockets().know(message[2], message[3])

    def _set_clock(self, message: Event) -> None:
        testing.set_ahead(message[1])

    def _reply(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.on_reply(*message[2:6])

    def _facet(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.on_facet(*message[2:6])

    def _flow(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.on_flow(*message[2:7])

    def _taken(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None:
            activation.on_taken(*message[2:6])

    def _give_up(self, message: Event) -> None:
        activation = self._activations.get(message[1])
        if activation is not None and activation.give_up(message[2]):
            self.send((channel.GIVE_UP, message[1], message[2]))

    def _ping(self, message: Event) -> None:
        self.send((channel.PONG, message[1]))

    # For the activations

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue a frame for the node."""
        if self.wire is not None:
            self.wire.send(message)

    def later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """A timer of the runtime's own."""
        return self.loop.runtime_later(delay_s, callback, *args, context=contextvars.Context())

    def adopt(self, activation: Activation) -> None:
        """See `facet_activation.Host`."""
        self._activations[activation.number] = activation

    def keep_facets(self, parent: Activation) -> FacetKeeper:
        """See `turn_keeper.Host`."""

        async def run(place: Place, wanted: FacetClass, content: list[bytes]) -> Runner:
            if isinstance(wanted.kind, type):
                return run_here(self, parent, keeper, place, wanted, content)
            return await run_in_sandbox(parent, keeper, place, wanted, content)

        keeper = FacetKeeper(parent, self.loop, self.stubs, run)
        return keeper

    def forget(self, act: int) -> None:
        """An activation has ended."""
        self._activations.pop(act, None)
        self._ended += 1
        if self._ended == 1:
            self.later(limits.give_back_after_s, self._give_back)

    def _give_back(self) -> None:
        """Give the memory of ended activations back to the system, the last few included.

        Dropping caches costs as much as there are activations left, so it waits until as many have ended.
        """
        if self._ended >= len(self._activations):
            drop_caches()
        if not self._activations:
            self._activations.clear()  # gives its table back too, which deletions alone do not
        self._ended = 0
        self._trim()

    def log(self, event: Event | None, act: int, stream: str, text: str, level: int = ERROR) -> None:
        """Send text of an object's code to the node; from any thread."""
        allowed, dropped = self._budget.take()
        request_id, traceparent = (event[7], event[8]) if event is not None else ("", "")
        if dropped:
            said = f"{dropped} lines of output were dropped"
            self._send_from_any((channel.LOG, act, "", "error", said, "", WARNING))
        if allowed:
            self._send_from_any((channel.LOG, act, request_id, stream, text, traceparent, level))

    def _send_from_any(self, message: tuple[Any, ...]) -> None:
        if self.wire is None:
            return
        if threading.get_ident() == self._thread:
            self.wire.send(message)
        else:
            self.wire.send_from_thread(message)

    def emit(self, event: Event | None, stream: str, text: str, level: int) -> None:
        """A line that object code printed."""
        number = event[1] if event is not None else 0
        if number < 0:  # a facet's: the node knows its object
            facet = self._activations.get(number)
            number = facet.logged_as if facet is not None else 0
        self.log(event, number, stream, text, level)

    def end_all(self) -> None:
        """The node is gone: nothing that runs here can have an effect any more."""
        self.wire = None
        for activation in list(self._activations.values()):
            activation.end()

    def _current(self) -> Activation | None:
        """Whose code runs."""
        event = current_event.get()
        return self._activations.get(event[1]) if event is not None else None

    # For the loop

    def turns_of(self, event: Event) -> Activation | None:
        """The activation that runs an event."""
        return self._activations.get(event[1])

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        event = current_event.get()
        if event is None or isinstance(coroutine, TurnCoroutine):
            return asyncio.Task(coroutine, loop=loop, **options)
        activation = self._activations.get(event[1])
        if activation is None:
            coroutine.close()
            raise Aborted
        return activation.spawn(coroutine, **options)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something that nobody waited for failed: a callback or a task of an object's code."""
        error = context.get("exception")
        if isinstance(error, Aborted):
            return
        if error is None:
            self.emit(current_event.get(), "error", str(context.get("message", "")), ERROR)
        else:
            self.emit(current_event.get(), "traceback", failures.trace_of(error), ERROR)
