"""Sockets at the gateway: numbered, sent again where their object is, and told once of what it says."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from homing.wire.v1 import call_pb2 as wire
from homing_gateway import sockets
from homing_gateway.sockets import BINARY, CLOSE, TEXT, HeldSocket, SocketHub
from homing_placement.routing.link import NodeLink

SLOT = 4
REF = wire.SocketRef(class_name="Room", object=bytes(32), name="r", number=9)


class Link:
    """A stream to a node, and what was put on it."""

    def __init__(self) -> None:
        self.up = True
        self.frames: list[wire.FromSocket] = []
        self.arrived: dict[int, int] = {}

    def send_socket(self, frame: wire.FromSocket) -> None:
        kept = wire.FromSocket()
        kept.CopyFrom(frame)
        self.frames.append(kept)

    def had(self, handle: int, seq: int, size: int) -> None:
        self.arrived[handle] = seq

    @property
    def came(self) -> list[tuple[int, bytes]]:
        return [(frame.seq, frame.data) for frame in self.frames if frame.kind != wire.SOCKET_FRAME_ATTACH]

    @property
    def attached(self) -> list[wire.FromSocket]:
        return [frame for frame in self.frames if frame.kind == wire.SOCKET_FRAME_ATTACH]


class Forwarder:
    """Knows one owner, or none."""

    sockets: Any = None

    def __init__(self) -> None:
        self.link: Link | None = Link()
        self.epoch = 1
        self.refreshed: list[int] = []

    def owner(self, slot: int) -> tuple[Link | None, int]:
        return self.link, self.epoch

    def refresh_soon(self, slot: int) -> None:
        self.refreshed.append(slot)


class Side:
    """A hub with one socket, and the node that it is attached to."""

    def __init__(self) -> None:
        self.forwarder = Forwarder()
        self.hub = SocketHub(cast("Any", self.forwarder))
        self.held: HeldSocket = self.hub.hold(REF, SLOT)

    @property
    def link(self) -> Link:
        assert self.forwarder.link is not None
        return self.forwarder.link

    def hears(self, kind: wire.SocketFrame, seq: int = 0, data: bytes = b"", **more: Any) -> None:
        m = wire.ToSockets(handles=[self.held.handle], kind=kind, seq=seq, data=data, **more)
        self.hub.on_batch(cast("NodeLink", self.link), wire.ReplyBatch(sockets=[m]))

    def handled(self, *seqs: int) -> None:
        batch = wire.ReplyBatch(handled_handles=[self.held.handle] * len(seqs), handled_seqs=seqs)
        self.hub.on_batch(cast("NodeLink", self.link), batch)

    def moves(self) -> Link:
        """Its object goes to another node; the link that it was on."""
        before, self.forwarder.link, self.forwarder.epoch = self.link, Link(), self.forwarder.epoch + 1
        return before

    def out(self) -> list[bytes]:
        return [what.data for what in self.held.out or ()]


@pytest.fixture
async def side() -> Side:
    return Side()


async def test_messages_are_numbered_and_go_out_at_once(side: Side) -> None:
    side.held.came(TEXT, b"a")
    side.held.came(BINARY, b"b")
    (attach,) = side.link.attached
    assert (attach.socket.number, attach.slot, attach.epoch, attach.base) == (9, SLOT, 1, 1)
    assert side.link.came == [(1, b"a"), (2, b"b")]


async def test_what_is_not_handled_goes_to_the_next_owner(side: Side) -> None:
    """Seen to fail when it is not sent again: what was on its way to a dead node was lost."""
    for text in (b"a", b"b", b"c"):
        side.held.came(TEXT, text)
    side.handled(1, 3)
    before = side.moves()
    side.hub.link_down(cast("NodeLink", before))
    side.hub.look()
    (attach,) = side.link.attached
    assert (attach.epoch, attach.base) == (2, 2)
    assert side.link.came == [(2, b"b")]
    side.held.came(TEXT, b"d")
    assert side.link.came == [(2, b"b"), (4, b"d")]


async def test_what_the_object_says_is_taken_once(side: Side) -> None:
    """Seen to fail when the number is not looked at: what the next owner says again came twice."""
    side.hears(TEXT, 5, b"a")
    side.hears(TEXT, 5, b"a")
    side.hears(TEXT, 9, b"b")
    side.hears(TEXT, 7, b"late")
    assert side.out() == [b"a", b"b"]
    assert side.link.arrived == {side.held.handle: 9}
    side.hub.link_down(cast("NodeLink", side.moves()))
    side.hub.look()
    assert side.link.attached[0].had == 9


async def test_a_node_that_does_not_serve_it_is_asked_again_a_little_later(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SOCKET_RETRY_S_MIN", 0.001)
    running = asyncio.ensure_future(side.hub.run())
    side.hears(wire.SOCKET_FRAME_LOST)
    assert side.forwarder.refreshed == [SLOT]
    assert len(side.link.attached) == 1, "not at once"
    await asyncio.sleep(0.12)
    assert len(side.link.attached) == 2
    running.cancel()


async def test_a_slot_with_another_owner_is_followed_at_once(side: Side) -> None:
    """The stream to the owner before may still stand: it may be stopped. Seen to fail when that is waited for."""
    side.held.came(TEXT, b"a")
    before = side.moves()
    side.hub.look((SLOT + 1,))
    assert len(before.attached) == 1
    assert side.link.frames == []
    side.hub.look((SLOT,))
    assert side.link.came == [(1, b"a")]
    m = wire.ToSockets(handles=[before.attached[0].handle], kind=TEXT, seq=8, data=b"of the one before")
    side.hub.on_batch(cast("NodeLink", before), wire.ReplyBatch(sockets=[m]))
    assert side.out() == []


async def test_it_waits_while_there_is_no_owner(side: Side) -> None:
    before, side.forwarder.link = side.link, None
    side.hub.link_down(cast("NodeLink", before))
    side.held.came(TEXT, b"a")
    side.hub.look()
    side.forwarder.link = Link()
    side.hub.look()
    assert side.link.came == [(1, b"a")]


async def test_and_is_closed_when_that_takes_too_long(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKET_UNATTACHED_S_MAX", -1.0)
    before, side.forwarder.link = side.link, None
    side.hub.link_down(cast("NodeLink", before))
    running = asyncio.ensure_future(side.hub.run())
    await asyncio.sleep(0.1)
    running.cancel()
    assert [(what.kind, what.code) for what in side.held.out or ()] == [(CLOSE, 1012)]
    assert len(side.hub) == 0


async def test_a_socket_of_an_entrypoint_stays_with_its_node(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can live on no other. Seen to fail when it is attached to an owner: that closed it as not known."""
    home = Link()
    ref = wire.SocketRef(object=bytes(8), number=5, live=True)
    held = side.hub.hold(ref, sockets.OF_NO_SLOT, cast("NodeLink", home))
    (attach,) = home.attached
    assert (attach.socket.object, attach.slot, attach.epoch) == (bytes(8), 0, 0)
    side.moves()
    side.hub.look()
    held.came(TEXT, b"a")
    home.up = False
    side.hub.link_down(cast("NodeLink", home))
    running = asyncio.ensure_future(side.hub.run())
    await asyncio.sleep(0.1)
    assert len(home.attached) == 1
    home.up = True
    await asyncio.sleep(0.1)
    assert (len(home.attached), home.came[-1]) == (2, (1, b"a"))
    home.up = False
    side.hub.link_down(cast("NodeLink", home))
    monkeypatch.setattr(sockets, "SOCKET_HOME_LOST_S_MAX", -1.0)
    await asyncio.sleep(0.1)
    running.cancel()
    assert [(what.kind, what.code) for what in held.out or ()] == [(CLOSE, 1012)]


async def test_what_its_node_says_of_the_end_is_what_its_client_hears(side: Side) -> None:
    side.hears(wire.SOCKET_FRAME_GONE, code=1012, reason="what was connected to has ended")
    assert [(what.kind, what.code) for what in side.held.out or ()] == [(CLOSE, 1012)]


async def test_what_was_said_before_the_end_comes_before_it(side: Side) -> None:
    """Seen to fail when the end drops what waits for the client: its object had said it, and was deleted then."""
    side.hears(TEXT, 1, b"said")
    side.hears(wire.SOCKET_FRAME_GONE, code=1001, reason="its object was deleted or replaced")
    assert [(what.data, what.code) for what in side.held.out or ()] == [(b"said", 0), (b"", 1001)]


async def test_a_socket_that_its_object_does_not_know_is_closed(side: Side) -> None:
    side.hears(wire.SOCKET_FRAME_GONE)
    assert [(what.kind, what.code) for what in side.held.out or ()] == [(CLOSE, 1011)]
    assert len(side.hub) == 0


async def test_a_client_that_sends_more_than_is_handled_waits(side: Side) -> None:
    """Seen to fail without the bound: a client filled the gateway's memory."""
    most = sockets.SOCKET_UNHANDLED_MAX
    rooms: list[int] = []
    side.held.on_room = lambda: rooms.append(len(side.link.came))
    assert [side.held.came(TEXT, b"x") for _ in range(most)] == [True] * (most - 1) + [False]
    assert not side.held.came(TEXT, b"more")
    assert not side.held.came(TEXT, b"still more")
    assert len(side.link.came) == most
    side.handled(1)
    assert side.link.came[most:] == [(most + 1, b"more")]
    side.handled(2)
    assert side.link.came[most:] == [(most + 1, b"more"), (most + 2, b"still more")]
    assert rooms == []
    side.handled(3)
    assert rooms == [most + 2]


async def test_the_end_of_a_client_comes_behind_what_waits(side: Side) -> None:
    """Seen to fail when the end is told at once: what waited came behind it, to an object that had said good-bye."""
    for _ in range(sockets.SOCKET_UNHANDLED_MAX + 1):
        side.held.came(TEXT, b"x")
    side.held.closed(1000, "bye")
    assert not side.held.ended
    side.handled(*range(1, 10))
    assert side.link.frames[-1].kind == CLOSE
    assert side.link.frames[-1].seq == sockets.SOCKET_UNHANDLED_MAX + 2
    assert side.held.ended
    assert not side.held.settled


async def test_a_client_that_does_not_read_is_closed(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SOCKET_UNREAD_BYTES_MAX", 100)
    for seq in range(1, 5):
        side.hears(TEXT, seq, bytes(60))
    assert [(what.kind, what.code) for what in side.held.out or ()] == [(CLOSE, 1013)]


async def test_long_messages_travel_in_pieces_both_ways(side: Side) -> None:
    data = bytes(range(256)) * 2_560
    side.held.came(BINARY, data)
    pieces = side.link.frames[1:]
    assert [frame.more for frame in pieces] == [True, True, False]
    assert b"".join(frame.data for frame in pieces) == data
    side.hears(BINARY, 5, b"one", more=True)
    assert side.out() == []
    side.hears(BINARY, 5, b"two")
    assert side.out() == [b"onetwo"]
    side.hears(BINARY, 6, b"half", more=True)
    before = side.moves()
    side.hub.link_down(cast("NodeLink", before))
    side.hub.look()
    side.hears(BINARY, 6, b"whole")
    assert side.out() == [b"onetwo", b"whole"], "a piece of a stream that broke counts for nothing"


async def test_the_end_is_told_until_it_is_handled(side: Side) -> None:
    side.held.closed(1000, "bye")
    side.held.closed(1006, "")
    frame = side.link.frames[-1]
    assert (frame.kind, frame.seq, frame.code, frame.reason, frame.clean) == (CLOSE, 1, 1000, "bye", True)
    assert len(side.hub) == 1
    side.handled(1)
    assert len(side.hub) == 0


async def test_what_the_client_gets_comes_in_order(side: Side) -> None:
    side.hears(TEXT, 1, b"a")
    side.hears(CLOSE, 2, code=3_000, reason="bye")
    first, last = side.held.take(), side.held.take()
    assert first is not None
    assert last is not None
    assert first.data == b"a"
    assert (last.kind, last.code, last.reason) == (CLOSE, 3_000, "bye")
    assert side.held.take() is None
