"""Object code in the real runtime in a real jail: what it tries in vain, and how it is contained."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homing_node.workers.inside.channel import EVENT, LOG, OPEN, RESET, RPC, TURN
from homing_node.workers.jail_config import JailLimits
from homing_node.workers.pool import PoolConfig, WorkerPool
from homing_node.workers.process import WorkerProcess
from jailed import MIB, cache_dir

APP = """
import ctypes, os, socket, sys, threading, time
from homing import DurableObject

def number(function, *arguments):
    try:
        return ["allowed", repr(function(*arguments))]
    except OSError as error:
        return error.errno

class Attacker(DurableObject):
    def socket(self): return number(socket.socket)
    def passwd(self): return number(open, "/etc/passwd")
    def fork(self): return number(os.fork)
    def mount(self):
        libc = ctypes.CDLL(None, use_errno=True)
        answer = libc.mount(b"none", b"/app", b"tmpfs", 0, None)
        return ctypes.get_errno() if answer == -1 else ["allowed", answer]
    def environment(self): return dict(os.environ)
    def root(self): return sorted(os.listdir("/"))
    def whoami(self): return [os.getpid(), os.getuid(), os.getgid()]

    def hello(self): return "hello"
    def spin(self):
        while True: pass
    def exit_now(self): os._exit(3)
    def exit_politely(self): sys.exit(4)
    def memory_bomb(self):
        held = []
        while True: held.append(bytearray(16 * 1024 * 1024))
    def threads(self):
        started = []
        try:
            for _ in range(1000):
                started.append(threading.Thread(target=time.sleep, args=(30,), daemon=True))
                started[-1].start()
        except RuntimeError: pass
        return len(started)
    def huge_print(self):
        for _ in range(100): print("x" * 100_000)
        return "printed"
"""


class Host:
    """Opens an activation for each call and collects what comes back."""

    def __init__(self) -> None:
        limits = JailLimits(address_space_bytes=512 * MIB, memory_bytes=512 * MIB)
        config = PoolConfig(workers=1, cache_dir=str(cache_dir()), jail_limits=limits, turn_cpu_s_max=1.0)
        self.pool = WorkerPool(config, self._on_frame, self._on_death)
        self.answers: dict[int, asyncio.Future[Any]] = {}
        self.logs: list[str] = []
        self._numbers = itertools.count(1)

    def _on_frame(self, worker: WorkerProcess, frame: list[Any]) -> None:
        if frame[0] == TURN:
            for call, status, payload, *_ in frame[5]:
                self.answers[call].set_result(json.loads(payload) if status == 0 else {"failed": payload})
        elif frame[0] == RESET:
            self.answers[frame[1]].set_result({"reset": frame[2]})
        elif frame[0] == LOG:
            self.logs.append(frame[4])

    def _on_death(self, worker: WorkerProcess, reason: str) -> None:
        for future in self.answers.values():
            if not future.done():
                future.set_result({"died": reason})

    async def call(self, method: str) -> Any:
        async with asyncio.timeout(15):
            while (worker := self.pool.pick(bytes(32))) is None:
                await asyncio.sleep(0.01)
            number = next(self._numbers)
            self.answers[number] = asyncio.get_running_loop().create_future()
            worker.send((OPEN, number, "Attacker", number.to_bytes(32, "big"), "a", 0, b""))
            worker.send((EVENT, number, number, RPC, method, b"", 10_000, "", "", None, False, 0, 0))
            return await self.answers[number]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    (tmp_path / "main.py").write_text(APP)
    started = Host()
    await started.pool.start(await started.pool.bundle(tmp_path / "main.py"))
    yield started
    await started.pool.close()


async def test_what_it_tries_in_vain(host: Host):
    for method, expected in {
        "socket": errno.EPERM,
        "passwd": errno.ENOENT,
        "fork": errno.EPERM,
        "mount": errno.EPERM,
        "environment": {},
        "root": ["app", "lib", "lib64", "packages", "usr"],
        "whoami": [1, 1000, 1000],
    }.items():
        assert await host.call(method) == {"result": expected}, method


@pytest.mark.parametrize(
    ("method", "words"),
    [("spin", "more than 1 s of CPU"), ("exit_now", "exit status 3")],
)
async def test_it_takes_its_worker_down_and_the_next_one_serves(host: Host, method: str, words: str):
    assert words in (await host.call(method))["died"]
    assert await host.call("hello") == {"result": "hello"}
    assert host.pool.restarts == 1


@pytest.mark.parametrize("method", ["exit_politely", "memory_bomb", "threads", "huge_print"])
async def test_it_hurts_nobody_but_itself(host: Host, method: str):
    answer = await host.call(method)
    assert "died" not in answer, answer
    assert await host.call("hello") == {"result": "hello"}
    assert host.pool.restarts == 0
    assert all(len(line) < 9000 for line in host.logs)
    assert len(host.logs) < 300
    if method == "memory_bomb":
        assert set(answer) & {"reset", "failed"}, answer
    if method == "threads":
        assert answer["result"] <= 32
