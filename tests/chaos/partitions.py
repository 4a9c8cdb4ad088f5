"""Cuts and losses between the members of a cluster, each seen to bite and seen to be gone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults import LOSS_PERCENT, Fired, Target, edges_of
from tests.chaos.net_cluster import NetCluster
from tests.chaos.network import Cut

if TYPE_CHECKING:
    from tests.chaos.hand import Hand

CUT_S = 5.0
DATAGRAMS = 3
DATAGRAMS_OF_A_LOSS = 60


async def cut(hand: Hand, cluster: NetCluster, fired: Fired) -> None:
    """Cut the owner of the busiest object off as the fault says, for some seconds."""
    target, network = fired.planned.target, cluster.network
    view = await hand.at_rest()
    victim = hand.owner_of_busiest(view)
    edges = edges_of(target, victim, cluster.members)
    percent = hand.rng.choice(LOSS_PERCENT) if target is Target.LOSS else 100
    fired.victim = f"{percent} % of packets" if target is Target.LOSS else victim
    slots = view.owned_by(victim)
    before = await asyncio.to_thread(network.arrived, edges)
    if min(before.values()) < DATAGRAMS:
        fired.problem = f"the network was not whole before: {before}"
        return
    probes = await hand.probes(slots)
    began_s = hand.begin(fired)
    made = await asyncio.to_thread(network.cut, edges, percent)
    probing = asyncio.create_task(probes.run(began_s))
    try:
        await _watch(cluster, made, fired)
        await asyncio.sleep(max(0.0, began_s + CUT_S - time.monotonic()))
        fired.seen += f", {await asyncio.to_thread(network.dropped, made)} packets lost"
        healed = await hand.probes(slots)
    except BaseException:
        probing.cancel()
        raise
    finally:
        await asyncio.to_thread(network.lift, made)
        ended_s = hand.end(fired)
    fired.takeover_s, fired.healed_s = await asyncio.gather(probing, healed.run(ended_s))
    after = await asyncio.to_thread(network.arrived, edges)
    if min(after.values()) < DATAGRAMS:
        fired.problem = f"the network is not whole afterwards: {after}"
    await hand.whole(fired)


async def _watch(cluster: NetCluster, made: Cut, fired: Fired) -> None:
    """See that what should be lost is lost, what should pass passes, and the cluster's own packets are hit."""
    network = cluster.network
    datagrams = DATAGRAMS if made.percent == 100 else DATAGRAMS_OF_A_LOSS
    arrived = await asyncio.to_thread(network.arrived, made.edges, datagrams)
    sent, got = datagrams * len(arrived), sum(arrived.values())
    fired.seen = f"{got} of {sent} datagrams arrived"
    lost_percent = 100 * (sent - got) / sent
    as_told = got == 0 if made.percent == 100 else 0.4 * made.percent < lost_percent < 2 * made.percent
    if not as_told:
        fired.problem = f"the cut does not do what it should: {arrived}"
    back = {(receiver, source) for source, receiver in made.edges} - made.edges
    passed = await asyncio.to_thread(network.arrived, back)
    if min(passed.values(), default=DATAGRAMS) < DATAGRAMS:
        fired.problem = f"the cut takes more than it should: {passed}"
    deadline = time.monotonic() + CUT_S
    while await asyncio.to_thread(network.dropped, made) <= sent - got:
        if time.monotonic() > deadline:
            fired.problem = "no packet of the cluster met the cut"
            return
        await asyncio.sleep(0.1)
