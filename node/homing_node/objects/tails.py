"""Live logs: what object code prints and how its events end, for those who watch just now.

While nobody does, a turn costs one look at an empty list. Who does not keep up loses events, and is told how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from homing import levels
from homing.errors import HomingError, Overloaded
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock
from homing_node.objects import limits, replies
from homing_node.workers.inside.failures import cut

if TYPE_CHECKING:
    from homing_node.objects.activation import Activation, PendingCall
    from homing_node.objects.ports import WorkerPort

ENTRYPOINT = "Default"  # stands for the class where no object's code ran
_KINDS = {
    wire.CALL_KIND_RPC: "rpc",
    wire.CALL_KIND_METHOD: "rpc",
    wire.CALL_KIND_FETCH: "fetch",
    wire.CALL_KIND_DEFAULT: "fetch",
    wire.CALL_KIND_ALARM: "alarm",
    wire.CALL_KIND_MESSAGE: "message",
    wire.CALL_KIND_SOCKET_CLOSE: "close",
    wire.CALL_KIND_SOCKET_ERROR: "error",
    wire.CALL_KIND_RUN: "test",
}


class Tail:
    """One who watches: events wait here until they are taken. Pure.

    Args:
        asked: which events.
        ready: called when there is something to take.

    Invariant: at most `tail_events_max` events wait, of at most `tail_bytes_max` together; the others were counted.
    """

    def __init__(self, asked: wire.TailRequest, ready: Callable[[], None]) -> None:
        self._class_name, self._object, self._level = asked.class_name, asked.object, asked.level
        self._ready = ready
        self._events: list[wire.TailEvent] = []
        self._bytes = 0
        self._dropped = 0

    def add(self, event: wire.TailEvent) -> None:
        """Keep an event if it is asked for, and count it if there is no room."""
        if event.level < self._level or self._class_name not in ("", event.class_name):
            return
        if self._object and self._object != event.object:
            return
        size = event.ByteSize()
        if self._dropped or len(self._events) >= limits.tail_events_max or self._bytes + size > limits.tail_bytes_max:
            self._dropped += 1
        else:
            self._events.append(event)
            self._bytes += size
        self._ready()

    def take(self) -> wire.TailBatch:
        """What waits, oldest first, up to the bound of a message; and how many were dropped after it."""
        count = size = 0
        while count < len(self._events) and size < limits.tail_batch_bytes:
            size += self._events[count].ByteSize()
            count += 1
        events, self._events = self._events[:count], self._events[count:]
        self._bytes -= size
        batch = wire.TailBatch(events=events)
        if self._events:
            self._ready()
        else:
            batch.dropped, self._dropped = self._dropped, 0
        return batch


class Tails:
    """Those who watch this node.

    Args:
        clock: says when something was.

    Attributes:
        open: look whether there is anybody before you tell of something.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.open: list[Tail] = []

    def watch(self, asked: wire.TailRequest, ready: Callable[[], None]) -> Tail:
        """Begin to watch; see `Tail`. Give what is returned to `end`.

        Raises:
            Overloaded: too many watch this node.
        """
        if len(self.open) >= limits.tails_max:
            raise Overloaded(f"this node has {limits.tails_max} tails, and takes no more")
        tail = Tail(asked, ready)
        self.open.append(tail)
        return tail

    def end(self, tail: Tail) -> None:
        """Watch no more."""
        self.open.remove(tail)

    def line(
        self, worker: WorkerPort, act: Activation | None, act_id: int, request_id: str, stream: str, text: str,
        level: int,
    ) -> None:  # fmt: skip
        """Object code printed, or raised what nobody caught.

        Args:
            worker: where it runs.
            act: whose code it is; None: no object's, or one's whose activation has ended.
            act_id: of that activation; 0: the entrypoint, or no event's.
            request_id: of its call, or empty.
            stream: see `object_log`.
            text: what it printed.
            level: by the numbers of the module `logging`.
        """
        kind = wire.TAIL_KIND_EXCEPTION if stream == "traceback" else wire.TAIL_KIND_LOG
        event = self._event(kind, level, worker, act, request_id, text)
        if act is None and act_id:
            event.class_name = ""
        self._tell(event)

    def ended(
        self, worker: WorkerPort, act: Activation | None, done: Iterable[tuple[PendingCall | None, list[Any]]]
    ) -> None:
        """Events have ended with these effects, which were read before; what nobody waits for any more is left out."""
        for call, effect in done:
            if call is None:
                continue
            _, status, payload, started_ns, ended_ns = effect[:5]
            code, message = "ok", ""
            if status in (replies.FAILURE, replies.REFUSED):
                code, message = str(payload[0]), str(payload[1])
            elif status == replies.HTTP:
                message = f"status {payload[0]}"
            self._outcome(worker, act, call, code, message, ended_ns - started_ns)

    def failed(self, act: Activation, call: PendingCall, error: HomingError) -> None:
        """An event ended with its activation."""
        lasted_ns = self._clock.monotonic_ns() - call.received_ns
        self._outcome(act.worker, act, call, error.code, error.message, lasted_ns)

    def _outcome(
        self, worker: WorkerPort, act: Activation | None, call: PendingCall, code: str, message: str, lasted_ns: int
    ) -> None:
        level = levels.DEBUG if code == "ok" else levels.ERROR
        event = self._event(wire.TAIL_KIND_OUTCOME, level, worker, act, call.m.request_id, message)
        event.event = cut(_described(call.m), limits.tail_description_bytes_max)
        event.outcome = cut(code, limits.tail_description_bytes_max)
        event.duration_us = max(0, lasted_ns) // 1_000
        self._tell(event)

    def _event(
        self, kind: wire.TailKind, level: int, worker: WorkerPort, act: Activation | None, request_id: str, text: str
    ) -> wire.TailEvent:
        event = wire.TailEvent(
            kind=kind, time_ms=self._clock.wall_ms(), level=level, class_name=ENTRYPOINT, version=worker.version,
            request_id=cut(request_id, limits.tail_description_bytes_max),
            message=cut(text, limits.tail_message_bytes_max),
        )  # fmt: skip
        if act is not None:
            event.class_name, event.object, event.name = act.class_name, act.object, act.name or ""
        return event

    def _tell(self, event: wire.TailEvent) -> None:
        for tail in self.open:
            tail.add(event)


def _described(m: wire.Call) -> str:
    """What an event is, in a few words; of an address the path alone, for the rest may hold secrets."""
    kind = _KINDS.get(m.kind, "event")
    if m.kind in (wire.CALL_KIND_FETCH, wire.CALL_KIND_DEFAULT):
        return f"{kind} {m.method} /{m.url.partition('://')[2].partition('?')[0].partition('/')[2]}"
    return f"{kind} {m.method}" if kind == "rpc" else kind
