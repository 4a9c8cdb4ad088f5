"""Settings of processes that serve: who runs when, fewer threads in gRPC, fewer pauses of the collector."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

# grpcio 1.85 hands each event of a socket from a pool of threads to the thread that asyncio waits for. Without these
# two that thread polls the sockets itself: a lone message there and back takes 136 µs, not 250, and 4 switches of
# threads, not 7 (medians on 2 cores).
GRPC_WITHOUT = "-event_engine_client,-event_engine_listener"

GC_ALLOCATIONS_MIN = 50_000  # the default, 700, costs 6 % of a gateway under load; what serves makes few cycles
THREAD_SWITCH_S = 0.0005  # a thread that is back from the disk waits for the interpreter at most so long


def tune_process() -> None:
    """Call first: before grpc is imported and before any thread or child is started, for they inherit it.

    SCHED_BATCH (sched(7)): a process that is woken does not push aside the one that woke it, so a batch is finished
    before anybody looks at its first frame. With five processes on 2 cores: 22 % more durable calls. What the user has
    set in GRPC_EXPERIMENTS stays.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_WITHOUT)
    with contextlib.suppress(OSError):  # forbidden in some containers
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def tune() -> None:
    """Call once, when everything that stays has been made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS_MIN, 20, 50)
    sys.setswitchinterval(THREAD_SWITCH_S)
