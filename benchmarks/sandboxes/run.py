"""`make bench-sandbox`: from new code to its first result, with many live siblings; loads a second; memory of each.

It drives a node's `homing_node.sandboxes.service.Sandboxes` in this process: what an object or a gateway adds to it is
a frame each way. By turns with it, in the same run, workerd's worker loader over HTTP on loopback, where npm can fetch
it. Each figure is printed beside what is promised; in half of the samples no sandbox waits to be used.

    benchmarks/sandboxes/run.py [--siblings 500] [--samples 400] [--rounds 5] [--seconds 30] [--alive 1500]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.promises import Bound, kept
from benchmarks.sandboxes import workerd
from benchmarks.sandboxes.dynamic import DYNAMIC, Dynamic

from homing.observability.catalogue import SOURCES
from homing.sandboxes import Asked, Limits
from homing_node.metrics import NodeMetrics
from homing_node.sandboxes.admission import Quotas
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.service import Sandboxes

SLEEP = Asked("import time\ntime.sleep(110)", limits=Limits(wall_s=115))
CODE = "import json\ndef f(n):\n    return json.dumps({{'n': n}})\nf({0})  # {0}"
PARALLEL = 4
WAVE = 50  # sandboxes that are asked for and do not sleep yet
STARTS = "homing_sandbox_starts_total"
PAUSE_S = 0.03  # until the sandboxes of the sample before are dead: what is measured is not their end
DYNAMIC_FIRST = 2_000_000  # numbers that no other code has
WARM = 8
WORKERD_LOADS_S = 5.0  # each load keeps 1.5 MiB of it
P50_MS_MAX, P99_MS_MAX, LOADS_PER_S_MIN, MIB_EACH_MAX = 1.5, 6.0, 400.0, 3.0
# What workerd came to on the machine that these were promised for: a slower one is slower for both.
WORKERD_P50_MS, WORKERD_P99_MS, WORKERD_LOADS_PER_S = 2.99, 4.4, 320.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so much of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{int(share * 100)}": round(percentile(values, share) * 1e3, 2) for share in (0.5, 0.9, 0.99)} | {
        "max": round(max(values) * 1e3, 2)
    }


async def once(sandboxes: Sandboxes, number: int) -> float:
    """Seconds from new code to its result."""
    began = time.perf_counter()
    outcome = await sandboxes.run(Asked(CODE.format(number)))
    took = time.perf_counter() - began
    if outcome[3] is not None:
        raise RuntimeError(f"{outcome[3]}")
    return took


class Latency(NamedTuple):
    """Seconds of each sample."""

    spare: list[float]
    forked: list[float]
    workerd: list[float]

    @property
    def all(self) -> list[float]:
        """Of sandboxes, where any came from."""
        return self.spare + self.forked

    def summary(self) -> dict[str, dict[str, float]]:
        """As it is printed."""
        kinds = {"all": self.all, "from a spare": self.spare, "forked then": self.forked, "workerd": self.workerd}
        return {name: summary(values) for name, values in kinds.items() if values}


async def latency(
    sandboxes: Sandboxes, samples: int, first: int, load: Callable[[int], Awaitable[float]], tenant: str = ""
) -> Latency:  # fmt: skip
    """Samples in turn: with spares, and with none: each that there is is dead before the sample begins."""
    found = Latency([], [], [])
    for number in range(first, first + samples):
        drain = number % 2
        if drain:
            sandboxes.fleet.drop_spares(tenant)
        await asyncio.sleep(PAUSE_S)
        (found.forked if drain else found.spare).append(await load(number))
        await asyncio.sleep(PAUSE_S)
    return found


async def by_turns(sandboxes: Sandboxes, program: Path | None, samples: int, rounds: int) -> list[Latency]:
    """The same from workerd, round by round: a machine that becomes slower meanwhile favours neither."""
    found: list[Latency] = []
    for each in range(rounds):
        now = await latency(sandboxes, samples // rounds, each * samples, lambda number: once(sandboxes, number))
        if program is not None:
            async with workerd.started(program) as other:
                for number in range(samples // rounds):
                    await asyncio.sleep(PAUSE_S)
                    now.workerd.append(await other.load(number))
        found.append(now)
    return found


def beside(what: str, value: float, limit: float, *, least: bool = False) -> Bound:
    """The same promise in units of workerd's figure of this run."""
    return Bound(f"{what} over workerd's", value, limit, least=least)


def beside_workerd(rounds: Sequence[Latency], pooled: Latency) -> list[Bound]:
    """Of medians the median ratio of the rounds; a round has too few samples for a p99."""
    medians = [percentile(each.all, 0.5) / percentile(each.workerd, 0.5) for each in rounds]
    slow = percentile(pooled.all, 0.99) / percentile(pooled.workerd, 0.99)
    return [
        beside("p50", statistics.median(medians), P50_MS_MAX / WORKERD_P50_MS),
        beside("p99", slow, P99_MS_MAX / WORKERD_P99_MS),
    ]


async def loads_of_workerd(program: Path) -> float:
    """How many it loads in a second, one after the other, which is when it is fastest."""
    async with workerd.started(program) as other:
        began = time.perf_counter()
        count = 0
        while time.perf_counter() < began + WORKERD_LOADS_S:
            await other.load(count)
            count += 1
        return count / WORKERD_LOADS_S


async def loads(sandboxes: Sandboxes, seconds: float) -> dict[str, float]:
    """Distinct codes, one after the other in a few lanes."""
    ends = time.perf_counter() + seconds
    took: list[float] = []

    async def lane(first: int) -> None:
        number = first
        while time.perf_counter() < ends:
            took.append(await once(sandboxes, number))
            number += PARALLEL

    await asyncio.gather(*(lane(1_000_000 + place) for place in range(PARALLEL)))
    return {"per_s": round(len(took) / seconds, 1), **summary(took)}


def free_mib() -> float:
    """Memory that is available on this machine."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no MemAvailable")


async def alive(sandboxes: Sandboxes, count: int, tasks: list[asyncio.Task[object]]) -> dict[str, float]:
    """So many small sandboxes at one time, and what each costs."""
    before, had = free_mib(), len(sandboxes.list())
    began = time.perf_counter()
    while (there := len(sandboxes.list())) < count or any(not each.pid for each in sandboxes.list()):
        if any(task.done() for task in tasks):
            raise RuntimeError("a sandbox that should sleep has ended")
        wanted = min(count, there + WAVE) - len(tasks)
        tasks += [asyncio.ensure_future(sandboxes.run(SLEEP)) for _ in range(wanted)]
        await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    await asyncio.sleep(0.5)
    made = len(sandboxes.list()) - had
    return {
        "alive": len(sandboxes.list()),
        "mib_each": round((before - free_mib()) / made, 2),
        "made_s": round(took, 2),
    }


async def measure(options: argparse.Namespace) -> tuple[dict[str, Any], list[Bound]]:
    """All of it: figures, and what is promised of them."""
    program = None if options.alone else workerd.binary()
    jails = SandboxJails()
    quotas = Quotas(running=5_000, starts_per_s=50_000, waiting=5_000, all_running=5_000)
    metrics = NodeMetrics(0.015)
    sandboxes = Sandboxes(jails, metrics, quotas)
    serving = asyncio.ensure_future(sandboxes.serve())
    await asyncio.sleep(0)
    tasks: list[asyncio.Task[object]] = []
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    try:
        await once(sandboxes, -1)
        await asyncio.sleep(1)
        found["siblings"] = small = await alive(sandboxes, options.siblings, tasks)
        rounds = await by_turns(sandboxes, program, options.samples, options.rounds)
        pooled = Latency(
            [took for each in rounds for took in each.spare],
            [took for each in rounds for took in each.forked],
            [took for each in rounds for took in each.workerd],
        )
        found[f"with {options.siblings} siblings"] = pooled.summary()
        dynamic = Dynamic(sandboxes)
        for number in range(WARM):  # its tenant has a zygote then, and spares
            await dynamic.load(-1 - number)
            await asyncio.sleep(PAUSE_S)
        samples = options.samples // options.rounds
        loaded = await latency(sandboxes, samples, DYNAMIC_FIRST, dynamic.load, DYNAMIC)
        await dynamic.close()
        found["by env.LOADER, beside the same"] = loaded.summary()
        bounds = [
            Bound("p50", percentile(pooled.all, 0.5) * 1e3, P50_MS_MAX, "ms"),
            Bound("p99", percentile(pooled.all, 0.99) * 1e3, P99_MS_MAX, "ms"),
            Bound("of a live one", small["mib_each"], MIB_EACH_MAX, "MiB"),
        ]
        if program is not None:
            bounds += beside_workerd(rounds, pooled)
        if options.alive > options.siblings:
            found["many"] = many = await alive(sandboxes, options.alive, tasks)
            bounds.append(Bound("alive", many["alive"], options.alive, least=True))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(1)
        if options.seconds:
            found["loads"] = done = await loads(sandboxes, options.seconds)
            bounds.append(Bound("loads", done["per_s"], LOADS_PER_S_MIN, "a second", least=True))
            if program is not None:
                found["loads of workerd, a second"] = theirs = await loads_of_workerd(program)
                bounds.append(
                    beside("loads", done["per_s"] / theirs, LOADS_PER_S_MIN / WORKERD_LOADS_PER_S, least=True)
                )
        found["sandboxes"] = {source: metrics.registry.counter(STARTS, source).value for source in SOURCES}
        return found, bounds
    finally:
        await sandboxes.close()
        await serving
        jails.close()


def main() -> int:
    """Print what was measured, as JSON, then each figure beside what is promised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--siblings", type=int, default=500)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--alive", type=int, default=1_500)
    parser.add_argument("--alone", action="store_true", help="without workerd")
    found, bounds = uvloop.run(measure(parser.parse_args()))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.stdout.write("".join(f"{bound}\n" for bound in bounds))
    return 0 if kept(bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
