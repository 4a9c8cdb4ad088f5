"""Group commit: everything that is ready goes to the disk in one batch, while the next gathers (rule 6)."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from homing.errors import StoreFailed
from homing.pace import Pace
from homing_node.log import limits
from homing_node.log.store import Op, Store


@dataclass(slots=True)
class Batch:
    """Writes of all slots that go together, and what to do when they are on disk."""

    ops: list[Op] = field(default_factory=list[Op])
    marks: dict[int, int] = field(default_factory=dict[int, int])
    then: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    began_s: float = 0.0
    handed_over: bool = False  # to the operating system; what is left is to bring it to disk


class Writer:
    """Writes batches, one at a time; a thread of its own waits for the disk.

    A short batch is handed to the store in the event loop: for that the thread would need the interpreter's lock, and
    two threads that want it cost more than the work itself. A long one is handed over by the thread.

    Args:
        store: where they go.
        on_written: called in the loop with the batch and the seconds it took, when it is on disk.
        on_failed: called in the loop when the store refused; the process must end (rule 7).
    """

    def __init__(
        self, store: Store, on_written: Callable[[Batch, float], None], on_failed: Callable[[StoreFailed], None]
    ) -> None:
        self._store = store
        self._on_written, self._on_failed = on_written, on_failed
        self._loop = asyncio.get_running_loop()
        self._next = Batch()
        self._busy = False  # a batch is on its way
        self._closed = False
        self._pace = Pace(self._send, limits.batch_gather_s, limits.batch_slots_enough)
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="homing-writer", daemon=True)
        self._thread.start()

    def add(self, ops: Sequence[Op], marks: dict[int, int], then: Callable[[], None] | None = None) -> None:
        """Add writes to the next batch; `then` runs in the loop when they are on disk."""
        batch = self._next
        batch.ops.extend(ops)
        batch.marks.update(marks)
        if then is not None:
            batch.then.append(then)
        self._pace.ready(max(1, len(marks)))

    def _send(self) -> None:
        if self._busy or self._closed or not (self._next.ops or self._next.then):
            return
        self._busy = True
        batch, self._next = self._next, Batch()
        self._pace.sent()
        batch.began_s = time.monotonic()
        if len(batch.ops) <= limits.short_batch_ops_max:
            try:
                batch.handed_over = self._store.write_unsynced(batch.ops, wait=False)
            except StoreFailed as error:
                self._on_failed(error)
                return
        self._queue.put(batch)

    def _done(self, batch: Batch) -> None:
        self._busy = False
        seconds = time.monotonic() - batch.began_s
        self._pace.ready(0)
        self._on_written(batch, seconds)
        for then in batch.then:
            then()

    def _run(self) -> None:
        store = self._store
        while (batch := self._queue.get()) is not None:
            try:
                if batch.handed_over:
                    store.sync()
                else:
                    store.write(batch.ops)
            except StoreFailed as error:
                self._loop.call_soon_threadsafe(self._on_failed, error)
                return
            self._loop.call_soon_threadsafe(self._done, batch)
            store.settle()
            del batch  # while nothing comes, the last one must not stay in memory

    async def close(self) -> None:
        """Write what is there, then end the thread."""
        while (self._busy or self._next.ops or self._next.then) and self._thread.is_alive():
            await asyncio.sleep(0.005)
        self._closed = True
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 10)
