"""Exchanges for load over hours: nodes that count, publish, plan and carry out, until nothing changes any more."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from homing.locations import Layout
from homing_node import limits
from homing_node.replica_sets import ReplicaSets, Seen
from homing_node.slot_loads import SlotLoads
from homing_placement.planner import Member, wish
from homing_placement.records import LoadRecord, Replica

SLOTS = 96
NODES = ("a", "b", "c")
HOUR_S = 3_600.0
NOISE = 0.5  # how far a slot's rate is from its mean within a look


class Cluster:
    """Three nodes whose slots do so much in a second; time goes in steps of a mover's plan."""

    def __init__(self, seed: int) -> None:
        self.random, self.now = Random(seed), 0.0
        self.table = wish(SLOTS, [Member(node) for node in NODES], 3)
        self.rates: dict[int, float] = {}
        self.loads: dict[str, LoadRecord] = {}
        self.changes: list[int] = []  # slots whose owner changed, as often as it did
        self.away: str = ""
        self._totals = dict.fromkeys(range(SLOTS), 0.0)
        self._replicas = {node: Replica(node, "1") for node in NODES}
        self._nodes = {node: (SlotLoads(), ReplicaSets(node, 3, 600.0, Layout(SLOTS))) for node in NODES}

    def owned(self, node: str) -> list[int]:
        """Its slots, by their order."""
        return [slot for slot, nodes in enumerate(self.table) if nodes[0] == node]

    def share(self, node: str) -> float:
        """What it really does, over the mean."""
        return sum(self.rates.get(s, 0.0) for s in self.owned(node)) * len(NODES) / sum(self.rates.values())

    def restart(self, node: str, seconds: float) -> None:
        """It is away for so long; others serve what it owns, which comes back to it."""
        self.away = node
        self.loads.pop(node, None)
        self.run(seconds)
        self.away = ""
        self._nodes[node] = SlotLoads(), ReplicaSets(node, 3, 600.0, Layout(SLOTS))

    def run(self, seconds: float) -> None:
        """Time passes."""
        end = self.now + seconds
        while self.now < end:
            self.now += limits.plan_s
            for slot, rate in self.rates.items():
                noise = self.random.uniform(1 - NOISE, 1 + NOISE)
                self._totals[slot] += rate * noise * limits.plan_s
            there = [node for node in NODES if node != self.away]
            served: dict[str, dict[int, int]] = {node: {} for node in there}
            for slot, nodes in enumerate(self.table):
                server = nodes[1] if nodes[0] == self.away else nodes[0]
                served[server][slot] = int(self._totals[slot])
            for node in there:
                self._look(node, there, served[node])
            self._carry_out(there)

    def _look(self, node: str, there: list[str], totals: dict[int, int]) -> None:
        loads, sets = self._nodes[node]
        loads.sample(totals, self.now)
        if (record := loads.due(self.now)) is not None:
            self.loads[node] = record
        sets.look([Seen(each, "1", "", draining=False, ready=True) for each in there], self.now)
        sets.plan(there, self.table, self.now, dict(self.loads))

    def _carry_out(self, there: list[str]) -> None:
        for slot, nodes in enumerate(list(self.table)):
            if nodes[0] in there:
                replicas = [self._replicas[node] for node in nodes]
                found = self._nodes[nodes[0]][1].following(slot, replicas, (), busy=False)
                if found is not None and found[0].node in there:
                    self.table[slot] = [each.node for each in found]
                    self.changes.append(slot)


def even(cluster: Cluster) -> bool:
    counts = Counter(nodes[0] for nodes in cluster.table)
    return max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("rate", [30, 57, 113, 400])
def test_hot_slots_of_one_node_are_spread_in_a_quarter_of_an_hour_and_stay(rate: float) -> None:
    cluster = Cluster(1)
    cluster.rates = dict.fromkeys(range(SLOTS), 0.1) | dict.fromkeys(cluster.owned("a")[:12], rate)
    cluster.run(HOUR_S / 4)
    assert cluster.changes
    assert even(cluster)
    assert max(map(cluster.share, NODES)) <= 1.3
    before = len(cluster.changes)
    cluster.run(HOUR_S)
    assert len(cluster.changes) == before


@pytest.mark.parametrize("busy", [(20, 10, 12), (17, 15, 15), (18, 14, 16), (25, 15, 10)])
def test_what_is_hot_among_idle_slots_and_ordinary_elsewhere_does_not_move_for_ever(busy: tuple[int, ...]) -> None:
    """Seen to fail when a slot was measured by its own node's ordinary ones: they changed hands as long as it ran."""
    cluster = Cluster(1)
    for node, count in zip(NODES, busy, strict=True):
        cluster.rates |= dict.fromkeys(cluster.owned(node)[:count], 60.0)
    before = max(map(cluster.share, NODES))
    cluster.run(HOUR_S)
    settled = len(cluster.changes)
    cluster.run(HOUR_S)
    assert len(cluster.changes) == settled
    assert max(map(cluster.share, NODES)) <= max(before, 1.25)


@pytest.mark.parametrize("seconds", [10.0, 40.0, 300.0])
def test_a_node_that_restarts_gets_back_what_it_had_and_no_more(seconds: float) -> None:
    """Seen to fail when who told nothing counted as idle: it was given hot slots, which went back minutes later."""
    cluster = Cluster(1)
    for node in NODES:
        cluster.rates |= dict.fromkeys(cluster.owned(node)[:4], 100.0)
    cluster.run(HOUR_S / 4)
    assert not cluster.changes
    for node in NODES:
        cluster.restart(node, seconds)
        cluster.run(90.0)
    cluster.run(HOUR_S)
    assert not cluster.changes


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_slot_that_is_too_hot_for_any_node_does_not_drive_others_round(seed: int) -> None:
    """Seen to fail: a node that had got its slots and not yet given its own took itself for crowded, and undid that."""
    cluster, random = Cluster(seed), Random(seed)
    cluster.rates = {slot: 2 * random.paretovariate(0.8) for slot in range(SLOTS)}
    cluster.rates[random.randrange(SLOTS)] = 20_000.0
    cluster.run(HOUR_S)
    assert even(cluster)
    assert max(Counter(cluster.changes).values(), default=0) <= 2
    before = len(cluster.changes)
    cluster.run(HOUR_S)
    assert len(cluster.changes) - before <= 2
