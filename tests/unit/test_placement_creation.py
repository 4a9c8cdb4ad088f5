"""The first records of a jurisdiction's slots: when they are made, for which nodes, and when they wait."""

from __future__ import annotations

from homing.locations import Jurisdiction, Layout
from homing_placement.creation import Creation
from homing_placement.limits import FIRST_BOOT_PATIENCE_S, SHORT_BOOT_PATIENCE_S
from homing_placement.records import NodeRecord

LAYOUT = Layout(4, [Jurisdiction("eu", ("berlin", "paris"))])
ALL = frozenset(range(LAYOUT.count))
BOUND = 4  # the one slot of the jurisdiction


def node(name: str, zone: str) -> NodeRecord:
    return NodeRecord(id=name, address=name, disk=f"disk-{name}", incarnation=f"{name}1", zone=zone)


EU = [node("a", "berlin"), node("b", "paris"), node("c", "berlin")]
US = [node("x", "ohio"), node("y", "ohio"), node("z", "ohio")]


def made(core: Creation, nodes: list[NodeRecord], absent: frozenset[int], now: float) -> dict[int, set[str]]:
    found = core.due(nodes, absent, lambda _: True, now)
    return {slot: {replica.node for replica in record.replicas} for slot, record in found}


def creation(me: str, initial: int = 3) -> Creation:
    return Creation(me, LAYOUT.parts, 3, initial)


def test_all_slots_are_made_at_once_each_on_the_nodes_that_may_keep_it() -> None:
    found = made(creation("a", 6), [*EU, *US], ALL, 0.0)
    assert set(found) == ALL
    assert found[BOUND] == set("abc")


def test_without_a_node_of_its_zones_a_jurisdiction_waits_and_nothing_else_does() -> None:
    """Seen to fail when nodes of other zones do: its first records name them."""
    core = creation("x")
    assert set(made(core, US, ALL, 0.0)) == set(range(4))
    bound = frozenset([BOUND])
    assert made(core, US, bound, 1_000.0) == {}
    assert made(core, [*US, EU[0]], bound, 1_001.0) == {}, "others of its zones may be about to come"
    assert made(core, [*US, EU[0]], bound, 1_001.0 + SHORT_BOOT_PATIENCE_S) == {BOUND: {"a"}}


def test_three_nodes_of_its_zones_are_enough_at_once() -> None:
    """As when a cluster that has run for years gets a jurisdiction."""
    bound = frozenset([BOUND])
    assert made(creation("a"), [*US, *EU], bound, 0.0) == {BOUND: set("abc")}
    other = creation("x")
    assert made(other, [*US, *EU], bound, 0.0) == {}
    assert made(other, [*US, *EU], bound, FIRST_BOOT_PATIENCE_S) == {BOUND: set("abc")}


def test_where_just_the_first_nodes_are_there_what_there_is_of_a_zone_is_all() -> None:
    """A small cluster has one or two nodes in a zone for ever, and is not to wait for more."""
    assert made(creation("a"), [EU[0], *US[:2]], ALL, 0.0)[BOUND] == {"a"}


def test_for_the_first_nodes_of_a_cluster_all_slots_wait() -> None:
    core = creation("a")
    assert made(core, EU[:2], ALL, 0.0) == {}
    assert made(core, EU[:2], ALL, 1_000.0) == {}
    assert set(made(core, EU, ALL, 1_001.0)) == ALL
