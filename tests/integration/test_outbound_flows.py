"""Bodies that flow through the broker: between the code of an object, played here, and a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from homing.flow import BROKEN, GOES_ON, WHOLE, cost_of, piece_bytes_max, window_bytes
from homing_node import limits
from homing_node.broker.outbound import Outbound
from homing_node.objects.frames import OUTBOUND
from homing_placement.routing.flows import Download, Upload
from homing_placement.routing.pending import Pending

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    found = Outbound()
    yield found
    await found.close()


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    """A server of one answer for each connection; gives its host and port."""

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    found = await asyncio.start_server(run, "127.0.0.1", 0, limit=1 << 16)
    async with found:
        yield f"127.0.0.1:{found.sockets[0].getsockname()[1]}"


async def head_of(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\r\n\r\n")).decode().lower()


class Asked:
    """A request of an object's code, and what it hears."""

    def __init__(
        self, outbound: Outbound, host: str, method: str = "GET", *, flows: bool = False, redirect: str = "follow",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:  # fmt: skip
        self.done = asyncio.Event()
        self.room = asyncio.Event()
        self.taken: list[int] = []
        now_ns = time.monotonic_ns()
        self.pending = Pending(
            OUTBOUND, "", redirect, b"", 0, method, b"", "", now_ns * 1e-9 + 10, now_ns, lambda _: self.done.set()
        )  # fmt: skip
        self.pending.url, self.pending.headers = f"http://{host}/x", list(headers)
        self.upload = Upload(self._returned)
        if flows:
            self.pending.uploads = (self.upload,)
        outbound.submit(self.pending, (host,))

    def _returned(self, cost: int) -> None:
        self.taken.append(cost)
        self.room.set()

    async def put(self, data: bytes) -> None:
        while not self.upload.room:
            self.room.clear()
            await self.room.wait()
        self.upload.put(data)

    async def answered(self) -> Pending:
        async with asyncio.timeout(10):
            await self.done.wait()
        return self.pending

    async def download(self) -> Download:
        return (await self.answered()).downloads[0]


async def body_of(download: Download) -> tuple[bytes, int]:
    """All of it, each piece taken as it comes; and how it ended."""
    more, parts = asyncio.Event(), list[bytes]()
    download.on_more = more.set
    async with asyncio.timeout(10):
        while True:
            while download.pieces:
                parts.append(download.pieces.popleft())
                download.took(cost_of(parts[-1]))
            if download.end != GOES_ON:
                return b"".join(parts), download.end
            more.clear()
            await more.wait()


async def test_a_request_is_sent_as_it_comes(outbound: Outbound) -> None:
    """Broken by: a body that is collected before it is sent; or credit that does not come back."""
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert "transfer-encoding: chunked" in await head_of(reader)
        while (size := int(await reader.readline(), 16)) > 0:
            came.put_nowait(await reader.readexactly(size))
            await reader.readline()
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")

    async with server(serve) as host:
        asked = Asked(outbound, host, "POST", flows=True)
        async with asyncio.timeout(10):
            for data in (b"one", b"two"):
                await asked.put(data)
                assert await came.get() == data
        asked.upload.end(WHOLE)
        pending = await asked.answered()
        assert (pending.error, pending.status, pending.answer, pending.downloads) == (None, 200, b"ok", ())
        assert asked.taken[:2] == [cost_of(b""), cost_of(b"one")]


async def test_a_length_that_the_code_says_is_passed_on(outbound: Outbound) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        assert "content-length: 3" in head
        assert "transfer-encoding" not in head
        writer.write(HEAD + b"content-length: 3\r\n\r\n" + await reader.readexactly(3))

    async with server(serve) as host:
        asked = Asked(outbound, host, "PUT", flows=True, headers=(("content-length", "3"),))
        await asked.put(b"abc")
        asked.upload.end(WHOLE)
        assert (await asked.answered()).answer == b"abc"


@pytest.mark.parametrize("how", ["broken", "longer", "shorter"])
async def test_a_request_that_is_not_complete_is_an_error(outbound: Outbound, how: str) -> None:
    """And the server does not take it for one. Broken by: an end that looks as if all was there."""
    ended: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        ended.put_nowait(await reader.read())

    async with server(serve) as host:
        length = {"longer": "2", "shorter": "9"}.get(how)
        asked = Asked(outbound, host, "POST", flows=True, headers=(("content-length", length),) if length else ())
        await asked.put(b"one")
        asked.upload.end(BROKEN if how == "broken" else WHOLE)
        error = (await asked.answered()).error
        assert error is not None
        assert error.code == "bad-request"
        async with asyncio.timeout(10):
            assert not (await ended.get()).endswith(b"0\r\n\r\n")


async def test_a_long_answer_flows_no_faster_than_it_is_read(outbound: Outbound) -> None:
    """Broken by: an answer that is collected; or pieces that are passed on whatever is taken."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(HEAD + b"x-a: b\r\nconnection: close\r\n\r\n")
        for _ in range(512):
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with server(serve) as host:
        download = await Asked(outbound, host).download()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 24 << 20, "what sockets and the window hold"
        assert sum(map(cost_of, download.pieces)) < window_bytes + piece_bytes_max + 1_000
        data, end = await body_of(download)
        assert (len(data), end) == (32 << 20, WHOLE)


async def test_events_pass_as_they_come_and_their_server_hears_when_nobody_reads(outbound: Outbound) -> None:
    """Broken by: a connection that is kept open for an answer that nobody wants."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n7\r\ndata: 1\r\n")
        await reader.read()
        gone.set()

    async with server(serve) as host, asyncio.timeout(10):
        download = await Asked(outbound, host).download()
        while not download.pieces:
            await asyncio.sleep(0.01)
        assert download.pieces.popleft() == b"data: 1"
        assert not gone.is_set()
        download.stop()
        await gone.wait()


async def test_an_answer_that_breaks_off_is_not_whole(outbound: Outbound) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(HEAD + b"content-length: 1000000\r\n\r\nhalf")

    async with server(serve) as host:
        assert await body_of(await Asked(outbound, host).download()) == (b"half", BROKEN)


@pytest.mark.parametrize(("status", "answered"), [(303, "get"), (302, "get"), (307, ""), (308, "")])
async def test_a_body_that_flows_is_sent_once(outbound: Outbound, status: int, answered: str) -> None:
    """A redirect that asks for it again is an error. Broken by: a second request without its body."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await head_of(reader)
        if head.startswith("get"):
            assert "content-type" not in head
            writer.write(HEAD + b"content-length: 3\r\n\r\nget")
            return
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n" % status)

    async with server(serve) as host:
        asked = Asked(outbound, host, "POST", flows=True, headers=(("content-type", "text/plain"),))
        await asked.put(b"one")
        asked.upload.end(WHOLE)
        pending = await asked.answered()
        if answered:
            assert (pending.error, pending.answer) == (None, answered.encode())
        else:
            assert pending.error is not None
            assert "cannot be sent again" in pending.error.message


async def test_so_many_answers_flow_and_leave_connections_for_others(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken by: no bound; answers that last for hours would take every connection."""
    monkeypatch.setattr(limits, "outbound_flowing_max", 1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        await reader.read()

    async with server(serve) as host:
        first = await Asked(outbound, host).download()
        error = (await Asked(outbound, host).answered()).error
        assert error is not None
        assert error.code == "overloaded"
        first.stop()
        async with asyncio.timeout(10):
            while (await (again := Asked(outbound, host)).answered()).error is not None:
                await asyncio.sleep(0.01)
        again.pending.downloads[0].stop()
