"""Spacing of the batches of a busy stream or disk, so that more travels in each.

A gRPC message costs about 50 µs of CPU on each side, and a batch to the disk as much, whatever it holds; a frame in it
costs a few. A writer is busy when its last batch held several frames, or when many a second pass: its next batch leaves
`gap_s` after that one, or when `enough` frames are ready. A writer that is not busy never holds a frame up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

GAP_S = 0.004
ENOUGH_FRAMES = 16
BUSY_FRAMES = 3  # in a gap, on average; a caller that waits for each answer has fewer


class Pace:
    """The pace of one writer.

    Args:
        go: called when frames are ready and may leave; the writer answers with `sent`, soon.
        gap_s: seconds between two batches while it is busy.
        enough: so many frames leave at once.

    Example:
        >>> pace = Pace(wake.set)
        >>> pace.ready()                 # a frame was queued
        >>> pace.sent()                  # in the writer, which `wake` woke
    """

    __slots__ = ("_busy", "_enough", "_gap_s", "_go", "_held", "_loop", "_ready", "_since_s", "_through")

    def __init__(self, go: Callable[[], object], gap_s: float = GAP_S, enough: int = ENOUGH_FRAMES) -> None:
        self._go = go
        self._gap_s = gap_s
        self._enough = enough
        self._ready = 0  # frames that are queued
        self._held: asyncio.TimerHandle | None = None  # what lets the next batch go
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._since_s = self._loop.time()
        self._through = 0  # frames that left since then

    def ready(self, frames: int = 1) -> None:
        """So many more frames are queued."""
        self._ready += frames
        if self._held is None:
            self._go()
        elif self._ready >= self._enough:
            self.hurry()

    def hurry(self) -> None:
        """What is queued shall leave now."""
        if self._held is not None:
            self._held.cancel()
            self._held = None
        self._go()

    def sent(self) -> None:
        """All that was queued leaves now."""
        frames, self._ready = self._ready, 0
        now_s = self._loop.time()
        passed_s = now_s - self._since_s
        if passed_s >= self._gap_s:
            self._busy = self._through * self._gap_s >= BUSY_FRAMES * passed_s
            self._since_s, self._through = now_s, 0
        self._through += frames
        if (self._busy or frames > 1) and self._held is None:
            self._held = self._loop.call_later(self._gap_s, self._open)

    def _open(self) -> None:
        self._held = None
        if self._ready:
            self._go()
