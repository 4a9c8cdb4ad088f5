"""The object host: calls in, worker frames out; turns in, records and effects out. One per node.

It holds the two promises of an object: at most one activation has an effect (rule 25), and nothing leaves before what
it depends on is committed and the epoch confirmed (rules 19, 21). See docs/gates.md.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable

import structlog

from homing.errors import (
    BrokenOff,
    HomingError,
    NotFound,
    NotOwner,
    ObjectReset,
    OutcomeUnknown,
    Overloaded,
    TooLarge,
    Unavailable,
)
from homing.flow import streams_per_value_max
from homing.ids import OBJECT_ID_BYTES
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock, SystemClock
from homing_node.log.store import Store
from homing_node.objects import limits, replies
from homing_node.objects.activation import Activation, Life, PendingCall, drop
from homing_node.objects.alarm_bell import AlarmBell
from homing_node.objects.eviction import Evictions
from homing_node.objects.flows import CallFlows
from homing_node.objects.frames import ABORT, GIVE_UP, event, opening
from homing_node.objects.gate import OutputGate, ServedSlot
from homing_node.objects.images import Image
from homing_node.objects.keys import KeyTable
from homing_node.objects.openings import Openings
from homing_node.objects.order import CallOrder
from homing_node.objects.outgoing import OutgoingCalls
from homing_node.objects.overload import overload
from homing_node.objects.ports import FlowPort, LogPort, PoolPort, ReadImage, WorkerPort, in_thread
from homing_node.objects.recording import verdict
from homing_node.objects.socket_state import SocketEvent
from homing_node.objects.sockets import Sockets
from homing_node.objects.stateless import StatelessCalls
from homing_node.objects.tails import Tails
from homing_node.objects.turn_record import KeyEntry
from homing_node.objects.worker_frames import FrameHost

_log = structlog.stdlib.get_logger("homing.objects")


class ObjectHost(FrameHost):
    """Every activation of this node.

    Args:
        log: appends records, asks for confirmations.
        store: pages and meta values of objects.
        pool: workers.
        owner_of: (slot) to (epoch, owner's node id) as this node knows it, for NOT_OWNER.
        host_limits: limits that settings may change.
        clock, read_image: for the simulator; by default a read that may take long runs in a thread.
    """

    def __init__(
        self,
        log: LogPort,
        store: Store,
        pool: PoolPort,
        owner_of: Callable[[int], tuple[int, str]],
        host_limits: limits.HostLimits | None = None,
        *,
        clock: Clock | None = None,
        read_image: ReadImage | None = None,
    ) -> None:
        self._log, self._store, self._pool, self._owner_of = log, store, pool, owner_of
        self._clock = clock or SystemClock()
        self.objects: dict[bytes, Activation] = {}
        self._by_id: dict[int, Activation] = {}
        self._workers: dict[int, dict[int, Activation]] = {}
        self._openings = Openings(log, store, read_image or in_thread, self._opened, self._queue)
        self._ids = itertools.count(1)
        # What was passed by reference is found by the number of its activation: those of other nodes have others.
        self._act_ids = itertools.count(1 + secrets.randbits(48))
        self.gate = OutputGate(log.ask, self._clock.monotonic_ns)
        self.outgoing = OutgoingCalls(pool, self._clock)
        self.outgoing.on_line = self.on_line
        self.flows = CallFlows(self.gate, self.outgoing)
        self.sockets = Sockets(self, self._clock)
        self.tails = Tails(self._clock)
        self._stateless = StatelessCalls(
            pool, event, self._clock.monotonic_ns, self.sockets, self.tails, self.flows
        )  # fmt: skip
        self._order = CallOrder()
        self._limits = host_limits or limits.HostLimits()
        self.evictions = Evictions(
            self.objects, self.gate, self._limits, self._now, self._abort, self.sockets.holds, self.flows.act_gone
        )
        self.bell = AlarmBell(log, store, self._clock, self)
        self.draining = False
        self.shut: set[bytes] = set()  # objects that are being restored or deleted: none of them may start

    # -- calls ------------------------------------------------------------------------------------------------

    def call(self, m: wire.Call, reply: Callable[[wire.Reply], None], port: FlowPort | None = None) -> None:
        """One call of a gateway; `reply` is called exactly once, unless the stream is gone."""
        call = PendingCall(next(self._ids), m, reply, self._clock.monotonic_ns(), len(m.body), port)
        if flows := m.flows:
            if flows > streams_per_value_max:
                self._fail(call, TooLarge(f"{flows} streams with a call; at most {streams_per_value_max}"))
                return
            self.flows.expect(call)
        self._take(call)

    def give_up(self, m: wire.Call) -> None:
        """Nobody waits for a call any more. If it has not begun it does not begin; what runs goes on to its end."""
        act = self.objects.get(m.object)
        call = self._openings.take_out(m) if act is None else act.take_out(m)
        if call is not None:
            call.reply(replies.given_up(m.id))
        elif act is not None and (given := act.give_up(m)) is not None:
            act.worker.send((GIVE_UP, act.id, given.id))

    def on_socket(self, event: SocketEvent, reply: Callable[[wire.Reply], None]) -> None:
        """See `SocketHost`."""
        m = event.as_call()
        call = PendingCall(next(self._ids), m, reply, self._clock.monotonic_ns(), len(m.body))
        call.socket = event
        if event.owner.epoch:
            self._take(call)
        else:
            self._stateless.on_socket(call)

    def _take(self, call: PendingCall) -> None:
        m = call.m
        if m.kind == wire.CALL_KIND_DEFAULT:
            self._stateless.call(call)
            return
        served = self.gate.slots.get(m.slot)
        if served is None or served.epoch != m.epoch:
            self._fail_not_owner(call)
            return
        if (served.resting or self.draining) and not self._awaited(served, m.chain):
            self._fail_not_owner(call)
            return
        if m.lane and not self._order.admits(m):
            self._fail(call, Unavailable("a call that was made before this one is to come first"))
            return
        served.load += 1 + (call.size >> 12)
        act = self.objects.get(m.object)
        if m.target and (act is None or act.id != m.activation):
            self._fail(call, NotFound("what was passed by reference is gone: its object has ended or moved since"))
        elif act is None:
            self._open_for(served, call)
        elif act.life is Life.OPEN or act.awaits(m.chain):
            self._deliver(act, call)
        else:
            self._queue(act.successor, call)

    def _fail_not_owner(self, call: PendingCall) -> None:
        epoch, owner = self._owner_of(call.m.slot)
        self._fail(call, NotOwner(f"slot {call.m.slot} is not served here", epoch=epoch, owner=owner))

    def _queue(self, waiting: list[PendingCall], call: PendingCall) -> None:
        if len(waiting) < limits.calls_per_object_max:
            waiting.append(call)
        else:
            self._fail(call, Overloaded("too many calls wait for this object", cause="calls"))

    def _deliver(self, act: Activation, call: PendingCall) -> None:
        now = self._now()
        busy = overload(act, call, self._limits.calls_per_window_max, now)
        if busy is not None:
            self._fail(call, busy)
            return
        m = call.m
        if m.key and not self._may_run(act, call):
            return
        chain = m.chain
        awaited = bool(chain) and act.runs_part_of(chain)
        act.calls[call.id] = call
        act.calls_bytes += call.size
        act.used_at = now
        act.worker.send(event(act.id, call, awaited=awaited))
        if m.flows:
            self.flows.begin(call, act.worker, act)

    def _may_run(self, act: Activation, call: PendingCall) -> bool:
        """Whether a call under a key is to be run; if not, it is answered or waits here (rule 22)."""
        found = verdict(act, call, *self.gate.slots[act.slot].times_ms(self._clock.monotonic_ns()))
        if found is None:
            return True
        if isinstance(found, PendingCall):
            found.waiters = [*(found.waiters or ()), call]
        elif isinstance(found, KeyEntry):
            again = replies.of_effect(call.m.id, found.status, found.payload, act)
            self.gate.hold(act.slot, act.last_lsn, call, again, wrote=False)
        else:
            self._fail(call, found, started=isinstance(found, BrokenOff))
        return False

    # -- opening ----------------------------------------------------------------------------------------------

    def _open_for(self, served: ServedSlot, call: PendingCall) -> None:
        m = call.m
        if self._openings.join(call):
            return
        if m.class_name not in self._pool.classes() or len(m.object) != OBJECT_ID_BYTES:
            self._fail(call, replies.no_class(m.class_name))
        else:
            self._openings.read(served, call)

    def _opened(self, served: ServedSlot, calls: list[PendingCall], found: Image | ValueError) -> None:
        """What there is of an object has been read, for calls that wait."""
        m = calls[0].m
        if isinstance(found, ValueError):
            for call in calls:
                self._fail(call, Unavailable("what this node holds of the object is damaged"))
            _log.error("damaged object", object=m.object.hex(), slot=served.slot, error=str(found))
            self._log.resign(served.slot, "an object's pages are damaged")  # another replica must serve the slot
        elif self.gate.slots.get(served.slot) is not served:
            for call in calls:
                self._fail_not_owner(call)
        elif m.object in self.shut:
            for call in calls:
                self._fail(call, Unavailable("the object is being restored or deleted", retry_after_s=1.0))
        elif found.restoring:
            for call in calls:
                self._fail(call, Unavailable("its restore from a backup did not finish: restore it again"))
        else:
            self._start(served, found, calls)

    def _start(self, served: ServedSlot, found: Image, calls: list[PendingCall]) -> None:
        m = calls[0].m
        worker = self._pool.pick(m.object)
        if worker is None or m.class_name not in worker.classes:
            error = Unavailable("no worker is ready") if worker is None else replies.no_class(m.class_name)
            for call in calls:
                self._fail(call, error)
            return
        act = Activation(
            id=next(self._act_ids), object=m.object, slot=served.slot, epoch=served.epoch, class_name=m.class_name,
            name=m.name or None, worker=worker, exists=found.exists, database_bytes=len(found.pages),
            last_lsn=self._log.last_lsn(served.slot), keys=KeyTable(found.keys.values()) if found.keys else None,
            wake_ms=found.wake_ms,
        )  # fmt: skip
        sockets = self.sockets.opened(act.address, found.sockets)
        self.objects[act.object] = act
        self._by_id[act.id] = act
        served.activations[act.object] = None
        mine = self._workers.setdefault(worker.id, {})
        self.evictions.make_room(mine)
        mine[act.id] = act
        for frame in opening(act, found, sockets):
            worker.send(frame)
        for call in calls:
            self._deliver(act, call)

    # -- ends -------------------------------------------------------------------------------------------------

    def on_worker_death(self, worker: WorkerPort, reason: str) -> None:
        """A worker is dead: its activations are gone, and only they."""
        for act in list(self._workers.pop(worker.id, {}).values()):
            self._gone(act, ObjectReset(f"its worker ended: {reason}"))
        self._stateless.on_worker_death(worker, reason)
        self.outgoing.end(-worker.id)

    def _abort(self, act: Activation, reason: str) -> None:
        """End an activation whose epoch is over; its successor waits for the worker's word or death (rule 25)."""
        if act.life >= Life.ABORTING:
            return
        act.life = Life.ABORTING
        self._fail_calls(act, ObjectReset(reason))
        act.worker.send((ABORT, act.id, reason))

    def _fail_calls(self, act: Activation, error: HomingError) -> None:
        self.flows.act_gone(act)
        for call in act.calls.values():
            failure = OutcomeUnknown(str(error)) if call.committed else error
            if self.tails.open:
                self.tails.failed(act, call, failure)
            self._fail(call, failure, started=True)
            for waiter in call.waiters or ():
                self._fail(waiter, failure, started=True)
        act.calls.clear()
        act.calls_bytes = 0

    def _gone(self, act: Activation, error: HomingError) -> None:
        """An activation has ended for good; those who waited for its end get a new one."""
        if act.life is Life.GONE:
            return
        act.life = Life.GONE
        self._fail_calls(act, error)
        drop(self._by_id, act.id)
        self.outgoing.end(act.id)
        self.sockets.asleep(act.object)
        drop(self._workers.get(act.worker.id, {}), act.id)
        if self.objects.get(act.object) is act:
            drop(self.objects, act.object)
        served = self.gate.slots.get(act.slot)
        if served is not None:
            drop(served.activations, act.object)
        for call in act.successor:
            self._take(call)

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def retire(self, worker: WorkerPort, keeps: Callable[[bytes], bool]) -> None:
        """Have other workers take over the objects that a worker does not keep."""
        self.evictions.retire(act for act in self._workers.get(worker.id, {}).values() if not keeps(act.object))

    def runs(self, object_id: bytes) -> bool:
        """Whether an object has an activation, or is about to get one."""
        return object_id in self.objects or object_id in self._openings.calls

    def busy(self) -> int:
        """Calls that have no answer yet."""
        waiting = sum(len(s.held) for s in self.gate.slots.values()) + self._openings.waiting()
        return waiting + len(self._stateless) + sum(len(a.calls) + len(a.successor) for a in self.objects.values())
