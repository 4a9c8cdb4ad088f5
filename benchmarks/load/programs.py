"""The loads of the benchmarks: wrk for closed loops at full speed, and two of our own on asyncio.

Each returns the same `Figures`. Latency of the open loop counts from the moment a call was due, not from the moment it
could be sent: a server that stalls is not spared the calls that would have come meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.chaos.client import Connection, rpc_request
from tests.chaos.cluster import DevCluster
from tests.chaos.takeover import percentile

CLASS = "Counter"
CONNECTIONS = 64
ANSWER_TIMEOUT_S = 20.0
SPIN_S = 0.001  # the event loop's timers are late by up to this much
SCRIPT = Path(__file__).with_name("calls.lua")


class Figures(msgspec.Struct):
    """What a load measured; `errors` are answers other than 200 and calls without an answer."""

    rate: float
    p50_ms: float
    p99_ms: float
    calls: int
    errors: int


def saturate(cluster: DevCluster, method: str, objects: int, prefix: str, seconds: float) -> Figures:
    """64 connections, each with one call in flight, as fast as they go."""
    target = f"/_homing/v1/objects/{CLASS}/{{name}}/rpc/{method}"
    return _wrk(cluster, seconds, {"OBJECTS": str(objects), "PREFIX": prefix, "TARGET": target, "BODY": "{}"})


def saturate_empty(cluster: DevCluster, seconds: float) -> Figures:
    """The same on a route that does nothing: what the gateway's HTTP alone costs."""
    return _wrk(cluster, seconds, {"OBJECTS": "1", "PREFIX": "", "TARGET": "/_homing/healthz"})


async def touch(cluster: DevCluster, objects: int, prefix: str, at_once: int) -> Figures:
    """Call each object once, `at_once` at a time."""
    waiting = iter(range(objects))
    took: list[float] = []
    errors = 0

    async def some() -> None:
        nonlocal errors
        connection = cluster.connect()
        await connection.open()
        for number in waiting:
            request = rpc_request(cluster.host, cluster.port, CLASS, f"{prefix}{number}", "increment")
            sent = time.perf_counter()
            errors += not await _answered(connection, request)
            took.append(time.perf_counter() - sent)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return _figures(took, errors, time.perf_counter() - started)


async def paced(cluster: DevCluster, per_second: float, objects: int, prefix: str, seconds: float) -> Figures:
    """An open loop of increments: calls come when they are due, whatever became of the ones before."""
    free: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    for _ in range(CONNECTIONS):
        connection = cluster.connect()
        await connection.open()
        free.put_nowait(connection)
    rng = random.Random(5)
    took: list[float] = []
    errors = 0

    async def call(due: float) -> None:
        nonlocal errors
        connection = await free.get()
        name = f"{prefix}{rng.randrange(objects)}"
        errors += not await _answered(connection, rpc_request(cluster.host, cluster.port, CLASS, name, "increment"))
        took.append(time.perf_counter() - due)
        free.put_nowait(connection)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(per_second * seconds)):
            due = started + number / per_second
            while (rest := due - time.perf_counter()) > 0:
                await asyncio.sleep(rest - SPIN_S if rest > SPIN_S else 0)
            group.create_task(call(due))
    ended = time.perf_counter()
    while not free.empty():
        free.get_nowait().close()
    return _figures(took, errors, ended - started)


async def _answered(connection: Connection, request: bytes) -> bool:
    try:
        return (await connection.send(request, ANSWER_TIMEOUT_S)).status == 200
    except OSError:
        return False


def _figures(took: Sequence[float], errors: int, seconds: float) -> Figures:
    return Figures(
        rate=round(len(took) / seconds, 1),
        p50_ms=round(percentile(took, 0.5) * 1e3, 3),
        p99_ms=round(percentile(took, 0.99) * 1e3, 3),
        calls=len(took),
        errors=errors,
    )


def _wrk(cluster: DevCluster, seconds: float, variables: dict[str, str]) -> Figures:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--timeout", f"{ANSWER_TIMEOUT_S:g}s"]
    done = subprocess.run(
        [*command, "-s", str(SCRIPT), cluster.url],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("FIGURES "))
    return msgspec.json.decode(line.removeprefix("FIGURES "), type=Figures)
