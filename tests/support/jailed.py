"""Jailed workers for tests: a real nsjail around the stand-in worker, and a way to run code in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from homing_node.workers.app_bundle import AppBundle, bundle_app
from homing_node.workers.inside.channel import EVENT, LOG, TURN
from homing_node.workers.jail import JailSpec, nsjail_binary
from homing_node.workers.jail_cache import cache_folder
from homing_node.workers.jail_config import JailLimits
from homing_node.workers.jail_system import parent_of, status_of
from homing_node.workers.process import WorkerProcess, WorkerSpec
from homing_node.workers.runtime_root import RuntimeRoot, runtime_root

STAND_IN = Path(__file__).parent.parent / "e2e" / "stand_in_worker.py"
MIB = 1024 * 1024
SMALL = JailLimits(address_space_bytes=512 * MIB, memory_bytes=512 * MIB)


@cache
def cache_dir() -> Path:
    """A cache that every test of this machine's user shares, so that the runtime is built once."""
    return cache_folder()


@cache
def runtime() -> RuntimeRoot:
    return runtime_root(cache_dir())


@cache
def stand_in_app() -> AppBundle:
    return bundle_app(STAND_IN, cache_dir())


def jail_spec(limits: JailLimits = SMALL) -> JailSpec:
    command = ("/usr/bin/python3", "-I", "-S", "-B", "-X", "utf8", "/app/main.py")
    return JailSpec(runtime(), stand_in_app().path, command, nsjail_binary(), jail_limits=limits)


def worker_spec(main: str = "main", **changes: Any) -> WorkerSpec:
    return replace(WorkerSpec(jail_spec(), "/app", main), **changes)


class Probe:
    """A worker and what it says.

    `life` is the task of its `live`; its result is why the worker ended.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.lines: list[tuple[str, str]] = []
        self.answers: dict[int, asyncio.Future[Any]] = {}
        self.worker = WorkerProcess(1, 1, spec, self._on_frame)
        self.life: asyncio.Task[str]

    def _on_frame(self, worker: WorkerProcess, frame: list[Any]) -> None:
        if frame[0] == LOG:
            self.lines.append((frame[3], frame[4]))
        elif frame[0] == TURN:
            self.answers[frame[4]].set_result(frame[5][0][2])

    def ask(self, code: str) -> asyncio.Future[Any]:
        number = len(self.answers) + 1
        future = self.answers[number] = asyncio.get_running_loop().create_future()
        self.worker.send((EVENT, 1, number, 1, "run", code, 1000, "", "", None))
        return future

    async def run(self, code: str) -> Any:
        """The `result` of code in the jail; or [type, message, errno] of what it raised."""
        async with asyncio.timeout(20):
            kind, *rest = await self.ask(code)
        return rest[0] if kind == "ok" else [kind, *rest]

    async def end(self) -> str:
        """Why the worker ended, once it has."""
        async with asyncio.timeout(20):
            return await self.life


@contextlib.asynccontextmanager
async def probe(main: str = "main", **changes: Any) -> AsyncIterator[Probe]:
    """A worker that is ready; killed at the end."""
    async with asyncio.TaskGroup() as group:
        started = Probe(worker_spec(main, **changes))
        started.life = group.create_task(started.worker.live())
        try:
            await started.worker.ready
            yield started
        finally:
            started.worker.kill("the test is over")


def proc(pid: int, name: str) -> str:
    """A file of /proc/<pid>, as text; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except FileNotFoundError:
        return ""


def exists(pid: int) -> bool:
    """Whether a process is there, be it a zombie."""
    return Path(f"/proc/{pid}").exists()


def dead(pid: int) -> bool:
    """Whether a process has ended; one that fell to us, since we adopt orphans, is reaped."""
    if parent_of(pid) == os.getpid():
        os.waitpid(pid, os.WNOHANG)
    return status_of(pid).get("State", "Z")[0] == "Z"


def python(code: str, *, reads: bool = False) -> subprocess.Popen[str]:
    """Another Python that runs code and can import what the tests can; it reads what we write, if that is wanted."""
    setting = f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", setting + code],
        stdin=subprocess.PIPE if reads else None,
        stdout=subprocess.PIPE,
        text=True,
    )


STAND_IN_PROGRAM = "import runpy; runpy.run_path('/app/stand_in.py', run_name='__main__')"


def write_app(folder: Path, main: str = "main", note: str = "") -> Path:
    """An application of the stand-in worker; another note is other code, another main starts another way."""
    folder.mkdir(exist_ok=True)
    (folder / "stand_in.py").write_text(STAND_IN.read_text())
    (folder / f"{main}.py").write_text(note)
    (folder / "homing.toml").write_text(f'[app]\nmain = "{main}.py"\n')
    return folder
