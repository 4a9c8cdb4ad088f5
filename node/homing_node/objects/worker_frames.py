"""What workers say of activations: turns, calls, closings, lines. A frame counts only from the worker that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from homing.errors import HomingError, ObjectReset
from homing_node.log import record
from homing_node.objects import limits, object_log, replies
from homing_node.objects.activation import Activation, Life, PendingCall
from homing_node.objects.flows import CallFlows
from homing_node.objects.frames import CALL, CLOSED, FLOW, GIVE_UP, LOG, RESET, TAKEN, TURN
from homing_node.objects.outgoing import Maker, OutgoingCalls
from homing_node.objects.ports import WorkerPort
from homing_node.objects.recording import may_record, take_commit, turn_body
from homing_node.objects.slot_host import SlotHost
from homing_node.objects.socket_state import SocketTurn
from homing_node.objects.stateless import StatelessCalls, key_of
from homing_node.objects.tails import Tails
from homing_node.objects.turn_record import encode_body

_log = structlog.stdlib.get_logger("homing.objects")


class FrameHost(SlotHost):
    """The side of an object host that workers talk to.

    Attributes:
        outgoing: the calls that objects make.
        flows: bodies that flow.
        tails: who follows what objects do.
    """

    outgoing: OutgoingCalls
    flows: CallFlows
    tails: Tails
    _by_id: dict[int, Activation]
    _stateless: StatelessCalls

    def _take(self, call: PendingCall) -> None:
        """Take a call for whatever there is of its object now."""
        raise NotImplementedError

    def _deliver(self, act: Activation, call: PendingCall) -> None:
        """Have an activation run a call."""
        raise NotImplementedError

    def _gone(self, act: Activation, error: HomingError) -> None:
        """An activation has ended for good."""
        raise NotImplementedError

    def _now(self) -> float:
        """Monotonic seconds."""
        raise NotImplementedError

    def on_frame(self, worker: WorkerPort, frame: list[Any]) -> None:
        """A frame of a worker; what does not fit its own table ends that worker."""
        try:
            kind = frame[0]
            if kind == TURN:
                self._on_turn(worker, *frame[1:8])
            elif kind == CALL:
                self._on_call(worker, frame[1], frame[2], frame[3:])
            elif kind in (FLOW, TAKEN) and ((act := self._heard(worker, frame[1])) is not None or frame[1] == 0):
                self.flows.on_frame(worker, act, *frame)
            elif kind == CLOSED:
                self._on_closed(worker, frame[1], bool(frame[2]))
            elif kind == LOG:
                object_log.emit(self._by_id.get(frame[1]), worker, self.tails, *frame[1:8])
            elif kind == RESET:
                self._on_reset(worker, *frame[1:4])
            elif kind == GIVE_UP:
                self._on_given_up(worker, *frame[1:3])
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
            _log.error("a worker broke the protocol", worker=worker.id, error=repr(error))
            worker.kill("it broke the protocol of its channel")

    def on_line(self, maker: Maker, request_id: str, level: int, text: str) -> None:
        """A dynamic worker printed a line; whoever loaded it is named with it."""
        act = self._by_id.get(maker.act_id)
        object_log.emit(act, maker.worker, self.tails, maker.act_id, request_id, "dynamic", text, "", level)

    def _heard(self, worker: WorkerPort, act_id: int) -> Activation | None:
        """The activation of which a worker speaks, unless nothing of it counts any more."""
        act = self._by_id.get(act_id)
        if act is None or act.worker is not worker or act.life >= Life.ABORTING:
            return None  # its epoch is over
        return act if self._log.serving(act.slot) == act.epoch else None  # else the news is on its way here

    def _on_call(self, worker: WorkerPort, act_id: int, call_id: int, call: list[Any]) -> None:
        """An object, or the entrypoint, calls an object."""
        if act_id == 0:
            maker = Maker(worker, 0, -worker.id, key_of(worker))
            self.outgoing.made(maker, self._stateless.running(worker, call_id), call)()
        elif (act := self._heard(worker, act_id)) is not None:
            maker = Maker(worker, act_id, act_id, act.object, act)
            send = self.outgoing.made(maker, act.calls.get(call_id), call)
            self.gate.hold_call(act.slot, act.last_lsn, send)

    def _on_turn(
        self,
        worker: WorkerPort,
        act_id: int,
        n: int,
        commit: bytes | None,
        call_id: int,
        effects: list[Any],
        wake_ms: int | None = None,
        said: Sequence[list[Any]] = (),
    ) -> None:
        if act_id == 0:
            self._stateless.on_turn(worker, effects, said)
            return
        act = self._heard(worker, act_id)
        if act is None:
            return
        done, ready = replies.of_turn(act, effects)  # what cannot be told must not be recorded
        runner = act.calls.get(call_id)
        event = runner.socket if runner is not None else None
        sockets = None
        if said or event is not None:
            ended = [call.socket for call, _ in done if call is not None and call.socket is not None]
            sockets = self.sockets.turn(act.address, said, event, ended)
        if commit is not None or wake_ms is not None:
            take_commit(act, n, commit, wake_ms)
        wrote = may_record(commit, done, sockets) and self._record(act, commit, runner, done, wake_ms, sockets)
        if sockets is not None:
            say = self.sockets.take(sockets, event, recorded=wrote)
            if say is not None:
                self.gate.hold_call(act.slot, act.last_lsn, say, wrote=wrote)
        self.flows.turned(worker, act, done)
        if self.tails.open:
            self.tails.ended(worker, act, done)
        act.ended(done)
        for call, answer in ready:
            self.gate.hold(act.slot, act.last_lsn, call, answer, wrote=wrote)

    def _record(
        self, act: Activation, commit: bytes | None, runner: PendingCall | None, done: replies.Done,
        wake_ms: int | None, sockets: SocketTurn | None,
    ) -> bool:  # fmt: skip
        """Propose the record of a turn; False: there is nothing to record."""
        at_ms, began_ms = self.gate.slots[act.slot].times_ms(self._clock.monotonic_ns())
        body = turn_body(act, commit, runner, done, at_ms, began_ms, wake_ms, sockets)
        if body is None:
            return False
        act.last_lsn = self._log.propose(act.slot, record.TURN, at_ms, act.object, encode_body(body))
        act.exists = True
        if act.keys is not None and body.keys:
            act.keys.take(body, at_ms)
        if wake_ms is not None:
            act.wake_ms = wake_ms
            self.bell.turned(act.slot, act.object, wake_ms)
        return True

    def _on_given_up(self, worker: WorkerPort, act_id: int, call_id: int) -> None:
        """A call that nobody waits for had not begun, and does not. Who waits for the same runs in its place."""
        act = self._heard(worker, act_id)
        call = act.calls.get(call_id) if act is not None else None
        if act is None or call is None:
            return
        if not call.given_up or call.committed:
            raise ValueError("a call that was not given up, or has begun")
        act.ended([(call, [])])
        self.flows.failed(call)
        call.reply(replies.given_up(call.m.id))
        for waiter in call.waiters or ():
            self._take(waiter)

    def _on_reset(self, worker: WorkerPort, act_id: int, code: str, message: str) -> None:
        act = self._by_id.get(act_id)
        if act is None or act.worker is not worker:
            return
        self._gone(act, replies.error_of(code, message))

    def _on_closed(self, worker: WorkerPort, act_id: int, done: bool) -> None:
        act = self._by_id.get(act_id)
        if act is None or act.worker is not worker:
            return
        if done:
            self._gone(act, ObjectReset("the activation was ended"))
        if act.life is not Life.CLOSING:
            return  # gone; or an abort came after the question, and its answer is still on the way
        act.life, act.ask_again_at = Life.OPEN, self._now() + limits.close_retry_s
        act.kept_since = act.kept_since or self._now()
        waiting, act.successor = act.successor, []
        for call in waiting:
            self._deliver(act, call)
