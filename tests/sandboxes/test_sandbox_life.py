"""kill -9 of a sandbox, a zygote, an nsjail, a node: nothing of them stays. HOMING_CYCLES sets how often each."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from homing_node.sandboxes import limits
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.service import Sandboxes
from homing_node.workers.jail import JailSpec
from homing_node.workers.jail_cgroups import prepare_cgroups
from homing_node.workers.jail_system import become_subreaper, parent_of, status_of
from jailed import dead, python
from leftovers import Left, descendants, gone, left
from sandboxed import run, sandboxes, sleeping

CYCLES = int(os.environ.get("HOMING_CYCLES", "6"))
PAUSE_S = 20.0

# Imports everything once, then is a new node for each line that it reads: a child that is killed like any other.
NODES = """
import asyncio, os, sys
sys.path.append({support!r})
from sandboxed import sandboxes, sleeping
from homing.sandboxes import Asked, Limits
async def main():
    async with sandboxes() as node:
        run = asyncio.ensure_future(node.run(Asked("while True: pass", limits=Limits(cpu_s=60, wall_s=60))))
        while not node.list() or not node.list()[0].pid:
            await asyncio.sleep(0.01)
        print(os.getpid(), node.list()[0].pid, *[zygote.pid for zygote in node.fleet.zygotes], flush=True)
        await run
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        asyncio.run(main())
    os.waitpid(pid, 0)
    print("reaped", flush=True)
"""


async def _cycle(node: Sandboxes, victim: str) -> None:
    task, pid = await sleeping(node)
    zygote = parent_of(pid) or 0
    nsjail = parent_of(zygote) or 0
    target = {"sandbox": pid, "zygote": zygote, "nsjail": nsjail}[victim]
    os.kill(target, signal.SIGKILL)
    async with asyncio.timeout(10):
        results = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(results[0], Exception) or results[0].error is not None
    assert await gone(pid), "a sandbox is dead, and reaped by its zygote"
    if victim != "sandbox":
        assert await gone(zygote, nsjail), "a zygote and its nsjail are dead, and reaped by their node"
    assert (await run(node, "1 + 1")).result == 2


@contextmanager
def told(victim: str) -> Generator[list[Left]]:
    """Have the figures in the output of the test."""
    seen: list[Left] = []
    began_s = time.monotonic()
    yield seen
    title = f"{CYCLES} times kill -9 of a {victim}, in {time.monotonic() - began_s:.0f} s:"
    sys.stdout.write("\n  ".join([title, *map(str, seen)]) + "\n")


@pytest.mark.parametrize("victim", ["sandbox", "zygote", "nsjail"])
async def test_after_kills_runs_go_on_and_nothing_is_left(victim: str):
    """Broken by: a node that does not remove the cgroup of a jail whose nsjail was killed; one that reaps no orphan."""
    before = left()
    with told(victim) as seen:
        async with sandboxes() as node:
            await _cycle(node, victim)
            settled = await _at_rest(node, None)
            for _ in range(CYCLES - 1):
                await _cycle(node, victim)
            seen += [before, settled, await _at_rest(node, settled)]
        seen.append(left())
    after = seen[-1]
    assert seen[2] == settled, "while the node lives"
    assert after.descriptors <= before.descriptors + 2, "descriptors that the loop keeps for itself, and no more"
    assert (after.processes, after.zombies, after.cgroups, after.mounts) == (
        before.processes, before.zombies, before.cgroups, before.mounts,
    )  # fmt: skip


async def test_a_node_that_stops_while_a_zygote_is_about_to_start_leaves_none(monkeypatch: pytest.MonkeyPatch):
    """Broken by: `Fleet._start` without its look at whether the node stops; `sandboxes` then never ends."""
    begun, calls, make = threading.Event(), itertools.count(), SandboxJails.zygote

    def slow(jails: SandboxJails) -> JailSpec:
        if next(calls):  # the tenant has its zygote: this one is for whoever comes next
            begun.set()
            time.sleep(0.5)
        return make(jails)

    monkeypatch.setattr(SandboxJails, "zygote", slow)
    async with sandboxes() as node:
        await run(node, "1")
        assert await asyncio.to_thread(begun.wait, 10)


async def _at_rest(node: Sandboxes, wanted: Left | None) -> Left:
    """What there is when no run goes on and all that waits is ready; what is not as wanted in time is told as it is."""
    deadline = time.monotonic() + PAUSE_S
    while True:
        found = left()
        # Else an nsjail is not done with its cgroups, or the pidfd of a spare is still to come.
        ready = [zygote.ready.done() and not zygote.unanswered for zygote in node.fleet.zygotes]
        quiet = node.fleet.spare_count == 4 and ready == [True, True]
        if quiet and wanted in (None, found):
            return found
        if time.monotonic() > deadline:
            assert wanted is not None, f"a tenant's zygote with its spares and one that is nobody's, not {found}"
            return found
        await asyncio.sleep(0.05)


async def test_a_node_that_is_killed_takes_everything_with_it():
    """The sandbox is in a loop and hears of nothing: only the kernel can end it.

    Broken by: zygotes whose nsjail is not told to die with its node; no sweep of cgroups.
    """
    become_subreaper()  # what a node that was killed leaves is ours to reap, as it would be that of init
    for orphan in descendants(os.getpid()):
        dead(orphan)  # what other tests have left is reaped below with the rest, so it is not to be counted
    before = left()
    nodes: list[int] = []
    with told("node") as seen:
        with python(NODES.format(support=str(Path(__file__).parent.parent / "support")), reads=True) as breeder:
            for _ in range(CYCLES):
                nodes.append(await _kill_a_node(breeder))
            breeder.communicate()
        prepare_cgroups(cpu=True).remove()  # as the next node does
        seen += [before, left(nodes)]
    assert seen[-1] == before


async def _kill_a_node(breeder: Popen[str]) -> int:
    """One node more, which is killed while code runs there; its pid."""
    assert breeder.stdin is not None
    assert breeder.stdout is not None
    breeder.stdin.write("\n")
    breeder.stdin.flush()
    node, *inside = [int(word) for word in (await asyncio.to_thread(breeder.stdout.readline)).split()]
    nsjails = [parent_of(pid) or 0 for pid in inside[1:]]
    assert all(status_of(pid) for pid in (*inside, *nsjails))
    os.kill(node, signal.SIGKILL)
    assert (await asyncio.to_thread(breeder.stdout.readline)) == "reaped\n"
    deadline = time.monotonic() + PAUSE_S
    while orphans := [pid for pid in descendants(os.getpid()) if pid != breeder.pid]:
        assert time.monotonic() < deadline, f"they outlive their node: {[status_of(pid) for pid in orphans]}"
        for pid in orphans:
            dead(pid)  # which reaps what is
        await asyncio.sleep(0.01)
    return node


async def test_a_jail_that_is_slow_to_make_leaves_no_zygote_that_is_nobodys(monkeypatch: pytest.MonkeyPatch):
    """Each look found none that waits for a tenant, and began another. Broken by: a `Fleet` that does not note it."""
    monkeypatch.setattr(limits, "look_s", 0.02)
    made = SandboxJails.zygote

    def slowly(jails: SandboxJails) -> JailSpec:
        time.sleep(0.3)
        return made(jails)

    monkeypatch.setattr(SandboxJails, "zygote", slowly)
    async with sandboxes() as node:
        await run(node, "1")
        await _at_rest(node, None)
        await asyncio.sleep(1)
        assert len(node.fleet.zygotes) == 2, "the tenant's, and one for whoever comes next"
