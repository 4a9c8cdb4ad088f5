"""The gRPC server: `homing.v1.Objects/Call` with the meaning of the HTTP route, health and reflection."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol, cast

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from homing.errors import ApplicationError, ConfigurationError, HomingError, Overloaded, Unauthenticated
from homing.v1 import objects_pb2
from homing_gateway.asked import Asked
from homing_gateway.gateway import Gateway
from homing_gateway.limits import TIMEOUT_MS_MAX
from homing_gateway.metrics import outcome_of
from homing_gateway.problems import wait_of
from homing_placement.routing.pending import Pending
from homing_placement.routing.policy import retryable

SERVICE = "homing.v1.Objects"
HEALTH_POLL_S = 0.5

_log = structlog.get_logger("homing.gateway")


class _Health(Protocol):
    """The health servicer of grpcio, which has no types for its asynchronous form."""

    async def set(self, service: str, status: int) -> None: ...

    async def enter_graceful_shutdown(self) -> None: ...


class RpcServer:
    """The gRPC face of a gateway.

    Args:
        gateway: its parts.
        credentials: for TLS; None: plain.

    Example:
        >>> server = RpcServer(gateway)
        >>> address = await server.start("127.0.0.1:8788")
    """

    def __init__(self, gateway: Gateway, credentials: grpc.ServerCredentials | None = None) -> None:
        self._gateway = gateway
        self._credentials = credentials
        self._health = cast("_Health", cast("Any", health).aio.HealthServicer())
        # Room for the JSON and the fields around it; more is refused by gRPC itself, before it is read.
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", gateway.rpc_bytes_max + 65_536)])

    async def start(self, address: str) -> int:
        """Listen; returns the port.

        Raises:
            ConfigurationError: the address is taken or not ours.
        """
        handler = grpc.unary_unary_rpc_method_handler(
            cast("Any", self._call), objects_pb2.CallRequest.FromString, objects_pb2.CallResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Call": handler}),))
        cast("Any", health_pb2_grpc).add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME), self._server)
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {address}: {error}") from error
        await self._server.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls and let running ones end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def watch_health(self) -> None:
        """Keep the health service at what `readyz` says, until cancelled."""
        status = health_pb2.HealthCheckResponse
        shown = status.UNKNOWN
        while True:
            now = status.SERVING if self._gateway.ready else status.NOT_SERVING
            if now != shown:
                for name in ("", SERVICE):
                    await self._health.set(name, now)
                shown = now
            await asyncio.sleep(HEALTH_POLL_S)

    async def _call(
        self,
        request: objects_pb2.CallRequest,
        context: grpc.aio.ServicerContext[objects_pb2.CallRequest, objects_pb2.CallResponse],
    ) -> objects_pb2.CallResponse:
        entered_ns = time.monotonic_ns()
        asked = _asked(request, context)
        request_id = asked.take_request_id()
        pending: Pending | None = None
        try:
            pending = await self._run(request, asked, request_id, entered_ns)
            error = pending.error
        except HomingError as refused:
            error = refused
        except Exception:  # a fault in one request ends that request only
            _log.exception("request failed", request_id=request_id, trace_id=asked.trace_id())
            error = HomingError("the gateway failed on this request")
        if pending is not None:
            # gRPC writes after this returns and does not say when: the answer counts as written when it is handed over.
            self._gateway.metrics.call("rpc", pending, time.monotonic_ns())
        else:
            self._gateway.metrics.request("rpc", outcome_of(error), entered_ns)
        if error is not None:
            await _abort(context, error, request_id, has_key=bool(request.idempotency_key))
        assert pending is not None
        return objects_pb2.CallResponse(result_json=pending.answer, request_id=request_id)

    async def _run(self, request: objects_pb2.CallRequest, asked: Asked, request_id: str, entered_ns: int) -> Pending:
        doorkeeper = self._gateway.doorkeeper
        if doorkeeper.has_token and not doorkeeper.holds(asked.authorization):
            raise Unauthenticated("the API token is missing or wrong")
        route = self._gateway.router.address(request.class_name, request.name, request.method)
        body = request.arguments_json
        return await self._gateway.call(
            lambda on_done: self._gateway.rpc(route, asked, body, request_id, entered_ns, on_done)
        )


def _asked(
    request: objects_pb2.CallRequest,
    context: grpc.aio.ServicerContext[objects_pb2.CallRequest, objects_pb2.CallResponse],
) -> Asked:
    """What the request and its metadata ask for, in the words of HTTP; the shorter of both deadlines counts."""
    metadata = cast("tuple[tuple[str, str | bytes], ...]", context.invocation_metadata() or ())
    wanted = {b"authorization", b"traceparent", b"x-request-id"}
    pairs = [(_bytes(name), _bytes(value)) for name, value in metadata]
    headers = [(name, value) for name, value in pairs if name in wanted]
    headers.append((b"content-type", b"application/json"))
    if request.request_id:
        headers = [pair for pair in headers if pair[0] != b"x-request-id"]
        headers.append((b"x-request-id", request.request_id.encode()))
    if request.idempotency_key:
        headers.append((b"idempotency-key", request.idempotency_key.encode()))
    left_s = cast("float | None", context.time_remaining())
    limits_ms = [request.timeout_ms] if request.timeout_ms else []
    if left_s is not None:
        limits_ms.append(max(1, min(TIMEOUT_MS_MAX, int(left_s * 1_000))))
    if limits_ms:
        headers.append((b"homing-timeout-ms", b"%d" % min(limits_ms)))
    return Asked(headers)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def _abort(
    context: grpc.aio.ServicerContext[objects_pb2.CallRequest, objects_pb2.CallResponse],
    error: HomingError,
    request_id: str,
    *,
    has_key: bool,
) -> None:
    """End the call with the error's status; what HTTP says in a problem document goes into trailing metadata."""
    trailing: list[tuple[str, str | bytes]] = [
        ("homing-code", error.code),
        ("homing-retryable", "true" if retryable(error, has_key=has_key) else "false"),
        ("x-request-id", request_id),
    ]
    if (wait_s := wait_of(error)) is not None:
        trailing.append(("retry-after-ms", str(int(wait_s * 1_000))))
    # Bytes, for names in Python and words of a worker need not be ASCII.
    if isinstance(error, ApplicationError):
        trailing.append(("homing-error-type-bin", error.error_type.encode()))
    if isinstance(error, Overloaded) and error.cause:
        trailing.append(("homing-cause-bin", error.cause.encode()))
    await context.abort(grpc.StatusCode[error.grpc_status], error.message, tuple(trailing))
