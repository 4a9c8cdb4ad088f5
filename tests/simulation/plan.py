"""What a seed stands for: the shape of a cluster, the quality of its network, and which faults befall it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

# Mean seconds between two faults of a kind, where the kind is in the plan.
GAPS_S = {
    "crash": 3.0,
    "pause": 3.0,
    "cut": 2.5,
    "flap": 4.0,
    "slow disk": 4.0,
    "contest": 3.0,
    "wipe": 6.0,
    "damage": 6.0,
    "restore": 5.0,
    "blackout": 8.0,
}
# The share of plans that have the kind.
SHARES = {
    "crash": 0.75,
    "pause": 0.6,
    "cut": 0.6,
    "flap": 0.35,
    "slow disk": 0.4,
    "contest": 0.7,
    "wipe": 0.3,
    "damage": 0.35,
    "restore": 0.3,
    "blackout": 0.2,
}
CLUSTERS = (  # machines, replicas of a slot, weight
    (1, 1, 6),
    (3, 3, 54),
    (4, 3, 16),
    (5, 3, 12),
    (5, 5, 12),
)


@dataclass(slots=True, frozen=True)
class Plan:
    """One run.

    Attributes:
        machines: how many there are.
        replicas: copies of a slot, R.
        slots: how many logs.
        fault_s: how long faults are let loose; then everything is healed.
        lost: share of messages that never arrive.
        twice: share that arrive twice.
        late: share that take up to `late_s` and so are overtaken by others.
        unknown: share of transactions without an answer; half of them are done all the same.
        watch_s: a node learns of a changed slot record up to so much later.
        write_gap_s: mean time between two writes to a slot, and between two reads.
        claim_gap_s: mean time between two claims of a slot that nobody asked for.
        faults: kinds that may happen.
        placed: the rules of placement decide who claims; else anybody does, at any time.
        directed: scenes are played: one amid everything else, or, when quiet, one after the other.
        quiet: nothing but the scenes goes wrong.
        append_bytes: of the records in one message; a longer backlog travels in several.
        keep_bytes: of a slot's records that stay below its pages; with few, who was away for a moment needs a snapshot.
        wait_records: a replica that is there and lacks no more than these holds trimming up.
    """

    seed: int
    machines: int
    replicas: int
    slots: int
    fault_s: float
    lost: float
    twice: float
    late: float
    late_s: float
    unknown: float
    watch_s: float
    write_gap_s: float
    read_gap_s: float
    claim_gap_s: float
    faults: frozenset[str]
    placed: bool
    directed: bool
    quiet: bool
    append_bytes: int
    keep_bytes: int
    wait_records: int

    @property
    def moves(self) -> bool:
        """Whether claims may name other next replicas; not where etcd may forget that they did."""
        return self.replicas > 1 and not self.placed and "restore" not in self.faults


def plan(seed: int, random: Random, replicas: int | None = None) -> Plan:
    """The plan of a seed.

    Args:
        seed: its number.
        random: to draw from.
        replicas: only clusters with this many copies.
    """
    clusters = [c for c in CLUSTERS if replicas in (None, c[1])]
    machines, copies, _ = random.choices(clusters, [c[2] for c in clusters])[0]
    faults = frozenset(kind for kind, share in SHARES.items() if random.random() < share)
    placed = machines == copies == 3 and random.random() < 0.2
    directed = not placed and copies > 1 and random.random() < 0.6
    quiet = directed and random.random() < 0.4
    rough = not quiet and random.random() < 0.85
    return Plan(
        seed=seed,
        machines=machines,
        replicas=copies,
        slots=1 if quiet else random.choice((1, 1, 1, 2, 3)),
        fault_s=random.uniform(12.0, 20.0) if placed else random.uniform(4.0, 12.0),
        lost=random.choice((0.0, 0.02, 0.1)) if rough else 0.0,
        twice=random.choice((0.0, 0.03, 0.1)) if rough else 0.0,
        late=random.choice((0.0, 0.05, 0.15)) if rough else 0.0,
        late_s=random.choice((0.1, 1.0, 2.5)),
        unknown=0.0 if quiet else random.choice((0.0, 0.2, 0.4)),
        watch_s=random.choice((0.01, 0.5, 5.0)),
        write_gap_s=random.choice((0.15, 0.4, 0.8)),
        read_gap_s=random.choice((0.2, 0.6, 1.0)),
        claim_gap_s=random.choice((1.5, 3.0, 6.0)),
        faults=frozenset() if quiet else faults,
        placed=placed,
        directed=directed,
        quiet=quiet,
        append_bytes=random.choice((200, 400, 1 << 20)),
        keep_bytes=random.choice((0, 200, 1 << 20)),
        wait_records=random.choice((0, 2, 1_000)),
    )
