"""Bodies that flow through this node, between gateways and workers: what came for a call, and what it answers.

A piece of an answer passes the output gate as every effect does. A body whose activation, worker, slot or gateway is
gone breaks off on either side: nothing that is incomplete ends as if it were whole (docs/bodies.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from homing.flow import BROKEN, GOES_ON, ReceiveWindow
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.activation import Activation, PendingCall
from homing_node.objects.frames import FLOW, OF_EVENT, STOP, TAKEN, check_piece
from homing_node.objects.gate import OutputGate
from homing_node.objects.outgoing import OutgoingCalls
from homing_node.objects.ports import FlowPort, WorkerPort
from homing_node.objects.replies import STREAM, Done
from homing_placement.routing.flows import end_of


class Gone(Protocol):
    """Decides which bodies break off."""

    def __call__(self, flow: CallFlow, /) -> bool:
        """Whether this one does."""
        ...


@dataclass(slots=True, eq=False)
class CallFlow:
    """A call of which a body flows.

    Invariant: `act.flowing` counts those of its activation.
    """

    call: PendingCall
    port: FlowPort
    worker: WorkerPort
    act: Activation | None  # None: of the entrypoint
    up: ReceiveWindow | None = None  # of the request's body, while that flows
    down: ReceiveWindow | None = None  # of the answer's
    ended: bool = False  # the worker has said the answer's end; it may be held at the gate


class CallFlows:
    """The bodies that flow to and from a node's workers.

    Args:
        gate: holds what answers say.
        outgoing: has the bodies of the calls that activations make.
    """

    def __init__(self, gate: OutputGate, outgoing: OutgoingCalls) -> None:
        self._gate, self._outgoing = gate, outgoing
        self._by_call: dict[int, CallFlow] = {}
        self._by_port: dict[FlowPort, dict[int, CallFlow]] = {}
        self.of_entrypoint = 0  # how many are

    def __len__(self) -> int:
        return len(self._by_call)

    # -- their beginnings -----------------------------------------------------------------------------------------

    def begin(self, call: PendingCall, worker: WorkerPort, act: Activation | None) -> None:
        """A call is given to a worker, and the rest of its body will come."""
        if call.port is not None and not call.port.gone:
            flow = self._add(call, call.port, worker, act)
            flow.up = ReceiveWindow()
            flow.up.came(call.m.body)

    def turned(self, worker: WorkerPort, act: Activation, done: Done) -> None:
        """What a turn of an activation answers; few answers flow."""
        for call, effect in done:
            if call is not None and (effect[1] == STREAM or act.flowing):
                self.answered(call, worker, act, flows=effect[1] == STREAM)

    def answered(self, call: PendingCall, worker: WorkerPort, act: Activation | None, *, flows: bool) -> None:
        """A call has its answer, or the head of it where `flows`."""
        flow = self._by_call.get(call.id)
        if not flows:
            if flow is not None:
                self._remove(flow)
            return
        if call.port is None or call.port.gone:
            worker.send((TAKEN, 0 if act is None else act.id, OF_EVENT, call.id, STOP))
        else:
            flow = flow or self._add(call, call.port, worker, act)
            flow.down = ReceiveWindow()

    def _add(self, call: PendingCall, port: FlowPort, worker: WorkerPort, act: Activation | None) -> CallFlow:
        flow = self._by_call[call.id] = CallFlow(call, port, worker, act)
        self._by_port.setdefault(port, {})[call.m.id] = flow
        if act is None:
            self.of_entrypoint += 1
        else:
            act.flowing += 1
        return flow

    def _remove(self, flow: CallFlow) -> None:
        if self._by_call.pop(flow.call.id, None) is None:
            return
        self._end_request(flow)
        mine = self._by_port.get(flow.port, {})
        mine.pop(flow.call.m.id, None)
        if not mine:
            self._by_port.pop(flow.port, None)
        if flow.act is None:
            self.of_entrypoint -= 1
        else:
            flow.act.flowing -= 1

    # -- what comes -----------------------------------------------------------------------------------------------

    def from_gateway(self, port: FlowPort, m: wire.Flow) -> None:
        """A frame of whoever made a call."""
        flow = self._by_port.get(port, {}).get(m.id)
        if flow is None:
            return  # it has ended here, and the news is on its way
        try:
            if m.data or m.end:
                self._request_came(flow, m.data, int(m.end))
            if m.stop:
                self._give_up(flow)
            elif m.taken and flow.down is not None:
                flow.down.took(m.taken)
                self._tell(flow, (TAKEN, flow.down.rest()))
        except ValueError:
            self._break(flow)

    def _request_came(self, flow: CallFlow, data: bytes, end: int) -> None:
        if flow.up is None:
            return
        if data:
            flow.up.came(data)
        if end != GOES_ON:
            flow.up = None
        self._tell(flow, (FLOW, data, end))

    def on_frame(
        self, worker: WorkerPort, act: Activation | None, kind: int, act_id: int, side: int, number: int, *what: Any
    ) -> None:
        """A frame of a worker, of an activation or (None) of the entrypoint: a piece, or how much of one was taken.

        Raises:
            ValueError, TypeError: it had no room for that, or it is no frame.
        """
        if side == OF_EVENT:
            take = self._answer_came if kind == FLOW else self._taken
            take(worker, act, number, *what)
            return
        caller = -worker.id if act is None else act_id
        if kind == TAKEN:
            self._outgoing.taken(caller, number, *what)
            return
        put = self._outgoing.piece(caller, number, *what)
        if act is None:
            put()
        else:
            self._gate.hold_call(act.slot, act.last_lsn, put)

    def _answer_came(
        self, worker: WorkerPort, act: Activation | None, call_id: int, data: bytes, end: int
    ) -> None:  # fmt: skip
        flow = self._of_worker(worker, act, call_id)
        if flow is None or flow.down is None or flow.ended:
            return
        check_piece(data, end)
        if data:
            flow.down.came(data)
        flow.ended = end != GOES_ON
        self._through_gate(flow, partial(self._pass_on, flow, data, end))

    def _taken(self, worker: WorkerPort, act: Activation | None, call_id: int, cost: int) -> None:
        flow = self._of_worker(worker, act, call_id)
        if flow is None or flow.up is None:
            return
        if cost == STOP:
            flow.up = None
            flow.port.flow(wire.Flow(id=flow.call.m.id, stop=True))
            return
        flow.up.took(cost)
        flow.port.flow(wire.Flow(id=flow.call.m.id, taken=flow.up.rest()))

    def _of_worker(self, worker: WorkerPort, act: Activation | None, call_id: int) -> CallFlow | None:
        flow = self._by_call.get(call_id)
        return flow if flow is not None and flow.worker is worker and flow.act is act else None

    # -- their ends -----------------------------------------------------------------------------------------------

    def port_gone(self, port: FlowPort) -> None:
        """A gateway has gone: nobody wants these bodies, and none of theirs is complete."""
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
        """The slot is not served any more: what was held in it does not leave, and its bodies break off."""
        mine = [
            flow
            for flow in self._by_call.values()
            if flow.act is not None and flow.act.slot == slot and flow.act.epoch == epoch
        ]
        for flow in mine:
            if flow.down is not None:
                flow.port.flow(end_of(flow.call.m.id, BROKEN))
            self._give_up(flow)

    def _break_all(self, gone: Gone) -> None:
        for flow in [flow for flow in self._by_call.values() if gone(flow)]:
            self._break(flow)

    def _break(self, flow: CallFlow) -> None:
        """Both bodies end here; a call without an answer is failed by whoever breaks it off, or goes on."""
        if flow.down is None:
            self._give_up(flow)
        elif not flow.ended:
            flow.ended = True
            self._end_request(flow)
            self._tell(flow, (TAKEN, STOP))
            self._through_gate(flow, partial(self._pass_on, flow, b"", BROKEN))

    def _give_up(self, flow: CallFlow) -> None:
        """Nobody wants the answer's body, and nothing more of the request's will come."""
        if flow.down is not None:
            self._tell(flow, (TAKEN, STOP))
        self._remove(flow)

    def _end_request(self, flow: CallFlow) -> None:
        if flow.up is not None:
            flow.up = None
            self._tell(flow, (FLOW, b"", BROKEN))

    def _through_gate(self, flow: CallFlow, send: Callable[[], None]) -> None:
        """Say something behind all that the activation said before; what the gate does not hold any more is lost."""
        act = flow.act
        if act is None:
            send()
        elif (served := self._gate.slots.get(act.slot)) is not None and served.epoch == act.epoch:
            self._gate.hold_call(act.slot, act.last_lsn, send)

    def _pass_on(self, flow: CallFlow, data: bytes, end: int) -> None:
        if self._by_call.get(flow.call.id) is not flow:
            return  # nobody wants it any more
        call_id = flow.call.m.id
        flow.port.flow(end_of(call_id, end) if end else wire.Flow(id=call_id, data=data))
        if end != GOES_ON:
            self._remove(flow)

    def _tell(self, flow: CallFlow, what: tuple[Any, ...]) -> None:
        kind, *rest = what
        flow.worker.send((kind, 0 if flow.act is None else flow.act.id, OF_EVENT, flow.call.id, *rest))
