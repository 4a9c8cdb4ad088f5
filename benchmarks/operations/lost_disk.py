"""A node's data directory is deleted under load: how long until every slot has three healthy copies again?

    lost_disk.py [--mib 1024] [--objects 8192] [--clients 64] [--patience 180]

The cluster is filled through the gateway with random bytes, which nothing can compress, and left alone until it has
merged its files. Then 64 clients call counters, n1 is killed with SIGKILL, its directory is removed before `homing dev`
starts it again, and it comes back with an empty disk. Kept when within 60 s of the kill every slot record names three
disks that are there, no replica is more than 64 records behind, and the new directory holds the bytes; and every second
till then had at least 500 answers.

A call that was in flight at the kill ends as unknown: that is the contract of a call without a key, not a part of this
promise. Such calls are counted and shown; counters with a lost or doubled call are not forgiven.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.cluster import (
    APP,
    POLL_S,
    Copies,
    fill,
    process_of,
    remove_aside,
    until_idle,
    used_bytes,
    watched,
)
from benchmarks.operations.promises import CLIENTS, COPIES_AGAIN_S_MAX, Bound, kept, serving, verdict
from tests.chaos.cluster import DevCluster

from homing.cli.status import read_lag

NODES = 3
LOST = "n1"
SETTLE_S = 60.0
LAG_RECORDS_MAX = 64  # under load a replica is always a few behind


class State(NamedTuple):
    """How far it is."""

    healthy_slots: int
    lag_records: int | None
    lost_bytes: int
    lost_is_up: bool

    def whole(self, slots: int, total_bytes: int) -> bool:
        """Whether every slot has its three copies again, with the data."""
        near = self.lag_records is not None and self.lag_records <= LAG_RECORDS_MAX
        return self.healthy_slots == slots and near and self.lost_is_up and self.lost_bytes >= total_bytes


async def look(cluster: DevCluster, copies: Copies) -> State:
    """Ask etcd for the copies, the nodes for their lag, and the file system for the bytes.

    Raises:
        OSError: the gateway does not answer.
    """
    healthy = sum(len(nodes) == NODES for nodes in (await copies.healthy()).values())
    view = await cluster.view()
    lags = await asyncio.gather(*(asyncio.to_thread(read_lag, node.metrics) for node in view.nodes))
    known = [lag for lag in lags if lag is not None]
    up = any(node.id == LOST and node.state == "up" for node in view.nodes)
    used = await asyncio.to_thread(used_bytes, cluster.data_dir / LOST)
    return State(healthy, max(known) if len(known) == NODES else None, used, up)


async def until_whole(cluster: DevCluster, copies: Copies, total_bytes: int, patience_s: float) -> tuple[State, bool]:
    """Look until every slot is whole again, or for so long."""
    deadline = time.monotonic() + patience_s
    state = State(0, None, 0, lost_is_up=False)
    shown_s = 0.0
    while time.monotonic() < deadline:
        try:
            state = await look(cluster, copies)
        except OSError as error:
            print(f"the cluster could not be looked at: {error!r}")
        if state.whole(cluster.slots, total_bytes):
            return state, True
        if time.monotonic() - shown_s > 10.0:
            shown_s = time.monotonic()
            print(f"{deadline - shown_s:.0f} s left: {state}", flush=True)
        await asyncio.sleep(POLL_S)
    return state, False


async def lose(cluster: DevCluster) -> None:
    """Kill the node and take its directory away before it is started again."""
    process = await process_of(cluster, LOST)
    assert process.send(signal.SIGKILL), f"{LOST} is gone"
    await process.gone(SETTLE_S)
    await asyncio.to_thread(remove_aside, cluster.data_dir / LOST)


async def measure(cluster: DevCluster, total_bytes: int, objects: int, clients: int, patience_s: float) -> bool:
    """Fill, lose, wait, judge."""
    await cluster.wait_settled(SETTLE_S, balanced=True)
    filled = await fill(cluster, objects, total_bytes, clients)
    print(f"{total_bytes >> 20} MiB in {objects} objects through the gateway: {filled}", flush=True)
    print(f"idle {await until_idle(cluster):.0f} s later", flush=True)
    copies = Copies(await process_of(cluster, LOST))
    try:
        async with watched(cluster.connect, clients) as found:
            await lose(cluster)
            state, whole = await until_whole(cluster, copies, total_bytes, patience_s)
    finally:
        await copies.close()
    seen, wrong = found.served(), found.callers.wrong()
    unknown = sum("outcome-unknown" in why for why in found.callers.calls.failures)
    print("\n".join([*found.callers.calls.failures[:5], *wrong[:5], str(state)]))
    bounds = [
        Bound("three copies again", seen.seconds if whole else float("inf"), COPIES_AGAIN_S_MAX, "s"),
        *serving(seen, found.failed - unknown, len(wrong), p99_ms_max=None),
    ]
    note = f"{unknown} calls in flight ended as unknown, {filled}, {found.note(seen)}"
    print(verdict("a lost disk", bounds, note), flush=True)
    return kept(bounds)


def main() -> int:
    """0 if the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1_024)
    parser.add_argument("--objects", type=int, default=8_192)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--patience", type=float, default=180.0, help="seconds until it is given up")
    options = parser.parse_args()
    with DevCluster(APP, NODES) as cluster:
        kept_it = uvloop.run(measure(cluster, options.mib << 20, options.objects, options.clients, options.patience))
    return 0 if kept_it else 1


if __name__ == "__main__":
    sys.exit(main())
