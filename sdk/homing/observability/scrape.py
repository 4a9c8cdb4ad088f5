"""A small HTTP server for `/metrics` on a port of its own: no tasks, one request a connection, everything bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

HEAD_BYTES_MAX = 8_192
CONNECTIONS_MAX = 32
IDLE_S_MAX = 5.0

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Serves what `exposition` returns.

    Args:
        exposition: gives the Prometheus text; called once a scrape, in the event loop.

    Example:
        >>> server = MetricsServer(metrics.exposition)
        >>> address = await server.start("127.0.0.1", 0)
    """

    def __init__(self, exposition: Callable[[], bytes]) -> None:
        self._exposition = exposition
        self._server: asyncio.Server | None = None
        self._open: set[_Scrape] = set()

    async def start(self, host: str, port: int) -> str:
        """Listen, and return `host:port` as bound.

        Raises:
            OSError: the address is taken or not ours.
        """
        self._server = await asyncio.get_running_loop().create_server(self._protocol, host, port)
        bound = self._server.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in str(bound[0]) else str(bound[0])
        return f"{shown}:{bound[1]}"

    async def stop(self) -> None:
        """Close the port and what is open on it."""
        if self._server is not None:
            self._server.close()
            for scrape in list(self._open):
                scrape.drop()
            await self._server.wait_closed()
            self._server = None

    def _protocol(self) -> _Scrape:
        return _Scrape(self._exposition, self._open)


class _Scrape(asyncio.Protocol):
    """One connection: reads a head, writes an answer, closes."""

    def __init__(self, exposition: Callable[[], bytes], others: set[_Scrape]) -> None:
        self._exposition = exposition
        self._others = others
        self._head = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._others) >= CONNECTIONS_MAX:
            self._answer(b"503 Service Unavailable", b"too many connections\n")
            return
        self._others.add(self)
        self._timer = asyncio.get_running_loop().call_later(IDLE_S_MAX, self.drop)

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._head += data
        if len(self._head) > HEAD_BYTES_MAX:
            self._answer(b"431 Request Header Fields Too Large", b"")
        elif b"\r\n\r\n" in self._head:
            self._respond()

    def drop(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _respond(self) -> None:
        verb, _, rest = bytes(self._head).partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if verb not in (b"GET", b"HEAD"):
            self._answer(b"405 Method Not Allowed", b"", extra=b"allow: GET, HEAD\r\n")
        elif path != b"/metrics":
            self._answer(b"404 Not Found", b"metrics are at /metrics\n")
        else:
            self._answer(b"200 OK", self._exposition(), head_only=verb == b"HEAD")

    def _answer(self, status: bytes, body: bytes, *, extra: bytes = b"", head_only: bool = False) -> None:
        assert self._transport is not None
        head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n%b\r\n"
        self._transport.write(head % (status, _TEXT, len(body), extra) + (b"" if head_only else body))
        self._transport.close()
