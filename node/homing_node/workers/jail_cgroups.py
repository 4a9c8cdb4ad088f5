"""Limits by cgroup, version 1 or 2, where the host lets this process make one; a host that does not is a finding.

Each pool makes one group, `homing-<pid>-<start>-<number>`, and nsjail one below it for each jail. The name says whose
it is, so the next node removes what a killed one left.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from homing_node.workers.jail_system import start_ticks_of

_ROOT = Path("/sys/fs/cgroup")
_NAME = re.compile(r"homing-(\d+)-(\d+)-\d+")
_numbers = itertools.count(1)
_PROCESSES = "homing-processes"
_NEEDED = ("memory", "pids")
_OPTIONS = ("mem", "pids", "cpu")  # of nsjail, for these and the one that not every pool wants


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where the jails of a pool get their groups; neither version means that only rlimits hold.

    Attributes:
        version: 1, 2, or 0 for none.
        groups: the pool's group: one folder (2), or one for each controller (1).
        cpu: whether CPU can be limited, too.
        reason: why there is none, as a sentence; empty when there is one.
    """

    version: int
    groups: tuple[Path, ...] = ()
    reason: str = ""
    cpu: bool = False

    def arguments(self, memory_bytes: int, processes: int, cpu_ms_per_s: int = 0) -> list[str]:
        """What nsjail is told, on top of its configuration."""
        limits = ["--cgroup_mem_max", str(memory_bytes), "--cgroup_pids_max", str(processes)]
        if self.cpu and cpu_ms_per_s:
            limits += ["--cgroup_cpu_ms_per_sec", str(cpu_ms_per_s)]
        if self.version == 2:
            return ["--use_cgroupv2", "--cgroupv2_mount", str(self.groups[0]), *limits]
        if self.version == 1:
            where: list[str] = []
            for option, group in zip(_OPTIONS, self.groups, strict=False):
                where += [f"--cgroup_{option}_mount", str(group.parent), f"--cgroup_{option}_parent", group.name]
            return where + limits
        return []

    def remove_jail(self, pid: int) -> None:
        """Remove what is left of the group of a jail that is dead: nsjail does so itself, unless it was killed.

        Args:
            pid: of the program that was in it, after which nsjail names it.
        """
        for group in self.groups:
            with suppress(OSError):  # it is gone, as it should be; else the group's own end takes it along
                (group / f"NSJAIL.{pid}").rmdir()

    def remove(self) -> None:
        """Remove the group; its jails are dead, or die now."""
        for group in self.groups:
            _remove(group)


def prepare_cgroups(root: Path = _ROOT, *, cpu: bool = False) -> Cgroups:
    """Sweep what killed nodes left, and make a group of this process.

    Args:
        root: where cgroups are mounted.
        cpu: whether CPU is to be limited, too, if that can be.
    """
    mine = f"homing-{os.getpid()}-{start_ticks_of(os.getpid())}-{next(_numbers)}"
    try:
        if all((root / controller / "cgroup.procs").exists() for controller in _NEEDED):
            cpu = cpu and (root / "cpu" / "cgroup.procs").exists()
            return _prepare_v1([root / controller for controller in (*_NEEDED, *_cpu_too(cpu=cpu))], mine, cpu=cpu)
        if (root / "cgroup.controllers").exists():
            cpu = cpu and "cpu" in (root / "cgroup.controllers").read_text().split()
            return _prepare_v2(candidates(root, Path("/proc/self/cgroup").read_text()), mine, cpu=cpu)
    except OSError as error:
        return Cgroups(0, reason=f"this user may not make a cgroup: {error}")
    return Cgroups(0, reason=f"no memory and pids controllers are mounted at {root}")


def _cpu_too(*, cpu: bool) -> tuple[str, ...]:
    return ("cpu",) if cpu else ()


def _prepare_v1(mounts: list[Path], mine: str, *, cpu: bool) -> Cgroups:
    for mount in mounts:
        _sweep(mount)
    groups = [mount / mine for mount in mounts]
    try:
        for group in groups:
            group.mkdir(mode=0o755, exist_ok=True)
    except OSError:
        for group in groups:
            _remove(group)
        raise
    return Cgroups(1, tuple(groups), cpu=cpu)


def candidates(root: Path, own: str) -> list[Path]:
    """Where a group may be made: as root at the top, else below the own group, if that was delegated."""
    below = [root / line[3:].lstrip("/") for line in own.splitlines() if line.startswith("0::")]
    below = [group.parent if group.name == _PROCESSES else group for group in below]
    return [root, *below] if os.geteuid() == 0 else below


def _prepare_v2(candidates: list[Path], mine: str, *, cpu: bool) -> Cgroups:
    reason = "this process is in no cgroup of version 2"
    needed = (*_NEEDED, *_cpu_too(cpu=cpu))
    for parent in candidates:
        group = parent / mine
        try:
            _sweep(parent)
            if not os.access(parent / "cgroup.procs", os.W_OK):
                raise PermissionError(f"{parent} is not delegated to this user")
            enable(parent, needed)
            group.mkdir(mode=0o755, exist_ok=True)
            enable(group, needed)
            return Cgroups(2, (group,), cpu=cpu)
        except OSError as error:
            _remove(group)
            reason = f"no group for workers can be made in {parent}: {error}"
    return Cgroups(0, reason=reason)


def enable(group: Path, controllers: Sequence[str]) -> None:
    """Give the groups below one of version 2 their controllers.

    A group that gives them may have no processes itself, unless it is the host's root: one that was delegated to this
    user, such as a service's or a container's, has, and they go to a group below it.

    Raises:
        OSError: the kernel refuses.
    """
    control = group / "cgroup.subtree_control"
    if set(controllers) <= set(control.read_text().split()):
        return
    wanted = " ".join(f"+{name}" for name in controllers)
    try:
        control.write_text(wanted)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _make_room(group)
        control.write_text(wanted)


def _make_room(group: Path) -> None:
    leaf = group / _PROCESSES
    leaf.mkdir(mode=0o755, exist_ok=True)
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(pid)


def _sweep(parent: Path) -> None:
    """Remove the groups of nodes that are gone; whatever still runs in them has lost its node, and is killed."""
    for group in parent.glob("homing-*"):
        name = _NAME.fullmatch(group.name)
        if name is not None and start_ticks_of(int(name[1])) != int(name[2]):
            _remove(group)


def _remove(group: Path) -> None:
    with suppress(OSError):  # gone already, not ours, or its last process is still ending: the next node tries again
        for jail in [entry for entry in group.iterdir() if entry.is_dir()]:
            for pid in (jail / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):
                jail.rmdir()
        group.rmdir()
