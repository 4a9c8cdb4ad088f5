"""Who watches a node is told what object code prints and how its events end; who does not costs nothing."""

from __future__ import annotations

from typing import Any

import pytest

from homing.errors import Overloaded
from homing.ids import ObjectId
from homing.levels import DEBUG, ERROR, INFO, WARNING
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.tails import Tail, Tails
from host_world import Clock, HostWorld, Worker

LOG = 5
A = ObjectId.from_name("Counter", "a").raw


class Watch:
    """A tail, and how often it said that there is something."""

    def __init__(self, tails: Tails, **asked: Any) -> None:
        self.ready = 0
        self.tail: Tail = tails.watch(wire.TailRequest(**asked), self._on_ready)

    def _on_ready(self) -> None:
        self.ready += 1

    def batches(self) -> list[wire.TailBatch]:
        """All that waits."""
        found: list[wire.TailBatch] = []
        while (batch := self.tail.take()).events:
            found.append(batch)
        return found

    def events(self) -> list[wire.TailEvent]:
        batch = self.tail.take()
        assert not batch.dropped
        return list(batch.events)


def line(world: HostWorld, text: str, *, act: int = 0, stream: str = "stdout", level: int = INFO) -> None:
    world.host.on_frame(world.worker, [LOG, act, "r-1", stream, text, "", level])


def test_a_line_says_whose_it_is() -> None:
    world = HostWorld()
    watch = Watch(world.host.tails)
    world.call()
    act = world.event()[1]
    line(world, "hello", act=act)
    line(world, "Traceback …", act=act, stream="traceback", level=ERROR)
    line(world, "of the entrypoint", level=WARNING)
    line(world, "of what has ended", act=act + 99)
    assert watch.ready == 4
    first, second, third, last = watch.events()
    assert first == wire.TailEvent(
        kind=wire.TAIL_KIND_LOG, time_ms=world.clock.wall_ms(), level=INFO, class_name="Counter", object=A, name="a",
        version="v1", request_id="r-1", message="hello",
    )  # fmt: skip
    assert (second.kind, second.level, second.message) == (wire.TAIL_KIND_EXCEPTION, ERROR, "Traceback …")
    assert (third.class_name, third.object, third.level) == ("Default", b"", WARNING)
    assert (last.class_name, last.object) == ("", b"")


def test_a_worker_cannot_speak_for_an_object_of_another() -> None:
    """Seen to fail when `object_log.emit` takes the activation for the worker's own."""
    world = HostWorld()
    watch = Watch(world.host.tails)
    world.call()
    world.host.on_frame(Worker(2), [LOG, world.event()[1], "", "stdout", "I am a", "", INFO])
    (event,) = watch.events()
    assert (event.class_name, event.object) == ("", b"")


@pytest.mark.parametrize(
    "frame", [["r", "stdout", 5, "", INFO], ["r", b"x", "x", "", INFO], ["r", "stdout", "x", "", 51], ["r", "stdout"]]
)
@pytest.mark.parametrize("watched", [True, False])
def test_what_is_no_line_ends_its_worker_whoever_watches(frame: list[Any], watched: bool) -> None:
    world = HostWorld()
    if watched:
        Watch(world.host.tails)
    world.host.on_frame(world.worker, [LOG, 0, *frame])
    assert world.worker.killed


def test_outcomes() -> None:
    world = HostWorld()
    watch = Watch(world.host.tails)
    world.call()
    world.turn(world.event(), 1)
    world.call()
    failed = world.event()
    effect = [failed[2], 2, ["application-error", "boom", "ValueError"], 5_000, 2_005_000]
    world.host.on_frame(world.worker, [2, failed[1], 0, None, failed[2], [effect]])
    world.pump()
    world.call()
    world.clock.seconds += 0.25
    world.new_worker()
    well, ill, lost = watch.events()
    assert (well.kind, well.level, well.event, well.outcome) == (wire.TAIL_KIND_OUTCOME, DEBUG, "rpc m", "ok")
    assert (ill.level, ill.outcome, ill.message, ill.duration_us) == (ERROR, "application-error", "boom", 2_000)
    assert (lost.outcome, lost.duration_us, lost.name) == ("object-reset", 250_000, "a")


def test_outcomes_of_the_entrypoint_and_of_requests_leave_out_what_may_be_secret() -> None:
    world = HostWorld()
    watch = Watch(world.host.tails)
    for number, url in enumerate(("http://h/x/y?token=s", "http://[", "nothing")):
        call = wire.Call(id=90 + number, kind=wire.CALL_KIND_DEFAULT, method="GET", url=url, request_id="r")
        world.host.call(call, lambda _: None)
        event = world.event()
        effects = [[event[2], 1, [404, [], b""], 1, 1_000_001]]
        world.host.on_frame(world.worker, [2, 0, 0, None, event[2], effects])
    first, *others = watch.events()
    assert (first.class_name, first.event, first.outcome) == ("Default", "fetch GET /x/y", "ok")
    assert (first.message, first.duration_us) == ("status 404", 1_000)
    assert [each.event for each in others] == ["fetch GET /", "fetch GET /"]


def test_only_what_is_asked_for() -> None:
    world = HostWorld()
    tails = world.host.tails
    watches = [
        Watch(tails, class_name="Counter"), Watch(tails, class_name="Other"), Watch(tails, class_name="Default"),
        Watch(tails, class_name="Counter", object=A), Watch(tails, class_name="Counter", object=bytes(32)),
        Watch(tails, level=WARNING),
    ]  # fmt: skip
    world.call()
    line(world, "x", act=world.event()[1])
    line(world, "y", level=ERROR)
    told = [[event.message for event in watch.events()] for watch in watches]
    assert told == [["x"], [], ["y"], ["x"], [], ["y"]]


def test_who_is_slow_is_told_how_many_were_dropped_and_the_rest_is_in_order() -> None:
    """Seen to fail without the bound in `Tail.add`, and when what was dropped is not counted."""
    tails = Tails(Clock())
    watch = Watch(tails)
    for number in range(limits.tail_events_max + 7):
        tails.line(Worker(1), None, 0, "", "stdout", str(number), INFO)
    batches = watch.batches()
    assert all(batch.ByteSize() < 2 * limits.tail_batch_bytes for batch in batches)
    told = [event.message for batch in batches for event in batch.events]
    assert told == [str(number) for number in range(limits.tail_events_max)]
    assert [batch.dropped for batch in batches] == [0] * (len(batches) - 1) + [7]
    tails.line(Worker(1), None, 0, "", "stdout", "again", INFO)
    assert [event.message for event in watch.events()] == ["again"]


def test_what_waits_is_bounded_in_bytes_and_lines_are_cut() -> None:
    tails = Tails(Clock())
    watch = Watch(tails)
    count = 2 * limits.tail_bytes_max // limits.tail_message_bytes_max
    for _ in range(count):
        tails.line(Worker(1), None, 0, "r" * 5_000, "stdout", "é" * 10_000, INFO)
    batches = watch.batches()
    events = [event for batch in batches for event in batch.events]
    assert all(len(event.message.encode()) < limits.tail_message_bytes_max + 20 for event in events)
    assert all(event.message.endswith("(cut)") for event in events)
    assert len(events) + batches[-1].dropped == count
    assert sum(batch.ByteSize() for batch in batches) <= limits.tail_bytes_max + 1_000 * len(batches)


def test_a_turn_that_nobody_watches_only_looks_whether_somebody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when the host tells `Tails` of a turn without looking at `open`."""

    def told(*_: Any) -> None:
        raise AssertionError("nobody watches")

    for name in ("line", "ended", "failed"):
        monkeypatch.setattr(Tails, name, told)
    world = HostWorld()
    gone = Watch(world.host.tails)
    world.host.tails.end(gone.tail)
    world.call()
    line(world, "x", act=world.event()[1])
    world.turn(world.event(), 1)
    world.call()
    world.new_worker()
    assert not world.worker.killed


def test_a_node_takes_only_so_many() -> None:
    tails = Tails(Clock())
    watches = [Watch(tails) for _ in range(limits.tails_max)]
    with pytest.raises(Overloaded):
        Watch(tails)
    tails.end(watches[0].tail)
    Watch(tails)
