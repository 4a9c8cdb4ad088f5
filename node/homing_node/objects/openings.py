"""Objects that are about to have an activation: what there is of them is read, and their calls wait."""

from __future__ import annotations

from collections.abc import Callable

from homing.errors import StoreFailed
from homing.wire.v1 import call_pb2 as wire
from homing_node.log import record
from homing_node.log.store import Store
from homing_node.objects.activation import PendingCall, take_out
from homing_node.objects.gate import ServedSlot
from homing_node.objects.images import Image, image
from homing_node.objects.ports import LogPort, ReadImage


class Openings:
    """Reads objects, each once for all calls that wait for it.

    Args:
        log: has the records that pages do not hold yet.
        store: has pages and meta values.
        read_image: runs a read that may take long.
        opened: called with what was found, or what is wrong with it, and the calls that wait, the first one first.
        queue: lets a call wait, or refuses it.

    Attributes:
        calls: those that wait, by object. Invariant: none is empty.
    """

    def __init__(
        self,
        log: LogPort,
        store: Store,
        read_image: ReadImage,
        opened: Callable[[ServedSlot, list[PendingCall], Image | ValueError], None],
        queue: Callable[[list[PendingCall], PendingCall], None],
    ) -> None:
        self._log, self._store, self._read_image = log, store, read_image
        self._opened, self._queue = opened, queue
        self.calls: dict[bytes, list[PendingCall]] = {}

    def join(self, call: PendingCall) -> bool:
        """Let a call wait for an object that is being read already; False: it is not."""
        waiting = self.calls.get(call.m.object)
        if waiting is not None:
            self._queue(waiting, call)
        return waiting is not None

    def take_out(self, m: wire.Call) -> PendingCall | None:
        """Remove a call that waits, and with the last one the question; None: it is not here."""
        waiting = self.calls.get(m.object, [])
        call = take_out(waiting, m)
        if call is not None and not waiting:
            del self.calls[m.object]
        return call

    def read(self, served: ServedSlot, call: PendingCall) -> None:
        """Read an object for its first call."""
        object_id = call.m.object
        mine = [data for data in self._log.records_above_pages(served.slot) if record.object_of(data) == object_id]
        try:
            stored = self._store.object(object_id)
        except StoreFailed as error:
            self._opened(served, [call], ValueError(str(error)))
            return
        if stored is None and not mine:
            self._opened(served, [call], Image(exists=False, page_count=0, pages=b"", keys={}))
            return
        waiting = self.calls[object_id] = [call]

        def done(found: Image | ValueError) -> None:
            if self.calls.get(object_id) is waiting:  # else nobody waits any more
                del self.calls[object_id]
                self._opened(served, waiting, found)

        self._read_image(lambda: image(object_id, mine, self._store, self._store.pages(object_id)), done)

    def any_in(self, slot: int) -> bool:
        """Whether an object of the slot is being read."""
        return any(waiting[0].m.slot == slot for waiting in self.calls.values())

    def waiting(self) -> int:
        """How many calls wait."""
        return sum(map(len, self.calls.values()))
