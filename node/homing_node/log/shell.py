"""The log's shell: it feeds the core with messages, disk and time, and carries out what the core asks for.

Everything that becomes ready in one turn of the event loop leaves together: one batch to the disk, one to each peer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from homing.errors import StoreFailed, Unavailable
from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.core import LogCore
from homing_node.log.digest import slot_digest
from homing_node.log.effects import (
    Advanced,
    EpochConfirmed,
    Lost,
    Message,
    News,
    PagesCompared,
    ReadDigest,
    ReadPart,
    Recovered,
)
from homing_node.log.owner import Member
from homing_node.log.replica import Replica
from homing_node.log.store import Op, Part, PutRecord, Store
from homing_node.log.writer import Batch, Writer

_log = structlog.stdlib.get_logger("homing.log")


class LogUser(Protocol):
    """Who hears of commits, confirmations and losses: the object host."""

    def advanced(self, slot: int, epoch: int, lsn: int) -> None:
        """Every record of the slot up to `lsn` is committed."""
        ...

    def confirmed(self, slot: int, number: int) -> None:
        """Every question of the slot up to `number` is answered (rule 19)."""
        ...

    def lost(self, slot: int, epoch: int, reason: str) -> None:
        """The slot is not owned here any more."""
        ...


class SlotKeeper(Protocol):
    """Who keeps slot records: placement."""

    def recovered(self, slot: int, epoch: int) -> None:
        """The slot record may become ACTIVE."""
        ...

    def fenced(self, slot: int, promised: int, *, lacking: bool = False) -> None:
        """This node's ownership ended; a new claim must go above `promised`, and with `lacking` be another's."""
        ...


class PageWatch(Protocol):
    """Who hears what comparisons of pages came to."""

    def compared(self, news: PagesCompared) -> None:
        """The replicas of a slot were compared."""
        ...


class LogMetrics(Protocol):
    """Where the shell counts."""

    def log_written(self, seconds: float, records: int) -> None:
        """One batch was written."""
        ...


Apply = Callable[[int, list[bytes]], list[Op]]
"""(slot, committed records) to the batch that brings pages up to them; raises ValueError when pages are damaged."""


class LogShell:
    """Runs a node's `LogCore`.

    Args:
        core: the log of this node.
        store: its disk.
        send: (node id, message) to the peer streams.
        apply: makes pages out of committed records.
        on_fatal: the store refused a write; the process must end (rule 7).
    """

    def __init__(
        self,
        core: LogCore,
        store: Store,
        *,
        send: Callable[[str, Message], None],
        apply: Apply,
        metrics: LogMetrics,
        on_fatal: Callable[[StoreFailed], None],
    ) -> None:
        self.core = core
        self._store = store
        self._send = send
        self._apply = apply
        self._metrics = metrics
        self._user: LogUser | None = None
        self._keeper: SlotKeeper | None = None
        self._watch: PageWatch | None = None
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(store, self._written, on_fatal)
        self._scheduled = False
        self._apply_due: dict[int, float] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def attach(self, user: LogUser, keeper: SlotKeeper, watch: PageWatch) -> None:
        """Name who hears the news; once, before the first event."""
        self._user, self._keeper, self._watch = user, keeper, watch

    # -- what the node does -----------------------------------------------------------------------------------

    def claim(self, slot: int, epoch: int, replicas: list[Member], next_replicas: list[Member]) -> None:
        """This node claimed a slot in the slot record: take it over."""
        self.core.claim(slot, epoch, replicas, next_replicas, time.monotonic())
        self._touch()

    def activated(self, slot: int, epoch: int) -> None:
        """The slot record says ACTIVE."""
        self.core.activated(slot, epoch, time.monotonic())
        self._touch()

    def resign(self, slot: int, reason: str) -> None:
        """Own the slot no more."""
        self.core.resign(slot, reason)
        self._touch()

    def propose(self, slot: int, kind: int, at_ms: int, object_id: bytes, body: bytes) -> int:
        """Append a record to a slot that this node serves; returns its lsn."""
        lsn = self.core.propose(slot, kind, at_ms, object_id, body, time.monotonic())
        self._touch()
        return lsn

    def ask(self, slot: int) -> int:
        """Ask for the confirmation of the slot's epoch; 0 if it needs nobody else's, -1 if it is served no more."""
        if not self.core.serving(slot):
            return -1
        number = self.core.ask(slot, time.monotonic())
        if number:
            self._touch()
        return number

    def forget(self, slot: int, epoch: int) -> None:
        """Delete this node's copy of a slot that it keeps no more; see `LogCore.forget`."""
        self.core.forget(slot, epoch)
        self._touch()

    def compare(self, slot: int) -> None:
        """Compare the pages of a slot's replicas; see `LogCore.compare`."""
        self.core.compare(slot, time.monotonic())
        self._touch()

    def serving(self, slot: int) -> int:
        """The epoch under which this node serves the slot, or 0."""
        return self.core.serving(slot)

    def records_above_pages(self, slot: int) -> Iterable[bytes]:
        """The slot's records that its pages do not hold yet, committed or not, in order."""
        return self.core.replica(slot).records.values()

    def last_lsn(self, slot: int) -> int:
        """The newest record appended here."""
        return self.core.replica(slot).last_lsn

    # -- what happens to it -----------------------------------------------------------------------------------

    def on_batch(self, node: str, batch: wire.PeerBatch) -> None:
        """A batch of a peer."""
        now = time.monotonic()
        receive = self.core.receive
        for group in (
            batch.appends, batch.appended, batch.confirms, batch.confirmed, batch.seals, batch.sealed, batch.fetches,
            batch.fetched, batch.snapshots, batch.snapshotted, batch.compares, batch.compared,
        ):  # fmt: skip
            for message in group:
                receive(node, message, now)
        self._touch()

    def peer_up(self, node: str, disk: str) -> None:
        """A link is there."""
        self.core.peer_up(node, disk)
        self._touch()

    def peer_down(self, node: str) -> None:
        """A link is gone."""
        self.core.peer_down(node)

    def _written(self, batch: Batch, seconds: float) -> None:
        if batch.marks:
            self._metrics.log_written(seconds, sum(type(op) is PutRecord for op in batch.ops))
            self.core.written(batch.marks, time.monotonic())
            self._flush()  # answers and commits that waited for this leave now

    def _touch(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        out = self.core.drain(time.monotonic())
        if out.writes or out.marks:
            self._writer.add(out.writes, out.marks)
        for node, message in out.sends:
            self._send(node, message)
        for read in out.reads:
            self._read(read)
        if out.news:
            self._tell(out.news)

    def _tell(self, news: list[News]) -> None:
        user, keeper, watch = self._user, self._keeper, self._watch
        assert user is not None, "attach comes first"
        assert keeper is not None, "attach comes first"
        assert watch is not None, "attach comes first"
        for item in news:
            if isinstance(item, Advanced):
                user.advanced(item.slot, item.epoch, item.lsn)
            elif isinstance(item, EpochConfirmed):
                user.confirmed(item.slot, item.number)
            elif isinstance(item, Recovered):
                keeper.recovered(item.slot, item.epoch)
            elif isinstance(item, Lost):
                _log.info("slot lost", slot=item.slot, epoch=item.epoch, reason=item.reason)
                user.lost(item.slot, item.epoch, item.reason)
                if item.slot not in self.core.owners:  # else it is claimed anew already
                    keeper.fenced(item.slot, item.promised, lacking=item.lacking)
            elif isinstance(item, PagesCompared):
                watch.compared(item)
            else:
                _log.error("slot halted", slot=item.slot, reason=item.reason)

    # -- reading pages ----------------------------------------------------------------------------------------

    def _read(self, read: ReadPart | ReadDigest) -> None:
        if isinstance(read, ReadPart):
            task = asyncio.ensure_future(self._read_part(read))
        else:
            task = asyncio.ensure_future(self._read_digest(read))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read_part(self, read: ReadPart) -> None:
        try:
            part = await asyncio.to_thread(self._store.part, read.slot, read.place, limits.snapshot_part_bytes)
        except StoreFailed as error:
            self._damaged(read.slot, error)
        else:
            self.core.part_read(read, part)
            self._touch()

    async def _read_digest(self, read: ReadDigest) -> None:
        digest = b""
        try:
            digest = await asyncio.to_thread(slot_digest, self._store, read.slot)
        except StoreFailed as error:
            self._damaged(read.slot, error)
        self.core.digest_read(read, digest, time.monotonic())
        self._touch()

    def _damaged(self, slot: int, error: Exception) -> None:
        reason = f"pages cannot be read or brought up to date: {error}"
        self.core.damaged(slot, reason, noted=not isinstance(error, ValueError))
        self._touch()

    @asynccontextmanager
    async def still(self, slot: int, lsn: int) -> AsyncGenerator[Replica]:
        """Bring a slot's pages up to a committed record, and keep them as they are until the end of the block.

        What the block reads counts while the replica is healthy and its `base_lsn` what it was at the beginning.
        """
        replica = self.core.replica(slot)
        while replica.healthy and (replica.base_lsn < lsn or replica.applying):
            self._apply_slot(slot)
            await asyncio.sleep(limits.still_poll_s)
        replica.pins += 1
        try:
            yield replica
        finally:
            replica.pins -= 1

    async def part(self, slot: int, place: bytes, bytes_max: int) -> Part:
        """A part of what a slot's pages hold; see `Store.part`.

        Raises:
            Unavailable: it cannot be read; then the slot halts here, and another replica takes it over.
        """
        replica = self.core.replica(slot)
        base = replica.base_lsn
        try:
            return await self._loop.run_in_executor(None, self._store.part, slot, place, bytes_max)
        except Exception as error:  # whatever it is: from pages like these nobody may be served
            if replica.healthy and replica.base_lsn == base:
                self._damaged(slot, error)
            raise Unavailable(f"pages of slot {slot} cannot be read here") from error

    # -- time -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick, and bring pages up to the commit point, until cancelled."""
        next_apply = 0.0
        while True:
            await asyncio.sleep(limits.tick_s)
            now = time.monotonic()
            self.core.tick(now)
            self._touch()
            if now >= next_apply:
                next_apply = now + 5 * limits.tick_s
                await self.apply_ready(now)

    async def apply_ready(self, now: float, *, everything: bool = False) -> None:
        """Apply the slots that have many or large committed records above their pages, or have had some for long."""
        done = 0
        for slot, replica in list(self.core.replicas.items()):
            behind = replica.commit - replica.base_lsn
            if not behind or replica.applying or not replica.healthy:
                self._apply_due.pop(slot, None)
                continue
            due = self._apply_due.setdefault(slot, now + limits.apply_after_s * (1 + slot % 64 / 64))
            many = behind >= limits.apply_after_records or replica.bytes >= limits.apply_after_bytes
            if everything or many or now >= due or replica.stop_at > replica.base_lsn:
                self._apply_due.pop(slot, None)
                done += self._apply_slot(slot)
                if done >= limits.apply_slice_records:
                    done = 0
                    await asyncio.sleep(0)

    def _apply_slot(self, slot: int) -> int:
        records = self.core.replicas[slot].applicable()
        if not records:
            return 0
        try:
            ops = self._apply(slot, records)
        except (ValueError, StoreFailed) as error:
            self._damaged(slot, error)
            return len(records)
        lsn = self.core.replicas[slot].base_lsn + len(records)

        def then() -> None:
            self.core.applied(slot, lsn)
            self._touch()  # records may go now

        self._writer.add(ops, {}, then)
        return len(records)

    async def flushed(self) -> None:
        """Wait until everything that is committed is in pages, on disk."""
        await self.apply_ready(time.monotonic(), everything=True)
        while any(replica.applying for replica in self.core.replicas.values()):
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Write what is there and let the store go."""
        self._flush()
        await self._writer.close()
        if self._reading:
            await asyncio.wait(self._reading)
        self._store.close()
