"""WebSockets to the outside, over real connections: servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from homing.errors import BadRequest, Forbidden, HomingError, Overloaded, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.broker.dialer import Dialer
from homing_node.objects.socket_record import Said
from homing_placement.routing.pending import Pending
from tls_files import Authority

OBJECT = bytes(32)
TEXT, BINARY, CLOSE = wire.SOCKET_FRAME_TEXT, wire.SOCKET_FRAME_BINARY, wire.SOCKET_FRAME_CLOSE
WAIT_S = 10.0
Talk = Callable[[ServerConnection], Awaitable[None]]
Wild = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not seen():
            await asyncio.sleep(0.005)


class Side:
    """This side: the table of a node, a dialer, and what became of both."""

    def __init__(self) -> None:
        self.dialer = Dialer(self)
        self.offered: dict[int, int] = {}
        self.events: list[tuple[int, bytes]] = []
        self.end: tuple[int, str, bool] | None = None
        self.arrived: list[int] = []
        self.handle = 0
        self.auto = True  # what comes is handled at once

    def offer(self, object_id: bytes, number: int, gateway: Dialer, handle: int) -> None:
        assert object_id == OBJECT
        self.offered[number] = self.handle = handle

    def withdraw(self, number: int) -> None:
        self.offered.pop(number, None)

    def came(self, gateway: Dialer, m: wire.FromSocket, data: bytes) -> None:
        assert m.handle == self.handle
        assert m.base <= m.seq
        if m.kind == CLOSE:
            self.end = (m.code, m.reason, m.clean)
        else:
            self.events.append((m.kind, data))
        if self.auto:
            self.dialer.handled(m.handle, m.seq)

    def had(self, gateway: Dialer, handle: int, seq: int) -> None:
        self.arrived.append(seq)

    async def ask(self, url: str, headers: list[tuple[str, str]] | None = None, **more: Any) -> Pending:
        """Ask for a socket; the request, with its answer."""
        done: asyncio.Future[Pending] = asyncio.get_running_loop().create_future()
        pending = Pending(
            11, "", "follow", b"", 0, more.get("method", "GET"), more.get("body", b""), "",
            time.monotonic() + WAIT_S, 0, done.set_result,
        )  # fmt: skip
        pending.url = url
        pending.headers = [("upgrade", "websocket"), *(headers or [])]
        self.dialer.submit(pending, more.get("hosts") or [url.split("/")[2]], OBJECT)
        return await asyncio.wait_for(done, WAIT_S)

    async def open(self, url: str) -> None:
        """A socket that its object has accepted."""
        pending = await self.ask(url)
        assert pending.error is None, pending.error
        assert (pending.status, pending.socket is not None and pending.socket.live) == (101, True)
        self.dialer.tell(self.handle, wire.SOCKET_FRAME_ATTACH)

    def say(self, seq: int, data: Any) -> None:
        kind = CLOSE if isinstance(data, list) else TEXT if isinstance(data, str) else BINARY
        self.dialer.say([self.handle], Said(seq, kind, [1], data))

    async def ended(self) -> tuple[int, str, bool]:
        await until(lambda: self.end is not None and not self.dialer._lines)
        assert self.end is not None
        return self.end


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    made = Side()
    yield made
    await made.dialer.close()
    assert not made.dialer._of


class Place:
    """A server on loopback."""

    def __init__(self) -> None:
        self.closed_with: tuple[int | None, str | None] | None = None
        self.heard: list[Any] = []
        self._server: Server | asyncio.Server | None = None

    async def behaving(self, talk: Talk | None = None, **options: Any) -> str:
        """One that speaks the protocol; without a talk it says back what it hears. Returns its URL."""

        async def serve_one(ws: ServerConnection) -> None:
            try:
                await (talk or self._echo)(ws)
                await ws.wait_closed()
            except ConnectionClosed:
                pass
            finally:
                await ws.wait_closed()
                self.closed_with = (ws.close_code, ws.close_reason)

        self._server = await serve(serve_one, "127.0.0.1", 0, max_size=None, **options)
        return self._url()

    async def _echo(self, ws: ServerConnection) -> None:
        async for message in ws:
            self.heard.append(message)
            await ws.send(message)

    async def wild(self, talk: Wild) -> str:
        """One that does what it likes once it has answered the request."""

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            key = next(line.split(": ")[1] for line in fields if line.lower().startswith("sec-websocket-key"))
            digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
            writer.write(
                b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                + base64.b64encode(digest) + b"\r\n\r\n"
            )  # fmt: skip
            try:
                await talk(reader, writer)
            finally:
                writer.close()

        self._server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
        return self._url()

    def _url(self) -> str:
        assert self._server is not None
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"http://127.0.0.1:{port}/path?a=b"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    made.close()


# -- servers that behave --------------------------------------------------------------------------------------------


async def test_messages_pass_both_ways_in_order(side: Side, place: Place) -> None:
    await side.open(await place.behaving())
    for seq, data in enumerate(("hé", b"\xff", "", "last"), 1):
        side.say(seq, data)
    await until(lambda: len(side.events) == 4)
    assert side.events == [(TEXT, "hé".encode()), (BINARY, b"\xff"), (TEXT, b""), (TEXT, b"last")]
    assert side.arrived == [1, 2, 3, 4]
    side.say(5, [3_000, "bye"])
    assert await side.ended() == (3_000, "bye", True)
    await until(lambda: place.closed_with is not None)
    assert place.closed_with == (3_000, "bye")


async def test_what_is_asked_arrives_and_a_ping_is_answered(side: Side, place: Place) -> None:
    async def talk(ws: ServerConnection) -> None:
        assert ws.request is not None
        place.heard += [ws.request.path, ws.request.headers["authorization"], ws.subprotocol]
        await asyncio.wait_for(await ws.ping(), WAIT_S)
        await ws.close(4_001, "seen")

    url = await place.behaving(talk, subprotocols=["b"])
    fields = [("authorization", "Bearer x"), ("sec-websocket-protocol", "a, b"), ("sec-websocket-key", "mine")]
    pending = await side.ask(url, fields)
    assert ("Sec-WebSocket-Protocol", "b") in pending.answer_headers
    side.dialer.tell(side.handle, wire.SOCKET_FRAME_ATTACH)
    assert await side.ended() == (4_001, "seen", True)
    assert place.heard == ["/path?a=b", "Bearer x", "b"]


async def test_nothing_is_handed_over_before_it_is_accepted(side: Side, place: Place) -> None:
    async def talk(ws: ServerConnection) -> None:
        await ws.send("at once")

    pending = await side.ask(await place.behaving(talk))
    assert pending.status == 101
    await asyncio.sleep(0.05)
    assert side.events == []
    side.dialer.tell(side.handle, wire.SOCKET_FRAME_ATTACH)
    await until(lambda: side.events == [(TEXT, b"at once")])


async def test_one_that_is_never_accepted_is_closed(side: Side, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail without the bound: an object that forgot it held a connection for as long as it lived."""
    monkeypatch.setattr(limits, "outbound_accept_s", 0.05)
    assert (await side.ask(await place.behaving())).status == 101
    await until(lambda: place.closed_with is not None)
    assert place.closed_with == (1001, "")
    assert (side.offered, side.end) == ({}, None)


async def test_the_end_of_its_instance_closes_it(side: Side, place: Place) -> None:
    await side.open(await place.behaving())
    side.dialer.tell(side.handle, wire.SOCKET_FRAME_GONE, 1012, "gone")
    await until(lambda: place.closed_with is not None)
    assert place.closed_with == (1001, "")
    assert side.end is None, "nobody is there to be told"


async def test_messages_that_are_not_handled_are_bounded(
    side: Side, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail without the window: a server filled the memory of the node."""

    async def talk(ws: ServerConnection) -> None:
        for n in range(500):
            await ws.send(str(n))

    side.auto = False
    await side.open(await place.behaving(talk))
    await until(lambda: len(side.events) == limits.outbound_unhandled_max)
    await asyncio.sleep(0.05)
    assert len(side.events) == limits.outbound_unhandled_max
    monkeypatch.setattr(limits, "outbound_unhandled_bytes_max", -1)
    side.dialer.handled(side.handle, 1)
    await asyncio.sleep(0.05)
    assert len(side.events) == limits.outbound_unhandled_max, "bytes are bounded, too"
    monkeypatch.undo()
    side.auto = True
    for seq in range(2, limits.outbound_unhandled_max + 1):
        side.dialer.handled(side.handle, seq)
    await until(lambda: len(side.events) == 500)
    assert [data for _, data in side.events] == [str(n).encode() for n in range(500)]


# -- what is asked and cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "field"), [(403, ""), (302, "http://127.0.0.1:1/"), (200, "")])
async def test_another_answer_is_the_answer_and_no_redirect_is_followed(
    side: Side, place: Place, status: int, field: str
) -> None:
    """Seen to fail when the package follows: a redirect led to a host that is not named."""

    def answer(connection: ServerConnection, _: Request) -> Response:
        made = connection.respond(status, "why")
        if field:
            made.headers["Location"] = field
        return made

    pending = await side.ask(await place.behaving(process_request=answer))
    assert (pending.error, pending.status, pending.answer, pending.socket) == (None, status, b"why", None)
    assert not field or ("Location", field) in pending.answer_headers
    assert side.offered == {}


async def refused(side: Side, url: str, **more: Any) -> HomingError:
    error = (await side.ask(url, **more)).error
    assert error is not None
    return error


async def test_what_may_not_be_reached_is_not(side: Side, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when hosts are not looked at, and when only their names are."""
    url = await place.behaving()
    assert isinstance(await refused(side, url, hosts=["example.com"]), Forbidden)
    assert isinstance(await refused(side, url, headers=[("x", "a\r\nhost: evil")]), BadRequest)
    assert isinstance(await refused(side, url + " HTTP/1.1"), BadRequest)
    assert isinstance(await refused(side, url, method="POST"), BadRequest)
    assert isinstance(await refused(side, url, body=b"x"), BadRequest)
    assert isinstance(await refused(side, "http://127.0.0.1:1/"), Unavailable)
    assert isinstance(await refused(side, url.replace("http", "https")), Unavailable)

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    assert isinstance(await refused(side, "http://inside.example/", hosts=["inside.example"]), Forbidden)
    assert place.closed_with is None


async def test_a_certificate_must_be_of_a_known_authority(
    side: Side, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    url = (await place.behaving(ssl=context)).replace("http", "https")
    assert isinstance(await refused(side, url), Unavailable)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    await side.open(url)
    side.say(1, "hi")
    await until(lambda: side.events == [(TEXT, b"hi")])


async def test_too_many_are_refused(side: Side, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await place.behaving()
    monkeypatch.setattr(limits, "outbound_sockets_per_object_max", 1)
    await side.open(url)
    assert isinstance(await refused(side, url), Overloaded)
    monkeypatch.setattr(limits, "outbound_sockets_per_object_max", 9)
    monkeypatch.setattr(limits, "outbound_sockets_max", 1)
    assert isinstance(await refused(side, url), Overloaded)


# -- servers that do not behave -------------------------------------------------------------------------------------


def frame(opcode: int, data: bytes = b"", *, mask: bool = False) -> bytes:
    head = bytes((0x80 | opcode, (0x80 if mask else 0) | len(data)))
    return head + (bytes(4) if mask else b"") + data


async def wild_end(side: Side, place: Place, said: bytes) -> tuple[int, tuple[int, str, bool]]:
    """The code that a server gets for what it said, and what the object hears."""
    answered: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        answered.append(await reader.read(256))

    await side.open(await place.wild(talk))
    end = await side.ended()
    opcode, length, *mask = answered[0][:6]
    assert opcode == 0x88
    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(answered[0][6 : 6 + (length & 0x7F)]))
    return int.from_bytes(payload[:2], "big"), end


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(1, b"\xff"), 1007),
        (frame(1, b"hi", mask=True), 1002),
        (frame(3), 1002),
        (bytes((0x82, 127)) + (1 << 40).to_bytes(8, "big"), 1009),
        (frame(8, b"\x03"), 1002),
    ],
)
async def test_what_is_no_frame_of_the_protocol_fails_the_connection(
    side: Side, place: Place, said: bytes, code: int
) -> None:
    told, (heard, reason, clean) = await wild_end(side, place, said)
    assert told == code
    assert (heard, clean) == (1006, False)
    assert reason.startswith(f"closed with {code}")
    assert side.events == []


async def test_a_message_over_the_limit_is_not_taken(side: Side, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "outbound_message_bytes_max", 1_000)

    async def talk(ws: ServerConnection) -> None:
        await ws.send(bytes(1_000))
        await ws.send(iter([bytes(600), bytes(600)]))

    await side.open(await place.behaving(talk))
    assert (await side.ended())[0] == 1006
    assert side.events == [(BINARY, bytes(1_000))]
    await until(lambda: place.closed_with is not None)
    assert place.closed_with is not None
    assert place.closed_with[0] == 1009


async def test_a_message_that_grows_when_it_is_unpacked_is_not_taken(
    side: Side, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "outbound_message_bytes_max", 100_000)

    async def talk(ws: ServerConnection) -> None:
        await ws.send(bytes(10_000_000))

    await side.open(await place.behaving(talk, compression="deflate"))
    assert (await side.ended())[1].startswith("closed with 1009")
    assert side.events == []


async def test_a_connection_that_breaks_off(side: Side, place: Place) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(1, b"last"))

    await side.open(await place.wild(talk))
    assert await side.ended() == (1006, "the connection was lost", False)
    assert side.events == [(TEXT, b"last")]


async def test_a_server_that_never_answers_a_close_is_left(
    side: Side, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "outbound_close_s", 0.2)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            writer.write(frame(1, b"and on"))

    await side.open(await place.wild(talk))
    side.say(1, [1000, ""])
    assert await side.ended() == (1006, "", False)


async def test_a_server_that_does_not_read_is_left_when_it_is_closed(
    side: Side, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table closes it once 8 MiB are waiting. Seen to fail when the close waits for its turn for ever."""
    monkeypatch.setattr(limits, "outbound_close_s", 0.2)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    await side.open(await place.wild(talk))
    for seq in range(1, 200):
        side.say(seq, bytes(100_000))
    await asyncio.sleep(0.1)
    assert len(side.arrived) < 199
    side.say(200, [1013, "it is read too slowly"])
    side.say(201, "nothing leaves behind a close")
    assert (await side.ended())[0] == 1006
