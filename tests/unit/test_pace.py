"""The pace of a writer: a lone frame leaves at once, a busy writer's frames leave together."""

from __future__ import annotations

import pytest

from hand_clock import Clock
from homing.pace import Pace


class Writer:
    """Sends whenever it may, and notes when and how much."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.queued = 0
        self.able = True
        self.sent: list[tuple[float, int]] = []
        self.pace = Pace(self.go, gather_s=0.004, enough=16)

    def put(self, frames: int = 1) -> None:
        self.queued += frames
        self.pace.ready(frames)

    def go(self) -> None:
        if self.queued and self.able:
            self.pace.sent()
            self.sent.append((round(self.clock.now_s, 6), self.queued))
            self.queued = 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of_running_loop(monkeypatch)


@pytest.fixture
def writer(clock: Clock) -> Writer:
    return Writer(clock)


def make_busy(clock: Clock, writer: Writer) -> None:
    """A hundred frames pass within 20 ms; then nothing is queued."""
    for _ in range(10):
        writer.put(10)
        writer.pace.hurry()
        clock.move(0.002)
    writer.sent.clear()


def sent_after(clock: Clock, writer: Writer) -> list[tuple[float, int]]:
    """What left, with seconds from now on."""
    return [(round(at - clock.now_s, 6), frames) for at, frames in writer.sent]


def test_frames_one_at_a_time_are_never_held(clock: Clock, writer: Writer) -> None:
    """A caller that waits for each answer; seen to fail when every writer counts as busy."""
    for _ in range(50):
        writer.put()
        clock.move(0.002)
    assert [frames for _, frames in writer.sent] == [1] * 50
    assert [at for at, _ in writer.sent] == [round(0.002 * n, 6) for n in range(50)]


def test_a_busy_writer_waits_for_more(clock: Clock, writer: Writer) -> None:
    """Seen to fail when the first frame leaves at once: it went alone, and its neighbours after it."""
    make_busy(clock, writer)
    writer.put()
    clock.move(0.002)
    writer.put(3)
    assert writer.sent == []
    clock.move(0.002)
    assert sent_after(clock, writer) == [(0.0, 4)]


def test_many_lone_frames_make_a_writer_busy(clock: Clock, writer: Writer) -> None:
    """Seen to fail when only the last batch counts: frames that came one by one were never gathered."""
    for _ in range(80):
        writer.put()
        clock.move(0.0005)
    clock.move(0.01)
    assert sum(frames for _, frames in writer.sent) == 80
    assert max(frames for _, frames in writer.sent) >= 6


def test_a_writer_that_was_busy_long_ago_holds_nothing(clock: Clock, writer: Writer) -> None:
    """Seen to fail when only batches that leave are looked at: the first frame after a pause waited."""
    make_busy(clock, writer)
    clock.move(0.5)
    writer.put()
    assert sent_after(clock, writer) == [(0.0, 1)]


def test_enough_frames_do_not_wait(clock: Clock, writer: Writer) -> None:
    make_busy(clock, writer)
    writer.put(15)
    assert writer.sent == []
    writer.put()
    assert sent_after(clock, writer) == [(0.0, 16)]
    assert clock.timers == []


def test_a_hurry_takes_along_what_waits(clock: Clock, writer: Writer) -> None:
    make_busy(clock, writer)
    writer.put(4)
    writer.pace.hurry()
    assert sent_after(clock, writer) == [(0.0, 4)]
    writer.pace.hurry()
    assert len(writer.sent) == 1, "a hurry without frames sends nothing"


def test_what_could_not_leave_when_it_might_does_not_wait_again(clock: Clock, writer: Writer) -> None:
    """The disk was at work when the time was over. Seen to fail when that is forgotten: it waited twice."""
    make_busy(clock, writer)
    writer.able = False
    writer.put(2)
    clock.move(0.004)
    writer.able = True
    writer.put()
    assert sent_after(clock, writer) == [(0.0, 3)]


def test_what_is_held_leaves_when_no_more_comes(clock: Clock, writer: Writer) -> None:
    make_busy(clock, writer)
    writer.put()
    clock.move(1.0)
    assert writer.queued == 0
    assert clock.timers == []
