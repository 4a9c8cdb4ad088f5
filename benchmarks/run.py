"""`make bench`: what a cluster on this machine carries, with the load on the same cores.

    run.py [--nodes 1,3] [--rounds 3] [--seconds 6] [--only W1,W8] [--json FILE] [--compare PROGRAM]

Each figure is the median over the rounds. The rows, as in comparisons with others:

W1 durable increments over 1,000 objects, 64 connections     W2 the same on one object
W3 reads over 1,000 objects, 64 connections                  W6 first call to a new object, one at a time
W8 200 increments/s, open loop: latency from the due time    empty: a route that does nothing
memory: resident KiB per object, active and evicted          stages: do they add up

The exit code is 1 when a call failed in any round, when memory is over its limit or the stages do not add up.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from benchmarks import rss, stages
from benchmarks.load.programs import Figures, paced, saturate, saturate_empty, touch
from benchmarks.scrape import scrape, stage_table
from tests.chaos.cluster import DevCluster

APP = ROOT / "benchmarks" / "app"
OBJECTS = 1_000
NEW_OBJECTS = 300
PACED_PER_SECOND = 200.0
PACED_OBJECTS = 100
WARM_UP_AT_ONCE = 32
ROWS = ("empty", "W1", "W2", "W3", "W6", "W8")
EXTRAS = ("stages", "memory")
STAGE_CALLS = 3_000
MEMORY_OBJECTS = 10_000


def loads(cluster: DevCluster, seconds: float) -> dict[str, Callable[[], Figures]]:
    """Each row's load, ready to be run once a round."""
    return {
        "empty": lambda: saturate_empty(cluster, seconds),
        "W1": lambda: saturate(cluster, "increment", OBJECTS, "o", seconds),
        "W2": lambda: saturate(cluster, "increment", 1, "one", seconds),
        "W3": lambda: saturate(cluster, "read", OBJECTS, "o", seconds),
        "W6": lambda: uvloop.run(touch(cluster, NEW_OBJECTS, f"new-{time.monotonic_ns()}-", 1)),
        "W8": lambda: uvloop.run(paced(cluster, PACED_PER_SECOND, PACED_OBJECTS, "o", seconds)),
    }


def median(rounds: list[Figures]) -> Figures:
    """The median of each figure by itself; errors and calls are added up."""
    return Figures(
        rate=statistics.median(figures.rate for figures in rounds),
        p50_ms=statistics.median(figures.p50_ms for figures in rounds),
        p99_ms=statistics.median(figures.p99_ms for figures in rounds),
        calls=sum(figures.calls for figures in rounds),
        errors=sum(figures.errors for figures in rounds),
    )


def bench(nodes: int, rows: list[str], rounds: int, seconds: float) -> dict[str, Figures]:
    """One cluster, every row; the stages of the paced row are shown after it."""
    table: dict[str, Figures] = {}
    with DevCluster(APP, nodes) as cluster:
        uvloop.run(touch(cluster, OBJECTS, "o", WARM_UP_AT_ONCE))
        programs = loads(cluster, seconds)
        print(f"\n{nodes} node{'s' if nodes > 1 else ''}      calls/s     p50 ms     p99 ms  errors", flush=True)
        for row in rows:
            before = uvloop.run(scrape(cluster))
            table[row] = figures = median([programs[row]() for _ in range(rounds)])
            shown = f"{figures.rate:12,.0f} {figures.p50_ms:10.2f} {figures.p99_ms:10.2f} {figures.errors:7}"
            print(f"{row:<8} {shown}", flush=True)
            if row == "W8":
                print("\n".join(f"    {line}" for line in stage_table(uvloop.run(scrape(cluster)).since(before))))
    return table


def extra(program: Path, nodes: int) -> bool:
    """Run one of our other programs; true if it was content."""
    print(f"\n{program.name} --nodes {nodes}", flush=True)
    return subprocess.run([sys.executable, program, "--nodes", str(nodes)], check=False, cwd=ROOT).returncode == 0


def compare(program: Path, nodes: int, rounds: int, seconds: float) -> bool:
    """Run a program that sets homing beside something else."""
    print(f"\n{program} --nodes {nodes}", flush=True)
    command = [sys.executable, program, "--nodes", str(nodes), "--rounds", str(rounds), "--seconds", f"{seconds:g}"]
    return subprocess.run(command, check=False, cwd=ROOT).returncode == 0


def main() -> int:
    """Measure all that was asked for; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--only", default=",".join((*ROWS, *EXTRAS)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compare", type=Path)
    options = parser.parse_args()
    wanted: list[str] = options.only.split(",")
    unknown = set(wanted) - {*ROWS, *EXTRAS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    if not shutil.which("wrk"):
        parser.error("wrk is missing; `make setup` installs it")
    rows = [row for row in ROWS if row in wanted]
    counts = [int(number) for number in str(options.nodes).split(",")]
    well = True
    tables: dict[str, dict[str, Figures]] = {}
    for nodes in counts:
        if rows:
            tables[str(nodes)] = table = bench(nodes, rows, options.rounds, options.seconds)
            well = well and not any(figures.errors for figures in table.values())
        if "stages" in wanted:
            well = extra(Path(stages.__file__), nodes) and well
    if "memory" in wanted:
        well = extra(Path(rss.__file__), counts[0]) and well
    if options.compare:
        for nodes in counts:
            well = compare(options.compare, nodes, options.rounds, options.seconds) and well
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(tables)))
    print(f"bench: {'no errors in any round' if well else 'something FAILED, see above'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
