"""Whether one that is woken may push aside the one that runs: while messages are small it may, while they are full not.

Under SCHED_BATCH (sched(7)) a process that is woken waits, so a batch is finished before anybody looks at its first
frame: with five to nine processes on 2 cores 3 to 10 % more durable calls. But one that is woken on the processor of
somebody else's endless computation waits for the next tick of the clock: the 99th percentile of 1,000 echoes a second
was 6.5 ms, and is 3.5 without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Generator

from homing.pace import Passed

FULL_FRAMES_MIN = 2.0  # in a message, on average; echoes have 1, the calls of 64 busy clients 8 and more
LOOK_S = 0.5


def begin() -> None:
    """Run under SCHED_BATCH, as a process that starts does; call it before any thread or child is started."""
    if os.sched_getscheduler(0) == os.SCHED_OTHER:  # another was chosen by the user, and stays
        _set(0, os.SCHED_BATCH)


async def follow(passed: Passed) -> None:
    """Choose again and again, by how full the messages of this process are, until cancelled; silence is no reason."""
    while True:
        await asyncio.sleep(LOOK_S)
        frames = passed.take()
        if not frames:
            continue
        wanted = os.SCHED_BATCH if frames >= FULL_FRAMES_MIN else os.SCHED_OTHER
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
