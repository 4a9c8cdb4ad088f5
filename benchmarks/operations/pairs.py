"""Two versions by turns: has the speed fallen?

    pairs.py BEFORE NOW [--pairs 30] [--seconds 2] [--starts 3] [--nodes 1,3]

BEFORE and NOW are checkouts, each after its own `make setup`. For each number of nodes `homing dev` of both is started
with the benchmarks' application of this checkout, and wrk calls now one, now the other with 64 connections, over 1,000
objects: a pair is two short runs, one right after the other, so that a machine that becomes slower or faster favours
neither; which is first changes with each pair. Both are started anew `--starts` times, for processes differ, too.
Kept when the 95 % bootstrap interval of the median ratio, NOW over BEFORE, lies above 0.95 in every row, over at least
9 pairs, and no call failed.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.load.programs import Figures, saturate, touch
from benchmarks.operations.cluster import APP, OBJECTS
from benchmarks.operations.promises import Bound, kept, median_interval, not_slower, verdict
from tests.chaos.cluster import DevCluster

METHODS = ("increment", "read")
AT_ONCE = 32


def homing_of(checkout: Path) -> Path:
    """The command of a checkout."""
    program = checkout.absolute() / ".venv" / "bin" / "homing"
    if not program.exists():
        sys.exit(f"{program} is missing: run `make setup` in {checkout}")
    return program


class Versions(NamedTuple):
    """A cluster of each, one beside the other."""

    before: DevCluster
    now: DevCluster

    def pair(self, method: str, seconds: int, *, before_first: bool) -> tuple[Figures, Figures]:
        """The figures of BEFORE and NOW."""
        order = self if before_first else self[::-1]
        first, second = (saturate(each, method, OBJECTS, "o", seconds) for each in order)
        return (first, second) if before_first else (second, first)


@contextmanager
def started(before: Path, now: Path, nodes: int) -> Generator[Versions]:
    """Both versions on so many nodes, with the objects made."""
    with DevCluster(APP, nodes, program=before) as old, DevCluster(APP, nodes, program=now) as new:
        for cluster in (old, new):
            uvloop.run(touch(cluster, OBJECTS, "o", AT_ONCE))
        yield Versions(old, new)


def compare(before: Path, now: Path, nodes: Sequence[int], pairs: int, seconds: int, starts: int) -> bool:
    """All pairs; true if the speed has not fallen."""
    rows: dict[str, list[float]] = {f"{method} on {count}": [] for count in nodes for method in METHODS}
    errors = 0
    for start, count in itertools.product(range(starts), nodes):
        with started(before, now, count) as versions:
            for pair, method in itertools.product(range(start, pairs, starts), METHODS):
                old, new = versions.pair(method, seconds, before_first=pair % 2 == 0)
                row = f"{method} on {count}"
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
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--nodes", default="1,3")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        parser.error("wrk is missing; `make setup` installs it")
    before, now = homing_of(options.before), homing_of(options.now)
    if before == now:
        parser.error("the two are the same checkout")
    counts = [int(number) for number in str(options.nodes).split(",")]
    return 0 if compare(before, now, counts, options.pairs, options.seconds, options.starts) else 1


if __name__ == "__main__":
    sys.exit(main())
