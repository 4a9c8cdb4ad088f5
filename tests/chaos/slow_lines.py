"""Lines that are slow: a delay for what a member sends, and a rate, each seen to bite and seen to be gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from tests.chaos import delay
from tests.chaos.faults import Fired, Target
from tests.chaos.net_cluster import CLIENT, NetCluster
from tests.chaos.network import INTERFACE, Network, NetworkFailed, run

from homing.cli import parented

if TYPE_CHECKING:
    from tests.chaos.hand import Hand

SLOW_S = 5.0
DELAYS_MS = (20, 50, 100)
RATES_KBIT = (2_000, 8_000)
QUICK_S = 0.015
TRIPS = 5
BURST_BYTES = 1_000
BURST_DATAGRAMS = 400


@contextlib.contextmanager
def delayed(network: Network, member: str, delay_ms: float) -> Generator[None]:
    """What a member sends to others than the clients arrives later."""
    others = [address for other, address in network.addresses.items() if other not in (member, CLIENT)]
    program = [*network.command(member), sys.executable, delay.__file__, str(delay_ms), network.addresses[member]]
    guarded = [sys.executable, "-I", "-S", parented.__file__, str(os.getpid()), *program, *others]
    with subprocess.Popen(guarded, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != delay.READY:
                raise NetworkFailed(f"the delay of {member} did not start")
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def limited(network: Network, member: str, kbit: int) -> Iterator[None]:
    """What a member sends is limited to so many kbit/s; what waits longer than 0.2 s is lost."""
    tc = (*network.command(member), "tc", "qdisc")
    run(*tc, "add", "dev", INTERFACE, "root", "tbf", "rate", f"{kbit}kbit", "burst", "16kb", "latency", "200ms")
    try:
        yield
    finally:
        run(*tc, "delete", "dev", INTERFACE, "root", check=False)


async def slow(hand: Hand, cluster: NetCluster, fired: Fired) -> None:
    """The owner of the busiest object sends slowly for some seconds; nothing has to move, and all is answered."""
    network = cluster.network
    view = await hand.at_rest()
    victim = hand.owner_of_busiest(view)
    other = next(member for member in cluster.members if member != victim)
    line = (victim, other)
    with contextlib.ExitStack() as lifting:
        if fired.planned.target is Target.DELAY:
            delay_ms = hand.rng.choice(DELAYS_MS)
            fired.victim = f"{victim}, {delay_ms} ms"
            await asyncio.to_thread(lifting.enter_context, delayed(network, victim, delay_ms))
            began_s = hand.begin(fired)
            trip_s = await asyncio.to_thread(network.trip_s, *line)
            fired.seen = f"a datagram took {trip_s * 1e3:.1f} ms"
            if not delay_ms <= trip_s * 1e3 < delay_ms + 100:
                fired.problem = "the delay is not what it should be"
        else:
            kbit = hand.rng.choice(RATES_KBIT)
            fired.victim = f"{victim}, {kbit} kbit/s"
            lifting.enter_context(limited(network, victim, kbit))
            began_s = hand.begin(fired)
            arrived = (await asyncio.to_thread(network.arrived, [line], BURST_DATAGRAMS, BURST_BYTES))[line]
            fired.seen = f"{arrived} of {BURST_DATAGRAMS} datagrams of {BURST_BYTES} bytes arrived within 0.2 s"
            if not 0 < arrived < BURST_DATAGRAMS:
                fired.problem = "the rate is not limited"
        await asyncio.sleep(max(0.0, began_s + SLOW_S - time.monotonic()))
        healed = await hand.probes(view.owned_by(victim))
    fired.healed_s = await healed.run(hand.end(fired))
    trips_s = [await asyncio.to_thread(network.trip_s, *line) for _ in range(TRIPS)]
    if min(trips_s) > QUICK_S:  # one alone may have waited for a processor
        fired.problem = f"the line is still slow: {min(trips_s) * 1e3:.1f} ms"
    await hand.whole(fired)
