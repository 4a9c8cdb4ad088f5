"""Orders as workflows, written for Cloudflare's Python Workers, on three nodes; and what is killed under them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import REST_TIMEOUT_S, DevCluster

APP = Path(__file__).resolve().parents[2] / "examples" / "cloudflare" / "orders"
WAIT_S = 40.0  # a takeover, a restart, the waits of an order, and the machine's own delays
BEGUN = ("queued", "running", "waiting")


@pytest.fixture(scope="module")
def cluster() -> Generator[DevCluster]:
    with DevCluster(APP, 3) as running:
        yield running


@pytest.fixture
async def http(cluster: DevCluster) -> AsyncGenerator[httpx.AsyncClient]:
    async with cluster.at_rest() as client:
        yield client


async def until(http: httpx.AsyncClient, order: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What an order is when it is what is waited for; while its owner is gone it may not be known."""
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = await http.get(f"/{order}")
        found: dict[str, Any] = answer.json()
        if answer.status_code == 200 and what(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def approved(http: httpx.AsyncClient, order: str) -> None:
    """Approve an order; while its owner is gone, again and again."""
    deadline = time.monotonic() + WAIT_S
    while (answer := await http.post(f"/{order}/approval", json={"name": "ann"})).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        await asyncio.sleep(0.1)


def is_in(*statuses: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: found["details"]["status"] in statuses


async def test_an_order_from_its_beginning_to_its_end(http: httpx.AsyncClient) -> None:
    answer = await http.post("/", json={"id": "one", "items": {"tea": 3, "cup": 12}})
    assert (answer.status_code, answer.json()) == (201, {"orders": ["one"]})
    assert answer.headers["content-type"] == "application/json"
    again = await http.post("/", json={"id": "one", "items": {}})
    assert (again.status_code, again.json()) == (
        409,
        {"error": "(instance.already_exists) Provided id already exists"},
    )
    missing = await http.get("/none")
    assert (missing.status_code, missing.json()) == (404, {"error": "instance.not_found"})
    waiting = await until(http, "one", is_in("waiting"))
    assert waiting["notes"] == ["reserve", "price", "charge, attempt 1", "charge, attempt 2"]
    assert (await http.post("/one/approval", json={"name": "ann"})).status_code == 200
    done = await until(http, "one", is_in("complete"))
    output = {"paid": 15, "for": ["cup", "tea"], "approved_by": "ann", "parcel": "parcel one"}
    assert done["details"] == {"status": "complete", "error": None, "output": output, "rollback": None}
    assert done["notes"][4:] == ["ship"]
    late = await http.post("/one/approval", json={"name": "bob"})
    assert (late.status_code, late.json()) == (409, {"error": "(instance.not_running) The instance is complete"})


async def test_orders_are_begun_together_paused_terminated_and_fail(http: httpx.AsyncClient) -> None:
    many = [{"id": name, "items": {"tea": 1} if name != "empty" else {}} for name in ("a", "b", "a", "empty")]
    assert (await http.post("/", json=many)).json() == {"orders": ["a", "b", "empty"]}
    assert (await http.post("/", json=many)).json() == {"orders": []}
    failed = await until(http, "empty", is_in("errored"))
    assert failed["details"]["error"] == {"name": "NonRetryableError", "message": "an order has items"}
    await until(http, "a", is_in("waiting"))
    assert (await http.post("/a/pause")).json()["details"]["status"] == "paused"
    assert (await http.post("/a/approval", json={"name": "ann"})).json()["details"]["status"] == "paused"
    assert (await http.post("/a/resume")).json()["details"]["status"] in BEGUN
    assert (await until(http, "a", is_in("complete")))["details"]["output"]["approved_by"] == "ann"
    assert (await http.post("/b/terminate")).json()["details"]["status"] == "terminated"
    assert (await http.post("/b/resume")).status_code == 409
    assert (await http.post("/b/restart")).json()["details"]["status"] in BEGUN
    await http.post("/b/approval", json={"name": "bob"})
    await until(http, "b", is_in("complete"))


async def test_what_dies_between_steps_changes_nothing(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """`kill -9` of an owner while orders wait for a retry, and of every worker of a node while they sleep or wait."""
    names = [f"k{number}" for number in range(9)]
    begun = await http.post("/", json=[{"id": name, "items": {"tea": 1}} for name in names])
    assert begun.json() == {"orders": names}
    for name in names:
        await until(http, name, lambda found: "charge, attempt 1" in found["notes"])
    _, owner = await cluster.owner_of("homing.workflow", "orders/k0")
    view = await cluster.view()
    cluster.process(next(node.pid for node in view.nodes if node.id == owner)).send(signal.SIGKILL)
    for name in names:
        await until(http, name, lambda found: "charge, attempt 2" in found["notes"] and is_in("waiting")(found))
    _, owner = await cluster.owner_of("homing.workflow", "orders/k1")
    for worker in (await cluster.view()).workers:
        if worker.node == owner:
            cluster.process(worker.pid).send(signal.SIGKILL)
    await cluster.wait_settled(REST_TIMEOUT_S, balanced=True)  # a step that runs while its slot moves is run again
    for name in names:
        await approved(http, name)
    for name in names:
        done = await until(http, name, is_in("complete", "errored"))
        assert done["details"]["output"] == {
            "paid": 1,
            "for": ["tea"],
            "approved_by": "ann",
            "parcel": f"parcel {name}",
        }
        counts = Counter(done["notes"])
        first = counts.pop("charge, attempt 1")
        assert 1 <= first <= 2, "it may be that its owner died before the failure was written down"
        assert counts == {"reserve": 1, "price": 1, "charge, attempt 2": 1, "ship": 1}
