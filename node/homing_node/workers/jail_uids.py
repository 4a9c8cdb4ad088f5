"""Which uid a worker has: as root one of its own, distinct on the whole host; as an ordinary user that user's.

A uid is taken by a lock on a file of its name, so it is free again when the node that held it ends, however it ends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from homing.errors import JailUnavailable
from homing_node.workers import limits
from homing_node.workers.jail_cache import FileLock

_HOST_FOLDER = Path("/run/homing/uids")


@dataclass(slots=True)
class WorkerUid:
    """The ids outside the jail that a worker's uid and gid 1000 stand for.

    Attributes:
        uid: on the host.
        gid: on the host.
        count: how many there are, from these on.
        lock: held while a worker has the uid; None when the uid is shared with the node.
    """

    uid: int
    gid: int
    lock: FileLock | None = None
    count: int = 1

    @property
    def own(self) -> bool:
        """Whether no other process has this uid."""
        return self.lock is not None

    def release(self) -> None:
        """Let another worker have the uid; only when every process of this one is dead. Idempotent."""
        if self.lock is not None:
            self.lock.release()


def uid_range(uid_map: str) -> range:
    """The uids that this process may give to workers.

    Args:
        uid_map: text of /proc/self/uid_map: what is mapped into the user namespace of this process.

    Returns:
        `worker_uids_max` uids; fewer or none where a container maps fewer.

    Example:
        >>> uid_range("0 0 4294967295")
        range(2000000000, 2000004096)
        >>> uid_range("0 100000 65536")
        range(56320, 60416)
    """
    first, size = limits.worker_uid_first, limits.worker_uids_max
    mapped = [range(int(words[0]), int(words[0]) + int(words[2])) for words in map(str.split, uid_map.splitlines())]
    if any(first in part and first + size - 1 in part for part in mapped):
        return range(first, first + size)
    largest = max(mapped, key=len, default=range(0))
    # In a container of 65,536 uids: below the ones that systemd and `nobody` take, above the ones of people.
    start = largest.start + len(largest) * 55 // 64
    return range(start, min(start + size, largest.stop)) if len(largest) >= 4 * size else range(0)


def take_uid(*, root: bool | None = None, folder: Path = _HOST_FOLDER) -> WorkerUid:
    """A uid for one worker.

    Args:
        root: whether uids other than the own may be mapped; by default whether this process is root.
        folder: where the locks of this host are.

    Raises:
        JailUnavailable: every uid is taken, or the locks cannot be made.
    """
    if not (os.geteuid() == 0 if root is None else root):
        return WorkerUid(os.getuid(), os.getgid())
    uids = uid_range(Path("/proc/self/uid_map").read_text())
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for uid in uids:
            lock = FileLock(folder / str(uid))
            if lock.acquire():
                return WorkerUid(uid, uid, lock)
    except OSError as error:
        raise JailUnavailable(f"the uids of workers cannot be locked in {folder}: {error}") from error
    raise JailUnavailable(f"no uid is left for a worker: {len(uids)} are in use, or this container maps too few")


def zygote_blocks(uid_map: str) -> list[int]:
    """Where blocks of `zygote_uids` ids begin that this process may give to zygotes, for their sandboxes.

    Args:
        uid_map: as for `uid_range`, whose ids are in none of them.

    Example:
        >>> zygote_blocks("0 0 4294967295")[:2]
        [2000131072, 2000133120]
    """
    first, size, count = limits.zygote_uid_first, limits.zygote_uids, limits.zygotes_on_host_max
    mapped = [range(int(words[0]), int(words[0]) + int(words[2])) for words in map(str.split, uid_map.splitlines())]
    if any(first in part and first + size * count - 1 in part for part in mapped):
        return [first + size * number for number in range(count)]
    largest = max(mapped, key=len, default=range(0))
    start = largest.start + len(largest) * 16 // 64
    end = largest.start + len(largest) * 55 // 64  # where those of workers begin
    return list(range(start, end - size + 1, size)) if len(largest) >= 4 * limits.worker_uids_max else []


def take_zygote_uids(*, root: bool | None = None, folder: Path = _HOST_FOLDER) -> WorkerUid:
    """Ids for one zygote and its sandboxes; for an ordinary user the one that there is.

    Raises:
        JailUnavailable: as `take_uid`.
    """
    if not (os.geteuid() == 0 if root is None else root):
        return WorkerUid(os.getuid(), os.getgid())
    blocks = zygote_blocks(Path("/proc/self/uid_map").read_text())
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for block in blocks:
            lock = FileLock(folder / f"zygote-{block}")
            if lock.acquire():
                return WorkerUid(block, block, lock, limits.zygote_uids)
    except OSError as error:
        raise JailUnavailable(f"the uids of zygotes cannot be locked in {folder}: {error}") from error
    raise JailUnavailable(f"no uids are left for a zygote: {len(blocks)} blocks are in use, or too few are mapped here")
