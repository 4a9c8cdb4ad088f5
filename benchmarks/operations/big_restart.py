"""A node with 1 GiB of data and 100,000 objects is restarted: how long until it serves again?

    big_restart.py [--mib 1024] [--objects 100000] [--nodes 1] [--only kill,term] [--rest 25]

Every object gets an equal part of random bytes through the gateway. Then n1 is restarted twice: after SIGKILL, when the
store has to read its log files again, and after SIGTERM. On a cluster of one node (the default) it is ready when every
slot is ACTIVE and a call to an object is answered; with more nodes when it is registered again, and slots come back to
it later. Time counts from the start of the new process, which `homing dev` starts a second after the old one ended.
Kept when both are under 10 s.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.cluster import APP, fill, process_of, used_bytes
from benchmarks.operations.promises import READY_S_MAX, Bound, kept, verdict
from tests.chaos.cluster import DevCluster

NAME = "n1"
SETTLE_S = 60.0
READY_TIMEOUT_S = 300.0
LOOK_S = 0.1
ANSWER_TIMEOUT_S = 2.0
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM}


async def ready(cluster: DevCluster, old_pid: int) -> tuple[float, float]:
    """Wait for the node's successor; seconds from its start until it is ready, and from the call of this to then.

    Raises:
        TimeoutError: it is not ready after five minutes.
    """
    asked = time.monotonic()
    while time.monotonic() - asked < READY_TIMEOUT_S:
        try:
            view = await cluster.view(ANSWER_TIMEOUT_S)
            found = next((node for node in view.nodes if node.id == NAME), None)
            if found is not None and found.pid != old_pid and view.settled(cluster.nodes, cluster.slots):
                process = cluster.process(found.pid)
                if cluster.nodes > 1 or await _answers(cluster):
                    return process.age_s(), time.monotonic() - asked
        except (OSError, ProcessLookupError):
            pass  # it is down, or just gone
        await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"{NAME} is not ready after {READY_TIMEOUT_S:g} s: {cluster.log_tail(10)}")


async def _answers(cluster: DevCluster) -> bool:
    connection = cluster.connect()
    try:
        return (await connection.rpc("Counter", "after", "increment", timeout_s=ANSWER_TIMEOUT_S)).status == 200
    finally:
        connection.close()


async def restart(cluster: DevCluster, how: str) -> float:
    """Restart it one way; seconds from the start of the process until it is ready."""
    process = await process_of(cluster, NAME)
    began = time.monotonic()
    assert process.send(SIGNALS[how]), f"{NAME} is gone"
    await process.gone(READY_TIMEOUT_S)
    ended = time.monotonic() - began
    took, waited = await ready(cluster, process.pid)
    print(f"{how}: ended in {ended:.1f} s, ready {waited:.1f} s later, {took:.1f} s after its start", flush=True)
    return took


async def measure(cluster: DevCluster, total_bytes: int, objects: int, ways: list[str], rest_s: float) -> bool:
    """Fill, restart, judge."""
    await cluster.wait_settled(SETTLE_S)
    filled = await fill(cluster, objects, total_bytes)
    await asyncio.sleep(rest_s)  # by then pages hold what the log says, as on a node that has run for long
    used = used_bytes(cluster.data_dir / NAME)
    print(f"{objects} objects with {total_bytes >> 20} MiB: {filled}; {used >> 20} MiB on disk", flush=True)
    bounds = [Bound(f"ready after {how}", await restart(cluster, how), READY_S_MAX, "s") for how in ways]
    note = f"{objects:,} objects, {total_bytes >> 20:,} MiB, {used >> 20:,} MiB on disk, {filled}"
    print(verdict("restart with much data", bounds, note), flush=True)
    return kept(bounds)


def main() -> int:
    """0 if the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1_024)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--only", default="kill,term", help="ways to restart, in this order")
    parser.add_argument("--rest", type=float, default=25.0, help="seconds between the last write and the first restart")
    parser.add_argument("--data-dir", type=Path, help="keep the data here, to look at it afterwards")
    options = parser.parse_args()
    with DevCluster(APP, options.nodes, data_dir=options.data_dir) as cluster:
        kept_it = uvloop.run(
            measure(cluster, options.mib << 20, options.objects, str(options.only).split(","), options.rest)
        )
    return 0 if kept_it else 1


if __name__ == "__main__":
    sys.exit(main())
