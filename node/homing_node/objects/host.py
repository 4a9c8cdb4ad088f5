"""The object host: calls in, worker frames out; turns in, records and effects out. One per node.

It holds the two promises of an object: at most one activation has an effect (rule 25), and nothing leaves before what
it depends on is committed and the epoch confirmed (rules 19, 21). See docs/gates.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import structlog

from homing.errors import (
    BrokenOff,
    HomingError,
    NotFound,
    NotOwner,
    ObjectReset,
    OutcomeUnknown,
    Overloaded,
    StoreFailed,
    Unavailable,
)
from homing.ids import OBJECT_ID_BYTES
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock, SystemClock
from homing_node.log import record
from homing_node.log.store import Store
from homing_node.objects import limits, object_log, replies
from homing_node.objects.activation import Activation, Life, PendingCall, drop
from homing_node.objects.eviction import Evictions
from homing_node.objects.frames import ABORT, CLOSED, LOG, RESET, TURN, event, opening
from homing_node.objects.gate import OutputGate, ServedSlot
from homing_node.objects.images import Image, image
from homing_node.objects.keys import KeyTable
from homing_node.objects.ports import LogPort, PoolPort, ReadImage, WorkerPort, in_thread
from homing_node.objects.recording import take_commit, turn_body, verdict
from homing_node.objects.stateless import StatelessCalls
from homing_node.objects.turn_record import KeyEntry, encode_body

_log = structlog.stdlib.get_logger("homing.objects")


class ObjectHost:
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
        self._read_image = read_image or in_thread
        self.objects: dict[bytes, Activation] = {}
        self._by_id: dict[int, Activation] = {}
        self._workers: dict[int, dict[int, Activation]] = {}
        self._opening: dict[bytes, list[PendingCall]] = {}
        self._ids = itertools.count(1)
        self._stateless = StatelessCalls(pool, event, self._clock.monotonic_ns)
        self.gate = OutputGate(log.ask, self._clock.monotonic_ns)
        self.evictions = Evictions(self.objects, self.gate, host_limits or limits.HostLimits(), self._now, self._abort)
        self.draining = False
        self.shut: set[bytes] = set()  # objects that are being restored: none of them may start

    # -- slots ------------------------------------------------------------------------------------------------

    def serve(self, slot: int, epoch: int, committed: int) -> None:
        """The slot is ACTIVE here: calls may come."""
        self.gate.serve(slot, epoch, committed, self._clock.wall_ms())

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
        for effect in served.held:
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

    def at_rest(self, slot: int) -> bool:
        """Whether no call of the slot runs or waits here, and nothing is held at its gate."""
        served = self.gate.slots.get(slot)
        if served is None:
            return True
        if served.held or any(waiting[0].m.slot == slot for waiting in self._opening.values()):
            return False
        acts = (self.objects.get(object_id) for object_id in served.activations)
        return not any(act.calls or act.successor for act in acts if act is not None)

    def abort_calls(self, slot: int, reason: str) -> None:
        """End every activation of a slot that still runs a call."""
        served = self.gate.slots.get(slot)
        for object_id in list(served.activations) if served is not None else ():
            if (act := self.objects.get(object_id)) is not None and act.calls:
                self._abort(act, reason)

    # -- calls ------------------------------------------------------------------------------------------------

    def call(self, m: wire.Call, reply: Callable[[wire.Reply], None]) -> None:
        """One call of a gateway; `reply` is called exactly once, unless the stream is gone."""
        call = PendingCall(next(self._ids), m, reply, self._clock.monotonic_ns(), len(m.body))
        if m.kind == wire.CALL_KIND_DEFAULT:
            self._stateless.call(call)
            return
        served = self.gate.slots.get(m.slot)
        if served is None or served.epoch != m.epoch or served.resting or self.draining:
            self._fail_not_owner(call)
            return
        served.load += 1 + (call.size >> 12)
        act = self.objects.get(m.object)
        if act is None:
            self._open_for(served, call)
        elif act.life is Life.OPEN:
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
            self._fail(call, Overloaded("too many calls wait for this object"))

    def _deliver(self, act: Activation, call: PendingCall) -> None:
        if len(act.calls) >= limits.calls_per_object_max:
            self._fail(call, Overloaded("too many calls are queued for this object"))
            return
        if act.calls_bytes + call.size > limits.calls_bytes_per_object_max and act.calls:
            self._fail(call, Overloaded("too many bytes are queued for this object"))
            return
        if call.m.key and not self._may_run(act, call):
            return
        act.calls[call.id] = call
        act.calls_bytes += call.size
        act.used_at = self._now()
        act.worker.send(event(act.id, call))

    def _may_run(self, act: Activation, call: PendingCall) -> bool:
        """Whether a call under a key is to be run; if not, it is answered or waits here (rule 22)."""
        found = verdict(act, call, *self.gate.slots[act.slot].times_ms(self._clock.monotonic_ns()))
        if found is None:
            return True
        if isinstance(found, PendingCall):
            found.waiters = [*(found.waiters or ()), call]
        elif isinstance(found, KeyEntry):
            again = replies.of_effect(call.m.id, found.status, found.payload)
            self.gate.hold(act.slot, act.last_lsn, call, again, wrote=False)
        else:
            self._fail(call, found, started=isinstance(found, BrokenOff))
        return False

    # -- opening ----------------------------------------------------------------------------------------------

    def _open_for(self, served: ServedSlot, call: PendingCall) -> None:
        waiting = self._opening.get(call.m.object)
        if waiting is not None:
            self._queue(waiting, call)
            return
        m = call.m
        if m.class_name not in self._pool.classes() or len(m.object) != OBJECT_ID_BYTES:
            self._fail(call, NotFound(f"there is no class {m.class_name}, or no such object in it"))
            return
        if m.object in self.shut:
            self._fail(call, Unavailable("the object is being restored from a backup", retry_after_s=1.0))
            return
        mine = [data for data in self._log.records_above_pages(served.slot) if record.object_of(data) == m.object]
        try:
            stored = self._store.object(m.object)
        except StoreFailed as error:
            self._damaged(served, [call], error)
            return
        if stored is None and not mine:
            self._start(served, Image(exists=False, page_count=0, pages=b"", keys={}), [call])
        else:
            self._read(served, call, mine)

    def _read(self, served: ServedSlot, call: PendingCall, mine: list[bytes]) -> None:
        """Read the object's pages, then start it."""
        object_id = call.m.object
        waiting = self._opening[object_id] = [call]

        def done(found: Image | ValueError) -> None:
            del self._opening[object_id]
            if isinstance(found, ValueError):
                self._damaged(served, waiting, found)
            elif self.gate.slots.get(served.slot) is not served:
                for waiter in waiting:
                    self._fail_not_owner(waiter)
            elif found.restoring or object_id in self.shut:
                for waiter in waiting:
                    self._fail(waiter, Unavailable("its restore from a backup did not finish: restore it again"))
            else:
                self._start(served, found, waiting)

        self._read_image(lambda: image(object_id, mine, self._store, self._store.pages(object_id)), done)

    def _damaged(self, served: ServedSlot, calls: list[PendingCall], error: Exception) -> None:
        """What the store holds of an object cannot be read or is wrong: another replica must serve its slot."""
        for call in calls:
            self._fail(call, Unavailable("what this node holds of the object is damaged"))
        _log.error("damaged object", object=calls[0].m.object.hex(), slot=served.slot, error=str(error))
        self._log.resign(served.slot, "an object's pages are damaged")

    def _start(self, served: ServedSlot, found: Image, calls: list[PendingCall]) -> None:
        m = calls[0].m
        worker = self._pool.pick(m.object)
        if worker is None:
            for call in calls:
                self._fail(call, Unavailable("no worker is ready"))
            return
        act = Activation(
            id=next(self._ids), object=m.object, slot=served.slot, epoch=served.epoch, class_name=m.class_name,
            name=m.name or None, worker=worker, exists=found.exists, database_bytes=len(found.pages),
            last_lsn=self._log.last_lsn(served.slot), keys=KeyTable(found.keys.values()) if found.keys else None,
        )  # fmt: skip
        self.objects[act.object] = act
        self._by_id[act.id] = act
        served.activations[act.object] = None
        mine = self._workers.setdefault(worker.id, {})
        self.evictions.make_room(mine)
        mine[act.id] = act
        for frame in opening(act, found):
            worker.send(frame)
        for call in calls:
            self._deliver(act, call)

    # -- frames of workers ------------------------------------------------------------------------------------

    def on_frame(self, worker: WorkerPort, frame: list[Any]) -> None:
        """A frame of a worker; what does not fit its own table ends that worker."""
        try:
            kind = frame[0]
            if kind == TURN:
                self._on_turn(worker, *frame[1:6])
            elif kind == CLOSED:
                self._on_closed(worker, frame[1], bool(frame[2]))
            elif kind == LOG:
                object_log.emit(self._by_id.get(frame[1]), worker.id, *frame[2:6])
            elif kind == RESET:
                self._on_reset(worker, *frame[1:4])
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            _log.error("a worker broke the protocol", worker=worker.id, error=repr(error))
            worker.kill("it broke the protocol of its channel")

    def _on_turn(
        self, worker: WorkerPort, act_id: int, n: int, commit: bytes | None, call_id: int, effects: list[Any]
    ) -> None:
        if act_id == 0:
            self._stateless.on_effects(worker, effects)
            return
        act = self._by_id.get(act_id)
        if act is None or act.worker is not worker or act.life >= Life.ABORTING:
            return  # its epoch is over: nothing of it counts
        if self._log.serving(act.slot) != act.epoch:
            return  # the log knows already, the news is on its way here
        if commit is not None:
            take_commit(act, n, commit)
        done = [(act.calls.get(effect[0]), effect) for effect in effects]
        at_ms, began_ms = self.gate.slots[act.slot].times_ms(self._clock.monotonic_ns())
        body = turn_body(act, commit, act.calls.get(call_id), done, at_ms, began_ms)
        if body is not None:
            act.last_lsn = self._log.propose(act.slot, record.TURN, at_ms, act.object, encode_body(body))
            act.exists = True
            if act.keys is not None and body.keys:
                act.keys.take(body, at_ms)
        for call, effect in done:
            if call is not None:
                act.ended(call)
                self._finish(act, call, effect, wrote=body is not None)

    def _finish(self, act: Activation, call: PendingCall, effect: list[Any], *, wrote: bool) -> None:
        answer = replies.of_effect(call.m.id, effect[1], effect[2])
        timing = answer.timing
        timing.received_ns, timing.started_ns, timing.ended_ns = call.received_ns, effect[3], effect[4]
        self.gate.hold(act.slot, act.last_lsn, call, answer, wrote=wrote)
        for waiter in call.waiters or ():
            self.gate.hold(
                act.slot, act.last_lsn, waiter, replies.of_effect(waiter.m.id, effect[1], effect[2]), wrote=wrote
            )

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

    # -- ends -------------------------------------------------------------------------------------------------

    def on_worker_death(self, worker: WorkerPort, reason: str) -> None:
        """A worker is dead: its activations are gone, and only they."""
        for act in list(self._workers.pop(worker.id, {}).values()):
            self._gone(act, ObjectReset(f"its worker ended: {reason}"))
        self._stateless.on_worker_death(worker, reason)

    def _abort(self, act: Activation, reason: str) -> None:
        """End an activation whose epoch is over; its successor waits for the worker's word or death (rule 25)."""
        if act.life >= Life.ABORTING:
            return
        act.life = Life.ABORTING
        self._fail_calls(act, ObjectReset(reason))
        act.worker.send((ABORT, act.id, reason))

    def _fail_calls(self, act: Activation, error: HomingError) -> None:
        for call in act.calls.values():
            failure = OutcomeUnknown(str(error)) if call.committed else error
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
        drop(self._workers.get(act.worker.id, {}), act.id)
        if self.objects.get(act.object) is act:
            drop(self.objects, act.object)
        served = self.gate.slots.get(act.slot)
        if served is not None:
            drop(served.activations, act.object)
        for call in act.successor:
            self.call(call.m, call.reply)

    def _fail(self, call: PendingCall, error: HomingError, *, started: bool = False) -> None:
        call.reply(replies.of_error(call.m.id, error, started=started))

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def retire(self, worker: WorkerPort) -> None:
        """Close every activation of a worker that is to be replaced."""
        self.evictions.retire(self._workers.get(worker.id, {}).values())

    def runs(self, object_id: bytes) -> bool:
        """Whether an object has an activation, or is about to get one."""
        return object_id in self.objects or object_id in self._opening

    def busy(self) -> int:
        """Calls that have no answer yet."""
        waiting = sum(len(s.held) for s in self.gate.slots.values()) + sum(map(len, self._opening.values()))
        return waiting + len(self._stateless) + sum(len(a.calls) + len(a.successor) for a in self.objects.values())
