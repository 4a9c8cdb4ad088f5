"""`make sim`: many seeds of the simulated log cluster, then some of clusters of whole nodes, on all cores.

    run.py --seeds 2000 [--from 0] [--jobs 2]     many runs, and what they came to; then a 20th as many of whole nodes
    run.py --seeds 2000 --nodes 0                 only the log
    run.py --seed 17 -v                           one run, told step by step
    run.py --replicas 1|3|5                       only clusters with this many copies

The exit code is 0 only if no run violated anything and the runs were hard enough.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from tests.simulation.parallel import add_all, described
from tests.simulation.world import World

CHUNK = 25
NODES_SHARE = 20  # a run of whole nodes costs as much as so many of the log
JUDGED_FROM = 200  # fewer seeds say nothing about shares
SHARE_MIN = 0.10
ANSWERS_MIN = 5.0
TAKEOVERS_MIN = 2.0
FAULTS = (
    "message lost", "message twice", "message overtaken", "cut", "link broke", "crash", "crash that lost writes",
    "owner restarted", "claimant died midway", "pause", "takeovers at once", "slow disk", "disk wiped", "disk damaged",
    "other replicas", "etcd outcome unknown", "etcd restored", "watch late", "snapshot", "pages compared",
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What some runs came to."""

    runs: int = 0
    answers: int = 0
    reads: int = 0
    takeovers: int = 0
    simulated_s: float = 0.0
    with_fault: Counter[str] = field(default_factory=Counter[str])
    violations: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def add(self, other: Tally) -> None:
        """Take the runs of another in."""
        self.runs += other.runs
        self.answers += other.answers
        self.reads += other.reads
        self.takeovers += other.takeovers
        self.simulated_s += other.simulated_s
        self.with_fault.update(other.with_fault)
        self.violations.extend(other.violations)


def run_seed(seed: int, replicas: int | None, tally: Tally) -> None:
    """One run; any error of the code under test is a violation."""
    world = World(seed, replicas)
    try:
        world.run()
    except Exception as error:
        tally.violations.append((seed, described(error)))
    tally.runs += 1
    tally.answers += world.clients.writes
    tally.reads += world.clients.reads
    tally.takeovers += max(0, world.activations - world.plan.slots)
    tally.simulated_s += world.now
    tally.with_fault.update(kind for kind, count in world.fired.items() if count)


def run_chunk(work: tuple[range, int | None, bool]) -> Tally:
    """Some seeds, in one process."""
    seeds, replicas, stop = work
    gc.disable()  # runs are short; what they leave behind goes between them,
    gc.freeze()  # and nobody looks then at all that was imported
    tally = Tally()
    for seed in seeds:
        run_seed(seed, replicas, tally)
        if stop and tally.violations:
            break
    gc.collect()
    return tally


def run_all(seeds: range, replicas: int | None, jobs: int, *, stop: bool) -> Tally:
    """All seeds on `jobs` processes."""
    chunks = [(seeds[i : i + CHUNK], replicas, stop) for i in range(0, len(seeds), CHUNK)]
    return add_all(Tally(), run_chunk, chunks, jobs, stop=stop)


def too_easy(tally: Tally, replicas: int | None) -> Iterator[str]:
    """Why these runs prove little, if they do."""
    if tally.runs < JUDGED_FROM or replicas is not None:
        return
    if tally.answers < ANSWERS_MIN * tally.runs:
        yield f"only {tally.answers / tally.runs:.1f} acknowledged entries a run, {ANSWERS_MIN:g} are wanted"
    if tally.takeovers < TAKEOVERS_MIN * tally.runs:
        yield f"only {tally.takeovers / tally.runs:.1f} takeovers a run, {TAKEOVERS_MIN:g} are wanted"
    for fault in FAULTS:
        share = tally.with_fault[fault] / tally.runs
        if share < SHARE_MIN:
            yield f"'{fault}' in only {share:.0%} of the runs, {SHARE_MIN:.0%} are wanted"


def report(tally: Tally, replicas: int | None, seconds: float) -> int:
    """Say what happened; returns the exit code."""
    runs = max(tally.runs, 1)
    print(f"{tally.runs} seeds, {tally.simulated_s / 3600:.1f} simulated hours in {seconds:.0f} s")
    print(
        f"a run on average: {tally.answers / runs:.1f} acknowledged entries, {tally.reads / runs:.1f} reads, "
        f"{tally.takeovers / runs:.1f} takeovers"
    )
    shares = (f"{fault} {tally.with_fault[fault] / runs:.0%}" for fault in FAULTS)
    print("runs with each fault: " + ", ".join(shares))
    easy = list(too_easy(tally, replicas))
    for reason in easy:
        print(f"too easy: {reason}")
    for seed, what in sorted(tally.violations)[:10]:
        print(f"seed {seed}: {what}")
        only = f" --replicas {replicas}" if replicas is not None else ""
        print(f"    replay: {sys.executable} tests/simulation/run.py --seed {seed} -v{only}")
    print(f"{len(tally.violations)} violations in {tally.runs} seeds")
    return 1 if tally.violations or easy else 0


def run_nodes(seeds: int, first: int, jobs: int) -> int:
    """Clusters of whole nodes, in a process of their own: that one puts a fake clock into the production modules."""
    program = Path(__file__).parent / "node" / "run.py"
    options = ["--seeds", str(seeds), "--from", str(first), "--jobs", str(jobs)]
    return subprocess.run([sys.executable, str(program), *options], check=False).returncode


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description="Seeds of the simulated log cluster.")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--replicas", type=int, choices=(1, 3, 5), help="only clusters with this many copies")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--nodes", type=int, help="seeds of whole nodes besides; a 20th as many, but none with --stop")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell one run step by step")
    options = parser.parse_args()
    if options.seed is not None:
        world = World(options.seed, options.replicas, print if options.verbose else None)
        print(world.plan)
        world.run()  # a violation comes with its traceback
        print(f"no violation; {world.clients.writes} acknowledged, {world.activations} times ACTIVE")
        return 0
    seeds = range(options.first, options.first + options.seeds)
    began = time.perf_counter()
    tally = run_all(seeds, options.replicas, options.jobs, stop=options.stop)
    code = report(tally, options.replicas, time.perf_counter() - began)
    alone = options.stop or options.replicas is not None
    nodes = options.nodes if options.nodes is not None else 0 if alone else options.seeds // NODES_SHARE
    if nodes:
        sys.stdout.flush()
        code = max(code, run_nodes(nodes, options.first // NODES_SHARE, options.jobs))
    return code


if __name__ == "__main__":
    sys.exit(main())
