"""How hot slots are: what is published, when, and when the exchanges that follow are wanted."""

from __future__ import annotations

import itertools

from homing.locations import Layout
from homing_node import limits
from homing_node.replica_sets import ReplicaSets, Seen
from homing_node.slot_loads import SlotLoads, Swaps
from homing_placement.records import LoadRecord, Replica

SETS = [["a", "b"], ["a", "b"], ["b", "a"], ["b", "a"]]
HOT = {0: 16, 1: 16}
MEMBERS = frozenset("ab")


class Node:
    """A node whose slots do so much in a second."""

    def __init__(self, *slots: int) -> None:
        self.loads, self.now, self.totals = SlotLoads(), 0.0, dict.fromkeys(slots, 0)
        self.published: list[tuple[float, LoadRecord]] = []

    def run(self, seconds: float, rates: dict[int, int]) -> None:
        """Time passes; looks are as often as the mover's."""
        end = self.now + seconds
        while self.now < end:
            self.now += limits.plan_s
            for slot, rate in rates.items():
                self.totals[slot] += int(rate * limits.plan_s)
            self.loads.sample(self.totals, self.now)
            if (found := self.loads.due(self.now)) is not None:
                self.published.append((self.now, found))


def test_idle_and_even_nodes_publish_once_that_nothing_is_hot() -> None:
    for rate, usual in ((0, 0), (1, 0), (100, 7)):
        node = Node(*range(8))
        node.run(1_000, dict.fromkeys(range(8), rate))
        assert [found for _, found in node.published] == [LoadRecord((), usual)]
        assert node.published[0][0] > limits.load_publish_s, "before, what it has just got is not counted"
    node = Node(*range(8))
    node.run(1_000, {3: 10})
    assert [found for _, found in node.published] == [LoadRecord()], "what is little everywhere is no load"


def test_a_hot_slot_is_published_once_and_again_when_it_has_changed_much() -> None:
    """Seen to fail without the slack: between two buckets it was written every minute."""
    node = Node(*range(8))
    node.run(1_000, {**dict.fromkeys(range(8), 10), 3: 160})
    assert [found for _, found in node.published] == [LoadRecord(((3, 7),), 3)]
    assert node.published[0][0] >= limits.load_known_s
    node.run(600, {**dict.fromkeys(range(8), 10), 3: 200})
    assert len(node.published) == 1
    node.run(3_000, {**dict.fromkeys(range(8), 10), 3: 1_300})
    times = [at for at, _ in node.published]
    assert all(b - a >= limits.load_publish_s for a, b in itertools.pairwise(times))
    assert node.published[-1][1] == LoadRecord(((3, 10),), 3)
    node.run(3_000, dict.fromkeys(range(8), 10))
    assert node.published[-1][1] == LoadRecord((), 3)


def test_only_the_hottest_are_published() -> None:
    node = Node(*range(1_000))
    node.run(100, {slot: 100 + slot for slot in range(100)})
    assert len(node.published[0][1].slots) == limits.load_slots_max


def test_a_slot_that_has_gone_is_told_until_its_new_owner_knows_it() -> None:
    """Seen to fail without: for half a minute it weighed as little as any other, and others moved."""
    node = Node(*range(8))
    node.run(100, {3: 160})
    assert dict(node.published[-1][1].slots).keys() == {3}
    del node.totals[3]
    node.run(limits.load_lost_s - limits.plan_s, {})
    assert len(node.published) == 1
    node.run(2 * limits.load_publish_s, {})
    assert node.published[-1][1] == LoadRecord()


def test_a_plan_is_made_of_facts_that_have_rested_and_outlives_that_others_carry_it_out() -> None:
    """Seen to fail when it is carried out at once: the owner of the light slots saw that it was done, and kept them."""
    found, rest = Swaps(), limits.load_settle_s
    found.look(SETS, MEMBERS, HOT, 0.0)
    found.look(SETS, MEMBERS, {**HOT, 1: 8}, rest)
    assert not found.owner_of(0, 3 * rest), "the facts have changed"
    found.look(SETS, MEMBERS, {**HOT, 1: 8}, 2 * rest)
    assert not found.owner_of(0, 3 * rest - 0.1), "others may not have planned yet"
    assert found.owner_of(0, 3 * rest) == "b"
    assert found.owner_of(2, 3 * rest) == "a"
    found.look([["b", "a"], *SETS[1:]], MEMBERS, HOT, 3 * rest)
    assert found.owner_of(2, 3 * rest) == "a"
    found.look(SETS, MEMBERS, HOT, 2 * rest + limits.load_patience_s)
    assert not found.owner_of(0, 4 * rest + limits.load_patience_s)


def test_a_plan_ends_with_the_load_or_the_members_that_it_was_for() -> None:
    for members, hot in ((frozenset("abc"), HOT), (MEMBERS, {})):
        found, rest = Swaps(), limits.load_settle_s
        for now in (0.0, rest):
            found.look(SETS, MEMBERS, HOT, now)
        found.look(SETS, members, hot, 2 * rest)
        assert not found.owner_of(0, 2 * rest)


def test_only_the_order_changes_and_only_the_owner_changes_it() -> None:
    disks = {"a": "1", "b": "2"}
    for me, slot, expected in (("a", 0, "b"), ("b", 2, "a"), ("b", 0, None), ("a", 2, None), ("a", 1, None)):
        sets = ReplicaSets(me, 2, 600.0, Layout(len(SETS)))
        for now in (0.0, limits.load_settle_s, 2 * limits.load_settle_s):
            sets.look([Seen(node, disk, "", draining=False, ready=True) for node, disk in disks.items()], now)
            sets.plan(disks, SETS, now, {"a": LoadRecord(((0, 4), (1, 4))), "b": LoadRecord()})
        replicas = tuple(Replica(node, disks[node]) for node in SETS[slot])
        found = sets.following(slot, replicas, (), busy=False)
        assert sets.following(slot, replicas, (), busy=True) is None
        assert (found and found[0].node) == expected
        assert found is None or set(found) == set(replicas)
