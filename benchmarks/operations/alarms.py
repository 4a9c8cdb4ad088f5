"""Many alarms due within one minute: every one rings, none early, and none a minute late.

    alarms.py [--alarms 100000] [--nodes 3]

64 connections set one alarm in each of so many objects, all to ring within the same minute, when the last has been set.
Objects are evicted meanwhile. Each notes when its handler ran; afterwards every object is asked. Kept when no call
failed, every alarm has rung, none before its time, and none later than 60 s after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.promises import CLIENTS, Bound, kept, shown, verdict
from tests.chaos.client import Connection
from tests.chaos.cluster import DevCluster
from tests.chaos.takeover import percentile

APP = Path(__file__).resolve().parents[2] / "tests" / "chaos" / "apps" / "alarms"
CLASS = "Sleeper"
WITHIN_S = 60.0
LATE_S_MAX = 60.0
SETS_PER_S_MIN = 300.0  # the first alarm lies behind the time that this takes
CALL_S_MAX = 30.0
ASK_AGAIN_S = 2.0


class Alarms:
    """The alarms of one run, and what became of them.

    Args:
        cluster: where the objects are.
        count: how many.
        first_s: when the first rings, in seconds since 1970.

    Attributes:
        failed: calls that were not answered well.
        again: runs of a handler beyond the first of its alarm.
        late_s: how long after its time each rang first; negative is early, infinite is never.
    """

    def __init__(self, cluster: DevCluster, count: int, first_s: float) -> None:
        self._cluster = cluster
        self.due_ms = [int((first_s + WITHIN_S * number / count) * 1_000) for number in range(count)]
        self.failed = self.again = 0
        self.late_s = [math.inf] * count

    async def set_all(self) -> None:
        """Set every alarm."""
        await self._each(self._set, range(len(self.due_ms)))

    async def ask_all(self, until_s: float) -> None:
        """Ask every object when its alarm rang, those whose has not again and again until a time (since 1970)."""
        while missing := [number for number, late in enumerate(self.late_s) if late == math.inf]:
            await self._each(self._ask, missing)
            if time.time() > until_s:
                return
            await asyncio.sleep(ASK_AGAIN_S)

    async def _each(self, what: Callable[[Connection, int], Awaitable[None]], numbers: range | list[int]) -> None:
        waiting = iter(numbers)
        await asyncio.gather(*(self._some(what, waiting) for _ in range(CLIENTS)))

    async def _some(self, what: Callable[[Connection, int], Awaitable[None]], waiting: Iterator[int]) -> None:
        connection = self._cluster.connect()
        for number in waiting:
            try:
                await what(connection, number)
            except (OSError, TimeoutError):
                self.failed += 1  # the next call opens the connection anew
        connection.close()

    async def _set(self, connection: Connection, number: int) -> None:
        answer = await connection.rpc(CLASS, f"o{number}", "sleep", self.due_ms[number], timeout_s=CALL_S_MAX)
        self.failed += answer.status != 200

    async def _ask(self, connection: Connection, number: int) -> None:
        answer = await connection.rpc(CLASS, f"o{number}", "rang", timeout_s=CALL_S_MAX)
        if answer.status != 200:
            self.failed += 1
            return
        rang_ms = [at_ms for _, _, at_ms, _ in json.loads(answer.body)["result"]]
        if rang_ms:
            self.late_s[number] = (rang_ms[0] - self.due_ms[number]) / 1_000
            self.again += len(rang_ms) - 1


async def measure(cluster: DevCluster, count: int) -> Alarms:
    """Set them, wait, ask."""
    alarms = Alarms(cluster, count, time.time() + count / SETS_PER_S_MIN + 5.0)
    began = time.monotonic()
    await alarms.set_all()
    print(f"{count:,} alarms set in {time.monotonic() - began:.0f} s, {alarms.failed} calls failed", flush=True)
    ahead_s = alarms.due_ms[0] / 1_000 - time.time()
    if ahead_s < 0:
        sys.exit(f"they were set too slowly: the first was due {-ahead_s:.0f} s before the last was set")
    await asyncio.sleep(ahead_s + WITHIN_S)
    print("the last is due", flush=True)
    await alarms.ask_all(alarms.due_ms[-1] / 1_000 + LATE_S_MAX)
    return alarms


def main() -> int:
    """0 if all was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alarms", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    with DevCluster(APP, options.nodes) as cluster:
        alarms = uvloop.run(measure(cluster, options.alarms))
    bounds = [
        Bound("alarms that did not ring", sum(late == math.inf for late in alarms.late_s), 0),
        Bound("early", sum(late < 0 for late in alarms.late_s), 0),
        Bound("latest", max(alarms.late_s), LATE_S_MAX, "s"),
        Bound("failed calls", alarms.failed, 0),
    ]
    half, most = (shown(percentile(alarms.late_s, share)) for share in (0.5, 0.99))
    note = f"of {len(alarms.late_s):,}: p50 {half} s and p99 {most} s after their time, {alarms.again} rang again"
    print(verdict("alarms of one minute", bounds, note), flush=True)
    return 0 if kept(bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
