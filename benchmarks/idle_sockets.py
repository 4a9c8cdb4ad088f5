"""Memory per socket that is open and quiet, its object asleep: at the gateway, at the nodes, and in workers.

    idle_sockets.py [--sockets 10000] [--nodes 1]

Each socket is one of an object of its own. Memory is read when the last object has left memory, against a cluster that
has had a few hundred sockets before. In the end a message wakes a hundred of the objects.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from benchmarks.scrape import scrape
from tests.chaos.cluster import DevCluster
from tests.chaos.processes import find

APP = ROOT / "benchmarks" / "app"
GATEWAY_KIB_MAX = 20.0
WORKER_KIB_MAX = 0.5  # nothing, but for the noise of allocators
IDLE_S = 1.0
WARM_UP = 300
WOKEN = 100
AT_ONCE = 64
TIMEOUT_S = 120.0
SETTLE_S = 5.0

PING, PONG, TEXT = 0x89, 0x8A, 0x81  # first bytes of frames (RFC 6455, 5.2)


class Connection:
    """A client's end: it answers pings, as every client does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while True:
            kind, size = await self._reader.readexactly(2)
            data = await self._reader.readexactly(size)
            if kind == PING:
                self._write(PONG, data)
            else:
                self._heard.set_result(data)

    def _write(self, kind: int, data: bytes) -> None:
        self._writer.write(bytes((kind, 0x80 | len(data))) + bytes(4) + data)  # with a mask of zeros

    async def echo(self) -> None:
        """Say something, and hear it again."""
        self._write(TEXT, b"hi")
        assert await asyncio.wait_for(self._heard, TIMEOUT_S) == b"hi"


@dataclass
class Memory:
    """Resident KiB."""

    gateway: float
    nodes: float
    workers: float


async def connect(cluster: DevCluster, name: str) -> Connection:
    """A WebSocket to an object, without a library: thousands of a library's would cost more than what is measured.

    Raises:
        ConnectionError: it was refused.
    """
    reader, writer = await asyncio.open_connection(cluster.host, cluster.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /_homing/v1/objects/Listener/{name}/fetch/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(head.decode("latin-1"))
    return Connection(reader, writer)


async def open_all(cluster: DevCluster, prefix: str, count: int) -> list[Connection]:
    """So many sockets, a few at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Connection:
        async with room:
            return await connect(cluster, f"{prefix}{number}")

    return await asyncio.gather(*(one(number) for number in range(count)))


async def read_memory(cluster: DevCluster) -> Memory:
    """When the last object has left memory."""
    deadline = time.monotonic() + TIMEOUT_S
    while (await scrape(cluster)).values["homing_activations"] > 0:
        if time.monotonic() > deadline:
            raise TimeoutError("objects do not leave memory while their sockets are open")
        await asyncio.sleep(0.5)
    await asyncio.sleep(SETTLE_S)
    view = await cluster.view()

    def kib(pids: list[int]) -> float:
        return sum(process.rss_bytes() for pid in pids if (process := find(pid)) is not None) / 1024

    return Memory(
        kib([each.pid for each in view.gateways]),
        kib([each.pid for each in view.nodes]),
        kib([each.pid for each in view.workers]),
    )


async def measure(cluster: DevCluster, sockets: int) -> tuple[Memory, Memory]:
    """Before, and while all are open."""
    warm = await open_all(cluster, "warm-", WARM_UP)
    before = await read_memory(cluster)
    connections = await open_all(cluster, "idle-", sockets)
    after = await read_memory(cluster)
    await asyncio.gather(*(connection.echo() for connection in (*warm, *connections[:: max(1, sockets // WOKEN)])))
    return before, after


def main() -> int:
    """Measure and compare with the limits; 0 if within them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, default=1)
    options = parser.parse_args()
    sockets: int = options.sockets
    with DevCluster(APP, options.nodes, environment={"HOMING_IDLE_S": f"{IDLE_S:g}"}) as cluster:
        before, after = uvloop.run(measure(cluster, sockets))
    gateway = (after.gateway - before.gateway) / sockets
    workers = (after.workers - before.workers) / sockets
    print(f"sockets: gateway {gateway:6.2f} KiB each; limit {GATEWAY_KIB_MAX:g}")
    print(f"sockets: nodes   {(after.nodes - before.nodes) / sockets:6.2f} KiB each")
    print(f"sockets: workers {workers:6.2f} KiB each; limit {WORKER_KIB_MAX:g}")
    within = gateway <= GATEWAY_KIB_MAX and workers <= WORKER_KIB_MAX
    print(f"sockets: {'within' if within else 'OVER'} the limits")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
