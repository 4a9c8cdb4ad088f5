"""Sandboxes in jails of their own: whose they are, what they share with others, their bounds, and their end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from homing.errors import HomingError, Overloaded, Unavailable
from homing.sandboxes import Limits
from homing_node.sandboxes import limits
from homing_node.sandboxes.fleet import Fleet
from homing_node.sandboxes.service import Sandboxes
from homing_node.workers.jail_system import parent_of, status_of
from jailed import proc
from leftovers import Left, gone, left
from sandboxed import EVERY, run, sandboxes, sleeping

SEEN = "[id(object()), hash('x'), __import__('os').getpid()]"


def links(pid: int) -> dict[str, str]:
    """Its namespaces."""
    return {each.name: os.readlink(each) for each in Path(f"/proc/{pid}/ns").iterdir()}


async def end(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_only_tenants_that_the_operator_named_are_strict():
    """Broken by: a policy that is not asked."""
    async with sandboxes(strict=("public-*",)) as node:
        forked, pid = await sleeping(node, "ada")
        strict, other = await sleeping(node, "public-1")
        (zygote,) = [each.pid for each in node.fleet.zygotes if each.sandboxes][:1]
        assert parent_of(pid) == zygote
        assert proc(parent_of(other) or 0, "comm").strip() == "nsjail"
        await end(forked, strict)


async def test_a_strict_sandbox_shares_nothing_with_another_and_has_nothing():
    async with sandboxes(strict=EVERY) as node:
        seen = [(await run(node, SEEN)).check() for _ in range(3)]
        assert len({each[0] for each in seen}) == len({each[1] for each in seen}) == 3, (
            "layout of memory, seed of hashes"
        )
        assert {each[2] for each in seen} == {1}
        first, pid = await sleeping(node)
        second, other = await sleeping(node)
        assert node.fleet.zygotes == []
        mine, theirs, ours = links(pid), links(other), links(os.getpid())
        for name in ("user", "net", "mnt", "pid", "ipc", "uts", "cgroup"):
            assert len({mine[name], theirs[name], ours[name]}) == 3, name
        status = status_of(pid)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "2")
        if os.geteuid() == 0:
            assert status["Uid"] != status_of(other)["Uid"]
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2", "3"]
        assert proc(pid, "environ") == ""
        await end(first, second)


def limit_of(pid: int, controller: str, file: str) -> int | None:
    """What a process's cgroup of version 1 allows; None: that is none of homing's, or there is no such version."""
    found = [line.split(":") for line in proc(pid, "cgroup").splitlines()]
    (group,) = [path for _, names, path in found if controller in names.split(",")] or [""]
    return int(Path(f"/sys/fs/cgroup/{controller}{group}/{file}").read_text()) if "/homing-" in group else None


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/sys/fs/cgroup/memory").exists(), reason="needs root and cgroups of version 1"
)
@pytest.mark.parametrize("strict", [(), EVERY], ids=["forked", "strict"])
async def test_cgroups_limit_memory_processes_and_cpu(strict: tuple[str, ...]):
    """Broken by: a jail that is told nothing of the limits, or that gets the other kind's."""
    memory_bytes = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * limits.zygote_memory_share)
    share_us = int(limits.zygote_cpu_share * (os.cpu_count() or 1) * 100_000)
    async with sandboxes(strict=strict) as node:
        task, pid = await sleeping(node)
        memory = limits.strict_memory_bytes + Limits().memory_bytes if strict else memory_bytes
        assert abs((limit_of(pid, "memory", "memory.limit_in_bytes") or 0) - memory) < 4_096, "whole pages"
        processes = limits.strict_processes if strict else limits.zygote_processes
        assert limit_of(pid, "pids", "pids.max") == processes
        quota, period = (limit_of(pid, "cpu", f"cpu.cfs_{name}_us") or 1 for name in ("quota", "period"))
        assert quota / period == pytest.approx(share_us / 100_000, rel=0.01)
        await end(task)


async def test_what_it_used_before_it_had_code_is_not_counted():
    """A start of Python takes more CPU than this limit. Broken by: `cpu_before_s` that stays 0."""
    async with sandboxes(strict=EVERY) as node:
        assert (await run(node, "__import__('time').sleep(0.3)\n1 + 1", cpu_s=0.05)).check() == 2
        ran = await run(node, "while True: pass", cpu_s=0.1)
        assert ran.error is not None
        assert ran.error.error_type == "cpu_s"


@pytest.mark.parametrize("victim", ["sandbox", "nsjail"])
async def test_after_kills_nothing_is_left(victim: str):
    """Broken by: a node that does not remove the cgroup of a jail whose nsjail was killed."""
    before = left()
    async with sandboxes(strict=EVERY) as node:
        settled = await _alone_with(node)
        for _ in range(int(os.environ.get("HOMING_CYCLES", "3"))):
            task, pid = await sleeping(node)
            nsjail = parent_of(pid) or 0
            os.kill(pid if victim == "sandbox" else nsjail, signal.SIGKILL)
            async with asyncio.timeout(10):
                ran = await task
            assert ran.error is not None
            assert ran.error.code == "sandbox-died"
            assert await gone(pid, nsjail)
        assert (await run(node, "1 + 1")).check() == 2
        await _until_as(settled)
    after = left()
    assert (after.processes, after.zombies, after.cgroups, after.mounts) == (
        before.processes, before.zombies, before.cgroups, before.mounts,
    )  # fmt: skip


async def _alone_with(node: Sandboxes) -> Left:
    """What there is when a node has run something, and nothing goes on."""
    await run(node, "1")
    while (found := left()).processes:
        await asyncio.sleep(0.01)
    return found


async def _until_as(settled: object) -> None:
    deadline = time.monotonic() + 5
    while left() != settled:
        assert time.monotonic() < deadline, (left(), settled)
        await asyncio.sleep(0.02)


async def test_where_no_zygote_can_be_had_a_jail_is_built_for_the_run(monkeypatch: pytest.MonkeyPatch):
    """Both reasons: no zygote starts, and there are as many tenants with zygotes as there may be."""
    async with sandboxes() as node:
        monkeypatch.setattr(limits, "tenants_max", 1)
        first, _ = await sleeping(node, "ada")
        strict, pid = await sleeping(node, "bob")
        assert proc(parent_of(pid) or 0, "comm").strip() == "nsjail"
        await end(first, strict)

    async def none(*_: object) -> None:
        raise Unavailable("no zygote could be started")

    monkeypatch.setattr(Fleet, "take", none)
    async with sandboxes() as node:
        assert (await run(node, "1 + 1")).check() == 2


async def test_there_is_a_bound_on_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "strict_max", 1)
    async with sandboxes(strict=EVERY) as node:
        first, _ = await sleeping(node)
        with pytest.raises(Overloaded) as refused:
            await run(node, "1")
        assert refused.value.cause == "sandboxes"
        await end(first)


async def test_a_run_that_nobody_waits_for_any_more_leaves_nothing():
    """It is given up while its jail is built. Broken by: `take` that does not kill what it has begun."""
    async with sandboxes(strict=EVERY) as node:
        settled = await _alone_with(node)
        asked = asyncio.ensure_future(run(node, "1"))
        while not left().processes:
            await asyncio.sleep(0.002)
        await end(asked)
        await _until_as(settled)
        assert (await run(node, "1 + 1")).check() == 2


async def test_one_that_does_not_come_up_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "zygote_start_s", 0.5)
    for program in ("import os; os.write(3, b'?'); os.read(3, 1)", "import os; os.read(3, 1)", "1 / 0"):
        async with sandboxes(program=program, strict=EVERY) as node:
            with pytest.raises(HomingError, match="before it was ready"):
                await run(node, "1")
