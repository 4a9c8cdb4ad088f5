"""What a chaos run is told to do: plans, who is cut off from whom, and the words for `ip` and nftables."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from tests.chaos.faults import (
    APART,
    CUTS,
    LEAD_S,
    LINES,
    SLOW,
    STOPPED_S,
    Fired,
    Planned,
    Target,
    edges_of,
    missing_kinds,
    plan,
    plan_apart,
)
from tests.chaos.network import Cut, Edge, Network, between, one_way, ruleset, topology

from homing_placement.limits import LEASE_TTL_S, WATCH_SILENCE_MAX_S

THREE = ("n1", "n2", "n3")
FIVE = (*THREE, "n4", "n5")


def hear_each_other(one: str, other: str, lost: frozenset[Edge]) -> bool:
    return (one, other) not in lost and (other, one) not in lost


@pytest.mark.parametrize("nodes", [THREE, FIVE])
@pytest.mark.parametrize("victim", THREE)
@pytest.mark.parametrize("target", [cut for cut in CUTS if cut is not Target.LOSS])
def test_under_every_cut_a_majority_and_the_gateway_go_on(target: Target, victim: str, nodes: tuple[str, ...]) -> None:
    """So calls must be answered meanwhile. Seen to fail with the gateway on the smaller side of `HALF_WITH_ETCD`."""
    assert target.goes_on
    lost = edges_of(target, victim, nodes)
    assert lost
    assert all(victim in edge or target in (Target.HALF_WITH_ETCD, Target.HALF_LARGER) for edge in lost)
    assert any(
        all(hear_each_other(one, other, lost) for one, other in combinations(side, 2))
        and all(hear_each_other(node, "gateway", lost) for node in side)
        for side in combinations(nodes, len(nodes) // 2 + 1)
    )


@pytest.mark.parametrize("target", CUTS)
def test_clients_always_reach_the_gateway(target: Target) -> None:
    lost = edges_of(target, "n2", THREE)
    assert {member for edge in lost for member in edge} <= {*THREE, "etcd", "gateway"}


def test_the_halves_have_etcd_on_either_side() -> None:
    with_etcd = edges_of(Target.HALF_WITH_ETCD, "n2", THREE)
    assert with_etcd == between(["n2", "etcd"], ["n1", "n3", "gateway"])
    larger = edges_of(Target.HALF_LARGER, "n2", THREE)
    assert larger == between(["n2", "n1", "gateway"], ["n3", "etcd"])
    assert edges_of(Target.HALF_LARGER, "n2", FIVE) == between(["n2", "n1", "n3", "gateway"], ["n4", "n5", "etcd"])


def test_one_way_is_the_half_of_both_ways() -> None:
    deaf, unheard = edges_of(Target.DEAF, "n1", THREE), edges_of(Target.UNHEARD, "n1", THREE)
    assert ("n2", "n1") in deaf
    assert ("n1", "n2") in unheard
    assert not deaf & unheard
    assert deaf | unheard == edges_of(Target.ISOLATED, "n1", THREE)
    assert one_way(["a", "b"], ["a", "b"]) == {("a", "b"), ("b", "a")}


def test_a_cut_is_a_table_at_each_receiver() -> None:
    assert Cut("cut1", one_way(["a", "b"], ["c", "d"])).receivers == ["c", "d"]
    assert ruleset("cut1", ["10.0.0.2", "10.0.0.1"]) == (
        "table inet cut1 {\n"
        "  counter dropped { }\n"
        "  chain input {\n"
        "    type filter hook input priority -10; policy accept;\n"
        "    ip saddr { 10.0.0.1, 10.0.0.2 } counter name dropped drop\n"
        "  }\n"
        "}\n"
    )
    assert "ip saddr { 10.0.0.1 } numgen random mod 100 < 20 counter" in ruleset("cut2", ["10.0.0.1"], 20)


def test_nothing_is_made_outside_of_the_networks() -> None:
    """In the machine's own namespace only others are added; wires are made in the switch's."""
    network = Network(["n1", "etcd"])
    batches = topology(network.namespaces, network.addresses)
    outside = [line for where, lines in batches if where is None for line in lines]
    assert sorted(outside) == sorted(f"netns add {name}" for name in network.namespaces.values())
    assert all(network.id in name for name in network.namespaces.values())
    switch = dict(batches)[network.namespaces["switch"]]
    assert f"link add name n1 type veth peer name eth0 netns {network.namespaces['n1']}" in switch
    assert "address add 10.77.0.2/24 dev eth0" in dict(batches)[network.namespaces["etcd"]]


@pytest.mark.parametrize("seed", range(30))
def test_three_minutes_have_every_kind(seed: int) -> None:
    planned = plan_apart(180, seed)
    kinds = Counter(one.target for one in planned)
    assert all(kinds[target] for target in (*APART, *CUTS, *LINES))
    assert any(kinds[target] for target in SLOW)
    times = [one.at_s for one in planned]
    assert times == sorted(times)
    assert times[0] == LEAD_S
    assert times[-1] < 175
    assert planned == plan_apart(180, seed) != plan_apart(180, seed + 1)


def test_a_round_of_a_soak_has_the_slow_kinds_too() -> None:
    kinds = Counter(one.target for one in plan_apart(300, 1))
    assert set(kinds) >= {*APART, *CUTS, *LINES, *SLOW}


def test_a_pause_is_longer_than_every_lease() -> None:
    assert max(LEASE_TTL_S, WATCH_SILENCE_MAX_S) < STOPPED_S


def test_a_fault_that_did_not_happen_is_missed() -> None:
    planned = [Planned(1.0, Target.DEAF), Planned(2.0, Target.DEAF), Planned(3.0, Target.WORKER)]
    fired = [Fired(one) for one in planned]
    assert missing_kinds(planned, fired) == []
    fired[0].problem = "the cut does not do what it should"
    assert missing_kinds(planned, fired) == ["the owner hears nobody, all hear it: 1 of 2"]
    assert missing_kinds(plan(60, 1), []) != []


def test_a_fault_under_which_calls_go_on_needs_answers() -> None:
    assert Fired(Planned(0.0, Target.NO_ETCD), at_s=1.0, ended_s=5.0).acknowledged_min == 20
    assert Fired(Planned(0.0, Target.ALL_NODES), at_s=1.0, ended_s=5.0).acknowledged_min == 0
