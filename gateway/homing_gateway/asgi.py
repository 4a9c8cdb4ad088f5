"""The ASGI application: every route, one request at a time, nothing shared but the gateway's parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from homing.errors import HomingError, Overloaded, Unavailable
from homing_gateway.admin import Admin
from homing_gateway.asked import Asked
from homing_gateway.bodies import answer_pieces
from homing_gateway.deploys import Deploys
from homing_gateway.exchange import (
    Answer,
    ClientGone,
    Exchange,
    Receive,
    Scope,
    Send,
    fetched,
    said_length,
    send_answer,
)
from homing_gateway.gateway import Gateway
from homing_gateway.groups import only
from homing_gateway.limits import ANSWER_STALLED_S, FLOWING_MAX, RUN_BYTES_MAX
from homing_gateway.metrics import outcome_of
from homing_gateway.object_state import ObjectState
from homing_gateway.routes import Kind, Route
from homing_gateway.sandboxes import Sandboxes
from homing_gateway.socket_app import SocketApp
from homing_gateway.streams import SlotStreams
from homing_gateway.tails import Tails
from homing_gateway.testing import do_for_test
from homing_placement.limits import PACKAGE_BYTES_MAX
from homing_placement.routing.flows import Download
from homing_placement.routing.limits import RETRY_AFTER_S_DEFAULT
from homing_placement.routing.pending import Pending

_log = structlog.get_logger("homing.gateway")

LINES = b"application/x-ndjson"
_STREAMED = frozenset((Kind.BACKUP, Kind.EXPORT, Kind.TAIL))
_LABELS = {Kind.RPC: "rpc", Kind.FETCH: "fetch", Kind.DEFAULT: "default"}


class App:
    """The gateway as an ASGI application.

    Args:
        gateway: its parts.
        admin: answers the routes that only look.
        streams: reads slots for backups, and restores them.
        sockets: serves WebSockets.
        deploys: changes which versions of the application serve.

    Example:
        >>> forwarder = gateway.forwarder
        >>> sockets = SocketApp(gateway, SocketHub(forwarder))
        >>> App(gateway, Admin(forwarder, 1_024), SlotStreams(forwarder, 1_024), sockets, Deploys(forwarder, store))
    """

    def __init__(
        self, gateway: Gateway, admin: Admin, streams: SlotStreams, sockets: SocketApp, deploys: Deploys
    ) -> None:
        self._gateway = gateway
        self._sockets = sockets
        self._admin = admin
        self._streams = streams
        self._deploys = deploys
        self._states = ObjectState(gateway.forwarder)
        self._tails = Tails(gateway)
        self._sandboxes = Sandboxes(gateway.forwarder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._sockets.serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        entered_ns = time.monotonic_ns()
        asked = Asked(scope["headers"])
        request_id = asked.take_request_id()
        exchange = Exchange(scope, receive, asked, request_id, entered_ns)
        error: HomingError | None = None
        try:
            exchange.route = self._gateway.router.parse(scope["raw_path"])
            self._gateway.doorkeeper.admit(exchange.route, scope["method"], asked)
            if exchange.route.kind in _STREAMED or self._followed(exchange):
                await self._stream(exchange, send)
                self._record(exchange, None, time.monotonic_ns())
                return
            answer = await self._answer(exchange)
        except ClientGone:
            exchange.close()
            return
        except HomingError as refused:
            error = refused
            answer = exchange.problem(refused)
        except Exception:  # a fault in one request ends that request only
            _log.exception("request failed", request_id=request_id, trace_id=asked.trace_id())
            error = HomingError("the gateway failed on this request")
            answer = exchange.problem(error)
        await send_answer(send, answer)
        self._record(exchange, error, time.monotonic_ns())
        try:
            if isinstance(answer[2], Download):
                await self._pour(exchange, send, answer[2])
        finally:
            exchange.close()

    async def _pour(self, exchange: Exchange, send: Send, download: Download) -> None:
        """The body of an answer that flows; what took so long to write counts for no measure of calls."""
        self._gateway.flowing += 1
        try:
            pieces = answer_pieces(download, said_length(exchange.pending) if exchange.pending is not None else None)
            await exchange.pour(send, pieces, ANSWER_STALLED_S, download.stop)
        except ClientGone:
            return
        finally:
            self._gateway.flowing -= 1

    async def _stream(self, exchange: Exchange, send: Send) -> None:
        if exchange.route.kind is Kind.BACKUP:
            frames = await self._streams.read(exchange.route.slot, exchange.query)
            await exchange.stream(send, frames, b"application/octet-stream")
            return
        if exchange.route.kind is Kind.TAIL:
            await exchange.stream(send, self._tails.follow(exchange.query), LINES)
            return
        if exchange.route.kind is Kind.SANDBOX:
            exchange.asked.check_json()
            followed = await self._sandboxes.follow(await exchange.body(RUN_BYTES_MAX))
            await exchange.stream(send, followed.lines, LINES, on_gone=followed.stop)
            return
        exported = await self._states.export(exchange.route)
        try:
            await exchange.stream(send, exported.pages, b"application/vnd.sqlite3", exported.size)
        finally:
            exported.close()

    def _followed(self, exchange: Exchange) -> bool:
        """Whether it wants what code prints as it prints it."""
        return exchange.route.kind is Kind.SANDBOX and exchange.verb == "POST" and exchange.accepts(LINES)

    async def _answer(self, exchange: Exchange) -> Answer:
        kind = exchange.route.kind
        if kind is Kind.RPC:
            return await self._rpc(exchange)
        if kind is Kind.FETCH or kind is Kind.DEFAULT:
            return await self._fetch(exchange)
        if kind is Kind.SQL:
            exchange.asked.check_json()
            body = await exchange.body(self._gateway.rpc_bytes_max)
            return exchange.respond(200, await self._states.query(exchange.route, body), b"application/json")
        if kind is Kind.EVICT:
            return exchange.json(await self._states.evict(exchange.route, exchange.query))
        if kind is Kind.IMPORT:
            await self._states.bring_in(exchange.route, exchange.query, exchange.pieces())
            return exchange.nothing()
        if kind is Kind.SANDBOX or kind is Kind.RUN:
            return await self._sandbox(exchange)
        if exchange.verb == "DELETE":
            await self._states.delete(exchange.route)
            return exchange.nothing()
        if kind is Kind.HEALTHZ or kind is Kind.READYZ:
            return exchange.json({"status": self._health(kind)})
        if kind is Kind.TEST:
            body = await exchange.body(self._gateway.rpc_bytes_max)
            found = await do_for_test(self._gateway.forwarder, exchange.route, body)
            return exchange.respond(200, found, b"application/json")
        if kind is Kind.VERSIONS:
            return exchange.json(await self._deploys.add(await exchange.body(PACKAGE_BYTES_MAX), exchange.query))
        if kind is Kind.DEPLOYMENT and exchange.verb == "POST":
            return exchange.json(await self._deploys.change(await exchange.body(self._gateway.rpc_bytes_max)))
        return exchange.json(await self._ask_admin(exchange))

    def _health(self, kind: str) -> str:
        if kind is Kind.HEALTHZ:
            return "ok"
        if not self._gateway.ready:
            raise Unavailable("not ready: " + ("draining" if self._gateway.draining else "no node is reached yet"))
        return "ready"

    async def _sandbox(self, exchange: Exchange) -> Answer:
        if exchange.route.kind is Kind.RUN:
            await self._sandboxes.end(exchange.route.name, int(exchange.route.method))
            return exchange.nothing()
        if exchange.verb != "POST":
            return exchange.json(await self._sandboxes.runs())
        exchange.asked.check_json()
        ran = await self._sandboxes.run(await exchange.body(RUN_BYTES_MAX))
        return exchange.respond(200, ran, b"application/json")

    async def _ask_admin(self, exchange: Exchange) -> dict[str, object]:
        route = exchange.route
        if route.kind is Kind.DEPLOYMENT:
            return await self._deploys.describe()
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
            return await self._admin.list_objects(route, exchange.query)
        return await self._admin.describe(route)

    async def _ask_slot(self, route: Route) -> dict[str, object]:
        if route.method == "verify":
            return await self._admin.verify(route.slot)
        return await self._admin.move(route.slot, route.name)

    async def _rpc(self, exchange: Exchange) -> Answer:
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

    async def _fetch(self, exchange: Exchange) -> Answer:
        body = await (exchange.first_piece() if exchange.flows else exchange.body(self._gateway.fetch_bytes_max))
        pending = await self._call(exchange, lambda on_done: exchange.fetch(self._gateway, body, on_done))
        if pending.error is not None:
            return exchange.problem(pending.error)
        if pending.downloads and self._gateway.flowing >= FLOWING_MAX:
            raise Overloaded("too many answers flow through this gateway", retry_after_s=RETRY_AFTER_S_DEFAULT)
        return fetched(pending, exchange)

    async def _call(self, exchange: Exchange, make: Callable[[Callable[[Pending], None]], Pending]) -> Pending:
        """Make the call and wait for it, or for the client to go."""
        try:
            async with asyncio.TaskGroup() as group:
                gone = group.create_task(exchange.until_gone())
                exchange.pending = await self._gateway.call(make)
                gone.cancel()
        except BaseExceptionGroup as group_error:
            if group_error.subgroup(ClientGone) is not None:
                raise ClientGone from None
            refused = only(group_error, HomingError)
            if refused is None:
                raise
            raise refused from None
        assert exchange.pending is not None
        return exchange.pending

    def _record(self, exchange: Exchange, error: HomingError | None, written_ns: int) -> None:
        label = _LABELS.get(exchange.route.kind, "admin")
        if exchange.pending is not None:
            if error is not None:
                exchange.pending.error = error  # the answer came, but it could not be passed on
            self._gateway.metrics.call(label, exchange.pending, written_ns)
        else:
            self._gateway.metrics.request(label, outcome_of(error), exchange.entered_ns)
