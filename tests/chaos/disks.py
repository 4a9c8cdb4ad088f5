"""Faults of disks: one that is full, and one that is lost."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.faults import Fired, Target
from tests.chaos.net_cluster import NetCluster

if TYPE_CHECKING:
    from tests.chaos.hand import Hand

LEAVE_TIMEOUT_S = 30.0
FULL_S = 8.0
FULL_NODE = "n1"


async def fill(hand: Hand, cluster: NetCluster, fired: Fired) -> None:
    """The disk of the first node is full: the node leaves and stays out, and comes back when there is room."""
    view = await hand.at_rest()
    process = hand.process_of(view, FULL_NODE)
    fired.victim = FULL_NODE
    began_s = hand.begin(fired)
    await asyncio.to_thread(cluster.disk.fill)
    try:
        fired.seen = "a write is refused" if not await asyncio.to_thread(_can_write, cluster) else ""
        if not fired.seen:
            fired.problem = "the disk takes more"
        while process.alive() or (await hand.view()).owned_by(FULL_NODE):
            if time.monotonic() > began_s + LEAVE_TIMEOUT_S:
                fired.problem = fired.problem or "the node with the full disk did not leave"
                break
            await asyncio.sleep(0.1)
        fired.seen += f", the node had left after {time.monotonic() - began_s:.1f} s"
        while time.monotonic() < began_s + FULL_S:
            if (await hand.view()).owned_by(FULL_NODE):
                fired.problem = fired.problem or "the node with the full disk came back"
            await asyncio.sleep(0.5)
    finally:
        await asyncio.to_thread(cluster.disk.make_room)
        hand.end(fired)
    await hand.whole(fired)


async def wipe(hand: Hand, cluster: NetCluster, fired: Fired) -> None:
    """A node is killed, and comes back with an empty disk."""
    view = await hand.at_rest()
    fired.victim = victim = hand.owner_of_busiest(view)
    process = hand.process_of(view, victim)
    probes = await hand.probes(view.owned_by(victim))
    killed_s = hand.begin(fired)
    process.send(signal.SIGKILL)
    probing = asyncio.create_task(probes.run(killed_s))
    try:
        if await hand.killed(fired, [process]):
            await asyncio.to_thread(_empty, cluster, victim)
            fired.seen = "its data was removed before it came back"
            if not await hand.returned(Target.WIPED, process):
                fired.problem = "the node did not come back"
    finally:
        hand.end(fired)
        fired.takeover_s = await probing
    await hand.whole(fired)


def _can_write(cluster: NetCluster) -> bool:
    path = cluster.disk.folder / "probe"
    try:
        path.write_bytes(b"\0" * (1 << 20))
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True


def _empty(cluster: NetCluster, node: str) -> None:
    for path in (cluster.data_dir / node).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
