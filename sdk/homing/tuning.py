"""Settings of processes that serve: fewer threads in gRPC, fewer pauses of the collector, memory that is given back."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

from homing import scheduling
from homing.pace import passed

# grpcio 1.85 hands each event of a socket from a pool of threads to the thread that asyncio waits for. Without these
# two that thread polls the sockets itself: a lone message there and back takes 136 µs, not 250, and 4 switches of
# threads, not 7 (medians on 2 cores).
GRPC_WITHOUT = "-event_engine_client,-event_engine_listener"

GC_ALLOCATIONS_MIN = 50_000  # the default, 700, costs 6 % of a gateway under load; what serves makes few cycles
THREAD_SWITCH_S = 0.0005  # a thread that is back from the disk waits for the interpreter at most so long

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
HEAP_END_BYTES_MAX = 512 << 10
OWN_MAPPING_BYTES_MIN = 512 << 10  # blocks of RocksDB's memtables are so large


def allocator_trim() -> Callable[[], None]:
    """What makes the C library give freed memory back; without it a process keeps the size of its busiest moment."""
    try:
        import ctypes  # noqa: PLC0415 - a worker's runtime may leave it out

        trim = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError):
        return lambda: None
    return lambda: trim(0)


def bound_heap() -> None:
    """Have the C library give freed memory back to the system; call it at start.

    Left to itself it raises its thresholds with the largest block that was freed, and the heap of every thread that
    ever ran keeps twice that at its end: a node kept 6 MiB.
    """
    try:
        import ctypes  # noqa: PLC0415 - as above

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):  # another C library
        return
    mallopt(_M_TRIM_THRESHOLD, HEAP_END_BYTES_MAX)
    mallopt(_M_MMAP_THRESHOLD, OWN_MAPPING_BYTES_MIN)


def drop_caches() -> None:
    """Empty what the interpreter keeps of objects that are gone: free lists, and names in the cache of methods.

    A few hundred of them lie scattered over the memory that ended activations used, and hold it: one is enough for
    1 MiB. A name gets into the cache whenever an extension asks for an attribute by a string that it makes anew. Costs
    0.2 us for each activation that lives in a node, 0.8 us in a worker.
    """
    clear = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if clear is not None:
        clear()
    gc.collect()


def tune_process() -> None:
    """Call first: before grpc is imported and before any thread or child is started, for they inherit it.

    What the user has set in GRPC_EXPERIMENTS stays.
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_WITHOUT)
    scheduling.begin()


def tune() -> None:
    """Call once, when everything that stays has been made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS_MIN, 20, 50)
    sys.setswitchinterval(THREAD_SWITCH_S)
    scheduling.follow(passed)
