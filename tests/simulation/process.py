"""One process of a node: the real `LogCore` and `OutputGate`, over a modelled disk and a modelled shell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tests.simulation.claims_keeper import ClaimsKeeper
from tests.simulation.keeper import Keeper
from tests.simulation.ledger import Violation
from tests.simulation.machine import OBJECTS_PER_SLOT, object_of

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import record
from homing_node.log.core import LogCore
from homing_node.log.digest import slot_digest
from homing_node.log.effects import (
    Advanced,
    EpochConfirmed,
    Halted,
    Lost,
    News,
    PagesCompared,
    ReadDigest,
    ReadPart,
    Recovered,
)
from homing_node.log.store import Op, PutObject, SetApplied
from homing_node.objects.gate import OutputGate
from homing_placement.records import Owner

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.world import World


@dataclass(slots=True)
class Effect:
    """What a client waits for; for the gate it is a call and its reply in one."""

    process: Process
    slot: int
    lsn: int
    wrote: bool
    floor: int  # the last committed lsn when it was put
    stale: bool  # the process did not have that record then
    put_at: float
    released_ns: int = 0

    @property
    def timing(self) -> Effect:
        """Where the gate notes the time."""
        return self

    def reply(self, _: Effect) -> None:
        """It left the gate."""
        self.process.world.clients.answered(self)


class Process:
    """A node from a start to a crash.

    Args:
        world: time, chance, network and etcd.
        machine: whose disk it uses.
        incarnation: of this start.
    """

    def __init__(self, world: World, machine: Machine, incarnation: str) -> None:
        self.world = world
        self.machine = machine
        self.id = machine.id
        self.incarnation = incarnation
        self.me = Owner(machine.id, incarnation)
        self.alive = True
        self.paused = False
        self.backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        store = machine.store
        self.core = LogCore(
            machine.id, store.disk_id, incarnation, machine.images(), trusted=store.trusted, reader=store.records
        )
        self.core.remember({slot: record.epoch for slot, (record, _) in world.etcd.records.items()})
        self.gate = OutputGate(self._ask, lambda: 0)
        self.keeper: Keeper | ClaimsKeeper = ClaimsKeeper(self) if world.plan.placed else Keeper(self)
        self.links: dict[str, Process] = {}  # peers with a link, as this process believes
        self._writing = False
        self._ops: list[Op] = []
        self._marks: dict[int, int] = {}
        self._then: list[Callable[[], None]] = []
        self._flushing = False
        self._commits = {slot: replica.commit for slot, replica in self.core.replicas.items()}
        world.ledger.starts(self.core, store)

    # -- time -------------------------------------------------------------------------------------------------

    def post(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen in this process later."""
        self.world.after(delay, self.handle, act, args)

    def handle(self, act: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Something happens in this process."""
        if not self.alive:
            return
        if self.paused:
            self.backlog.append((act, args))
            return
        act(*args)
        if not self._flushing:
            if self.world.random.random() < 0.8:
                self.flush()
            else:
                self._flushing = True
                self.post(0.0005, self.flush)
        self.core.check()

    def resume(self) -> None:
        """Go on after a pause, with beliefs that may be long out of date."""
        self.paused = False
        backlog, self.backlog = self.backlog, []
        for act, args in backlog:
            self.handle(act, args)

    # -- the shell --------------------------------------------------------------------------------------------

    def receive(self, sender: str, m: Any) -> None:
        """A message of a peer."""
        if isinstance(m, wire.Offer):
            self.world.fired["slot left to another"] += 1
            self.keeper.offered(list(zip(m.slots, m.epochs, strict=True)))
        else:
            self.core.receive(sender, m, self.world.now)

    def flush(self) -> None:
        """Carry out what the core asks for."""
        self._flushing = False
        out = self.core.drain(self.world.now)
        if out.writes or out.marks:
            self._add(out.writes, out.marks)
        for node, message in out.sends:
            self.world.send(self, node, message)
        for read in out.reads:
            self.post(self.world.random.random() * 0.005, self._read, read)
        for item in out.news:
            self._tell(item)
        self._compare()

    def _read(self, read: ReadPart | ReadDigest) -> None:
        """A digest of the slot's pages, or a part of them, small enough to hold one object only."""
        store = self.machine.store
        if isinstance(read, ReadDigest):
            self.core.digest_read(read, slot_digest(store, read.slot), self.world.now)
        else:
            self.core.part_read(read, store.part(read.slot, read.place, 1))

    def _compare(self) -> None:
        commits = self._commits
        for slot, replica in self.core.replicas.items():
            before = commits.get(slot, 0)
            if replica.incomplete:
                commits[slot] = 0  # it has nothing
            elif replica.commit != before:
                if not before and replica.commit == replica.base_lsn:
                    self.world.fired["snapshot"] += 1
                    self.world.ledger.became_whole(self.machine.store, slot, replica)
                self.world.ledger.knows_commit(self.core, slot, replica.commit, before)
                commits[slot] = replica.commit
        if not self._flushing:
            for slot, served in self.gate.slots.items():
                if self.core.serving(slot) != served.epoch:
                    raise Violation(f"slot {slot}: {self.id} was not told that epoch {served.epoch} is over")

    def _tell(self, item: News) -> None:
        world = self.world
        if isinstance(item, Advanced):
            if world.tracing:
                world.trace(f"{self.id} commits slot {item.slot} up to {item.lsn} in epoch {item.epoch}")
            world.ledger.advanced(self.core, item.slot, item.epoch, item.lsn)
            self.gate.advanced(item.slot, item.epoch, item.lsn)
        elif isinstance(item, EpochConfirmed):
            self.gate.confirmed(item.slot, item.number)
        elif isinstance(item, Recovered):
            self.keeper.recovered(item.slot, item.epoch)
        elif isinstance(item, Lost):
            if world.tracing:
                world.trace(f"{self.id} lost slot {item.slot} of epoch {item.epoch}: {item.reason}")
            self.gate.end(item.slot, item.epoch)
            self.keeper.fenced(item.slot, item.promised, lacking=item.lacking)
        elif isinstance(item, PagesCompared):
            world.fired["pages compared"] += len(item.equal) > 1
        else:
            assert isinstance(item, Halted)
            raise Violation(f"slot {item.slot} halted on {self.id}: {item.reason}")

    # -- the disk ---------------------------------------------------------------------------------------------

    def _add(self, ops: list[Op], marks: dict[int, int], then: Callable[[], None] | None = None) -> None:
        self._ops.extend(ops)
        self._marks.update(marks)
        if then is not None:
            self._then.append(then)
        if not self._writing:
            self._write()

    def _write(self) -> None:
        ops, marks, then = self._ops, self._marks, self._then
        self._ops, self._marks, self._then = [], {}, []
        self._writing = True
        self.machine.store.write_unsynced(ops)
        self.world.after(self.machine.fsync_s(), self._synced, marks, then)

    def _synced(self, marks: dict[int, int], then: list[Callable[[], None]]) -> None:
        if not self.alive:
            return  # the crash has decided what of it the disk has
        self.machine.store.sync()
        self.post(self.world.random.random() * 0.001, self._written, marks, then)

    def _written(self, marks: dict[int, int], then: list[Callable[[], None]]) -> None:
        self._writing = False
        if self._ops or self._then:
            self._write()
        if marks:
            self.core.written(marks, self.world.now)
        for done in then:
            done()

    # -- pages ------------------------------------------------------------------------------------------------

    def apply(self, slot: int) -> None:
        """Bring the slot's pages up to its commit point."""
        self.flush()  # what is committed by now is known to the ledger
        records = self.core.replica(slot).applicable()
        if not records:
            return
        self.world.ledger.applies(self.core, slot, records)
        epoch, lsn = record.position(records[-1])
        digest = record.hash_of(records[-1])

        def then() -> None:
            self.core.applied(slot, lsn)

        ops: list[Op] = [PutObject(object_of(slot, number), digest) for number in range(OBJECTS_PER_SLOT)]
        ops.append(SetApplied(slot, lsn, epoch, digest))
        self._add(ops, {}, then)

    # -- clients ----------------------------------------------------------------------------------------------

    def _ask(self, slot: int) -> int:
        return self.core.ask(slot, self.world.now) if self.core.serving(slot) else -1

    def write(self, slot: int, body: bytes) -> None:
        """A client's call that writes; only while the slot is served here."""
        served = self.gate.slots.get(slot)
        if served is None or self.core.serving(slot) != served.epoch:
            return
        lsn = self.core.propose(slot, record.TURN, 0, record.NO_OBJECT, body, self.world.now)
        self._hold(slot, lsn, wrote=True)

    def read(self, slot: int) -> None:
        """A client's call that writes nothing: it sees everything appended here so far."""
        if slot in self.gate.slots:
            self._hold(slot, self.core.replica(slot).last_lsn, wrote=False)

    def _hold(self, slot: int, lsn: int, *, wrote: bool) -> None:
        ledger = self.world.ledger
        floor = ledger.tip(slot)
        stale = not ledger.holds(self.core, slot, floor)
        effect = cast("Any", Effect(self, slot, lsn, wrote, floor, stale, self.world.now))
        self.gate.hold(slot, lsn, effect, effect, wrote=wrote)

    def serve(self, slot: int, epoch: int) -> None:
        """The slot record says ACTIVE for this process."""
        self.core.activated(slot, epoch, self.world.now)
        self.flush()  # what is committed by now is known to the ledger
        if self.core.serving(slot) == epoch and slot not in self.gate.slots:
            self.world.ledger.serves(slot, epoch, self.me, self.core)
            self.gate.serve(slot, epoch, self.core.replica(slot).commit)
            self.world.served(self, slot, epoch)

    # -- links ------------------------------------------------------------------------------------------------

    def peer_up(self, peer: Process) -> None:
        """A link is there."""
        if peer.alive:
            self.links[peer.id] = peer
            self.core.peer_up(peer.id, peer.core.disk)

    def peer_down(self, peer: Process) -> None:
        """A link is gone."""
        if self.links.get(peer.id) is peer:
            del self.links[peer.id]
            self.core.peer_down(peer.id)

    def tick(self) -> None:
        """Time passed."""
        self.core.tick(self.world.now)
        self.keeper.tick()
