"""Bodies that flow through a node: the output gate, credit between the ends, and what becomes of them at each end."""

from typing import Any

import pytest

from homing.flow import BROKEN, GOES_ON, WHOLE, cost_of, piece_bytes_max, window_bytes
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.frames import CALL, CLOSE, FLOW, OF_CALL, OF_EVENT, REPLY, STOP, TAKEN, TURN
from homing_node.workers.inside import pages
from homing_placement.routing.flows import LinkFlows
from homing_placement.routing.pending import Pending
from host_world import HostWorld

HTTP = 1
HEAD = [200, [["a", "b"]], b""]
TARGET = ObjectId.from_name("Counter", "b")


class Port:
    """A gateway's stream."""

    def __init__(self) -> None:
        self.gone = False
        self.said: list[wire.Flow] = []
        self.replies: dict[int, wire.Reply] = {}

    def flow(self, m: wire.Flow) -> None:
        self.said.append(m)

    def reply(self, reply: wire.Reply) -> None:
        self.replies[reply.id] = reply


@pytest.fixture
def world() -> HostWorld:
    return HostWorld()


@pytest.fixture
def port() -> Port:
    return Port()


def fetch(world: HostWorld, port: Port, *, name: str = "a", number: int = 1, **fields: Any) -> tuple[Any, ...]:
    """A request for an object, as its worker gets it."""
    kind = wire.CALL_KIND_FETCH if name else wire.CALL_KIND_DEFAULT
    object_id = ObjectId.from_name("Counter", name).raw if name else b""
    message = wire.Call(
        id=number, slot=0, epoch=world.core.serving(0), object=object_id, class_name="Counter", name=name, kind=kind,
        method="GET", url="http://x/", **fields,
    )  # fmt: skip
    world.host.call(message, port.reply, port)
    world.pump()
    return world.event()


def frame(world: HostWorld, *what: Any) -> None:
    world.host.on_frame(world.worker, list(what))
    world.pump()


def heads(world: HostWorld, event: tuple[Any, ...]) -> None:
    """The handler answers with a stream."""
    frame(world, TURN, event[1], 0, None, event[2], [[event[2], HTTP, HEAD, 1, 2, 1]])


def piece(world: HostWorld, event: tuple[Any, ...], data: bytes, end: int = GOES_ON) -> None:
    frame(world, FLOW, event[1], OF_EVENT, event[2], 0, data, end)


def writes(world: HostWorld, event: tuple[Any, ...], n: int) -> None:
    commit = pages.encode(1, [(1, None, bytes([n]) * 1024)])
    frame(world, TURN, event[1], n, commit, event[2], [])


def told(world: HostWorld, kind: int) -> list[tuple[Any, ...]]:
    """What the worker was told, but for the number of the only stream that there is."""
    return [sent[2:4] + sent[5:] if kind in (FLOW, TAKEN) else sent[2:] for sent in world.worker.frames(kind)]


@pytest.mark.parametrize("name", ["a", ""])
def test_a_body_flows_behind_its_head_and_credit_comes_back(world: HostWorld, port: Port, name: str):
    event = fetch(world, port, name=name)
    heads(world, event)
    reply = port.replies[1]
    assert (reply.flows, reply.more, reply.status, reply.headers[0].name) == (1, False, 200, "a")
    piece(world, event, b"one")
    world.host.flows.from_gateway(port, wire.Flow(id=1, taken=cost_of(b"one")))
    piece(world, event, b"", WHOLE)
    assert [(m.id, m.data, m.end) for m in port.said] == [(1, b"one", GOES_ON), (1, b"", WHOLE)]
    assert told(world, TAKEN) == [(OF_EVENT, event[2], cost_of(b"one"))]
    assert len(world.host.flows) == 0


def test_a_piece_waits_for_what_was_written_before_it(world: HostWorld, port: Port):
    """The output gate of chunks. Broken by: pieces that go to the gateway as they come."""
    event = fetch(world, port)
    heads(world, event)
    world.hold_disk = True
    writes(world, event, 1)
    piece(world, event, b"depends on it")
    assert port.said == []
    world.disk()
    world.pump()
    assert [m.data for m in port.said] == [b"depends on it"]


def test_a_worker_that_sends_more_than_there_is_room_for_is_ended(world: HostWorld, port: Port):
    """Broken by: a node that holds whatever its workers send."""
    event = fetch(world, port)
    heads(world, event)
    for _ in range(window_bytes // piece_bytes_max):
        piece(world, event, bytes(piece_bytes_max))
    assert not world.worker.killed
    piece(world, event, b"x")
    assert world.worker.killed


@pytest.mark.parametrize(
    "what",
    [(FLOW, b"x", 7), (FLOW, "text", 0), (FLOW, b"", 0), (FLOW, b"x", WHOLE), (FLOW, b"x"), (FLOW, bytes(1 << 17), 0)],
)
def test_a_frame_that_is_none_ends_its_worker(world: HostWorld, port: Port, what: tuple[Any, ...]):
    event = fetch(world, port)
    heads(world, event)
    frame(world, what[0], event[1], OF_EVENT, event[2], 0, *what[1:])
    assert world.worker.killed


def test_an_answer_flows_only_where_it_can(world: HostWorld, port: Port):
    """Under a key it is kept, and a call of an alarm has nobody to read. Broken by: no look at whose answer it is."""
    event = fetch(world, port, key="k", fingerprint=b"f")
    heads(world, event)
    assert world.worker.killed


def test_a_client_that_goes_away_stops_the_producer(world: HostWorld, port: Port):
    event = fetch(world, port)
    heads(world, event)
    world.host.flows.from_gateway(port, wire.Flow(id=1, stop=True))
    assert told(world, TAKEN) == [(OF_EVENT, event[2], STOP)]
    piece(world, event, b"late")
    assert port.said == []
    assert len(world.host.flows) == 0


def test_a_gateway_that_goes_away_stops_the_producer(world: HostWorld, port: Port):
    """Also of an answer that begins afterwards. Broken by: bodies of a stream that is gone, which flow to nobody."""
    event = fetch(world, port)
    later = fetch(world, port, number=2)
    heads(world, event)
    port.gone = True
    world.host.flows.port_gone(port)
    heads(world, later)
    assert told(world, TAKEN) == [(OF_EVENT, event[2], STOP), (OF_EVENT, later[2], STOP)]
    assert len(world.host.flows) == 0


@pytest.mark.parametrize("name", ["a", ""])
def test_a_worker_that_dies_breaks_its_answers_off(world: HostWorld, port: Port, name: str):
    """Broken by: no end, for which the client would wait for ever; or an end as if all was there."""
    event = fetch(world, port, name=name)
    heads(world, event)
    piece(world, event, b"half")
    world.new_worker()
    assert [(m.data, m.end) for m in port.said] == [(b"half", GOES_ON), (b"", BROKEN)]
    assert len(world.host.flows) == 0


def test_a_body_breaks_off_behind_its_head(world: HostWorld, port: Port):
    """The gateway must know of the body when its end comes. Broken by: an end that passes the gate's queue."""
    event = fetch(world, port)
    world.hold_disk = True
    writes(world, event, 1)
    heads(world, event)
    world.new_worker()
    assert (port.replies, port.said) == ({}, [])
    world.disk()
    world.pump()
    assert port.replies[1].flows
    assert [m.end for m in port.said] == [BROKEN]


def test_a_slot_that_is_lost_breaks_its_answers_off(world: HostWorld, port: Port):
    """Whatever is held at its gate, the end too. Broken by: ends that are dropped with it."""
    event = fetch(world, port)
    heads(world, event)
    other = fetch(world, port, number=2)
    heads(world, other)
    world.hold_disk = True
    writes(world, event, 1)
    piece(world, event, b"not safe")
    piece(world, event, b"", WHOLE)
    world.core.resign(0, "test")
    world.pump()
    assert [(m.id, m.data, m.end) for m in port.said] == [(1, b"", BROKEN), (2, b"", BROKEN)]
    assert len(world.host.flows) == 0


def test_a_slot_waits_a_little_for_an_answer_and_then_no_more(world: HostWorld, port: Port):
    """Broken by: a slot that rests for as long as somebody reads; its other callers would wait."""
    event = fetch(world, port)
    heads(world, event)
    world.host.rest(0)
    assert not world.host.at_rest(0)
    world.clock.seconds += limits.flow_grace_s + 0.1
    assert world.host.at_rest(0)
    world.host.rest(0, resting=False)
    piece(world, event, b"on")
    assert port.said, "a move that is called off breaks nothing off"


def test_an_object_that_answers_stays_in_memory(world: HostWorld, port: Port):
    """Broken by: an idle time that counts from the call."""
    event = fetch(world, port)
    heads(world, event)
    world.clock.seconds += limits.idle_s + 1
    world.host.evictions.sweep()
    assert not world.worker.frames(CLOSE)
    piece(world, event, b"", WHOLE)
    world.clock.seconds += limits.idle_s + 1
    world.host.evictions.sweep()
    assert world.worker.frames(CLOSE)


def test_another_version_takes_over_an_object_that_answers(world: HostWorld, port: Port):
    """It has a moment to end; then it breaks off. Broken by: no end, and all calls would wait for it."""
    event = fetch(world, port)
    heads(world, event)
    world.host.retire(world.worker, lambda _: False)
    world.host.evictions.leave()
    assert port.said == []
    assert not world.worker.frames(CLOSE)
    world.clock.seconds += limits.flow_grace_s + 0.1
    world.host.evictions.leave()
    assert [m.end for m in port.said] == [BROKEN]
    assert told(world, TAKEN) == [(OF_EVENT, event[2], STOP)]
    world.host.evictions.leave()
    assert world.worker.frames(CLOSE)


def test_a_request_flows_to_its_worker(world: HostWorld, port: Port):
    event = fetch(world, port, body=b"one", flows=1)
    assert event[12] == 1
    frame(world, TAKEN, event[1], OF_EVENT, event[2], 0, cost_of(b"one"))
    assert [(m.id, m.taken) for m in port.said] == [(1, cost_of(b"one"))]
    world.host.flows.from_gateway(port, wire.Flow(id=1, data=b"two"))
    world.host.flows.from_gateway(port, wire.Flow(id=1, end=wire.FLOW_END_WHOLE))
    assert told(world, FLOW) == [(OF_EVENT, event[2], b"two", GOES_ON), (OF_EVENT, event[2], b"", WHOLE)]


def test_a_request_is_over_with_its_answer(world: HostWorld, port: Port):
    """Whoever reads on finds it broken off. Broken by: a body that is left open, for ever."""
    event = fetch(world, port, body=b"one", flows=1)
    frame(world, TURN, event[1], 0, None, event[2], [[event[2], 1, [200, [], b""], 1, 2]])
    assert told(world, FLOW) == [(OF_EVENT, event[2], b"", BROKEN)]
    assert len(world.host.flows) == 0


def test_a_worker_that_wants_no_more_of_a_request_says_so(world: HostWorld, port: Port):
    event = fetch(world, port, body=b"one", flows=1)
    frame(world, TAKEN, event[1], OF_EVENT, event[2], 0, STOP)
    assert [(m.id, m.stop) for m in port.said] == [(1, True)]
    world.host.flows.from_gateway(port, wire.Flow(id=1, data=b"late"))
    assert told(world, FLOW) == []


def test_a_gateway_that_sends_more_than_there_is_room_for_breaks_its_body_off(world: HostWorld, port: Port):
    """Broken by: a node that holds whatever comes."""
    event = fetch(world, port, body=b"one", flows=1)
    for _ in range(10):
        world.host.flows.from_gateway(port, wire.Flow(id=1, data=bytes(piece_bytes_max)))
    said = told(world, FLOW)
    assert said[-1] == (OF_EVENT, event[2], b"", BROKEN)
    assert len(said) < 6


# -- bodies of the calls that an object makes ---------------------------------------------------------------------


class Calls:
    """Takes the calls of objects; a test answers them."""

    def __init__(self) -> None:
        self.calls: list[Pending] = []

    def submit(self, pending: Pending, /) -> None:
        self.calls.append(pending)

    def list(self, pending: Pending, /) -> None:
        raise AssertionError


@pytest.fixture
def calls(world: HostWorld) -> Calls:
    port = Calls()
    world.host.outgoing.port, world.host.outgoing.slots = port, 1
    return port


def asks(world: HostWorld, calls: Calls, event: tuple[Any, ...], *flows: int) -> Pending:
    frame(world, CALL, event[1], event[2], 1, 2, "Counter", TARGET.raw, "b", "GET", b"", "http://x/", [], 0, 0, *flows)
    return calls.calls[-1]


def test_an_answer_flows_to_the_object_that_asked(world: HostWorld, port: Port, calls: Calls):
    event = fetch(world, port)
    pending = asks(world, calls, event)
    sent: list[wire.Flow] = []
    link = LinkFlows(lambda: None)
    link.send = sent.append
    pending.status, pending.answer_headers = 200, []
    pending.downloads = link.open_downloads(1, 1)
    pending.on_done(pending)
    assert told(world, REPLY) == [(1, HTTP, (200, [], b""), 1)]
    link.take([wire.Flow(id=1, data=b"one")])
    frame(world, TAKEN, event[1], OF_CALL, 1, 0, cost_of(b"one"))
    assert [m.taken for m in sent] == [cost_of(b"one")]
    link.take([wire.Flow(id=1, end=wire.FLOW_END_BROKEN)])
    assert told(world, FLOW) == [(OF_CALL, 1, b"one", GOES_ON), (OF_CALL, 1, b"", BROKEN)]


def test_a_last_piece_for_which_there_is_no_room_breaks_the_body_off():
    """Broken by: an end that counts before its piece does. Whoever read that body waited for ever."""
    link = LinkFlows(lambda: None)
    (download,) = link.open_downloads(1, 1)
    link.take([wire.Flow(id=1, data=bytes(piece_bytes_max + 1), end=wire.FLOW_END_WHOLE)])
    assert download.end == BROKEN
    assert link.queued, "its node hears that no more is wanted"


@pytest.mark.parametrize("how", ["stops", "dies"])
def test_an_answer_that_nobody_reads_is_stopped(world: HostWorld, port: Port, calls: Calls, how: str):
    event = fetch(world, port)
    pending = asks(world, calls, event)
    sent: list[wire.Flow] = []
    link = LinkFlows(lambda: None)
    link.send = sent.append
    pending.downloads = link.open_downloads(1, 1)
    pending.on_done(pending)
    if how == "dies":
        world.new_worker()
    else:
        frame(world, TAKEN, event[1], OF_CALL, 1, 0, STOP)
    assert [m.stop for m in sent] == [True]


def test_a_body_flows_with_a_call_behind_what_was_written(world: HostWorld, port: Port, calls: Calls):
    """Broken by: pieces of calls that pass the output gate."""
    event = fetch(world, port)
    pending = asks(world, calls, event, 1)
    sent: list[wire.Flow] = []
    link = LinkFlows(lambda: None)
    link.send = sent.append
    (upload,) = pending.uploads
    link.open_upload((1, 0), upload, b"")
    link.take([wire.Flow(id=1, taken=cost_of(b""))])
    assert told(world, TAKEN) == [(OF_CALL, 1, cost_of(b""))]
    world.hold_disk = True
    writes(world, event, 1)
    frame(world, FLOW, event[1], OF_CALL, 1, 0, b"one", GOES_ON)
    frame(world, FLOW, event[1], OF_CALL, 1, 0, b"", WHOLE)
    assert sent == []
    world.disk()
    world.pump()
    assert [(m.data, m.end) for m in sent] == [(b"one", GOES_ON), (b"", WHOLE)]
    pending.error = None
    pending.on_done(pending)
    assert told(world, REPLY)


def test_a_call_that_is_answered_wants_no_more_of_its_body(world: HostWorld, port: Port, calls: Calls):
    event = fetch(world, port)
    pending = asks(world, calls, event, 1)
    pending.on_done(pending)
    assert told(world, TAKEN) == [(OF_CALL, 1, STOP)]
    frame(world, FLOW, event[1], OF_CALL, 1, 0, b"late", GOES_ON)
    assert not world.worker.killed
