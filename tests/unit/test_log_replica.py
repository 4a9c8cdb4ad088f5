"""One replica of a slot's log, by itself: what it does when it must not go on, and where its edges are."""

from __future__ import annotations

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import record
from homing_node.log.effects import Halted, Outbox
from homing_node.log.invariants import check_replica
from homing_node.log.replica import Replica
from homing_node.log.store import CutRecords, PutRecord, SetPromise, SlotImage


def chain(*epochs: int, after: tuple[int, bytes] = (0, record.NO_HASH), body: bytes = b"x") -> list[bytes]:
    """Records of these epochs, one after the other."""
    lsn, digest = after
    found: list[bytes] = []
    for epoch in epochs:
        lsn += 1
        found.append(record.encode(record.TURN, epoch, lsn, 0, digest, record.NO_OBJECT, body))
        digest = record.hash_of(found[-1])
    return found


class Bench:
    """A replica, its disk played by hand."""

    def __init__(self, image: SlotImage | None = None) -> None:
        self.out = Outbox()
        self.replica = Replica(0, image or SlotImage(), self.out, lambda slot, lsn, limit: [])

    def append(
        self, epoch: int, records: list[bytes], *, prev: list[bytes] | None = None, commit: int = 0, claimant: str = "i"
    ) -> None:
        """An Append of these records after `prev`."""
        prev_lsn, prev_epoch, prev_hash = 0, 0, record.NO_HASH
        if prev:
            (prev_epoch, prev_lsn), prev_hash = record.position(prev[-1]), record.hash_of(prev[-1])
        self.replica.on_append(
            "owner",
            wire.Append(
                slot=0, epoch=epoch, claimant=claimant, prev_lsn=prev_lsn, prev_epoch=prev_epoch, prev_hash=prev_hash,
                records=records, commit=commit,
            ),
        )  # fmt: skip
        check_replica(self.replica)

    def fsync(self) -> None:
        """Everything asked for is on disk."""
        self.out.writes.clear()
        self.replica.written(self.replica.seq)
        check_replica(self.replica)

    def said(self) -> list[wire.Appended]:
        """The answers since the last time."""
        sends, self.out.sends = self.out.sends, []
        return [message for _, message in sends if isinstance(message, wire.Appended)]

    def halted(self) -> bool:
        return any(isinstance(news, Halted) for news in self.out.news)


def test_an_append_is_answered_when_it_is_on_disk_and_not_before() -> None:
    bench = Bench()
    bench.append(1, chain(1, 1))
    assert bench.said() == []
    bench.fsync()
    assert [(m.outcome, m.lsn) for m in bench.said()] == [(wire.APPEND_OUTCOME_OK, 2)]


def test_a_repeated_append_waits_for_the_first() -> None:
    """Seen to fail when only what wrote waits."""
    bench = Bench()
    bench.append(1, chain(1, 1))
    bench.append(1, chain(1, 1))
    assert bench.said() == []
    bench.fsync()
    assert [m.lsn for m in bench.said()] == [2, 2]


def test_a_late_append_shrinks_nothing() -> None:
    bench = Bench()
    bench.append(1, chain(1, 1, 1))
    bench.fsync()
    bench.append(1, chain(1))
    assert bench.replica.last_lsn == 3
    assert [m.lsn for m in bench.said()] == [3, 1]


def test_what_differs_is_cut_from_the_first_difference() -> None:
    bench = Bench()
    old = chain(1, 1, 1)
    bench.append(1, old)
    bench.fsync()
    new = old[:1] + chain(2, 2, after=(1, record.hash_of(old[0])))
    bench.append(2, new)
    assert [op for op in bench.out.writes if isinstance(op, CutRecords)] == [CutRecords(0, 2)]
    assert [op.lsn for op in bench.out.writes if isinstance(op, PutRecord)] == [2, 3]
    assert bench.replica.durable_lsn == 1
    bench.fsync()
    assert bench.replica.durable_lsn == 3


def test_what_was_cut_on_its_way_to_the_disk_does_not_count_when_it_gets_there() -> None:
    """Seen to fail when `_cut` leaves the held writes as they are."""
    bench = Bench()
    old = chain(1, 1, 1)
    bench.append(1, old)
    first = bench.replica.seq
    bench.append(2, chain(2, after=(1, record.hash_of(old[0]))), prev=old[:1])
    bench.replica.written(first)
    assert bench.replica.durable_lsn == 1
    bench.fsync()
    assert bench.replica.durable_lsn == 2


def test_a_cut_at_or_below_the_commit_point_stops_the_slot() -> None:
    """Rule 5; seen to fail with the comparison of the commit point removed from `_cut`."""
    bench = Bench()
    old = chain(1, 1, 1)
    bench.append(1, old, commit=2)
    bench.fsync()
    bench.append(2, chain(2, 2, after=(1, record.hash_of(old[0]))), prev=old[:1])
    assert bench.halted()
    assert bench.replica.last_lsn == 3
    bench.said()
    bench.append(3, chain(3, after=(3, record.hash_of(old[2]))), prev=old)
    assert [m.outcome for m in bench.said()] == [wire.APPEND_OUTCOME_DISTRUSTED]


def test_a_different_record_below_the_commit_point_stops_the_slot() -> None:
    bench = Bench()
    bench.append(1, chain(1, 1, 1), commit=3)
    bench.fsync()
    bench.append(2, [], prev=chain(1, 2))
    assert bench.halted()


def test_the_commit_point_covers_only_what_the_message_proved() -> None:
    bench = Bench()
    old = chain(1, 1, 1)
    bench.append(1, old)
    bench.append(2, [], prev=old[:1], commit=3)
    assert bench.replica.commit == 1


def test_a_gap_is_asked_for() -> None:
    bench = Bench()
    whole = chain(1, 1, 1)
    bench.append(1, whole[:1])
    bench.append(1, whole[2:], prev=whole[:2])
    bench.fsync()
    assert [(m.outcome, m.lsn) for m in bench.said()][1] == (wire.APPEND_OUTCOME_NEED, 2)


def test_a_lower_epoch_is_fenced_and_told_the_promise() -> None:
    bench = Bench()
    bench.replica.on_seal("claimant", wire.Seal(slot=0, epoch=5, claimant="i"))
    bench.fsync()
    bench.append(4, chain(4))
    assert [(m.outcome, m.promised) for m in bench.said()] == [(wire.APPEND_OUTCOME_FENCED, 5)]
    assert bench.replica.last_lsn == 0


def test_an_epoch_belongs_to_one_incarnation() -> None:
    bench = Bench()
    bench.append(1, chain(1), claimant="first")
    bench.fsync()
    bench.said()
    bench.append(1, chain(1), claimant="second")
    bench.replica.on_seal("claimant", wire.Seal(slot=0, epoch=1, claimant="second"))
    assert [m.outcome for m in bench.said()] == [wire.APPEND_OUTCOME_FENCED]


def test_a_damaged_record_is_not_taken_and_what_came_before_it_waits_for_the_disk() -> None:
    """Seen to fail when an append that ends early does not count its writes: the repetition was answered at once."""
    bench = Bench()
    good, bad = chain(1, 1)
    bench.append(1, [good, bad[:-1] + bytes([bad[-1] ^ 1])])
    assert bench.halted()
    bench.append(1, [good])
    assert bench.said() == []
    bench.fsync()
    assert [m.lsn for m in bench.said()] == [1]


def test_a_promise_that_came_with_an_append_in_vain_waits_for_the_disk_too() -> None:
    bench = Bench()
    bad = chain(2)[0][:-1] + b"?"
    bench.append(2, [bad])
    assert SetPromise(0, 2, "i") in bench.out.writes
    bench.replica.on_seal("owner", wire.Seal(slot=0, epoch=2, claimant="i"))
    assert bench.out.sends == []
    bench.fsync()
    assert [type(m) for _, m in bench.out.sends] == [wire.Sealed]


def test_a_log_that_is_damaged_on_disk_never_counts() -> None:
    """Rule 17: the process starts, and this slot takes no part."""
    good, bad, never = chain(1, 1, 1)
    image = SlotImage(promised=1, claimant="i", records=[good, bad[:-1] + bytes([bad[-1] ^ 1]), never])
    bench = Bench(image)
    assert not bench.replica.healthy
    assert bench.replica.last_lsn == 1
    bench.replica.on_seal("claimant", wire.Seal(slot=0, epoch=2, claimant="j"))
    bench.fsync()
    sealed = bench.out.sends[0][1]
    assert isinstance(sealed, wire.Sealed)
    assert not sealed.healthy


def test_pages_may_take_what_is_committed_and_on_disk() -> None:
    bench = Bench()
    bench.append(1, chain(1, 1, 1), commit=2)
    assert bench.replica.applicable() == []
    bench.fsync()
    assert [record.position(data)[1] for data in bench.replica.applicable()] == [1, 2]
    bench.replica.applied(2)
    check_replica(bench.replica)
    assert bench.replica.applicable() == []
    assert list(bench.replica.records) == [3]
