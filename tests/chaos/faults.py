"""The faults of a chaos run: their kinds, a plan made from a seed, and what is kept of each that was made.

A fault counts only when it was seen to happen. A plan whose faults did not all happen is a failed run, however well the
rest went.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.network import Edge, between, one_way

STOPPED_S = 8.0
LEAD_S = 6.0
TAIL_S = 10.0
LOSS_PERCENT = (10, 20, 30)
ACKNOWLEDGED_MIN_PER_S = 5.0


class Target(Enum):
    """What a fault hits, and how."""

    NODE = "kill -9 of a node"
    OWNER = "kill -9 of the owner of the busiest object"
    GATEWAY = "kill -9 of the gateway"
    WORKER = "kill -9 of a worker"
    ETCD = "kill -9 of etcd"
    PAUSE = "SIGSTOP of a node for 8 s"
    TWO_NODES = "kill -9 of two nodes at once"
    ALL_NODES = "kill -9 of all nodes at once"
    ROLLING = "SIGTERM of one node after the other"
    FULL_DISK = "the disk of a node is full"
    WIPED = "kill -9 of a node, and its disk is lost"
    ISOLATED = "the owner cut off from all"
    HALF_ALONE = "the owner cut off from the other nodes"
    HALF_WITH_ETCD = "the owner and etcd cut off from the rest"
    HALF_LARGER = "the owner, another node and the gateway cut off from the rest"
    UNHEARD = "nobody hears the owner, it hears all"
    DEAF = "the owner hears nobody, all hear it"
    NO_ETCD = "the owner cut off from etcd"
    NO_GATEWAY = "the owner cut off from the gateway"
    LOSS = "packets are lost between all"
    DELAY = "what the owner sends arrives late"
    RATE = "what the owner sends is limited in rate"

    @property
    def is_cut(self) -> bool:
        """Whether it is made by rules in the network."""
        return self in CUTS

    @property
    def goes_on(self) -> bool:
        """Whether some calls must be answered while it lasts: the gateway and a majority of nodes see each other."""
        return self in CUTS or self in LINES or self in (Target.PAUSE, Target.ROLLING, Target.FULL_DISK)


KILLS = (Target.OWNER, Target.NODE, Target.GATEWAY, Target.WORKER, Target.ETCD)
CUTS = (
    Target.ISOLATED,
    Target.HALF_ALONE,
    Target.HALF_WITH_ETCD,
    Target.HALF_LARGER,
    Target.UNHEARD,
    Target.DEAF,
    Target.NO_ETCD,
    Target.NO_GATEWAY,
    Target.LOSS,
)
LINES = (Target.DELAY, Target.RATE)
SLOW = (Target.ROLLING, Target.FULL_DISK, Target.WIPED)
APART = (Target.OWNER, Target.GATEWAY, Target.WORKER, Target.ETCD, Target.PAUSE, Target.TWO_NODES, Target.ALL_NODES)

# How long each takes with what follows it, measured; only the spacing depends on it.
COST_S = {
    Target.GATEWAY: 4.0,
    Target.WORKER: 3.0,
    Target.ETCD: 4.0,
    Target.PAUSE: 12.0,
    Target.ROLLING: 30.0,
    Target.FULL_DISK: 30.0,
    Target.TWO_NODES: 9.0,
    Target.ALL_NODES: 9.0,
    Target.WIPED: 12.0,
}
COST_DEFAULT_S = 7.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault and its time in seconds from the start of the load."""

    at_s: float
    target: Target


@dataclass
class Fired:
    """What came of a planned fault.

    Attributes:
        at_s: when it happened, seconds from the start of the load.
        ended_s: when it was lifted, or its victim was back.
        victim: what it hit.
        in_flight: calls that waited for an answer when it happened.
        acknowledged: calls that were answered while it lasted.
        seen: what was observed of it.
        problem: why it does not count; empty when it does.
        takeover_s: per slot that lost its owner, the time to the first answer; empty for other faults.
        healed_s: per slot, the time from `ended_s` to the first answer; for faults that are lifted.
    """

    planned: Planned
    at_s: float = 0.0
    ended_s: float = 0.0
    victim: str = ""
    in_flight: int = 0
    acknowledged: int = 0
    seen: str = ""
    problem: str = ""
    takeover_s: dict[int, float] = field(default_factory=dict[int, float])
    healed_s: dict[int, float] = field(default_factory=dict[int, float])

    @property
    def acknowledged_min(self) -> float:
        """How many calls must have been answered while it lasted."""
        return ACKNOWLEDGED_MIN_PER_S * (self.ended_s - self.at_s) if self.planned.target.goes_on else 0.0


def plan(seconds: float, seed: int) -> list[Planned]:
    """Faults of processes alone: in 180 s three kills of each kind and one pause, in 60 s one of each.

    They come in random order at nearly even distances; the first kill of a node is of the owner of the busiest object.

    Args:
        seconds: length of the load.
        seed: of the order and the jitter.
    """
    rounds = max(1, round(seconds / 60))
    rng = random.Random(seed)
    targets: list[Target] = []
    for number in range(rounds):
        some = [Target.OWNER if number == 0 else Target.NODE, Target.GATEWAY, Target.WORKER, Target.ETCD]
        if number % 3 == 0:
            some.append(Target.PAUSE)
        rng.shuffle(some)
        targets.extend(some)
    distance = (seconds - LEAD_S - TAIL_S) / len(targets)
    return [Planned(LEAD_S + (number + 0.3 * rng.random()) * distance, target) for number, target in enumerate(targets)]


def plan_apart(seconds: float, seed: int) -> list[Planned]:
    """Faults of processes and of the network between them: every kind once, in random order.

    A slow kind is left out when there is no time for it, another one for another seed; time that is left over goes to
    more cuts and kills.

    Args:
        seconds: length of the load.
        seed: of the choice and the order.
    """
    rng = random.Random(seed)
    targets = [*APART, *CUTS, *LINES]
    left = seconds - LEAD_S - TAIL_S - sum(map(cost_s, targets))
    for target in (*rng.sample(SLOW, len(SLOW)), *rng.choices((*CUTS, *KILLS), k=int(seconds))):
        if cost_s(target) <= left:
            left -= cost_s(target)
            targets.append(target)
    rng.shuffle(targets)
    stretch = (seconds - LEAD_S - TAIL_S) / sum(map(cost_s, targets))
    found: list[Planned] = []
    at_s = LEAD_S
    for target in targets:
        found.append(Planned(at_s, target))
        at_s += cost_s(target) * stretch
    return found


def cost_s(target: Target) -> float:
    """About how long a fault takes, until the cluster is at rest again."""
    return COST_S.get(target, COST_DEFAULT_S)


def missing_kinds(planned: Sequence[Planned], fired: Sequence[Fired]) -> list[str]:
    """Kinds of fault that happened less often than they were planned."""
    wanted = [one.target for one in planned]
    good = [fault.planned.target for fault in fired if not fault.problem]
    return [
        f"{kind.value}: {good.count(kind)} of {wanted.count(kind)}"
        for kind in Target
        if good.count(kind) < wanted.count(kind)
    ]


def edges_of(target: Target, victim: str, nodes: Collection[str]) -> frozenset[Edge]:
    """Who does not hear whom under a cut.

    Args:
        target: one of `CUTS`.
        victim: the node it is about.
        nodes: all nodes.
    """
    others = sorted(set(nodes) - {victim})
    all_others = [*others, "etcd", "gateway"]
    near, far = others[: len(others) // 2], others[len(others) // 2 :]
    cuts = {
        Target.ISOLATED: lambda: between([victim], all_others),
        Target.HALF_ALONE: lambda: between([victim], others),
        Target.HALF_WITH_ETCD: lambda: between([victim, "etcd"], [*others, "gateway"]),
        Target.HALF_LARGER: lambda: between([victim, *near, "gateway"], [*far, "etcd"]),
        Target.UNHEARD: lambda: one_way([victim], all_others),
        Target.DEAF: lambda: one_way(all_others, [victim]),
        Target.NO_ETCD: lambda: between([victim], ["etcd"]),
        Target.NO_GATEWAY: lambda: between([victim], ["gateway"]),
        Target.LOSS: lambda: between([victim, *all_others], [victim, *all_others]),
    }
    return cuts[target]()
