"""Whether one that is woken may push aside the one that runs: while messages are small it may, while they are full not.

Under SCHED_BATCH (sched(7)) a process that is woken waits, so a batch is finished before anybody looks at its first
frame: with five to nine processes on 2 cores 3 to 10 % more durable calls. But one that is woken on the processor of
somebody else's endless computation waits for the next tick of the clock: the 99th percentile of 1,000 echoes a second
was 6.5 ms, and is 2 without it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

from homing.pace import Passed

FULL_FRAMES_MIN = 2.0  # in a message, on average; echoes have 1, the calls of 64 busy clients 8 and more
# Messages of 1,000 echoes a second are full, too, once each of them has waited for a tick.
FULL_PER_S_MIN = 1_500.0
LONE_S_MIN = 0.1  # so long nobody waits again: to change sets every thread


def begin() -> None:
    """Run under SCHED_BATCH, as a process that starts does; call it before any thread or child is started."""
    if os.sched_getscheduler(0) == os.SCHED_OTHER:  # another was chosen by the user, and stays
        _set(0, os.SCHED_BATCH)


def follow(passed: Passed) -> None:
    """Choose again whenever something was sent, by what was sent since the last time."""
    passed.look = _Choice().choose


class _Choice:
    """What is chosen now: to push aside is chosen at once, since the next message would wait; to wait is not."""

    __slots__ = ("_lone_s",)

    def __init__(self) -> None:
        self._lone_s = 0.0  # when messages were lone last

    def choose(self, frames: int, messages: int, since_s: float, now_s: float) -> None:
        """So much was sent between the two times; a silence before it counts, so what follows one is lone."""
        wanted = os.SCHED_BATCH
        if frames < FULL_FRAMES_MIN * messages or frames < FULL_PER_S_MIN * (now_s - since_s):
            self._lone_s, wanted = now_s, os.SCHED_OTHER
        elif now_s - self._lone_s < LONE_S_MIN:
            return
        if os.sched_getscheduler(0) in {os.SCHED_BATCH, os.SCHED_OTHER} - {wanted}:
            for thread in os.listdir("/proc/self/task"):
                _set(int(thread), wanted)


@contextlib.contextmanager
def batch() -> Generator[None]:
    """What is started within runs under SCHED_BATCH; this thread goes on as it did."""
    before = os.sched_getscheduler(0)
    if before == os.SCHED_OTHER:
        _set(0, os.SCHED_BATCH)
    try:
        yield
    finally:
        if before == os.SCHED_OTHER:
            _set(0, before)


def _set(thread: int, policy: int) -> None:
    with contextlib.suppress(OSError):  # forbidden in some containers; or the thread has ended
        os.sched_setscheduler(thread, policy, os.sched_param(0))
