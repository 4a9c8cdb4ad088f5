"""An object host over a real log core and a memory store, with a worker that a test plays. No clock, no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node.log.core import LogCore
from homing_node.log.effects import Advanced, EpochConfirmed, Lost, Recovered
from homing_node.log.memory_store import MemoryStore
from homing_node.objects.host import ObjectHost
from homing_node.objects.images import Image, apply_batch
from homing_node.objects.limits import HostLimits
from homing_node.workers.inside import pages

SLOTS = 1


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.stepped_s = 0.0  # the wall clock, by somebody's hand

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1e9)

    def wall_ms(self) -> int:
        return int((self.seconds + self.stepped_s) * 1e3)


class Log:
    """A `LogPort` over the core; the test says when a batch is on disk."""

    def __init__(self, core: LogCore, clock: Clock) -> None:
        self.core, self.clock = core, clock

    def serving(self, slot: int) -> int:
        return self.core.serving(slot)

    def propose(self, slot: int, kind: int, at_ms: int, object_id: bytes, body: bytes) -> int:
        return self.core.propose(slot, kind, at_ms, object_id, body, self.clock.seconds)

    def ask(self, slot: int) -> int:
        return self.core.ask(slot, self.clock.seconds) if self.core.serving(slot) else -1

    def resign(self, slot: int, reason: str) -> None:
        self.core.resign(slot, reason)

    def records_above_pages(self, slot: int) -> list[bytes]:
        return list(self.core.replica(slot).records.values())

    def last_lsn(self, slot: int) -> int:
        return self.core.replica(slot).last_lsn


class Worker:
    """A worker that only writes down what it was sent."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.classes = {"Counter"}
        self.fetch_hosts = ("api.example.com",)
        self.version = "v1"
        self.sent: list[tuple[Any, ...]] = []
        self.killed = ""

    def send(self, message: tuple[Any, ...]) -> None:
        self.sent.append(message)

    def kill(self, reason: str) -> None:
        self.killed = reason

    def frames(self, kind: int) -> list[tuple[Any, ...]]:
        return [frame for frame in self.sent if frame[0] == kind]


class HostWorld:
    """One node, one slot, one replica."""

    def __init__(self, host_limits: HostLimits | None = None) -> None:
        self.clock = Clock()
        self.store = MemoryStore(slots=SLOTS)
        self.core = LogCore("n1", "d1", "i1", {}, trusted=True, reader=self.store.records)
        self.worker = Worker(1)
        self.host = ObjectHost(
            Log(self.core, self.clock), self.store, self, lambda slot: (0, ""), host_limits, clock=self.clock,
            read_image=self._read,
        )  # fmt: skip
        self.replies: dict[int, wire.Reply] = {}
        self.messages: dict[int, wire.Call] = {}
        self.held_batches: list[dict[int, int]] = []
        self.hold_disk = False
        self.held_reads: list[Callable[[], None]] = []
        self.hold_reads = False
        self._calls = 0
        self.claim(1)

    def claim(self, epoch: int) -> None:
        """This node is the owner of the slot in a new epoch."""
        members = [("n1", "d1")]
        self.core.claim(0, epoch, members, members, self.clock.seconds)
        self.pump()

    # the workers, as the host sees them
    def pick(self, object_id: bytes) -> Worker | None:
        return self.worker

    def classes(self) -> set[str]:
        return {"Counter"}

    def _read(self, read: Callable[[], Image], done: Callable[[Image | ValueError], None]) -> None:
        if self.hold_reads:
            self.held_reads.append(lambda: done(read()))
        else:
            done(read())

    def pump(self) -> None:
        """Carry out what the core asks for until it asks for nothing; the disk keeps up unless `hold_disk`."""
        while out := self.core.drain(self.clock.seconds):
            if out.writes:
                self.store.write(out.writes)
            if out.marks:
                self.held_batches.append(out.marks)
                if not self.hold_disk:
                    self.disk()
            for news in out.news:
                self._tell(news)

    def disk(self) -> None:
        """Everything written so far is on disk."""
        for marks in self.held_batches:
            self.core.written(marks, self.clock.seconds)
        self.held_batches.clear()

    def _tell(self, news: object) -> None:
        if isinstance(news, Advanced):
            self.host.advanced(news.slot, news.epoch, news.lsn)
        elif isinstance(news, EpochConfirmed):
            self.host.confirmed(news.slot, news.number)
        elif isinstance(news, Recovered):
            self.core.activated(news.slot, news.epoch, self.clock.seconds)
            self.host.serve(news.slot, news.epoch, self.core.replica(news.slot).commit)
        elif isinstance(news, Lost):
            self.host.lost(news.slot, news.epoch, news.reason)

    # -- what a test does -------------------------------------------------------------------------------------

    def call(
        self, name: str = "a", *, key: str = "", fingerprint: bytes = b"f", class_name: str = "Counter",
        chain: bytes = b"", activation: int = 0, target: int = 0, lane: bytes = b"", order: int = 0,
        before: int = 0,
    ) -> int:  # fmt: skip
        """A call of a gateway; returns its number."""
        self._calls += 1
        message = wire.Call(
            id=self._calls, slot=0, epoch=self.core.serving(0), object=ObjectId.from_name("Counter", name).raw,
            class_name=class_name, name=name, kind=wire.CALL_KIND_RPC, method="m", body=b"{}", key=key,
            fingerprint=fingerprint, chain=chain, activation=activation, target=target, lane=lane, order=order,
            before=before,
        )  # fmt: skip
        self.messages[self._calls] = message
        self.host.call(message, self._reply)
        self.pump()
        return self._calls

    def give_up(self, call: int) -> None:
        """The gateway's client of a call has gone."""
        self.host.give_up(self.messages[call])
        self.pump()

    def _reply(self, reply: wire.Reply) -> None:
        assert reply.id not in self.replies, "a call is answered once"
        self.replies[reply.id] = reply

    def event(self, at: int = -1) -> tuple[Any, ...]:
        """An event that the worker was sent."""
        return self.worker.frames(3)[at]

    def turn(
        self,
        event: tuple[Any, ...],
        n: int,
        *,
        ends: bytes | None = b"1",
        pages_now: int = 1,
        wake_ms: int | None = None,
    ) -> None:
        """The worker ran a turn of that event: it wrote if `n`, and ended with `ends` if that is not None.

        `wake_ms`: when its commit lets the earliest alarm ring.
        """
        commit = pages.encode(pages_now, [(1, None, bytes([n % 256]) * 1024)]) if n else None
        effects = [] if ends is None else [[event[2], 0, ends, 1, 2]]
        wakes = [] if wake_ms is None else [wake_ms]
        self.host.on_frame(self.worker, [2, event[1], n, commit, event[2], effects, *wakes])
        self.pump()

    def apply(self) -> None:
        """Pages take every committed record in, and those records go."""
        replica = self.core.replica(0)
        records = replica.applicable()
        if records:
            self.store.write(apply_batch(0, records, source=self.store))
            self.core.applied(0, replica.base_lsn + len(records))
            self.pump()

    def wait(self, seconds: float) -> None:
        """Time passes; the bell looks at the end of it."""
        self.clock.seconds += seconds
        self.host.bell.tick()
        self.pump()

    def new_worker(self) -> None:
        """The worker dies and another takes its place."""
        old, self.worker = self.worker, Worker(self.worker.id + 1)
        self.host.on_worker_death(old, "killed")
        self.pump()
