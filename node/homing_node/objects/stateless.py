"""Calls of the `Default` entrypoint: no object, no state, any worker, nothing to hold.

Nor does anything hold what it says on sockets: those that it accepts are live, and belong to the worker that runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from homing.errors import ObjectReset, Overloaded, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits, replies
from homing_node.objects.activation import PendingCall
from homing_node.objects.flows import CallFlows
from homing_node.objects.ports import PoolPort, WorkerPort
from homing_node.objects.sockets import Sockets
from homing_node.objects.tails import Tails


class StatelessCalls:
    """Calls that no activation holds.

    Args:
        pool: workers.
        event: makes the frame of a call.
        now_ns: for the time at which an answer was released.
        sockets: of the node.
        tails: are told how calls end.
        flows: the bodies that flow.
    """

    def __init__(
        self, pool: PoolPort, event: Callable[[int, PendingCall], tuple[Any, ...]], now_ns: Callable[[], int],
        sockets: Sockets, tails: Tails, flows: CallFlows,
    ) -> None:  # fmt: skip
        self._pool, self._event, self._now_ns = pool, event, now_ns
        self._sockets, self._tails, self._flows = sockets, tails, flows
        self._calls: dict[int, tuple[int, PendingCall]] = {}  # call id to worker id and call
        self._on_sockets = 0  # of these, how many are what came on sockets
        self._workers: dict[bytes, WorkerPort] = {}  # that have said something on sockets, by the key of these

    def __len__(self) -> int:
        return len(self._calls) - self._on_sockets

    def call(self, call: PendingCall) -> None:
        """Send a call to a worker."""
        worker = self._pool.pick(call.id.to_bytes(32, "big"))
        if worker is None:
            call.reply(replies.of_error(call.m.id, Unavailable("no worker is ready"), started=False))
        elif len(self) + self._flows.of_entrypoint >= limits.stateless_calls_max:
            call.reply(replies.of_error(call.m.id, Overloaded("too many calls of the entrypoint"), started=False))
        else:
            self._calls[call.id] = (worker.id, call)
            worker.send(self._event(0, call))
            if call.m.flows:
                self._flows.begin(call, worker, None)

    def on_socket(self, call: PendingCall) -> None:
        """Send what came on a socket to the worker that accepted it. Gateways bound how much of that there is."""
        event = call.socket
        worker = self._workers.get(event.owner.object) if event is not None else None
        if worker is None:  # it has died, and its sockets are about to
            call.reply(replies.of_error(call.m.id, ObjectReset("its worker ended"), started=False))
            return
        self._on_sockets += 1
        self._calls[call.id] = (worker.id, call)
        worker.send(self._event(0, call))

    def running(self, worker: WorkerPort, call_id: int) -> PendingCall | None:
        """A call that a worker was sent and has not answered."""
        known = self._calls.get(call_id)
        return known[1] if known is not None and known[0] == worker.id else None

    def on_turn(self, worker: WorkerPort, effects: list[Any], said: Sequence[Sequence[Any]]) -> None:
        """What a turn said on sockets, and its answers: only to calls that the worker was sent.

        Raises:
            TypeError, ValueError, LookupError: it is not what an entrypoint can do.
        """
        if said:
            key = key_of(worker)
            turn = self._sockets.turn((key, 0, 0, "", None), said, None, ())
            if turn.lasting:
                raise ValueError("an entrypoint that keeps a socket")
            self._workers[key] = worker
            say = self._sockets.take(turn, None, recorded=False)
            if say is not None:
                say()
        for effect in effects:
            known = self._calls.get(effect[0])
            if known is None or known[0] != worker.id:
                continue
            answer = self._answer(known[1], effect, key_of(worker))
            if self._tails.open:
                self._tails.ended(worker, None, [(known[1], effect)])
            self._forget(known[1])
            if answer.flows or known[1].m.flows:
                self._flows.answered(known[1], worker, None, effect)
            known[1].reply(answer)

    def _forget(self, call: PendingCall) -> None:
        del self._calls[call.id]
        self._on_sockets -= call.socket is not None

    def _answer(self, call: PendingCall, effect: list[Any], key: bytes) -> wire.Reply:
        flows = replies.flowing(call, effect) if len(effect) > 5 else 0
        answer = replies.of_effect(call.m.id, effect[1], effect[2], key, flows)
        timing = answer.timing
        timing.received_ns, timing.started_ns, timing.ended_ns = call.received_ns, effect[3], effect[4]
        timing.released_ns = self._now_ns()
        return answer

    def on_worker_death(self, worker: WorkerPort, reason: str) -> None:
        """Calls of a dead worker may be tried again by whoever knows that they may."""
        for worker_id, call in list(self._calls.values()):
            if worker_id == worker.id:
                self._forget(call)
                error = ObjectReset(f"the worker ended: {reason}")
                call.reply(replies.of_error(call.m.id, error, started=True))
        self._workers.pop(key_of(worker), None)
        self._sockets.asleep(key_of(worker))
        self._flows.worker_gone(worker)


def key_of(worker: WorkerPort) -> bytes:
    """Under which the sockets of a worker's entrypoint are known: shorter than an object's id."""
    return worker.id.to_bytes(8, "big")
