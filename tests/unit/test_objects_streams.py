"""Streams in the arguments and results of methods, through a node: the output gate, credit, and each end's ends."""

from __future__ import annotations

from typing import Any

import pytest

from homing.errors import Unavailable
from homing.flow import BROKEN, GOES_ON, WHOLE, cost_of, piece_bytes_max, streams_per_value_max, window_bytes
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.frames import CALL, FLOW, OF_CALL, OF_EVENT, REPLY, STOP, TAKEN, TURN
from homing_node.workers.inside import pages
from homing_placement.routing.flows import LinkFlows
from homing_placement.routing.pending import Pending
from host_world import HostWorld

METHOD = 5
TARGET = ObjectId.from_name("Counter", "b")


class Port:
    """The stream of a node whose objects call."""

    def __init__(self) -> None:
        self.gone = False
        self.said: list[tuple[Any, ...]] = []
        self.replies: dict[int, wire.Reply] = {}

    def flow(self, m: wire.Flow) -> None:
        what = ("stop",) if m.stop else ("taken", m.taken) if m.taken else (m.data, m.end)
        self.said.append((m.id, m.stream, *what))

    def reply(self, reply: wire.Reply) -> None:
        self.replies[reply.id] = reply


class Calls:
    """Takes the calls of objects, and writes them to a link; a test answers them."""

    def __init__(self) -> None:
        self.calls: list[Pending] = []
        self.sent: list[wire.Flow] = []
        self.link = LinkFlows(lambda: None)
        self.link.send = self.sent.append

    def submit(self, pending: Pending, /) -> None:
        self.calls.append(pending)
        for at, upload in enumerate(pending.uploads):
            self.link.open_upload((1, at), upload, pending.first_piece(at))

    def list(self, pending: Pending, /) -> None:
        raise AssertionError

    def says(self, at: int, **what: Any) -> None:
        self.link.take([wire.Flow(id=1, stream=at, **what)])


@pytest.fixture
def world() -> HostWorld:
    return HostWorld()


@pytest.fixture
def port() -> Port:
    return Port()


@pytest.fixture
def calls(world: HostWorld) -> Calls:
    port = Calls()
    world.host.outgoing.port, world.host.outgoing.slots = port, 1
    return port


def arrives(world: HostWorld, port: Port, flows: int = 0, **fields: Any) -> None:
    message = wire.Call(
        id=1, slot=0, epoch=world.core.serving(0), object=ObjectId.from_name("Counter", "a").raw,
        class_name="Counter", name="a", kind=wire.CALL_KIND_METHOD, method="m", body=b"x", flows=flows, **fields,
    )  # fmt: skip
    world.host.call(message, port.reply, port)
    world.pump()


def called(world: HostWorld, port: Port, flows: int = 0) -> tuple[Any, ...]:
    """A method is called; its event, as a worker gets it."""
    arrives(world, port, flows)
    return world.event()


def frame(world: HostWorld, *what: Any) -> None:
    world.host.on_frame(world.worker, list(what))
    world.pump()


def answers(world: HostWorld, event: tuple[Any, ...], *flowing: int, status: int = 0, payload: Any = b"r") -> None:
    frame(world, TURN, event[1], 0, None, event[2], [[event[2], status, payload, 1, 2, *flowing]])


def says(world: HostWorld, event: tuple[Any, ...], kind: int, at: int, *what: Any) -> None:
    frame(world, kind, event[1], OF_EVENT, event[2], at, *what)


def told(world: HostWorld, kind: int) -> list[tuple[Any, ...]]:
    """What the worker was told of streams: their numbers, and what."""
    return [sent[4:] for sent in world.worker.frames(kind)]


def writes(world: HostWorld, event: tuple[Any, ...], n: int) -> None:
    commit = pages.encode(1, [(1, None, bytes([n]) * 1024)])
    frame(world, TURN, event[1], n, commit, event[2], [])


# -- of calls that come -------------------------------------------------------------------------------------------


def test_arguments_flow_each_by_itself_and_behind_the_answer(world: HostWorld, port: Port):
    """Broken by: arguments that end with their call, as a request's body does."""
    event = called(world, port, 2)
    assert event[12] == 2
    says(world, event, TAKEN, 1, cost_of(b""))
    assert port.said == [(1, 1, "taken", cost_of(b""))]
    answers(world, event)
    assert port.replies[1].body == b"r"
    world.host.flows.from_gateway(port, wire.Flow(id=1, stream=1, data=b"late"))
    world.host.flows.from_gateway(port, wire.Flow(id=1, stream=1, end=wire.FLOW_END_WHOLE))
    assert told(world, FLOW) == [(1, b"late", GOES_ON), (1, b"", WHOLE)]
    assert len(world.host.flows) == 1, "the other goes on"
    assert (world.host.flows.streams(), world.host.flows.bytes_in.value) == ((1, 0), 4)
    says(world, event, TAKEN, 0, STOP)
    assert port.said[-1] == (1, 0, "stop")
    assert len(world.host.flows) == 0


def test_a_call_that_fails_wants_no_streams(world: HostWorld, port: Port):
    event = called(world, port, 1)
    answers(world, event, status=2, payload=["application-error", "no", "ValueError"])
    assert told(world, FLOW) == [(0, b"", BROKEN)]
    assert len(world.host.flows) == 0


@pytest.mark.parametrize("how", ["dies", "lost"])
def test_whoever_sends_hears_that_nobody_reads_any_more(world: HostWorld, port: Port, how: str):
    """The call has its answer, so nothing else tells it. Broken by: silence; the generator would wait for ever."""
    event = called(world, port, 2)
    answers(world, event)
    if how == "dies":
        world.new_worker()
    else:
        world.core.resign(0, "test")
        world.pump()
    assert port.said == [(1, 0, "stop"), (1, 1, "stop")]
    assert len(world.host.flows) == 0


def test_whoever_reads_hears_that_its_sender_has_gone(world: HostWorld, port: Port):
    event = called(world, port, 2)
    answers(world, event)
    port.gone = True
    world.host.flows.port_gone(port)
    assert told(world, FLOW) == [(0, b"", BROKEN), (1, b"", BROKEN)]


@pytest.mark.parametrize("gone", [False, True])
def test_a_stream_that_breaks_off_while_its_call_waits(world: HostWorld, port: Port, *, gone: bool):
    """The object is being read. Broken by: an end that finds no stream; the reader would wait for ever."""
    world.call()
    world.turn(world.event(), 1)
    world.new_worker()
    world.hold_reads = True
    arrives(world, port, 2)
    if gone:
        port.gone = True
        world.host.flows.port_gone(port)
    else:
        world.host.flows.from_gateway(port, wire.Flow(id=1, stream=1, end=wire.FLOW_END_BROKEN))
    world.held_reads.pop()()
    world.pump()
    assert world.event()[12] == 2
    assert told(world, FLOW) == ([(0, b"", BROKEN)] if gone else []) + [(1, b"", BROKEN)]


def test_a_call_that_is_refused_leaves_nothing_behind(world: HostWorld, port: Port):
    """Broken by: streams of calls that never began, one more for each."""
    message = wire.Call(id=1, slot=0, epoch=7, kind=wire.CALL_KIND_METHOD, flows=2)
    world.host.call(message, port.reply, port)
    assert port.replies[1].failure.code == "not-owner"
    assert len(world.host.flows) == 0


def test_a_call_with_too_many_streams_is_refused(world: HostWorld, port: Port):
    """Before anything is allocated for them. Broken by: a number that is believed."""
    arrives(world, port, 1 << 31)
    assert port.replies[1].failure.code == "too-large"
    assert len(world.host.flows) == 0


def test_results_flow_each_by_itself_behind_what_was_written(world: HostWorld, port: Port):
    """The output gate. Broken by: pieces that go out as they come; or a window that two streams share."""
    event = called(world, port)
    answers(world, event, 2)
    assert (port.replies[1].flows, port.replies[1].body) == (2, b"r")
    for _ in range(window_bytes // piece_bytes_max):
        says(world, event, FLOW, 0, bytes(piece_bytes_max), GOES_ON)
    world.hold_disk = True
    port.said.clear()
    writes(world, event, 1)
    says(world, event, FLOW, 1, b"depends on it", GOES_ON)
    says(world, event, FLOW, 1, b"", WHOLE)
    assert port.said == []
    world.disk()
    world.pump()
    assert port.said == [(1, 1, b"depends on it", GOES_ON), (1, 1, b"", WHOLE)]
    assert (world.host.flows.streams(), world.host.flows.bytes_out.value) == ((0, 1), window_bytes + 13)
    assert not world.worker.killed
    world.host.flows.from_gateway(port, wire.Flow(id=1, stream=0, stop=True))
    assert told(world, TAKEN) == [(0, STOP)]
    assert len(world.host.flows) == 0


def test_results_break_off_with_their_worker(world: HostWorld, port: Port):
    event = called(world, port)
    answers(world, event, 2)
    says(world, event, FLOW, 1, b"", WHOLE)
    world.new_worker()
    assert port.said == [(1, 1, b"", WHOLE), (1, 0, b"", BROKEN)]


@pytest.mark.parametrize(
    ("flowing", "status", "payload"),
    [
        (streams_per_value_max + 1, 0, b"r"),
        (0, 0, b"r"),
        (True, 0, b"r"),
        ("1", 0, b"r"),
        (1, 2, ["application-error", "no", "ValueError"]),
    ],
)
def test_an_answer_flows_only_as_it_can(world: HostWorld, port: Port, flowing: Any, status: int, payload: Any):
    """A worker that says otherwise is ended. Broken by: a number that is believed."""
    event = called(world, port)
    answers(world, event, flowing, status=status, payload=payload)
    assert world.worker.killed


def test_an_answer_to_a_client_has_no_streams(world: HostWorld):
    """They are JSON. Broken by: no look at whose answer it is."""
    world.call()
    answers(world, world.event(), 1)
    assert world.worker.killed


# -- of calls that an object makes --------------------------------------------------------------------------------


def asks(world: HostWorld, event: tuple[Any, ...], *flowing: int, kind: int = METHOD) -> None:
    frame(world, CALL, event[1], event[2], 1, kind, "Counter", TARGET.raw, "b", "m", b"x", "", [], 0, 0, *flowing)


def answered(world: HostWorld, calls: Calls, flowing: int = 0) -> None:
    pending = calls.calls[-1]
    pending.answer = b"r"
    pending.downloads = calls.link.open_downloads(1, flowing)
    pending.on_done(pending)
    world.pump()


def test_what_a_call_takes_along_flows_behind_what_was_written(world: HostWorld, port: Port, calls: Calls):
    """And behind the call's answer. Broken by: pieces that pass the output gate; or an end with the answer."""
    event = called(world, port)
    asks(world, event, 2)
    assert len(calls.calls[0].uploads) == 2
    calls.says(1, taken=cost_of(b""))
    assert told(world, TAKEN) == [(1, cost_of(b""))]
    answered(world, calls)
    assert told(world, TAKEN) == [(1, cost_of(b""))], "nobody said that it is not wanted"
    world.hold_disk = True
    writes(world, event, 1)
    frame(world, FLOW, event[1], OF_CALL, 1, 1, b"one", GOES_ON)
    frame(world, FLOW, event[1], OF_CALL, 1, 1, b"", WHOLE)
    assert calls.sent == []
    world.disk()
    world.pump()
    assert [(m.stream, m.data, m.end) for m in calls.sent] == [(1, b"one", GOES_ON), (1, b"", WHOLE)]
    calls.says(0, stop=True)
    assert told(world, TAKEN)[-1] == (0, STOP)
    frame(world, FLOW, event[1], OF_CALL, 1, 0, b"late", GOES_ON)
    assert not world.worker.killed


def test_a_call_has_time_for_as_long_as_what_it_takes_along_is_read(world: HostWorld, port: Port, calls: Calls):
    """Broken by: a deadline that is counted from the beginning of a long upload."""
    event = called(world, port)
    asks(world, event, 1)
    before = calls.calls[0].deadline_s
    world.clock.seconds += 100
    calls.says(0, taken=cost_of(b""))
    assert calls.calls[0].deadline_s == pytest.approx(before + 100)


def test_a_link_that_breaks_ends_what_flows_behind_a_call_that_was_answered(
    world: HostWorld, port: Port, calls: Calls
):  # fmt: skip
    """Nobody takes it any more, and nobody else would say so. Broken by: a sender that waits for ever."""
    event = called(world, port)
    asks(world, event, 1)
    answered(world, calls, 1)
    calls.link.break_off()
    assert told(world, TAKEN) == [(0, STOP)]
    assert told(world, FLOW) == [(0, b"", BROKEN)]


def test_a_call_that_fails_ends_what_flows_behind_it(world: HostWorld, port: Port, calls: Calls):
    event = called(world, port)
    asks(world, event, 2)
    calls.calls[0].error = Unavailable("gone")
    calls.calls[0].on_done(calls.calls[0])
    assert told(world, TAKEN) == [(0, STOP), (1, STOP)]
    assert [(m.stream, m.end) for m in calls.sent] == [(0, BROKEN), (1, BROKEN)]


def test_what_an_answer_has_flows_to_whoever_asked(world: HostWorld, port: Port, calls: Calls):
    event = called(world, port)
    asks(world, event)
    answered(world, calls, 2)
    assert [sent[2:] for sent in world.worker.frames(REPLY)] == [(1, 0, b"r", 2)]
    calls.says(1, data=b"one")
    frame(world, TAKEN, event[1], OF_CALL, 1, 1, cost_of(b"one"))
    assert [(m.stream, m.taken) for m in calls.sent] == [(1, cost_of(b"one"))]
    calls.says(1, end=wire.FLOW_END_WHOLE)
    assert told(world, FLOW) == [(1, b"one", GOES_ON), (1, b"", WHOLE)]
    frame(world, TAKEN, event[1], OF_CALL, 1, 0, STOP)
    assert (calls.sent[-1].stream, calls.sent[-1].stop) == (0, True)


def test_an_object_that_ends_breaks_off_what_it_sends_and_stops_what_it_reads(
    world: HostWorld, port: Port, calls: Calls
):  # fmt: skip
    event = called(world, port)
    asks(world, event, 1)
    answered(world, calls, 1)
    world.new_worker()
    assert [(m.stream, m.end, m.stop) for m in calls.sent] == [(0, BROKEN, False), (0, GOES_ON, True)]


@pytest.mark.parametrize(("flowing", "kind"), [(streams_per_value_max + 1, METHOD), (0, METHOD), (2, 2), (1, 10)])
def test_a_call_flows_only_as_it_can(world: HostWorld, port: Port, calls: Calls, flowing: int, kind: int):
    """A worker that says otherwise is ended. Broken by: a number that is believed."""
    event = called(world, port)
    asks(world, event, flowing, kind=kind)
    assert world.worker.killed


@pytest.mark.parametrize("what", [(2, b"x", GOES_ON), (0, b"x", WHOLE), ("0", b"x", GOES_ON), (0, b"x")])
def test_a_piece_of_no_stream_ends_its_worker(world: HostWorld, port: Port, calls: Calls, what: tuple[Any, ...]):
    event = called(world, port)
    asks(world, event, 2)
    frame(world, FLOW, event[1], OF_CALL, 1, *what)
    assert world.worker.killed


def test_a_stream_that_ended_before_its_call_was_written_is_said_to_be_broken(world: HostWorld, calls: Calls):
    """Its caller has gone while the call waited. Broken by: a call whose argument never comes, and never ends."""
    event = called(world, Port())
    asks(world, event, 1)
    (upload,) = calls.calls[0].uploads
    upload.unbind()
    upload.end(BROKEN)
    calls.submit(calls.calls[0])
    assert [(m.id, m.end) for m in calls.sent] == [(1, BROKEN)]
