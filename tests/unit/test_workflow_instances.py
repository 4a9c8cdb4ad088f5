"""Instances of workflows in a worker's own runtime: sleeps, events, and what callers do to them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from homing.bindings import workflow_rules as rules
from homing.values import to_json
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness
from workflow_app import APP, FACE, WAIT_S, Hand, Instance


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


@pytest.fixture
def hand(worker: WorkerHarness) -> Hand:
    return Hand(worker)


# Sleeps


def test_a_sleep_ends_in_its_time(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "sleeps", ms=200)
    instance.ring()
    hand.until_ran("before")
    assert instance.until("waiting")
    due_ms = instance.rings_ms
    assert instance.output() == "after"
    assert time.time() * 1_000 >= due_ms


def test_an_instance_that_only_waits_leaves_memory(
    worker: WorkerHarness, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "GRACE_S", 0.01)
    instance = Instance(worker, "sleeps", ms=600)
    instance.ring()
    hand.until_ran("before")
    deadline = time.monotonic() + WAIT_S
    while not worker.close(instance.act):
        assert time.monotonic() < deadline, "it stays in memory"
        time.sleep(0.01)
    instance.act = worker.reopen(instance.act, "homing.workflow")
    assert instance.status()["status"] == "waiting"
    instance.ring(now=True)
    assert hand.ran() == ["before"], "it sleeps on"
    assert instance.output() == "after"
    assert hand.ran() == ["before", "after"]


def test_a_sleep_beside_a_step_does_not_end_it(
    worker: WorkerHarness, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "GRACE_S", 0.01)
    instance = Instance(worker, "races")
    instance.ring()
    time.sleep(0.1)  # ten times as long as it would take to give it up
    assert instance.status()["status"] == "running"
    hand.open("work")
    hand.until_ran("work")
    assert instance.until("waiting")


# Events


def test_events_come_to_whoever_waits_in_order(worker: WorkerHarness) -> None:
    instance = Instance(worker, "waits", events=3)
    assert instance.send({"n": 1}) == instance.send({"n": 2}) == "", "before anybody waits"
    assert instance.until("waiting")
    assert instance.send("other", "another") == ""
    assert instance.send({"n": 3}) == ""
    assert [[kind, payload] for kind, payload, _ in instance.output()] == [["go", {"n": n}] for n in (1, 2, 3)]
    assert instance.send({"n": 4}) == "(instance.not_running) The instance is complete"


def test_an_event_wakes_an_instance_that_left_memory(worker: WorkerHarness) -> None:
    instance = Instance(worker, "waits")
    assert instance.until("waiting")
    assert instance.rings_ms > time.time() * 1_000 + 1_000
    instance.crash()
    assert instance.status()["status"] == "waiting"
    assert instance.send([1]) == ""
    assert instance.rings_ms <= time.time() * 1_000
    instance.crash()
    assert instance.output()[0][:2] == ["go", [1]]


def test_to_wait_for_an_event_has_a_time_limit(worker: WorkerHarness) -> None:
    error = Instance(worker, "waits", timeout=50).error()
    assert error == {"name": "WorkflowTimeoutError", "message": "Execution timed out after 50ms"}


# What callers do to an instance


def test_an_id_is_taken_once(worker: WorkerHarness) -> None:
    instance = Instance(worker, "told")
    assert instance.ask("create", "Demo", "a", b"", [0, 0]) == rules.EXISTS


def test_there_is_nothing_where_nothing_was_created(worker: WorkerHarness) -> None:
    act = worker.open("homing.workflow", name="Demo/none")
    assert worker.call(act, "status") is None
    for method in ("pause", "resume", "terminate", "restart", "delete"):
        assert worker.call(act, method) == rules.NOT_FOUND
    assert worker.call(act, "send_event", body=to_json({"args": ["go", b""]})) == rules.NOT_FOUND
    assert worker.commits.get(act, 0) == 0, "to ask leaves nothing behind"


def test_a_step_that_runs_ends_before_its_instance_is_paused(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    assert instance.ask("pause") == ""
    assert instance.status()["status"] == "waitingForPause"
    hand.open("during")
    assert instance.until("paused")
    assert hand.ran() == ["before", "during"]
    assert instance.rings_ms == 0
    assert instance.ask("pause") == ""
    instance.crash()
    assert instance.ask("resume") == ""
    assert instance.output() == ["after", "before", "done"]
    assert hand.ran() == ["before", "during", "after"]
    assert instance.ask("resume") == "(instance.cannot_resume) The instance is complete"


def test_no_step_begins_while_an_instance_is_to_be_paused(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "two_ways")
    instance.ring()
    hand.until_ran("way")
    instance.ask("pause")
    hand.open("way")
    hand.until_ran("way", "gone")
    assert instance.status()["status"] == "waitingForPause"
    instance.ask("resume")
    hand.until_ran("way", "gone", "later")


def test_a_pause_can_be_taken_back(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    instance.ask("pause")
    assert instance.ask("resume") == ""
    assert instance.status()["status"] == "running"
    hand.open("during")
    assert instance.output() == ["after", "before", "done"]


def test_who_dies_while_it_is_to_be_paused_is_paused(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    instance.ask("pause")
    instance.crash()
    instance.ring(now=True)
    assert instance.status()["status"] == "paused"
    assert hand.ran() == ["before", "during"]


def test_a_paused_sleep_has_as_much_left(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "sleeps", ms=300)
    instance.ring()
    hand.until_ran("before")
    assert instance.until("waiting")
    due_ms = instance.rings_ms
    paused = time.monotonic()
    instance.ask("pause")
    time.sleep(0.4)
    instance.ask("resume")
    for_ms = (time.monotonic() - paused) * 1_000
    assert instance.output() == "after"
    assert time.time() * 1_000 >= due_ms + 400
    assert for_ms >= 400


def test_an_instance_is_terminated_once(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    assert instance.ask("terminate") == ""
    assert instance.status()["status"] == "terminated"
    assert instance.ask("terminate") == "(instance.cannot_terminate) The instance is terminated"
    hand.open("during")
    instance.ring(now=True)
    assert instance.status()["status"] == "terminated"
    assert hand.ran() == ["before", "during"]


def test_an_instance_is_restarted_from_its_beginning_or_from_a_step(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    hand.open("during")
    assert instance.output()
    assert instance.ask("restart", "during") == ""
    assert instance.output() == ["after", "before", "done"]
    assert hand.ran() == ["before", "during", "after", "during", "after"]
    assert instance.ask("restart", "never").startswith("(instance.step_not_found)")
    assert instance.ask("restart") == ""
    assert instance.status()["status"] == "queued"
    assert instance.output()
    assert hand.ran()[5:] == ["before", "during", "after"]


def test_an_instance_is_restarted_while_it_runs(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    instance.ask("restart")
    hand.open("during")
    assert instance.output()
    assert hand.ran() == ["before", "during", "before", "during", "after"]


def test_an_instance_that_has_ended_is_kept_for_a_while(worker: WorkerHarness) -> None:
    instance = Instance(worker, "told", keep_ms=300)
    instance.output()
    until_ms = instance.rings_ms
    assert 0 < until_ms - time.time() * 1_000 <= 300
    instance.ring(now=True)
    assert instance.status()["status"] == "complete", "not yet"
    while time.time() * 1_000 < until_ms:
        time.sleep(0.01)
    instance.ring()
    assert instance.status() is None


def test_an_instance_is_deleted_while_it_runs(worker: WorkerHarness, hand: Hand) -> None:
    instance = Instance(worker, "stops")
    instance.ring()
    hand.until_ran("before", "during")
    assert instance.ask("delete") == ""
    assert instance.status() is None
    assert instance.rings_ms == 0


def test_a_workflow_that_the_application_has_no_more_is_waited_for(start: Callable[..., WorkerHarness]) -> None:
    bound = {"FLOW": {"name": "flow", "class": "Demo", "steps_max": 9}}
    instance = Instance(start(APP, bindings={"workflows": bound}), "told", workflow="gone")
    instance.ring()
    assert instance.status()["status"] == "queued"
    assert instance.rings_ms > time.time() * 1_000 + 50_000


# The face that Cloudflare's applications know


def test_an_application_of_cloudflares(start: Callable[..., WorkerHarness]) -> None:
    bound = {"MY_WORKFLOW": {"name": "my-workflow", "class": "MyWorkflow", "steps_max": 100}}
    worker = start(FACE, bindings={"workflows": bound})
    assert "homing.workflow" in worker.hello[1]["classes"]
    instance = Instance(worker, workflow="my-workflow", params={"items": [1]})
    assert instance.until("waiting")
    instance.send({"by": "ann"})
    assert instance.output() == {
        "event": [{"items": [1]}, [1], "a", "my-workflow"], "fresh": True, "caught": "no more",
        "got": [{"by": "ann"}, "ann", "go", True], "plain": [True, "items", 2026, 2], "faces": [True, True, True],
    }  # fmt: skip


def test_a_class_that_is_bound_must_be_a_workflow(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, bindings={"workflows": {"FLOW": {"name": "flow", "class": "Hand", "steps_max": 9}}})
    assert worker.hello[0] == channel.FAILED
    assert "Hand, which is bound as FLOW, is no WorkflowEntrypoint" in worker.hello[2]
