"""Alarms at the node: who is woken and when, what survives the owner, and that nothing rings early or twice at once."""

from __future__ import annotations

from typing import Any

import pytest

from homing_node.objects import limits
from homing_node.objects.alarm_clock import AlarmClock
from homing_node.workers.inside import channel
from host_world import HostWorld, Worker


def alarms(world: HostWorld) -> list[tuple[Any, ...]]:
    """The ALARM events that the worker was sent."""
    return [frame for frame in world.worker.frames(channel.EVENT) if frame[3] == channel.ALARM]


def now_ms(world: HostWorld) -> int:
    return world.clock.wall_ms()


@pytest.fixture
def world() -> HostWorld:
    return HostWorld()


def set_alarm(world: HostWorld, name: str, after_s: float) -> None:
    """An object's first call sets its alarm."""
    world.call(name)
    world.turn(world.event(), 1, wake_ms=now_ms(world) + int(after_s * 1_000))


def closed(world: HostWorld) -> None:
    """Every activation has been evicted."""
    for act in list(world.host.objects.values()):
        world.host.on_frame(world.worker, [channel.CLOSED, act.id, True])


@pytest.mark.parametrize("applied", [False, True])
def test_an_object_is_woken_when_its_alarm_is_due_and_not_before(world: HostWorld, applied: bool) -> None:
    """Its activation is gone by then. Seen to fail when only records, and when only pages, are looked at."""
    world.wait(0)
    set_alarm(world, "a", 30)
    set_alarm(world, "b", 20)
    if applied:
        world.apply()
    closed(world)
    world.wait(19.9)
    assert not alarms(world)
    world.wait(0.1)
    assert len(alarms(world)) == 1
    opened = [frame for frame in world.worker.frames(channel.OPEN) if frame[1] == alarms(world)[0][1]]
    assert (opened[0][2], opened[0][4]) == ("Counter", "b")
    world.wait(10)
    assert len(alarms(world)) == 2


@pytest.mark.parametrize("applied", [False, True])
def test_the_next_owner_finds_what_is_due(world: HostWorld, applied: bool) -> None:
    set_alarm(world, "a", 5)
    if applied:
        world.apply()
    world.core.resign(0, "test")
    world.pump()
    world.new_worker()
    world.wait(60)
    assert not alarms(world), "the slot is not served"
    world.claim(2)
    world.wait(0)
    assert len(alarms(world)) == 1


def test_an_alarm_that_was_put_off_or_deleted_does_not_ring(world: HostWorld) -> None:
    world.wait(0)
    set_alarm(world, "a", 5)
    set_alarm(world, "b", 5)
    world.apply()
    for name, at in (("a", now_ms(world) + 60_000), ("b", 0)):
        world.call(name)
        world.turn(world.event(), 2, wake_ms=at)
    world.wait(30)
    assert not alarms(world)
    world.wait(30)
    assert len(alarms(world)) == 1


def test_one_event_at_a_time_and_the_next_when_it_has_ended(world: HostWorld) -> None:
    """Seen to fail when what rings is due again at the next look."""
    world.wait(0)
    set_alarm(world, "a", 1)
    world.wait(1)
    world.wait(100)
    first = alarms(world)
    assert len(first) == 1
    world.turn(first[0], 2, wake_ms=now_ms(world))  # another of its alarms is due
    world.wait(0)
    assert len(alarms(world)) == 2
    world.turn(alarms(world)[1], 3, wake_ms=0)
    world.wait(1_000)
    assert len(alarms(world)) == 2


def test_what_cannot_ring_is_tried_again_later_each_time(world: HostWorld) -> None:
    """A worker that dies is no fault of the handler. Seen to fail when it is tried at each look, or never."""
    world.wait(0)
    set_alarm(world, "a", 1)
    world.wait(1)
    waited: list[float] = []
    for _ in range(8):
        assert len(alarms(world)) == 1
        world.new_worker()
        step = 0.0
        while not alarms(world):
            world.wait(0.25)
            step += 0.25
        waited.append(step)
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_wall_clock_that_is_put_back_puts_alarms_off(world: HostWorld) -> None:
    world.wait(0)
    set_alarm(world, "a", 10)
    world.clock.stepped_s = -100
    world.wait(20)
    assert not alarms(world)
    world.wait(90)
    assert len(alarms(world)) == 1


def test_no_more_than_the_limit_ring_at_once(world: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart a thousand may be due. Seen to fail without the limit."""
    monkeypatch.setattr(limits, "alarms_at_once_max", 3)
    for number in range(8):
        set_alarm(world, f"o{number}", 1)
    world.apply()
    world.wait(10)
    answered = 0
    while answered < 8:
        waiting = alarms(world)[answered:]
        assert 0 < len(waiting) <= 3
        world.turn(waiting[0], 2, wake_ms=0)
        answered += 1
        world.wait(0)
    assert len(alarms(world)) == 8


def test_a_time_that_cannot_be_ends_the_worker(world: HostWorld) -> None:
    for wrong in (-1, 1 << 60, "soon", True, 1.5):
        world.call("a")
        world.host.on_frame(world.worker, [2, world.event()[1], 1, b"", world.event()[2], [], wrong])
        assert world.worker.killed
        world.new_worker()
    assert isinstance(world.worker, Worker)


def test_a_time_without_a_commit_reaches_no_record(world: HostWorld) -> None:
    """The end under a key is a record, too. Seen to fail when only a commit has the time beside it looked at."""
    before = world.core.replica(0).last_lsn
    for wrong in ("soon", 5):
        world.call("a", key="k")
        event = world.event()
        world.host.on_frame(world.worker, [2, event[1], 0, None, event[2], [[event[2], 0, b"1", 1, 2]], wrong])
        assert world.worker.killed
        world.new_worker()
    assert world.core.replica(0).last_lsn == before


def test_others_ring_while_the_first_wait_for_their_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has no more than those for a while. Seen to fail when what has to wait counts as something to do."""
    monkeypatch.setattr(limits, "alarms_read", 2)
    monkeypatch.setattr(limits, "alarms_at_once_max", 2)
    reads: list[int] = []
    stored = [(at, bytes([at]) * 32) for at in range(1, 41)]

    def read(_: int, count: int) -> list[tuple[int, bytes]]:
        reads.append(count)
        assert len(reads) < 500, "it reads for ever"
        return stored[:count]

    clock = AlarmClock(read, lambda slot: [])
    clock.serve(0)
    seen: list[bytes] = []
    for _ in range(20):
        for slot, object_id in clock.due(100):
            seen.append(object_id)
            clock.rang(slot, object_id, 100, well=False)
        assert len(set(seen)) == len(seen), "tried again at once"
    assert sorted(seen) == [object_id for _, object_id in stored]
