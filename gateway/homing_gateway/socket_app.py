"""WebSockets over ASGI: the request that asks for one, and what passes on it then."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from homing.errors import BadRequest, HomingError, Unavailable
from homing.ids import OBJECT_ID_BYTES, ObjectId
from homing_gateway.asked import Asked
from homing_gateway.exchange import Answer, Exchange, Message, Receive, Scope, Send, answered_headers, fetched
from homing_gateway.gateway import Gateway
from homing_gateway.limits import SOCKET_CLOSE_S_MAX, SOCKETS_MAX
from homing_gateway.problems import HeaderList, problem
from homing_gateway.routes import Kind
from homing_gateway.sockets import ABNORMAL, BINARY, CLOSE, OF_NO_SLOT, TEXT, HeldSocket, SocketHub
from homing_placement.routing.pending import Pending

NO_CODE = 1005  # never in a close frame (RFC 6455, 7.4.1)

_log = structlog.get_logger("homing.gateway")


class SocketApp:
    """Serves connections that ask to be WebSockets.

    Args:
        gateway: lets requests in, and takes them to objects.
        hub: holds sockets.
    """

    def __init__(self, gateway: Gateway, hub: SocketHub) -> None:
        self._gateway = gateway
        self.hub = hub

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, to its end."""
        held = await self._begin(scope, receive, send)
        if held is not None:
            try:
                await _exchange(held, receive, send)
            finally:
                held.closed(ABNORMAL, "")

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> HeldSocket | None:
        """The request, answered; None: with something else than a socket. Nothing of it stays for the socket's life."""
        await receive()
        asked = Asked(scope["headers"])
        request_id = asked.take_request_id()
        exchange = Exchange({**scope, "method": "GET"}, receive, asked, request_id, time.monotonic_ns())
        try:
            pending = await self._ask(exchange)
            ref, link, headers = pending.socket, pending.answered_by, answered_headers(pending)
            if ref is None:
                await _refuse(scope, send, fetched(pending, exchange), BadRequest.close_code)
                return None
        except HomingError as error:
            await _refuse(scope, send, problem(error, request_id), error.close_code)
            return None
        await send({"type": "websocket.accept", **_accepted(headers)})
        if len(ref.object) == OBJECT_ID_BYTES:
            return self.hub.hold(ref, ObjectId(ref.object, ref.name or None).slot(self._gateway.router.slots))
        return self.hub.hold(ref, OF_NO_SLOT, link)

    async def _ask(self, exchange: Exchange) -> Pending:
        """Have the object, or the entrypoint, answer the request.

        Raises:
            HomingError: it is not let in, or the call failed.
        """
        gateway = self._gateway
        route = exchange.route = gateway.router.parse(exchange.raw_path)
        gateway.doorkeeper.admit(route, "GET", exchange.asked)
        if route.kind is not Kind.FETCH and route.kind is not Kind.DEFAULT:
            raise BadRequest("this route answers HTTP only")
        if exchange.asked.key is not None:
            raise BadRequest(
                "a request for a WebSocket takes no Idempotency-Key: each connection is a socket of its own"
            )
        if gateway.draining:
            raise Unavailable("the gateway drains")
        if len(self.hub) >= SOCKETS_MAX:
            raise Unavailable(f"this gateway holds {SOCKETS_MAX} sockets")
        upgrade = [("upgrade", "websocket")]
        pending = await gateway.call(lambda on_done: exchange.fetch(gateway, b"", on_done, upgrade))
        gateway.metrics.call("fetch", pending, time.monotonic_ns())
        if pending.error is not None:
            raise pending.error
        for download in pending.downloads:
            download.stop()
        if pending.downloads:
            raise BadRequest("a request for a WebSocket was answered with a body that flows")
        return pending


async def _exchange(held: HeldSocket, receive: Receive, send: Send) -> None:
    """Pass on what comes and what is said, until the client has gone."""
    writer = _Writer(held, send)
    try:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                held.closed(*_end_of(message))
                return
            text = message.get("text")
            if text is not None:
                await held.came(TEXT, text.encode())
            else:
                await held.came(BINARY, message["bytes"])
    finally:
        writer.stop()


class _Writer:
    """Sends a client what is said. It has a task only while there is something, for most sockets are quiet."""

    __slots__ = ("_held", "_send", "_task")

    def __init__(self, held: HeldSocket, send: Send) -> None:
        self._held, self._send = held, send
        self._task: asyncio.Task[None] | None = None
        held.on_out = self._begin
        self._begin()

    def _begin(self) -> None:
        if self._task is None and self._held.out:
            self._task = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        try:
            while (what := self._held.take()) is not None:
                if what.kind == TEXT:
                    await self._send({"type": "websocket.send", "text": what.data.decode()})
                elif what.kind == BINARY:
                    await self._send({"type": "websocket.send", "bytes": what.data})
                elif what.kind == CLOSE:
                    async with asyncio.timeout(SOCKET_CLOSE_S_MAX):
                        await self._send({"type": "websocket.close", "code": what.code, "reason": what.reason})
                    return
        except (OSError, TimeoutError) as error:  # the client has gone, and whoever reads is told
            _log.debug("a client could not be told", error=repr(error))
        finally:
            self._task = None

    def stop(self) -> None:
        """The client has gone."""
        self._held.on_out = None
        if self._task is not None:
            self._task.cancel()


def _end_of(message: Message) -> tuple[int, str]:
    """Code and reason of a connection's end. The server tells one that just broke off by saying no reason."""
    code = message.get("code") or NO_CODE
    return (ABNORMAL if code == NO_CODE and "reason" not in message else code), message.get("reason") or ""


def _accepted(headers: HeaderList) -> dict[str, Any]:
    protocols = [value.decode("latin-1") for name, value in headers if name == b"sec-websocket-protocol"]
    kept = [pair for pair in headers if not pair[0].startswith(b"sec-websocket-") and pair[0] != b"content-type"]
    return {"subprotocol": protocols[0] if protocols else None, "headers": kept}


async def _refuse(scope: Scope, send: Send, answer: Answer, close_code: int) -> None:
    """Answer over HTTP, where the server can."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": close_code})
        return
    status, headers, body = answer
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
