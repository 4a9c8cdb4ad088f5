"""Receipts of what objects said on sockets, on their way to the node.

A node keeps what an object said until the gateway has it, and nobody waits for that receipt: it travels with what goes
to the node next. A message of its own for each would be a third of what an echo costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from homing.wire.v1 import call_pb2
from homing_placement.routing.limits import RECEIPT_BYTES_MAX, RECEIPT_S_MAX


class Receipts:
    """The receipts that one node has not got.

    Args:
        go: called when they shall not wait any longer.

    Attributes:
        due: whether they shall leave though nothing else does.

    Example:
        >>> receipts = Receipts(wake.set)
        >>> receipts.add(7, 12, 5)         # what was said on socket 7 up to number 12 is here: 5 bytes more
        >>> receipts.fill(batch)           # in the writer, with whatever else is ready
    """

    def __init__(self, go: Callable[[], object]) -> None:
        self._go = go
        self._seqs: dict[int, int] = {}  # handle to the number up to which everything said is here
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.due = False

    def add(self, handle: int, seq: int, size: int) -> None:
        """What was said on a socket up to a number is here; the last of it had `size` bytes."""
        self._seqs[handle] = seq
        self._bytes += size
        if self._bytes >= RECEIPT_BYTES_MAX:
            self._hurry()  # the node counts it as unread until then
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RECEIPT_S_MAX, self._hurry)

    def fill(self, batch: call_pb2.CallBatch) -> None:
        """Put all into a message."""
        if self._seqs:
            batch.had_handles.extend(self._seqs)
            batch.had_seqs.extend(self._seqs.values())
            self.clear()

    def clear(self) -> None:
        """Forget them: they are told, or there is nobody to tell."""
        self._seqs.clear()
        self._bytes, self.due = 0, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hurry(self) -> None:
        self.due = True
        self._go()
