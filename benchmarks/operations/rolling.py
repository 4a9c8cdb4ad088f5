"""A rolling restart of all nodes under 64 clients without idempotency keys.

    rolling.py [--nodes 3] [--clients 64] [--runs 1]

Each node in turn gets SIGTERM, which is a drain, and is started again by `homing dev` a second after it ended; the next
one goes when the last has its share of the slots back. Kept when no call failed, every second had at least 500 answers,
and the p99 of all calls from the first SIGTERM to the last slot's return, held ones included, is at most 250 ms.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.cluster import APP, POLL_S, node_names, process_of, watched
from benchmarks.operations.promises import CLIENTS, kept, serving, verdict
from tests.chaos.cluster import DevCluster

STEP_S = 120.0


async def restart(cluster: DevCluster, name: str) -> str:
    """Restart one node in order; returns how long each part took.

    Raises:
        TimeoutError: it does not end, or does not get its slots back.
    """
    began = time.monotonic()
    process = await process_of(cluster, name)
    assert process.send(signal.SIGTERM), f"{name} is gone"
    await process.gone(STEP_S)
    ended = time.monotonic()
    await cluster.wait_settled(STEP_S, poll_s=POLL_S)
    up = time.monotonic()
    await cluster.wait_settled(STEP_S, balanced=True, poll_s=POLL_S)
    back = time.monotonic()
    return f"{name}: drained and gone in {ended - began:.1f} s, up {up - ended:.1f} s later, " + (
        f"slots back {back - up:.1f} s after that"
    )


async def measure(cluster: DevCluster, clients: int) -> bool:
    """One rolling restart; true if the promise was kept."""
    await cluster.wait_settled(STEP_S, balanced=True)
    async with watched(cluster.connect, clients) as found:
        for name in node_names(await cluster.view()):
            print(await restart(cluster, name), flush=True)
    seen, wrong = found.served(), found.callers.wrong()
    for line in [*found.callers.calls.failures[:5], *wrong[:5]]:
        print(line)
    bounds = serving(seen, found.failed, len(wrong))
    print(verdict("rolling restart", bounds, found.note(seen)), flush=True)
    return kept(bounds)


async def runs(cluster: DevCluster, clients: int, count: int) -> bool:
    """Several in a row on one cluster."""
    return all([await measure(cluster, clients) for _ in range(count)])


def main() -> int:
    """0 if the promise was kept in every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    with DevCluster(APP, options.nodes) as cluster:
        return 0 if uvloop.run(runs(cluster, options.clients, options.runs)) else 1


if __name__ == "__main__":
    sys.exit(main())
