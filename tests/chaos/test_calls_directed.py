"""Calls between objects on a real cluster of three nodes: values, errors, cycles, order, and what faults do to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import DevCluster

APP = Path(__file__).parent / "apps" / "calls"
REST_S = 30.0
CALLS_MAX = 1_000  # of one object, running or waiting


@pytest.fixture(scope="module")
def cluster() -> Generator[DevCluster]:
    with DevCluster(APP, 3) as running:
        yield running


@pytest.fixture
async def http(cluster: DevCluster) -> AsyncGenerator[httpx.AsyncClient]:
    async with cluster.at_rest() as client:
        yield client


async def ask(http: httpx.AsyncClient, kind: str, name: str, method: str, *args: object) -> httpx.Response:
    return await http.post(f"/_homing/v1/objects/{kind}/{name}/rpc/{method}", json={"args": args})


async def call(http: httpx.AsyncClient, kind: str, name: str, method: str, *args: object) -> Any:
    answer = await ask(http, kind, name, method, *args)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def test_an_object_calls_others_on_every_node(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    names = [f"n{i}" for i in range(60)]
    assert {(await cluster.owner_of("Leaf", name))[1] for name in names[:20]} == {"n1", "n2", "n3"}
    assert await call(http, "Hub", "h", "total", names) == 60
    assert await call(http, "Hub", "h", "total", names) == 120


async def test_values_arrive_and_requests_are_answered(http: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c", "d"):
        assert await call(http, "Hub", "h", "send", name) == [True, "ä", [1, 2], True]
        assert await call(http, "Hub", "h", "page", name) == [203, "1", "POST http://leaf/a?b=c hello"]


async def test_a_cycle_of_calls_does_not_stand_still(http: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c", "d"):
        assert await call(http, "Hub", name, "visit", name) == ["visited", 1]


async def test_an_exclusive_class_takes_one_call_at_a_time_and_its_own_cycle(http: httpx.AsyncClient) -> None:
    calls = [call(http, "Turnstile", "t", "through", f"x{i}") for i in range(8)]
    assert await asyncio.gather(*calls) == [[1, 1]] * 8


async def test_a_call_whose_client_has_gone_does_not_begin_and_one_that_runs_goes_on(http: httpx.AsyncClient) -> None:
    """Seen to fail when the node ignores what gateways give up: "gone" got in, for nobody. With a key, who comes again
    finds the answer of what ran, and has run what did not.
    """
    await call(http, "Turnstile", "left", "mark", "first")
    path = "/_homing/v1/objects/Turnstile/left/rpc"
    staying = asyncio.ensure_future(call(http, "Turnstile", "left", "stay", 1.0))
    await asyncio.sleep(0.2)
    for mark in ("gone", "again"):
        with pytest.raises(httpx.ReadTimeout):
            await http.post(f"{path}/mark", json={"args": [mark]}, headers={"idempotency-key": mark}, timeout=0.2)
    again = asyncio.ensure_future(
        http.post(f"{path}/mark", json={"args": ["again"]}, headers={"idempotency-key": "again"})
    )
    await staying
    assert (await again).status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        await http.post(f"{path}/stay", json={"args": [0.6]}, headers={"idempotency-key": "stays"}, timeout=0.2)
    stayed = await http.post(f"{path}/stay", json={"args": [0.6]}, headers={"idempotency-key": "stays"})
    assert stayed.json() == {"result": None}
    assert await call(http, "Turnstile", "left", "marks") == ["first", "again"]


async def test_what_another_object_raises_says_what_it_is(http: httpx.AsyncClient) -> None:
    found = await call(http, "Hub", "h", "fails", "a", "raises")
    assert found == ["application-error", "KeyError", True, False, False, "'lost'"]
    found = await call(http, "Hub", "h", "fails", "a", "nothing_of_the_kind")
    assert found[:5] == ["not-found", "", False, False, False]
    passed_on = await ask(http, "Hub", "h", "pass_on", "a")
    assert passed_on.status_code == 500
    assert passed_on.json()["retryable"] is False


async def test_20_overload_is_told_as_such(http: httpx.AsyncClient) -> None:
    """In the list of docs/acceptance.md: `.overloaded`, and not to be tried again."""
    both = await asyncio.gather(*(call(http, "Hub", hub, "overloads", "busy", CALLS_MAX) for hub in ("h1", "h2")))
    assert sum(refused for refused, _ in both) >= CALLS_MAX // 2
    assert all(as_it_should for _, as_it_should in both)


async def test_the_entrypoint_calls_objects(http: httpx.AsyncClient) -> None:
    assert [(await http.get("/")).text for _ in range(3)] == ["1", "2", "3"]


async def test_calls_arrive_in_order_while_their_object_moves(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """Its slot goes from node to node meanwhile; none fails, none overtakes another."""
    await call(http, "Leaf", "ordered", "note", -1)
    streaming = asyncio.ensure_future(call(http, "Hub", "h", "stream", "ordered"))
    moves = 0
    while moves < 4 and not streaming.done():
        slot, owner = await cluster.owner_of("Leaf", "ordered")
        target = next(node for node in ("n1", "n2", "n3") if node != owner)
        done = await asyncio.to_thread(cluster.homing, "move", str(slot), target)
        await asyncio.sleep(0.3)
        moves += done.returncode == 0 and (await cluster.owner_of("Leaf", "ordered"))[1] != owner
    await call(http, "Hub", "h", "stop")
    count, failed = await streaming
    assert failed == []
    assert moves == 4
    noted = await call(http, "Leaf", "ordered", "noted")
    assert noted == [-1, *range(count)]


async def test_a_call_whose_object_s_node_dies_ends_and_runs_once_or_not_at_all(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """The caller hears *unknown*, or it is done; nothing hangs, nothing runs twice."""
    _, owner = await cluster.owner_of("Leaf", "mortal")
    others = [f"h{i}" for i in range(30) if (await cluster.owner_of("Hub", f"h{i}"))[1] != owner]
    hub = others[0]
    told: dict[str, str] = {}

    async def one(key: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            told[key] = await call(http, "Hub", hub, "stubborn", "mortal", key)

    await asyncio.gather(*(one(f"k{i}") for i in range(40)))
    running = [asyncio.ensure_future(one(f"late{i}")) for i in range(200)]
    view = await cluster.view()
    cluster.process(next(node.pid for node in view.nodes if node.id == owner)).send(signal.SIGKILL)
    await asyncio.gather(*running)
    await cluster.wait_settled(REST_S)
    ran = await call(http, "Leaf", "mortal", "ran")
    assert len(set(ran)) == len(ran)
    assert {key for key, outcome in told.items() if outcome == "done"} <= set(ran)
    assert set(told.values()) <= {"done", "outcome-unknown", "unavailable"}, json.dumps(told)
    assert len(told) == 240
