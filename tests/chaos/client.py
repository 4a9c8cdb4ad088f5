"""A small keep-alive HTTP/1.1 client: one connection, one call at a time, with as little of its own cost as possible.

Load is made on the same cores that carry the cluster, so the client must not be the slow part. It understands what the
gateway answers (a status, headers, a body with a length or in chunks) and nothing more.
"""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple, cast

HEADER_END = b"\r\n\r\n"
HEADERS_BYTES_MAX = 64 * 1024


class Answer(NamedTuple):
    """What came back: `head` is the raw block of headers in lower case."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's value, or `None`."""
        mark = b"\r\n" + name.lower().encode() + b":"
        start = self.head.find(mark)
        if start < 0:
            return None
        end = self.head.find(b"\r\n", start + len(mark))
        return self.head[start + len(mark) : end if end >= 0 else None].strip().decode()

    def json(self) -> object:
        """The body as JSON."""
        return cast(object, json.loads(self.body))

    def result(self) -> object:
        """What the method returned."""
        return cast(dict[str, object], self.json())["result"]


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiter: asyncio.Future[Answer] | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        waiter = self.waiter
        if waiter is None or waiter.done():
            return
        try:
            answer, self.buffer = parse(self.buffer)
        except ValueError as error:
            waiter.set_exception(ConnectionError(f"the answer is not HTTP: {error}"))
            return
        if answer is not None:
            self.waiter = None
            waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionError("the connection was lost"))


def parse(data: bytes) -> tuple[Answer | None, bytes]:
    """The first whole answer in `data` and what follows it; `None` while it is not whole.

    Raises:
        ValueError: this is not an answer.
    """
    end = data.find(HEADER_END)
    if end < 0:
        if len(data) > HEADERS_BYTES_MAX:
            raise ValueError("no end of the headers")
        return None, data
    head = data[:end].lower()
    if not head.startswith(b"http/1."):
        raise ValueError("no status line")
    status = int(head[9:12])
    start = end + len(HEADER_END)
    mark = head.find(b"\r\ncontent-length:")
    if mark >= 0:
        stop = head.find(b"\r\n", mark + 17)
        length = int(head[mark + 17 : stop if stop >= 0 else None])
        if len(data) < start + length:
            return None, data
        return Answer(status, head, data[start : start + length]), data[start + length :]
    if b"\r\ntransfer-encoding: chunked" in head:
        return _parse_chunks(status, head, data, start)
    return Answer(status, head, b""), data[start:]


def _parse_chunks(status: int, head: bytes, data: bytes, at: int) -> tuple[Answer | None, bytes]:
    pieces: list[bytes] = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None, data
        length = int(data[at:end].split(b";")[0], 16)
        at = end + 2
        if len(data) < at + length + 2:
            return None, data
        if length == 0:
            return Answer(status, head, b"".join(pieces)), data[at + 2 :]
        pieces.append(data[at : at + length])
        at += length + 2


class Connection:
    """One connection to the gateway, opened at the first call and again after it was lost.

    Args:
        host, port: where the gateway listens.
        headers: further whole header lines for every request, each with its line end.

    Example:
        >>> connection = Connection("127.0.0.1", 8787)  # doctest: +SKIP
        >>> (await connection.rpc("Counter", "a", "increment")).result()  # doctest: +SKIP
        1
    """

    def __init__(self, host: str, port: int, headers: str = "") -> None:
        self.host = host
        self.port = port
        self._headers = headers.encode()
        self._protocol: _Protocol | None = None

    async def open(self) -> None:
        """Connect now, so that the first call does not pay for it."""
        if self._protocol is None or self._protocol.transport is None:
            loop = asyncio.get_running_loop()
            _, self._protocol = await loop.create_connection(_Protocol, self.host, self.port)

    def close(self) -> None:
        """Drop the connection; the next call opens another."""
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()
        self._protocol = None

    async def send(self, request: bytes, timeout_s: float) -> Answer:
        """Send a whole request and wait for its answer.

        Raises:
            OSError: no connection, or it was lost before the answer was whole.
            TimeoutError: no answer in time; the connection is dropped, since a late answer could be taken for another.
        """
        if self._headers:
            first = request.index(b"\r\n") + 2
            request = request[:first] + self._headers + request[first:]
        try:
            async with asyncio.timeout(timeout_s):
                await self.open()
                protocol = self._protocol
                assert protocol is not None
                if protocol.transport is None:
                    raise ConnectionError("the connection was lost")
                protocol.waiter = waiter = asyncio.get_running_loop().create_future()
                protocol.buffer = b""
                protocol.transport.write(request)
                answer = await waiter
        except BaseException:
            self.close()
            raise
        if b"\r\nconnection: close" in answer.head:
            self.close()
        return answer

    async def get(self, path: str, timeout_s: float = 10.0) -> Answer:
        """GET a path."""
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode(), timeout_s)

    async def rpc(
        self,
        class_name: str,
        name: str,
        method: str,
        *arguments: object,
        key: str = "",
        timeout_s: float = 10.0,
    ) -> Answer:
        """Call a method of an object. `timeout_s` is the client's own; the server is not told."""
        request = rpc_request(self.host, self.port, class_name, name, method, *arguments, key=key)
        return await self.send(request, timeout_s)


def rpc_request(
    host: str, port: int, class_name: str, name: str, method: str, *arguments: object, key: str = "", headers: str = ""
) -> bytes:
    """The bytes of one call; `headers` are further whole header lines, each with its line end."""
    body = json.dumps({"args": arguments}) if arguments else "{}"
    if key:
        headers += f"Idempotency-Key: {key}\r\n"
    return (
        f"POST /_homing/v1/objects/{class_name}/{name}/rpc/{method} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n{headers}\r\n{body}"
    ).encode()
