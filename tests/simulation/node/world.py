"""A cluster in one thread on a fake clock: nodes, gateways, clients, etcd, an operator and faults, all from one seed."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.ledger import Ledger, Violation
from tests.simulation.node import seams
from tests.simulation.node.clients import Clients
from tests.simulation.node.connections import Connections
from tests.simulation.node.etcd import Etcd
from tests.simulation.node.faults import Faults
from tests.simulation.node.loop import Clock, Loop
from tests.simulation.node.network import Network
from tests.simulation.node.plan import Plan, plan
from tests.simulation.node.processes import CLUSTER, Gateway, NodeMachine

from homing_node.log import record as log_record
from homing_node.log.core import LogCore
from homing_placement.keys import ClusterKeys
from homing_placement.records import Owner, SlotRecord, SlotState, decode

GATEWAYS = 2
PEACE_S = 60.0  # within so much simulated time after everything is healed all must be in order
STEPS_MAX = 3_000_000  # of a run; one that is in order has a tenth of them
REST_S = 8.0  # for so long nothing must change at the end
CHECK_S = 0.5


class World:
    """One run of one seed.

    Args:
        seed: of every choice.
        trace: told of what happens, or None.

    Raises:
        Violation: from `run`, when something happened that must not.
    """

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.random = Random(seed)
        self.plan: Plan = plan(seed, self.random)
        self.tracing = trace is not None
        self._trace = trace
        self.clock = Clock(self.broke)
        self.rough = True  # faults are let loose
        self.fired: Counter[str] = Counter()
        self.takeovers = 0
        self.moved = 0
        self.activations = 0
        self.peace_at = float("inf")
        self.healed_s = 0.0
        self.cores: list[LogCore] = []
        self._broken: list[str] = []
        self._changes: list[str] = []
        self._changed_at = 0.0
        self._unrest: list[tuple[float, list[int]]] = []
        self._keys = ClusterKeys(CLUSTER)
        self._records: dict[int, SlotRecord] = {}
        self._draining: set[str] = set()  # nodes whose records say so
        self._serving: dict[tuple[int, int], str] = {}  # slot and epoch to who serves it, or did
        self.served_at: dict[int, float] = {}  # since when its owner serves a slot, or did
        self._lives = 0
        seams.enter(self)
        self.ledger = Ledger(self.plan.slots)
        self.store_slots = self.plan.hashed
        self.network = Network(self)
        self.etcd = Etcd(self, self._changed)
        self.operator = Loop(self.clock, "operator")
        count = self.plan.machines + self.plan.spare
        self.machines = [NodeMachine(self, f"n{i + 1}") for i in range(count)]
        self.first_machines = self.machines[: self.plan.machines]
        self.gateways = [Gateway(self, i) for i in range(GATEWAYS)]
        self.clients = Clients(self)
        self.connections = Connections(self)
        self.faults = Faults(self)

    @property
    def now(self) -> float:
        return self.clock.now

    # -- telling ----------------------------------------------------------------------------------------------

    def trace(self, text: str) -> None:
        """Tell what happens; callers look at `tracing` first."""
        if self._trace is not None:
            self._trace(f"{self.now:9.4f}  {text}")

    def broke(self, what: str) -> None:
        """Something that must never happen did; the run ends after this step."""
        if self.tracing:
            self.trace(f"VIOLATION {what}")
        self._broken.append(what)

    def alarm(self, event: str, facts: dict[str, Any]) -> None:
        """The code under test logs an error, or a process ended with one."""
        text = " ".join(f"{name}={value}" for name, value in facts.items())
        damaged = any(machine.bad for machine in self.machines)
        if event in seams.ALARMS or "ended with" in event or (event in seams.DISK_ALARMS and not damaged):
            self.broke(f"{event} {text}"[:400])

    # -- a run ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Faults for a while, then peace, in which everything must come to order."""
        collects = gc.isenabled()
        gc.disable()  # what an ended process leaves behind must not be closed in the middle of a run
        try:
            self._run()
        finally:
            self._throw_away()
            if collects:
                gc.enable()

    def _run(self) -> None:
        for machine in self.first_machines:
            machine.start()
        for machine in self.machines[len(self.first_machines) :]:
            machine.wanted = False
        for gateway in self.gateways:
            gateway.start()
        self.faults.begin()
        self.clock.after(CHECK_S, self._check)
        self._go(4.0 + self.plan.fault_s)
        self._heal()
        if not self._go(self.now + PEACE_S, self._in_order):
            raise Violation(f"after {PEACE_S:g} s of peace: {self._disorder()}")
        self.healed_s = self.now - self.peace_at
        self.clients.ask_all()
        if not self._go(self.now + PEACE_S, self._all_told):
            raise Violation(f"in peace, for {PEACE_S:g} s {self._untold()}; {self._disorder()}")
        self.clients.check_all()
        if not self._go(self.now + PEACE_S, self._at_rest):
            raise Violation(
                f"in peace, slots go on changing hands or resting: {self._unrest[-3:]}, {self._changes[-3:]}"
            )
        self._check()

    def _at_rest(self) -> bool:
        """Nothing of placement has changed for a while, and no slot is about to."""
        if unserved := self._unserved():
            self._changed_at = self.now
            self._unrest.append((round(self.now, 1), unserved[:4]))
        return self.now - self._changed_at > REST_S

    def _go(self, end: float, done: Callable[[], bool] | None = None) -> bool:
        """Let time go by, in small steps, for every violation ends the run."""
        while self.now < end:
            reached = min(end, self.now + 0.05)
            try:
                self.clock.run_until(reached)
            except seams.Exited:
                continue
            if self._broken:
                raise Violation("; ".join(self._broken[:3]))
            if self.clock.steps > STEPS_MAX:
                raise Violation(f"{STEPS_MAX} steps: messages beget messages")
            if done is not None and done():
                return True
        return done is None

    def _throw_away(self) -> None:
        """What is left of processes is not to be told about when it is collected."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        for loop in [self.operator, *(one.loop for one in (*self.machines, *self.gateways))]:
            if loop is not None:
                loop.alive = False
        self.clock.clear()
        self.cores.clear()
        gc.collect()
        sys.unraisablehook = hook

    def _heal(self) -> None:
        """Everything that can be repaired is."""
        if self.tracing:
            self.trace("-- peace --")
        self.rough = False
        self.peace_at = self.now
        self.network.slow_s = 0.0
        self.network.mend()
        self.etcd.away.clear()
        for stream in self.etcd.streams:
            stream.late_s = 0.0
        for machine in self.machines:
            machine.slow_until = 0.0
            machine.sick = False
            machine.store.free_bytes = 1 << 40
            if machine.loop is not None:
                machine.loop.wall_offset_s = 0.0
                if machine.loop.paused:
                    machine.loop.resume()
            self._want(machine)
        for gateway in self.gateways:
            gateway.start()

    def _want(self, machine: NodeMachine) -> None:
        """In peace a node runs, and stays; one that is on its way out goes first."""
        if not machine.wanted:
            return
        if machine.loop is None:
            machine.start()
        elif not machine.stopping and machine.id in self._draining:
            self.faults.stay(machine)
        self.clock.after(1.0, self._want, machine)

    # -- what is in order -------------------------------------------------------------------------------------

    def _in_order(self) -> bool:
        return not self.clients.open and self.connections.quiet() and not self._unserved()

    def _all_told(self) -> bool:
        return self.clients.all_read() and self.connections.settled()

    def _untold(self) -> str:
        unread = [thing.name for thing in self.clients.things if not thing.final]
        silent = [thing.name for thing in self.clients.things if not all(life.rang for life in thing.alive)]
        return f"{unread} could not be read, alarms of {silent} did not ring, {self.connections.unsettled()}"

    def _unserved(self) -> list[int]:
        return [slot for slot in range(self.plan.slots) if not self._is_served(slot)]

    def _is_served(self, slot: int) -> bool:
        """Its record is ACTIVE, and its owner lives, serves that epoch and takes calls."""
        record = self._records.get(slot)
        if record is None or record.state is not SlotState.ACTIVE or record.owner is None:
            return False
        machine = next(m for m in self.machines if m.id == record.owner.node)
        if not machine.runs or machine.name != record.owner.incarnation:
            return False
        served = self.gates(machine).get(slot)
        return served is not None and served.epoch == record.epoch and not served.resting

    def _disorder(self) -> str:
        unserved = [(slot, str(self._records.get(slot))[:160]) for slot in self._unserved()]
        waiting = [(call.number, call.object.name, call.object.slot) for call in self.clients.open]
        return (
            f"{len(unserved)} slots without an owner that serves: {unserved[:2]}; "
            f"calls without an answer: {waiting[:4]}; {self.connections.unsettled()}"
        )

    def _check(self) -> None:
        """The invariants that the code under test states itself."""
        for machine in self.machines:
            node = machine.node
            if machine.loop is not None and node is not None and hasattr(node, "log"):
                node.log.core.check()
        self.clock.after(CHECK_S, self._check)

    def gates(self, machine: NodeMachine) -> dict[int, Any]:
        """The slots that a node believes it serves."""
        node = machine.node
        return node.host.gate.slots if node is not None and hasattr(node, "host") else {}

    def hosts(self, slot: int) -> list[Any]:
        """The object hosts of the nodes that believe they serve a slot."""
        return [m.node.host for m in self.machines if m.node is not None and slot in self.gates(m)]

    def new_life(self) -> int:
        """A number for an object that is written to for the first time."""
        self._lives += 1
        return self._lives

    def record(self, slot: int) -> SlotRecord | None:
        """A slot's record as etcd has it."""
        return self._records.get(slot)

    # -- what the judge is told -------------------------------------------------------------------------------

    def _changed(self, key: bytes, value: bytes | None, revision: int) -> None:
        """Etcd holds something else."""
        slot = self._keys.slot_of(key)
        if self.tracing:
            self.trace(f"etcd: {key.decode()} = {value!r} at {revision}")
        if (node := self._keys.node_of(key)) is not None:
            (self._draining.add if value is not None and b'"draining"' in value else self._draining.discard)(node)
        if slot is None or value is None:
            return
        record, before = decode(value, SlotRecord), self._records.get(slot)
        if before is not None and record.rank <= before.rank:
            raise Violation(f"slot {slot}: the record goes from {before} to {record}")
        self._stays_in_its_zones(slot, record)
        self._records[slot] = record
        self._changed_at = self.now
        self._changes.append(f"{self.now:.1f} s: slot {slot} {record.state} {record.owner} in epoch {record.epoch}")
        if record.owner is None:
            return
        if record.state is SlotState.ACTIVE:
            self.ledger.activated(slot, record)
            self.activations += 1
        elif before is not None and before.owner is not None:
            self._took(slot, before.owner)

    def _stays_in_its_zones(self, slot: int, record: SlotRecord) -> None:
        """No copy of a jurisdiction's slot is outside of its zones, nor about to be; each machine is a zone."""
        bound = self.plan.layout.jurisdiction_of(slot)
        named = [replica.node for replica in (*record.replicas, *(record.next_replicas or ()))]
        if bound is not None and not set(named) <= set(bound.zones):
            raise Violation(f"slot {slot} of the jurisdiction {bound.name}, in {bound.zones}, is given to {named}")

    def _took(self, slot: int, before: Owner) -> None:
        machine = next(m for m in self.machines if m.id == before.node)
        served = self.gates(machine).get(slot) if machine.name == before.incarnation else None
        if served is not None and served.resting:
            self.moved += 1
        else:
            self.takeovers += 1

    def claimed(self, core: LogCore, slot: int, epoch: int) -> None:
        """A log core takes up an epoch."""
        self.ledger.claimed(slot, epoch, Owner(core.node, core.incarnation))

    def served(self, slot: int, epoch: int) -> None:
        """A node begins to serve."""
        loop: Any = self.clock.running
        machine: NodeMachine = loop.machine
        assert machine.node is not None
        core = machine.node.log.core
        if self.tracing:
            self.trace(f"{machine.name} serves slot {slot} in epoch {epoch}")
        before = self._serving.setdefault((slot, epoch), machine.name)
        if before != machine.name:
            raise Violation(f"slot {slot}: {before} and {machine.name} serve epoch {epoch}")
        self.served_at[slot] = self.now
        self.ledger.serves(slot, epoch, Owner(machine.id, machine.name), core)

    def ended_serving(self, slot: int, epoch: int) -> None:
        """A node serves no more."""
        if self.tracing:
            self.trace(f"slot {slot} is not served any more in epoch {epoch}")

    def applies(self, slot: int, records: list[bytes]) -> None:
        """Pages are about to take these records in (rule 24)."""
        for data in records:
            lsn = log_record.position(data)[1]
            if not self.ledger.is_committed(slot, lsn, log_record.hash_of(data)):
                raise Violation(f"slot {slot}: pages take record {lsn} in, which is not committed")

    def exited(self, loop: Loop, code: int) -> None:
        """A node called `os._exit`."""
        machine = next(m for m in self.machines if m.loop is loop)
        self.fired["ended by its disk"] += 1
        if self.tracing:
            self.trace(f"{machine.name} exits with {code}")
        machine.crash()
        self.clock.after(0.5 + self.random.random(), self.faults.back, machine)
