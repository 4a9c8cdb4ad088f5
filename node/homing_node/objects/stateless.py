"""Calls of the `Default` entrypoint: no object, no state, any worker, nothing to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homing.errors import ObjectReset, Overloaded, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits, replies
from homing_node.objects.activation import PendingCall
from homing_node.objects.ports import PoolPort, WorkerPort
from homing_node.objects.tails import Tails


class StatelessCalls:
    """Calls that no activation holds.

    Args:
        pool: workers.
        event: makes the frame of a call.
        now_ns: for the time at which an answer was released.
        tails: are told how calls end.
    """

    def __init__(
        self, pool: PoolPort, event: Callable[[int, PendingCall], tuple[Any, ...]], now_ns: Callable[[], int],
        tails: Tails,
    ) -> None:  # fmt: skip
        self._pool, self._event, self._now_ns, self._tails = pool, event, now_ns, tails
        self._calls: dict[int, tuple[int, PendingCall]] = {}  # call id to worker id and call

    def __len__(self) -> int:
        return len(self._calls)

    def call(self, call: PendingCall) -> None:
        """Send a call to a worker."""
        worker = self._pool.pick(call.id.to_bytes(32, "big"))
        if worker is None:
            call.reply(replies.of_error(call.m.id, Unavailable("no worker is ready"), started=False))
        elif len(self._calls) >= limits.stateless_calls_max:
            call.reply(replies.of_error(call.m.id, Overloaded("too many calls of the entrypoint"), started=False))
        else:
            self._calls[call.id] = (worker.id, call)
            worker.send(self._event(0, call))

    def running(self, worker: WorkerPort, call_id: int) -> PendingCall | None:
        """A call that a worker was sent and has not answered."""
        known = self._calls.get(call_id)
        return known[1] if known is not None and known[0] == worker.id else None

    def on_effects(self, worker: WorkerPort, effects: list[Any]) -> None:
        """Answers of a worker; only to calls that it was sent."""
        for effect in effects:
            known = self._calls.get(effect[0])
            if known is None or known[0] != worker.id:
                continue
            answer = self._answer(known[1], effect)
            if self._tails.open:
                self._tails.ended(worker, None, [(known[1], effect)])
            del self._calls[effect[0]]
            known[1].reply(answer)

    def _answer(self, call: PendingCall, effect: list[Any]) -> wire.Reply:
        answer = replies.of_effect(call.m.id, effect[1], effect[2])
        timing = answer.timing
        timing.received_ns, timing.started_ns, timing.ended_ns = call.received_ns, effect[3], effect[4]
        timing.released_ns = self._now_ns()
        return answer

    def on_worker_death(self, worker: WorkerPort, reason: str) -> None:
        """Calls of a dead worker may be tried again by whoever knows that they may."""
        for call_id, (worker_id, call) in list(self._calls.items()):
            if worker_id == worker.id:
                del self._calls[call_id]
                error = ObjectReset(f"the worker ended: {reason}")
                call.reply(replies.of_error(call.m.id, error, started=True))
