"""What goes wrong between nodes, and what an operator does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc.aio
from tests.simulation.node.loop import Loop
from tests.simulation.node.plan import FAULTS

from homing.wire.v1 import call_pb2 as wire
from homing_gateway.admin import DRAIN, MOVE

if TYPE_CHECKING:
    from tests.simulation.node.processes import NodeMachine
    from tests.simulation.node.world import World


class Faults:
    """Lets the faults of a plan loose on a world.

    Args:
        world: the victim.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._spoilable = (world.plan.replicas - 1) // 2  # more lost disks than this may lose data, rightly

    def begin(self) -> None:
        """Schedule the first of each kind."""
        for kind in FAULTS:
            if kind in self._world.plan.faults:
                self._world.clock.after(4.0 + self._gap(kind), self._fire, kind)

    def _gap(self, kind: str) -> float:
        return 0.2 + self._random.expovariate(1 / FAULTS[kind][0])

    def _fire(self, kind: str) -> None:
        if self._world.rough:
            act: Callable[[], bool | None] = getattr(self, "_" + kind.replace(" ", "_"))
            if act() is not False:
                self._world.fired[kind] += 1
                if self._world.tracing:
                    self._world.trace(f"-- fault: {kind}")
            self._world.clock.after(self._gap(kind), self._fire, kind)

    def _later(self, delay: float, act: Callable[..., object], *args: Any) -> None:
        """The end of a fault; in peace everything is healed at once, and this must do no harm."""
        self._world.clock.after(delay, act, *args)

    def _length(self) -> float:
        return self._random.choice((0.3, 1.5, 6.0)) * (0.5 + self._random.random())

    def _running(self) -> list[NodeMachine]:
        return [machine for machine in self._world.machines if machine.runs]

    def _victim(self) -> NodeMachine | None:
        """A node that runs; often one that owns much."""
        running = self._running()
        if not running:
            return None
        if self._random.random() < 0.5:
            return max(running, key=lambda machine: len(self._world.gates(machine)))
        return self._random.choice(running)

    # -- nodes ------------------------------------------------------------------------------------------------

    def _end(self, machine: NodeMachine) -> None:
        machine.crash()
        self._later(self._random.choice((0.1, 1.0, 5.0)) * (0.5 + self._random.random()), self.back, machine)

    def back(self, machine: NodeMachine) -> None:
        if machine.wanted:
            machine.start()

    def _crash(self) -> bool | None:
        victim = self._victim()
        if victim is None:
            return False
        self._end(victim)
        return None

    def _power(self) -> None:
        """The power fails everywhere."""
        for machine in self._running():
            self._end(machine)

    def _pause(self) -> bool | None:
        victim = self._victim()
        if victim is None or victim.loop is None:
            return False
        victim.loop.pause()
        self._world.network.paused(victim.loop)
        self._later(self._length(), self._resume, victim.loop)
        return None

    def _resume(self, loop: Loop) -> None:
        if loop.alive and loop.paused:
            loop.resume()

    def _clock_step(self) -> bool | None:
        """The wall clock of a machine is set, forwards or back."""
        victim = self._victim()
        if victim is None or victim.loop is None:
            return False
        victim.loop.step_wall(self._random.choice((-3600.0, -30.0, 30.0, 3600.0, 90_000.0)))
        return None

    def _worker(self) -> bool | None:
        """A worker is killed."""
        victim = self._victim()
        if victim is None or victim.loop is None or victim.node is None or not hasattr(victim.node, "host"):
            return False
        victim.loop.spawn(victim.loop.workforce.kill_one)
        return None

    def _gateway(self) -> None:
        gateway = self._random.choice(self._world.gateways)
        gateway.crash()
        self._later(self._length() / 3, gateway.start)

    # -- network ----------------------------------------------------------------------------------------------

    def _cut(self) -> bool | None:
        """Nothing passes in one direction or in both, to and from one process or between two."""
        one = self._victim()
        if one is None:
            return False
        names = [m.id for m in self._world.machines if m is not one] + [g.id for g in self._world.gateways]
        if self._random.random() < 0.5:
            names = self._random.sample(names, 1 + self._random.randrange(len(names)))
        kind = self._random.choice(("from", "to", "both"))
        pairs = [(one.id, m) for m in names if kind != "to"] + [(m, one.id) for m in names if kind != "from"]
        self._world.fired["cut one way" if kind != "both" else "cut both ways"] += 1
        self._world.network.cut(pairs)
        self._later(self._length(), self._world.network.mend, pairs)
        return None

    def _flap(self) -> bool:
        running = self._running()
        if len(running) < 2:
            return False
        one, two = self._random.sample(running, 2)
        return self._world.network.flap(one.id, two.id)

    def _slow_network(self) -> None:
        self._world.network.slow_s = self._random.choice((0.02, 0.1, 0.3))
        self._later(self._length(), self._fast)

    def _fast(self) -> None:
        self._world.network.slow_s = 0.0

    # -- disks ------------------------------------------------------------------------------------------------

    def _slow_disk(self) -> bool | None:
        victim = self._victim()
        if victim is None:
            return False
        victim.slow_until = self._world.now + self._length()
        return None

    def _fsync_error(self) -> bool | None:
        """EIO of an fsync: the node must end at once (rule 7)."""
        victim = self._victim()
        if victim is None:
            return False
        if self._random.random() < 0.5:
            victim.sick = True
        else:
            self._world.fired["write error"] += 1
            victim.store.fail("ENOSPC")
        return None

    def _disk_full(self) -> bool | None:
        """Little room is left: the node leaves in order, and comes back when there is room."""
        victim = self._victim()
        if victim is None or victim.stopping:
            return False
        store = victim.store
        store.free_bytes = 1 << 20
        victim.stopping = True
        self._await_end(victim, self.back)
        return None

    def _wipe(self) -> bool:
        return self._spoil("wipe")

    def _damage(self) -> bool:
        return self._spoil(self._random.choice(("keep", "forget")))

    def _flip(self) -> bool:
        return self._spoil("flip")

    def _spoil(self, how: str) -> bool:
        """A machine crashes and comes back with a worse disk; not more of them than a majority can bear."""
        victim = self._victim()
        if victim is None or victim.bad or self._spoilable == 0 or victim not in self._world.first_machines:
            return False
        self._spoilable -= 1
        self._end(victim)
        if how == "wipe":
            victim.wipe()
        elif how == "flip":
            return self._flip_byte(victim)
        else:
            victim.spoil(forget=how == "forget")
        return True

    def _flip_byte(self, machine: NodeMachine) -> bool:
        """One byte of one record on disk is another; nobody notices before it is read."""
        store = machine.store
        # Where a record is that nobody calls committed yet, its owner may have counted this disk and be about to.
        tips = self._world.ledger.tip
        images = [
            (slot, image)
            for slot, image in store.load().items()
            if image.records and image.applied_lsn + len(image.records) <= tips(slot)
        ]
        machine.bad = True
        if not images:
            return False
        slot, image = self._random.choice(images)
        lsn = image.applied_lsn + 1 + self._random.randrange(len(image.records))
        data = bytearray(store._slots[slot].records[lsn])
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        store._slots[slot].records[lsn] = bytes(data)
        self._world.ledger.spoiled.add((id(store), slot))
        return True

    # -- etcd -------------------------------------------------------------------------------------------------

    def _etcd_away(self) -> None:
        etcd = self._world.etcd
        names = [m.id for m in self._world.machines] + [g.id for g in self._world.gateways]
        if self._random.random() < 0.5:
            names = self._random.sample(names, 1)
        etcd.away.update(names)
        etcd.lose_away()
        self._later(self._length() * 1.5, etcd.away.difference_update, names)

    def _lease(self) -> bool | None:
        """One lease is gone, though its process lives."""
        store = self._world.etcd.store
        if not store.leases:
            return False
        store.end_lease(self._random.choice(sorted(store.leases)))
        return None

    def _mass_expiry(self) -> None:
        """Every lease is gone, as after an election that took too long."""
        store = self._world.etcd.store
        for lease in sorted(store.leases):
            store.end_lease(lease)

    def _compaction(self) -> None:
        """History is forgotten, and at times all watches break, so that some need what is gone."""
        etcd = self._world.etcd
        if self._random.random() < 0.6:
            for stream in list(etcd.streams):
                stream.lose()
        self._later(self._random.random() * 0.2, etcd.store.compact)

    def _watch(self) -> bool | None:
        """A watch breaks, or tells everything late from now on."""
        streams = list(self._world.etcd.streams)
        if not streams:
            return False
        stream = self._random.choice(streams)
        if self._random.random() < 0.5:
            stream.lose()
        else:
            stream.late_s = self._random.choice((0.5, 2.0, 4.0))
        return None

    # -- the operator -----------------------------------------------------------------------------------------

    def _tell(self, machine: NodeMachine, path: str, request: Any) -> None:
        operator = self._world.operator

        async def ask() -> None:
            try:
                await self._world.network.ask(operator, machine.id, path, request, 2.0)
            except grpc.aio.AioRpcError:
                return

        operator.spawn(lambda: operator.create_task(ask()))

    def _drain(self) -> bool | None:
        """A node is emptied, and after a while it stays after all."""
        victim = self._victim()
        if victim is None or len(self._running()) < 2:
            return False
        self._tell(victim, DRAIN, wire.DrainRequest())
        self._later(self._length() * 2, self.stay, victim)
        return None

    def stay(self, machine: NodeMachine) -> None:
        if machine.loop is not None:
            self._tell(machine, DRAIN, wire.DrainRequest(stay=True))

    def _move(self) -> bool | None:
        """One slot is given to another of its replicas by hand."""
        slot = self._random.randrange(self._world.plan.slots)
        record = self._world.record(slot)
        if record is None or record.owner is None or len(record.replicas) < 2:
            return False
        owner = next((m for m in self._running() if m.id == record.owner.node), None)
        if owner is None:
            return False
        target = self._random.choice([r.node for r in record.replicas if r.node != owner.id])
        self._tell(owner, MOVE, wire.MoveRequest(slot=slot, node=target))
        return None

    def _restart(self) -> bool | None:
        """SIGTERM, and a new process when the old one has ended."""
        victim = self._victim()
        if victim is None or victim.stopping or victim.node is None:
            return False
        self._stop(victim)
        self._await_end(victim, self.back)
        return None

    def _stop(self, machine: NodeMachine) -> None:
        machine.stopping = True
        node = machine.node
        if node is not None and machine.loop is not None:
            machine.loop.spawn(node.stopping.set)

    def _keeps_copies(self, machine: NodeMachine) -> bool:
        records = [self._world.record(slot) for slot in range(self._world.plan.slots)]
        sets = [(*found.replicas, *(found.next_replicas or ())) for found in records if found is not None]
        return any(replica.node == machine.id for each in sets for replica in each)

    def _await_end(self, machine: NodeMachine, then: Callable[[NodeMachine], None]) -> None:
        if machine.loop is None:
            self._later(self._random.random() * 2.0, then, machine)
        else:
            self._later(0.5, self._await_end, machine, then)

    def _add(self) -> bool | None:
        """A node joins that was not there, or leaves for good."""
        spare = [machine for machine in self._world.machines if machine not in self._world.first_machines]
        if not spare:
            return False
        machine = self._random.choice(spare)
        if machine.wanted and self._keeps_copies(machine):
            if not self._spoilable:
                return False
            self._spoilable -= 1  # they are lost with it
        machine.wanted = not machine.wanted
        if machine.wanted:
            machine.start()
        else:
            self._world.fired["remove"] += 1
            self._stop(machine)
        return None
