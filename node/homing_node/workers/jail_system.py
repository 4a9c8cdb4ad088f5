"""The few calls to the kernel that jails need and Python does not wrap, and what /proc says of a process."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def become_subreaper() -> None:
    """Make orphans of this process's children its own children, so that a worker whose nsjail died is reaped.

    Raises:
        OSError: the kernel refused.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def signal_by_pidfd(pidfd: int, number: signal.Signals) -> None:
    """Send a signal to exactly the process that the descriptor names; one that is gone is no error."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


def reap(pidfd: int) -> int | None:
    """Collect a dead child.

    Returns:
        Its exit status as a shell shows it (128 + signal), or None when it is no child of this process, or lives.
    """
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def children_of(pid: int) -> list[int]:
    """The children of a process's main thread; empty when there are none or it is gone."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return _children_by_scan(pid)
    except OSError:
        return []


def _children_by_scan(pid: int) -> list[int]:
    """The same for a kernel without CONFIG_PROC_CHILDREN."""
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [child for child in found if parent_of(child) == pid]


def _stat_words(pid: int) -> list[bytes]:
    """The words of /proc/<pid>/stat after the name, which may hold anything; the first is the state (field 3)."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def parent_of(pid: int) -> int | None:
    """The parent's pid; None when the process is gone."""
    try:
        return int(_stat_words(pid)[1])
    except (OSError, IndexError):
        return None


def start_ticks_of(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names one process; None when it is gone."""
    try:
        return int(_stat_words(pid)[19])
    except (OSError, IndexError):
        return None


def cpu_s_of(pid: int) -> float | None:
    """CPU time that all threads of a process have used, in seconds; None when it is gone."""
    try:
        words = _stat_words(pid)
        return (int(words[11]) + int(words[12])) / _TICKS_PER_S
    except (OSError, IndexError):
        return None


def anonymous_bytes_of(pid: int) -> int:
    """Memory of a process that is of no file, as far as it is there; 0 when it is gone."""
    words = status_of(pid).get("RssAnon", "0 kB").split()
    return int(words[0]) * 1024


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/<pid>/status by name; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
