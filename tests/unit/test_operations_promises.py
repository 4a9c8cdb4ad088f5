"""The judgement of `make operations`: what clients saw, balance and moves, disk use, and ratios of two versions."""

from __future__ import annotations

import math
import os

import pytest
from benchmarks.operations.cluster import busy_s, owners
from benchmarks.operations.log_driver import Subject
from benchmarks.operations.lost_disk import State
from benchmarks.operations.promises import (
    DISK_WAVE_BYTES,
    Bound,
    Moves,
    balance,
    disk_bound,
    extrapolated,
    kept,
    median_interval,
    moved,
    not_slower,
    per_second,
    served,
    serving,
    shown,
    verdict,
    worst_window,
)
from benchmarks.operations.run import is_verdict
from tests.chaos.callers import whole
from tests.chaos.cluster import SlotView, View

from homing_node.objects.turn_record import decode_body
from homing_node.workers.inside import pages


def steady(first: float, last: float, per_s: int) -> list[float]:
    """Moments of answers, evenly."""
    return [first + n / per_s for n in range(int((last - first) * per_s))]


def test_a_bound_holds_up_to_its_limit_and_never_without_a_figure() -> None:
    """Seen to fail when `not value > limit` is asked: a figure that is not a number then keeps every promise."""
    assert Bound("p99", 250.0, 250.0).holds
    assert not Bound("p99", 250.1, 250.0).holds
    assert Bound("rate", 500, 500, least=True).holds
    assert not Bound("rate", 499, 500, least=True).holds
    assert not Bound("p99", math.nan, 250.0).holds
    assert not Bound("rate", math.nan, 500, least=True).holds


def test_a_promise_is_kept_when_every_bound_holds_and_there_is_one() -> None:
    """Seen to fail when `any` takes the place of `all`, and without the question whether there are bounds."""
    good, bad = Bound("failed calls", 0, 0), Bound("p99", 300.0, 250.0, "ms")
    assert kept([good])
    assert not kept([good, bad])
    assert not kept([])


def test_a_verdict_is_one_line_that_names_what_is_broken() -> None:
    """Seen to fail when the line of a broken bound is that of one that holds."""
    line = verdict("rolling", [Bound("failed calls", 0, 0), Bound("p99", 312.5, 250.0, "ms")], "10 calls")
    assert line == "rolling: BROKEN: failed calls 0 (<= 0), p99 312.5 ms (<= 250, BROKEN); 10 calls"
    assert verdict("rolling", [Bound("failed calls", 0, 0)]) == "rolling: held: failed calls 0 (<= 0)"
    assert is_verdict(line)
    assert is_verdict(verdict("rolling", [Bound("failed calls", 0, 0)]))
    assert not is_verdict("n1: drained and gone in 2.1 s")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (math.nan, "nan"), (math.inf, "inf"), (12345.6, "12,346"), (1.0499, "1.050")]
)
def test_figures_are_shown_with_places_that_say_something(value: float, text: str) -> None:
    """Seen to fail when infinity is rounded like a number."""
    assert shown(value) == text


def test_a_second_without_answers_is_seen_and_the_rest_of_one_at_the_end_is_not_judged() -> None:
    """Seen to fail when seconds without an answer are not counted, and when the last part of a second is."""
    answers = [*steady(10.0, 12.0, 600), *steady(13.0, 14.4, 600)]
    assert per_second(answers, 10.0, 14.4) == [600, 600, 0, 600]
    assert per_second(answers, 10.0, 12.0) == [600, 600]
    assert per_second([], 10.0, 10.5) == []


def test_the_worst_window_finds_a_gap_that_lies_across_two_seconds() -> None:
    """Seen to fail when windows begin at whole seconds only: each of the two then has half of its answers."""
    answers = [*steady(0.0, 1.5, 1_000), *steady(2.4, 4.0, 1_000)]
    assert min(per_second(answers, 0.0, 4.0)) == 500
    assert worst_window(answers, 0.0, 4.0) == pytest.approx(100, abs=2)
    assert worst_window([], 0.0, 4.0) == 0
    assert worst_window(steady(0.0, 4.0, 1_000), 0.0, 4.0) == pytest.approx(1_000, abs=1)


def test_a_call_that_was_held_across_the_end_counts_with_all_its_time() -> None:
    """Seen to fail when only calls that ended in the stretch are taken: what was held longest is then missing."""
    began = [*steady(0.0, 2.0, 10), 1.9]
    ended = [*(moment + 0.01 for moment in steady(0.0, 2.0, 10)), 9.0]
    seen = served(began, ended, 0.0, 2.0)
    assert seen.calls == 21
    assert seen.slowest_ms == pytest.approx(7_100)
    assert seen.p99_ms == pytest.approx(7_100)
    assert seen.p50_ms == pytest.approx(10)
    assert served(began, ended, 3.0, 4.0).calls == 1, "it was under way all the while"
    assert served(began, ended, 10.0, 11.0).calls == 0


def test_serving_is_broken_by_one_failed_call_one_wrong_counter_one_slow_second_or_a_slow_p99() -> None:
    """Seen to fail when any of the four bounds is left out."""
    good = served(steady(0.0, 3.0, 600), [t + 0.01 for t in steady(0.0, 3.0, 600)], 0.0, 3.0)
    slow = served(steady(0.0, 3.0, 600), [t + 0.3 for t in steady(0.0, 3.0, 600)], 0.0, 3.0)
    few = served(steady(0.0, 3.0, 400), [t + 0.01 for t in steady(0.0, 3.0, 400)], 0.0, 3.0)
    assert kept(serving(good, 0, 0))
    assert not kept(serving(good, 1, 0))
    assert not kept(serving(good, 0, 1))
    assert not kept(serving(few, 0, 0))
    late = served([t - 0.3 for t in steady(0.0, 3.0, 600)], steady(0.0, 3.0, 600), 0.0, 3.0)
    assert not kept(serving(late, 0, 0))
    assert kept(serving(late, 0, 0, p99_ms_max=None))
    assert not kept(serving(slow, 0, 0))
    assert not kept(serving(served([], [], 0.0, 3.0), 0, 0))


def test_a_counter_may_have_a_gap_for_each_failed_call_and_nothing_else() -> None:
    """Seen to fail when answers need not ascend, and when the last is not compared with the number of calls."""
    assert whole([], 0)
    assert whole([1, 2, 3], 0)
    assert whole([1, 3, 4], 1)
    assert whole([1, 2], 5), "calls that failed may not have run"
    assert not whole([1, 3, 4], 0)
    assert not whole([1, 2, 5], 1)
    assert not whole([1, 2, 2, 3], 1)
    assert not whole([0, 1], 0)


def test_balance_is_the_fullest_over_the_mean_and_an_empty_node_counts() -> None:
    """Seen to fail when nodes without a slot are left out: a node that got nothing then looks like perfect balance."""
    placed = {0: ["a"], 1: ["a"], 2: ["b"], 3: ["b"]}
    assert balance(placed, ["a", "b"]) == 1.0
    assert balance(placed, ["a", "b", "c", "d"]) == 2.0
    assert balance({0: ["a"], 1: ["a"], 2: ["a"], 3: ["b"]}, ["a", "b"]) == 1.5
    assert balance({}, ["a"]) == math.inf
    assert balance(placed, ["c"]) == math.inf


def test_every_move_that_is_seen_counts_also_there_and_back() -> None:
    """Seen to fail when only the first and the last view are compared, and when a slot in transit is forgotten."""
    start = {0: ["a"], 1: ["a"], 2: ["b"], 3: ["b"]}
    moves = Moves(start)
    moves.see({**start, 0: []})
    moves.see(start)
    assert moves.count == 0, "it came back to where it was"
    moves.see({**start, 0: []})
    moves.see({**start, 0: ["c"]})
    moves.see({**start, 0: ["a"]})
    assert moves.count == 2
    assert moves.over_ideal(0.25) == 2.0
    assert moved({0: ["a", "b", "c"]}, {0: ["d", "b", "a"]}) == 1
    assert Moves({}).over_ideal(0.25) == math.inf


def test_an_owner_that_is_not_there_owns_nothing() -> None:
    """Seen to fail when a slot without an owner is given to a node called None."""
    slots = [SlotView(0, "ACTIVE", "n1", 1, ["n1"]), SlotView(1, "RECOVERING", None, 1, ["n1"])]
    assert owners(View([], [], [], slots)) == {0: ("n1",), 1: ()}


def test_time_that_was_stolen_is_busy_and_waiting_for_a_disk_is_not() -> None:
    """Seen to fail when idle time counts, or what the hypervisor gave to others does not."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert busy_s("cpu  100 20 30 5000 7 0 3 40 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0") == pytest.approx(193 * tick)


def test_growth_within_the_ebb_of_log_files_is_none_and_more_goes_on() -> None:
    """Seen to fail when every growth goes on, and when growth of half the updates is taken for all of them."""
    mib = 1 << 20
    assert extrapolated(100 * mib, 100 * mib + DISK_WAVE_BYTES, 1_000, 10_000) == 100 * mib + DISK_WAVE_BYTES
    grown = 100 * mib + DISK_WAVE_BYTES + 6 * mib
    assert extrapolated(100 * mib, grown, 1_000, 10_000) == pytest.approx(grown + 18 * (DISK_WAVE_BYTES + 6 * mib))
    assert extrapolated(100 * mib, grown, 1_000, 1_000) == grown
    assert extrapolated(300 * mib, 200 * mib, 1_000, 10_000) == 200 * mib
    assert disk_bound(1 << 30) == 3.5 * (1 << 30)


def test_the_interval_holds_the_median_and_is_the_same_each_time() -> None:
    """Seen to fail when the low and the high end are those of the ratios themselves."""
    ratios = [0.90, 0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03, 1.20]
    found = median_interval(ratios)
    assert found.median == 1.0
    assert 0.95 < found.low < 1.0 < found.high < 1.1
    assert found == median_interval(ratios)
    assert math.isnan(median_interval([]).low)


def test_a_version_that_lost_a_tenth_is_slower_and_one_as_fast_is_not() -> None:
    """Seen to fail when the median is judged in place of the low end of its interval."""
    same = [0.98, 1.02, 0.99, 1.01, 1.0, 0.97, 1.03, 1.0, 1.0]
    assert kept(not_slower({"increment": same, "read": same}))
    assert not kept(not_slower({"increment": same, "read": [ratio * 0.9 for ratio in same]}))
    unsure = [0.80, 0.82, 0.85, 0.9, 0.97, 1.1, 1.1, 1.2, 1.2]
    assert not kept(not_slower({"increment": unsure})), "the median is above the limit, its interval is not"
    assert not kept(not_slower({"increment": same[:8]})), "too few pairs"
    assert not kept(not_slower({}))


def test_a_disk_is_whole_again_when_records_lag_and_bytes_agree() -> None:
    """Seen to fail when any of the five is not asked for."""
    good = State(healthy_slots=1_024, lag_records=3, lost_bytes=1 << 30, lost_is_up=True)
    assert good.whole(1_024, 1 << 30)
    assert not good._replace(healthy_slots=1_023).whole(1_024, 1 << 30)
    assert not good._replace(lag_records=None).whole(1_024, 1 << 30)
    assert not good._replace(lag_records=5_000).whole(1_024, 1 << 30)
    assert not good._replace(lost_bytes=(1 << 30) - 1).whole(1_024, 1 << 30)
    assert not good._replace(lost_is_up=False).whole(1_024, 1 << 30)


@pytest.mark.parametrize("count", [1, 3])
def test_the_log_driver_writes_commits_that_fit_the_pages_under_them(count: int) -> None:
    """Seen to fail when the subject does not remember its pages: the second commit then has a checksum of others."""
    stored = {number: bytes([number]) * 1_024 for number in range(1, count + 1)}
    subject = Subject(bytes(32), 0, count, stored[1], stored[count])
    for number in (1, 2, 300):
        commit = decode_body(subject.update(number)).commit
        assert commit is not None
        assert pages.validate(commit)
        stored.update(pages.apply(commit, stored.get))
    assert len(stored) == count
    assert (subject.first, subject.last)[count > 1] == stored[count]
