"""People in a chat room on a cluster, and what happens to the room while they talk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.cluster import REST_TIMEOUT_S, DevCluster
from websockets.asyncio.client import ClientConnection, connect

ROOM = "r"


def room(cluster: DevCluster, path: str, **options: Any) -> connect:
    """A socket at a path of the cluster, to be opened."""
    return connect(f"ws{cluster.url.removeprefix('http')}{path}", max_size=1 << 25, **options)


@dataclass
class Person:
    """Somebody in the room, who says numbers and looks at those of the others."""

    name: str
    socket: ClientConnection
    said: int = 0
    heard: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    at: list[float] = field(default_factory=list[float])

    async def listen(self) -> None:
        """Hear everybody, until the socket closes."""
        async for message in self.socket:
            name, number, _ = str(message).split(" ", 2)
            if number != "left":  # at the end, when all go one by one
                self.heard[name].append(int(number))
                self.at.append(time.monotonic())

    async def say(self) -> None:
        """Say the next number."""
        self.said += 1
        await self.socket.send(f"{self.said}")

    def wrong(self, others: list[Person]) -> list[str]:
        """Of whom this one did not hear every number once and in order."""
        return [
            f"{self.name} heard {other.name} say {self.heard[other.name][:50]}, who said 1 to {other.said}"
            for other in others
            if self.heard[other.name] != [*range(1, other.said + 1)]
        ]


async def kill_owner(cluster: DevCluster) -> None:
    """Kill the node that owns the room."""
    _, owner = await cluster.owner_of("Room", ROOM)
    view = await cluster.view()
    cluster.process(next(node.pid for node in view.nodes if node.id == owner)).send(signal.SIGKILL)


async def move(cluster: DevCluster) -> None:
    """Move the room to another node."""
    slot, owner = await cluster.owner_of("Room", ROOM)
    target = next(node for node in ("n1", "n2", "n3") if node != owner)
    assert (await asyncio.to_thread(cluster.homing, "move", str(slot), target)).returncode == 0


async def drain(cluster: DevCluster) -> None:
    """Drain its node, and have it stay after all."""
    _, owner = await cluster.owner_of("Room", ROOM)
    assert (await asyncio.to_thread(cluster.homing, "drain", owner)).returncode == 0
    assert (await asyncio.to_thread(cluster.homing, "drain", owner, "--stay")).returncode == 0


async def kill_worker(cluster: DevCluster) -> None:
    """Kill every worker of its node."""
    _, owner = await cluster.owner_of("Room", ROOM)
    view = await cluster.view()
    for worker in view.workers:
        if worker.node == owner:
            with contextlib.suppress(ProcessLookupError):
                cluster.process(worker.pid).send(signal.SIGKILL)


async def restart_each(cluster: DevCluster) -> None:
    """Restart the nodes one by one; SIGTERM is a drain."""
    for name in ("n1", "n2", "n3"):
        view = await cluster.view()
        process = cluster.process(next(node.pid for node in view.nodes if node.id == name))
        assert process.send(signal.SIGTERM)
        await process.gone(REST_TIMEOUT_S)
        await cluster.wait_settled(REST_TIMEOUT_S)


async def deploy(cluster: DevCluster) -> None:
    """Bring another version of its code, which takes it over."""
    assert await asyncio.to_thread(_deploy, cluster) == 0


def _deploy(cluster: DevCluster) -> int:
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app"
        shutil.copytree(cluster.app, app)
        with (app / "main.py").open("a") as main:
            main.write(f"\n# {time.time_ns()}\n")
        return cluster.homing("deploy", str(app)).returncode


Fault = Callable[[DevCluster], Awaitable[None]]
FAULTS: tuple[Fault, ...] = (move, drain, kill_worker, deploy, restart_each, kill_owner)
