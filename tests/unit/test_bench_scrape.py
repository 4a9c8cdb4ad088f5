"""Histograms read back from Prometheus text: differences, means, percentiles, and whether stages add up."""

from __future__ import annotations

import math

import pytest
from benchmarks.load.programs import Figures
from benchmarks.run import median
from benchmarks.scrape import STAGES, Histogram, Scrape, stage_table
from benchmarks.stages import judge

from homing.observability.metrics import Metrics


def scraped(*many: Metrics) -> Scrape:
    result = Scrape()
    for metrics in many:
        result.read(metrics.exposition().decode())
    return result


def test_the_difference_of_two_scrapes_holds_only_what_came_between() -> None:
    metrics = Metrics()
    recorder = metrics.histogram("homing_stage_seconds", "queue")
    recorder.observe(9.0)
    before = scraped(metrics)
    for value in (0.001, 0.003):
        recorder.observe(value)
    between = scraped(metrics).since(before).stages()["queue"]
    assert between.count == 2
    assert between.mean == pytest.approx(0.002)
    assert 0.0015 <= between.percentile(0.99) <= 0.003


def test_histograms_of_several_processes_and_labels_are_added() -> None:
    one, other = Metrics(), Metrics()
    one.histogram("homing_request_seconds", "rpc", "ok").observe(0.01)
    one.histogram("homing_request_seconds", "rpc", "unknown").observe(0.02)
    one.histogram("homing_request_seconds", "admin", "ok").observe(5.0)
    other.histogram("homing_request_seconds", "rpc", "ok").observe(0.03)
    one.gauge("homing_activations").set(2)
    other.gauge("homing_activations").set(3)
    both = scraped(one, other)
    assert both.histogram("homing_request_seconds", {"route": "rpc"}).count == 3
    assert both.histogram("homing_request_seconds", {"route": "rpc", "outcome": "ok"}).mean == pytest.approx(0.02)
    assert both.values["homing_activations"] == 5


def test_percentiles_lie_on_straight_lines_between_edges() -> None:
    histogram = Histogram({1.0: 0.0, 2.0: 50.0, 4.0: 100.0, math.inf: 100.0}, 0.0)
    assert histogram.percentile(0.5) == 2.0
    assert histogram.percentile(0.75) == 3.0
    assert histogram.percentile(1.0) == 4.0


def test_what_lies_above_the_last_edge_is_shown_as_that_edge() -> None:
    assert Histogram({1.0: 1.0, math.inf: 10.0}, 0.0).percentile(0.99) == 1.0


def test_nothing_observed_is_not_a_number() -> None:
    assert math.isnan(Histogram().mean)
    assert math.isnan(Histogram().percentile(0.5))


def test_text_that_is_not_prometheus_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        Scrape().read("<html>{")


def staged(stage_s: float, request_s: float) -> Scrape:
    metrics = Metrics()
    for stage in STAGES:
        metrics.histogram("homing_stage_seconds", stage).observe(stage_s)
    metrics.histogram("homing_request_seconds", "rpc", "ok").observe(request_s)
    return scraped(metrics)


@pytest.mark.parametrize(
    ("stage_s", "request_s", "client_s", "complaint"),
    [
        (0.001, 0.005, 0.0058, ""),
        (0.0012, 0.005, 0.0055, "the stages' sum is 1.200"),
        (0.0008, 0.005, 0.0055, "the stages' sum is 0.800"),
        (0.001, 0.005, 0.0075, "the gateway's time is 0.714"),
    ],
)
def test_stages_must_add_up(stage_s: float, request_s: float, client_s: float, complaint: str) -> None:
    problems = judge(client_s, 0.0005, staged(stage_s, request_s), 1)
    assert problems == [] if not complaint else problems[0].startswith(complaint)


def test_a_stage_that_saw_fewer_calls_is_named() -> None:
    assert judge(0.006, 0.0005, staged(0.001, 0.005), 2)[0] == "gateway saw 1 of 2 calls"


def test_a_stage_below_nothing_is_named() -> None:
    """Seen to fail without its check: a stage that counts twice and one that counts backwards add up."""
    metrics = Metrics()
    for stage, seconds in zip(STAGES, (0.004, -0.001, 0.0005, 0.0005, 0.001), strict=True):
        metrics.histogram("homing_stage_seconds", stage).observe(seconds)
    metrics.histogram("homing_request_seconds", "rpc", "ok").observe(0.005)
    assert judge(0.0055, 0.0005, scraped(metrics), 1) == ["forward is -1.000 ms: below nothing"]


def test_the_table_sets_the_whole_against_the_target() -> None:
    assert stage_table(staged(0.001, 0.005))[-1].endswith("within the target of 15 ms")
    assert "OVER" in stage_table(staged(0.001, 0.025))[-1]


def test_a_median_keeps_every_error() -> None:
    rounds = [Figures(rate, 1.0, 2.0, 10, errors) for rate, errors in ((3.0, 0), (1.0, 1), (2.0, 0))]
    assert median(rounds) == Figures(2.0, 1.0, 2.0, 30, 1)
