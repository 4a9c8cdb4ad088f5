"""Two versions by turns: has the speed fallen?

    pairs.py BEFORE NOW [--pairs 9] [--seconds 5] [--nodes 1,3]

BEFORE and NOW are checkouts, each after its own `make setup`. For each pair and number of nodes `homing dev` of one and
then of the other is started with the benchmarks' application of this checkout, and wrk calls it with 64 connections:
increments, then reads, over 1,000 objects. Which one is first changes with each pair, so that a machine that becomes
slower or faster favours neither. Kept when the 95 % bootstrap interval of the median ratio, NOW over BEFORE, lies above
0.95 in every row, over at least 9 pairs, and no call failed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.load.programs import Figures, saturate, touch
from benchmarks.operations.cluster import APP, OBJECTS
from benchmarks.operations.promises import PAIRS_MIN, Bound, kept, median_interval, not_slower, verdict
from tests.chaos.cluster import DevCluster

METHODS = ("increment", "read")
AT_ONCE = 32


def homing_of(checkout: Path) -> Path:
    """The command of a checkout."""
    program = checkout.absolute() / ".venv" / "bin" / "homing"
    if not program.exists():
        sys.exit(f"{program} is missing: run `make setup` in {checkout}")
    return program


def measure(program: Path, nodes: int, seconds: float) -> dict[str, Figures]:
    """A fresh cluster, and the figures of each method."""
    with DevCluster(APP, nodes, program=program) as cluster:
        uvloop.run(touch(cluster, OBJECTS, "o", AT_ONCE))
        return {f"{method} on {nodes}": saturate(cluster, method, OBJECTS, "o", seconds) for method in METHODS}


def compare(before: Path, now: Path, nodes: Sequence[int], pairs: int, seconds: float) -> bool:
    """All pairs; true if the speed has not fallen."""
    rows: dict[str, list[float]] = {f"{method} on {count}": [] for count in nodes for method in METHODS}
    errors = 0
    for pair in range(pairs):
        for count in nodes:
            order = (before, now) if pair % 2 == 0 else (now, before)
            found = {program: measure(program, count, seconds) for program in order}
            for row, new in found[now].items():
                old = found[before][row]
                errors += old.errors + new.errors
                rows[row].append(new.rate / old.rate)
                print(f"pair {pair + 1} {row}: {old.rate:,.0f} then {new.rate:,.0f}, {rows[row][-1]:.3f}", flush=True)
    for row, ratios in rows.items():
        print(f"{row}: median of {len(ratios)} ratios {median_interval(ratios)}")
    bounds = [*not_slower(rows), Bound("failed calls", errors, 0)]
    medians = ", ".join(f"{row} {median_interval(ratios)}" for row, ratios in rows.items())
    print(verdict("speed against the older version", bounds, f"medians {medians}"), flush=True)
    return kept(bounds)


def main() -> int:
    """0 if the speed has not fallen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("now", type=Path)
    parser.add_argument("--pairs", type=int, default=PAIRS_MIN)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--nodes", default="1,3")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        parser.error("wrk is missing; `make setup` installs it")
    before, now = homing_of(options.before), homing_of(options.now)
    if before == now:
        parser.error("the two are the same checkout")
    counts = [int(number) for number in str(options.nodes).split(",")]
    return 0 if compare(before, now, counts, options.pairs, options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
