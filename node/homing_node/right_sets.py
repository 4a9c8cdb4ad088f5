"""Slots that were looked at and are as they should be, so that each is not looked at again every time. Pure."""

from __future__ import annotations

from homing_node import limits
from homing_placement.records import SlotRecord


class RightSets:
    """Slots whose replica sets were right when they were looked at last.

    A set can become wrong though its record and the plan are what they were: a replica is distrusted, or the time has
    come for an exchange. So each slot is doubted within `limits.plan_s`, a few at a time: to look at all at once holds
    calls up for 7 ms.

    Attributes:
        records: slot to its record then.
    """

    def __init__(self) -> None:
        self.records: dict[int, SlotRecord] = {}
        self._doubt_at = 0.0
        self._turn = 0

    def add(self, slot: int, record: SlotRecord) -> None:
        """A slot is as it should be, as long as this is its record."""
        self.records[slot] = record

    def clear(self) -> None:
        """What should be has changed: nothing is known any more."""
        self.records.clear()

    def doubt(self, now: float) -> None:
        """Forget those whose turn has come; `now` in monotonic seconds."""
        if now < self._doubt_at:
            return
        self._doubt_at = now + limits.look_s
        turns = round(limits.plan_s / limits.look_s)
        self._turn = (self._turn + 1) % turns
        for slot in [slot for slot in self.records if slot % turns == self._turn]:
            del self.records[slot]
