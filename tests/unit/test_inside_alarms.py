"""Alarms inside a worker: what is set, what is told to the node, and what becomes of an alarm whose handler ran."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from homing_node.workers.inside import channel, limits
from worker_harness import Failed, WorkerHarness

APP = """
import asyncio, datetime
from homing import DurableObject, StorageError

class Clock(DurableObject):
    async def set(self, at, name=""): await self.ctx.storage.set_alarm(at, name=name)
    async def get(self, name=""): return await self.ctx.storage.get_alarm(name)
    async def drop(self, name=""): await self.ctx.storage.delete_alarm(name)
    async def all(self): return await self.ctx.storage.list_alarms()
    async def wipe(self): await self.ctx.storage.delete_all()
    def script(self, *steps): self.ctx.storage.kv.put("steps", list(steps))
    def seen(self): return self.ctx.storage.kv.get("seen") or []
    def rows(self):
        try:
            return self.ctx.storage.sql.exec("SELECT * FROM _homing_alarms").to_array()
        except StorageError as error:
            return str(error)

    async def undone(self, at):
        async def work(txn):
            await txn.set_alarm(at)
            txn.rollback()
        await self.ctx.storage.transaction(work)

    async def undone_sync(self, at):
        def work():
            self.ctx.storage.set_alarm(at)
            raise KeyError("no")
        try:
            self.ctx.storage.transaction_sync(work)
        except KeyError:
            pass

    async def at(self, what):
        when = {"naive": datetime.datetime(2030, 1, 1), "bool": True, "text": "soon", "past": -1, "nan": float("nan"),
                "aware": datetime.datetime(2030, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))}[what]
        try:
            await self.ctx.storage.set_alarm(when)
        except (TypeError, StorageError) as error:
            return type(error).__name__
        return await self.ctx.storage.get_alarm()

    async def alarm(self, alarm):
        storage = self.ctx.storage
        inside = await storage.get_alarm(alarm.name)
        storage.kv.put("seen", self.seen() + [[*alarm, alarm.is_retry, inside]])
        for step in storage.kv.get("steps") or []:
            if step == "raise": raise ValueError("as told")
            if step == "await": await asyncio.sleep(0.01)
            if step == "abort": self.ctx.abort("as told")
            if step == "give up": self.ctx.abort("as told", retry_alarm=False)
            if step == "drop": await storage.delete_alarm(alarm.name)
            if type(step) is int: await storage.set_alarm(step, name=alarm.name)

class NoHandler(DurableObject):
    async def set(self): await self.ctx.storage.set_alarm(1)
    async def get(self): return await self.ctx.storage.get_alarm()

class Plain(DurableObject):
    def alarm(self): self.ctx.storage.kv.put("rang", True)
    async def set(self, at): await self.ctx.storage.set_alarm(at)
    def rang(self): return self.ctx.storage.kv.get("rang")

class Fragile(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.early = ctx.storage.kv.get("early")
        if ctx.storage.kv.get("broken"):
            ctx.storage.kv.put("lost", 1)
            raise RuntimeError("cannot be made")
    async def set(self, at):
        await self.ctx.storage.set_alarm(at)
        self.ctx.storage.kv.put("broken", True)
    def alarm(self): pass
"""
_numbers = itertools.count(1_000_000)
FAR = 4_000_000_000_000


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


def wakes(worker: WorkerHarness, act: int) -> list[int]:
    """What the node was told, in order."""
    worker.settle()
    return [frame[6] for frame in worker.turns(act) if len(frame) > 6]


def begin(worker: WorkerHarness, act: int) -> int:
    """The node's ALARM event; returns its number."""
    number = next(_numbers)
    worker.send(channel.EVENT, act, number, channel.ALARM, "", b"", 0, "", "", None, False, 0, 0)
    return number


def ring(worker: WorkerHarness, act: int) -> None:
    """An ALARM event that ends well."""
    assert worker.answer(begin(worker, act)) is None


def failed(worker: WorkerHarness, act: int) -> Failed:
    """The failure of an ALARM event."""
    with pytest.raises(Failed) as failure:
        worker.answer(begin(worker, act))
    return failure.value


# Setting


def test_the_node_is_told_of_the_earliest_with_the_commit_that_changed_it(worker: WorkerHarness) -> None:
    act = worker.open("Clock")
    worker.call(act, "set", FAR + 5)
    worker.call(act, "set", FAR + 9, name="late")
    worker.call(act, "set", FAR, name="early")
    worker.call(act, "drop", "early")
    worker.call(act, "script")
    assert wakes(worker, act) == [FAR + 5, FAR + 5, FAR, FAR + 5]
    assert all(frame[3] is not None for frame in worker.turns(act) if len(frame) > 6)
    assert worker.call(act, "all") == {"": FAR + 5, "late": FAR + 9}
    worker.call(act, "wipe")
    assert wakes(worker, act)[-1] == 0
    assert worker.call(act, "get") is None


def test_an_alarm_is_kept_with_the_data_and_hidden_from_sql(worker: WorkerHarness) -> None:
    act = worker.open("Clock")
    worker.call(act, "set", FAR)
    successor = worker.reopen(act, "Clock")
    assert worker.call(successor, "get") == FAR
    assert "_homing_alarms" in worker.call(successor, "rows")


@pytest.mark.parametrize("method", ["undone", "undone_sync"])
def test_what_is_undone_sets_no_alarm(worker: WorkerHarness, method: str) -> None:
    act = worker.open("Clock")
    worker.call(act, "set", FAR)
    worker.call(act, method, FAR - 1)
    assert worker.call(act, "get") == FAR
    assert set(wakes(worker, act)) == {FAR}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("naive", 1_893_456_000_000), ("aware", 1_893_456_000_000), ("bool", "TypeError"), ("text", "StorageError"),
        ("past", "StorageError"), ("nan", "StorageError"),
    ],
)  # fmt: skip
def test_a_time_is_a_number_of_milliseconds_or_a_datetime(worker: WorkerHarness, what: str, said: object) -> None:
    assert worker.call(worker.open("Clock"), "at", what) == said


def test_a_class_without_a_handler_cannot_set_one(worker: WorkerHarness) -> None:
    act = worker.open("NoHandler")
    assert worker.failure(act, "set").code == "not-supported"
    assert worker.call(act, "get") is None


# Ringing


def test_its_handler_runs_and_it_is_not_set_any_more(worker: WorkerHarness) -> None:
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    ring(worker, act)
    assert worker.call(act, "seen") == [["", 7, 0, False, None]]
    assert worker.call(act, "get") is None
    assert wakes(worker, act) == [7, 0]
    ring(worker, act)  # nothing is due
    assert len(worker.call(act, "seen")) == 1


def test_none_is_early_and_the_earliest_comes_first(worker: WorkerHarness) -> None:
    """Seen to fail when what is due is not asked for."""
    act = worker.open("Clock")
    for at_ms, name in ((FAR, "far"), (9, "second"), (8, "first")):
        worker.call(act, "set", at_ms, name=name)
    for _ in range(3):
        ring(worker, act)
    assert [name for name, *_ in worker.call(act, "seen")] == ["first", "second"]
    assert wakes(worker, act)[-1] == FAR


@pytest.mark.parametrize("steps", [["raise"], ["await", "raise"]])
def test_a_handler_that_raises_is_tried_seven_times_and_given_up(
    start: Callable[..., WorkerHarness], steps: list[str]
) -> None:
    """Each wait is twice the one before and longer by up to a quarter; the first is 2 s, here 20 ms.

    Seen to fail with another number, without growth, and with a wait that is shorter.
    """
    assert (limits.alarm_retry_first_s, limits.alarm_retries_max, limits.alarm_retry_doublings_max) == (2, 6, 9)
    first_s = 0.02
    worker = start(APP, limits={"alarm_retry_first_s": first_s})
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    worker.call(act, "script", *steps)
    for run in range(7):
        before = time.time()
        failure = failed(worker, act)
        after = time.time()
        assert (failure.code, failure.error_type) == ("application-error", "ValueError")
        assert worker.call(act, "seen")[-1] == ["", 7, run, run > 0, None]
        told_s = wakes(worker, act)[-1] / 1_000
        if run < 6:
            wait_s = first_s * 2**run
            assert before + wait_s - 0.002 <= told_s <= after + wait_s * 1.25
            time.sleep(max(0.0, told_s - time.time()) + 0.002)
    assert told_s == 0
    assert worker.call(act, "get") is None


@pytest.mark.parametrize("steps", [[FAR], ["await", FAR], [FAR, "raise"], [FAR, "await", "raise"]])
def test_what_the_handler_sets_stays_and_takes_the_place_of_a_retry(worker: WorkerHarness, steps: list[Any]) -> None:
    """Seen to fail when the end of a handler forgets whatever is under the name."""
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    worker.call(act, "script", *steps)
    if "raise" in steps:
        failed(worker, act)
    else:
        ring(worker, act)
    assert worker.call(act, "get") == FAR
    assert wakes(worker, act)[-1] == FAR


def test_a_handler_that_deletes_its_alarm_and_raises_is_not_tried_again(worker: WorkerHarness) -> None:
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    worker.call(act, "script", "drop", "raise")
    failed(worker, act)
    assert wakes(worker, act)[-1] == 0


def test_until_its_handler_has_ended_an_alarm_would_ring_again(worker: WorkerHarness) -> None:
    """Its node may die meanwhile. Seen to fail when the alarm is forgotten at the beginning."""
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    worker.call(act, "script", FAR, "await", "abort")
    begin(worker, act)
    worker.wait(lambda frame: frame[0] == channel.RESET)
    assert wakes(worker, act)[-1] == FAR, "a turn of it was committed"
    other = worker.open("Clock")
    worker.call(other, "set", 7)
    worker.call(other, "script", "abort")
    begin(worker, other)
    worker.wait(lambda frame: frame[0] == channel.RESET)
    assert wakes(worker, other)[-1] == 7
    assert worker.call(worker.reopen(other, "Clock"), "seen") == []


def test_an_abort_can_give_the_alarm_up(worker: WorkerHarness) -> None:
    """What the handler wrote in that turn is undone all the same."""
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    worker.call(act, "script", "give up")
    begin(worker, act)
    worker.wait(lambda frame: frame[0] == channel.RESET)
    assert wakes(worker, act)[-1] == 0
    successor = worker.reopen(act, "Clock")
    assert worker.call(successor, "get") is None
    assert worker.call(successor, "seen") == []


def test_a_handler_may_take_nothing_and_need_not_await(worker: WorkerHarness) -> None:
    act = worker.open("Plain")
    worker.call(act, "set", 7)
    ring(worker, act)
    assert worker.call(act, "rang") is True


def test_a_constructor_that_raises_counts_as_a_failure(worker: WorkerHarness) -> None:
    """Seen to fail when its retry is undone with what the constructor wrote."""
    act = worker.open("Fragile")
    worker.call(act, "set", 7)
    successor = worker.reopen(act, "Fragile")
    failure = failed(worker, successor)
    assert failure.error_type == "RuntimeError"
    worker.wait(lambda frame: frame[0] == channel.RESET)
    told = wakes(worker, successor)
    assert len(told) == 1
    assert 1 < told[0] / 1_000 - time.time() <= 2.5


def test_an_alarm_of_a_class_whose_handler_is_gone_is_a_failure(worker: WorkerHarness) -> None:
    act = worker.open("Plain")
    worker.call(act, "set", 7)
    failure = failed(worker, worker.reopen(act, "NoHandler"))
    assert "no alarm handler" in str(failure)


def test_a_handler_that_runs_for_too_long_is_cancelled_and_tried_again(start: Callable[..., WorkerHarness]) -> None:
    source = APP.replace('if step == "await": await asyncio.sleep(0.01)', 'if step == "await": await asyncio.sleep(60)')
    worker = start(source, limits={"alarm_s_max": 0.1})
    act = worker.open("Clock")
    worker.call(act, "set", 7)
    worker.call(act, "script", "await")
    failure = failed(worker, act)
    assert failure.error_type == "CancelledError"
    assert wakes(worker, act)[-1] > time.time() * 1_000
