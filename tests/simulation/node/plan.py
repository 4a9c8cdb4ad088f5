"""What a seed stands for: the shape of a cluster of nodes, and what befalls it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from homing.locations import Jurisdiction, Layout

# Mean seconds between two faults of a kind, where the kind is in the plan, and the share of plans that have it.
FAULTS: dict[str, tuple[float, float]] = {
    "crash": (7.0, 0.6),
    "power": (25.0, 0.2),
    "pause": (8.0, 0.5),
    "cut": (7.0, 0.6),
    "flap": (6.0, 0.4),
    "slow network": (10.0, 0.3),
    "slow disk": (9.0, 0.4),
    "fsync error": (12.0, 0.35),
    "disk full": (20.0, 0.25),
    "wipe": (12.0, 0.2),
    "damage": (12.0, 0.25),
    "flip": (12.0, 0.25),
    "clock step": (8.0, 0.4),
    "worker": (8.0, 0.4),
    "gateway": (10.0, 0.4),
    "etcd away": (10.0, 0.45),
    "lease": (8.0, 0.5),
    "mass expiry": (12.0, 0.35),
    "compaction": (8.0, 0.5),
    "watch": (8.0, 0.5),
    "drain": (8.0, 0.6),
    "move": (4.0, 0.6),
    "restart": (9.0, 0.5),
    "add": (9.0, 0.6),
}
CLUSTERS = (  # machines, replicas of a slot, weight
    (1, 1, 4),
    (3, 3, 60),
    (4, 3, 20),
    (5, 3, 8),
    (5, 5, 8),
)
VISITORS = (0, 0, 2, 3)
MORTAL = 0.5  # the share of plans with deletions


@dataclass(slots=True, frozen=True)
class Plan:
    """One run.

    Attributes:
        machines: how many there are at first.
        spare: how many an operator adds, and takes away again.
        replicas: copies of a slot, R.
        hashed, objects, clients: how many slots there are for objects that nothing binds, how many objects, clients.
        fault_s: how long faults are let loose; then everything is healed.
        unknown: share of requests to etcd that change something and get no answer.
        watch_s: a tenth of what a watch tells comes up to so much later.
        think_s: mean time between an answer and the next call.
        deadline_s: of a call in a gateway.
        idle_s: an activation without work for this long is evicted.
        zoned: each machine is a zone of its own.
        visitors: clients that have connections to objects.
        mortal: some objects are deleted at times.
        faults: kinds that may happen.
    """

    seed: int
    machines: int
    spare: int
    replicas: int
    hashed: int
    objects: int
    clients: int
    fault_s: float
    unknown: float
    watch_s: float
    think_s: float
    deadline_s: float
    idle_s: float
    zoned: bool
    visitors: int
    mortal: bool
    faults: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        """The slots: with those of a jurisdiction in three of the zones, where there are more and each has a copy."""
        bound = self.zoned and self.machines > self.replicas == 3
        return Layout(self.hashed, (Jurisdiction("eu", ("n1", "n2", "n3")),) if bound else ())

    @property
    def slots(self) -> int:
        """How many there are in all."""
        return self.layout.count


def plan(seed: int, random: Random) -> Plan:
    """The plan of a seed.

    Args:
        seed: its number.
        random: to draw from.
    """
    machines, copies, _ = random.choices(CLUSTERS, [c[2] for c in CLUSTERS])[0]
    faults = [kind for kind, (_, share) in FAULTS.items() if random.random() < share]
    return Plan(
        seed=seed,
        machines=machines,
        spare=1 if machines < 5 else 0,
        replicas=copies,
        hashed=random.choice((8, 8, 16, 32)),
        objects=random.choice((4, 8, 12)),
        clients=random.choice((3, 5, 8)),
        fault_s=random.uniform(15.0, 40.0),
        unknown=random.choice((0.0, 0.05, 0.2, 0.4)),
        watch_s=random.choice((0.0, 0.5, 3.0)),
        think_s=random.choice((0.2, 0.5, 1.0)),
        deadline_s=random.choice((3.0, 10.0, 30.0)),
        idle_s=random.choice((0.5, 10.0)),
        zoned=random.random() < 0.5,
        visitors=random.choice(VISITORS),
        mortal=random.random() < MORTAL,
        faults=tuple(faults),
    )
