"""What a node's sandboxes could leave behind, counted: processes, zombies, cgroups, mounts, descriptors."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from homing_node.workers.jail_system import parent_of, status_of
from jailed import exists

_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Left:
    """Attributes: processes below this one, zombies too; and the folders of cgroups, jails' own included."""

    processes: int
    zombies: int
    cgroups: int
    mounts: int
    descriptors: int


def left(nodes: Iterable[int] = ()) -> Left:
    """What there is now.

    Args:
        nodes: pids of nodes whose cgroups count, beside this process.
    """
    gc.collect()
    below = descendants(os.getpid())
    return Left(
        processes=len(below),
        zombies=sum(status_of(pid).get("State", "")[:1] == "Z" for pid in below),
        cgroups=sum(len(cgroups_of(pid)) for pid in (os.getpid(), *nodes)),
        mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        descriptors=len(os.listdir("/proc/self/fd")),
    )


def descendants(pid: int) -> list[int]:
    """Every process below one, as far as none has left its parent."""
    children: dict[int, list[int]] = {}
    for each in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        children.setdefault(parent_of(each) or 0, []).append(each)
    found, look = list[int](), [pid]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


def cgroups_of(node: int) -> list[Path]:
    """The cgroups that a node made, and those of its jails."""
    groups = [*_CGROUPS.glob(f"*/homing-{node}-*"), *_CGROUPS.glob(f"homing-{node}-*")]
    return [*groups, *(jail for group in groups for jail in group.glob("NSJAIL.*"))]


async def gone(*pids: int, within_s: float = 10.0) -> bool:
    """Whether processes are dead and were reaped, by whose children they were; this waits, and reaps nothing."""
    deadline = time.monotonic() + within_s
    while any(exists(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
