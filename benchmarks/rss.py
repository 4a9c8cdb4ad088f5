"""Memory per object: node and workers over many objects, while they are active and once they are evicted.

    rss.py [--objects 10000] [--nodes 1]

Before the first figure a few hundred objects are called many times and evicted, so that what does not grow with the
number of objects is there already: what is loaded once, the tables of slots, the store's write buffer. Then every
object is called once, memory is read while all are active, and again when the last is gone. What allocators keep for
themselves after that counts as the objects'.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from benchmarks.load.programs import touch
from benchmarks.scrape import scrape
from tests.chaos.cluster import DevCluster
from tests.chaos.processes import descendants, find

APP = ROOT / "benchmarks" / "app"
ACTIVE_KIB_MAX = 64.0
EVICTED_KIB_MAX = 2.0
IDLE_S = 30.0  # longer than calling them all takes
EVICTION_TIMEOUT_S = 90.0
SETTLE_S = 15.0
AT_ONCE = 64
WARM_UP_OBJECTS = 200
WARM_UP_CALLS = 50  # of each


@dataclass
class Memory:
    """Resident KiB of all nodes with everything below them, and how many objects were active."""

    rss_kib: float
    pss_kib: float
    active: float


async def read_memory(cluster: DevCluster) -> Memory:
    """Now."""
    view = await cluster.view()
    nodes = [process for node in view.nodes if (process := find(node.pid)) is not None]
    everything = {*nodes, *(below for node in nodes for below in descendants(node.pid))}
    active = (await scrape(cluster)).values["homing_activations"]
    return Memory(
        sum(process.rss_bytes() for process in everything) / 1024,
        sum(process.pss_bytes() for process in everything) / 1024,
        active,
    )


async def measure(cluster: DevCluster, objects: int) -> tuple[Memory, Memory, Memory]:
    """Before, while all are active, and after the last was evicted.

    Raises:
        TimeoutError: objects were still active long after they were idle.
    """
    for _ in range(WARM_UP_CALLS):
        await touch(cluster, WARM_UP_OBJECTS, "warm-", AT_ONCE)
    await _all_evicted(cluster)
    before = await read_memory(cluster)
    started = time.monotonic()
    figures = await touch(cluster, objects, "rss-", AT_ONCE)
    if figures.errors:
        raise ConnectionError(f"{figures.errors} of {objects} objects could not be called")
    active = await read_memory(cluster)
    print(f"{objects} objects called in {time.monotonic() - started:.1f} s, {active.active:.0f} active")
    await _all_evicted(cluster)
    return before, active, await read_memory(cluster)


async def _all_evicted(cluster: DevCluster) -> None:
    deadline = time.monotonic() + EVICTION_TIMEOUT_S
    while (active := (await scrape(cluster)).values["homing_activations"]) > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{active:.0f} objects are active {EVICTION_TIMEOUT_S:g} s after the last call")
        await asyncio.sleep(1.0)
    await asyncio.sleep(SETTLE_S)


def main() -> int:
    """Measure and compare with the limits; 0 if within them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1)
    options = parser.parse_args()
    objects: int = options.objects
    with DevCluster(APP, options.nodes, environment={"HOMING_IDLE_S": f"{IDLE_S:g}"}) as cluster:
        before, active, evicted = uvloop.run(measure(cluster, objects))
    within = active.active >= objects
    if not within:
        print(f"only {active.active:.0f} of {objects} objects were active when memory was read")
    for name, memory, limit in (("active", active, ACTIVE_KIB_MAX), ("evicted", evicted, EVICTED_KIB_MAX)):
        rss = (memory.rss_kib - before.rss_kib) / objects
        pss = (memory.pss_kib - before.pss_kib) / objects
        within = within and rss <= limit
        print(f"rss: {name:<8} {rss:7.2f} KiB an object (shared pages in parts: {pss:.2f}); limit {limit:g}")
    print(f"rss: {'within' if within else 'OVER'} the limits")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
