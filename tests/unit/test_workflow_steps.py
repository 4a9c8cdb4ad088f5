"""Steps of workflows in a worker's own runtime: what they depend on, their retries, and what a crash leaves of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from homing.bindings import workflow_rules as rules
from worker_harness import WorkerHarness
from workflow_app import APP, WAIT_S, Hand, Instance


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


@pytest.fixture
def hand(worker: WorkerHarness) -> Hand:
    return Hand(worker)


# Steps


def test_run_is_given_its_event(worker: WorkerHarness) -> None:
    instance = Instance(worker, "told")
    assert instance.status() == {"status": "queued", "error": None, "output": None, "rollback": None}
    do, name, workflow, at, said, bound = instance.output()
    assert (do, name, workflow, said, bound) == ("told", "a", "Demo", "made", True)
    assert list(at) == ["$datetime"]


def test_a_step_depends_on_others_by_name_and_by_list(worker: WorkerHarness, hand: Hand) -> None:
    """What a step depends on is run before it, and once; both ways of the reference."""
    assert Instance(worker, "chain").output() == ["first", ["first", "second"], 1]
    assert hand.ran() == ["first", "second", "third"]


def test_steps_run_side_by_side_where_they_are_told_to(worker: WorkerHarness) -> None:
    assert Instance(worker, "beside").output() == 3


def test_what_a_step_cannot_depend_on(worker: WorkerHarness) -> None:
    missing, few, none, usual = Instance(worker, "wrong").output()
    assert missing == "Received unexpected parameter nothing"
    assert few == "the step takes 1 results, and depends on 2 steps"
    assert none.endswith("is not decorated with step.do")
    assert usual == "default"


def test_steps_of_one_name_are_told_apart(worker: WorkerHarness) -> None:
    assert Instance(worker, "same_names").output() == [1, [2, 2]]


@pytest.mark.parametrize(("what", "said"), [("object", "of type object cannot be"), ("large", "at most 1048576")])
def test_a_result_that_cannot_be_kept_fails_its_step_at_once(worker: WorkerHarness, what: str, said: str) -> None:
    error = Instance(worker, "odd", what=what).error()
    assert error["name"] == "NonRetryableError"
    assert said in error["message"]


def test_a_result_is_the_same_before_and_after_a_crash(worker: WorkerHarness) -> None:
    assert Instance(worker, "odd", what="list").output() == [1, {"a": None}]


def test_steps_are_bounded(start: Callable[..., WorkerHarness]) -> None:
    worker = start(
        APP,
        bindings={
            "workflows": {
                "FLOW": {"name": "flow", "class": "Demo", "steps_max": 3},
                "DEMO": {"name": "demo", "class": "Demo", "steps_max": 4},
            }
        },
    )
    assert Instance(worker, "many", workflow="flow").error()["message"] == "the limit of 3 steps has been reached"
    assert Instance(worker, "many", workflow="demo").output() is None


# Crashes


def test_steps_that_have_ended_are_not_run_again(worker: WorkerHarness, hand: Hand) -> None:
    """Seen to fail when the log is not asked before a step is run."""
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    assert instance.status()["status"] == "running"
    for times in range(2, 5):
        assert instance.rings_ms > time.time() * 1_000, "an alarm is set for whoever comes after"
        instance.crash()
        assert instance.status()["status"] == "running"
        instance.ring(now=True)
        hand.until_ran("before", *["during"] * times)
    hand.open("during")
    assert instance.output() == ["after", "before", "done"]
    assert hand.ran() == ["before", "during", "during", "during", "during", "after"]


def test_a_step_is_committed_before_run_goes_on(worker: WorkerHarness, tmp_path: Path) -> None:
    """What `run` does next may kill the worker. Seen to fail when a step has no task of its own."""
    go_on = tmp_path / "go on"
    instance = Instance(worker, "blocks", path=str(go_on))
    instance.ring()
    deadline = time.monotonic() + WAIT_S
    try:
        while worker.commits[instance.act] < 3:  # it was created, its pass began, and the step
            assert time.monotonic() < deadline, "nothing comes while run holds the worker"
            worker.receive(0.1)
    finally:
        go_on.touch()
    assert instance.output() is None


def test_an_instance_that_kills_its_worker_is_given_up(worker: WorkerHarness, hand: Hand) -> None:
    """Each pass that came no further counts, and the next begins later; one that came further begins the count anew."""
    instance = Instance(worker, "stops")
    waits: list[int] = []
    for times in range(1, rules.CUT_MAX + 1):
        instance.ring(now=True)
        hand.until_ran("before", *["during"] * times)
        waits.append(round((instance.rings_ms - time.time() * 1_000) / 1_000))
        instance.crash()
    assert waits[:7] == [2, 2, 4, 8, 16, 32, 60], "the first has written down a step"
    instance.ring(now=True)
    hand.until_ran("before", *["during"] * (rules.CUT_MAX + 1))
    instance.crash()
    instance.ring(now=True)
    assert instance.error()["message"] == "the instance was cut off 10 times in a row, and came no further"


def test_the_alarm_looks_more_rarely_where_nothing_ends(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    waits: list[int] = []
    for _ in range(7):
        instance.ring(now=True)
        waits.append(round((instance.rings_ms - time.time() * 1_000) / 1_000))
    assert waits == [2, 4, 8, 16, 32, 60, 60]
    assert hand.ran() == ["before", "during"], "the pass that is under way goes on"


# Errors and retries


def test_a_step_is_tried_again_later(worker: WorkerHarness, hand: Hand) -> None:
    assert Instance(worker, "fails", times=2, limit=2).output() == 3
    assert hand.ran() == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "limit", "name", "attempts"),
    [("ValueError", 1, "ValueError", 2), ("Own", 0, "Own", 1), ("Final", 5, "NonRetryableError", 1)],
)
def test_an_error_that_stays_ends_the_instance(
    worker: WorkerHarness, hand: Hand, error: str, limit: int, name: str, attempts: int
) -> None:
    instance = Instance(worker, "fails", times=9, limit=limit, error=error)
    assert instance.error() == {"name": name, "message": f"attempt {attempts}"}
    assert hand.ran() == list(range(1, attempts + 1))


@pytest.mark.parametrize(
    ("error", "caught"), [("ValueError", "ValueError"), ("Own", "ApplicationError"), ("Final", "NonRetryableError")]
)
def test_run_may_catch_it(worker: WorkerHarness, error: str, caught: str) -> None:
    assert Instance(worker, "fails", times=9, limit=0, error=error, catch=True).output() == [caught, "attempt 1"]


def test_a_retry_outlives_a_crash_and_is_not_early(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "fails", times=1, delay=400)
    instance.ring()
    hand.until_ran(1)
    due_ms = instance.rings_ms
    assert 0 < due_ms - time.time() * 1_000 <= 400
    instance.crash()
    instance.ring(now=True)
    assert instance.rings_ms == due_ms, "whoever comes after wakes it in time"
    assert hand.ran() == [1]
    assert instance.output() == 2
    assert time.time() * 1_000 >= due_ms
    assert hand.ran() == [1, 2]


def test_a_step_has_a_time_limit(worker: WorkerHarness) -> None:
    error = Instance(worker, "slow").error()
    assert error == {"name": "WorkflowTimeoutError", "message": "Execution timed out after 20ms"}


def test_what_would_end_a_process_ends_the_instance(worker: WorkerHarness) -> None:
    assert Instance(worker, "exits").error()["name"] == "SystemExit"
