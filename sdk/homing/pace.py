"""Gathering of the frames of a busy stream or disk, so that more travels in each batch.

A gRPC message costs about 50 µs of CPU on each side, and a batch to the disk as much, whatever it holds; a frame in it
costs a few. A writer is busy while many frames a second pass. Its frames leave when `enough` are ready, `gather_s`
after the first of them, or when the writer's owner knows that to wait is of no use (`hurry`). A writer that is not busy
never holds a frame up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

ENOUGH_FRAMES = 12
BUSY_PER_S_MIN = 750.0  # a caller that waits for each answer stays below
WINDOW_S = 0.01  # over which they are counted


class Passed:
    """What the writers of a process have sent.

    Attributes:
        look: is told, every `WINDOW_S` seconds in which something is sent, how many frames and messages that was,
            since when and until when (seconds, of the loop's clock).
    """

    __slots__ = ("_frames", "_messages", "_since_s", "look")

    def __init__(self) -> None:
        self._frames = self._messages = 0
        self._since_s = 0.0
        self.look: Callable[[int, int, float, float], None] = _nobody

    def sent(self, frames: int, now_s: float) -> None:
        """A message with so many frames."""
        self._frames += frames
        self._messages += 1
        if now_s - self._since_s >= WINDOW_S:
            self.look(self._frames, self._messages, self._since_s, now_s)
            self._frames = self._messages = 0
            self._since_s = now_s


def _nobody(frames: int, messages: int, since_s: float, now_s: float) -> None:
    """Nobody looks."""


passed = Passed()


class Pace:
    """The pace of one writer.

    Args:
        go: called when frames are ready and may leave; the writer answers with `sent`, as soon as it can.
        gather_s: for so many seconds a busy writer waits for more.
        enough: so many frames leave at once.

    Example:
        >>> pace = Pace(wake.set, gather_s=0.002)
        >>> pace.ready()                 # a frame was queued
        >>> pace.sent()                  # in the writer, which `wake` woke
    """

    __slots__ = ("_busy", "_due", "_enough", "_gather_s", "_go", "_held", "_loop", "_ready", "_since_s", "_through")

    def __init__(self, go: Callable[[], object], gather_s: float, enough: int = ENOUGH_FRAMES) -> None:
        self._go = go
        self._gather_s = gather_s
        self._enough = enough
        self._ready = 0  # frames that are queued
        self._due = False  # they may leave, and the writer knows
        self._held: asyncio.TimerHandle | None = None  # what lets them go
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._since_s = self._loop.time()
        self._through = 0  # frames that left since then

    def ready(self, frames: int = 1) -> None:
        """So many more frames are queued."""
        self._ready += frames
        if self._due or self._ready >= self._enough:
            self.hurry()
        elif self._held is None:
            self._look(self._loop.time())
            if self._busy:
                self._held = self._loop.call_later(self._gather_s, self.hurry)
            else:
                self.hurry()

    def hurry(self) -> None:
        """What is queued shall leave now."""
        self._release()
        if self._ready:
            self._due = True
            self._go()

    def sent(self) -> None:
        """All that was queued leaves now."""
        self._release()
        self._due = False
        now_s = self._loop.time()
        if self._look(now_s):
            self._since_s, self._through = now_s, 0
        self._through += self._ready
        passed.sent(self._ready, now_s)
        self._ready = 0

    def _look(self, now_s: float) -> bool:
        """See how busy the writer is; False while the present window is too short to tell."""
        passed_s = now_s - self._since_s
        if passed_s < WINDOW_S:
            return False
        self._busy = self._through >= BUSY_PER_S_MIN * passed_s
        return True

    def _release(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None
