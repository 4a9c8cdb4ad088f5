"""What the log, the keeper and the mover tell an object host of its slots, and what they ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homing.errors import HomingError, NotOwner, ObjectReset, OutcomeUnknown, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock
from homing_node.log import record
from homing_node.log.store import Store
from homing_node.objects import limits, replies
from homing_node.objects.activation import Activation, Life, PendingCall
from homing_node.objects.alarm_bell import AlarmBell
from homing_node.objects.flows import CallFlows
from homing_node.objects.frames import SOCKETS
from homing_node.objects.gate import HeldAnswer, OutputGate, ServedSlot
from homing_node.objects.images import meta_of
from homing_node.objects.openings import Openings
from homing_node.objects.order import CallOrder
from homing_node.objects.ports import LogPort
from homing_node.objects.socket_record import SocketsMeta
from homing_node.objects.socket_state import GatewayPort
from homing_node.objects.sockets import Sockets


class SlotHost:
    """The slots of an object host: they come, rest and go, and their activations with them.

    Attributes:
        objects: the activations, by object.
        gate: of all slots.
        bell: rings their alarms.
        sockets: of their objects.
        flows: bodies of their calls that flow.
    """

    objects: dict[bytes, Activation]
    gate: OutputGate
    bell: AlarmBell
    sockets: Sockets
    flows: CallFlows
    _log: LogPort
    _store: Store
    _openings: Openings
    _order: CallOrder
    _clock: Clock

    def _abort(self, act: Activation, reason: str) -> None:
        """End an activation whose epoch is over."""
        raise NotImplementedError

    def serve(self, slot: int, epoch: int, committed: int) -> None:
        """The slot is ACTIVE here: calls may come."""
        self.gate.serve(slot, epoch, committed, self._clock.wall_ms())
        self.bell.serve(slot)

    def advanced(self, slot: int, epoch: int, lsn: int) -> None:
        """Records up to `lsn` are committed: open the gate for what waited for them."""
        self.gate.advanced(slot, epoch, lsn)

    def confirmed(self, slot: int, number: int) -> None:
        """The epoch is confirmed for every question up to `number` (rule 19)."""
        self.gate.confirmed(slot, number)

    def lost(self, slot: int, epoch: int, reason: str) -> None:
        """The slot is owned elsewhere: drop what was held, abort what runs, answer *unknown* (rules 9, 25)."""
        served = self.gate.end(slot, epoch)
        if served is None:
            return
        self.flows.slot_lost(slot, epoch)
        self.bell.end(slot)
        self.sockets.lost(slot)
        for effect in served.held:
            if not isinstance(effect, HeldAnswer):
                continue  # a call to another object: it is not made
            ran = effect.wrote or effect.call.committed  # the end of a call may write nothing where a turn before did
            kind = OutcomeUnknown if ran else ObjectReset
            self._fail(effect.call, kind(f"the slot was lost before this was safe: {reason}"), started=True)
        for object_id in served.activations:
            act = self.objects.get(object_id)
            if act is not None:
                self._abort(act, reason)

    def rest(self, slot: int, *, resting: bool = True) -> None:
        """Take no more events of a slot, or take them again; what runs goes on."""
        served = self.gate.slots.get(slot)
        if served is not None:
            served.resting = resting
            served.rests_since_ns = self._clock.monotonic_ns()

    def at_rest(self, slot: int) -> bool:
        """Whether no call of the slot runs or waits here, and nothing is held at its gate.

        An answer that flows has `flow_grace_s` to end: then the slot does not wait for it, and it breaks off.
        """
        if self._lets_flow(slot):
            return False
        served = self.gate.slots.get(slot)
        if served is None:
            return True
        if served.held or self._openings.any_in(slot):
            return False
        acts = (self.objects.get(object_id) for object_id in served.activations)
        return not any(act.calls or act.successor for act in acts if act is not None)

    def _lets_flow(self, slot: int) -> bool:
        """Whether an answer flows in a slot, and still has time to end."""
        served = self.gate.slots.get(slot)
        if served is None or self._clock.monotonic_ns() - served.rests_since_ns > limits.flow_grace_s * 1_000_000_000:
            return False
        acts = (self.objects.get(object_id) for object_id in served.activations)
        return any(act.flowing for act in acts if act is not None)

    def abort_calls(self, slot: int, reason: str) -> None:
        """End every activation of a slot that still runs a call."""
        served = self.gate.slots.get(slot)
        for object_id in list(served.activations) if served is not None else ():
            if (act := self.objects.get(object_id)) is not None and act.calls:
                self._abort(act, reason)

    # -- sockets: see `SocketHost` ------------------------------------------------------------------------------

    def takes_events(self, slot: int) -> bool:
        """Whether the slot is served and does not rest."""
        served = self.gate.slots.get(slot)
        return served is not None and not served.resting

    def sockets_meta(self, object_id: bytes, slot: int) -> tuple[str, str | None, SocketsMeta] | None:
        """Class, name and sockets of an object, as the log and the store have them; None: it has none."""
        mine = [data for data in self._log.records_above_pages(slot) if record.object_of(data) == object_id]
        meta = meta_of(mine, self._store.object(object_id))
        return None if meta is None or meta.sockets is None else (meta.class_name, meta.name, meta.sockets)

    def tell_sockets(self, object_id: bytes, frame: tuple[Any, ...]) -> None:
        """Tell the object's activation, if there is one, of a change."""
        act = self.objects.get(object_id)
        if act is not None and act.life < Life.ABORTING:
            act.worker.send((SOCKETS, act.id, *frame))

    def when_settled(self, slot: int, send: Callable[[], None]) -> None:
        """See `SocketHost`."""
        self.gate.hold_call(slot, self._log.last_lsn(slot), send)

    def leave_behind(self, slot: int, send: Callable[[], None]) -> None:
        """See `SocketHost`."""
        held = self.gate.slots[slot].held
        self.gate.hold_call(slot, held[-1].lsn if held else 0, send, wrote=True)

    def attach_socket(self, gateway: GatewayPort, m: wire.FromSocket) -> None:
        """A gateway holds a socket of an object of a slot that it takes to be served here."""
        served = self.gate.slots.get(m.slot)
        self.sockets.attach(gateway, m, served.epoch if served is not None else 0)

    def _awaited(self, served: ServedSlot, chain: bytes) -> bool:
        """Whether a call that runs in a slot may wait for this one: it is a part of what that one began."""
        acts = (self.objects.get(object_id) for object_id in (served.activations if chain else ()))
        return any(act.runs_part_of(chain) for act in acts if act is not None)

    def _fail(self, call: PendingCall, error: HomingError, *, started: bool = False) -> None:
        if not started and isinstance(error, (NotOwner, ObjectReset, Unavailable)):
            self._order.refuse(call.m)  # it comes again; any other error is an answer
        call.reply(replies.of_error(call.m.id, error, started=started))
