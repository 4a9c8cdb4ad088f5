"""Most calls go to slots of one node: owners are exchanged until the load is spread, and then they stay.

    hot_slots.py [--slots 24] [--background 4] [--seconds 240]

Clients without idempotency keys call one object in each of 24 slots that n1 owns, as fast as they are answered; a few
more call 1,000 objects anywhere. A node's share is the calls to slots that it owns. Kept when no call failed, the
hottest node had more than 1.6 times the mean share at first and has at most 1.30 times in the last minute, no owner
changed in that minute, and the fullest node always owned at most 1.05 times the mean of the slots.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.cluster import APP, OBJECTS, Neighbours, node_names, owners
from benchmarks.operations.promises import (
    BALANCE_MAX,
    HOT_AFTER_MAX,
    HOT_BEFORE_MIN,
    Bound,
    Moves,
    Placed,
    balance,
    kept,
    shares,
    verdict,
)
from tests.chaos.callers import CLASS, Callers
from tests.chaos.cluster import DevCluster

from homing.ids import ObjectId

NODES = 3
HOT_NODE = "n1"
SETTLE_S = 60.0
FIRST_S = 20.0  # calls are counted for so long before anything can have moved
LAST_S = 60.0  # by then owners must stay
POLL_S = 1.0
TELL_S = 20.0


def names_in(slots: Collection[int], slot_count: int) -> list[str]:
    """The name of a new object in each of the slots."""
    left, found = set(slots), list[str]()
    prefix = f"hot-{time.time_ns():x}"
    for number in itertools.count():
        if not left:
            return found
        slot = ObjectId.from_name(CLASS, f"{prefix}-{number}").slot(slot_count)
        if slot in left:
            left.remove(slot)
            found.append(f"{prefix}-{number}")
    raise AssertionError("names do not end")


class Watch:
    """The clients, and who owned what while they called.

    Args:
        cluster: at rest.
        callers: all of them.
        placed: who owned what at first.
        nodes: that share it.
    """

    def __init__(self, cluster: DevCluster, callers: Sequence[Callers], placed: Placed, nodes: Sequence[str]) -> None:
        self.placed, self.moves = placed, Moves(placed)
        self.fullest = balance(placed, nodes)
        self.calls_before: Counter[int] = Counter()
        self._cluster, self._callers, self._nodes = cluster, callers, nodes
        self._slot_of = {
            name: ObjectId.from_name(CLASS, name).slot(cluster.slots) for each in callers for name in each.answers
        }

    def mark(self) -> None:
        """Calls are counted from now on."""
        self.calls_before = self._calls()

    def hottest(self) -> float:
        """What the hottest node's share of calls since the mark is over the mean."""
        return max(shares(self._calls() - self.calls_before, self.placed, self._nodes).values())

    def told(self) -> str:
        """Every node's share of calls since the mark, over the mean, and what it owns."""
        found = shares(self._calls() - self.calls_before, self.placed, self._nodes)
        count = Counter(holder for holders in self.placed.values() for holder in holders)
        return ", ".join(f"{node} {share:.2f} with {count[node]} slots" for node, share in found.items())

    async def follow(self, seconds: float) -> None:
        """Look who owns what, again and again."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            await asyncio.sleep(min(POLL_S, end - now))
            for each in self._callers:
                each.check()
            try:
                view = await self._cluster.view()
            except OSError:  # the promise is about calls; this was a question of ours
                continue
            self.moves.see(owners(view))
            self.placed = {slot: holders or self.placed[slot] for slot, holders in owners(view).items()}
            self.fullest = max(self.fullest, balance(self.placed, self._nodes))

    def _calls(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for each in self._callers:
            for name, answers in each.answers.items():
                found[self._slot_of[name]] += len(answers)
        return found


async def measure(cluster: DevCluster, hot: int, background: int, seconds: float) -> bool:
    """Call, follow, judge."""
    view = await cluster.wait_settled(SETTLE_S, balanced=True)
    names = names_in(view.owned_by(HOT_NODE)[:hot], cluster.slots)
    callers = [
        Callers(cluster.connect, len(names), names),
        Callers(cluster.connect, background, [f"any-{number}" for number in range(OBJECTS)]),
    ]
    neighbours, began = Neighbours(), time.monotonic()
    watch = Watch(cluster, callers, owners(view), node_names(view))
    try:
        await watch.follow(FIRST_S)
        first = watch.hottest()
        print(f"at first: {watch.told()}", flush=True)
        for _ in range(max(1, round((seconds - FIRST_S - LAST_S) / TELL_S))):
            watch.mark()
            await watch.follow(TELL_S)
            print(f"{time.monotonic() - began:.0f} s: {watch.told()}; {watch.moves.count} moved", flush=True)
        watch.mark()
        moved = watch.moves.count
        await watch.follow(LAST_S)
        last = watch.hottest()
        print(f"at last: {watch.told()}", flush=True)
    finally:
        await asyncio.gather(*(each.stop() for each in callers))
    wrong = [line for each in callers for line in each.wrong()]
    failures = [line for each in callers for line in each.calls.failures]
    print("\n".join([*failures[:5], *wrong[:5]]))
    bounds = [
        Bound("failed calls", len(failures), 0),
        Bound("counters with a lost or doubled call", len(wrong), 0),
        Bound("hottest node at first", first, HOT_BEFORE_MIN, least=True),
        Bound("hottest node at last", last, HOT_AFTER_MAX),
        Bound("balance of slots", watch.fullest, BALANCE_MAX),
        Bound("owners changed in the last minute", watch.moves.count - moved, 0),
    ]
    calls, took = sum(each.count for each in callers), time.monotonic() - began
    note = f"{watch.moves.count} moved; {calls:,} calls in {took:.0f} s, {calls / took:,.0f}/s"
    print(verdict("hot slots", bounds, f"{note}; others kept {neighbours.cores():.2f} cores busy"), flush=True)
    return kept(bounds)


def main() -> int:
    """0 if the promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=24, help="of one node, that get most calls")
    parser.add_argument("--background", type=int, default=4, help="clients that call objects anywhere")
    parser.add_argument("--seconds", type=float, default=240.0)
    options = parser.parse_args()
    with DevCluster(APP, NODES) as cluster:
        return 0 if uvloop.run(measure(cluster, options.slots, options.background, options.seconds)) else 1


if __name__ == "__main__":
    sys.exit(main())
