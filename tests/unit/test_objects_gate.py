"""The output gate: rules 19 and 21."""

from __future__ import annotations

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.activation import PendingCall
from homing_node.objects.gate import OutputGate


class Bench:
    """A gate over one slot, with questions answered by hand."""

    def __init__(self) -> None:
        self.question = 0
        self.left: list[int] = []
        self.gate = OutputGate(lambda slot: self.question, lambda: 7)
        self.gate.serve(3, epoch=5, committed=10)

    def hold(self, number: int, lsn: int, *, wrote: bool) -> None:
        call = PendingCall(number, wire.Call(id=number), lambda reply: self.left.append(reply.id), 0, 0)
        self.gate.hold(3, lsn, call, wire.Reply(id=number), wrote=wrote)


def test_an_effect_of_a_turn_that_wrote_waits_for_its_commit() -> None:
    """Rule 21; seen to fail with the comparison of lsn and commit point removed from `_release` and `hold`."""
    bench = Bench()
    bench.hold(1, 11, wrote=True)
    assert bench.left == []
    bench.gate.advanced(3, 5, 10)
    assert bench.left == []
    bench.gate.advanced(3, 5, 11)
    assert bench.left == [1]


def test_an_effect_without_a_record_waits_for_the_confirmation_that_was_asked_after_it() -> None:
    """Rule 19; seen to fail with the comparison of questions removed."""
    bench = Bench()
    bench.question = 4
    bench.hold(1, 10, wrote=False)
    bench.gate.confirmed(3, 3)
    assert bench.left == []
    bench.gate.confirmed(3, 4)
    assert bench.left == [1]


def test_a_read_of_what_is_not_committed_waits_for_both() -> None:
    """A confirmation alone does not make visible what may yet be lost; seen to fail when either is left out."""
    bench = Bench()
    bench.question = 1
    bench.hold(1, 12, wrote=False)
    bench.gate.confirmed(3, 1)
    assert bench.left == []
    bench.gate.advanced(3, 5, 12)
    assert bench.left == [1]


def test_with_one_replica_a_read_leaves_at_once() -> None:
    bench = Bench()
    bench.hold(1, 10, wrote=False)
    assert bench.left == [1]


def test_effects_leave_in_the_order_in_which_they_were_emitted() -> None:
    """Seen to fail when an effect that needs nothing is let past those that wait."""
    bench = Bench()
    bench.hold(1, 11, wrote=True)
    bench.hold(2, 10, wrote=False)
    assert bench.left == []
    bench.gate.advanced(3, 5, 11)
    assert bench.left == [1, 2]


def test_a_later_write_does_not_hold_up_what_was_said_before_it() -> None:
    """Seen to fail when the gate waits for the newest record of the slot."""
    bench = Bench()
    bench.hold(1, 11, wrote=True)
    bench.hold(2, 12, wrote=True)
    bench.gate.advanced(3, 5, 11)
    assert bench.left == [1]


def test_nothing_leaves_a_slot_that_was_lost() -> None:
    """Rule 9; seen to fail when `end` leaves the slot in the table."""
    bench = Bench()
    bench.hold(1, 11, wrote=True)
    served = bench.gate.end(3, 5)
    assert served is not None
    assert [held.call.id for held in served.held] == [1]
    bench.gate.advanced(3, 5, 11)
    assert bench.left == []


def test_a_commit_of_another_epoch_opens_nothing() -> None:
    """Seen to fail with the comparison of epochs removed from `advanced`."""
    bench = Bench()
    bench.hold(1, 11, wrote=True)
    bench.gate.advanced(3, 4, 11)
    assert bench.left == []
    assert bench.gate.end(3, 4) is None


def test_a_question_that_cannot_be_put_is_never_answered() -> None:
    """The log lost the slot a moment ago: the effect is held for `end`, whatever is confirmed meanwhile."""
    bench = Bench()
    bench.question = -1
    bench.hold(1, 10, wrote=False)
    bench.gate.confirmed(3, 1 << 40)
    assert bench.left == []
