"""Jurisdictions bind slots to zones, over many clusters: nothing of theirs is elsewhere, and all others lie as ever."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from homing.locations import Jurisdiction, Layout
from homing_node import limits
from homing_node.replica_sets import ReplicaSets, Seen
from homing_placement.planner import Member, Table, wish, wish_of_part
from homing_placement.records import Replica

SLOTS = 64
ZONES = ("a", "b", "c", "d")

jurisdictions = st.lists(
    st.sets(st.sampled_from(ZONES), min_size=1, max_size=3).map(lambda zones: tuple(sorted(zones))), max_size=4
).map(lambda found: [Jurisdiction(f"j{number}", zones) for number, zones in enumerate(found)])
layouts = jurisdictions.map(lambda found: Layout(SLOTS, found))
small_layouts = jurisdictions.map(lambda found: Layout(16, found))
clusters = st.lists(st.sampled_from((*ZONES, "")), min_size=1, max_size=7).map(
    lambda zones: [Member(f"n{number}", zone) for number, zone in enumerate(zones)]
)
copies = st.sampled_from([1, 3, 5])


def planned(layout: Layout, cluster: list[Member], replicas: int, current: Table | None = None) -> Table:
    parts = [
        wish_of_part(part, cluster, replicas, current[part.first : part.slots.stop] if current else ())
        for part in layout.parts
    ]
    return [nodes for part in parts for nodes in part]


@given(layouts, clusters, clusters, copies)
def test_slots_of_a_jurisdiction_are_on_nodes_of_its_zones_and_of_no_other(
    layout: Layout, before: list[Member], after: list[Member], replicas: int
) -> None:
    """Whatever held before. Seen to fail when every node is admitted, and when only the first copies are looked at."""
    table = planned(layout, before, replicas)
    for cluster, found in ((before, table), (after, planned(layout, after, replicas, table))):
        zone = {member.id: member.zone for member in cluster}
        assert len(found) == layout.count
        for part in layout.parts:
            there = [member.id for member in cluster if part.admits(member.zone)]
            for nodes in found[part.first : part.slots.stop]:
                assert len(nodes) == len(set(nodes)) == min(replicas, len(there)), "nobody else will do"
                assert all(part.admits(zone[node]) for node in nodes)


@given(layouts, clusters, copies)
def test_all_other_slots_lie_as_if_there_were_no_jurisdictions(
    layout: Layout, cluster: list[Member], replicas: int
) -> None:
    """So a cluster may get them when it has run for years. Seen to fail when shares are of all slots together."""
    before = wish(SLOTS, cluster, replicas)
    assert planned(layout, cluster, replicas)[:SLOTS] == before
    grown = before + [[] for _ in range(layout.count - SLOTS)]
    assert planned(layout, cluster, replicas, grown)[:SLOTS] == wish(SLOTS, cluster, replicas, before)


@given(layouts, clusters, copies)
def test_a_jurisdictions_owners_are_even_over_its_nodes_and_the_plan_stands(
    layout: Layout, cluster: list[Member], replicas: int
) -> None:
    table = planned(layout, cluster, replicas)
    assert planned(layout, cluster, replicas, table) == table
    assert planned(layout, cluster[::-1], replicas) == table, "all nodes plan the same"
    for part in layout.parts:
        there = sum(part.admits(member.zone) for member in cluster)
        owners = Counter(nodes[0] for nodes in table[part.first : part.slots.stop] if nodes)
        assert max(owners.values(), default=0) <= -(-part.count // max(there, 1))


steps = st.lists(
    st.tuples(st.sampled_from(["go", "come", "drain", "stay"]), st.integers(0, 6), st.sampled_from([1.0, 700.0])),
    max_size=12,
)


@settings(max_examples=60)
@given(small_layouts, st.lists(st.sampled_from(ZONES), min_size=3, max_size=7), steps)
def test_no_step_of_any_owner_leads_out_of_the_zones(
    layout: Layout, zones: list[str], steps: list[tuple[str, int, float]]
) -> None:
    """Nodes come, go and drain in any order, for a moment and for long; each owner takes its own slots a step on.

    Seen to fail when the members of a part are all nodes.
    """
    cluster = [Member(f"n{number}", zone) for number, zone in enumerate(zones)]
    zone = {member.id: member.zone for member in cluster}
    sets = {member.id: ReplicaSets(member.id, 3, 600.0, layout) for member in cluster}
    table = [[Replica(node, "disk") for node in nodes] for nodes in planned(layout, cluster, 3)]
    there, draining, now = {member.id for member in cluster}, set[str](), 0.0
    for what, number, seconds in [("stay", 0, 20.0), *steps]:
        node = cluster[number % len(cluster)].id
        {"go": there.discard, "come": there.add, "drain": draining.add, "stay": draining.discard}[what](node)
        for _ in range(3):
            now += max(seconds, limits.settle_s)
            seen = [Seen(each, "disk", zone[each], each in draining, each not in draining) for each in sorted(there)]
            for each in there:
                sets[each].look(seen, now)
                sets[each].plan(there, [[replica.node for replica in nodes] for nodes in table], now)
            for slot, nodes in enumerate(table):
                owner = next((replica.node for replica in nodes if replica.node in there), None)
                found = sets[owner].following(slot, nodes, (), busy=False) if owner is not None else None
                if found is not None:
                    table[slot] = list(found)
                    part = layout.parts[layout.number_of(slot)]
                    assert all(part.admits(zone[replica.node]) for replica in found), (slot, part, found)
