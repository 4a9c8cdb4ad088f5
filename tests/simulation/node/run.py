"""`make sim`: many seeds of simulated clusters of whole nodes, on all cores.

    run.py --seeds 100 [--from 0] [--jobs 2]     many runs, and what they came to
    run.py --seed 17 -v                          one run, told step by step

The exit code is 0 only if no run violated anything and the runs were hard enough.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from tests.simulation.node import seams
from tests.simulation.node.plan import FAULTS
from tests.simulation.node.world import World
from tests.simulation.parallel import add_all, described

CHUNK = 4
JUDGED_FROM = 60  # fewer seeds say nothing about shares
SHARE_MIN = 0.05
LEAST = {  # a run
    "acknowledged": 40.0, "takeovers": 5.0, "moves": 5.0, "messages": 20.0, "deletions": 0.5, "alarms": 2.0,
}  # fmt: skip
BESIDES = (
    "cut one way", "cut both ways", "message held up", "link timed out", "crash that lost writes", "ended by its disk",
    "etcd outcome unknown", "watch late", "remove",
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What some runs came to."""

    runs: int = 0
    acknowledged: int = 0
    reads: int = 0
    passes: int = 0
    repeated: int = 0
    unknown: int = 0
    refused: int = 0
    takeovers: int = 0
    moves: int = 0
    connections: int = 0
    messages: int = 0  # on sockets, either way
    deletions: int = 0
    alarms: int = 0
    simulated_s: float = 0.0
    slowest_s: float = 0.0  # from peace to order
    fired: Counter[str] = field(default_factory=Counter[str])
    with_fault: Counter[str] = field(default_factory=Counter[str])
    violations: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def add(self, other: Tally) -> None:
        """Take the runs of another in."""
        for name in (
            "runs", "acknowledged", "reads", "passes", "repeated", "unknown", "refused", "takeovers", "moves",
            "connections", "messages", "deletions", "alarms", "simulated_s",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.fired.update(other.fired)
        self.with_fault.update(other.with_fault)
        self.violations.extend(other.violations)


def run_seed(seed: int, tally: Tally) -> None:
    """One run; any error of the code under test is a violation."""
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        tally.violations.append((seed, described(error)))
    clients, connections = world.clients, world.connections
    tally.runs += 1
    tally.acknowledged += clients.acknowledged
    tally.reads += clients.reads
    tally.passes += clients.passes
    tally.repeated += clients.replayed
    tally.unknown += clients.unknown
    tally.refused += clients.refused
    tally.takeovers += world.takeovers
    tally.moves += world.moved
    tally.connections += connections.opened
    tally.messages += connections.handled + connections.told
    tally.deletions += clients.deletions
    tally.alarms += clients.alarms
    tally.simulated_s += world.now
    tally.slowest_s = max(tally.slowest_s, world.healed_s)
    tally.fired.update(world.fired)
    tally.with_fault.update(kind for kind, count in world.fired.items() if count)


def run_chunk(work: tuple[range, bool]) -> Tally:
    """Some seeds, in one process."""
    seeds, stop = work
    gc.disable()  # what a run leaves behind goes at its end,
    gc.freeze()  # and nobody looks then at all that was imported
    tally = Tally()
    for seed in seeds:
        run_seed(seed, tally)
        if stop and tally.violations:
            break
    return tally


def run_all(seeds: range, jobs: int, *, stop: bool) -> Tally:
    """All seeds on `jobs` processes."""
    chunks = [(seeds[i : i + CHUNK], stop) for i in range(0, len(seeds), CHUNK)]
    return add_all(Tally(), run_chunk, chunks, jobs, stop=stop)


def too_easy(tally: Tally) -> Iterator[str]:
    """Why these runs prove little, if they do."""
    if tally.runs < JUDGED_FROM:
        return
    for name, least in LEAST.items():
        share = getattr(tally, name) / tally.runs
        if share < least:
            yield f"only {share:.1f} {name} a run, {least:g} are wanted"
    for fault in (*FAULTS, *BESIDES):
        share = tally.with_fault[fault] / tally.runs
        if share < SHARE_MIN:
            yield f"'{fault}' in only {share:.0%} of the runs, {SHARE_MIN:.0%} are wanted"


def report(tally: Tally, seconds: float) -> int:
    """Say what happened; returns the exit code."""
    print(f"{tally.runs} seeds of whole nodes, {tally.simulated_s / 3600:.1f} simulated hours in {seconds:.0f} s")
    print(
        f"{tally.acknowledged} acknowledged calls that wrote, {tally.reads} reads, {tally.passes} that had others called, {tally.repeated} repeated by clients, "
        f"{tally.refused} refused, {tally.unknown} unknown; {tally.messages} messages on {tally.connections} sockets, "
        f"{tally.deletions} deletions, {tally.alarms} alarms; {tally.takeovers} takeovers, {tally.moves} moves; "
        f"after peace all was in order within {tally.slowest_s:.1f} s"
    )
    print("faults: " + ", ".join(f"{fault} {tally.fired[fault]}" for fault in (*FAULTS, *BESIDES)))
    easy = list(too_easy(tally))
    for reason in easy:
        print(f"too easy: {reason}")
    for seed, what in sorted(tally.violations)[:10]:
        print(f"seed {seed}: {what}")
        print(f"    replay: {sys.executable} tests/simulation/node/run.py --seed {seed} -v")
    print(f"{len(tally.violations)} violations in {tally.runs} seeds")
    return 1 if tally.violations or easy else 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Seeds of simulated clusters of whole nodes.")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell one run step by step")
    options = parser.parse_args()
    seams.install(verbose=options.verbose)
    if options.seed is not None:
        world = World(options.seed, print if options.verbose else None)
        print(world.plan)
        world.run()  # a violation comes with its traceback
        print(f"no violation; {world.clients.acknowledged} acknowledged, {world.activations} times ACTIVE")
        return 0
    seeds = range(options.first, options.first + options.seeds)
    began = time.perf_counter()
    tally = run_all(seeds, options.jobs, stop=options.stop)
    return report(tally, time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
