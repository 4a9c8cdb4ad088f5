"""What goes wrong, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.plan import GAPS_S

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.process import Process
    from tests.simulation.world import World


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
        kinds: dict[str, Callable[[], None]] = {
            "crash": self._crash,
            "pause": self._pause,
            "cut": self._cut,
            "flap": self._flap,
            "slow disk": self._slow_disk,
            "contest": self._contest,
            "wipe": self._wipe,
            "damage": self._damage,
            "restore": self._restore,
            "blackout": self._blackout,
        }
        for kind, act in kinds.items():
            if kind in self._world.plan.faults:
                self._world.after(0.3 + self._random.expovariate(1 / GAPS_S[kind]), self._fire, kind, act)
        for slot in range(0 if self._world.plan.quiet else self._world.plan.slots):
            self._world.after(1.0 + self._random.random(), self._claim, slot)

    def _fire(self, kind: str, act: Callable[[], None]) -> None:
        if self._world.rough:
            act()
            self._world.after(0.1 + self._random.expovariate(1 / GAPS_S[kind]), self._fire, kind, act)

    def _victim(self) -> Machine:
        """A machine that runs; often one that serves."""
        world = self._world
        slot = self._random.randrange(world.plan.slots)
        owners = world.serving(slot)
        if owners and self._random.random() < 0.6:
            return self._random.choice(owners).machine
        return self._random.choice(world.machines)

    # -- claims -----------------------------------------------------------------------------------------------

    def _claim(self, slot: int) -> None:
        """Somebody thinks that the owner is gone; often it is so."""
        world = self._world
        if not world.rough:
            return
        nobody = not world.serving(slot)
        world.claim(slot, self._random.choice(world.machines))
        gap_s = 0.6 if nobody else world.plan.claim_gap_s
        world.after(0.1 + self._random.expovariate(1 / gap_s), self._claim, slot)

    def _contest(self) -> None:
        """Several claim one slot at about the same time."""
        world = self._world
        slot = self._random.randrange(world.plan.slots)
        for machine in self._random.sample(world.machines, min(len(world.machines), self._random.choice((2, 2, 3)))):
            world.after(self._random.random() * 0.03, world.claim, slot, machine)

    def took(self, machine: Machine) -> None:
        """A process has just claimed a slot: at times it dies in the middle of the takeover."""
        if self._world.rough and "crash" in self._world.plan.faults and self._random.random() < 0.15:
            self._world.after(self._random.random() * 0.02, self._die_midway, machine, machine.process)

    def _die_midway(self, machine: Machine, process: Process | None) -> None:
        if process is None or machine.process is not process:
            return
        if any(not process.core.serving(slot) for slot in process.core.owners):
            self._world.fired["claimant died midway"] += 1
        self._end(machine)

    # -- processes --------------------------------------------------------------------------------------------

    def _end(self, machine: Machine) -> None:
        if not self._world.rough:
            return
        self._world.crash(machine)
        self._world.after(self._random.choice((0.02, 0.3, 2.0)) * (0.5 + self._random.random()), self._back, machine)

    def _back(self, machine: Machine) -> None:
        self._world.start(machine)

    def _crash(self) -> None:
        if self._random.random() < 0.15:  # the power fails everywhere
            for machine in self._world.machines:
                self._end(machine)
        else:
            self._end(self._victim())

    def _pause(self) -> None:
        world = self._world
        process = self._victim().process
        if process is None or process.paused:
            return
        world.fired["pause"] += 1
        process.paused = True
        if world.tracing:
            world.trace(f"{process.incarnation} is stopped")
        world.after(self._random.choice((0.2, 1.0, 4.0)) * (0.5 + self._random.random()), self._resume, process)

    def _resume(self, process: Process) -> None:
        world = self._world
        if not process.alive or not process.paused:
            return
        if world.tracing:
            world.trace(f"{process.incarnation} goes on")
        if self._random.random() < 0.6:  # a call is taken before anything that arrived meanwhile
            process.paused = False
            for slot in list(process.gate.slots):
                process.handle(process.read, (slot,))
                process.handle(process.write, (slot, world.clients.body()))
        process.resume()

    # -- network ----------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        """Messages vanish, in one direction or in both, to and from one machine or between two."""
        world = self._world
        one = self._victim()
        others = [m for m in world.machines if m is not one]
        if not others:
            return
        if self._random.random() < 0.4:
            others = [self._random.choice(others)]
        kind = self._random.choice(("from", "to", "both"))
        pairs = [(one.id, m.id) for m in others if kind != "to"] + [(m.id, one.id) for m in others if kind != "from"]
        world.cuts.update(pairs)
        if world.tracing:
            world.trace(f"cut {pairs}")
        world.after(self._random.choice((0.3, 1.5, 5.0)) * (0.5 + self._random.random()), self._mend, pairs)

    def _mend(self, pairs: list[tuple[str, str]]) -> None:
        self._world.cuts.difference_update(pairs)

    def _flap(self) -> None:
        """A link breaks and comes back; both sides are told, not at the same time."""
        world = self._world
        running = [m.process for m in world.machines if m.process is not None]
        if len(running) < 2:
            return
        world.fired["link broke"] += 1
        one, other = self._random.sample(running, 2)
        for process, peer in ((one, other), (other, one)):
            down = self._random.random() * 0.3
            process.post(down, process.peer_down, peer)
            process.post(down + 0.01 + self._random.random() * 0.3, process.peer_up, peer)

    # -- disks and etcd ---------------------------------------------------------------------------------------

    def _slow_disk(self) -> None:
        """A disk takes its time; in half of the cases its machine dies with the writes on their way."""
        machine = self._victim()
        self._world.fired["slow disk"] += 1
        length_s = 0.2 + self._random.random() * 3.0
        machine.slow_until = self._world.now + length_s
        if self._random.random() < 0.5:
            self._world.after(self._random.random() * length_s, self._end, machine)

    def _wipe(self) -> None:
        self.spoil(self._victim(), "wipe")

    def _damage(self) -> None:
        self.spoil(self._victim(), self._random.choice(("keep", "forget")))

    def spoil(self, machine: Machine, how: str) -> bool:
        """A machine crashes and comes back with a worse disk; False if that would be more than a majority can bear.

        Args:
            machine: the victim.
            how: "wipe", "keep" or "forget" its promises, or nothing at all.
        """
        if not how or self._spoilable == 0 or machine.bad:
            return False
        self._spoilable -= 1
        self._world.fired["disk wiped" if how == "wipe" else "disk damaged"] += 1
        self._end(machine)
        if how == "wipe":
            machine.wipe()
        else:
            machine.spoil(forget=how == "forget")
        return True

    def _restore(self) -> None:
        """etcd is put back to an older state, once; later backups would be of the restored one."""
        world = self._world
        world.fired["etcd restored"] += 1
        world.ledger.restored = True
        if world.tracing:
            world.trace("etcd  restored")
        world.etcd.restore()

    def _blackout(self) -> None:
        """All links of all machines are cut for a moment."""
        world = self._world
        pairs = [(a.id, b.id) for a in world.machines for b in world.machines if a is not b]
        world.cuts.update(pairs)
        world.after(self._random.random() * 2.0, self._mend, pairs)
