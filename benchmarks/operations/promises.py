"""What is promised to an operator, and whether what was measured keeps it. Pure: figures in, a verdict out."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tests.chaos.takeover import percentile

CLIENTS = 64
CALLS_PER_SECOND_MIN = 500.0
P99_MS_MAX = 250.0
BALANCE_MAX = 1.05
MOVED_OVER_IDEAL_MAX = 1.3
HOT_BEFORE_MIN = 1.6  # the hottest node's share of calls over the mean
HOT_AFTER_MAX = 1.3
COPIES_AGAIN_S_MAX = 60.0
READY_S_MAX = 10.0
DISK_OVER_LIVE_MAX = 2.5
DISK_BEYOND_BYTES_MAX = 1 << 30
SPEED_RATIO_MIN = 0.95
PAIRS_MIN = 9
RESAMPLES = 10_000
DISK_WAVE_BYTES = 64 << 20  # log files come and go and tables are merged; less than this is no trend


class Bound(NamedTuple):
    """One figure and what it must not exceed, or fall below. A figure that is not a number keeps no promise."""

    what: str
    value: float
    limit: float
    unit: str = ""
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is within its limit."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        limit = f"{'>=' if self.least else '<='} {shown(self.limit)}"
        return f"{self.what} {shown(self.value)}{unit} ({limit}{'' if self.holds else ', BROKEN'})"


def shown(value: float) -> str:
    """A figure with as many places as say something.

    Example:
        >>> shown(12345.6), shown(31.25), shown(1.0123), shown(0)
        ('12,346', '31.2', '1.012', '0')
    """
    if not math.isfinite(value):
        return str(value)
    places = 0 if value == int(value) or abs(value) >= 1_000 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{places}f}"


def verdict(title: str, bounds: Sequence[Bound], note: str = "") -> str:
    """The one line that a program ends with."""
    held = "held" if kept(bounds) else "BROKEN"
    return f"{title}: {held}: " + ", ".join(map(str, bounds)) + (f"; {note}" if note else "")


def kept(bounds: Sequence[Bound]) -> bool:
    """Whether all hold, and there are some."""
    return bool(bounds) and all(bound.holds for bound in bounds)


# -- serving all the while --------------------------------------------------------------------------------------------


class Served(NamedTuple):
    """What clients saw in a stretch of time.

    Attributes:
        calls: that were answered and were under way at some time in it.
        slowest_second: answers in the worst of its whole seconds, counted from its beginning.
        slowest_window: answers in the worst second wherever it begins.
    """

    calls: int
    seconds: float
    slowest_second: int
    slowest_window: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float


def served(began_s: Sequence[float], ended_s: Sequence[float], first_s: float, last_s: float) -> Served:
    """Of all calls, those between two moments; one that was held across either of them counts.

    Args:
        began_s, ended_s: of each call that was answered.
        first_s, last_s: the stretch, by the same clock.
    """
    took = [
        ended - began for began, ended in zip(began_s, ended_s, strict=True) if ended >= first_s and began <= last_s
    ]
    inside = sorted(ended for ended in ended_s if first_s <= ended < last_s)
    return Served(
        calls=len(took),
        seconds=last_s - first_s,
        slowest_second=min(per_second(inside, first_s, last_s), default=0),
        slowest_window=worst_window(inside, first_s, last_s),
        p50_ms=percentile(took, 0.50) * 1e3,
        p99_ms=percentile(took, 0.99) * 1e3,
        slowest_ms=max(took, default=math.nan) * 1e3,
    )


def per_second(answered_s: Sequence[float], first_s: float, last_s: float) -> list[int]:
    """Answers in each whole second from `first_s` on; the part of a second at the end is left out."""
    counts = [0] * int(last_s - first_s)
    for answered in answered_s:
        second = int(answered - first_s)
        if 0 <= second < len(counts):
            counts[second] += 1
    return counts


def worst_window(answered_s: Sequence[float], first_s: float, last_s: float) -> int:
    """The fewest answers in any second that lies wholly in the stretch; they must ascend.

    The worst begins right after an answer, or at the beginning.
    """
    fewest = len(answered_s) if last_s - first_s >= 1.0 else 0
    stop = 0
    for start, opens in enumerate([first_s, *answered_s]):
        if opens + 1.0 > last_s:
            break
        while stop < len(answered_s) and answered_s[stop] <= opens + 1.0:
            stop += 1
        fewest = min(fewest, stop - start)
    return fewest


def serving(seen: Served, failed: int, wrong: int, p99_ms_max: float | None = P99_MS_MAX) -> list[Bound]:
    """The promise of serving without a failed call, at a rate, and if it is given within a time."""
    bounds = [
        Bound("failed calls", failed, 0),
        Bound("counters with a lost or doubled call", wrong, 0),
        Bound("slowest second", seen.slowest_second, CALLS_PER_SECOND_MIN, "calls/s", least=True),
    ]
    return bounds if p99_ms_max is None else [*bounds, Bound("p99", seen.p99_ms, p99_ms_max, "ms")]


def seen_note(seen: Served) -> str:
    """The figures beside the promise."""
    return (
        f"{seen.calls:,} calls in {seen.seconds:.1f} s, {seen.calls / max(seen.seconds, 1e-9):,.0f}/s, "
        f"p50 {seen.p50_ms:.1f} ms, slowest {seen.slowest_ms:.0f} ms, worst second wherever it begins "
        f"{seen.slowest_window:,}"
    )


# -- balance and moves ------------------------------------------------------------------------------------------------

Placed = Mapping[int, Collection[str]]
"""Slot to the nodes that own it (one) or keep it (some)."""


def balance(placed: Placed, nodes: Sequence[str]) -> float:
    """What the fullest of `nodes` has, over the mean of them: 1 is even. Infinite when there is nothing to share."""
    counts = dict.fromkeys(nodes, 0)
    for holders in placed.values():
        for node in holders:
            if node in counts:
                counts[node] += 1
    total = sum(counts.values())
    return max(counts.values()) * len(counts) / total if total else math.inf


def moved(before: Placed, after: Placed) -> int:
    """How many placements are there after that were not before; a slot that is without one loses nothing by it."""
    return sum(len(set(after.get(slot, ())) - set(holders)) for slot, holders in before.items())


def shares(calls: Mapping[int, int], placed: Placed, nodes: Sequence[str]) -> dict[str, float]:
    """Calls to the slots that each node owns, over the mean of `nodes`; 0 for all when there were none.

    Example:
        >>> shares({0: 30, 1: 10}, {0: ("a",), 1: ("b",)}, ["a", "b"])
        {'a': 1.5, 'b': 0.5}
    """
    total = sum(calls.values())
    found = dict.fromkeys(nodes, 0)
    for slot, count in calls.items():
        for node in placed.get(slot, ()):
            found[node] = found.get(node, 0) + count
    return {node: count * len(nodes) / total if total else 0.0 for node, count in found.items()}


class Moves:
    """Placements that were seen to change, added up over what was seen one after the other."""

    def __init__(self, start: Placed) -> None:
        self.start, self.count = start, 0
        self._last = dict(start)

    def see(self, now: Placed) -> None:
        """The next view. A slot without a holder is in the middle of its move: what it had before is remembered."""
        self.count += moved(self._last, now)
        self._last.update({slot: holders for slot, holders in now.items() if holders})

    def over_ideal(self, ideal_share: float) -> float:
        """Moved placements over those that an ideal plan moves."""
        placements = sum(map(len, self.start.values()))
        return self.count / (ideal_share * placements) if ideal_share * placements else math.inf


# -- disk use ---------------------------------------------------------------------------------------------------------


def disk_bound(live_bytes: int) -> float:
    """What a node's directory may hold."""
    return DISK_OVER_LIVE_MAX * live_bytes + DISK_BEYOND_BYTES_MAX


def extrapolated(half_bytes: int, whole_bytes: int, updates: int, wanted: int) -> float:
    """Disk use after `wanted` updates, from that after half and all of `updates`, by a straight line.

    Growth within the ebb and flow of files is none. So a sample must be large enough to show what matters: 1 GiB over
    10 million updates is more than the wave over a million, half of the 2 million that a sample has by default.
    """
    growth = whole_bytes - half_bytes
    if wanted <= updates or growth <= DISK_WAVE_BYTES:
        return float(whole_bytes)
    return whole_bytes + growth / (updates / 2) * (wanted - updates)


# -- two versions -----------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A median and the bounds that hold it with 95 %."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def median_interval(ratios: Sequence[float], seed: int = 1) -> Interval:
    """The median of ratios with its 95 % bootstrap interval (percentiles of resampled medians)."""
    if not ratios:
        return Interval(math.nan, math.nan, math.nan)
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return Interval(statistics.median(ratios), medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1])


def not_slower(rows: Mapping[str, Sequence[float]]) -> list[Bound]:
    """For each row: enough pairs, and the interval of the ratio (new over old) above what is allowed."""
    fewest = min(map(len, rows.values()), default=0)
    return [
        Bound("pairs", fewest, PAIRS_MIN, least=True),
        *(
            Bound(f"{row} low end", median_interval(ratios).low, SPEED_RATIO_MIN, least=True)
            for row, ratios in rows.items()
        ),
    ]
