"""Alarms with a schedule: they ring again and again, and what the object says in between counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from homing_node.workers.inside.alarms import Alarms, earliest_ms
from replica import Store

FIVE = "*/5 * * * *"
MINUTE_MS = 60_000


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.commit()
    store.check()
    store.database.close()


@pytest.fixture
def alarms(store: Store) -> Alarms:
    return Alarms(store.database, handled=True)


def ring(alarms: Alarms, now_ms: int) -> int:
    alarm = alarms.ring(now_ms)
    assert alarm is not None
    return alarm.scheduled_time


def test_it_rings_at_the_next_time_after_the_last_run(alarms: Alarms, store: Store) -> None:
    """Seen to fail when a run deletes the row as that of another alarm, and when missed times are all made up for."""
    alarms.set("a", 5 * MINUTE_MS, FIVE)
    assert ring(alarms, 5 * MINUTE_MS) == 5 * MINUTE_MS
    assert earliest_ms(store.database) == 5 * MINUTE_MS, "its node may die while it rings"
    alarms.rang(6 * MINUTE_MS)
    assert alarms.list() == {"a": 10 * MINUTE_MS}
    assert alarms.ring(9 * MINUTE_MS) is None
    assert ring(alarms, 52 * MINUTE_MS) == 10 * MINUTE_MS
    alarms.rang(52 * MINUTE_MS)
    assert earliest_ms(store.database) == 55 * MINUTE_MS


def test_a_run_that_fails_is_tried_again_before_the_next(alarms: Alarms, store: Store) -> None:
    alarms.set("a", 5 * MINUTE_MS, FIVE)
    for failures in range(7):
        due_ms = earliest_ms(store.database)
        alarm = alarms.ring(due_ms)
        assert alarm is not None
        assert (alarm.retry_count, alarm.scheduled_time) == (failures, 5 * MINUTE_MS)
        alarms.failed(due_ms)
    assert alarms.list() == {"a": 10 * MINUTE_MS}, "the next time comes with all its tries"
    alarm = alarms.ring(10 * MINUTE_MS)
    assert alarm is not None
    assert alarm.retry_count == 0


@pytest.mark.parametrize("replaced", [None, 99 * MINUTE_MS])
def test_what_the_handler_says_takes_the_place_of_the_schedule(alarms: Alarms, replaced: int | None) -> None:
    alarms.set("a", 5 * MINUTE_MS, FIVE)
    ring(alarms, 5 * MINUTE_MS)
    if replaced is None:
        alarms.delete("a")
    else:
        alarms.set("a", replaced)
    alarms.rang(6 * MINUTE_MS)
    assert alarms.list() == ({} if replaced is None else {"a": replaced})
    if replaced is not None:
        ring(alarms, replaced)
        alarms.rang(replaced)
        assert alarms.list() == {}, "the schedule is forgotten"


def test_everything_is_deleted_with_the_rest(alarms: Alarms, store: Store) -> None:
    alarms.set("a", 5 * MINUTE_MS, FIVE)
    store.commit()
    store.database.delete_all()
    assert alarms.list() == {}
    alarms.set("a", 7 * MINUTE_MS)
    ring(alarms, 7 * MINUTE_MS)
    alarms.rang(7 * MINUTE_MS)
    assert alarms.list() == {}
