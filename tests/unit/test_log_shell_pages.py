"""When committed records go into their pages: many, large ones, or after a time that slots do not share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from homing.errors import StoreFailed
from homing_node.log import limits, record
from homing_node.log.core import LogCore
from homing_node.log.effects import Message, PagesCompared
from homing_node.log.memory_store import MemoryStore
from homing_node.log.shell import LogShell
from homing_node.log.store import Op

SLOT = 0
OBJECT = bytes(32)


class World:
    """A log of one replica that serves slots 0 and 63, and the records that went into pages, by slot."""

    def __init__(self) -> None:
        self.applied: dict[int, int] = {}
        store = MemoryStore("d1")
        core = LogCore("n1", "d1", "i1", {}, trusted=True, reader=store.records)
        self.shell = LogShell(core, store, send=self.send, apply=self.apply, metrics=self, on_fatal=self.on_fatal)
        self.shell.attach(self, self, self)

    def send(self, node: str, m: Message) -> None:
        raise AssertionError(f"nobody else is there: {node} {m}")

    def on_fatal(self, error: StoreFailed) -> None:
        raise error

    def apply(self, slot: int, records: list[bytes]) -> list[Op]:
        self.applied[slot] = self.applied.get(slot, 0) + len(records)
        return []

    def log_written(self, seconds: float, records: int) -> None: ...

    def advanced(self, slot: int, epoch: int, lsn: int) -> None: ...

    def confirmed(self, slot: int, number: int) -> None: ...

    def lost(self, slot: int, epoch: int, reason: str) -> None:
        raise AssertionError(reason)

    def compared(self, news: PagesCompared) -> None: ...

    def fenced(self, slot: int, promised: int) -> None: ...

    def recovered(self, slot: int, epoch: int) -> None:
        self.shell.activated(slot, epoch)

    async def serve(self, *slots: int) -> None:
        """Own these slots, with nothing above their pages."""
        for slot in slots:
            self.shell.claim(slot, 1, [("n1", "d1")], [("n1", "d1")])
        while not all(self.shell.serving(slot) for slot in slots):
            await asyncio.sleep(0.001)
        await self.shell.flushed()
        self.applied.clear()

    async def propose(self, slot: int, body: bytes = b"x", count: int = 1) -> None:
        """Append records, and wait until they are committed."""
        lsn = 0
        for _ in range(count):
            lsn = self.shell.propose(slot, record.TURN, 0, OBJECT, body)
        while self.shell.core.replicas[slot].commit < lsn:
            await asyncio.sleep(0.001)


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    made = World()
    await made.serve(0, 63)
    yield made
    await made.shell.close()


async def test_a_few_small_records_wait_for_their_time(world: World) -> None:
    await world.propose(SLOT)
    await world.shell.apply_ready(100.0)
    await world.shell.apply_ready(100.0 + 0.99 * limits.apply_after_s)
    assert world.applied == {}
    await world.shell.apply_ready(100.0 + 1.01 * limits.apply_after_s)
    assert world.applied == {SLOT: 1}


async def test_slots_do_not_all_have_the_same_time(world: World) -> None:
    """Seen to fail without the spread: after a burst of calls a node applied a thousand slots in one go."""
    await world.propose(0)
    await world.propose(63)
    await world.shell.apply_ready(100.0)
    await world.shell.apply_ready(100.0 + 1.01 * limits.apply_after_s)
    assert world.applied == {0: 1}
    await world.shell.apply_ready(100.0 + 2 * limits.apply_after_s)
    assert world.applied == {0: 1, 63: 1}


async def test_many_records_do_not_wait(world: World) -> None:
    await world.propose(SLOT, count=limits.apply_after_records - 1)
    await world.shell.apply_ready(100.0)
    assert world.applied == {}
    await world.propose(SLOT)
    await world.shell.apply_ready(100.0)
    assert world.applied == {SLOT: limits.apply_after_records}


async def test_large_records_do_not_stay_in_memory(world: World) -> None:
    """Seen to fail without the limit in bytes: 63 commits of 16 MiB would wait there."""
    await world.propose(SLOT, bytes(limits.apply_after_bytes // 2))
    await world.shell.apply_ready(100.0)
    assert world.applied == {}
    await world.propose(SLOT, bytes(limits.apply_after_bytes // 2))
    await world.shell.apply_ready(100.0)
    assert world.applied == {SLOT: 2}
    await world.shell.flushed()
    assert world.shell.core.replicas[SLOT].bytes == 0
