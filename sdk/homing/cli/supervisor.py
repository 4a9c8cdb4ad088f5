"""Processes that are kept alive: each part runs, is started again when it dies, and ends when it is told to.

The order is the caller's: parts start when they are added and `Supervisor.stop` ends them from the last to the first.
No part outlives this process, however it ends (see `parented`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from homing.cli.limits import (
    CRASH_LOOP_DEATHS_MAX,
    CRASH_LOOP_DELAY_S,
    CRASH_LOOP_LIFE_S,
    RESTART_DELAY_S,
    STARTUP_DEATHS_MAX,
    TAIL_LINES_MAX,
)
from homing.cli.output import LineSplitter, Output
from homing.cli.plan import PartSpec

_PARENTED = Path(__file__).with_name("parented.py")
_READ_BYTES = 65_536
_DRAIN_S = 0.5


@dataclass(frozen=True)
class Verdict:
    """What follows from a death: wait so long and start again, or give up; and what to say."""

    delay_s: float
    give_up: bool = False
    crash_loop: bool = False


class RestartPolicy:
    """Counts the crashes of one part in a row; no clock and no process, so that it can be tested alone."""

    def __init__(self) -> None:
        self.crashes = 0

    def died(self, lived_s: float, *, starting: bool) -> Verdict:
        """Decide after a death.

        Args:
            lived_s: how long the process lived.
            starting: whether the cluster was never ready so far: then the mistake is in its settings.
        """
        self.crashes = self.crashes + 1 if lived_s < CRASH_LOOP_LIFE_S else 0
        if starting and self.crashes >= STARTUP_DEATHS_MAX:
            return Verdict(0.0, give_up=True)
        if self.crashes >= CRASH_LOOP_DEATHS_MAX:
            return Verdict(CRASH_LOOP_DELAY_S, crash_loop=self.crashes == CRASH_LOOP_DEATHS_MAX)
        return Verdict(RESTART_DELAY_S)


class Part:
    """One process and its successors."""

    def __init__(self, spec: PartSpec, supervisor: Supervisor) -> None:
        self.spec = spec
        self._supervisor = supervisor
        self._output = supervisor.output
        self._policy = RestartPolicy()
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._opened_log = False

    @property
    def pid(self) -> int | None:
        """The running process, or None between two of them."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if a process is running."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def run(self) -> None:
        """Run the process and its successors until `stop`; owned by the supervisor's task group."""
        loop = asyncio.get_running_loop()
        try:
            while not self._stopping.is_set():
                started = loop.time()
                code = await self._run_once()
                if self._stopping.is_set():
                    break
                verdict = self._policy.died(loop.time() - started, starting=not self._supervisor.was_ready)
                self._tell(code, verdict)
                if verdict.give_up:
                    self._supervisor.fail(f"{self.spec.name} does not start; its last lines above say why")
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), verdict.delay_s)
        finally:
            self._kill_group()
            self._ended.set()

    def kill(self) -> None:
        """End the process at once, for good."""
        self._stopping.set()
        self._kill_group()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when it takes too long."""
        self._stopping.set()
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ended.wait(), self.spec.stop_s)
        except TimeoutError:
            self._output.say(f"{self.spec.name} did not end within {self.spec.stop_s:g} s; killing it")
            self._kill_group()
            await self._ended.wait()

    async def _run_once(self) -> int:
        """One process from start to death.

        Its output comes through a pipe of our own: a grandchild that keeps the pipe open must not hide the death.
        """
        if self.spec.log_file is not None:
            with self._log(self.spec.log_file) as log:
                process = await self._start(log.fileno())
            code = await process.wait()
            self._kill_group()
        else:
            readable, writable = os.pipe()
            try:
                process = await self._start(writable)
            except BaseException:
                os.close(readable)
                raise
            finally:
                os.close(writable)
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(self._pump(readable))
                code = await process.wait()
                self._kill_group()
                group.create_task(_end(pump, _DRAIN_S))
        self._process = None  # its number may soon be another's
        return code

    async def _start(self, output: int) -> Process:
        # Told to end while this one was being made: SIGTERM could not reach it then.
        process = self._process = await _spawn(self.spec, output)
        if self._stopping.is_set():
            self.signal(signal.SIGTERM)
        return process

    async def _pump(self, readable: int) -> None:
        splitter = LineSplitter()
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(readable, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            while data := await reader.read(_READ_BYTES):
                for line in splitter.feed(data):
                    self._output.line(self.spec.name, line)
        finally:
            for line in splitter.end():
                self._output.line(self.spec.name, line)
            transport.close()

    def _log(self, path: Path) -> BinaryIO:
        """The log file: begun anew with each `homing dev`, continued by successors."""
        mode = "ab" if self._opened_log else "wb"
        self._opened_log = True
        return path.open(mode)

    def _tell(self, code: int, verdict: Verdict) -> None:
        name = self.spec.name
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if self.spec.log_file is not None:
            for line in tail(self.spec.log_file, TAIL_LINES_MAX):
                self._output.line(name, line)
        if verdict.give_up:
            self._output.say(f"{name} ended {how} {self._policy.crashes} times in a row")
        elif verdict.crash_loop:
            self._output.say(
                f"{name} ended {how} {self._policy.crashes} times in a row, each within {CRASH_LOOP_LIFE_S:g} s. "
                f"It is tried again every {verdict.delay_s:g} s; its last lines say why"
            )
        else:
            self._output.say(f"{name} ended {how}; starting it again in {verdict.delay_s:g} s")

    def _kill_group(self) -> None:
        """Kill what is left of the process and of what it started in its group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


class Supervisor:
    """The owner of all parts: an async context whose end ends every part, the last added first.

    Attributes:
        was_ready: set by the caller once the cluster has worked; before, a part that crashes is a wrong setting.
        finished: set when the cluster should end, by a signal or a failure.
        failure: why it cannot go on; None when it was asked to end.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self.was_ready = False
        self.finished = asyncio.Event()
        self.failure: str | None = None
        self._parts: list[Part] = []
        self._stages: list[list[Part]] = []
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Supervisor:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            await self._group.__aexit__(kind, error, traceback)

    def add(self, *specs: PartSpec) -> list[Part]:
        """Start parts that belong together; they are stopped together too."""
        parts = [Part(spec, self) for spec in specs]
        self._parts.extend(parts)
        self._stages.append(parts)
        for part in parts:
            self._group.create_task(part.run(), name=part.spec.name)
        return parts

    def fail(self, reason: str) -> None:
        """End the cluster because it cannot go on."""
        self.failure = self.failure or reason
        self.finished.set()

    def finish(self) -> None:
        """End the cluster because it was asked to."""
        self.finished.set()

    def kill(self) -> None:
        """End every part at once; `stop` still waits until they are gone."""
        self.finished.set()
        for part in self._parts:
            part.kill()

    async def until_finished(self, work: Awaitable[object]) -> bool:
        """Run `work`, but no longer than the cluster; returns whether it came to its end."""
        task = asyncio.ensure_future(work)
        finished = asyncio.ensure_future(self.finished.wait())
        try:
            await asyncio.wait((task, finished), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            await task  # an error in it is the caller's
            return True
        finally:
            for each in (task, finished):
                each.cancel()
            await asyncio.gather(task, finished, return_exceptions=True)

    async def stop(self) -> None:
        """End all parts, those started together in parallel, the last started first."""
        while self._stages:
            stage = self._stages.pop()
            async with asyncio.TaskGroup() as group:
                for part in stage:
                    group.create_task(part.stop())


def tail(path: Path, lines_max: int) -> Sequence[str]:
    """The last lines of a file of moderate size."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines_max:]
    except OSError:
        return ()


def stop_on_signals(finish: Callable[[], None], kill: Callable[[], None]) -> None:
    """Make Ctrl-C, SIGTERM and a closed terminal end the cluster in order; a second one kills it at once."""
    loop = asyncio.get_running_loop()
    seen = False

    def on_signal() -> None:
        nonlocal seen
        (kill if seen else finish)()
        seen = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it stays ignored
        loop.add_signal_handler(signal.SIGHUP, on_signal)


async def _spawn(spec: PartSpec, output: int) -> Process:
    command = [sys.executable, "-I", "-S", str(_PARENTED), str(os.getpid()), *spec.argv]
    # A session of its own: Ctrl-C in the terminal reaches us alone, and we end the parts in order.
    return await asyncio.create_subprocess_exec(
        *command, env=dict(spec.env), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True,
    )  # fmt: skip


async def _end(task: asyncio.Task[None], after_s: float) -> None:
    """Let a task end by itself for a moment, then cancel it."""
    await asyncio.wait((task,), timeout=after_s)
    task.cancel()
