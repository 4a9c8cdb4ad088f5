"""A chat room with 200 WebSocket clients, through every fault that a room may meet, and how long it pauses.

    room.py [--clients 200] [--per-second 20]

Each client hears every message of every other; the room stores each before it tells it. In turn the room is moved,
its node is drained, its workers are killed, another version of its code is deployed, all nodes are restarted one by
one, and its node is killed, each while at least 50 messages are on their way. Kept when no socket closes, each client
hears each sender's numbers once and in order, the room has stored every message, and the longest silence that a
client hears is under 5 s for the kill of the node, and 250 ms for the others. Beside it: when all had heard the
slowest message. What is said at once right before a fault takes its time by itself, which the first round shows, in
which nothing happens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.promises import Bound, kept, verdict
from tests.chaos.cluster import DevCluster
from tests.chaos.room import FAULTS, ROOM, Fault, Person, kill_owner, room

from homing import Client

APP = Path(__file__).resolve().parents[2] / "tests" / "chaos" / "apps" / "sockets"
CLIENTS = 200
PER_SECOND = 20.0
BURST = 60  # said at once right before a fault: so many are on their way
IN_FLIGHT_MIN = 50
LEAD_S, TAIL_S = 2.0, 3.0
HEARD_PATIENCE_S = 20.0
PAUSE_KILL_S, PAUSE_S = 5.0, 0.25
REST_S = 60.0


class Talk:
    """What the clients say, and when everybody has heard it."""

    def __init__(self, clients: list[Person]) -> None:
        self.clients = clients
        self.said_s: list[float] = []

    async def say(self) -> None:
        """The next in turn says something."""
        self.said_s.append(time.monotonic())
        await self.clients[(len(self.said_s) - 1) % len(self.clients)].say()

    async def go_on(self, per_second: float) -> None:
        """Until cancelled."""
        while True:
            await self.say()
            await asyncio.sleep(1 / per_second)

    def in_flight(self) -> int:
        """Messages that somebody has not heard."""
        return len(self.said_s) - min(len(client.at) for client in self.clients)

    async def heard(self) -> None:
        """Wait until everybody has heard everything, or for long enough."""
        deadline = time.monotonic() + HEARD_PATIENCE_S
        while self.in_flight() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def pause_s(self) -> float:
        """The longest silence between two messages that a client heard."""
        return max(later - earlier for client in self.clients for earlier, later in itertools.pairwise(client.at))

    def slowest_s(self) -> float:
        """The longest time from a message to the moment when as many had been heard by everybody."""
        heard = [max(moments) for moments in zip(*(client.at for client in self.clients), strict=False)]
        if len(heard) < len(self.said_s):
            return float("inf")
        return max(all_heard - said for said, all_heard in zip(self.said_s, heard, strict=True))


async def nothing(_: DevCluster) -> None:
    """No fault: what a round takes by itself."""


async def through(cluster: DevCluster, fault: Fault, count: int, per_second: float) -> bool:
    """One fault, with people of its own in the room."""
    name = fault.__name__
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            Person(f"{name}{i}", await stack.enter_async_context(room(cluster, f"/{ROOM}?name={name}{i}")))
            for i in range(count)
        ]
        listening = [asyncio.ensure_future(client.listen()) for client in clients]
        talk = Talk(clients)
        talking = asyncio.ensure_future(talk.go_on(per_second))
        await asyncio.sleep(LEAD_S)
        await asyncio.gather(*(talk.say() for _ in range(BURST)))
        in_flight = talk.in_flight()
        await fault(cluster)
        await asyncio.sleep(TAIL_S)
        talking.cancel()
        await talk.heard()
        closed = sum(task.done() for task in listening)
        wrong = [line for client in clients for line in client.wrong(clients)]
        pause_s, slowest_s = talk.pause_s(), talk.slowest_s()
        await asyncio.gather(*(client.socket.close() for client in clients), *listening)
    async with Client(cluster.url, timeout_s=HEARD_PATIENCE_S) as caller:
        said = await caller.get("Room", ROOM).said()
    stored = sorted(row[:2] for row in said if row[0].startswith(name))
    missing = sorted([c.name, n] for c in clients for n in range(1, c.said + 1)) != stored
    print("\n".join(wrong[:3]))
    bounds = [
        Bound("sockets closed", closed, 0),
        Bound("numbers missed, doubled or out of order", len(wrong), 0),
        Bound("not stored as said", missing, 0),
        Bound("messages in flight", in_flight, IN_FLIGHT_MIN, least=True),
        Bound("pause", pause_s, PAUSE_KILL_S if fault is kill_owner else PAUSE_S, "s"),
    ]
    told = f"{len(talk.said_s)} messages to {count} clients, the slowest heard by all after {slowest_s:.2f} s"
    print(verdict(f"a room through {name}", bounds, told), flush=True)
    return kept(bounds)


async def measure(cluster: DevCluster, count: int, per_second: float) -> bool:
    """Every fault in turn."""
    held = True
    for fault in (nothing, *FAULTS):
        await cluster.wait_settled(REST_S, balanced=True)
        held = await through(cluster, fault, count, per_second) and held
    return held


def main() -> int:
    """0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--per-second", type=float, default=PER_SECOND)
    options = parser.parse_args()
    with DevCluster(APP, 3) as cluster:
        return 0 if uvloop.run(measure(cluster, options.clients, options.per_second)) else 1


if __name__ == "__main__":
    sys.exit(main())
