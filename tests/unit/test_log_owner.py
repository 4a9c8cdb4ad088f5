"""An owner at the edges of its limits: how much it sends ahead, how long it waits, and that requests beget no storm."""

from __future__ import annotations

import pytest

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.effects import Lost
from log_cluster import SLOT, Cluster

NAMES = ["n1", "n2", "n3"]


@pytest.fixture
def cluster() -> Cluster:
    """n1 serves in epoch 1."""
    made = Cluster(NAMES)
    made.claim("n1", 1)
    made.settle()
    made.activate("n1", 1)
    made.settle()
    return made


def appends(cluster: Cluster, to: str) -> list[wire.Append]:
    return [m for source, target, m in cluster.network if (source, target) == ("n1", to) and isinstance(m, wire.Append)]


def restrict(monkeypatch: pytest.MonkeyPatch, *, records: int, ahead: int, size: int) -> None:
    monkeypatch.setattr(limits, "append_bytes_max", records * size)
    monkeypatch.setattr(limits, "append_ahead_bytes_max", ahead * size)


def record_bytes(cluster: Cluster) -> int:
    """The size of a record with the body that these tests write."""
    cluster.write("n1", "0")
    size = len(cluster.core("n1").replica(SLOT).records[2])
    cluster.settle()
    return size


def test_a_backlog_travels_in_pieces_of_the_limit(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    size = record_bytes(cluster)
    cluster.crash("n3")
    for number in range(7):
        cluster.write("n1", str(number))
    cluster.settle()
    restrict(monkeypatch, records=3, ahead=100, size=size)
    cluster.start("n3")
    cluster.settle()
    assert cluster.core("n3").replica(SLOT).last_lsn == 9
    pieces = [line.split(": ")[1].split(";")[0].split() for line in cluster.lines if line.startswith("n1 > n3  Append")]
    assert max(map(len, pieces)) == 3


def test_no_more_than_the_limit_is_sent_ahead(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail with the bound removed from `_replicate`."""
    size = record_bytes(cluster)
    restrict(monkeypatch, records=1, ahead=4, size=size)
    for number in range(9):
        cluster.write("n1", str(number))
    assert len(appends(cluster, "n2")) == 4
    cluster.settle()
    assert cluster.core("n2").replica(SLOT).last_lsn == 11


def test_a_record_over_the_limit_of_an_append_travels_alone(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    restrict(monkeypatch, records=1, ahead=1, size=1)
    cluster.write("n1", "large")
    cluster.settle()
    assert cluster.core("n3").replica(SLOT).last_lsn == 2


def test_requests_of_appends_that_arrive_in_the_wrong_order_beget_no_storm(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail when every request is served: each of them begot as many Appends as were on their way."""
    size = record_bytes(cluster)
    restrict(monkeypatch, records=1, ahead=100, size=size)
    for number in range(20):
        cluster.write("n1", str(number))
    sent = 0
    for _ in range(30):
        cluster.network.reverse()
        sent += len(appends(cluster, "n2"))
        cluster.deliver()
        for name in NAMES:
            cluster.sync(name)
    assert sent < 100


def test_to_another_disk_of_a_member_nothing_is_sent(cluster: Cluster) -> None:
    """Rule 17; seen to fail with `_counts` saying yes to every linked node: it was asked again without end."""
    cluster.write("n1", "a")
    cluster.settle()
    cluster.crash("n2")
    cluster.wipe("n2")
    cluster.start("n2")
    cluster.write("n1", "b")
    cluster.tick(limits.resend_s + 0.1)
    assert appends(cluster, "n2") == []
    cluster.settle()
    assert cluster.core("n1").replica(SLOT).commit == 3


def test_without_a_majority_the_slot_stops_after_the_limit(cluster: Cluster) -> None:
    """Rule 9."""
    cluster.cut = {(a, b) for a in NAMES for b in NAMES if a != b}
    cluster.write("n1", "a")
    cluster.tick(limits.majority_s)
    assert cluster.core("n1").serving(SLOT) == 1
    cluster.tick(limits.owner_tick_s)
    assert cluster.core("n1").serving(SLOT) == 0
    assert cluster.lines[-1].startswith("n1 ! lost epoch 1")


def test_a_question_without_a_majority_stops_the_slot_after_the_limit(cluster: Cluster) -> None:
    cluster.cut = {(a, b) for a in NAMES for b in NAMES if a != b}
    cluster.ask("n1")
    cluster.tick(limits.majority_s)
    assert cluster.core("n1").serving(SLOT) == 1
    cluster.tick(limits.owner_tick_s)
    assert cluster.core("n1").serving(SLOT) == 0


def test_what_got_lost_is_sent_again_after_the_limit(cluster: Cluster) -> None:
    cluster.write("n1", "a")
    cluster.network.clear()
    cluster.tick(limits.resend_s - 0.1)
    assert appends(cluster, "n2") == []
    cluster.tick(limits.owner_tick_s + 0.1)
    assert len(appends(cluster, "n2")) == 1


def test_a_claim_over_an_older_ownership_of_the_same_node_ends_it_aloud(cluster: Cluster) -> None:
    """Rule 25: who runs activations of the old epoch must hear; seen to fail when `claim` only forgets it."""
    core = cluster.core("n1")
    core.claim(SLOT, 2, cluster.members, cluster.members, cluster.now)
    news = core.drain(cluster.now).news
    assert [(item.epoch, item.promised) for item in news if isinstance(item, Lost)] == [(1, 2)]


def test_an_owner_on_a_disk_that_the_set_does_not_name_gives_up(cluster: Cluster) -> None:
    """Rule 17; seen to fail with the check of its own disk removed from `begin`."""
    cluster.crash("n2")
    cluster.wipe("n2")
    cluster.start("n2")
    cluster.claim("n2", 2)
    assert cluster.lines[-1].startswith("n2 ! lost epoch 2")
    assert not [m for source, _, m in cluster.network if source == "n2" and isinstance(m, wire.Seal)]
