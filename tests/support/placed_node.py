"""A node that has a placer and nothing else: its logs recover at once, and others probe it by a call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from homing.locations import Jurisdiction
from homing_placement.etcd import EtcdClient
from homing_placement.placer import Placer
from homing_placement.records import NodeRecord, SlotRecord


class PlacedNode:
    """One process of a node, in the test's own event loop.

    Args:
        etcd: URL.
        name: the node's id.
        living: the processes that answer probes, by node id; this one adds itself.
        settings: of the placer.
        zone: of the node.
        jurisdictions: that it is told of.
    """

    def __init__(
        self, etcd: str, name: str, living: dict[str, PlacedNode], *, slots: int = 64, zone: str = "",
        jurisdictions: Sequence[Jurisdiction] = (), **settings: int,
    ) -> None:  # fmt: skip
        self.living = living
        incarnation = f"{name}-{Random().randrange(1 << 30):x}"
        self.record = NodeRecord(id=name, address=f"{name}:1", disk=f"disk-{name}", incarnation=incarnation, zone=zone)
        self.client = EtcdClient([etcd], call_timeout_s=1)
        self.claimed: dict[int, int] = {}
        self.active: dict[int, int] = {}
        self.lost: list[tuple[int, SlotRecord]] = []
        self.recovers = True
        self._tasks: set[asyncio.Task[None]] = set()
        self.placer = Placer(
            self.client,
            cluster="test",
            node=self.record,
            slots=slots,
            replicas=settings.get("replicas", 3),
            initial_nodes=settings.get("initial_nodes", 3),
            probe=self.probe,
            on_claimed=self.on_claimed,
            on_lost=self.on_lost,
            jurisdictions=jurisdictions,
        )

    async def start(self) -> PlacedNode:
        """Begin to answer probes, and to claim."""
        self.living[self.record.id] = self
        await self.placer.start()
        return self

    async def stop(self) -> None:
        """Leave cleanly."""
        self.living.pop(self.record.id, None)
        await self.placer.stop()
        await self._end()

    async def kill(self) -> None:
        """End without a word: the record stays until its lease runs out."""
        if self.living.get(self.record.id) is self:
            del self.living[self.record.id]
        main = self.placer._main  # pyright: ignore[reportPrivateUsage] -- a kill asks nobody
        assert main is not None
        main.cancel()
        await asyncio.wait([main])
        await self._end()

    async def probe(self, node: NodeRecord) -> str | None:
        """Ask another process of the test."""
        other = self.living.get(node.id)
        return other.record.incarnation if other else None

    def on_claimed(self, slot: int, record: SlotRecord, mod_revision: int) -> None:
        assert record.owner == self.record.owner
        assert mod_revision > 0
        self.claimed[slot] = record.epoch
        self.active.pop(slot, None)
        if self.recovers:
            task = asyncio.create_task(self._recover(slot, record.epoch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def on_lost(self, slot: int, record: SlotRecord) -> None:
        assert record.owner != self.record.owner
        self.lost.append((slot, record))
        self.claimed.pop(slot, None)
        self.active.pop(slot, None)

    async def _recover(self, slot: int, epoch: int) -> None:
        if await self.placer.activated(slot, epoch):
            self.active[slot] = epoch

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.client.close()
