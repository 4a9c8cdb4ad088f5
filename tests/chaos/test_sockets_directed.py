"""WebSockets on a real cluster of three nodes: what a room says under faults, and what it costs to sleep."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import REST_TIMEOUT_S, DevCluster
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

APP = Path(__file__).parent / "apps" / "sockets"
CLIENTS = 40
IN_FLIGHT = 10  # messages at least, at each fault


@pytest.fixture(scope="module")
def cluster() -> Generator[DevCluster]:
    with DevCluster(APP, 3) as running:
        yield running


@pytest.fixture
async def http(cluster: DevCluster) -> AsyncGenerator[httpx.AsyncClient]:
    async with cluster.at_rest() as client:
        yield client


def room(cluster: DevCluster, path: str, **options: Any) -> connect:
    return connect(f"ws{cluster.url.removeprefix('http')}{path}", max_size=1 << 25, **options)


async def ask(http: httpx.AsyncClient, name: str, method: str, *args: object) -> Any:
    answer = await http.post(f"/_homing/v1/objects/Room/{name}/rpc/{method}", json={"args": args})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def test_messages_go_both_ways_and_to_all(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """Text, bytes, up to 32 MiB, straight to the object and through the entrypoint."""
    ann = room(cluster, "/_homing/v1/objects/Room/a/fetch/?name=ann")
    async with ann as one, room(cluster, "/a?name=bob") as other:
        await one.send("hello")
        assert [await one.recv(), await other.recv()] == ["ann 1 hello"] * 2
        await other.send(b"\x00\x01")
        assert [await one.recv(), await other.recv()] == [b"\x01\x00"] * 2
        large = os.urandom(20 << 20)
        await one.send(large)
        for each in (one, other):
            assert await asyncio.wait_for(each.recv(), 30.0) == large[::-1]
        assert sorted(await ask(http, "a", "sockets")) == [["room", "is ann"], ["room", "is bob"]]
        await ask(http, "a", "show_out", "bob", 3_001, "bye")
        with pytest.raises(ConnectionClosed) as closed:
            await other.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3_001, "bye")
        assert await one.recv() == "bob left with 3001 'bye' True"
        await one.send("boom")
        await one.send("still here")
        assert await one.recv() == "ann 3 still here"
    await asyncio.sleep(0.3)
    assert await ask(http, "a", "sockets") == []


async def test_who_is_no_websocket_and_who_is_refused(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    assert (await http.get("/a")).status_code == 426
    with pytest.raises(InvalidStatus) as refused:
        async with room(cluster, "/_homing/v1/objects/Nothing/a/fetch/"):
            pass
    assert refused.value.response.status_code == 404
    with pytest.raises(InvalidStatus) as failed:
        async with room(cluster, "/a"):  # its code raises: there is no name
            pass
    assert failed.value.response.status_code == 500


async def test_a_client_that_vanishes_is_told_of(cluster: DevCluster) -> None:
    async with room(cluster, "/v?name=ann") as one, room(cluster, "/v?name=bob") as other:
        await other.send("x")
        assert await one.recv() == "bob 1 x"
        other.transport.abort()
        assert await asyncio.wait_for(one.recv(), 5.0) == "bob left with 1006 '' False"


async def test_11_a_sleeping_object_keeps_its_sockets(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """In the list of docs/acceptance.md: an automatic answer does not wake it, a message does, and all is as it was."""
    async with room(cluster, "/s?name=ann") as one:
        await one.send("before")
        assert await one.recv() == "ann 1 before"
        await ask(http, "s", "fresh")
        address = "/_homing/v1/objects/Room/s"
        deadline = time.monotonic() + 30.0
        while (await http.get(address)).json()["active"]:
            assert time.monotonic() < deadline, "it did not go to sleep"
            await asyncio.sleep(0.5)
        await one.send("ping")
        assert await one.recv() == "pong"
        facts = (await http.get(address)).json()
        assert not facts["active"]
        assert facts["sockets"] == 1
        await one.send("after")
        assert await one.recv() == "ann 2 after"
        assert await ask(http, "s", "fresh") is True


# -- under faults -------------------------------------------------------------------------------------------------


@dataclass
class Client:
    """Somebody in the room, who says numbers and looks at those of the others."""

    name: str
    socket: ClientConnection
    said: int = 0
    heard: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    at: list[float] = field(default_factory=list[float])

    async def listen(self) -> None:
        async for message in self.socket:
            name, number, _ = str(message).split(" ", 2)
            if number != "left":  # at the end, when all go one by one
                self.heard[name].append(int(number))
                self.at.append(time.monotonic())

    async def say(self) -> None:
        self.said += 1
        await self.socket.send(f"{self.said}")


async def _kill_owner(cluster: DevCluster, _: httpx.AsyncClient) -> None:
    _, owner = await cluster.owner_of("Room", "r")
    view = await cluster.view()
    cluster.process(next(node.pid for node in view.nodes if node.id == owner)).send(signal.SIGKILL)


async def _move(cluster: DevCluster, _: httpx.AsyncClient) -> None:
    slot, owner = await cluster.owner_of("Room", "r")
    target = next(node for node in ("n1", "n2", "n3") if node != owner)
    assert (await asyncio.to_thread(cluster.homing, "move", str(slot), target)).returncode == 0


async def _drain(cluster: DevCluster, _: httpx.AsyncClient) -> None:
    _, owner = await cluster.owner_of("Room", "r")
    assert (await asyncio.to_thread(cluster.homing, "drain", owner)).returncode == 0
    assert (await asyncio.to_thread(cluster.homing, "drain", owner, "--stay")).returncode == 0


async def _kill_worker(cluster: DevCluster, _: httpx.AsyncClient) -> None:
    _, owner = await cluster.owner_of("Room", "r")
    view = await cluster.view()
    for worker in view.workers:
        if worker.node == owner:
            with contextlib.suppress(ProcessLookupError):
                cluster.process(worker.pid).send(signal.SIGKILL)


async def _restart_each(cluster: DevCluster, _: httpx.AsyncClient) -> None:
    for name in ("n1", "n2", "n3"):
        view = await cluster.view()
        process = cluster.process(next(node.pid for node in view.nodes if node.id == name))
        assert process.send(signal.SIGTERM)
        await process.gone(REST_TIMEOUT_S)
        await cluster.wait_settled(REST_TIMEOUT_S)


Fault = Callable[[DevCluster, httpx.AsyncClient], Awaitable[None]]


@pytest.mark.parametrize(
    "fault", [_move, _drain, _kill_worker, _restart_each, _kill_owner], ids=lambda fault: fault.__name__[1:]
)
async def test_a_room_under_faults_loses_nothing_and_closes_nobody(
    cluster: DevCluster, http: httpx.AsyncClient, fault: Fault
) -> None:
    """Each message is stored and told; each client checks the numbers of each sender: no gap, no double, no disorder.

    Seen to fail when the gateway does not send again what was not handled: a gap.
    """
    name = "r"
    round_ = fault.__name__[1:]
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            Client(f"{round_}{i}", await stack.enter_async_context(room(cluster, f"/{name}?name={round_}{i}")))
            for i in range(CLIENTS)
        ]
        listening = [asyncio.ensure_future(client.listen()) for client in clients]
        happened = asyncio.ensure_future(_after(1.0, lambda: fault(cluster, http)))
        turn = 0
        while not happened.done() or time.monotonic() - (await happened) < 2.0:
            for _ in range(4):
                await clients[turn % CLIENTS].say()
                turn += 1
            await asyncio.sleep(0.02)
        await _until(lambda: all(sum(map(len, each.heard.values())) == turn for each in clients))
        assert not any(task.done() for task in listening), "a socket was closed"
        for client in clients:
            for other in clients:
                assert client.heard[other.name] == [*range(1, other.said + 1)], (client.name, other.name)
        # They listen on meanwhile: a client that takes nothing in does not hear that it was let go.
        await asyncio.gather(*(client.socket.close() for client in clients), *listening)
        stored = [row[:2] for row in await ask(http, name, "said") if row[0].startswith(round_)]
        assert sorted(stored) == sorted([c.name, n] for c in clients for n in range(1, c.said + 1))


async def _after(delay_s: float, act: Callable[[], Awaitable[None]]) -> float:
    await asyncio.sleep(delay_s)
    await act()
    return time.monotonic()


async def _until(done: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
