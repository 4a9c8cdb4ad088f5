"""Do the stages add up? Their sum against the gateway's time, and that against the client's.

    stages.py [--calls 3000] [--nodes 3]

One connection calls increments and an empty route by turns, so that nothing waits and the machine is the same for both.
The client's mean less that of the empty route is what a call costs beyond plain HTTP; the gateway's own time for the
call must be within 10 % of it, and the sum of the five stages within 10 % of the gateway's time. No stage is what the
others leave over (docs/reference/metrics.md), and the gateway's time is taken apart from them: what belongs to no
stage, or to two, shows in the sum. `forward` is a difference of differences: below nothing it would hide what another
stage has twice.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from benchmarks.scrape import Scrape, scrape, stage_table
from tests.chaos.client import rpc_request
from tests.chaos.cluster import DevCluster

APP = ROOT / "benchmarks" / "app"
OBJECTS = 100
WARM_UP_CALLS = 300
TOLERANCE = 0.10
ANSWER_TIMEOUT_S = 10.0


async def measure(cluster: DevCluster, calls: int) -> tuple[float, float, Scrape]:
    """Mean seconds of a call, of the empty route, and what the metrics say of the same calls."""
    connection = cluster.connect()
    names = [f"stage-{number}" for number in range(OBJECTS)]
    requests = [rpc_request(cluster.host, cluster.port, "Counter", name, "increment") for name in names]
    empty = f"GET /_homing/healthz HTTP/1.1\r\nHost: {cluster.host}:{cluster.port}\r\n\r\n".encode()
    for number in range(WARM_UP_CALLS):
        await connection.send(requests[number % OBJECTS], ANSWER_TIMEOUT_S)
        await connection.send(empty, ANSWER_TIMEOUT_S)
    before = await scrape(cluster)
    call_s = empty_s = 0.0
    for number in range(calls):
        started = time.perf_counter()
        answer = await connection.send(requests[number % OBJECTS], ANSWER_TIMEOUT_S)
        answered = time.perf_counter()
        await connection.send(empty, ANSWER_TIMEOUT_S)
        empty_s += time.perf_counter() - answered
        call_s += answered - started
        if answer.status != 200:
            raise ConnectionError(f"a call was answered with {answer.status}: {answer.body[:200]!r}")
    after = await scrape(cluster)
    connection.close()
    return call_s / calls, empty_s / calls, after.since(before)


def judge(call_s: float, empty_s: float, observed: Scrape, calls: int) -> list[str]:
    """What does not add up, as sentences; none if all does."""
    request = observed.histogram("homing_request_seconds", {"route": "rpc", "outcome": "ok"})
    stages = observed.stages()
    problems = [
        f"{name} saw {stage.count:.0f} of {calls} calls" for name, stage in stages.items() if stage.count != calls
    ]
    if request.count != calls:
        problems.append(f"the gateway saw {request.count:.0f} of {calls} calls")
    problems += [
        f"{name} is {stage.mean * 1e3:.3f} ms: below nothing" for name, stage in stages.items() if stage.mean < 0
    ]
    if not problems:
        total = sum(stage.mean for stage in stages.values())
        if abs(total / request.mean - 1) > TOLERANCE:
            problems.append(f"the stages' sum is {total / request.mean:.3f} of the gateway's time")
        if abs(request.mean / (call_s - empty_s) - 1) > TOLERANCE:
            ratio = request.mean / (call_s - empty_s)
            problems.append(f"the gateway's time is {ratio:.3f} of the client's less the empty route's")
    return problems


def describe(call_s: float, empty_s: float, observed: Scrape) -> list[str]:
    """The means side by side."""
    request = observed.histogram("homing_request_seconds", {"route": "rpc", "outcome": "ok"}).mean
    total = sum(stage.mean for stage in observed.stages().values())
    return [
        *stage_table(observed),
        f"mean, ms: client {call_s * 1e3:.3f}, empty route {empty_s * 1e3:.3f}, difference "
        f"{(call_s - empty_s) * 1e3:.3f}; gateway {request * 1e3:.3f} ({request / (call_s - empty_s):.3f} of it); "
        f"sum of stages {total * 1e3:.3f} ({total / request:.3f} of the gateway's)",
    ]


def main() -> int:
    """Measure and judge; 0 if it adds up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    with DevCluster(APP, options.nodes) as cluster:
        call_s, empty_s, observed = uvloop.run(measure(cluster, options.calls))
    problems = judge(call_s, empty_s, observed, options.calls)
    print("\n".join([*describe(call_s, empty_s, observed), *problems]))
    print("stages: " + ("they add up" if not problems else "they do NOT add up"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
