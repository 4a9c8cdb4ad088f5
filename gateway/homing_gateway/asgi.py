"""The ASGI application: every route, one request at a time, nothing shared but the gateway's parts."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog

from homing.errors import (
    ApplicationError,
    DeadlineExceeded,
    HomingError,
    MethodNotAllowed,
    NotSupported,
    TooLarge,
    Unavailable,
)
from homing_gateway.admin import Admin
from homing_gateway.asked import Asked
from homing_gateway.gateway import Gateway
from homing_gateway.groups import first_error
from homing_gateway.limits import BODY_WAIT_S_MAX, STREAM_STALLED_S
from homing_gateway.metrics import outcome_of
from homing_gateway.pending import Pending
from homing_gateway.problems import HeaderList, problem
from homing_gateway.routes import Kind, Route
from homing_gateway.streams import SlotStreams

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, HeaderList, bytes]

_log = structlog.get_logger("homing.gateway")

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
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_LABELS = {Kind.RPC: "rpc", Kind.FETCH: "fetch", Kind.DEFAULT: "default"}
_BODILESS = frozenset((204, 205, 304))
_LENGTHLESS = frozenset((204, 304))


class _ClientGone(Exception):
    """The connection closed before the answer; nobody is there to be told."""


class App:
    """The gateway as an ASGI application.

    Args:
        gateway: its parts.
        admin: answers the routes that only look.
        streams: reads slots for backups, and restores them.

    Example:
        >>> forwarder = gateway.forwarder
        >>> uvicorn.Config(App(gateway, Admin(forwarder, 1_024), SlotStreams(forwarder, 1_024)), lifespan="off")
    """

    def __init__(self, gateway: Gateway, admin: Admin, streams: SlotStreams) -> None:
        self._gateway = gateway
        self._admin = admin
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._refuse_socket(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        entered_ns = time.monotonic_ns()
        asked = Asked(scope["headers"])
        request_id = asked.take_request_id()
        exchange = _Exchange(scope, receive, asked, request_id, entered_ns)
        error: HomingError | None = None
        try:
            exchange.route = self._gateway.router.parse(scope["raw_path"])
            self._gateway.doorkeeper.admit(exchange.route, scope["method"], asked)
            if exchange.route.kind is Kind.BACKUP:
                frames = await self._streams.read(exchange.route.slot, exchange.query)
                await exchange.stream(send, frames)
                self._record(exchange, None, time.monotonic_ns())
                return
            answer = await self._answer(exchange)
        except _ClientGone:
            return
        except HomingError as refused:
            error = refused
            answer = exchange.problem(refused)
        except Exception:  # a fault in one request ends that request only
            _log.exception("request failed", request_id=request_id, trace_id=asked.trace_id())
            error = HomingError("the gateway failed on this request")
            answer = exchange.problem(error)
        await _send(send, answer)
        self._record(exchange, error, time.monotonic_ns())

    async def _answer(self, exchange: _Exchange) -> Answer:
        kind = exchange.route.kind
        if kind is Kind.RPC:
            return await self._rpc(exchange)
        if kind is Kind.FETCH or kind is Kind.DEFAULT:
            return await self._fetch(exchange)
        if kind is Kind.EXPORT or exchange.verb == "DELETE":
            raise NotSupported("export and delete of objects are not built yet")
        if kind is Kind.HEALTHZ:
            return exchange.json({"status": "ok"})
        if kind is Kind.READYZ:
            if not self._gateway.ready:
                raise Unavailable("not ready: " + ("draining" if self._gateway.draining else "no node is reached yet"))
            return exchange.json({"status": "ready"})
        return exchange.json(await self._ask_admin(exchange))

    async def _ask_admin(self, exchange: _Exchange) -> dict[str, object]:
        route = exchange.route
        if route.kind is Kind.CLUSTER:
            return await self._admin.cluster()
        if route.kind is Kind.NODE:
            return await self._admin.drain(route.name, stay=route.method == "stay")
        if route.kind is Kind.SLOT:
            return await self._ask_slot(route)
        if route.kind is Kind.RESTORE:
            return await self._streams.restore(route.slot, exchange.query, exchange.pieces())
        if route.kind is Kind.ANY_OBJECT:
            return await self._admin.any_object()
        if route.kind is Kind.LIST:
            return await self._admin.list_objects(route.class_name, exchange.query)
        return await self._admin.describe(route)

    async def _ask_slot(self, route: Route) -> dict[str, object]:
        if route.method == "verify":
            return await self._admin.verify(route.slot)
        return await self._admin.move(route.slot, route.name)

    async def _rpc(self, exchange: _Exchange) -> Answer:
        body = await exchange.body(self._gateway.rpc_bytes_max)
        pending = await self._call(
            exchange,
            lambda on_done: self._gateway.rpc(
                exchange.route, exchange.asked, body, exchange.request_id, exchange.entered_ns, on_done
            ),
        )
        if pending.error is not None:
            return exchange.problem(pending.error)
        return exchange.respond(200, pending.answer, b"application/json")

    async def _fetch(self, exchange: _Exchange) -> Answer:
        body = await exchange.body(self._gateway.fetch_bytes_max)
        hidden = self._gateway.doorkeeper.has_token and exchange.route.guarded
        pending = await self._call(
            exchange,
            lambda on_done: self._gateway.fetch(
                exchange.route,
                exchange.asked,
                exchange.verb,
                exchange.url(),
                exchange.passed_headers(without_authorization=hidden),
                body,
                exchange.request_id,
                exchange.entered_ns,
                on_done,
            ),
        )
        if pending.error is not None:
            return exchange.problem(pending.error)
        return _fetched(pending, exchange)

    async def _call(self, exchange: _Exchange, make: Callable[[Callable[[Pending], None]], Pending]) -> Pending:
        """Make the call and wait for it, or for the client to go."""
        try:
            async with asyncio.TaskGroup() as group:
                gone = group.create_task(exchange.until_gone())
                exchange.pending = await self._gateway.call(make)
                gone.cancel()
        except* _ClientGone:
            raise _ClientGone from None
        except* HomingError as refused:
            raise first_error(refused) from None
        assert exchange.pending is not None
        return exchange.pending

    def _record(self, exchange: _Exchange, error: HomingError | None, written_ns: int) -> None:
        label = _LABELS.get(exchange.route.kind, "admin")
        if exchange.pending is not None:
            if error is not None:
                exchange.pending.error = error  # the answer came, but it could not be passed on
            self._gateway.metrics.call(label, exchange.pending, written_ns)
        else:
            self._gateway.metrics.request(label, outcome_of(error), exchange.entered_ns)

    async def _refuse_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """WebSockets are not built yet; say so over HTTP where the server can."""
        await receive()
        asked = Asked(scope["headers"])
        error: HomingError = NotSupported("WebSockets are not built yet")
        try:
            self._gateway.doorkeeper.admit(self._gateway.router.parse(scope["raw_path"]), "GET", asked)
        except HomingError as refused:
            error = refused
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": error.close_code, "reason": error.code})
            return
        status, headers, body = problem(error, asked.take_request_id())
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})


class _Exchange:
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

    async def body(self, limit: int) -> bytes:
        """The whole body, refused as soon as it is known to be too long.

        Raises:
            TooLarge: over `limit` bytes.
            DeadlineExceeded: it did not come within `BODY_WAIT_S_MAX`.
        """
        declared = self.asked.content_length
        if declared is not None and (not declared.isdigit() or int(declared) > limit):
            raise TooLarge(f"the body is at most {limit} bytes")
        try:
            async with asyncio.timeout(BODY_WAIT_S_MAX):
                body = await self._read(limit)
        except TimeoutError as error:
            raise DeadlineExceeded("the body did not come in time") from error
        self._unread = False
        return body

    async def _read(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise _ClientGone
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
            try:
                async with asyncio.timeout(BODY_WAIT_S_MAX):
                    message = await self._receive()
            except TimeoutError as error:
                raise DeadlineExceeded("the body did not come in time") from error
            if message["type"] != "http.request":
                raise _ClientGone
            self._unread = message.get("more_body", False)
            yield message.get("body", b"")

    async def stream(self, send: Send, frames: AsyncGenerator[bytes]) -> None:
        """Answer with frames as they come, no faster than the client takes them."""
        headers = [(b"content-type", b"application/octet-stream"), (b"x-request-id", self.request_id.encode("ascii"))]
        gone = asyncio.ensure_future(self.until_gone())
        try:
            async with contextlib.aclosing(frames):
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async for frame in frames:
                    if gone.done():
                        raise _ClientGone
                    async with asyncio.timeout(STREAM_STALLED_S):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            raise _ClientGone from None
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def until_gone(self) -> None:
        """Wait until the client has gone; always raises."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise _ClientGone

    def url(self) -> str:
        """The address that the object's code sees."""
        scope = self._scope
        host = (self.asked.host or b"localhost").decode("latin-1")
        path = self.route.rest if self.route.kind is Kind.FETCH else scope["raw_path"].decode("latin-1")
        query = "?" + self.query.decode("latin-1") if self.query else ""
        return f"{scope['scheme']}://{host}{path}{query}"

    def passed_headers(self, *, without_authorization: bool) -> list[tuple[str, str]]:
        """What the object's code sees of the headers; never the gateway's own token."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._scope["headers"]]
        return [
            (name, value)
            for name, value in headers
            if name not in _HOP_BY_HOP and not (without_authorization and name == "authorization")
        ]


def _fetched(pending: Pending, exchange: _Exchange) -> Answer:
    """The answer that an object's fetch made, checked: nothing in it may break the connection's framing."""
    status = pending.status
    if not 200 <= status <= 599:
        raise ApplicationError(f"the object answered with status {status}", error_type="ResponseError")
    headers: HeaderList = []
    for name, value in pending.answer_headers:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ApplicationError("the object answered with a header that is not valid", error_type="ResponseError")
        low = name.lower()
        if low not in _HOP_BY_HOP and low not in ("content-length", "x-request-id"):
            headers.append((low.encode("ascii"), value.encode("latin-1")))
    body = b"" if status in _BODILESS else pending.answer
    if status not in _LENGTHLESS:
        headers.append((b"content-length", b"%d" % len(body)))
    headers.append((b"x-request-id", exchange.request_id.encode("ascii")))
    return status, headers, body


async def _send(send: Send, answer: Answer) -> None:
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
