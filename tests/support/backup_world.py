"""A node with one slot that serves backups: host, log shell and store are real; a test plays the worker and etcd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

from homing.errors import StoreFailed
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node.backups import Backups
from homing_node.log.core import LogCore
from homing_node.log.effects import Message, PagesCompared
from homing_node.log.memory_store import MemoryStore
from homing_node.log.shell import LogShell
from homing_node.objects.host import ObjectHost
from homing_node.objects.images import apply_batch
from homing_node.objects.ports import ReadImage
from homing_node.outside import Outside
from homing_node.workers.inside import pages
from host_world import Worker

MEMBERS = [("n1", "d1")]


class BackupWorld:
    """One node, one slot, one replica. Make it in a running event loop, and `await` its `start`."""

    def __init__(self, read_image: ReadImage | None = None) -> None:
        self.store = MemoryStore("d1", slots=1)
        self.core = LogCore("n1", "d1", "i1", {}, trusted=True, reader=self.store.records)
        self.log = LogShell(
            self.core, self.store, send=self._no_peer, apply=partial(apply_batch, source=self.store), metrics=self,
            on_fatal=self._fatal,
        )  # fmt: skip
        self.worker = Worker(1)
        self.host = ObjectHost(self.log, self.store, self, lambda slot: (0, ""), read_image=read_image)
        self.log.attach(self.host, self, self)
        self.owner = "n1"
        self.claims_wanted: list[int] = []
        self.outside = Outside(1, self.log, self.store, self.host)
        self.backups = Backups(
            "c", "n1", 1, log=self.log, outside=self.outside, raise_above=self.claim_above,
            owner_of=lambda slot: (0, self.owner),
        )  # fmt: skip
        self.replies: dict[int, wire.Reply] = {}
        self._calls = 0
        self._turns: dict[int, int] = {}

    async def start(self, epoch: int = 1) -> BackupWorld:
        self.log.claim(0, epoch, MEMBERS, MEMBERS)
        await self.until(lambda: 0 in self.host.gate.slots)
        return self

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)

    # -- what the log needs -----------------------------------------------------------------------------------

    def _no_peer(self, node: str, message: Message) -> None:
        raise AssertionError(f"nobody else is there: {node} {message}")

    def _fatal(self, error: StoreFailed) -> None:
        raise error

    def log_written(self, seconds: float, records: int) -> None: ...

    def recovered(self, slot: int, epoch: int) -> None:
        self.log.activated(slot, epoch)
        self.host.serve(slot, epoch, self.core.replica(slot).commit)

    def fenced(self, slot: int, promised: int, *, lacking: bool = False) -> None: ...

    def compared(self, news: PagesCompared) -> None: ...

    def claim_above(self, slot: int, above: int) -> None:
        """What placement does, a little later."""
        self.claims_wanted.append(above)
        asyncio.get_running_loop().call_later(0.02, lambda: self.log.claim(slot, above + 1, MEMBERS, MEMBERS))

    # -- what the host needs ----------------------------------------------------------------------------------

    def pick(self, object_id: bytes) -> Worker | None:
        return self.worker

    def classes(self) -> set[str]:
        return {"Counter"}

    # -- what a test does -------------------------------------------------------------------------------------

    def call(self, name: str, *, key: str = "") -> int:
        self._calls += 1
        message = wire.Call(
            id=self._calls, slot=0, epoch=self.core.serving(0), object=ObjectId.from_name("Counter", name).raw,
            class_name="Counter", name=name, kind=wire.CALL_KIND_RPC, method="m", body=b"{}", key=key,
            fingerprint=b"f" if key else b"",
        )  # fmt: skip
        self.host.call(message, lambda reply: self.replies.__setitem__(reply.id, reply))
        return self._calls

    async def answered(self, call: int) -> wire.Reply:
        await self.until(lambda: call in self.replies)
        return self.replies[call]

    async def write(
        self, name: str, value: int, *, count: int = 1, key: str = "", wake_ms: int | None = None
    ) -> wire.Reply:
        """A call whose handler fills the object's `count` pages with a value; returns when it is acknowledged."""
        before = len(self.worker.frames(3))
        call = self.call(name, key=key)
        await self.until(lambda: len(self.worker.frames(3)) > before or call in self.replies)
        if call in self.replies:
            return self.replies[call]
        event = self.worker.frames(3)[-1]
        self._turns[event[1]] = number = self._turns.get(event[1], 0) + 1
        commit = pages.encode(count, [(n, None, page(value)) for n in range(1, count + 1)])
        effects = [[event[2], 0, b"%d" % value, 1, 2]]
        self.host.on_frame(self.worker, [2, event[1], number, commit, event[2], effects, wake_ms])
        return await self.answered(call)

    def closed(self) -> None:
        """The worker says that every activation it was told to abort has ended."""
        for frame in self.worker.frames(5):
            self.host.on_frame(self.worker, [3, frame[1], True])

    async def read(self, name: str = "") -> list[wire.SlotPart]:
        """A backup of the slot, or of one object."""
        found: list[wire.SlotPart] = []

        async def write(part: wire.SlotPart) -> None:
            found.append(part)

        wanted = ObjectId.from_name("Counter", name).raw if name else b""
        await self.backups.read(wire.ReadSlotRequest(slot=0, object=wanted), write)
        return found

    async def restore(
        self, parts: Iterable[wire.SlotPart], *, above: int = 0, run: bytes = b"run", overwrite: bool = False
    ) -> wire.RestoreReply:
        return await self.backups.restore(self.stream(parts, above, run, overwrite))

    @staticmethod
    async def stream(
        parts: Iterable[wire.SlotPart], above: int, run: bytes, overwrite: bool
    ) -> AsyncIterator[wire.SlotPart]:
        yield wire.SlotPart(target=wire.RestoreTarget(slot=0, above=above, restore=run, overwrite=overwrite))
        for part in parts:
            if not part.HasField("head"):
                yield part


def page(value: int) -> bytes:
    return bytes([value]) * 1_024


def contents(parts: Iterable[wire.SlotPart]) -> dict[bytes, bytes]:
    """What parts hold: for each object its pages, one after the other."""
    found: dict[bytes, bytes] = {}
    for part in parts:
        for each in part.objects:
            found[each.object] = found.get(each.object, b"") + b"".join(each.pages)
    return found
