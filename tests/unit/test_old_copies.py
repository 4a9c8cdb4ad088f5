"""Copies that a slot's set does not name any more, and when they may be deleted."""

from __future__ import annotations

import pytest

from homing_node import limits
from homing_node.old_copies import OldCopies
from homing_placement.records import Owner, Replica, SlotRecord, SlotState

ME = Replica("n1", "d1")
OTHERS = (Replica("n2", "d2"), Replica("n3", "d3"), Replica("n4", "d4"))
OUT = SlotRecord(5, SlotState.ACTIVE, Owner("n2", "i"), OTHERS)


def test_a_copy_is_due_after_a_while_and_deleted_when_the_record_still_says_so() -> None:
    """Seen to fail without the delay, and without the second reading."""
    old = OldCopies(ME)
    assert old.look([7], {7: OUT}, 0.0) == []
    assert old.look([7], {7: OUT}, limits.old_copy_s - 0.1) == []
    assert old.look([7], {7: OUT}, limits.old_copy_s) == [7]
    assert old.sure([7], {7: OUT}) == [(7, 5)]
    back = SlotRecord(6, SlotState.ACTIVE, Owner("n2", "i"), (*OTHERS[:2], ME))
    assert old.sure([7], {7: back}) == []
    assert old.sure([7], {}) == []


@pytest.mark.parametrize(
    "record",
    [
        None,
        SlotRecord(5, SlotState.ACTIVE, Owner("n2", "i"), (*OTHERS[:2], ME)),
        SlotRecord(6, SlotState.RECOVERING, Owner("n2", "i"), OTHERS, OTHERS),
        SlotRecord(6, SlotState.ACTIVE, Owner("n2", "i"), OTHERS, (*OTHERS[:2], ME)),
    ],
)
def test_what_may_be_needed_stays(record: SlotRecord | None) -> None:
    """Seen to fail without each of the conditions."""
    old = OldCopies(ME)
    old.look([7], {7: record}, 0.0)
    assert old.look([7], {7: record}, 2 * limits.old_copy_s) == []


def test_a_copy_that_was_needed_meanwhile_waits_anew() -> None:
    old = OldCopies(ME)
    back = SlotRecord(6, SlotState.ACTIVE, Owner("n2", "i"), (*OTHERS[:2], ME))
    old.look([7], {7: OUT}, 0.0)
    old.look([7], {7: back}, 30.0)
    old.look([7], {7: OUT}, 40.0)
    assert old.look([7], {7: OUT}, limits.old_copy_s) == []
    assert old.look([7], {7: OUT}, 40.0 + limits.old_copy_s) == [7]


def test_another_disk_of_this_node_is_another_replica() -> None:
    old = OldCopies(ME)
    record = SlotRecord(5, SlotState.ACTIVE, Owner("n2", "i"), (*OTHERS[:2], Replica("n1", "before")))
    old.look([7], {7: record}, 0.0)
    assert old.look([7], {7: record}, limits.old_copy_s) == [7]


def test_a_bounded_number_goes_at_once() -> None:
    old = OldCopies(ME)
    slots = list(range(1_024))
    old.look(slots, dict.fromkeys(slots, OUT), 0.0)
    assert len(old.look(slots, dict.fromkeys(slots, OUT), limits.old_copy_s)) == limits.old_copies_at_once
