"""Streams that flow through this node: what came with a call, for a worker, and what its answer has, for the caller.

A piece of an answer passes the output gate as every effect does. A stream whose activation, worker, slot or gateway is
gone breaks off on either side: nothing that is incomplete ends as if it were whole. The body of a request ends with its
answer; what was passed to a method flows on for as long as somebody reads it (docs/bodies.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from homing.flow import BROKEN, GOES_ON, ReceiveWindow
from homing.observability.metrics import Counter
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.activation import Activation, PendingCall
from homing_node.objects.frames import FLOW, OF_EVENT, STOP, TAKEN, check_piece
from homing_node.objects.gate import OutputGate
from homing_node.objects.outgoing import OutgoingCalls
from homing_node.objects.ports import FlowPort, WorkerPort
from homing_node.objects.replies import FAILURE, REFUSED, Done
from homing_placement.routing.flows import end_of


class Gone(Protocol):
    """Decides which streams break off."""

    def __call__(self, flow: CallFlow, /) -> bool:
        """Whether those of this call do."""
        ...


@dataclass(slots=True)
class _Down:
    """A stream of an answer."""

    window: ReceiveWindow = field(default_factory=ReceiveWindow)
    ended: bool = False  # the worker has said its end; it may be held at the gate


@dataclass(slots=True, eq=False)
class CallFlow:
    """A call with which streams flow, or with its answer.

    Invariant: `act.flowing` counts those of its activation.

    Attributes:
        worker: that it was given to; None: it waits.
        act: the activation; None: of the entrypoint, or none yet.
        ups: of the streams that came with it, and go on, the windows.
        downs: those of its answer.
        answered: the worker has answered.
    """

    call: PendingCall
    port: FlowPort
    worker: WorkerPort | None = None
    act: Activation | None = None
    ups: dict[int, ReceiveWindow] = field(default_factory=dict[int, ReceiveWindow])
    downs: dict[int, _Down] = field(default_factory=dict[int, _Down])
    answered: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing of it is to flow any more."""
        lasts = bool(self.ups) and self.call.m.kind == wire.CALL_KIND_METHOD
        return self.answered and not (self.downs or lasts)


class CallFlows:
    """The streams that flow to and from a node's workers.

    Args:
        gate: holds what answers say.
        outgoing: has the streams of the calls that activations make.

    Attributes:
        bytes_in, bytes_out: that passed, with calls and behind their answers.
    """

    def __init__(self, gate: OutputGate, outgoing: OutgoingCalls) -> None:
        self._gate, self._outgoing = gate, outgoing
        self._by_call: dict[int, CallFlow] = {}
        self._by_port: dict[FlowPort, dict[int, CallFlow]] = {}
        self.of_entrypoint = 0  # how many are
        self.bytes_in, self.bytes_out = Counter(), Counter()

    def __len__(self) -> int:
        return len(self._by_call)

    def streams(self) -> tuple[int, int]:
        """How many flow now, with calls and behind their answers."""
        flows = self._by_call.values()
        return sum(len(flow.ups) for flow in flows), sum(len(flow.downs) for flow in flows)

    # -- their beginnings -----------------------------------------------------------------------------------------

    def expect(self, call: PendingCall) -> None:
        """A call has come behind which streams will flow; it may wait, and may be refused."""
        if call.port is None or call.port.gone:
            return
        flow = self._add(call, call.port)
        for at in range(call.m.flows):
            window = flow.ups[at] = ReceiveWindow()
            first = call.m.body if at == 0 and call.m.kind != wire.CALL_KIND_METHOD else b""
            window.came(first)
            self.bytes_in.add(len(first))
        reply = call.reply

        def replied(m: wire.Reply) -> None:
            if flow.worker is None:
                self._remove(flow)  # it was refused
            reply(m)

        call.reply = replied

    def begin(self, call: PendingCall, worker: WorkerPort, act: Activation | None) -> None:
        """Such a call is given to a worker."""
        flow = self._by_call.get(call.id)
        if flow is not None:
            self._give(flow, worker, act)
        for at in range(call.m.flows):
            if flow is None or at not in flow.ups:  # it broke off meanwhile
                _say(call, worker, act, FLOW, at, b"", BROKEN)

    def turned(self, worker: WorkerPort, act: Activation, done: Done) -> None:
        """What a turn of an activation answers; behind few answers something flows."""
        for call, effect in done:
            if call is not None and (len(effect) > 5 or act.flowing):
                self.answered(call, worker, act, effect)

    def answered(self, call: PendingCall, worker: WorkerPort, act: Activation | None, effect: list[Any]) -> None:
        """A call has its answer, which was checked; streams may flow behind it."""
        if effect[1] in (FAILURE, REFUSED):
            self.failed(call)
            return
        flow = self._by_call.get(call.id)
        count = effect[5] if len(effect) > 5 else 0
        if call.port is None or call.port.gone:
            for at in range(count):
                _say(call, worker, act, TAKEN, at, STOP)
            return
        if flow is None and count:
            flow = self._add(call, call.port)
            self._give(flow, worker, act)
        if flow is not None:
            flow.answered = True
            flow.downs = {at: _Down() for at in range(count)}
            self._look(flow)

    def failed(self, call: PendingCall) -> None:
        """A call has failed, or did not begin: nothing of it flows any more."""
        flow = self._by_call.get(call.id)
        if flow is not None:
            self._remove(flow)

    def _add(self, call: PendingCall, port: FlowPort) -> CallFlow:
        flow = self._by_call[call.id] = CallFlow(call, port)
        self._by_port.setdefault(port, {})[call.m.id] = flow
        return flow

    def _give(self, flow: CallFlow, worker: WorkerPort, act: Activation | None) -> None:
        flow.worker, flow.act = worker, act
        if act is None:
            self.of_entrypoint += 1
        else:
            act.flowing += 1

    def _look(self, flow: CallFlow) -> None:
        if flow.over:
            self._remove(flow)

    def _remove(self, flow: CallFlow) -> None:
        if self._by_call.pop(flow.call.id, None) is None:
            return
        for at in flow.ups:
            self._tell(flow, FLOW, at, b"", BROKEN)
        mine = self._by_port.get(flow.port, {})
        mine.pop(flow.call.m.id, None)
        if not mine:
            self._by_port.pop(flow.port, None)
        if flow.act is not None:
            flow.act.flowing -= 1
        elif flow.worker is not None:
            self.of_entrypoint -= 1

    # -- what comes -----------------------------------------------------------------------------------------------

    def from_gateway(self, port: FlowPort, m: wire.Flow) -> None:
        """A frame of whoever made a call."""
        flow = self._by_port.get(port, {}).get(m.id)
        if flow is None:
            return  # it has ended here, and the news is on its way
        try:
            if m.data or m.end:
                self._came(flow, m.stream, m.data, int(m.end))
            down = flow.downs.get(m.stream)
            if m.stop and down is not None:
                self._tell(flow, TAKEN, m.stream, STOP)
                del flow.downs[m.stream]
                self._look(flow)
            elif m.taken and down is not None:
                down.window.took(m.taken)
                self._tell(flow, TAKEN, m.stream, down.window.rest())
        except ValueError:
            self._break(flow)

    def _came(self, flow: CallFlow, at: int, data: bytes, end: int) -> None:
        up = flow.ups.get(at)
        if up is None:
            return
        if data:
            up.came(data)
            self.bytes_in.add(len(data))
        if end != GOES_ON:
            del flow.ups[at]
        self._tell(flow, FLOW, at, data, end)
        self._look(flow)

    def on_frame(
        self, worker: WorkerPort, act: Activation | None, kind: int, act_id: int, side: int, number: int, at: int,
        *what: Any,
    ) -> None:  # fmt: skip
        """A frame of a worker, of an activation or (None) of the entrypoint: a piece, or how much of one was taken.

        Raises:
            ValueError, TypeError: it had no room for that, or it is no frame.
        """
        if side == OF_EVENT:
            flow = self._by_call.get(number)
            if flow is not None and flow.worker is worker and flow.act is act:
                (self._answer_came if kind == FLOW else self._taken)(flow, at, *what)
            return
        caller = -worker.id if act is None else act_id
        if kind == TAKEN:
            self._outgoing.taken(caller, number, at, *what)
            return
        put = self._outgoing.piece(caller, number, at, *what)
        if act is None:
            put()
        else:
            self._gate.hold_call(act.slot, act.last_lsn, put)

    def _answer_came(self, flow: CallFlow, at: int, data: bytes, end: int) -> None:
        down = flow.downs.get(at)
        if down is None or down.ended:
            return
        check_piece(data, end)
        if data:
            down.window.came(data)
        down.ended = end != GOES_ON
        self._through_gate(flow, partial(self._pass_on, flow, at, data, end))

    def _taken(self, flow: CallFlow, at: int, cost: int) -> None:
        up = flow.ups.get(at)
        if up is None:
            return
        if cost != STOP:
            up.took(cost)
            flow.port.flow(wire.Flow(id=flow.call.m.id, stream=at, taken=up.rest()))
            return
        del flow.ups[at]
        flow.port.flow(wire.Flow(id=flow.call.m.id, stream=at, stop=True))
        self._look(flow)

    # -- their ends -----------------------------------------------------------------------------------------------

    def port_gone(self, port: FlowPort) -> None:
        """A gateway has gone: nobody wants these streams, and none of its own is complete."""
        for flow in list(self._by_port.get(port, {}).values()):
            self._give_up(flow)

    def act_gone(self, act: Activation) -> None:
        """An activation is over, or has to go: its answers break off, behind what left it before."""
        if act.flowing:
            self._break_all(lambda flow: flow.act is act)

    def worker_gone(self, worker: WorkerPort) -> None:
        """A worker is dead: answers of the entrypoint break off."""
        self._break_all(lambda flow: flow.act is None and flow.worker is worker)

    def slot_lost(self, slot: int, epoch: int) -> None:
        """The slot is not served any more: what was held in it does not leave, and its streams break off."""
        mine = [
            flow
            for flow in self._by_call.values()
            if flow.act is not None and flow.act.slot == slot and flow.act.epoch == epoch
        ]
        for flow in mine:
            for at in flow.downs:
                flow.port.flow(end_of(flow.call.m.id, at, BROKEN))
            self._refuse(flow)
            self._give_up(flow)

    def _break_all(self, gone: Gone) -> None:
        for flow in [flow for flow in self._by_call.values() if gone(flow)]:
            self._break(flow)

    def _break(self, flow: CallFlow) -> None:
        """Its streams end here; a call without an answer is failed by whoever breaks it off, or goes on."""
        if not flow.answered:
            self._give_up(flow)
            return
        self._refuse(flow)
        for at, down in list(flow.downs.items()):
            if not down.ended:
                down.ended = True
                self._tell(flow, TAKEN, at, STOP)
                self._through_gate(flow, partial(self._pass_on, flow, at, b"", BROKEN))
        self._look(flow)

    def _refuse(self, flow: CallFlow) -> None:
        """Nobody reads any more what came with a call that has been answered."""
        if not flow.answered:
            return
        ups, flow.ups = flow.ups, {}
        for at in ups:
            self._tell(flow, FLOW, at, b"", BROKEN)
            flow.port.flow(wire.Flow(id=flow.call.m.id, stream=at, stop=True))

    def _give_up(self, flow: CallFlow) -> None:
        """Nobody wants what its answer has, and nothing more will come with it."""
        for at in flow.downs:
            self._tell(flow, TAKEN, at, STOP)
        self._remove(flow)

    def _through_gate(self, flow: CallFlow, send: Callable[[], None]) -> None:
        """Say something behind all that the activation said before; what the gate does not hold any more is lost."""
        act = flow.act
        if act is None:
            send()
        elif (served := self._gate.slots.get(act.slot)) is not None and served.epoch == act.epoch:
            self._gate.hold_call(act.slot, act.last_lsn, send)

    def _pass_on(self, flow: CallFlow, at: int, data: bytes, end: int) -> None:
        if self._by_call.get(flow.call.id) is not flow or at not in flow.downs:
            return  # nobody wants it any more
        call_id = flow.call.m.id
        if end == GOES_ON:
            self.bytes_out.add(len(data))
            flow.port.flow(wire.Flow(id=call_id, stream=at, data=data))
            return
        flow.port.flow(end_of(call_id, at, end))
        del flow.downs[at]
        self._look(flow)

    def _tell(self, flow: CallFlow, kind: int, at: int, *what: object) -> None:
        if flow.worker is not None:
            _say(flow.call, flow.worker, flow.act, kind, at, *what)


def _say(
    call: PendingCall, worker: WorkerPort, act: Activation | None, kind: int, at: int, *what: object
) -> None:  # fmt: skip
    """Tell a worker something of a stream that flows with an event."""
    worker.send((kind, 0 if act is None else act.id, OF_EVENT, call.id, at, *what))
