"""Trimming, and snapshots for replicas that lack what was trimmed: what is sent, what counts, what a crash leaves."""

from __future__ import annotations

import pytest

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits, record
from homing_node.log.effects import Lost
from homing_node.log.memory_store import MemoryStore
from log_cluster import OBJECTS, SLOT, Cluster

NAMES = ["n1", "n2", "n3"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """n1 serves in epoch 1; nothing below the pages is kept when it need not be."""
    monkeypatch.setattr(limits, "trim_keep_bytes", 0)
    made = Cluster(NAMES)
    made.claim("n1", 1)
    made.settle()
    made.activate("n1", 1)
    made.settle()
    return made


def write(cluster: Cluster, *bodies: str) -> None:
    for body in bodies:
        cluster.write("n1", body)
        cluster.settle()


def apply_everywhere(cluster: Cluster, *names: str) -> None:
    """Pages of these nodes up to their commit points, and everybody hears of it."""
    cluster.tick(limits.commit_notice_s + 0.1)
    cluster.settle()
    for name in names:
        cluster.apply(name)
    cluster.settle()


def trimmed(cluster: Cluster, name: str) -> int:
    return cluster.core(name).replica(SLOT).kept.trimmed


def leave_behind(cluster: Cluster, name: str) -> None:
    """A node is down while the others write and trim what it lacks."""
    cluster.crash(name)
    others = [each for each in NAMES if each != name]
    write(cluster, "b", "c")
    apply_everywhere(cluster, *others)
    write(cluster, "d")
    apply_everywhere(cluster, *others)
    write(cluster, "e")
    assert trimmed(cluster, "n1") >= 3


def same_everywhere(cluster: Cluster) -> None:
    cluster.tick(limits.commit_notice_s + 0.1)
    cluster.settle()
    last = {name: cluster.core(name).replica(SLOT).last_hash for name in NAMES}
    assert len(set(last.values())) == 1, last


def pages_are_of(cluster: Cluster, name: str) -> int:
    """Every object of a node is as of its applied point; returns that."""
    store = cluster.nodes[name].store
    image = store.load()[SLOT]
    held = {store.object(object_id) for object_id in OBJECTS}
    assert len(held) == 1
    data = held.pop()
    assert data is not None
    assert record.hash_of(data) == image.applied_hash
    return image.applied_lsn


def test_records_go_when_pages_of_a_majority_have_them(cluster: Cluster) -> None:
    """Seen to fail when a node trims as soon as its own pages have them."""
    write(cluster, "a", "b")
    apply_everywhere(cluster, "n1")
    write(cluster, "c")
    assert trimmed(cluster, "n1") == 0
    apply_everywhere(cluster, "n2")
    write(cluster, "d", "e")
    assert trimmed(cluster, "n1") == 3
    assert cluster.nodes["n1"].store.records(SLOT, 1, 10) == []
    apply_everywhere(cluster, *NAMES)
    write(cluster, "f")
    apply_everywhere(cluster, *NAMES)
    assert trimmed(cluster, "n2") >= 3, "what it applied at once goes at once"
    assert trimmed(cluster, "n3") >= 3
    assert all(trimmed(cluster, name) <= cluster.core(name).replica(SLOT).base_lsn for name in NAMES)


def test_young_records_are_kept(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "trim_keep_bytes", 1 << 20)
    write(cluster, "a", "b")
    apply_everywhere(cluster, *NAMES)
    write(cluster, "c")
    assert trimmed(cluster, "n1") == 0


def test_a_replica_that_is_there_and_lacks_little_holds_trimming_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.cut |= {("n1", "n3")}
    write(cluster, "a", "b")
    apply_everywhere(cluster, "n1", "n2")
    write(cluster, "c")
    assert trimmed(cluster, "n1") == 0
    monkeypatch.setattr(limits, "trim_wait_records_max", 1)
    apply_everywhere(cluster, "n1", "n2")
    write(cluster, "d")
    assert trimmed(cluster, "n1") >= 3


def test_who_lacks_what_was_trimmed_gets_a_snapshot(cluster: Cluster) -> None:
    write(cluster, "a")
    leave_behind(cluster, "n3")
    cluster.start("n3")
    cluster.settle()
    sent = [line for line in cluster.lines if line.startswith("n1 > n3  Snapshot ")]
    assert len(sent) == 1 + len(OBJECTS), "an empty part, and then one object in each"
    assert pages_are_of(cluster, "n3") == pages_are_of(cluster, "n1")
    same_everywhere(cluster)
    write(cluster, "f")
    assert cluster.core("n3").replica(SLOT).healthy


def test_a_new_disk_that_joins_gets_a_snapshot(cluster: Cluster) -> None:
    write(cluster, "a")
    leave_behind(cluster, "n3")
    cluster.wipe("n3")
    cluster.start("n3")
    cluster.claim("n1", 2, [*cluster.members[:2], ("n3", "disk-n3'")])
    cluster.settle()
    cluster.activate("n1", 2)
    cluster.settle()
    assert pages_are_of(cluster, "n3") == pages_are_of(cluster, "n1")
    same_everywhere(cluster)


def test_who_may_have_forgotten_promises_joins_only_above_what_the_record_said(cluster: Cluster) -> None:
    """It may have promised a higher epoch, and lost that; who claimed this one may be overtaken, and not know it.

    Seen to fail without: such an owner filled it, had its majority again, and answered beside the next owner.
    """
    everybody = cluster.members
    for epoch, members in ((2, everybody[:2]), (3, everybody)):
        cluster.cut = {("n1", "n3")} if epoch == 3 else set()
        cluster.claim("n1", epoch, members)
        cluster.settle()
        cluster.activate("n1", epoch)
        cluster.settle()
    cluster.crash("n3")
    cluster.cut = set()
    cluster.start("n3", trusted=False)
    write(cluster, "a")
    assert not cluster.core("n3").replica(SLOT).healthy
    assert not cluster.core("n3").replica(SLOT).incomplete, "what it has stays as it is"
    assert cluster.core("n1").distrusted(SLOT) == {"n3"}
    for epoch, members in ((4, everybody[:2]), (5, everybody)):
        cluster.claim("n1", epoch, members)
        cluster.settle()
        cluster.activate("n1", epoch)
        cluster.settle()
    write(cluster, "b")
    same_everywhere(cluster)
    assert cluster.core("n3").replica(SLOT).healthy


def test_what_a_slot_s_record_said_holds_also_where_the_slot_is_first_heard_of_later(cluster: Cluster) -> None:
    """A new store in the place of a lost one has nothing of the slot at start.

    Seen to fail without: it could never join, and the set lost it and took it back for ever.
    """
    write(cluster, "a")
    cluster.crash("n3")
    cluster.nodes["n3"].store = MemoryStore("disk-n3'")
    cluster.start("n3", trusted=False)
    new = ("n3", "disk-n3'")
    for epoch, members in (
        (2, [*cluster.members[:2], new]),
        (3, cluster.members[:2]),
        (4, [*cluster.members[:2], new]),
    ):
        cluster.claim("n1", epoch, members)
        cluster.settle()
        cluster.activate("n1", epoch)
        cluster.settle()
    write(cluster, "b")
    assert cluster.core("n1").distrusted(SLOT) == set()
    assert cluster.core("n3").replica(SLOT).healthy


def test_data_counts_for_nothing_until_its_snapshot_is_whole(cluster: Cluster) -> None:
    """Seen to fail when it stays healthy from the first part on: it would confirm records that it does not have."""
    write(cluster, "a")
    leave_behind(cluster, "n3")
    cluster.start("n3")
    for _ in range(40):
        cluster.deliver()
        cluster.sync("n1")
        cluster.sync("n2")
        cluster.sync("n3")
        replica = cluster.core("n3").replica(SLOT)
        if replica.incomplete:
            assert not replica.healthy
            assert replica.sealed(9).last_lsn == 0
    assert not replica.incomplete
    assert replica.healthy


def part_way(cluster: Cluster) -> None:
    """n3 has the first part of a snapshot on disk, and no more."""
    write(cluster, "a")
    leave_behind(cluster, "n3")
    cluster.start("n3")
    while not cluster.core("n3").replica(SLOT).incomplete:
        cluster.deliver()
        cluster.sync("n1")
    cluster.sync("n3")


def test_after_a_crash_in_the_middle_it_still_counts_for_nothing_and_begins_anew(cluster: Cluster) -> None:
    """Seen to fail when the store does not remember that the slot is incomplete."""
    part_way(cluster)
    cluster.crash("n3")
    cluster.start("n3")
    replica = cluster.core("n3").replica(SLOT)
    assert replica.incomplete
    assert not replica.healthy
    cluster.settle()
    cluster.tick(limits.snapshot_resend_s + 0.1)
    cluster.settle()
    assert pages_are_of(cluster, "n3") == pages_are_of(cluster, "n1")
    same_everywhere(cluster)


def test_its_promise_counts_meanwhile(cluster: Cluster) -> None:
    """Seen to fail without: n2 is lost, n3 is incomplete, and n1, which has everything, could never serve again."""
    part_way(cluster)
    cluster.crash("n2")
    cluster.crash("n1")
    cluster.start("n1")
    cluster.claim("n1", 2)
    cluster.settle()
    cluster.activate("n1", 2)
    assert cluster.core("n1").serving(SLOT) == 2
    write(cluster, "f")
    assert cluster.core("n3").replica(SLOT).last_hash == cluster.core("n1").replica(SLOT).last_hash


def test_who_has_the_base_already_drops_nothing(cluster: Cluster) -> None:
    """Seen to fail without the comparison: what it and one other confirmed above would be lost with the other."""
    write(cluster, "a", "b")
    replica = cluster.core("n3").replica(SLOT)
    replica.commit = 1  # it has more, and does not know that it is committed
    owner = cluster.core("n1").owners[SLOT]
    position = cluster.core("n1").replica(SLOT).hash_at(2)
    assert position is not None
    m = wire.Snapshot(slot=SLOT, epoch=1, claimant=owner.claimant, base_lsn=2, base_epoch=1, base_hash=position[1])
    cluster.core("n3").receive("n1", m, cluster.now)
    answer = cluster.core("n3").drain(cluster.now).sends[-1][1]
    assert isinstance(answer, wire.Snapshotted)
    assert answer.whole
    assert (replica.last_lsn, replica.commit, replica.healthy) == (3, 2, True)


def test_pages_stand_still_while_they_are_read(cluster: Cluster) -> None:
    """Seen to fail without the pin: the parts would be of different moments."""
    part_way(cluster)
    base = cluster.core("n1").replica(SLOT).base_lsn
    cluster.write("n1", "f")
    cluster.deliver("n1", "n2")
    cluster.sync("n1")
    cluster.sync("n2")
    cluster.deliver("n2", "n1")
    cluster.apply("n1")
    assert cluster.core("n1").replica(SLOT).base_lsn == base
    cluster.settle()
    assert pages_are_of(cluster, "n3") == base
    same_everywhere(cluster)
    apply_everywhere(cluster, "n1")
    assert cluster.core("n1").replica(SLOT).base_lsn > base, "and then they move on"


def test_a_snapshot_that_is_not_answered_is_given_up(cluster: Cluster) -> None:
    """Seen to fail without the patience: the slot's records would gather in memory for ever."""
    part_way(cluster)
    cluster.cut |= {("n1", "n3"), ("n3", "n1")}
    cluster.settle()
    assert cluster.core("n1").replica(SLOT).pins == 1
    for _ in range(2):
        cluster.tick(limits.snapshot_patience_s + 0.1)
        cluster.settle()
    assert cluster.core("n1").replica(SLOT).pins == 0
    cluster.cut.clear()
    for _ in range(4):
        cluster.tick(limits.snapshot_pause_s)
        cluster.settle()
    same_everywhere(cluster)


def test_parts_that_come_twice_or_late_change_nothing(cluster: Cluster) -> None:
    part_way(cluster)
    again = [m for m in cluster.network if m[:2] == ("n1", "n3")]
    cluster.network += again
    cluster.settle()
    cluster.network += again
    write(cluster, "f")
    cluster.network += again
    cluster.settle()
    same_everywhere(cluster)
    assert cluster.core("n3").replica(SLOT).healthy


def test_a_replica_in_the_set_with_damaged_data_gets_no_snapshot(cluster: Cluster) -> None:
    """Rule 17; seen to fail when only the owner's word counts. It leaves the set first, and joins again."""
    write(cluster, "a")
    leave_behind(cluster, "n3")
    cluster.start("n3")
    cluster.core("n3").damaged(SLOT, "a block of it cannot be read", noted=True)
    for _ in range(3):
        cluster.tick(limits.resend_s + 0.1)
        cluster.settle()
    assert not cluster.core("n3").replica(SLOT).healthy
    assert cluster.core("n1").distrusted(SLOT) == {"n3"}
    everybody, rest = list(cluster.members), cluster.members[:2]
    for epoch, members in ((2, rest), (3, everybody)):
        cluster.claim("n1", epoch, members)
        cluster.settle()
        cluster.activate("n1", epoch)
        cluster.settle()
    assert cluster.core("n3").replica(SLOT).healthy
    same_everywhere(cluster)
    cluster.crash("n3")
    cluster.start("n3", trusted=False)
    assert cluster.core("n3").replica(SLOT).healthy, "what came with the snapshot can be trusted"


def test_who_lacks_what_nobody_keeps_leaves_the_slot_to_who_has_it(cluster: Cluster) -> None:
    """Seen to fail when it tries to fetch: it would ask for ever for records that are gone."""
    write(cluster, "a")
    leave_behind(cluster, "n3")
    cluster.crash("n1")
    cluster.start("n3")
    cluster.claim("n3", 2)
    for _ in range(10):  # it could go on for ever
        cluster.deliver()
        cluster.sync("n2")
        cluster.sync("n3")
    assert any(line.startswith("n3 x n2  Offer") for line in cluster.lines)
    assert not cluster.core("n3").owners
    cluster.claim("n2", 3)
    cluster.settle()
    cluster.activate("n2", 3)
    cluster.settle()
    assert cluster.core("n3").replica(SLOT).last_hash == cluster.core("n2").replica(SLOT).last_hash


def test_a_copy_that_is_kept_no_more_goes_and_may_come_back(cluster: Cluster) -> None:
    """Seen to fail when a copy with a higher promise is deleted: its slot's next set may name it."""
    write(cluster, "a")
    apply_everywhere(cluster, *NAMES)
    everybody = list(cluster.members)
    cluster.claim("n1", 2, cluster.members[:2])
    cluster.settle()
    cluster.activate("n1", 2)
    cluster.settle()
    core = cluster.core("n3")
    assert core.held() == [SLOT]
    core.forget(SLOT, 0)
    assert core.held() == [SLOT]
    assert core.replica(SLOT).healthy, "it has promised more than the record says"
    core.forget(SLOT, 2)
    cluster.tick(0.0)
    cluster.settle()
    promised = core.replica(SLOT).promised
    assert cluster.nodes["n3"].store.part(SLOT, b"", 1).objects == []
    cluster.crash("n3")
    cluster.start("n3")
    assert cluster.core("n3").replica(SLOT).promised == promised > 0, "the promise stays"
    cluster.claim("n1", 3, everybody)
    cluster.settle()
    cluster.activate("n1", 3)
    cluster.settle()
    same_everywhere(cluster)
    assert cluster.core("n3").replica(SLOT).healthy


def test_an_owner_that_loses_the_slot_lets_its_pages_go(cluster: Cluster) -> None:
    part_way(cluster)
    assert cluster.core("n1").replica(SLOT).pins == 1
    cluster.core("n1").resign(SLOT, "test")
    assert cluster.core("n1").replica(SLOT).pins == 0
    assert any(isinstance(news, Lost) for news in cluster.core("n1").drain(cluster.now).news)
