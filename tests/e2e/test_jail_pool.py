"""The pool: workers of one application, replaced when they die, and all of them when the code changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homing.errors import JailUnavailable
from homing_node.workers.inside.channel import EVENT, TURN
from homing_node.workers.jail_system import children_of, parent_of
from homing_node.workers.pool import PoolConfig, WorkerPool
from homing_node.workers.process import AppFailed, WorkerProcess
from jailed import SMALL, STAND_IN_PROGRAM, cache_dir, exists, write_app


class Host:
    """What the node does with a pool, as far as these tests need it."""

    def __init__(self, **settings: Any) -> None:
        config = PoolConfig(workers=2, cache_dir=str(cache_dir()), jail_limits=SMALL, program=STAND_IN_PROGRAM)
        self.deaths: list[tuple[WorkerProcess, str]] = []
        self.retired: list[WorkerProcess] = []
        self.frames: list[tuple[WorkerProcess, list[Any]]] = []
        self.pool = WorkerPool(
            replace(config, **settings),
            lambda worker, frame: self.frames.append((worker, frame)),
            lambda worker, reason: self.deaths.append((worker, reason)),
            lambda worker, _: self.retired.append(worker),
        )

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(app: Path, **settings: Any) -> AsyncIterator[Host]:
    host = Host(**settings)
    await host.pool.start(await host.pool.bundle(app))
    try:
        yield host
    finally:
        await host.pool.close()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return write_app(tmp_path / "app")


def object_id(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def test_it_starts_as_many_as_it_is_told_and_spreads_ids_stably(app: Path):
    async with running(app) as host:
        pool = host.pool
        assert len(pool.workers) == 2
        assert len({worker.pid for worker in pool.workers}) == 2
        assert pool.classes() == {"Probe"}
        assert not pool.has_default
        picked = [pool.pick(object_id(number)) for number in range(8)]
        assert picked == [pool.pick(object_id(number)) for number in range(8)]
        assert picked.count(pool.workers[0]) == picked.count(pool.workers[1]) == 4


async def test_after_close_nothing_is_left(app: Path):
    before = set(children_of(os.getpid()))
    async with running(app) as host:
        pids = [worker.pid for worker in host.pool.workers]
        pids += [parent_of(pid) or 0 for pid in pids]
        groups = host.pool.cgroups.groups
    assert not any(exists(pid) for pid in pids)
    assert set(children_of(os.getpid())) == before
    assert not any(group.exists() for group in groups)
    assert host.pool.pick(object_id(1)) is None
    await host.pool.wait()


async def test_a_dead_worker_is_told_once_dead_and_replaced(app: Path):
    """Rule 25: a successor starts when the old worker is dead."""
    async with running(app) as host:
        victim = host.pool.pick(object_id(0))
        assert victim is not None
        os.kill(victim.pid, signal.SIGKILL)
        await host.until(lambda: host.deaths)
        assert host.deaths[0][0] is victim
        assert "SIGKILL" in host.deaths[0][1]
        assert not exists(victim.pid)
        beside = host.pool.pick(object_id(0))
        assert beside is not None
        assert beside is not victim
        await host.until(lambda: len(host.pool.workers) == 2)
        assert host.pool.restarts == 1
        successor = host.pool.pick(object_id(0))
        assert successor not in (None, victim, beside)
        assert len(host.deaths) == 1


async def test_a_killed_worker_is_not_picked_while_it_dies(app: Path):
    async with running(app) as host:
        victim = host.pool.pick(object_id(0))
        assert victim is not None
        victim.kill("a test")
        assert host.pool.pick(object_id(0)) is not victim
        await host.until(lambda: host.deaths)
        assert host.deaths == [(victim, "a test")]


async def test_what_a_worker_sent_before_it_died_comes_before_its_death(app: Path):
    """Rule 22: a commit that reached the node counts."""
    for _ in range(3):
        async with running(app, workers=1) as host:
            worker = host.pool.workers[0]
            for call in range(200):
                worker.send((EVENT, 1, call, 1, "run", "result = 'x' * 1000", 1000, "", "", None))
            worker.send((EVENT, 1, 200, 1, "run", "import os; os._exit(0)", 1000, "", "", None))
            seen: list[int] = []
            await host.until(lambda seen=seen, host=host: host.deaths and not seen.append(len(host.frames)))
            assert sum(frame[0] == TURN for _, frame in host.frames[: seen[0]]) == 200


async def test_reload_moves_to_the_new_code(app: Path):
    async with running(app) as host:
        old = list(host.pool.workers)
        write_app(app, note="# changed")
        await host.pool.reload(await host.pool.bundle(app))
        assert host.retired == old
        picked = {host.pool.pick(object_id(number)) for number in range(4)}
        assert {worker.generation for worker in picked if worker is not None} == {2}
        assert all(exists(worker.pid) for worker in old)
        for worker in old:
            host.pool.release(worker)
        await host.until(lambda: len(host.deaths) == 2)
        assert {reason for _, reason in host.deaths} == {"its code was replaced"}
        assert set(host.pool.workers) == picked
        assert host.pool.restarts == 0


async def test_old_workers_end_after_their_grace(app: Path):
    async with running(app, retire_grace_s=0.2) as host:
        write_app(app, note="# changed")
        await host.pool.reload(await host.pool.bundle(app))
        await host.until(lambda: len(host.deaths) == 2)
        assert len(host.pool.workers) == 2


async def test_a_reload_that_fails_keeps_the_old_code(app: Path, tmp_path: Path):
    async with running(app) as host:
        old = list(host.pool.workers)
        broken = write_app(tmp_path / "broken", main="failing")
        with pytest.raises(AppFailed, match="no such thing"):
            await host.pool.reload(await host.pool.bundle(broken))
        assert host.pool.workers == old
        assert host.retired == []
        assert host.pool.pick(object_id(0)) in old
        assert all(worker.usable for worker in old)
        assert not host.deaths
        await host.pool.reload(await host.pool.bundle(write_app(app, note="# mended")))
        assert host.retired == old


async def test_a_reload_of_the_same_code_does_nothing(app: Path):
    async with running(app) as host:
        old = list(host.pool.workers)
        await host.pool.reload(await host.pool.bundle(app))
        assert host.pool.workers == old


async def test_two_versions_serve_and_one_that_never_did_makes_room(app: Path):
    """Seen to fail when a version that is loaded ends every other that does not serve: of two new ones one is gone."""
    async with running(app) as host:
        pool = host.pool
        for version in ("a", "b", "c"):
            await pool.prepare(await pool.bundle(write_app(app, note=f"# {version}")), version)
        assert pool.versions == ["", "b", "c"]
        assert host.retired == []
        first = set(pool.workers[:2])
        pool.serve([(50, "c"), (50, "b")])
        assert set(host.retired) == first
        assert pool.serving == [(50, "c"), (50, "b")]
        picked = [pool.pick(object_id(number)) for number in range(64)]
        assert {worker.generation for worker in picked if worker is not None} == {3, 4}
        assert picked == [pool.pick(object_id(number)) for number in range(64)]
        pool.serve([(100, "c")])
        assert {worker.generation for worker in map(pool.pick, map(object_id, range(64))) if worker is not None} == {4}


async def test_an_application_that_fails_does_not_start(tmp_path: Path):
    before = set(children_of(os.getpid()))
    host = Host()
    with pytest.raises(AppFailed) as caught:
        await host.pool.start(await host.pool.bundle(write_app(tmp_path / "app", main="failing")))
    assert caught.value.traceback == "Traceback: line 1"
    assert set(children_of(os.getpid())) == before


async def test_without_a_jail_it_does_not_start(app: Path):
    host = Host(nsjail="/bin/false")
    with pytest.raises(JailUnavailable):
        await host.pool.start(await host.pool.bundle(app))
    assert host.pool.pick(object_id(0)) is None


async def test_one_worker_in_a_loop_does_not_disturb_the_other(app: Path):
    async with running(app, turn_cpu_s_max=1.0) as host:
        looping, other = host.pool.workers
        looping.send((EVENT, 1, 1, 1, "run", "while True: pass", 1000, "", "", None))
        for call in range(20):
            other.send((EVENT, 1, call, 1, "run", "result = 1", 1000, "", "", None))
        await host.until(lambda: len(host.frames) == 20)
        assert not host.deaths
        await host.until(lambda: host.deaths)
        assert host.deaths == [(looping, "one turn used more than 1 s of CPU")]
        assert other.usable
