"""Alarms on a real cluster of three nodes: on time, at least once, whatever becomes of the node that had the object."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.chaos.client import Connection
from tests.chaos.cluster import DevCluster

from homing.ids import ObjectId

APP = Path(__file__).parent / "apps" / "alarms"
REST_S = 25.0
LATE_S_MAX = 10.0  # a takeover, a restart, and the machine's own delays


@pytest.fixture(scope="module")
def cluster() -> Generator[DevCluster]:
    with DevCluster(APP, 3) as running:
        yield running


@pytest.fixture
async def connection(cluster: DevCluster) -> AsyncGenerator[Connection]:
    await cluster.wait_settled(REST_S, balanced=True)
    made = cluster.connect()
    yield made
    made.close()
    await cluster.wait_settled(REST_S)


async def call(connection: Connection, name: str, method: str, *arguments: object) -> Any:
    answer = await connection.rpc("Sleeper", name, method, *arguments, key=f"{name}-{method}")
    assert answer.status == 200, answer
    return json.loads(answer.body)["result"]


async def rang(connection: Connection, name: str) -> list[list[Any]]:
    answer = await connection.rpc("Sleeper", name, "rang")
    assert answer.status == 200, answer
    return json.loads(answer.body)["result"]


async def kill_owner(cluster: DevCluster, node: str) -> None:
    view = await cluster.view()
    cluster.process(next(each.pid for each in view.nodes if each.id == node)).send(signal.SIGKILL)


async def drain_owner(cluster: DevCluster, node: str) -> None:
    view = await cluster.view()
    cluster.process(next(each.pid for each in view.nodes if each.id == node)).send(signal.SIGTERM)


async def kill_all(cluster: DevCluster, _: str) -> None:
    for node in (await cluster.view()).nodes:
        cluster.process(node.pid).send(signal.SIGKILL)


Fault = Callable[[DevCluster, str], Awaitable[None]]


@pytest.mark.parametrize("fault", [kill_owner, drain_owner, kill_all], ids=lambda fault: fault.__name__)
async def test_every_alarm_rings_on_time_and_none_early(
    cluster: DevCluster, connection: Connection, fault: Fault
) -> None:
    """Acceptance 8. Each rings once, unless its handler ran when its owner died."""
    names = [f"{fault.__name__}-{number}" for number in range(60)]
    due_ms = int(time.time() * 1_000) + 6_000
    for number, name in enumerate(names):
        await call(connection, name, "sleep", due_ms + 10 * number)
    victim = next(slot.owner for slot in (await cluster.view()).slots if slot.slot == slot_of(cluster, names[0]))
    assert victim is not None
    await fault(cluster, victim)
    assert time.time() * 1_000 < due_ms, "the alarms were set too slowly"
    await asyncio.sleep(due_ms / 1_000 - time.time() + 1.0)
    deadline = due_ms / 1_000 + LATE_S_MAX
    again = 0
    for number, name in enumerate(names):
        while not (runs := await rang(connection, name)):
            assert time.time() < deadline, f"{name} did not ring"
            await asyncio.sleep(0.05)
        again += len(runs) - 1
        assert all(scheduled == due_ms + 10 * number <= at_ms for _, scheduled, at_ms, _ in runs), runs
        assert all(at_ms < deadline * 1_000 for _, _, at_ms, _ in runs)
    assert again <= len(names) // 10


def slot_of(cluster: DevCluster, name: str) -> int:
    return ObjectId.from_name("Sleeper", name).slot(cluster.slots)


async def test_a_handler_that_raises_is_tried_again_after_its_owner_died_too(
    cluster: DevCluster, connection: Connection
) -> None:
    """The count of retries is kept with the object: a dead node is no failure of the handler."""
    name = "raises"
    await call(connection, name, "fail", 2)
    await call(connection, name, "sleep", int(time.time() * 1_000))
    while not (runs := await rang(connection, name)):
        await asyncio.sleep(0.05)
    owner = next(slot.owner for slot in (await cluster.view()).slots if slot.slot == slot_of(cluster, name))
    assert owner is not None
    await kill_owner(cluster, owner)
    deadline = time.monotonic() + 20
    while len(runs) < 3:
        assert time.monotonic() < deadline, runs
        await asyncio.sleep(0.1)
        runs = await rang(connection, name)
    assert [retries for _, _, _, retries in runs] == [0, 1, 2]
    first, second, third = (at_ms for _, _, at_ms, _ in runs)
    assert second - first >= 2_000
    assert third - second >= 4_000


async def test_where_an_object_lives_tells_its_next_alarm(cluster: DevCluster, connection: Connection) -> None:
    due_ms = int(time.time() * 1_000) + 3_600_000
    assert await call(connection, "far", "sleep", due_ms, "one") == {"one": due_ms}
    answer = await connection.get("/_homing/v1/objects/Sleeper/far")
    assert json.loads(answer.body)["alarm"] == due_ms
