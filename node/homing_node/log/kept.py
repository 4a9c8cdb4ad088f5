"""Which records below a slot's pages the store still keeps, and when they may go. Pure."""

from __future__ import annotations

from collections import deque

from homing_node.log import limits


class Kept:
    """The records of one slot that only somebody who lags behind still needs.

    They go in runs, the oldest first, as soon as pages of a majority hold what they say and more than
    `limits.trim_keep_bytes` are there (rule 24).

    Args:
        base_lsn: pages hold everything up to here.
        trimmed: records up to here are gone.

    Attributes:
        trimmed: records up to here are gone.
        trim_to: pages of a majority hold everything up to here.
    """

    __slots__ = ("_bytes", "_runs", "trim_to", "trimmed")

    def __init__(self, base_lsn: int = 0, trimmed: int = 0) -> None:
        self.trim_to = 0
        self.trimmed = trimmed
        # The last lsn of each run, and its bytes. What a store came with was not read; it goes with what follows.
        self._runs = deque([(base_lsn, limits.trim_keep_bytes)] if base_lsn > trimmed else [])
        self._bytes = sum(size for _, size in self._runs)

    def add(self, lsn: int, size: int) -> None:
        """Pages hold another run of records, up to `lsn`."""
        self._runs.append((lsn, size))
        self._bytes += size

    def trim(self) -> bool:
        """Let go what may go; whether `trimmed` moved."""
        before = self.trimmed
        while self._runs and self._runs[0][0] <= self.trim_to and self._bytes > limits.trim_keep_bytes:
            self.trimmed, size = self._runs.popleft()
            self._bytes -= size
        return self.trimmed > before
