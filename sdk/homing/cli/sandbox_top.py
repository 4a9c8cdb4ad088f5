"""What `homing sandbox top` shows: what runs in sandboxes, most CPU first."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence

import click
import msgspec

from homing.cli.tables import table

_HEADER = ("NODE", "RUN", "TENANT", "PID", "CPU %", "MEMORY KiB", "AGE s")
_CLEAR = "\x1b[H\x1b[J"  # the cursor to the top left, and what was there away


class RunRow(msgspec.Struct):
    """What is shown of one run; its names are those of the gateway's answer."""

    node: str = ""
    run: int = 0
    tenant: str = ""
    pid: int = 0
    age_ms: int = 0
    cpu_ms: int = 0
    memory_bytes: int = 0


class Top:
    """Makes tables of what it is shown, one after the other.

    CPU is of the time between two tables; of a run that was not in the one before, of its whole life.

    Example:
        >>> top = Top()
        >>> _ = top.rows([RunRow("n1", 7, "ada", 11, age_ms=1_000, cpu_ms=500)])
        >>> top.rows([RunRow("n1", 7, "ada", 11, age_ms=2_000, cpu_ms=1_250)])
        [('n1', 7, 'ada', 11, 75, 0, 2)]
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, int], RunRow] = {}

    def rows(self, runs: Sequence[RunRow]) -> list[tuple[str | int, ...]]:
        """The rows of a table, most CPU first."""
        rows = [
            (
                each.node, each.run, each.tenant or "-", each.pid, self._percent(each), each.memory_bytes // 1024,
                each.age_ms // 1_000,
            )
            for each in runs
        ]  # fmt: skip
        self._before = {(each.node, each.run): each for each in runs}
        return sorted(rows, key=lambda row: (-int(row[4]), row[0], row[1]))

    def _percent(self, now: RunRow) -> int:
        before = self._before.get((now.node, now.run), RunRow())
        took_ms = now.age_ms - before.age_ms
        return round(100 * (now.cpu_ms - before.cpu_ms) / took_ms) if took_ms > 0 else 0


def show(top: Top, runs: Sequence[RunRow], *, lines: int | None = None) -> str:
    """A table of what runs.

    Args:
        top: knows the table before.
        runs: what runs now.
        lines: show no more; None: all.
    """
    shown = table(_HEADER, top.rows(runs)).splitlines()
    if lines is None or len(shown) <= lines:
        return "\n".join(shown)
    kept = shown[: max(1, lines - 1)]
    return "\n".join([*kept, f"… and {len(shown) - len(kept)} more"])


def watch(look: Callable[[], Sequence[RunRow]], every_s: float) -> None:
    """Show what runs on the terminal, anew each `every_s`, for ever."""
    top = Top()
    while True:
        lines = shutil.get_terminal_size().lines - 1
        click.echo(_CLEAR + show(top, look(), lines=lines))
        time.sleep(every_s)
