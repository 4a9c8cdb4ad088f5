"""How hot slots are: what each owner measures and publishes, and the exchanges that all nodes plan from it. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from homing_node import limits
from homing_placement.limits import LOAD_ABOVE_USUAL_MIN
from homing_placement.loads import swaps
from homing_placement.records import LoadRecord


@dataclass(slots=True)
class _Seen:
    """A slot that is served here.

    Attributes:
        total: its counter when it was last read.
        units: what was counted, decayed.
        seconds: over which that was, decayed alike; units by seconds is the rate.
    """

    total: int
    units: float = 0.0
    seconds: float = 0.0


class SlotLoads:
    """Measures the slots that a node serves, and says what to publish: only the few that are far above the others.

    The first time it says so even of none: until then others do not know what a node that has just come is worth.

    Attributes:
        published: what was given out last; None: nothing yet.
    """

    def __init__(self) -> None:
        self.published: LoadRecord | None = None
        self._published_at = math.inf  # until then it is the time of the first sample
        self._seen: dict[int, _Seen] = {}
        self._at = 0.0
        self._lost_at: dict[int, float] = {}

    def sample(self, totals: Mapping[int, int], now: float) -> None:
        """Read the counters.

        Args:
            totals: of each slot that is served here, units so far; one that has fallen has begun anew.
            now: monotonic seconds.
        """
        keep = math.exp((self._at - now) / limits.load_decay_s)
        before, self._at = self._seen, now
        self._published_at = min(self._published_at, now)
        told = self.published.slots if self.published else ()
        self._lost_at = {slot: self._lost_at.get(slot, now) for slot, _ in told if slot not in totals}
        self._seen = {}
        for slot, total in totals.items():
            seen = self._seen[slot] = before.get(slot) or _Seen(total)
            if slot in before:
                seen.units = seen.units * keep + max(total - seen.total, 0)
                seen.seconds = seen.seconds * keep + limits.load_decay_s * (1 - keep)
                seen.total = total

    def due(self, now: float) -> LoadRecord | None:
        """What to publish now; None: nothing has changed, or the last time is less than a minute ago."""
        if now - self._published_at < limits.load_publish_s:
            return None
        record = self._record(now)
        if record == self.published:
            return None
        self.published, self._published_at = record, now
        return record

    def _record(self, now: float) -> LoadRecord:
        """The hot slots. One that has gone is told for a while, until its new owner has measured it."""
        rates = {slot: seen.units / seen.seconds for slot, seen in self._seen.items() if self._is_known(seen)}
        before = self.published or LoadRecord()
        usual = _bucket(statistics.median_low(rates.values()) if rates else 0.0, before.usual)
        old = dict(before.slots)
        found = {slot: old[slot] for slot, at in self._lost_at.items() if now - at < limits.load_lost_s}
        found |= {slot: old[slot] for slot in self._seen if slot in old and slot not in rates}
        least = max(usual + LOAD_ABOVE_USUAL_MIN, limits.load_bucket_min)
        for slot, rate in rates.items():
            bucket = _bucket(rate, old.get(slot, -1))
            if bucket >= least:
                found[slot] = bucket
        hottest = sorted(found.items(), key=lambda each: (-each[1], each[0]))
        return LoadRecord(tuple(sorted(hottest[: limits.load_slots_max])), usual)

    def _is_known(self, seen: _Seen) -> bool:
        return seen.seconds >= limits.load_known_s


def _bucket(rate: float, before: int) -> int:
    """The base 2 logarithm of a load, on the scale of all nodes; it stays what it was as long as that is near."""
    exact = math.log2(max(rate / limits.load_unit_per_s, 1.0))
    return before if abs(exact - before) < limits.load_bucket_slack else round(exact)


class Swaps:
    """The exchanges that are wanted. Nodes plan at different moments, and all must plan from the same facts.

    So a plan is made when nothing has changed for longer than the time between two looks, and is carried out only when
    that time has passed once more; from then on what changes, because others carry it out, does not matter.
    """

    def __init__(self) -> None:
        self._facts: object = None
        self._members: frozenset[str] = frozenset()
        self._since = 0.0
        self._plan: dict[int, str] | None = None
        self._planned_at = 0.0

    def look(
        self, sets: Sequence[Sequence[str]], members: frozenset[str], weights: Mapping[int, int], now: float
    ) -> None:
        """See the facts; see `homing_placement.loads.swaps`. `now` in monotonic seconds."""
        over = self._plan is not None and now - self._planned_at >= limits.load_patience_s
        if over or members != self._members or not weights:
            self._facts, self._plan = None, None
        self._members = members
        if self._plan:
            return
        facts = (members, tuple(map(tuple, sets)), tuple(sorted(weights.items())))
        if facts != self._facts:
            self._facts, self._since, self._plan = facts, now, None
        elif self._plan is None and now - self._since >= limits.load_settle_s:
            self._plan, self._planned_at = swaps(sets, members, weights), now

    @property
    def under_way(self) -> bool:
        """Whether there is a plan: until all have carried it out, nodes own more or fewer slots than they should."""
        return bool(self._plan)

    def owner_of(self, slot: int, now: float) -> str:
        """Who should own a slot for the sake of load; empty: there is no such wish."""
        if self._plan is None or now - self._planned_at < limits.load_settle_s:
            return ""
        return self._plan.get(slot, "")
