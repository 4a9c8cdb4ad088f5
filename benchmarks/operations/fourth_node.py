"""A fourth node joins, then the first one is drained, under 64 clients without idempotency keys.

    fourth_node.py [--clients 64] [--patience 180]

Kept when both times no call failed, every second had at least 500 answers, p99 is at most 250 ms, the fullest node has
at most 1.05 times the mean, and at most 1.3 times the slots moved that an ideal plan moves: a quarter at the join, and
what the drained node owned at the drain. After the join, copies are judged as slots are. After the drain they are not:
a drained node may keep its copies.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a program, only this folder is on the path

from benchmarks.operations.cluster import APP, POLL_S, ExtraNode, copies, node_names, owners, process_of, watched
from benchmarks.operations.promises import (
    BALANCE_MAX,
    CLIENTS,
    MOVED_OVER_IDEAL_MAX,
    Bound,
    Moves,
    balance,
    kept,
    serving,
    verdict,
)
from tests.chaos.cluster import DevCluster, View

NODES = 3
NEW = "n4"
DRAINED = "n1"
IDEAL_SHARE = 1 / (NODES + 1)  # of a join
SETTLE_S = 60.0
REST_S = 5.0  # nothing has moved for so long: it is over


class Following:
    """The cluster, seen again and again until nothing moves any more."""

    def __init__(self, cluster: DevCluster, view: View) -> None:
        self.view = view
        self.owners, self.copies = Moves(owners(view)), Moves(copies(view))
        self._cluster = cluster
        self._moved_s = time.monotonic()

    async def until_rest(self, patience_s: float, nodes: Sequence[str]) -> None:
        """Follow until it is balanced over `nodes` and at rest, or for `patience_s`."""
        deadline = time.monotonic() + patience_s
        while (now := time.monotonic()) < deadline:
            try:
                self.view = await self._cluster.view()
            except OSError:  # the promise is about calls; this was a question of ours
                await asyncio.sleep(POLL_S)
                continue
            before = self.owners.count + self.copies.count
            self.owners.see(owners(self.view))
            self.copies.see(copies(self.view))
            if self.owners.count + self.copies.count > before:
                self._moved_s = now
            elif now - self._moved_s > REST_S and self._done(nodes):
                break
            await asyncio.sleep(POLL_S)

    def _done(self, nodes: Sequence[str]) -> bool:
        placed = owners(self.view)
        owned = all(set(nodes).issuperset(holders) for holders in placed.values())
        even = balance(copies(self.view), nodes) <= BALANCE_MAX
        return owned and even and balance(placed, nodes) <= BALANCE_MAX

    def bounds(self, nodes: Sequence[str], ideal_share: float, *, judge_copies: bool) -> list[Bound]:
        """Balance over `nodes`, and what moved over the share that an ideal plan moves."""
        kinds = [("slots", owners(self.view), self.owners)]
        if judge_copies:
            kinds.append(("copies", copies(self.view), self.copies))
        found: list[Bound] = []
        for name, placed, moves in kinds:
            found.append(Bound(f"balance of {name}", balance(placed, nodes), BALANCE_MAX))
            found.append(Bound(f"moved {name} over ideal", moves.over_ideal(ideal_share), MOVED_OVER_IDEAL_MAX))
        return found


async def join(cluster: DevCluster, extra: ExtraNode, clients: int, patience_s: float) -> bool:
    """Start the fourth node and judge."""
    async with watched(cluster.connect, clients) as found:
        following = Following(cluster, await cluster.view())
        with_it = [*node_names(following.view), NEW]
        extra.start()
        await following.until_rest(patience_s, with_it)
    seen, wrong = found.served(), found.callers.wrong()
    here = NEW in node_names(following.view)
    bounds = [
        *serving(seen, found.failed, len(wrong)),
        Bound("the fourth node is there", here, 1, least=True),
        *following.bounds(with_it, IDEAL_SHARE, judge_copies=True),
    ]
    print("\n".join([*found.callers.calls.failures[:5], *wrong[:5], following.view.summary()]))
    print(verdict("a fourth node joins", bounds, found.note(seen)), flush=True)
    return kept(bounds)


async def drain(cluster: DevCluster, clients: int, patience_s: float) -> bool:
    """Drain the first node and judge."""
    async with watched(cluster.connect, clients) as found:
        following = Following(cluster, await cluster.view())
        others = [name for name in node_names(following.view) if name != DRAINED]
        share = len(following.view.owned_by(DRAINED)) / len(following.view.slots)
        command = asyncio.create_task(asyncio.to_thread(cluster.homing, "drain", DRAINED))
        await following.until_rest(patience_s, others)
        drained = await command
    seen, wrong = found.served(), found.callers.wrong()
    bounds = [
        *serving(seen, found.failed, len(wrong)),
        Bound("slots left", len(following.view.owned_by(DRAINED)), 0),
        *following.bounds(others, share, judge_copies=False),
    ]
    print("\n".join([*found.callers.calls.failures[:5], *wrong[:5], following.view.summary()]))
    print(f"`homing drain` ended with {drained.returncode}: {(drained.stderr or drained.stdout).strip()[-200:]}")
    left = len([1 for holders in copies(following.view).values() if DRAINED in holders])
    print(f"copies moved: {following.copies.count}; {DRAINED} still keeps {left}")
    print(verdict("a node is drained", bounds, found.note(seen)), flush=True)
    return kept(bounds)


async def measure(cluster: DevCluster, clients: int, patience_s: float) -> bool:
    """Both steps."""
    await cluster.wait_settled(SETTLE_S, balanced=True)
    with ExtraNode(cluster, await process_of(cluster, "n1"), NEW) as extra:
        joined = await join(cluster, extra, clients, patience_s)
        return await drain(cluster, clients, patience_s) and joined


def main() -> int:
    """0 if both promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--patience", type=float, default=180.0, help="seconds that each of the two may take")
    options = parser.parse_args()
    with DevCluster(APP, NODES) as cluster:
        return 0 if uvloop.run(measure(cluster, options.clients, options.patience)) else 1


if __name__ == "__main__":
    sys.exit(main())
