"""What must hold in every log between two events; tests and the simulator ask after each one."""

from __future__ import annotations

from homing_node.log import record
from homing_node.log.owner import Owner, Stage
from homing_node.log.replica import Replica


def check_replica(replica: Replica) -> None:
    """Assert the invariants of one replica."""
    assert replica.base_lsn <= replica.commit <= replica.last_lsn, repr(replica)
    assert replica.durable_lsn <= replica.last_lsn, repr(replica)
    assert replica.durable_seq <= replica.seq, repr(replica)
    assert len(replica.records) == replica.last_lsn - replica.base_lsn, repr(replica)
    assert replica.bytes == sum(map(len, replica.records.values())), repr(replica)
    digest = replica.base_hash
    epoch = replica.base_epoch
    for lsn in range(replica.base_lsn + 1, replica.last_lsn + 1):
        data = replica.records[lsn]
        before, (epoch, at) = epoch, record.position(data)
        assert at == lsn, repr(replica)
        assert before <= epoch, repr(replica)
        assert record.prev_hash_of(data) == digest, repr(replica)
        digest = record.hash_of(data)
    assert (epoch, digest) == (replica.last_epoch, replica.last_hash), repr(replica)
    assert epoch <= replica.promised or not replica.healthy, repr(replica)


def check_owner(owner: Owner) -> None:
    """Assert the invariants of one ownership."""
    for follower in owner.followers.values():
        assert follower.match <= follower.sent, repr(follower)
    if owner.stage is Stage.ACTIVE:
        assert owner.replica.promised >= owner.epoch
        for lsn in range(max(owner.barrier_lsn, owner.replica.base_lsn + 1), owner.replica.last_lsn + 1):
            assert owner.replica.promised > owner.epoch or (
                record.position(owner.replica.records[lsn])[0] == owner.epoch
            )
