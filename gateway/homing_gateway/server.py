"""One gateway process, put together: placement's table, streams to nodes, HTTP, gRPC and metrics. Start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING

import grpc
import structlog
import uvicorn
import uvloop

from homing.errors import ConfigurationError, HomingError
from homing.observability import logs
from homing.observability.scrape import MetricsServer
from homing.tuning import tune
from homing_gateway.admin import Admin
from homing_gateway.asgi import App
from homing_gateway.asked import Doorkeeper
from homing_gateway.deploys import Deploys
from homing_gateway.gateway import Gateway
from homing_gateway.groups import only
from homing_gateway.lane import lane_protocol
from homing_gateway.limits import (
    BACKLOG_MAX,
    DRAIN_S_MAX,
    KEEP_ALIVE_S,
    LAME_DUCK_S,
    SOCKET_MESSAGE_BYTES_MAX,
    SOCKETS_SETTLE_S_MAX,
)
from homing_gateway.metrics import GatewayMetrics
from homing_gateway.routes import Router
from homing_gateway.rpc import RpcServer
from homing_gateway.settings import GatewaySettings, Tls, split_address
from homing_gateway.socket_app import SocketApp
from homing_gateway.socket_lane import SocketProtocol
from homing_gateway.sockets import SocketHub
from homing_gateway.streams import SlotStreams
from homing_placement.deployment_store import DeploymentStore
from homing_placement.etcd import EtcdClient, TlsFiles
from homing_placement.keys import ClusterKeys
from homing_placement.membership import Registration
from homing_placement.records import GatewayRecord
from homing_placement.routing.forward import Forwarder
from homing_placement.table import SlotTable

if TYPE_CHECKING:
    from homing_gateway.spans import Spans

_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

_log = structlog.stdlib.get_logger("homing.gateway")


class GatewayProcess:
    """A gateway, from its settings.

    Args:
        settings: checked ones.

    Raises:
        HomingError: `run` raises what keeps the gateway from starting: a taken address, a cluster of another size.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.id = secrets.token_hex(8)
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        settings = self.settings
        async with EtcdClient(settings.etcd, _etcd_tls(settings)) as client:
            keys = ClusterKeys(settings.cluster)
            table = SlotTable(client, keys, settings.jurisdictions)
            spans = _spans(self.id)
            gateway = self._gateway(table, spans)
            http_socket = _bind(settings.listen)
            metrics = MetricsServer(gateway.metrics.registry.exposition)
            rpc = RpcServer(gateway, None if settings.tls is None else _server_credentials(settings.tls))
            metrics_address = await _listen_metrics(metrics, settings.metrics_listen)
            record = GatewayRecord(id=self.id, pid=os.getpid(), metrics=metrics_address)
            registration = Registration(client, keys.gateway(self.id), record)
            try:
                grpc_port = await rpc.start(settings.grpc_listen)
                http_port = http_socket.getsockname()[1]
                _log.info("gateway listens", http=http_port, grpc=grpc_port, metrics=metrics_address, gateway=self.id)
                deployments = DeploymentStore(client, keys, settings.deploys_since_ms)
                await self._serve(gateway, table, registration, rpc, http_socket, deployments)
            finally:
                await registration.close()
                await rpc.stop(0)
                await metrics.stop()
                if spans is not None:
                    await spans.close()

    def _gateway(self, table: SlotTable, spans: Spans | None) -> Gateway:
        settings = self.settings
        credentials = None if settings.tls is None else _node_credentials(settings.tls)
        return Gateway(
            Router(settings.slots, jurisdictions=settings.layout.names, testing=settings.testing),
            Forwarder(table, credentials=credentials, layout=settings.layout),
            Doorkeeper(settings.api_token),
            GatewayMetrics(settings.latency_target_ms / 1_000, spans),
            rpc_bytes_max=settings.rpc_bytes_max,
        )

    async def _serve(
        self,
        gateway: Gateway,
        table: SlotTable,
        registration: Registration,
        rpc: RpcServer,
        http_socket: socket.socket,
        deployments: DeploymentStore,
    ) -> None:
        """Run every part until the drain is over. A part that fails takes the process with it."""
        hub = SocketHub(gateway.forwarder)
        gateway.metrics.sockets.read = lambda: float(len(hub))
        http = _HttpServer(self._http_config(gateway, hub, Deploys(gateway.forwarder, deployments)))
        async with asyncio.TaskGroup() as group:
            parts = [
                group.create_task(table.run(), name="table"),
                group.create_task(self._check_cluster(table), name="check the cluster"),
                group.create_task(gateway.forwarder.run(), name="forwarder"),
                group.create_task(hub.run(), name="sockets"),
                group.create_task(registration.run(), name="registration"),
                group.create_task(rpc.watch_health(), name="health"),
            ]
            serving = group.create_task(http.serve(sockets=[http_socket]), name="http")
            await self.stopping.wait()
            await self._drain(gateway, hub, registration, rpc, http, serving)
            for part in parts:
                part.cancel()

    async def _drain(
        self,
        gateway: Gateway,
        hub: SocketHub,
        registration: Registration,
        rpc: RpcServer,
        http: _HttpServer,
        serving: asyncio.Task[None],
    ) -> None:
        """Say that no more are welcome, give what stands in front a moment to see it, and let running calls end."""
        _log.info("gateway drains", in_flight=gateway.forwarder.in_flight)
        gateway.draining = True
        await registration.close()
        await asyncio.sleep(LAME_DUCK_S)
        http.should_exit = True
        await rpc.stop(DRAIN_S_MAX)
        await serving
        await hub.settle(SOCKETS_SETTLE_S_MAX)
        _log.info("gateway stopped")

    async def _check_cluster(self, table: SlotTable) -> None:
        """Refuse to route for a cluster of another number of slots, or with jurisdictions of other numbers."""
        await table.ready.wait()
        if table.config is not None:
            table.config.check(self.settings.slots)
        here, there = self.settings.layout.names, [each.name for each in table.jurisdictions]
        if any(mine != its for mine, its in zip(here, there, strict=False)):
            raise ConfigurationError(
                f"the cluster's jurisdictions are {', '.join(there)}, in this order, and HOMING_JURISDICTIONS names "
                f"{', '.join(here)}. Set it as the nodes have it"
            )
        _log.info("table loaded", nodes=len(table.nodes))

    def _http_config(self, gateway: Gateway, hub: SocketHub, deploys: Deploys) -> uvicorn.Config:
        tls, layout, forwarder = self.settings.tls, self.settings.layout, gateway.forwarder
        admin = Admin(forwarder, layout.slots, layout.jurisdictions)
        return uvicorn.Config(
            App(gateway, admin, SlotStreams(forwarder, layout.count), SocketApp(gateway, hub), deploys),
            http=lane_protocol(gateway),
            ws=SocketProtocol,
            ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(DRAIN_S_MAX),
            ssl_certfile=None if tls is None else str(tls.cert),
            ssl_keyfile=None if tls is None else str(tls.key),
        )


class _HttpServer(uvicorn.Server):
    """The HTTP server, without signal handlers of its own: the process decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def run_gateway(settings: GatewaySettings) -> None:
    """Run one gateway until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        HomingError: it could not start.
    """
    logs.configure(settings.log_level, settings.log_style)
    uvloop.run(_main(settings))


async def _main(settings: GatewaySettings) -> None:
    process = GatewayProcess(settings)
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if process.stopping.is_set():
            os._exit(128 + number)
        process.stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    tune()
    try:
        await process.run()
    except BaseExceptionGroup as group_error:
        failed = only(group_error, HomingError)
        if failed is None:
            raise
        raise failed from None


def _bind(address: str) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the address is taken or not ours.
    """
    host, port = split_address(address)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.create_server((host, port), family=family, backlog=BACKLOG_MAX)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror or error}") from error
    bound.setblocking(False)
    return bound


async def _listen_metrics(server: MetricsServer, address: str) -> str:
    try:
        return await server.start(*split_address(address))
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {address}: {error.strerror or error}") from error


def _spans(gateway_id: str) -> Spans | None:
    """What exports spans, if the variables of OpenTelemetry say where to; else none of its code is loaded.

    Raises:
        ConfigurationError: its packages are missing.
    """
    if not any(os.environ.get(name) for name in _OTLP_ENDPOINTS):
        return None
    try:
        from homing_gateway.spans import Spans  # noqa: PLC0415 - an extra, loaded only for those who asked for it
    except ImportError as error:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the packages that export spans are not installed. Install them "
            "with `pip install 'homing[otel]'`, or unset the variable."
        ) from error
    return Spans(gateway_id)


def _etcd_tls(settings: GatewaySettings) -> TlsFiles | None:
    tls = settings.tls
    return None if tls is None else TlsFiles(ca=str(tls.ca), cert=str(tls.cert), key=str(tls.key))


def _node_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """What the gateway shows to nodes, and what it asks of them."""
    return grpc.ssl_channel_credentials(tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes())


def _server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """What the gateway shows to its own callers; they show a token, not a certificate."""
    return grpc.ssl_server_credentials([(tls.key.read_bytes(), tls.cert.read_bytes())])
