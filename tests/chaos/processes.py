"""What /proc says about processes: who started whom, and whether a process is still the one that was meant.

A pid alone names nobody for long. A `Process` is a pid and its start time; a signal goes only to the very process that
was found, and only below a process that the test itself started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one with the same pid by its start time (clock ticks since boot)."""

    pid: int
    started_ticks: int

    def state(self) -> str | None:
        """R, S, D, T … as in /proc; `None` once it is gone (a zombie is gone)."""
        found = _stat(self.pid)
        if found is None or found[3] != self.started_ticks or found[1] in "ZX":
            return None
        return found[1]

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.state() is not None

    def send(self, number: signal.Signals) -> bool:
        """Send a signal, if it is still there; false if not."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def gone(self, timeout_s: float) -> None:
        """Wait until it has ended.

        Raises:
            TimeoutError: it still runs after this long.
        """
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} does not end")
            await asyncio.sleep(0.02)

    def environment(self) -> dict[str, str]:
        """The variables that it was started with."""
        lines = (PROC / str(self.pid) / "environ").read_bytes().decode(errors="replace").split("\0")
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def age_s(self) -> float:
        """How long ago it was started, to a hundredth of a second."""
        since_boot = float((PROC / "uptime").read_text().split()[0])
        return since_boot - self.started_ticks / os.sysconf("SC_CLK_TCK")

    def cpu_s(self) -> float:
        """CPU time that it and its children that have ended took; 0 once it is gone."""
        try:
            text = (PROC / str(self.pid) / "stat").read_text(errors="replace")
        except OSError:
            return 0.0
        return sum(map(int, text.rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")

    def name(self) -> str:
        """The command's name."""
        found = _stat(self.pid)
        return found[0] if found else ""

    def rss_bytes(self) -> int:
        """Resident memory now; 0 once it is gone."""
        return _rollup(self.pid, "Rss:")

    def pss_bytes(self) -> int:
        """Proportional memory now: pages that are shared count in parts."""
        return _rollup(self.pid, "Pss:")


def find(pid: int) -> Process | None:
    """The process that has this pid now."""
    found = _stat(pid)
    return Process(pid, found[3]) if found and found[1] not in "ZX" else None


def descendants(pid: int) -> list[Process]:
    """Every living process below `pid`, nearest first."""
    children: dict[int, list[Process]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (found := _stat(int(entry.name))) is not None and found[1] not in "ZX":
            children.setdefault(found[2], []).append(Process(int(entry.name), found[3]))
    result: list[Process] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(0), [])
        result.extend(below)
        todo.extend(process.pid for process in below)
    return result


def end(processes: list[Process]) -> None:
    """Kill these very processes."""
    for process in processes:
        with contextlib.suppress(PermissionError):
            process.send(signal.SIGKILL)


def _stat(pid: int) -> tuple[str, str, int, int] | None:
    """Name, state, parent and start time."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return head.partition("(")[2], fields[0], int(fields[1]), int(fields[19])


def _rollup(pid: int, field: str) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)
