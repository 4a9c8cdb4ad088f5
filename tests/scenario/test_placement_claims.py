"""Stories of a cluster's claims, played by the real core in a world of its own (`claims_world`)."""

from __future__ import annotations

import pytest

from claims_world import World
from homing_placement import events as ev
from homing_placement.limits import RECOVERY_PATIENCE_S, SLOT_WRITES_PER_TXN_MAX
from homing_placement.records import SlotState

NAMES = ["a", "b", "c"]


def cluster(names: list[str] = NAMES, *, slots: int = 64, replicas: int = 3, initial: int = 3, seed: int = 0) -> World:
    world = World(slots=slots, replicas=replicas, initial=initial, seed=seed)
    for name in names:
        world.start(name)
    world.run_until(world.served)
    return world


def test_first_boot_takes_a_handful_of_transactions_and_under_two_seconds() -> None:
    world = World(slots=1_024)
    for name in NAMES:
        world.start(name)
    assert world.run_until(world.served) < 2
    creations, rest = 1_024 // SLOT_WRITES_PER_TXN_MAX, 3 * (1_024 // 3 // SLOT_WRITES_PER_TXN_MAX + 1)
    # Activations come in smaller groups: logs are ready one by one.
    claims = sum(1 for _, _, record in world.history if record.state is SlotState.RECOVERING)
    assert claims == 1_024, "nobody claimed what another had"
    assert world.transactions <= creations + rest + 60
    assert max(world.owners().values()) <= 342
    assert min(world.owners().values()) >= 340


def test_first_boot_waits_for_the_nodes_that_it_was_told_of() -> None:
    world = World(initial=3)
    world.start("a")
    world.start("b")
    world.run(20)
    assert not world.records
    world.start("c")
    assert world.run_until(world.served) < 2


def test_first_boot_goes_on_when_its_first_node_dies_in_the_middle() -> None:
    world = World(slots=1_024)
    for name in NAMES:
        world.start(name)
    world.run_until(lambda: len(world.records) > 0)
    world.kill("a")
    world.start("d")
    world.run_until(world.served)


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_node_is_replaced_in_well_under_five_seconds(seed: int) -> None:
    world = cluster(slots=256, seed=seed)
    world.kill("b")
    assert world.run_until(world.served) < 1.5
    assert world.owners()["b"] == 0
    # Its slots go to both others, and each slot was claimed once.
    assert min(world.owners()[name] for name in "ac") > 85
    assert max(record.epoch for record, _ in world.records.values()) == 2


def test_a_paused_node_is_replaced_too_and_learns_it_when_it_resumes() -> None:
    world = cluster()
    world.nodes["b"].paused = True
    assert world.run_until(lambda: world.owners().total() - world.owners()["b"] == 64) < 4
    world.resume("b")
    world.run(1)
    assert world.nodes["b"].held == {}
    assert world.owners()["b"] == 0


def test_a_node_that_only_lost_its_lease_keeps_everything() -> None:
    """Seen to break without the probe of the owner: with `_gone` true for a node that is not registered."""
    world = cluster()
    before = dict(world.records)
    for name in NAMES:
        world.unregister(name)
    world.run(60)
    for name in NAMES:
        world.register(name)
    world.run(20)
    assert world.records == before
    assert world.served()


def test_a_restarted_node_owns_nothing_until_it_claims_anew() -> None:
    """Rule 2. Seen to break when a record that names the node counts for every incarnation of it."""
    world = cluster()
    mine = {slot for slot, (record, _) in world.records.items() if record.owner and record.owner.node == "a"}
    world.kill("a", link_breaks=False)
    world.start("a")
    assert world.run_until(world.served) < 2
    for slot in mine:
        record = world.records[slot][0]
        assert record.epoch == 2
        assert record.owner is not None
        assert record.owner.incarnation != "a#1"
    # First in wish order, so it takes them back itself.
    assert all(world.nodes["a"].held.get(slot) == 2 for slot in mine)


def test_others_see_that_a_restarted_node_owns_nothing() -> None:
    """Rule 2. Seen to break when `_gone` does not compare incarnations: the new process answers every probe."""
    world = cluster()
    world.kill("a", link_breaks=False)
    world.tell(world.start("a"), ev.MayClaim(False))
    assert world.run_until(world.served) < 5
    assert world.owners()["a"] == 0


def test_a_whole_cluster_that_restarts_is_balanced_again() -> None:
    world = cluster(slots=256)
    for name in NAMES:
        world.kill(name)
    for name in NAMES:
        world.unregister(name)
    world.run(30)
    world.start("a")
    world.run(1.2)
    world.start("b")
    world.run(0.7)
    world.start("c")
    world.run_until(world.served)
    assert max(world.owners().values()) <= 86, "who comes first leaves the others their time"


def test_with_one_node_of_three_nobody_claims_and_two_are_enough() -> None:
    """Seen to break with `reach_majority` always true."""
    world = cluster()
    world.kill("a")
    world.kill("b")
    before = dict(world.records)
    world.run(60)
    assert world.records == before
    world.start("a")
    assert world.run_until(world.served) < 6


def test_a_claimant_that_hangs_loses_its_slots_after_its_time() -> None:
    world = cluster(slots=16)
    world.recovery_s = None
    world.kill("c")
    world.run_until(lambda: all(record.owner and record.owner.node != "c" for record, _ in world.records.values()))
    first = {slot: world.records[slot][0] for slot in range(16) if world.records[slot][0].epoch == 2}
    world.run(RECOVERY_PATIENCE_S - 0.1)
    assert {slot: world.records[slot][0] for slot in first} == first, "a living claimant keeps it for 2 s"
    world.recovery_s = 0.05
    assert world.run_until(world.served) < 5
    assert all(world.records[slot][0].epoch == 3 for slot in first)


def test_nodes_do_not_take_slots_from_each_other_for_ever() -> None:
    """Recovery takes 9 s, far above the patience. Seen to break with a patience that does not grow."""
    world = cluster(slots=16)
    world.recovery_s = 9.0
    world.kill("c")
    world.run_until(world.served, 120)
    assert max(record.epoch for record, _ in world.records.values()) <= 6


def test_a_fenced_slot_is_claimed_above_the_promise() -> None:
    world = cluster(slots=16)
    node = world.nodes["a"]
    slot = next(iter(node.held))
    node.active.pop(slot)
    world.tell(node, ev.Fenced(slot, 40))
    assert world.run_until(world.served) < 2
    record = world.records[slot][0]
    assert record.epoch == 41
    assert record.owner == node.record.owner


def test_a_fenced_slot_that_another_has_claimed_is_left_alone() -> None:
    world = cluster(slots=16)
    node = world.nodes["a"]
    slot = next(iter(node.held))
    record, revision = world.records[slot]
    taken = record.claimed_by(world.nodes["b"].record.owner)
    # The watch has not told it yet: only the read that follows the fencing does.
    world.records[slot] = (taken, revision + 1)
    world.revision += 1
    world.tell(node, ev.Fenced(slot, taken.epoch))
    world.run(0.5)
    assert slot not in node.held
    assert world.records[slot][0].owner == world.nodes["b"].record.owner


def test_a_node_that_may_not_claim_leaves_it_to_the_next() -> None:
    world = cluster()
    world.tell(world.nodes["a"], ev.MayClaim(False))
    world.kill("c")
    # The others see no difference between a node that is slow and one that will not: they wait for their turn.
    assert world.run_until(world.served) < 5
    assert world.owners()["b"] > world.owners()["a"]


def test_a_replica_with_a_new_disk_neither_claims_nor_counts() -> None:
    """Rule 17. Seen to break when replicas are compared by node id only."""
    world = cluster()
    world.kill("a")
    world.run_until(world.served)
    world.start("a", disk="new")
    world.run(5)
    world.kill("b")
    before = {slot: fact for slot, fact in world.records.items() if fact[0].owner and fact[0].owner.node == "b"}
    world.run(20)
    assert {slot: world.records[slot] for slot in before} == before, "one copy of three is no majority"


def test_with_one_copy_only_the_node_with_the_disk_claims() -> None:
    world = cluster(replicas=1)
    world.kill("a")
    world.run(60)
    assert world.owners()["a"] == 0
    assert world.owners().total() < 64
    world.start("a")
    assert world.run_until(world.served) < 2


def test_while_etcd_is_away_living_owners_are_left_alone_and_then_the_dead_are_replaced() -> None:
    world = cluster()
    before = dict(world.records)
    world.etcd_up = False
    world.run(10)
    world.kill("b")
    world.run(20)
    assert world.records == before
    assert world.owners().total() == 64 - sum(record.owner.node == "b" for record, _ in before.values() if record.owner)
    world.etcd_up = True
    assert world.run_until(world.served) < 6


def test_a_refused_batch_goes_on_without_what_was_lost() -> None:
    """Of 64 slots in one claim another node was faster in one: the other 63 must not wait."""
    world = cluster(["a", "b"], replicas=2, initial=2, slots=128)
    world.start("c")
    world.kill("b", link_breaks=False)
    core = world.nodes["a"].core
    victim = next(slot for slot, (record, _) in world.records.items() if record.owner and record.owner.node == "b")
    record, _ = world.records[victim]
    world.revision += 1
    world.records[victim] = (record.claimed_by(world.nodes["b"].record.owner, above=10), world.revision)
    world.tell(world.nodes["a"], ev.Suspect("b"))
    # Two copies: a majority is both, so b must answer. It does, as another incarnation.
    world.start("b")
    world.run_until(world.served)
    core.check()
    assert world.records[victim][0].epoch >= 12


@pytest.mark.parametrize("count", [5, 7])
def test_five_copies_bear_two_deaths(count: int) -> None:
    names = [chr(ord("a") + n) for n in range(count)]
    world = cluster(names, replicas=5, initial=count)
    world.kill(names[0])
    world.kill(names[1])
    assert world.run_until(world.served) < 3
