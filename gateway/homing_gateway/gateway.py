"""The parts of one gateway, and how a request becomes a call. No HTTP server and no gRPC server is known here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from homing.errors import TooLarge
from homing_gateway import fingerprints
from homing_gateway.asked import Asked, Doorkeeper
from homing_gateway.limits import FETCH_BYTES_MAX, RPC_BYTES_MAX
from homing_gateway.metrics import GatewayMetrics
from homing_gateway.routes import Kind, Route, Router
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.pending import KIND_DEFAULT, KIND_FETCH, KIND_RPC, Pending

OnDone = Callable[[Pending], None]


class Gateway:
    """One gateway.

    Args:
        router: parses paths.
        forwarder: takes calls to nodes.
        doorkeeper: decides who may come in.
        metrics: what is recorded.
        rpc_bytes_max: the longest body of a call.
        fetch_bytes_max: the longest body of a fetch that is kept as a whole.
    """

    def __init__(
        self,
        router: Router,
        forwarder: Forwarder,
        doorkeeper: Doorkeeper,
        metrics: GatewayMetrics,
        *,
        rpc_bytes_max: int = RPC_BYTES_MAX,
        fetch_bytes_max: int = FETCH_BYTES_MAX,
    ) -> None:
        self.router = router
        self.forwarder = forwarder
        self.doorkeeper = doorkeeper
        self.metrics = metrics
        self.rpc_bytes_max = rpc_bytes_max
        self.fetch_bytes_max = fetch_bytes_max
        self.draining = False
        self.flowing = 0  # answers whose bodies flow

    @property
    def ready(self) -> bool:
        """New requests are welcome."""
        return not self.draining and self.forwarder.ready

    def rpc(
        self, route: Route, asked: Asked, body: bytes, request_id: str, entered_ns: int, on_done: OnDone
    ) -> Pending:
        """Make the call of an RPC route that was let in; it must be submitted then.

        Raises:
            UnsupportedMediaType: not JSON.
            TooLarge: the body is over its limit.
            BadRequest: a header or, with a key, the body cannot be understood.
        """
        asked.check_json()
        if len(body) > self.rpc_bytes_max:
            raise TooLarge(f"a call's body is at most {self.rpc_bytes_max} bytes")
        deadline_s = entered_ns * 1e-9 + asked.timeout_ms() * 1e-3
        pending = Pending(
            KIND_RPC,
            route.class_name,
            route.name,
            route.object_id,
            route.slot,
            route.method,
            body,
            request_id,
            deadline_s,
            entered_ns,
            on_done,
        )
        if asked.traceparent is not None:
            pending.traceparent = asked.trace()
        if asked.key is not None:
            pending.key = asked.idempotency_key()
            pending.fingerprint = fingerprints.of_rpc(route, body)
        if self.metrics.spans is not None:
            self.metrics.spans.begin(pending)
        return pending

    def fetch(
        self,
        route: Route,
        asked: Asked,
        verb: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        request_id: str,
        entered_ns: int,
        on_done: OnDone,
    ) -> Pending:
        """Make the call of a fetch of an object, or of the Default entrypoint.

        Raises:
            BadRequest: a header cannot be understood.
        """
        deadline_s = entered_ns * 1e-9 + asked.timeout_ms() * 1e-3
        is_default = route.kind is Kind.DEFAULT
        pending = Pending(
            KIND_DEFAULT if is_default else KIND_FETCH,
            route.class_name,
            route.name,
            route.object_id,
            route.slot,
            verb,
            body,
            request_id,
            deadline_s,
            entered_ns,
            on_done,
        )
        pending.url = url
        pending.headers = headers
        pending.traceparent = asked.trace()
        if asked.key is not None and not is_default:
            pending.key = asked.idempotency_key()
            pending.fingerprint = fingerprints.of_fetch(route, verb, url, body)
        if self.metrics.spans is not None:
            self.metrics.spans.begin(pending)
        return pending

    async def call(self, make: Callable[[OnDone], Pending]) -> Pending:
        """Submit a call and wait for its end; cancelled, it tells the node that nobody waits.

        Args:
            make: makes the call, given what to do at its end.

        Raises:
            HomingError: what `make` raises. How the call itself failed is in the `error` of what is returned.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_pending: Pending) -> None:
            if not done.done():
                done.set_result(None)

        pending = make(wake)
        self.forwarder.submit(pending)
        try:
            await done
        finally:
            self.forwarder.cancel(pending)
        return pending
