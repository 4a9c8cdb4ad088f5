"""The gateway's WebSockets against RFC 6455, frame by frame: what is delivered, and what answers what is wrong."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator
from typing import cast

import pytest

from gateway_process import Running, running, until
from homing.wire.v1 import call_pb2 as wire
from homing_gateway import socket_lane, sockets
from homing_gateway.limits import SOCKET_MESSAGE_BYTES_MAX, SOCKET_UNHANDLED_BYTES_MAX, SOCKET_UNHANDLED_MAX
from stub_node import answer

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
PROTOCOL_ERROR, NOT_UTF8, TOO_LARGE = 1002, 1007, 1009


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    head = bytes(((FIN if fin else 0) | reserved | opcode,))
    bit = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes((bit | len(data),))
    else:
        head += bytes((bit | 126,)) + struct.pack(">H", len(data))
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack(">H", code) + reason)


class Client:
    """A connection that is upgraded, and the node behind the gateway."""

    def __init__(self, gate: Running, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.gate, self.reader, self.writer = gate, reader, writer

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        head, size = await asyncio.wait_for(self.reader.readexactly(2), 5.0)
        if size == 126:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
        assert head & FIN
        return head & 0x0F, await self.reader.readexactly(size)

    async def closed_with(self) -> int:
        """The code of the close frame that comes, and nothing after it."""
        opcode, data = await self.receive()
        assert opcode == CLOSE, (opcode, data)
        self.send(close(1000))
        assert await asyncio.wait_for(self.reader.read(), 5.0) == b""
        return struct.unpack(">H", data[:2])[0] if data else 1005

    async def told(self, count: int = 1) -> list[wire.FromSocket]:
        """What the node was told, but for the attaching."""

        def so_far() -> list[wire.FromSocket]:
            return [each for each in self.gate.node.sockets if each.kind != wire.SOCKET_FRAME_ATTACH]

        await until(lambda: len(so_far()) >= count)
        return so_far()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running(lane=True) as gate:

        def accept(call: wire.Call) -> wire.Reply:
            reply = answer(b"", status=101)
            reply.socket.CopyFrom(wire.SocketRef(class_name="Counter", object=call.object, name="a", number=5))
            return reply

        gate.node.on_call = accept
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /_homing/v1/objects/Counter/a/fetch/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        yield Client(gate, reader, writer)
        writer.close()


async def test_messages_whole_and_in_fragments_with_a_ping_between(client: Client) -> None:
    client.send(frame(TEXT, "hé".encode()), frame(BINARY, b"\xff"), frame(TEXT, b""))
    client.send(frame(TEXT, b"one ", fin=False), frame(CONTINUATION, b"two ", fin=False), frame(PING, b"p"))
    client.send(frame(CONTINUATION, b"three"))
    assert await client.receive() == (PONG, b"p")
    told = await client.told(4)
    assert [(each.kind, each.seq, each.data) for each in told] == [
        (wire.SOCKET_FRAME_TEXT, 1, "hé".encode()),
        (wire.SOCKET_FRAME_BINARY, 2, b"\xff"),
        (wire.SOCKET_FRAME_TEXT, 3, b""),
        (wire.SOCKET_FRAME_TEXT, 4, b"one two three"),
    ]


async def test_a_character_that_is_cut_by_a_fragment_is_whole(client: Client) -> None:
    first, second = "hé".encode()[:2], "hé".encode()[2:]
    client.send(frame(TEXT, first, fin=False), frame(CONTINUATION, second))
    assert (await client.told())[0].data == "hé".encode()


async def test_what_the_object_says_and_its_close(client: Client) -> None:
    await until(lambda: bool(client.gate.node.sockets))
    handle = client.gate.node.sockets[0].handle
    client.gate.node.say(handles=[handle], kind=wire.SOCKET_FRAME_TEXT, seq=1, data=b"hi")
    client.gate.node.say(handles=[handle], kind=wire.SOCKET_FRAME_BINARY, seq=2, data=b"\x00" * 300)
    client.gate.node.say(handles=[handle], kind=wire.SOCKET_FRAME_CLOSE, seq=3, code=3_000, reason="bye")
    assert await client.receive() == (TEXT, b"hi")
    assert await client.receive() == (BINARY, b"\x00" * 300)
    assert await client.receive() == (CLOSE, struct.pack(">H", 3_000) + b"bye")


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
async def test_a_close_is_answered_and_told(client: Client, code: int) -> None:
    client.send(close(code, "é".encode()))
    assert await client.closed_with() == code
    (told,) = await client.told()
    assert (told.kind, told.code, told.reason, told.clean) == (wire.SOCKET_FRAME_CLOSE, code, "é", True)


async def test_a_close_without_a_code(client: Client) -> None:
    client.send(frame(CLOSE))
    assert await client.closed_with() == 1005
    (told,) = await client.told()
    assert (told.code, told.clean) == (1005, True)


async def test_a_connection_that_breaks_off(client: Client) -> None:
    client.writer.transport.abort()
    (told,) = await client.told()
    assert (told.code, told.clean) == (1006, False)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([frame(TEXT, b"x", masked=False)], PROTOCOL_ERROR, id="not masked"),
        pytest.param([frame(TEXT, b"x", reserved=0x40)], PROTOCOL_ERROR, id="a reserved bit"),
        pytest.param([frame(0x3, b"x")], PROTOCOL_ERROR, id="an opcode that is none"),
        pytest.param([frame(0xB, b"x")], PROTOCOL_ERROR, id="a control opcode that is none"),
        pytest.param([frame(CONTINUATION, b"x")], PROTOCOL_ERROR, id="a continuation of nothing"),
        pytest.param([frame(TEXT, b"x", fin=False), frame(TEXT, b"y")], PROTOCOL_ERROR, id="a message in another"),
        pytest.param([frame(PING, b"x", fin=False)], PROTOCOL_ERROR, id="a ping in fragments"),
        pytest.param([frame(PING, bytes(126))], PROTOCOL_ERROR, id="a long ping"),
        pytest.param([frame(CLOSE, b"x")], PROTOCOL_ERROR, id="half a code"),
        *(pytest.param([close(code)], PROTOCOL_ERROR, id=f"code {code}") for code in (0, 999, 1004, 1005, 1006, 1015)),
        *(pytest.param([close(code)], PROTOCOL_ERROR, id=f"code {code}") for code in (1016, 2999, 5000, 65535)),
        pytest.param([close(1000, b"\xff")], NOT_UTF8, id="a reason that is not UTF-8"),
        pytest.param([frame(TEXT, b"\xc3")], NOT_UTF8, id="a text that is not UTF-8"),
        pytest.param([frame(TEXT, b"\xed\xa0\x80")], NOT_UTF8, id="a surrogate"),
        pytest.param(
            [frame(TEXT, b"ok", fin=False), frame(CONTINUATION, b"\xff")], NOT_UTF8, id="a fragment that is not UTF-8"
        ),
        pytest.param(
            [bytes((FIN | BINARY, 0x80 | 127)) + struct.pack(">Q", SOCKET_MESSAGE_BYTES_MAX + 1) + bytes(4)],
            TOO_LARGE,
            id="over 32 MiB, by its head",
        ),
    ],
)
async def test_what_is_wrong_is_closed_with_its_code(client: Client, frames: list[bytes], code: int) -> None:
    client.send(*frames)
    assert await client.closed_with() == code
    told = await client.told()
    assert (told[-1].kind, told[-1].code) == (wire.SOCKET_FRAME_CLOSE, code), "the object hears why"


async def test_a_client_that_sends_more_than_is_handled_is_not_read(client: Client) -> None:
    """Seen to fail when reading goes on: all that it sent was in the gateway's memory."""
    client.send(frame(BINARY, bytes(60_000)) * 400)
    await client.told(SOCKET_UNHANDLED_BYTES_MAX // 60_000)
    await asyncio.sleep(0.2)
    assert client.writer.transport.get_write_buffer_size() > 0


async def test_what_waits_for_room_comes_in_its_order(client: Client) -> None:
    """Seen to fail when what is parsed behind a full socket is passed on at once, or dropped."""
    sent = 3 * SOCKET_UNHANDLED_MAX
    client.send(*(frame(TEXT, b"%d" % number) for number in range(sent)))
    told = await client.told(SOCKET_UNHANDLED_MAX)
    await asyncio.sleep(0.05)
    assert len(await client.told()) == SOCKET_UNHANDLED_MAX
    for number in range(sent):
        await client.told(number + 1)
        client.gate.node.handled(told[0].handle, number + 1)
    assert [each.data for each in await client.told(sent)] == [b"%d" % number for number in range(sent)]
    client.send(frame(TEXT, b"read again"))
    assert (await client.told(sent + 1))[-1].data == b"read again"


async def test_a_client_that_reads_nothing_is_cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when the close frame is waited for: it lies behind what is never read, and the socket stayed."""
    monkeypatch.setattr(sockets, "SOCKET_UNREAD_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(socket_lane, "SOCKET_CLOSE_S_MAX", 0.3)
    await until(lambda: bool(client.gate.node.sockets))
    handle = client.gate.node.sockets[0].handle
    cast("asyncio.ReadTransport", client.writer.transport).pause_reading()
    for seq in range(1, 40):
        client.gate.node.say(handles=[handle], kind=wire.SOCKET_FRAME_BINARY, seq=seq, data=bytes(500_000))
    (told,) = await client.told()
    assert (told.kind, told.code) == (wire.SOCKET_FRAME_CLOSE, 1006)
