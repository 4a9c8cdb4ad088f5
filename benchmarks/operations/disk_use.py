"""What a node takes of its disk after many small updates to 1,000 objects.

    disk_use.py [--gateway 20000] [--driver 2000000] [--of 10000000]     a sample, and where it leads
    disk_use.py --gateway 1000000 --driver 9000000                      the promise itself, as a soak

The first updates go through the gateway of a cluster of one node, the rest through the log's own driver: the same core,
shell and store without HTTP and workers. Live data is the sum of all objects' pages; disk use is the node's directory,
as `du` counts it. Kept when disk use is at most 2.5 times live data plus 1 GiB: as measured, and after `--of` updates
by a straight line through the second half of the sample.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.load.programs import saturate, touch
from benchmarks.operations.cluster import APP, process_of, used_bytes
from benchmarks.operations.log_driver import LogDriver
from benchmarks.operations.promises import Bound, disk_bound, extrapolated, kept, verdict
from tests.chaos.cluster import DevCluster

from homing_node.objects.images import PAGE_BYTES

NAME = "n1"
CLASS = "Counter"
OBJECTS = 1_000
AT_ONCE = 32
PIECE_S = 10.0
STEPS = 10


class Used(NamedTuple):
    """What was measured, in bytes."""

    live: int
    half: int
    most: int
    end: int


def through_gateway(folder: Path, updates: int) -> tuple[int, str, int]:
    """Update through a cluster that is stopped afterwards; how many there were, the cluster's name, and its slots."""
    done = 0
    with DevCluster(APP, 1, data_dir=folder) as cluster:
        name = uvloop.run(process_of(cluster, NAME)).environment()["HOMING_CLUSTER"]
        uvloop.run(touch(cluster, OBJECTS, "o", AT_ONCE))
        done += OBJECTS
        began = time.monotonic()
        while done < updates:
            figures = saturate(cluster, "increment", OBJECTS, "o", min(PIECE_S, math.ceil((updates - done) / 3_000)))
            if figures.errors or not figures.calls:
                raise ConnectionError(f"{figures.errors} of {figures.calls} calls failed")
            done += figures.calls
        took = time.monotonic() - began
        used = used_bytes(folder / NAME)
        print(f"gateway: {done:,} updates, {done / took:,.0f}/s; {used / 2**20:.1f} MiB on disk", flush=True)
    return done, name, cluster.slots


async def through_driver(folder: Path, cluster: str, slots: int, updates: int) -> Used:
    """Update through the log's driver, and look at the disk after each tenth."""
    driver = LogDriver(folder / NAME, cluster=cluster, node=NAME, slots=slots)
    await driver.own()
    subjects = driver.subjects(CLASS)
    seen = [used_bytes(folder / NAME)]
    began = time.monotonic()
    for step in range(STEPS):
        await driver.update(subjects, updates // STEPS, step * (updates // STEPS) + 1)
        seen.append(used_bytes(folder / NAME))
        done = (step + 1) * (updates // STEPS)
        rate = done / (time.monotonic() - began)
        print(f"driver: {done:,} updates, {rate:,.0f}/s; {seen[-1] / 2**20:.1f} MiB on disk", flush=True)
    live = sum(count for _, count in driver.objects(CLASS)) * PAGE_BYTES
    await driver.close()
    return Used(live, seen[STEPS // 2], max(seen), seen[-1])


def main() -> int:
    """0 if the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=int, default=20_000, help="updates through the gateway")
    parser.add_argument("--driver", type=int, default=2_000_000, help="updates through the log's own driver after them")
    parser.add_argument("--of", type=int, default=10_000_000, help="updates that the promise is about")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="homing-disk-use-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        done, cluster, slots = through_gateway(folder / "data", options.gateway)
        used = uvloop.run(through_driver(folder / "data", cluster, slots, options.driver))
    later = extrapolated(used.half, used.end, options.driver, options.of - done)
    limit = disk_bound(used.live) / 2**20
    bounds = [
        Bound("most that was used", used.most / 2**20, limit, "MiB"),
        Bound(f"after {options.of:,} updates", later / 2**20, limit, "MiB"),
    ]
    note = f"{done + options.driver:,} updates made, live data {used.live / 2**20:.1f} MiB"
    print(verdict("disk use", bounds, note), flush=True)
    return 0 if kept(bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
