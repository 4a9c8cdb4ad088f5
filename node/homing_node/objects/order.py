"""Calls of one caller to one object are taken in the order in which they were made. Pure.

A call that was refused is sent again, and those behind it may be here already: they are refused, too. Each names the
one before it, so that it is enough to know which were refused: what is let in follows one that was let in, or one that
has its end. The other half is `homing_placement.routing.pending.Lane`.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits


class CallOrder:
    """The lanes in which calls were refused."""

    def __init__(self) -> None:
        self._refused: dict[bytes, list[int]] = {}  # their numbers, ascending; the latest lane last

    def admits(self, m: wire.Call) -> bool:
        """Whether no call is to come before this one."""
        refused = self._refused.get(m.lane) if m.lane else None
        if refused is None:
            return True
        del refused[: bisect_left(refused, m.oldest)]  # they have their ends
        if m.before and _has(refused, m.before):
            return False
        if _has(refused, m.order):
            refused.remove(m.order)
        if not refused:
            del self._refused[m.lane]
        return True

    def refuse(self, m: wire.Call) -> None:
        """A call was refused before any code ran for it, and will be sent again."""
        if not m.lane:
            return
        refused = self._refused.pop(m.lane, [])
        self._refused[m.lane] = refused
        if not _has(refused, m.order):
            insort(refused, m.order)
        if len(refused) > limits.outgoing_calls_max:
            del refused[0]  # no more than these are without an answer
        if len(self._refused) > limits.refused_lanes_max:
            del self._refused[next(iter(self._refused))]  # nobody came back for so many others


def _has(numbers: list[int], number: int) -> bool:
    at = bisect_left(numbers, number)
    return at < len(numbers) and numbers[at] == number
