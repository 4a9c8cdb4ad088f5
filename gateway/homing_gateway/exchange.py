"""One HTTP request while it is served: its body, its answer, and what an object's code sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from homing.errors import ApplicationError, DeadlineExceeded, HomingError, MethodNotAllowed, TooLarge
from homing.flow import cut
from homing_gateway.asked import Asked
from homing_gateway.bodies import RequestBody
from homing_gateway.gateway import Gateway, OnDone
from homing_gateway.limits import BODY_WAIT_S_MAX, LENGTH_DIGITS_MAX, STREAM_STALLED_S, WHOLE_BYTES_MAX
from homing_gateway.problems import HeaderList, problem
from homing_gateway.routes import Kind, Route
from homing_placement.routing.flows import Download
from homing_placement.routing.pending import Pending

_log = structlog.get_logger("homing.gateway")

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, HeaderList, bytes | Download]

# Fields of one connection only; they mean nothing beyond it.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_SCHEMES = {"ws": "http", "wss": "https"}  # of a request that asks for a WebSocket
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,15}")
_BODILESS = frozenset((204, 205, 304))
_LENGTHLESS = frozenset((204, 304))


class ClientGone(Exception):
    """The connection closed before the answer; nobody is there to be told."""


class Exchange:
    """One HTTP request while it is served."""

    def __init__(self, scope: Scope, receive: Receive, asked: Asked, request_id: str, entered_ns: int) -> None:
        self.asked = asked
        self.request_id = request_id
        self.entered_ns = entered_ns
        self.verb: str = scope["method"]
        self.query: bytes = scope["query_string"]
        self.route = Route(Kind.UNKNOWN)
        self.pending: Pending | None = None
        self._scope = scope
        self._receive = receive
        self._unread = True
        self._rest: RequestBody | None = None  # of a body that is passed on as it comes

    @property
    def raw_path(self) -> bytes:
        """The path as it came, without its query."""
        return self._scope["raw_path"]

    def accepts(self, kind: bytes) -> bool:
        """Whether the client names this media type in `Accept`."""
        return any(name == b"accept" and kind in value for name, value in self._scope["headers"])

    def problem(self, error: HomingError) -> Answer:
        """The answer of an error."""
        allow = self.route.verbs if isinstance(error, MethodNotAllowed) else None
        has_key = self.pending is not None and bool(self.pending.key)
        status, headers, body = problem(error, self.request_id, has_key=has_key, allow=allow)
        if self._unread and self.asked.content_length not in (None, b"0"):
            headers.append((b"connection", b"close"))  # what is left of the body is not worth reading
        return status, headers, body

    def json(self, value: object) -> Answer:
        """A JSON answer."""
        return self.respond(200, msgspec.json.encode(value), b"application/json")

    def respond(self, status: int, body: bytes, content_type: bytes) -> Answer:
        """An answer with the headers that all have."""
        headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode("ascii")),
        ]
        return status, headers, body

    def nothing(self) -> Answer:
        """An answer without a body."""
        return 204, [(b"x-request-id", self.request_id.encode("ascii"))], b""

    async def body(self, limit: int) -> bytes:
        """The whole body, refused as soon as it is known to be too long.

        Raises:
            TooLarge: over `limit` bytes.
            DeadlineExceeded: it did not come within `BODY_WAIT_S_MAX`.
        """
        declared = self.asked.content_length
        if declared is not None and not (
            declared.isdigit() and len(declared) <= LENGTH_DIGITS_MAX and int(declared) <= limit
        ):
            raise TooLarge(f"the body is at most {limit} bytes")
        try:
            async with asyncio.timeout(BODY_WAIT_S_MAX):
                body = await self._read(limit)
        except TimeoutError as error:
            raise DeadlineExceeded("the body did not come in time") from error
        self._unread = False
        return body

    async def first_piece(self) -> bytes:
        """The beginning of a body that is passed on as it comes; or all of it, where that is what came.

        Raises:
            DeadlineExceeded: it did not come within `BODY_WAIT_S_MAX`.
        """
        piece, *left = [*cut(await self._next_piece()), b""]
        if self._unread or any(left):
            self._rest = RequestBody(left, more=self._unread, timeout_s=self.asked.timeout_ms() / 1_000)
        return piece

    async def _read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise TooLarge(f"the body is at most {limit} bytes")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it comes, however long it is.

        Raises:
            DeadlineExceeded: the next piece did not come within `BODY_WAIT_S_MAX`.
        """
        while self._unread:
            yield await self._next_piece()

    async def _next_piece(self) -> bytes:
        try:
            async with asyncio.timeout(BODY_WAIT_S_MAX):
                message = await self._receive()
        except TimeoutError as error:
            raise DeadlineExceeded("the body did not come in time") from error
        if message["type"] != "http.request":
            raise ClientGone
        self._unread = message.get("more_body", False)
        return message.get("body", b"")

    async def stream(
        self, send: Send, frames: AsyncGenerator[bytes], content_type: bytes, size: int | None = None,
        on_gone: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Answer with frames as they come, no faster than the client takes them.

        Args:
            send: of ASGI.
            frames: the body; where they raise a `HomingError`, the connection ends before the body does.
            content_type: of the body.
            size: of the body, if it is known.
            on_gone: as of `pour`.
        """
        headers = [(b"content-type", content_type), (b"x-request-id", self.request_id.encode("ascii"))]
        if size is not None:
            headers.append((b"content-length", b"%d" % size))
        async with contextlib.aclosing(frames):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self.pour(send, frames, STREAM_STALLED_S, on_gone)

    async def pour(
        self, send: Send, frames: AsyncGenerator[bytes], stalled_s: float,
        on_gone: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """Send the body of an answer whose head was sent, as `stream` does.

        Args:
            send, frames: see there.
            stalled_s: a client that takes nothing for so long has gone.
            on_gone: called when the client has gone, also while no frame comes.

        Raises:
            ClientGone: it did not come to its end; where the client is still there, the connection is to be closed.
        """
        gone = asyncio.ensure_future(self.until_gone())
        if on_gone is not None:
            gone.add_done_callback(lambda _: on_gone())
        try:
            async with contextlib.aclosing(frames):
                async for frame in frames:
                    if gone.done():
                        raise ClientGone
                    async with asyncio.timeout(stalled_s):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            raise ClientGone from None
        except HomingError as error:
            if not gone.done():
                _log.warning("an answer broke off", request_id=self.request_id, error=error.message)
            raise ClientGone from None
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def until_gone(self) -> None:
        """Pass on what is left of the body, and wait until the client has gone; always raises."""
        if self._rest is not None and self.pending is not None:
            try:
                await self._rest.feed(self._receive, self.pending)
            except ConnectionError:
                raise ClientGone from None
            self._unread = self._rest.more
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    def url(self) -> str:
        """The address that the object's code sees."""
        scope = self._scope
        host = (self.asked.host or b"localhost").decode("latin-1")
        path = self.route.rest if self.route.kind is Kind.FETCH else scope["raw_path"].decode("latin-1")
        query = "?" + self.query.decode("latin-1") if self.query else ""
        scheme = _SCHEMES.get(scope["scheme"], scope["scheme"])
        return f"{scheme}://{host}{path}{query}"

    def fetch(
        self, gateway: Gateway, body: bytes, on_done: OnDone, more_headers: Sequence[tuple[str, str]] = ()
    ) -> Pending:
        """The call of a fetch that this request is; see `Gateway.fetch`."""
        hidden = gateway.doorkeeper.has_token and self.route.guarded
        headers = [*self._passed_headers(without_authorization=hidden), *more_headers]
        pending = gateway.fetch(
            self.route, self.asked, self.verb, self.url(), headers, body, self.request_id, self.entered_ns, on_done
        )
        if self._rest is not None:
            pending.uploads = (self._rest.upload,)
            self.pending = pending
        return pending

    @property
    def flows(self) -> bool:
        """Whether the body is passed on as it comes: it is long, or nobody says how long; and no key is to keep it."""
        length = self.asked.content_length
        if self.asked.key is not None:
            return False
        if length is None:
            return any(name == b"transfer-encoding" for name, _ in self._scope["headers"])
        return length.isdigit() and len(length) <= LENGTH_DIGITS_MAX and int(length) > WHOLE_BYTES_MAX

    def close(self) -> None:
        """It is over: no more of either body is passed on."""
        if self._rest is not None:
            self._rest.end()
        for download in self.pending.downloads if self.pending is not None else ():
            download.stop()

    def _passed_headers(self, *, without_authorization: bool) -> list[tuple[str, str]]:
        """What the object's code sees of the headers; never the gateway's own token."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._scope["headers"]]
        return [
            (name, value)
            for name, value in headers
            if name not in _HOP_BY_HOP and not (without_authorization and name == "authorization")
        ]


def fetched(pending: Pending, exchange: Exchange) -> Answer:
    """The answer that an object's fetch made, checked: nothing in it may break the connection's framing."""
    status = pending.status
    if not 200 <= status <= 599:
        raise ApplicationError(f"the object answered with status {status}", error_type="ResponseError")
    headers = answered_headers(pending)
    headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
    if pending.downloads and status not in _BODILESS and exchange.verb != "HEAD":
        said = said_length(pending)
        if said is not None:
            headers.append((b"content-length", b"%d" % said))
        return status, headers, pending.downloads[0]
    body = b"" if status in _BODILESS else pending.answer
    if status not in _LENGTHLESS:
        headers.append((b"content-length", b"%d" % _length(pending, body, exchange.verb)))
    return status, headers, body


def _length(pending: Pending, body: bytes, verb: str) -> int:
    """How long the body is, or would be: to HEAD it may be said instead of sent."""
    if verb == "HEAD" and not body:
        return said_length(pending) or 0
    return len(body)


def said_length(pending: Pending) -> int | None:
    """How long the object says that the body is, if it does."""
    said = next((value for name, value in pending.answer_headers if name.lower() == "content-length"), "")
    return int(said) if _LENGTH.fullmatch(said) else None


def answered_headers(pending: Pending) -> HeaderList:
    """The header fields that an object's fetch answered with, as far as they are its to say.

    Raises:
        ApplicationError: one of them would break the connection's framing.
    """
    headers: HeaderList = []
    for name, value in pending.answer_headers:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ApplicationError("the object answered with a header that is not valid", error_type="ResponseError")
        low = name.lower()
        if low not in _HOP_BY_HOP and low not in ("content-length", "x-request-id"):
            headers.append((low.encode("ascii"), value.encode("latin-1")))
    return headers


async def send_answer(send: Send, answer: Answer) -> None:
    """Send an answer, but for a body that flows."""
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
