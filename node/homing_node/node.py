"""One node process, put together: store, log, links, placement, workers, calls. Start and stop in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from functools import partial

import grpc
import grpc.aio
import structlog
import uvloop

from homing.errors import ConfigurationError, StoreFailed
from homing.observability import logs
from homing.observability.scrape import MetricsServer
from homing.tuning import bound_heap, tune
from homing.wire.v1 import peer_pb2 as wire
from homing_node import limits
from homing_node.backups import Backups
from homing_node.broker.dialer import Dialer
from homing_node.broker.grants import Grants
from homing_node.broker.outbound import Outbound
from homing_node.calls import CallService
from homing_node.code import Code
from homing_node.crons import Crons
from homing_node.databases import Databases
from homing_node.deletions import Deletions
from homing_node.inspect import Inspector
from homing_node.keeper import Keeper
from homing_node.log.core import LogCore
from homing_node.log.links import GRPC_OPTIONS, Links
from homing_node.log.rocks_store import RocksStore
from homing_node.log.shell import LogShell
from homing_node.metrics import NodeMetrics
from homing_node.object_service import ObjectService
from homing_node.objects.host import ObjectHost
from homing_node.objects.images import apply_batch
from homing_node.objects.limits import HostLimits
from homing_node.outside import Outside
from homing_node.sandbox_service import SandboxService
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.loader import Loader
from homing_node.sandboxes.service import Sandboxes
from homing_node.sandboxes.wheels import read_wheels
from homing_node.settings import NodeSettings, split_address
from homing_node.tail_service import TailService
from homing_node.testing import AheadClock, HandOfTests
from homing_node.verifier import Verifier
from homing_node.workforce import Workforce
from homing_placement.deployment_store import DeploymentStore
from homing_placement.etcd import EtcdClient, TlsFiles
from homing_placement.keys import ClusterKeys

_log = structlog.stdlib.get_logger("homing.node")

EXIT_STORE_FAILED = 70
EXIT_DISK_FULL = 71


class Node:
    """A node, from its settings.

    Args:
        settings: checked ones.

    Raises:
        HomingError: `run` raises what keeps the node from starting: no jail, a foreign data directory, no disk.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.incarnation = secrets.token_hex(8)
        self.stopping = asyncio.Event()
        self.exit_code = 0
        self.metrics = NodeMetrics(settings.latency_target_ms / 1_000)
        self._metrics_server = MetricsServer(self.metrics.registry.exposition)
        self._metrics_address = ""

    async def run(self) -> int:
        """Serve until told to stop; returns the exit code."""
        settings = self.settings
        wheels = read_wheels(settings.sandbox_requirements, settings.sandbox_imports)
        self.store = await asyncio.to_thread(self._open_store)
        self._check_disk()
        if not self.store.trusted:
            _log.error("the data of this node is not to be trusted; it counts for nothing", data_dir=settings.data_dir)
        core = LogCore(
            settings.node_id, self.store.disk_id, self.incarnation, self.store.load(), trusted=self.store.trusted,
            reader=self.store.records,
        )  # fmt: skip
        hello = wire.Hello(
            cluster=settings.cluster, node=settings.node_id, incarnation=self.incarnation, disk=self.store.disk_id
        )
        self.links = Links(
            hello, on_batch=self._on_batch, on_up=self._on_up, on_down=self._on_down,
            credentials=self._channel_credentials(),
        )  # fmt: skip
        self.log = LogShell(
            core, self.store, send=self.links.send, apply=partial(apply_batch, source=self.store),
            metrics=self.metrics, on_fatal=self._fatal,
        )  # fmt: skip
        self._clock = AheadClock() if settings.testing else None
        self._etcd = EtcdClient(settings.etcd, self._etcd_tls())
        deployments = DeploymentStore(self._etcd, ClusterKeys(settings.cluster), settings.deploys_since_ms)
        self.workforce = Workforce(
            settings, self.metrics, Code(settings.app, deployments),
            self._clock and (lambda clock=self._clock: clock.ahead_ms),
        )  # fmt: skip
        host_limits = HostLimits(settings.idle_s, calls_per_window_max=settings.object_calls_per_10s)
        self.host = ObjectHost(self.log, self.store, self.workforce, self._owner_of, host_limits, clock=self._clock)
        self.keeper = Keeper(
            settings, self.incarnation, self.store.disk_id, client=self._etcd, links=self.links, log=self.log,
            host=self.host, metrics=self.metrics, credentials=self._channel_credentials(),
        )  # fmt: skip
        self.verifier = Verifier(self.log, self.metrics)
        self.outbound = self.host.outgoing.outbound = Outbound()
        self.dialer = self.host.outgoing.dialer = Dialer(self.host.sockets)
        self.jails = SandboxJails(settings.cache_dir, settings.nsjail, settings.sandboxes, wheels)
        calls = partial(self.metrics.registry.counter, "homing_grant_calls_total")
        grants = Grants(self.host.outgoing, settings.secret, lambda kind, outcome: calls(kind, outcome).add())
        self.sandboxes = self.host.outgoing.sandboxes = Sandboxes(self.jails, self.metrics, grants=grants)
        self.loader = self.host.outgoing.loader = Loader(self.sandboxes)
        self.crons = Crons(self.host.outgoing, self.workforce.crons)
        self.workforce.on_loaded = self.crons.changed
        self.log.attach(self.host, self.keeper, self.verifier)
        self._gauges()
        return await self._serve()

    def _open_store(self) -> RocksStore:
        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return RocksStore.open(
            settings.data_dir / "store", cluster=settings.cluster, node=settings.node_id, slots=settings.slots,
            slots_in_all=settings.layout.count,
        )  # fmt: skip

    async def _serve(self) -> int:
        settings = self.settings
        self._metrics_address = await self._metrics_server.start(*split_address(settings.metrics_listen))
        await self.workforce.start(self.host)
        server = grpc.aio.server(options=GRPC_OPTIONS)
        inspector = Inspector(settings, self.log, self.store, self.host, self.workforce, lambda: self._metrics_address)
        outside = Outside(settings.slots, self.log, self.store, self.host)
        backups = Backups(
            settings.cluster, settings.node_id, settings.slots, log=self.log, outside=outside,
            raise_above=self.keeper.fenced, owner_of=self._owner_of,
        )  # fmt: skip
        calls = CallService(
            self.host, inspector, lambda draining: self.keeper.drain(draining=draining), self.keeper.move,
            self.verifier.verify, backups,
            HandOfTests(self.host, self.log.core.serving, self._clock, self.workforce.set_clock),
            self.workforce.prepare,
        )  # fmt: skip
        databases = Databases(backups, outside, self.workforce.looks, self.workforce.classes)
        states = ObjectService(Deletions(outside, self.host), databases, self.host)
        tails = TailService(self.host.tails)
        runs = SandboxService(self.sandboxes, self.workforce.giver)
        server.add_generic_rpc_handlers(
            (calls.handler(), states.handler(), tails.handler(), runs.handler(), self.links.handler())
        )
        port = self._bind(server)
        await server.start()
        address = settings.advertise or f"{split_address(settings.listen)[0]}:{port}"
        _log.info("node listens", node=settings.node_id, address=address, incarnation=self.incarnation)
        work = (
            self.log.run(), self.host.evictions.run(), self.host.bell.run(), self.host.sockets.run(),
            self.workforce.run(), self._watch_disk(), self.verifier.run(), self.crons.run(), self.sandboxes.serve(),
        )  # fmt: skip
        background = [asyncio.ensure_future(one) for one in work]
        try:
            await self.keeper.start(address, self._metrics_address)
            tune()
            _log.info("node is up", node=settings.node_id)
            stopped = asyncio.ensure_future(self.stopping.wait())
            background.append(asyncio.ensure_future(self.keeper.wait()))
            done, _ = await asyncio.wait([stopped, *background], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task is not stopped:
                    task.result()
        finally:
            await self._stop(server, background)
        return self.exit_code

    async def _stop(self, server: grpc.aio.Server, background: list[asyncio.Task[None]]) -> None:
        """Give the slots away, let running calls end, then go: leave the cluster, the workers, the disk."""
        _log.info("node stops", node=self.settings.node_id)
        await self.keeper.leave(background)
        self.host.draining = True
        deadline = time.monotonic() + limits.drain_s
        while self.host.busy() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await self.keeper.stop()
        await self._etcd.close()
        await self.outbound.close()
        await self.dialer.close()
        await self.loader.close()
        await self.sandboxes.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await server.stop(0.5)
        await self.links.close()
        await self.workforce.close()
        self.jails.close()
        await self.log.close()
        await self._metrics_server.stop()

    # -- wiring -----------------------------------------------------------------------------------------------

    def _on_batch(self, node: str, batch: wire.PeerBatch) -> None:
        self.log.on_batch(node, batch)
        for offer in batch.offers:
            self.keeper.offered(offer)

    def _on_up(self, node: str, disk: str) -> None:
        self.log.peer_up(node, disk)

    def _on_down(self, node: str) -> None:
        self.log.peer_down(node)
        self.keeper.suspect(node)

    def _owner_of(self, slot: int) -> tuple[int, str]:
        return self.keeper.owner_of(slot)

    def reload(self) -> None:
        """The application may have changed: load it again."""
        self.workforce.reload_soon()

    def _gauges(self) -> None:
        registry, core = self.metrics.registry, self.log.core
        registry.gauge("homing_activations").read = lambda: float(len(self.host.objects))
        flows = self.host.flows
        flows.bytes_in = registry.counter("homing_flow_bytes_total", "in")
        flows.bytes_out = registry.counter("homing_flow_bytes_total", "out")
        registry.gauge("homing_flows", "in").read = lambda: float(flows.streams()[0])
        registry.gauge("homing_flows", "out").read = lambda: float(flows.streams()[1])
        registry.gauge("homing_workers").read = lambda: float(len(self.workforce.facts()[0]))
        registry.gauge("homing_slots", "active").read = lambda: float(len(self.host.gate.slots))
        registry.gauge("homing_slots", "recovering").read = lambda: float(len(core.owners) - len(self.host.gate.slots))
        registry.gauge("homing_replica_lag_records").read = lambda: float(
            max((owner.lag() for owner in core.owners.values()), default=0)
        )

    # -- network ----------------------------------------------------------------------------------------------

    def _bind(self, server: grpc.aio.Server) -> int:
        listen, tls = self.settings.listen, self.settings.tls
        try:
            if tls is None:
                return server.add_insecure_port(listen)
            pair = (tls.key.read_bytes(), tls.cert.read_bytes())
            credentials = grpc.ssl_server_credentials([pair], tls.ca.read_bytes(), require_client_auth=True)
            return server.add_secure_port(listen, credentials)
        except RuntimeError as error:
            raise ConfigurationError(f"cannot listen on {listen}: {error}") from error

    def _etcd_tls(self) -> TlsFiles | None:
        tls = self.settings.tls
        return None if tls is None else TlsFiles(ca=str(tls.ca), cert=str(tls.cert), key=str(tls.key))

    def _channel_credentials(self) -> grpc.ChannelCredentials | None:
        tls = self.settings.tls
        if tls is None:
            return None
        return grpc.ssl_channel_credentials(tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes())

    # -- disk -------------------------------------------------------------------------------------------------

    def _check_disk(self) -> None:
        free = self.store.disk_free_bytes()
        if free < self.settings.disk_free_bytes_min:
            self.store.close()
            raise ConfigurationError(
                f"only {free >> 20} MiB are free for {self.settings.data_dir}; this node joins with at least "
                f"{self.settings.disk_free_bytes_min >> 20} MiB (HOMING_DISK_FREE_BYTES_MIN). Make room and start it."
            )

    async def _watch_disk(self) -> None:
        """At the limit the node leaves, while it still can (DESIGN §8, a full disk)."""
        while self.store.disk_free_bytes() >= self.settings.disk_free_bytes_min:
            await asyncio.sleep(limits.disk_check_s)
        _log.critical("the disk is full; this node leaves the cluster", data_dir=str(self.settings.data_dir))
        self.exit_code = EXIT_DISK_FULL
        self.stopping.set()
        await asyncio.Event().wait()

    def _fatal(self, error: StoreFailed) -> None:
        """Rule 7: what a failed fsync left behind is not known; nothing may be acknowledged after it."""
        _log.critical("the store failed; this node ends at once", error=str(error))
        os._exit(EXIT_STORE_FAILED)


def run_node(settings: NodeSettings) -> int:
    """Run a node in this process until SIGTERM or SIGINT; returns its exit code. SIGHUP reloads the application.

    Raises:
        HomingError: it cannot start; the message says what to do.
    """
    logs.configure(settings.log_level, settings.log_style)
    bound_heap()

    async def main() -> int:
        node = Node(settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.stopping.set)
        loop.add_signal_handler(signal.SIGHUP, node.reload)
        return await node.run()

    return uvloop.run(main())
