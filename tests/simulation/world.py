"""A cluster in one thread, with a clock of its own: messages, disks, etcd and faults by the event, all from one seed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from tests.simulation.clients import Clients
from tests.simulation.etcd import Etcd
from tests.simulation.faults import Faults
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.machine import Machine
from tests.simulation.plan import Plan, plan
from tests.simulation.process import Process
from tests.simulation.scenes import play_next

from homing.ids import SLOTS_DEFAULT
from homing_node.log import limits
from homing_placement import events as ev
from homing_placement.records import NodeRecord, Replica, SlotRecord

COMPARE_SHARE = 0.02  # of the ticks of a process; a comparison that finds a difference halts a slot
TICK_S = 0.1
EVENTS_MAX = 60_000  # of a run; a run that is in order has a tenth of them
HEAL_S = 40.0  # within so much simulated time after everything is healed a write must be answered

Took = Callable[[tuple[ev.SlotFact, ...]], None]
Told = Callable[["bool | None", int], None]


class World:
    """One run of one seed.

    Args:
        seed: of every choice.
        replicas: only clusters with this many copies.
        trace: told of what happens, or None.

    Raises:
        Violation: from `run`, when something happened that must not.
    """

    def __init__(self, seed: int, replicas: int | None = None, trace: Callable[[str], None] | None = None) -> None:
        self.random = Random(seed)
        self.plan: Plan = plan(seed, self.random, replicas)
        limits.append_bytes_max = self.plan.append_bytes  # long backlogs travel in pieces here, too
        limits.trim_keep_bytes, limits.trim_wait_records_max = self.plan.keep_bytes, self.plan.wait_records
        self.store_slots = SLOTS_DEFAULT
        self.tracing = trace is not None
        self._trace = trace
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self.rough = True  # faults are let loose
        self.fired: Counter[str] = Counter()
        self.activations = 0
        self.clients = Clients(self)
        self.cuts: set[tuple[str, str]] = set()
        self.held: dict[tuple[str, str], list[Callable[[], None]]] = {}  # messages that a scene keeps for later
        self.wanted_next: dict[int, list[Machine]] = {}  # next replicas that a scene asks for
        self.ledger = Ledger(self.plan.slots)
        self.etcd = Etcd()
        self.registered: dict[str, tuple[NodeRecord, int]] = {}
        self.machines = [Machine(self, f"n{i + 1}") for i in range(self.plan.machines)]
        self.faults = Faults(self)

    # -- time -------------------------------------------------------------------------------------------------

    def after(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """Let something happen later."""
        self._number += 1
        heapq.heappush(self._events, (self.now + delay, self._number, act, args))

    def trace(self, text: str) -> None:
        """Tell what happens; callers look at `tracing` first."""
        if self._trace is not None:
            self._trace(f"{self.now:9.4f}  {text}")

    def run_until(self, end: float, done: Callable[[], bool] | None = None) -> bool:
        """Let time go by; True as soon as `done` holds."""
        events, pop = self._events, heapq.heappop
        while events and events[0][0] <= end:
            self.now, _, act, args = pop(events)
            if self._number > EVENTS_MAX:
                raise Violation(f"{EVENTS_MAX} events: messages beget messages")
            act(*args)
            if done is not None and done():
                return True
        self.now = end
        return False

    # -- a run ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Faults for a while, then peace, in which a write must be answered."""
        self._begin()
        self.run_until(self.plan.fault_s)
        self._heal()
        for slot in range(self.plan.slots):
            self._insist(slot)
        if not self.run_until(self.now + HEAL_S, lambda: len(self.clients.served) == self.plan.slots):
            raise Violation(f"writes to {self.clients.served} only were answered within {HEAL_S} s of peace")
        if not self.run_until(self.now + 10.0, self._settled):
            raise Violation("in peace, a replica did not catch up")

    def _begin(self) -> None:
        copies = self.plan.replicas
        for slot in range(self.plan.slots):
            members = [self.machines[(slot + i) % len(self.machines)] for i in range(copies)]
            self.etcd.create(slot, tuple(Replica(m.id, m.store.disk_id) for m in members))
            self.after(0.05, self.claim, slot, members[0])
            self.clients.begin(slot)
        self.etcd.take_backup()
        for machine in self.machines:
            self.start(machine)
        self.after(TICK_S, self._tick)
        self.faults.begin()
        if self.plan.directed:
            first_s = 0.5 if self.plan.quiet else 0.5 + self.random.random() * (self.plan.fault_s - 3.0)
            self.after(first_s, play_next, self)

    def _tick(self) -> None:
        for machine in self.machines:
            process = machine.process
            if process is not None and not process.paused:
                process.tick()
                if process.core.out:
                    process.flush()
                if self.random.random() < 0.15:
                    process.handle(process.apply, (self.random.randrange(self.plan.slots),))
                if self.random.random() < COMPARE_SHARE:
                    process.handle(process.core.compare, (self.random.randrange(self.plan.slots), self.now))
        self.after(TICK_S, self._tick)

    def _heal(self) -> None:
        """Everything that can be repaired is: links, processes, disks' speed, etcd."""
        if self.tracing:
            self.trace("-- peace --")
        self.rough = False
        self.clients.peace_at = self.now
        self.cuts.clear()
        self.held.clear()
        self.wanted_next.clear()
        for machine in self.machines:
            machine.slow_until = machine.deaf_until = 0.0
            if machine.process is None:
                self.start(machine)
            elif machine.process.paused:
                machine.process.resume()
        for machine in self.machines:
            for other in self.machines:
                if other is not machine:
                    self.connect(machine, other)

    def _insist(self, slot: int) -> None:
        """One claimant, who tries again, and a client who does too; a claim from before may still come through."""
        record = self.etcd.records[slot][0]
        served = self.serving(slot)
        current = [p for p in served if record.owner == p.me and self.fit(p.machine, slot, record)]
        if current and slot not in self.clients.served:
            current[0].handle(current[0].write, (slot, self.clients.body()))
        elif not current and not self._recovering(slot, record):
            fit = next(m for m in self.machines if self.fit(m, slot, record))
            self.claim(slot, fit)
        self.after(1.0, self._insist, slot)

    def _recovering(self, slot: int, record: SlotRecord) -> bool:
        return any(
            m.process is not None and record.owner == m.process.me and slot in m.process.core.owners
            for m in self.machines
        )

    def fit(self, machine: Machine, slot: int, record: SlotRecord) -> bool:
        """Whether a machine may own the slot: it has one of the copies, on a disk that can be trusted."""
        return Replica(machine.id, machine.store.disk_id) in record.replicas and machine.sound(slot)

    def _settled(self) -> bool:
        """Every replica that counts holds everything, and knows that it is committed."""
        for slot in range(self.plan.slots):
            record = self.etcd.records[slot][0]
            tip = self.ledger.tip(slot)
            for machine in self.machines:
                assert machine.process is not None
                if self.fit(machine, slot, record) and machine.process.core.replica(slot).commit < tip:
                    return False
        return True

    # -- machines ---------------------------------------------------------------------------------------------

    def start(self, machine: Machine) -> None:
        """Start a process; it links up with all that run."""
        if machine.process is not None:
            return
        process = machine.process = Process(self, machine, machine.incarnation())
        if self.tracing:
            self.trace(f"{process.incarnation} starts on disk {machine.store.disk_id} trusted={machine.store.trusted}")
        process.keeper.begin()
        for other in self.machines:
            if other is not machine:
                self.connect(machine, other)

    def connect(self, one: Machine, other: Machine) -> None:
        """Two processes link up, each a moment later."""
        a, b = one.process, other.process
        if a is None or b is None:
            return
        for process, peer in ((a, b), (b, a)):
            if process.links.get(peer.id) is not peer:
                process.post(0.001 + self.random.random() * 0.02, process.peer_up, peer)

    def crash(self, machine: Machine) -> None:
        """The process ends at once; what its disk did not have by then is lost."""
        process = machine.process
        if process is None:
            return
        serving = bool(process.gate.slots)
        unsynced = machine.store.unsynced
        kept = self.random.randint(0, unsynced)
        if unsynced > kept:
            self.fired["crash that lost writes"] += 1
        if serving:
            self.fired["owner restarted"] += 1
        self.fired["crash"] += 1
        if self.tracing:
            self.trace(f"{process.incarnation} crashes")
        process.alive = False
        machine.process = None
        machine.store.crash(kept)
        for other in self.machines:
            if other.process is not None:
                other.process.post(0.001 + self.random.random() * 0.5, other.process.peer_down, process)

    # -- network ----------------------------------------------------------------------------------------------

    def send(self, source: Process, node: str, message: Any) -> None:
        """Take a message along, or not, or twice, or late."""
        target = source.links.get(node)
        if target is None:
            return
        if not self.rough:
            self.after(0.001, self._deliver, source, target, message)
            return
        if (source.id, node) in self.cuts:
            self.fired["cut"] += 1
            return
        chance = self.random.random
        settings = self.plan
        if chance() < settings.lost:
            self.fired["message lost"] += 1
            return
        held = self.held.get((source.id, node))
        if held is not None:
            held.append(lambda: self._deliver(source, target, message))
            return
        delay = 0.0005 + chance() * 0.002
        if chance() < settings.late:
            self.fired["message overtaken"] += 1
            delay += chance() * settings.late_s
        self.after(delay, self._deliver, source, target, message)
        if chance() < settings.twice:
            self.fired["message twice"] += 1
            self.after(delay + chance() * settings.late_s, self._deliver, source, target, message)

    def _deliver(self, source: Process, target: Process, message: Any) -> None:
        if target.alive and (source.id, target.id) not in self.cuts:
            if self.tracing:
                self.trace(f"{source.id} > {target.id}  {_short(message)}")
            target.handle(target.receive, (source.id, message))

    # -- etcd -------------------------------------------------------------------------------------------------

    def _etcd_s(self) -> float:
        return 0.001 + self.random.random() * 0.004

    def read_records(self, process: Process, slots: Sequence[int], took: Took) -> None:
        """A linearizable read."""

        def at_server() -> None:
            found = tuple(ev.SlotFact(slot, *self.etcd.records[slot]) for slot in slots)
            process.post(self._etcd_s(), took, found)

        self.after(self._etcd_s(), at_server)

    def transact(self, process: Process, writes: Mapping[int, tuple[int, SlotRecord]], told: Told) -> None:
        """A transaction; its answer may be lost, and it may be done long after its sender gave up."""

        def at_server(answer: bool) -> None:
            done = self.etcd.write(writes)
            if done:
                for slot, (_, record) in writes.items():
                    self._changed(slot, record)
            if answer:
                process.post(self._etcd_s(), told, done, self.etcd.revision)

        if self.rough and self.random.random() < self.plan.unknown:
            self.fired["etcd outcome unknown"] += 1
            if self.random.random() < 0.5:
                self.after(self.random.random() * 1.5, at_server, False)
            process.post(0.3, told, None, 0)
        else:
            self.after(self._etcd_s(), at_server, True)

    def _changed(self, slot: int, record: SlotRecord) -> None:
        if self.tracing:
            self.trace(f"etcd  slot {slot} {record.state} epoch {record.epoch} of {record.owner}")
        if record.state == "ACTIVE":
            self.ledger.activated(slot, record)
        for machine in self.machines:
            process = machine.process
            if process is not None:
                delay = self.random.random() * self.plan.watch_s if self.rough else 0.01
                delay = max(delay, machine.deaf_until - self.now)
                if delay > 0.5:
                    self.fired["watch late"] += 1
                process.post(delay, process.keeper.saw, slot, record, self.etcd.revision)

    def next_replicas(self, slot: int, found: SlotRecord, mine: Replica) -> tuple[Replica, ...]:
        """The set that a claim asks for: mostly the one there is."""
        wanted = self.wanted_next.get(slot)
        if wanted is not None and wanted[0].id == mine.node:
            self.fired["other replicas"] += 1
            return tuple(Replica(m.id, m.store.disk_id) for m in wanted)
        if not self.plan.moves or self.random.random() < 0.6:
            following = found.next_replicas or found.replicas
            return following if mine in following else found.replicas
        others = [
            m for m in self.machines
            if m.id != mine.node and (m.sound(slot) or Replica(m.id, m.store.disk_id) not in found.replicas)
        ]  # fmt: skip
        if len(others) < self.plan.replicas - 1:
            return found.replicas
        chosen = self.random.sample(others, self.plan.replicas - 1)
        following = (mine, *(Replica(m.id, m.store.disk_id) for m in chosen))
        if {r.disk for r in following} != {r.disk for r in found.replicas}:
            self.fired["other replicas"] += 1
        return following

    # -- owners and clients -----------------------------------------------------------------------------------

    def claim(self, slot: int, machine: Machine) -> None:
        """A process claims a slot, whether there is a reason or not."""
        if machine.process is not None:
            machine.process.handle(machine.process.keeper.claim, (slot,))

    def took(self, process: Process, slot: int, record: SlotRecord) -> None:
        """A process takes up an epoch."""
        self.ledger.claimed(slot, record.epoch, process.me)
        rivals = [
            m for m in self.machines
            if m.process not in (None, process) and slot in m.process.core.owners  # type: ignore[union-attr] # not None
            and not m.process.core.serving(slot)  # type: ignore[union-attr] # not None
        ]  # fmt: skip
        if rivals:
            self.fired["takeovers at once"] += 1
        self.faults.took(process.machine)

    def served(self, process: Process, slot: int, epoch: int) -> None:
        """A process begins to serve."""
        self.activations += 1
        if self.tracing:
            self.trace(f"{process.id} serves slot {slot} in epoch {epoch}")

    def serving(self, slot: int) -> list[Process]:
        """Every process that believes it serves a slot."""
        return [m.process for m in self.machines if m.process is not None and slot in m.process.gate.slots]


def _short(message: Any) -> str:
    text = " ".join(str(message).split())
    return f"{type(message).__name__} {text[:150]}"
