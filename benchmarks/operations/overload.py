"""Clients that flood single objects, and an object beside them on the same worker.

    overload.py [--seconds 10]

On one node with one worker, in turn: 1,500 calls together of an object whose calls take their time; bodies of 1 MiB
that add up to more than an object may hold; more calls within ten seconds than an object may take; a call of an
exclusive object that holds up the others for longer than a call may wait. Meanwhile another object is called 50 times
a second. Kept when each flood was refused with 429, `Retry-After` and a cause of its own, and the other object's p99
stayed under 50 ms through each, without a failed call.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.promises import Bound, kept, verdict
from tests.chaos.client import Answer, Connection
from tests.chaos.cluster import DevCluster
from tests.chaos.takeover import percentile

APP = Path(__file__).resolve().parents[2] / "tests" / "chaos" / "apps" / "overload"
CALM_PER_SECOND = 50
CALM_P99_MS_MAX = 50.0
CALLS_PER_10S = 2_000
TOGETHER = 1_500
LARGE_BYTES = 1_000_000
LARGE = 48
SLOW_S = 3.0
HELD_S, PATIENCE_S = 33.0, 60.0  # a call may wait for 30 s

Flood = Callable[[DevCluster], Awaitable[list[Answer]]]


async def together(cluster: DevCluster, count: int, class_name: str, method: str, *arguments: object) -> list[Answer]:
    """So many calls of one object that run together, each on a connection of its own; all are made within a second.

    Spread over it: what this process needs to make them must not hold up the calls of the other object, which are its
    own, too.
    """
    name = f"{method}-{time.monotonic_ns()}"

    async def one(number: int) -> Answer:
        connection = Connection(cluster.host, cluster.port, f"Homing-Timeout-Ms: {int(PATIENCE_S * 1_000)}\r\n")
        try:
            await asyncio.sleep(number / count)
            return await connection.rpc(class_name, name, method, *arguments, timeout_s=PATIENCE_S)
        finally:
            connection.close()

    return await asyncio.gather(*(one(number) for number in range(count)))


async def calls(cluster: DevCluster) -> list[Answer]:
    """More calls than one object queues."""
    return await together(cluster, TOGETHER, "Busy", "slow", SLOW_S)


async def size(cluster: DevCluster) -> list[Answer]:
    """More bytes than it holds."""
    return await together(cluster, LARGE, "Busy", "slow", SLOW_S, "x" * LARGE_BYTES)


async def rate(cluster: DevCluster) -> list[Answer]:
    """More calls within ten seconds than it may take."""
    connections = [cluster.connect() for _ in range(8)]
    each = CALLS_PER_10S // len(connections) + 100

    async def one(connection: Connection) -> list[Answer]:
        return [await connection.rpc("Busy", "often", "quick") for _ in range(each)]

    found = await asyncio.gather(*map(one, connections))
    for connection in connections:
        connection.close()
    return [answer for some in found for answer in some]


async def wait(cluster: DevCluster) -> list[Answer]:
    """Calls behind one that does not end."""
    return await together(cluster, 8, "Queue", "slow", HELD_S)


FLOODS: dict[str, Flood] = {"calls": calls, "bytes": size, "rate": rate, "wait": wait}


class Calm:
    """The object that nobody floods."""

    def __init__(self, cluster: DevCluster) -> None:
        self._cluster = cluster
        self.took_s: list[float] = []
        self.failed = 0

    async def go_on(self) -> None:
        """Call it at its times, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._call(due))
                due += 1 / CALM_PER_SECOND
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _call(self, due: float) -> None:
        connection = self._cluster.connect()
        try:
            answer = await connection.rpc("Calm", "a", "increment")
            self.failed += answer.status != 200
        except (OSError, TimeoutError):
            self.failed += 1
        finally:
            connection.close()
        self.took_s.append(asyncio.get_running_loop().time() - due)


async def through(cluster: DevCluster, cause: str, seconds: float) -> bool:
    """One flood, again and again for so long."""
    calm = Calm(cluster)
    calling = asyncio.ensure_future(calm.go_on())
    answers: list[Answer] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or not answers:
        answers += await FLOODS[cause](cluster)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    refused = [answer for answer in answers if answer.status == 429]
    causes = Counter(str(cast("dict[str, object]", answer.json()).get("cause")) for answer in refused)
    others = Counter(answer.status for answer in answers if answer.status not in (200, 429))
    bounds = [
        Bound("refused for this cause", causes[cause], 1, least=True),
        Bound("for another", len(refused) - causes[cause], 0),
        Bound("without Retry-After", sum(answer.header("retry-after") is None for answer in refused), 0),
        Bound("otherwise", sum(others.values()), 0),
        Bound("failed beside it", calm.failed, 0),
        Bound("p99 beside it", percentile(calm.took_s, 0.99) * 1e3, CALM_P99_MS_MAX, "ms"),
    ]
    print(verdict(f"a flood of {cause}", bounds, f"{len(answers)} calls, {len(calm.took_s)} beside them"), flush=True)
    return kept(bounds)


async def measure(cluster: DevCluster, seconds: float) -> bool:
    """Every flood in turn."""
    held = True
    for cause in FLOODS:
        held = await through(cluster, cause, seconds) and held
    return held


def main() -> int:
    """0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each flood")
    options = parser.parse_args()
    environment = {"HOMING_OBJECT_CALLS_PER_10S": str(CALLS_PER_10S), "HOMING_WORKERS": "1"}
    with DevCluster(APP, 1, environment=environment) as cluster:
        return 0 if uvloop.run(measure(cluster, options.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
