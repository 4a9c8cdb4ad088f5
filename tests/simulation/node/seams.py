"""Where the production code touches the world outside: clock, threads, gRPC, RocksDB, workers. All of it is put here.

`install` changes the modules of this interpreter for good, so programs of the simulator call it and tests do not.
"""

from __future__ import annotations

import warnings
from random import Random
from typing import TYPE_CHECKING, Any

import grpc.aio
import structlog
from tests.simulation.node.workers import WALL_S, Workforce

import homing_gateway.sockets
import homing_node.keeper
import homing_node.limits
import homing_node.log.shell
import homing_node.log.writer
import homing_node.mover
import homing_node.node
import homing_node.objects.eviction
import homing_node.objects.host
import homing_node.objects.outgoing
import homing_node.outside
import homing_node.workers.inside.sockets
import homing_placement.etcd.client
import homing_placement.placer
import homing_placement.routing.forward
import homing_placement.routing.link
from homing_node.log.core import LogCore
from homing_node.log.effects import Advanced, Outbox
from homing_node.log.memory_store import MemoryStore
from homing_node.objects.gate import OutputGate, ServedSlot
from homing_node.objects.socket_state import GatewayPort, SocketEvent
from homing_node.objects.sockets import Sockets
from homing_placement.etcd import EtcdClient
from homing_placement.placer import Placer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.node.world import World

    from homing.wire.v1 import call_pb2 as wire

_worlds: list[World] = []
COMPARE_EVERY_S = 1.5  # a run is short
# What the code itself calls an error is one here; some, where the disks are sound.
DISK_ALARMS = ("slot halted", "replicas of a slot hold different pages")
ALARMS = (
    "an activation of a slot failed", "a worker broke the protocol", "damaged object", "answer not delivered",
    "a peer broke the protocol of its link", "a node of another cluster dialled", "record_skipped",
)  # fmt: skip


class Exited(BaseException):
    """`os._exit`: the process is gone, and what called it must not go on."""


def world() -> World:
    """The world that runs now."""
    return _worlds[-1]


class FakeTime:
    """The module `time`."""

    @staticmethod
    def monotonic() -> float:
        return world().clock.now

    perf_counter = monotonic

    @staticmethod
    def monotonic_ns() -> int:
        return int(world().clock.now * 1e9)

    @staticmethod
    def time() -> float:
        clock = world().clock
        return WALL_S + clock.now + (clock.running.wall_offset_s if clock.running is not None else 0.0)

    @staticmethod
    def time_ns() -> int:
        return int(FakeTime.time() * 1e9)


class FakeClock:
    """`homing_node.clock.SystemClock`."""

    monotonic_ns = staticmethod(FakeTime.monotonic_ns)

    @staticmethod
    def wall_ms() -> int:
        return FakeTime.time_ns() // 1_000_000


class FakeQueue:
    """The queue to the writer's thread: what is put there is done when the disk had its time."""

    def __init__(self) -> None:
        self.loop: Any = world().clock.running
        self.run: Any = None
        self._waiting: list[Any] = []

    def put(self, batch: Any) -> None:
        if batch is not None:
            self._waiting.append(batch)
            world().clock.after(self.loop.machine.fsync_s(), self._synced)

    def _synced(self) -> None:
        if self.loop.alive:
            self.loop.machine.before_sync()
            self.run()

    def get(self) -> Any:
        return self._waiting.pop(0) if self._waiting else None


class FakeThread:
    """The writer's thread: its loop is run once for each batch."""

    def __init__(self, target: Any, **_: Any) -> None:
        target.__self__._queue.run = target

    def start(self) -> None: ...

    def is_alive(self) -> bool:
        return True

    def join(self, _: float) -> None: ...


class FakeOs:
    """The module `os` of a node: its end."""

    @staticmethod
    def _exit(code: int) -> None:
        loop = world().clock.running
        assert loop is not None
        world().exited(loop, code)
        raise Exited

    @staticmethod
    def getpid() -> int:
        return 1


class FakeStore:
    """`RocksStore`: a machine's disk."""

    @staticmethod
    def open(*_: Any, **__: Any) -> MemoryStore:
        loop: Any = world().clock.running
        return loop.machine.store


class FakeSecrets:
    """The module `secrets`."""

    @staticmethod
    def token_hex(_: int) -> str:
        loop: Any = world().clock.running
        return loop.machine.incarnation()

    @staticmethod
    def token_bytes(count: int) -> bytes:
        return world().random.randbytes(count)

    @staticmethod
    def randbits(count: int) -> int:
        return world().random.getrandbits(count)


class FakeMetricsServer:
    """Serves nothing."""

    def __init__(self, _: Any) -> None: ...

    async def start(self, *_: Any) -> str:
        return ""

    async def stop(self) -> None: ...


class FakeRecorder:
    """A histogram, a counter or a gauge that keeps nothing."""

    read: Any = None

    def observe(self, _: float) -> None: ...

    def add(self, _: float = 1.0) -> None: ...


class FakeMetrics:
    """`NodeMetrics`, its own registry."""

    def __init__(self, _: float) -> None:
        self.registry = self
        self.takeover = self.activation = self.restarts = self.compared = self.differing = FakeRecorder()

    def exposition(self) -> bytes:
        return b""

    def gauge(self, *_: str) -> FakeRecorder:
        return FakeRecorder()

    def counter(self, *_: str) -> FakeRecorder:
        return FakeRecorder()

    def log_written(self, seconds: float, records: int) -> None: ...


class SeenCore(LogCore):
    """The log core, with the judge at its side."""

    def __init__(self, node: str, disk: str, incarnation: str, images: Any, **kwargs: Any) -> None:
        self._world = world()
        loop: Any = self._world.clock.running
        # What the opening of the store noticed is in the images.
        super().__init__(node, disk, incarnation, loop.machine.images(), **kwargs)
        self._commits = {slot: replica.commit for slot, replica in self.replicas.items()}
        self._world.ledger.starts(self)
        self._world.cores.append(self)

    def drain(self, now: float) -> Outbox:
        self.settle()
        out = super().drain(now)
        ledger = self._world.ledger
        for slot, replica in self.replicas.items():
            before = self._commits.get(slot, 0)
            if replica.incomplete:
                self._commits[slot] = 0  # it has nothing
            elif replica.commit != before:
                ledger.knows_commit(self, slot, replica.commit, before)
                self._commits[slot] = replica.commit
        return out

    def settle(self) -> None:
        """Tell the judge what is committed by now, also what the shell was not told yet."""
        for item in self.out.news:
            if isinstance(item, Advanced):
                self._world.ledger.advanced(self, item.slot, item.epoch, item.lsn)

    def claim(self, slot: int, epoch: int, replicas: Any, next_replicas: Any, now: float) -> None:
        self._world.claimed(self, slot, epoch)
        super().claim(slot, epoch, replicas, next_replicas, now)


class SeenGate(OutputGate):
    """The output gate, with the judge at its side."""

    def serve(self, slot: int, epoch: int, committed: int, wall_ms: int = 0) -> None:
        super().serve(slot, epoch, committed, wall_ms)
        world().served(slot, epoch)

    def end(self, slot: int, epoch: int) -> ServedSlot | None:
        found = super().end(slot, epoch)
        if found is not None:
            world().ended_serving(slot, epoch)
        return found


class SeenSockets(Sockets):
    """The sockets of a node, with the judge at its side: it must know how long nobody held one."""

    def attach(self, gateway: GatewayPort, m: wire.FromSocket, epoch: int) -> None:
        super().attach(gateway, m, epoch)
        if m.handle in self._gateways.get(gateway, {}):
            world().connections.held(m.socket.number)

    def gateway_gone(self, gateway: GatewayPort) -> None:
        for _, socket in self._gateways.get(gateway, {}).values():
            world().connections.held(socket.number)
        super().gateway_gone(gateway)

    def _hand_over(self, events: Sequence[SocketEvent]) -> None:
        for event in events:
            if not event.seq:
                world().connections.gives_up(event.socket.number)
        super()._hand_over(events)


def _judged_apply(slot: int, records: list[bytes], *, source: MemoryStore) -> Any:
    """`apply_batch`, with the judge at its side (rule 24)."""
    loop: Any = world().clock.running
    loop.machine.node.log.core.settle()
    world().applies(slot, records)
    return homing_node.objects.images.apply_batch(slot, records, source=source)


def _log_line(_: Any, method: str, event: Any) -> str:
    one = world()
    if method in ("error", "critical", "exception"):
        one.alarm(str(event.get("event")), {k: v for k, v in event.items() if k != "event"})
    if one.tracing:
        loop = one.clock.running
        one.trace(f"{loop.name if loop is not None else '-'}: {event}")
    raise structlog.DropEvent


def install(*, verbose: bool) -> None:
    """Put the world in place of what is outside; once in a process."""
    warnings.simplefilter("ignore", RuntimeWarning)  # a process that is ended leaves coroutines that nobody awaits
    clocked: tuple[Any, ...] = (
        homing_node.keeper, homing_node.mover, homing_node.log.shell, homing_node.log.writer, homing_node.node,
        homing_node.outside, homing_placement.routing.forward, homing_placement.routing.link, homing_gateway.sockets,
    )  # fmt: skip
    for module in clocked:
        module.time = FakeTime
    homing_node.limits.compare_every_s = COMPARE_EVERY_S
    for called in (Placer.__init__, EtcdClient.__init__):
        called.__kwdefaults__["clock"] = FakeTime.monotonic
    replaced: tuple[tuple[Any, str, Any], ...] = (
        (homing_node.objects.host, "SystemClock", FakeClock),
        (homing_node.objects.host, "secrets", FakeSecrets),
        (homing_node.objects.outgoing, "secrets", FakeSecrets),
        (homing_node.objects.host, "OutputGate", SeenGate),
        (homing_node.objects.host, "Sockets", SeenSockets),
        (homing_node.workers.inside.sockets, "secrets", FakeSecrets),
        (homing_node.objects.eviction, "drop_caches", lambda: None),
        (homing_node.objects.eviction, "allocator_trim", lambda: lambda: None),
        (homing_node.log.writer, "queue", type("queue", (), {"SimpleQueue": FakeQueue})),
        (homing_node.log.writer, "threading", type("threading", (), {"Thread": FakeThread})),
        (homing_node.node, "os", FakeOs),
        (homing_node.node, "secrets", FakeSecrets),
        (homing_node.node, "tune", lambda: None),
        (homing_node.node, "RocksStore", FakeStore),
        (homing_node.node, "MetricsServer", FakeMetricsServer),
        (homing_node.node, "NodeMetrics", FakeMetrics),
        (homing_node.node, "Workforce", Workforce),
        (homing_node.node, "LogCore", SeenCore),
        (homing_node.node, "apply_batch", _judged_apply),
        (homing_node.keeper, "os", FakeOs),
        (homing_node.keeper, "host_name", lambda: "host"),
        (homing_node.keeper, "version", lambda _: "0"),
        (homing_placement.etcd.client, "Endpoint", lambda url, tls=None: world().etcd.endpoint(url, tls)),
        (homing_placement.placer, "Random", lambda: Random(world().random.random())),
        (grpc.aio, "insecure_channel", lambda address, options=None: world().network.channel(address)),
        (grpc.aio, "server", lambda options=None: world().network.server()),
    )
    for where, name, what in replaced:
        assert hasattr(where, name), (where, name)
        setattr(where, name, what)
    structlog.configure(
        processors=[_log_line], wrapper_class=structlog.make_filtering_bound_logger(10 if verbose else 40),
        cache_logger_on_first_use=False,
    )  # fmt: skip


def enter(one: World) -> None:
    """Let this world run; there is one at a time."""
    _worlds[:] = [one]
