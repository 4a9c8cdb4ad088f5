"""Comparing the pages of a slot's replicas: what is compared, who is told that it differs, and what comes of that."""

from __future__ import annotations

import pytest

from homing_node.log import limits
from homing_node.log.effects import PagesCompared
from homing_node.log.store import PutObject, PutPages
from log_cluster import OBJECTS, SLOT, Cluster

NAMES = ["n1", "n2", "n3"]


@pytest.fixture
def cluster() -> Cluster:
    """n1 serves in epoch 1; three records are committed everywhere, and pages hold the barrier at most."""
    made = Cluster(NAMES)
    made.claim("n1", 1)
    made.settle()
    made.activate("n1", 1)
    made.settle()
    for body in "ab":
        made.write("n1", body)
        made.settle()
    return made


def bring_pages(cluster: Cluster) -> None:
    """Every node's pages go as far as they may."""
    for name in NAMES:
        if cluster.nodes[name].core is not None:
            cluster.apply(name)
    cluster.settle()


def spoil(cluster: Cluster, name: str) -> None:
    """Something changed a page where no checksum tells."""
    cluster.nodes[name].store.write([PutPages(OBJECTS[0], {1: b"x" * 1_024}, 1)])


def compare(cluster: Cluster) -> PagesCompared:
    before = len(cluster.compared)
    cluster.compare("n1")
    cluster.settle()
    bring_pages(cluster)
    assert len(cluster.compared) == before + 1
    return cluster.compared[-1]


def standing_still(cluster: Cluster) -> list[str]:
    return [n for n in NAMES if (r := cluster.core(n).replica(SLOT)).pins or r.stop_at]


def test_all_replicas_come_to_the_same_record_and_hold_the_same(cluster: Cluster) -> None:
    """Pages of n2 were behind, and it did not know of the last commit."""
    cluster.apply("n1")
    news = compare(cluster)
    assert (news.lsn, news.equal, news.differing, news.silent) == (3, ("n1", "n2", "n3"), (), ())
    assert not standing_still(cluster)


def test_pages_stop_at_the_record_at_which_they_are_compared(cluster: Cluster) -> None:
    """Seen to fail, with a difference that is none, when pages go on to the commit point."""
    cluster.compare("n1")  # at record 3: n1 has it, the others hear of it
    cluster.write("n1", "c")
    cluster.settle()
    assert cluster.core("n1").replica(SLOT).commit == 4
    bring_pages(cluster)
    bring_pages(cluster)
    assert cluster.compared[-1].lsn == 3
    assert cluster.compared[-1].differing == ()
    bring_pages(cluster)
    assert cluster.core("n1").replica(SLOT).base_lsn == 4


def test_a_replica_that_differs_counts_no_more_and_is_made_anew(cluster: Cluster) -> None:
    """It leaves the set and joins it again; its promise was never in doubt. Seen to fail when it is not told."""
    compare(cluster)
    spoil(cluster, "n3")
    news = compare(cluster)
    assert (news.equal, news.differing) == (("n1", "n2"), ("n3",))
    assert not cluster.core("n3").replica(SLOT).healthy
    assert cluster.core("n1").distrusted(SLOT) == {"n3"}
    everybody = cluster.members
    for epoch, members in ((2, everybody[:2]), (3, everybody)):
        cluster.claim("n1", epoch, members)
        cluster.settle()
        cluster.activate("n1", epoch)
        cluster.settle()
    cluster.write("n1", "d")
    cluster.settle()
    assert cluster.core("n3").replica(SLOT).healthy
    assert compare(cluster).equal == ("n1", "n2", "n3")


def test_a_damaged_replica_is_never_one_that_could_take_the_slot(cluster: Cluster) -> None:
    """Where it is first in wish order, the owner tried for ever to give it the slot, and never took it out of the set.
    Seen to fail when only what it confirmed before is asked for."""
    compare(cluster)
    assert cluster.core("n1").lag_of(SLOT, "n3") == 0
    spoil(cluster, "n3")
    compare(cluster)
    assert cluster.core("n1").lag_of(SLOT, "n3") is None
    assert cluster.core("n1").lag_of(SLOT, "n2") == 0


def test_the_difference_is_remembered_over_a_restart(cluster: Cluster) -> None:
    """Seen to fail when only the process knows."""
    compare(cluster)
    spoil(cluster, "n3")
    compare(cluster)
    cluster.crash("n3")
    cluster.start("n3")
    assert not cluster.core("n3").replica(SLOT).healthy


def test_an_owner_that_differs_leaves_the_slot_to_the_majority(cluster: Cluster) -> None:
    """Seen to fail when only the others are told."""
    compare(cluster)
    spoil(cluster, "n1")
    news = compare(cluster)
    assert (news.equal, news.differing) == (("n2", "n3"), ("n1",))
    assert not cluster.core("n1").serving(SLOT)
    assert any("differ from those of a majority" in line for line in cluster.lines)
    cluster.claim("n1", 2)
    cluster.settle()
    assert not cluster.core("n1").serving(SLOT)


def test_without_a_majority_that_agrees_nobody_is_told(cluster: Cluster) -> None:
    """One of two that are there is wrong, and nobody knows which. Seen to fail when the first is right."""
    compare(cluster)
    cluster.crash("n2")
    spoil(cluster, "n3")
    cluster.write("n1", "c")
    cluster.settle()
    news = compare(cluster)
    assert len(news.equal) == len(news.differing) == 1
    assert news.silent == ("n2",)
    assert cluster.core("n1").serving(SLOT)
    assert cluster.core("n3").replica(SLOT).healthy


def test_who_does_not_answer_is_passed_over(cluster: Cluster) -> None:
    """Its pages stand still no longer than the owner waits."""
    cluster.cut = {("n1", "n3"), ("n3", "n1")}
    cluster.compare("n1")
    cluster.settle()
    bring_pages(cluster)
    assert not cluster.compared
    cluster.tick(limits.compare_patience_s + 1)
    cluster.tick(limits.owner_tick_s)
    news = cluster.compared[-1]
    assert (news.equal, news.differing, news.silent) == (("n1", "n2"), (), ("n3",))
    assert not standing_still(cluster)


def test_a_replica_that_cannot_come_to_the_record_goes_on_after_a_while(cluster: Cluster) -> None:
    """The owner dies right after it asked; the next one has another log above the commit point."""
    cluster.compare("n1")
    cluster.deliver("n1")
    cluster.crash("n1")
    cluster.tick(limits.compare_patience_s + 1)
    assert [n for n in ("n2", "n3") if cluster.core(n).replica(SLOT).stop_at] == []


def test_a_damaged_replica_says_so(cluster: Cluster) -> None:
    """An idle slot has no other message by which its owner could learn that."""
    bring_pages(cluster)
    cluster.core("n2").damaged(SLOT, "a block of it cannot be read", noted=True)
    news = compare(cluster)
    assert news.differing == ("n2",)
    assert cluster.core("n1").distrusted(SLOT) == {"n2"}


def test_another_comparison_of_the_slot_joins_the_one_that_runs(cluster: Cluster) -> None:
    cluster.compare("n1")
    cluster.compare("n1")
    cluster.settle()
    bring_pages(cluster)
    assert len(cluster.compared) == 1


def test_a_slot_that_is_lost_is_not_judged(cluster: Cluster) -> None:
    cluster.compare("n1")
    cluster.core("n1").resign(SLOT, "another has it")
    cluster.settle()
    bring_pages(cluster)
    assert not cluster.compared


def test_a_snapshot_is_compared_when_all_of_it_is_on_disk(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without: the last part was on its way to the disk, so the pages seemed to differ."""
    monkeypatch.setattr(limits, "trim_keep_bytes", 0)
    cluster.crash("n3")
    for body in "cd":
        cluster.write("n1", body)
        cluster.settle()
        cluster.tick(limits.commit_notice_s + 0.1)
        cluster.settle()
        cluster.apply("n1")
        cluster.apply("n2")
        cluster.settle()
    cluster.start("n3")
    cluster.tick(limits.commit_notice_s + 0.1)
    replica = cluster.core("n3").replica(SLOT)
    while not replica.base_lsn:
        cluster.deliver()
        cluster.sync("n1")
        if not replica.base_lsn:
            cluster.sync("n3")
    cluster.compare("n1")
    cluster.deliver("n1", "n3")
    assert not replica.pins
    cluster.settle()
    bring_pages(cluster)
    assert cluster.compared[-1].equal == ("n1", "n2", "n3")


def test_a_changed_object_without_pages_is_found(cluster: Cluster) -> None:
    """What a slot knows of an object beside its pages counts, too."""
    compare(cluster)
    cluster.nodes["n2"].store.write([PutObject(OBJECTS[1], b"other")])
    assert compare(cluster).differing == ("n2",)
