"""The log of one node without its cluster: updates of objects go through the same core, shell and store, much faster.

For questions that take millions of updates. The node whose data directory it is must not run.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from homing.errors import StoreFailed
from homing.ids import class_tag, slot_of
from homing_node.log import record
from homing_node.log.core import LogCore
from homing_node.log.effects import Message, PagesCompared
from homing_node.log.rocks_store import RocksStore
from homing_node.log.shell import LogShell
from homing_node.objects.images import PAGE_BYTES, apply_batch
from homing_node.objects.turn_record import TurnBody, decode_meta, encode_body
from homing_node.workers.inside import pages

AT_ONCE = 2_000  # updates that are proposed before they are waited for
LIST_MAX = 1_000
WAIT_S = 0.002
_stamp = struct.Struct(">Q")
CHANGE_COUNTER_AT = 24  # in page 1: SQLite counts every transaction there
VALUE_AT = PAGE_BYTES - 16


@dataclass
class Subject:
    """An object that is updated, and its first and last page as they are now."""

    object_id: bytes
    slot: int
    page_count: int
    first: bytes
    last: bytes

    def update(self, number: int) -> bytes:
        """The body of the record of one more update: eight bytes in the first page, and eight in the last."""
        old_first, old_last = self.first, self.last
        self.first = _with(old_first, CHANGE_COUNTER_AT, number)
        changes: list[tuple[int, bytes | None, bytes]] = [(1, old_first, self.first)]
        if self.page_count > 1:
            self.last = _with(old_last, VALUE_AT, number)
            changes.append((self.page_count, old_last, self.last))
        return encode_body(TurnBody("", None, pages.encode(self.page_count, changes), [], []))


def _with(page: bytes, at: int, number: int) -> bytes:
    return page[:at] + _stamp.pack(number) + page[at + _stamp.size :]


class LogDriver:
    """Owns every slot of a data directory, alone, and appends to them.

    Args:
        data_dir: of the node.
        cluster, node: as the node was started.
        slots: of the cluster.
    """

    def __init__(self, data_dir: Path, *, cluster: str, node: str, slots: int) -> None:
        self._slots = slots
        self.store = RocksStore.open(data_dir / "store", cluster=cluster, node=node, slots=slots)
        core = LogCore(node, self.store.disk_id, "driver", self.store.load(), trusted=True, reader=self.store.records)
        self._me = (node, self.store.disk_id)
        self.shell = LogShell(
            core, self.store, send=self.send, apply=partial(apply_batch, source=self.store), metrics=self,
            on_fatal=self.on_fatal,
        )  # fmt: skip
        self.shell.attach(self, self, self)
        self._ticking = asyncio.ensure_future(self.shell.run())

    # What the shell tells; with one replica there is nobody to send to and nobody to lose a slot to.

    def send(self, node: str, message: Message) -> None:
        raise AssertionError(f"nobody else is there: {node} {message}")

    def on_fatal(self, error: StoreFailed) -> None:
        raise error

    def log_written(self, seconds: float, records: int) -> None: ...

    def advanced(self, slot: int, epoch: int, lsn: int) -> None: ...

    def confirmed(self, slot: int, number: int) -> None: ...

    def lost(self, slot: int, epoch: int, reason: str) -> None:
        raise AssertionError(f"slot {slot} was lost: {reason}")

    def compared(self, news: PagesCompared) -> None: ...

    def fenced(self, slot: int, promised: int, *, lacking: bool = False) -> None:
        raise AssertionError(f"slot {slot} was fenced at {promised}")

    def recovered(self, slot: int, epoch: int) -> None:
        self.shell.activated(slot, epoch)

    async def own(self) -> None:
        """Claim every slot above what it promised, and bring its pages up to its log."""
        for slot in range(self._slots):
            epoch = self.shell.core.replica(slot).promised + 1
            self.shell.claim(slot, epoch, [self._me], [self._me])
        while not all(self.shell.serving(slot) for slot in range(self._slots)):
            await asyncio.sleep(WAIT_S)
        await self.shell.flushed()

    async def update(self, subjects: list[Subject], count: int, first: int) -> None:
        """Append `count` updates, taking the subjects in turn, and return when all are committed."""
        propose = self.shell.propose
        for number in range(first, first + count):
            subject = subjects[number % len(subjects)]
            propose(subject.slot, record.TURN, 0, subject.object_id, subject.update(number))
            if number % AT_ONCE == 0:
                await self._committed()
        await self._committed()

    async def _committed(self) -> None:
        replicas = self.shell.core.replicas.values()
        while any(replica.commit < replica.last_lsn for replica in replicas):
            if self._ticking.done():
                self._ticking.result()
            await asyncio.sleep(WAIT_S)

    def objects(self, class_name: str) -> Iterator[tuple[bytes, int]]:
        """Every object of a class with its number of pages."""
        after = b""
        while found := self.store.objects(after, LIST_MAX, class_tag(class_name)):
            for object_id, data in found:
                yield object_id, decode_meta(data).page_count
            after = found[-1][0]

    def subjects(self, class_name: str) -> list[Subject]:
        """Every object of a class, ready to be updated; `own` comes first."""
        return [
            Subject(
                object_id,
                slot_of(object_id, self._slots),
                count,
                self._page(object_id, 1),
                self._page(object_id, count),
            )
            for object_id, count in self.objects(class_name)
            if count
        ]

    def _page(self, object_id: bytes, number: int) -> bytes:
        page = self.store.page(object_id, number)
        assert page is not None, "an object lacks a page"
        return page

    async def close(self) -> None:
        """Write everything, and let the directory go."""
        await self.shell.flushed()
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        await self.shell.close()
