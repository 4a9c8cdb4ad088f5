"""WebSockets over ASGI: the request that asks for one, and its answer."""

from __future__ import annotations

import time
from typing import Any

from homing.errors import BadRequest, HomingError, Unavailable
from homing.ids import OBJECT_ID_BYTES, ObjectId
from homing_gateway.asked import Asked
from homing_gateway.exchange import Answer, Exchange, Receive, Scope, Send, answered_headers, fetched
from homing_gateway.gateway import Gateway
from homing_gateway.limits import SOCKETS_MAX
from homing_gateway.problems import HeaderList, problem
from homing_gateway.routes import Kind
from homing_gateway.socket_lane import CONNECTION
from homing_gateway.sockets import OF_NO_SLOT, SocketHub
from homing_placement.routing.pending import Pending


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
        """Answer one request. Where a socket comes of it, the connection carries it from then on (`socket_lane`)."""
        await receive()
        asked = Asked(scope["headers"])
        request_id = asked.take_request_id()
        exchange = Exchange({**scope, "method": "GET"}, receive, asked, request_id, time.monotonic_ns())
        try:
            pending = await self._ask(exchange)
            ref, link, headers = pending.socket, pending.answered_by, answered_headers(pending)
            if ref is None:
                await _refuse(scope, send, fetched(pending, exchange), BadRequest.close_code)
                return
        except HomingError as error:
            await _refuse(scope, send, problem(error, request_id), error.close_code)
            return
        await send({"type": "websocket.accept", **_accepted(headers)})
        if len(ref.object) == OBJECT_ID_BYTES:
            held = self.hub.hold(ref, ObjectId(ref.object, ref.name or None).slot(self._gateway.router.slots))
        else:
            held = self.hub.hold(ref, OF_NO_SLOT, link)
        scope["extensions"][CONNECTION].carry(held)

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
