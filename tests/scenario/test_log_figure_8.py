"""The missing barrier, directed: a record of an older epoch on a majority of disks must not be called committed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from homing_node.log import limits, record
from log_cluster import SLOT, Cluster


@pytest.fixture
def one_record_each() -> Iterator[None]:
    """Each Append carries one record, so that a record can arrive without the barrier that follows it."""
    before, limits.append_bytes_max = limits.append_bytes_max, 1
    yield
    limits.append_bytes_max = before


def serve_cut_off(cluster: Cluster, name: str, epoch: int, body: str) -> None:
    """An owner comes to serve, and writes what no other node gets."""
    cluster.claim(name, epoch)
    cluster.settle()
    cluster.activate(name, epoch)
    cluster.settle()
    cluster.cut = {(a, b) for a in cluster.nodes for b in cluster.nodes if a != b and name in (a, b)}
    cluster.write(name, body)
    cluster.settle()
    cluster.cut.clear()
    cluster.network.clear()


@pytest.mark.usefixtures("one_record_each")
def test_a_record_of_an_older_epoch_commits_only_under_a_barrier() -> None:
    """Figure 8 (Ongaro and Ousterhout 2014); seen to lose a committed record with the barrier removed."""
    cluster = Cluster(["n1", "n2", "n3"])
    serve_cut_off(cluster, "n1", 1, "x")
    # n1 is away; n2 takes over with n3, and its record gets to nobody.
    cluster.cut = {("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")}
    cluster.claim("n2", 2)
    cluster.settle()
    cluster.activate("n2", 2)
    cluster.settle()
    cluster.cut |= {("n2", "n3"), ("n3", "n2")}
    cluster.write("n2", "y")
    cluster.settle()
    cluster.network.clear()
    # n1 claims with n3, and dies once what it had before is on both disks.
    cluster.cut -= {("n1", "n3"), ("n3", "n1")}
    cluster.claim("n1", 3)
    for _ in range(6):
        cluster.deliver("n3", "n1")
        cluster.sync("n1")
        if any(body_of(m) == b"x" for m in cluster.network if m[:2] == ("n1", "n3")):
            cluster.network = [m for m in cluster.network if body_of(m) in (b"x", None)]  # the barrier is lost
        cluster.deliver("n1", "n3")
        cluster.sync("n3")
        cluster.activate("n1", 3)
    cluster.crash("n1")
    # n2 and n3 are a majority. Whatever was called committed must be in their log: `Cluster` asserts it.
    cluster.cut.clear()
    cluster.claim("n2", 4)
    cluster.settle()
    cluster.activate("n2", 4)
    cluster.settle()
    cluster.write("n2", "z")
    cluster.settle()
    replica = cluster.core("n2").replica(SLOT)
    for lsn, digest in cluster.acknowledged.items():
        assert record.hash_of(replica.records[lsn]) == digest
    assert max(cluster.acknowledged) == replica.last_lsn


def body_of(message: tuple[str, str, object]) -> bytes | None:
    """The body of the only record of an Append; None for other messages."""
    records = getattr(message[2], "records", None)
    return record.decode(records[0]).body if records else None
