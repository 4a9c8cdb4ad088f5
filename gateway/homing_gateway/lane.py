"""The short way of a call through the HTTP server: no task, no ASGI messages, one write for the answer.

Measured on two busy cores: 175 µs a call as an ASGI application that also watches for the client going away, a fraction
of it this way. Besides calls it takes the health check, so that its time is what any request costs. Everything else
(another route, a chunked body, a pipelined request, a slow reader) is left to the ASGI application; both give the same
answers, and the tests run against both.

The HTTP server's protocol class is extended at one point: the object that it calls its cycle. It looks at a cycle's
`response_complete`, `disconnected`, `keep_alive`, `more_body` and `body`, and signals it through `message_event`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from homing.errors import HomingError
from homing_gateway.asked import Asked
from homing_gateway.gateway import Gateway
from homing_gateway.limits import BODY_WAIT_S_MAX, HEAD_BYTES_MAX, HEAD_WAIT_S_MAX
from homing_gateway.metrics import outcome_of
from homing_gateway.problems import HeaderList, problem
from homing_gateway.routes import HEALTHZ, OBJECTS, Kind, Route
from homing_placement.routing.pending import Pending

HEALTHY = b'{"status":"ok"}'

_log = structlog.get_logger("homing.gateway")


class _Cycle:
    """One request on a connection, in the place of the server's own cycle; a subclass says what it does."""

    verb = ""
    label = ""  # of its route, in metrics

    __slots__ = (
        "begun",
        "body",
        "disconnected",
        "entered_ns",
        "headers",
        "keep_alive",
        "more_body",
        "protocol",
        "request_id",
        "response_complete",
        "route",
    )

    def __init__(self, protocol: LaneProtocol, route: Route, headers: HeaderList, *, keep_alive: bool) -> None:
        self.protocol = protocol
        self.route = route
        self.headers = headers
        self.keep_alive = keep_alive
        self.entered_ns = time.monotonic_ns()
        self.begun = False  # the server signals again when a connection ends; a request is served once
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.request_id = ""

    @property
    def message_event(self) -> _Cycle:
        """What the server sets when a piece of the body, its end, or the end of the connection is there."""
        return self

    def set(self) -> None:
        """Something happened: more body, all of it, or the client has gone."""
        if self.disconnected:
            self.cancel()
        elif self.begun:
            return
        elif self.more_body:
            self.protocol.flow.resume_reading()
        else:
            self._begin()

    def _begin(self) -> None:
        self.begun = True
        asked = Asked(self.headers)
        self.request_id = asked.take_request_id()
        gateway = self.protocol.gateway
        try:
            gateway.doorkeeper.admit(self.route, self.verb, asked)
            self.serve(gateway, asked)
        except HomingError as error:
            self._refuse(error)
        except Exception:  # a fault in one request ends that request only
            _log.exception("request failed", request_id=self.request_id, trace_id=asked.trace_id())
            self._refuse(HomingError("the gateway failed on this request"))

    def serve(self, gateway: Gateway, asked: Asked) -> None:
        """Answer a request that was let in, and `complete`, now or later.

        Raises:
            HomingError: refused.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """The client has gone."""

    def complete(self) -> None:
        """The answer was written."""
        self.response_complete = True
        if not self.keep_alive:
            self.protocol.transport.close()
        self.protocol.cycle_complete()

    def _refuse(self, error: HomingError) -> None:
        self.write_problem(problem(error, self.request_id))
        self.record(outcome_of(error))
        self.complete()

    def write_problem(self, answer: tuple[int, HeaderList, bytes]) -> None:
        """Write an error as the answer."""
        self.protocol.write_answer(*answer, keep_alive=self.keep_alive)

    def record(self, outcome: str) -> None:
        """Measure a request that was no call, or whose call never came to a node."""
        self.protocol.gateway.metrics.request(self.label, outcome, self.entered_ns)


class _HealthCycle(_Cycle):
    """Is this process there?"""

    verb = "GET"
    label = "admin"

    __slots__ = ()

    def serve(self, gateway: Gateway, asked: Asked) -> None:
        """Answer at once."""
        self.protocol.write_json(HEALTHY, self.request_id, keep_alive=self.keep_alive)
        self.record("ok")
        self.complete()


class _RpcCycle(_Cycle):
    """One call."""

    verb = "POST"
    label = "rpc"

    __slots__ = ("pending",)

    def __init__(self, protocol: LaneProtocol, route: Route, headers: HeaderList, *, keep_alive: bool) -> None:
        super().__init__(protocol, route, headers, keep_alive=keep_alive)
        self.pending: Pending | None = None  # from when it is made until it is answered

    def serve(self, gateway: Gateway, asked: Asked) -> None:
        """Make the call and send it; `_finish` answers."""
        pending = gateway.rpc(self.route, asked, self.body, self.request_id, self.entered_ns, self._finish)
        gateway.forwarder.submit(pending)
        if not pending.finished:
            self.pending = pending

    def cancel(self) -> None:
        """Nobody waits for the call any more."""
        if self.pending is not None:
            self.protocol.gateway.forwarder.cancel(self.pending)
            self.pending = None

    def _finish(self, pending: Pending) -> None:
        """The answer is there; called from the node's stream reader."""
        # The two know each other: together they would lie in memory until the collector comes by. With 64 clients that
        # was 7 % of the gateway's time and a quarter of p99.
        self.pending = None
        if self.disconnected:
            return
        if pending.error is None:
            self.protocol.write_json(pending.answer, self.request_id, keep_alive=self.keep_alive)
        else:
            self.write_problem(problem(pending.error, self.request_id, has_key=bool(pending.key)))
        self.protocol.gateway.metrics.call(self.label, pending, time.monotonic_ns())
        self.complete()


class LaneProtocol(HttpToolsProtocol):
    """The HTTP server's protocol with the short way; a subclass names the gateway."""

    gateway: Gateway

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._date: object = None
        self._date_bytes = b""
        self._head_open = True  # the head of a request is expected or begun, and not complete
        self._head_bytes = 0
        self._waits_since_s = 0.0
        self._wait_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client is there; it must say something soon."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that grows too long ends the connection."""
        super().data_received(data)
        if self._head_open and self.parser is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response("The request's head is too long.")

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = 0
        self._waits_since_s = self.loop.time()

    def on_headers_complete(self) -> None:
        """Take a plain call or health check; leave every other request to the ASGI application."""
        self._head_open = False
        route = self._short_route()
        if route is None:
            super().on_headers_complete()
            return
        kind = _RpcCycle if route.kind is Kind.RPC else _HealthCycle
        cycle = kind(self, route, self.headers, keep_alive=self.parser.should_keep_alive())
        self.cycle = cast("Any", cycle)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        self._wait_no_more()

    def handle_websocket_upgrade(self) -> None:
        """The connection becomes a WebSocket, which has a protocol of its own; nothing of this one is to stay."""
        super().handle_websocket_upgrade()
        self._wait_no_more()
        self.parser = cast("Any", None)  # it holds this protocol, and this protocol holds it

    def _wait_no_more(self) -> None:
        if self._wait_timer is not None:
            self._wait_timer.cancel()
            self._wait_timer = None

    def write_json(self, body: bytes, request_id: str, *, keep_alive: bool) -> None:
        """Write the answer of a call that succeeded."""
        self.transport.write(
            b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
            % (
                self._default_headers(),
                len(body),
                request_id.encode("ascii"),
                b"" if keep_alive else b"connection: close\r\n",
                body,
            )
        )

    def write_answer(self, status: int, headers: HeaderList, body: bytes, *, keep_alive: bool) -> None:
        """Write any answer."""
        lines = [STATUS_LINE[status], self._default_headers()]
        lines.extend(b"%b: %b\r\n" % header for header in headers)
        lines.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        lines.append(body)
        self.transport.write(b"".join(lines))

    def cycle_complete(self) -> None:
        """An answer was written: go on with what is pipelined, or wait for the next request."""
        if self.transport.is_closing():
            self.server_state.total_requests += 1
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._wait()

    def _short_route(self) -> Route | None:
        """The route of a request that can take the short way; None for all others, wrong ones too."""
        url = self.url
        kind = Kind.HEALTHZ if url == HEALTHZ else Kind.RPC
        if kind is Kind.RPC and (not url.startswith(OBJECTS) or b"?" in url or b"#" in url):
            return None
        if not self._is_plain(b"POST" if kind is Kind.RPC else b"GET") or not self._has_short_body(kind):
            return None
        try:
            route = self.gateway.router.parse(url)
        except HomingError:
            return None
        return route if route.kind is kind else None

    def _is_plain(self, verb: bytes) -> bool:
        """This verb, and nothing about the connection that only the server's own cycle can do."""
        previous = cast("Any", self.cycle)
        parser = self.parser
        return (
            (previous is None or previous.response_complete)
            and parser.get_method() == verb
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )

    def _has_short_body(self, kind: str) -> bool:
        """A body of known length for a call; none for a health check."""
        for name, value in self.headers:
            if name == b"content-length":
                return kind is Kind.RPC and (
                    len(value) < 12 and value.isdigit() and int(value) <= self.gateway.rpc_bytes_max
                )
            if name == b"transfer-encoding":
                return False
        return kind is Kind.HEALTHZ

    def _default_headers(self) -> bytes:
        """The date, rendered once for each time that the server changes it."""
        headers = self.server_state.default_headers
        if headers is not self._date:
            self._date = headers
            self._date_bytes = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._date_bytes

    # Instead of a timer for each answer there is one for each connection; it looks only when it fires.

    def _wait(self) -> None:
        """Something is expected of the client from now on: a body, or the next request."""
        self._waits_since_s = self.loop.time()
        if self._wait_timer is None:
            self._wait_timer = self.loop.call_later(min(self.timeout_keep_alive, HEAD_WAIT_S_MAX), self._check_wait)

    def _check_wait(self) -> None:
        self._wait_timer = None
        if self.transport.is_closing():
            return
        limit_s = self._wait_s_max()
        waited_s = self.loop.time() - self._waits_since_s
        if waited_s >= limit_s:
            self.transport.close()
        else:
            again_s = min(limit_s - waited_s, self.timeout_keep_alive, HEAD_WAIT_S_MAX)
            self._wait_timer = self.loop.call_later(again_s, self._check_wait)

    def _wait_s_max(self) -> float:
        """How long the client may take for what is expected of it now."""
        cycle = cast("Any", self.cycle)
        if self._head_open:
            return HEAD_WAIT_S_MAX
        if isinstance(cycle, _Cycle) and cycle.response_complete:
            return self.timeout_keep_alive
        if isinstance(cycle, _Cycle) and cycle.more_body:
            return BODY_WAIT_S_MAX
        return float("inf")  # a call has a deadline of its own, and the server times its own cycles


def lane_protocol(gateway: Gateway) -> type[LaneProtocol]:
    """The protocol class to give to the HTTP server of a gateway."""
    return type("GatewayProtocol", (LaneProtocol,), {"gateway": gateway})
