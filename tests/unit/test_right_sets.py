"""Slots that are known to be right are looked at again in time, and never all at once."""

from __future__ import annotations

from homing_node import limits
from homing_node.right_sets import RightSets
from homing_placement.records import SlotRecord, SlotState

SLOTS = 1_024


def test_every_slot_is_doubted_in_time_and_few_at_once() -> None:
    """Broken by: no doubt (a replica that is distrusted stays), by one for all at once (7 ms of a node's time)."""
    right, record = RightSets(), SlotRecord(1, SlotState.ACTIVE, "a", (), ())
    for slot in range(SLOTS):
        right.add(slot, record)
    doubted: dict[int, float] = {}
    steps = round(limits.plan_s / limits.look_s)
    for step in range(1, 10 * steps + 1):
        now = 100 + step * limits.look_s / 10  # while a slot moves, a node looks more often
        before = set(right.records)
        right.doubt(now)
        gone = before - set(right.records)
        assert len(gone) <= SLOTS / steps + 1
        for slot in gone:
            doubted.setdefault(slot, now)
            right.add(slot, record)
    assert len(doubted) == SLOTS
