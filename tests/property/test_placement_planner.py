"""The wish, over many clusters: balance, zones, little movement, and always the same answer."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homing_placement.planner import Member, Table, wish

SLOTS = 1_024


def members(count: int, zones: int = 1) -> list[Member]:
    return [Member(f"node-{n}", f"zone-{n % zones}") for n in range(count)]


def owners(table: Table) -> Counter[str]:
    return Counter(nodes[0] for nodes in table)


def copies(table: Table) -> Counter[str]:
    return Counter(node for nodes in table for node in nodes)


def moved(before: Table, after: Table) -> float:
    return sum(a[0] != b[0] for a, b in zip(before, after, strict=True)) / len(before)


def copied(before: Table, after: Table) -> int:
    """Copies that are made."""
    return sum(len(set(b) - set(a)) for a, b in zip(before, after, strict=True))


clusters = st.builds(
    lambda zones, ids: [Member(f"n{i}", f"z{i % zones}") for i in ids],
    st.integers(1, 5),
    st.sets(st.integers(0, 40), min_size=1, max_size=12).map(sorted),
)


@settings(max_examples=60, deadline=None)
@given(cluster=clusters, replicas=st.integers(1, 5), slots=st.sampled_from([16, 64, 256]), random=st.randoms())
def test_every_wish_is_well_formed_and_its_own_fixpoint(
    cluster: list[Member], replicas: int, slots: int, random
) -> None:
    table = wish(slots, cluster, replicas)
    zone = {member.id: member.zone for member in cluster}
    enough_zones = len(set(zone.values())) >= replicas
    for nodes in table:
        assert len(nodes) == len(set(nodes)) == min(replicas, len(cluster))
        if enough_zones:
            assert len({zone[node] for node in nodes}) == len(nodes)
    assert max(owners(table).values()) <= math.ceil(slots / len(cluster))
    assert wish(slots, cluster, replicas, table) == table
    shuffled = random.sample(cluster, len(cluster))
    assert wish(slots, shuffled, replicas) == table


@settings(max_examples=40, deadline=None)
@given(cluster=clusters, replicas=st.integers(1, 3), gone=st.integers(0, 11))
def test_a_node_that_leaves_moves_only_what_it_had(cluster: list[Member], replicas: int, gone: int) -> None:
    if len(cluster) < 2:
        return
    left = cluster[gone % len(cluster)]
    before = wish(256, cluster, replicas)
    after = wish(256, [member for member in cluster if member != left], replicas, before)
    for old, new in zip(before, after, strict=True):
        if old[0] != left.id:
            assert new[0] == old[0]
        elif len(old) > 1:
            assert new[0] != left.id
    assert max(owners(after).values()) <= math.ceil(256 / (len(cluster) - 1))


@pytest.mark.parametrize("count", [3, 4, 5, 6, 10, 20, 30])
def test_owners_are_even_and_a_new_node_moves_little_more_than_its_share(count: int) -> None:
    before = wish(SLOTS, members(count, 3), 3)
    after = wish(SLOTS, members(count + 1, 3), 3, before)
    for table, nodes in ((before, count), (after, count + 1)):
        assert max(owners(table).values()) / (SLOTS / nodes) <= 1.05
        assert len(owners(table)) == nodes
    # The last node may be left with less than a share, never the others with more.
    assert moved(before, after) <= 1.1 / (count + 1)
    assert copied(before, after) <= 1.05 * 3 * SLOTS / (count + 1), "copies that move"


@pytest.mark.parametrize("count", [3, 4, 5, 6, 10, 20, 30])
@pytest.mark.parametrize("zones", [1, 3])
def test_copies_are_even_when_a_node_comes_or_dies_and_few_move(count: int, zones: int) -> None:
    """Seen to fail when what need not move stayed: a fourth node kept 0.56 of its share, the others 1.16 of theirs."""
    before = wish(SLOTS, members(count, zones), 3)
    after = wish(SLOTS, members(count + 1, zones), 3, before)
    for table, nodes in ((before, count), (after, count + 1)):
        kept, zone = copies(table), {member.id: member.zone for member in members(nodes, zones)}
        for each in set(zone.values()):
            there = [kept[node] for node in zone if zone[node] == each]
            assert max(there) - sum(there) / len(there) <= 1, "a zone has what it must have, evenly"
        if nodes % zones == 0:
            assert max(kept.values()) / (3 * SLOTS / nodes) <= 1.05
    new = members(count + 1, zones)[-1].id
    assert copied(before, after) <= 1.3 * copies(after)[new]
    dead = [member for member in members(count + 1, zones) if member.id != "node-1"]
    last = wish(SLOTS, dead, 3, after)
    assert copied(after, last) <= 1.3 * copies(after)["node-1"]


heavy = st.builds(
    lambda zones, weights: [Member(f"n{i}", f"z{i % zones}", weight) for i, weight in enumerate(weights)],
    st.integers(1, 5),
    st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 7.0]), min_size=2, max_size=9),
)


@settings(max_examples=60, deadline=None)
@given(cluster=heavy, replicas=st.integers(1, 4), gone=st.integers(0, 8), seed=st.integers(0, 99))
def test_weights_and_uneven_zones_too_give_the_same_wish_always(
    cluster: list[Member], replicas: int, gone: int, seed: int
) -> None:
    left = [member for n, member in enumerate(cluster) if n != gone % len(cluster)]
    before = wish(64, left, replicas)
    after = wish(64, cluster, replicas, before)
    assert wish(64, random.Random(seed).sample(cluster, len(cluster)), replicas, before) == after
    assert wish(64, cluster, replicas, after) == after
    last = wish(64, left, replicas, after)
    zone = {member.id: member.zone for member in left}
    for nodes in last:
        assert len(set(nodes)) == len(nodes) == min(replicas, len(left))
        assert len(set(zone.values())) < replicas or len({zone[node] for node in nodes}) == len(nodes)


@pytest.mark.parametrize("count", [3, 6, 9])
def test_copies_are_even_and_a_dead_nodes_slots_spread_over_the_others(count: int) -> None:
    table = wish(SLOTS, members(count, 3), 3)
    assert max(copies(table).values()) / (3 * SLOTS / count) <= 1.05
    heirs = Counter(nodes[1] for nodes in table if nodes[0] == "node-0")
    others = [member.id for member in members(count, 3) if member.zone != "zone-0"]
    assert set(heirs) == set(others), "every node of another zone takes some"
    assert max(heirs.values()) <= 1.5 * owners(table)["node-0"] / len(others)


def test_growing_from_one_to_ten_and_back_stays_even() -> None:
    table: Table = []
    for count in [*range(1, 11), *range(9, 0, -1)]:
        table = wish(SLOTS, members(count, 3), 3, table)
        assert max(owners(table).values()) == math.ceil(SLOTS / count)


def test_weights_are_shares() -> None:
    cluster = [Member("small", weight=1), Member("middle", weight=2), Member("big", weight=5)]
    table = wish(SLOTS, cluster, 1)
    assert owners(table) == {"small": 128, "middle": 256, "big": 640}


def test_without_members_nobody_is_wished() -> None:
    assert wish(4, [], 3) == [[], [], [], []]


def test_a_replica_is_preferred_as_the_next_owner() -> None:
    before = wish(SLOTS, members(3), 2)
    after = wish(SLOTS, members(3)[:2], 2, before)
    heirs = [(old, new) for old, new in zip(before, after, strict=True) if old[0] == "node-2"]
    assert sum(new[0] == old[1] for old, new in heirs) / len(heirs) > 0.9
