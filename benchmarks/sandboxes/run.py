"""`make bench-sandbox`: from new code to its first result, with many live siblings; loads a second; memory of each.

It drives a node's `homing_node.sandboxes.service.Sandboxes` in this process: what an object or a gateway adds to it is
a frame each way. Beside it, in the same run, workerd's worker loader where `WORKERD` names its binary.

    benchmarks/sandboxes/run.py [--siblings 500] [--samples 400] [--seconds 30] [--alive 1500]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

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


async def latency(sandboxes: Sandboxes, samples: int) -> dict[str, object]:
    """Samples in turn: with spares, and with none."""
    spare: list[float] = []
    drained: list[float] = []
    for number in range(samples):
        drain = number % 2
        if drain:
            sandboxes.fleet.drop_spares("")
            await asyncio.sleep(0.03)  # until those are dead: what is measured is a pool that is empty, not its end
        took = await once(sandboxes, number)
        (drained if drain else spare).append(took)
        await asyncio.sleep(0.03)
    return {"all": summary(spare + drained), "from a spare": summary(spare), "forked then": summary(drained)}


async def loads(sandboxes: Sandboxes, seconds: float) -> dict[str, object]:
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


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """All of it."""
    jails = SandboxJails()
    quotas = Quotas(running=5_000, starts_per_s=50_000, waiting=5_000, all_running=5_000)
    metrics = NodeMetrics(0.015)
    sandboxes = Sandboxes(jails, metrics, quotas)
    serving = asyncio.ensure_future(sandboxes.serve())
    await asyncio.sleep(0)
    tasks: list[asyncio.Task[object]] = []
    found: dict[str, object] = {"cores": len(os.sched_getaffinity(0))}
    try:
        await once(sandboxes, -1)
        await asyncio.sleep(1)
        found["alone"] = await latency(sandboxes, options.samples // 2)
        found["siblings"] = await alive(sandboxes, options.siblings, tasks)
        found[f"with {options.siblings} siblings"] = await latency(sandboxes, options.samples)
        if options.alive > options.siblings:
            found["many"] = await alive(sandboxes, options.alive, tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(1)
        if options.seconds:
            found["loads"] = await loads(sandboxes, options.seconds)
        found["sandboxes"] = {source: metrics.registry.counter(STARTS, source).value for source in SOURCES}
        return found
    finally:
        await sandboxes.close()
        await serving
        jails.close()


def main() -> int:
    """Print what was measured, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--siblings", type=int, default=500)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--alive", type=int, default=1_500)
    found = uvloop.run(measure(parser.parse_args()))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
