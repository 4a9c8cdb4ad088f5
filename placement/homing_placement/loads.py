"""Owners exchanged for load: a node that owns hot slots gives some for light ones. A pure function of what is known.

Both nodes of an exchange keep copies of both slots, so nothing is copied and every node owns as many slots as before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from homing_placement.limits import (
    LOAD_ABOVE_USUAL_MIN,
    LOAD_BUCKET_MAX,
    LOAD_GAIN_MIN,
    LOAD_HIGH_RATIO,
    LOAD_LOW_RATIO,
    LOAD_SWAPS_MAX,
)
from homing_placement.records import LoadRecord


def weights(loads: Collection[LoadRecord]) -> dict[int, int]:
    """What the slots that are hot weigh; all others weigh 1.

    Only what would be hot on every node counts: one that is hot among idle ones may be ordinary elsewhere. Where two
    nodes publish a slot, as for a while after it moved, the greater counts.
    """
    usual = max((record.usual for record in loads), default=0)
    found: dict[int, int] = {}
    for record in loads:
        for slot, bucket in record.slots:
            if bucket >= usual + LOAD_ABOVE_USUAL_MIN:
                found[slot] = max(found.get(slot, 1), 1 << min(bucket - usual, LOAD_BUCKET_MAX))
    return found


def swaps(
    sets: Sequence[Sequence[str]], members: Collection[str], weights: Mapping[int, int], most: int = LOAD_SWAPS_MAX
) -> dict[int, str]:
    """Which slots should have another owner of their sets, so that no node has much more load than the mean.

    Nothing, unless a node has more than 1.25 times the mean and an exchange helps; then until nobody has more than 1.10
    times the mean, or no exchange helps, or `most` are found. Each lowers the greater load of its two nodes.

    Args:
        sets: for each slot its nodes, the owner first.
        members: nodes that may be given a slot, in any order.
        weights: slot to weight, above 1; those that are not there weigh 1.
        most: exchanges in one plan.

    Returns:
        Slot to its next owner, two slots for each exchange.

    Example:
        >>> swaps([["a", "b"], ["a", "b"], ["b", "a"], ["b", "a"]], ["a", "b"], {0: 8, 1: 8})
        {0: 'b', 2: 'a'}
    """
    plan = _Plan(sets, members, weights)
    found: dict[int, str] = {}
    limit = LOAD_HIGH_RATIO
    while len(found) < 2 * most and (best := plan.best(limit, found)) is not None:
        heavy, light = best
        found[heavy], found[light] = plan.owners[light], plan.owners[heavy]
        plan.exchange(heavy, light)
        limit = LOAD_LOW_RATIO
    return found


class _Plan:
    """Who owns what, and what that weighs. Invariant: `loads` is the sum of the weights of a node's slots."""

    def __init__(self, sets: Sequence[Sequence[str]], members: Collection[str], weights: Mapping[int, int]) -> None:
        self._sets, self._members, self._weights = sets, frozenset(members), weights
        self.owners = [nodes[0] if nodes else "" for nodes in sets]
        self.loads = dict.fromkeys(sorted(self._members), 0)
        self._lightest: dict[tuple[str, str], list[tuple[int, int]]] = {}  # of an owner and a replica, the last first
        for slot, owner in enumerate(self.owners):
            if owner in self.loads:
                self.loads[owner] += self._weight(slot)
                for node in sets[slot][1:]:
                    self._lightest.setdefault((owner, node), []).append((self._weight(slot), slot))
        for slots in self._lightest.values():
            slots.sort(reverse=True)
        self._mean = sum(self.loads.values()) / len(self.loads) if self.loads else 0.0

    def best(self, limit: float, done: Collection[int]) -> tuple[int, int] | None:
        """The exchange, a heavy slot and a light one, that helps the hottest node that can be helped the most."""
        hot = sorted((node for node in self.loads if self.loads[node] > limit * self._mean), key=self._heat)
        least = max(1.0, LOAD_GAIN_MIN * self._mean)
        for node in hot:
            found = [
                (max(self.loads[node] - gain, self.loads[other] + gain), self.loads[other], slot, light)
                for slot in sorted(self._weights)
                if slot < len(self.owners) and self.owners[slot] == node and slot not in done
                for other in self._sets[slot]
                if other != node and other in self._members
                for light in [self._light(other, node, done)]
                if light is not None
                for gain in [self._weight(slot) - self._weight(light)]
                if gain >= least and self.loads[other] + gain < self.loads[node]
            ]
            if found:
                return min(found)[2:]
        return None

    def exchange(self, heavy: int, light: int) -> None:
        """Give each slot to the owner of the other."""
        hot, cold = self.owners[heavy], self.owners[light]
        gain = self._weight(heavy) - self._weight(light)
        self.loads[hot] -= gain
        self.loads[cold] += gain
        self.owners[heavy], self.owners[light] = cold, hot

    def _light(self, owner: str, replica: str, done: Collection[int]) -> int | None:
        slots = self._lightest.get((owner, replica), [])
        while slots and slots[-1][1] in done:
            slots.pop()
        return slots[-1][1] if slots else None

    def _heat(self, node: str) -> tuple[float, str]:
        return -self.loads[node], node

    def _weight(self, slot: int) -> int:
        return self._weights.get(slot, 1)
