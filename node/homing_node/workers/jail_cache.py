"""The cache of trees that jails bind read-only: content-addressed, built once, renamed into place, pruned when unused.

`<cache>/<kind>/<digest>` is a tree, `<digest>.lock` its lock: shared while a process uses the tree, exclusive to build
or remove it. A lock ends with its process, so nothing is left to clean up after a kill.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from homing.errors import ConfigurationError
from homing_node.workers import limits

_LOCK_POLL_S = 0.05


class FileLock:
    """A flock on a file that is made when missing; held until `release` or the end of the process.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> bool:
        """Take the lock; this object holds none yet.

        Args:
            shared: let others hold it too.
            timeout_s: how long to try; 0 is once.

        Returns:
            Whether it is held.
        """
        deadline = time.monotonic() + timeout_s
        while not self._try(fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_POLL_S)
        return True

    def _try(self, mode: int) -> bool:
        assert self._fd < 0, "the lock is held"
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        if self._is_current():
            return True
        self.release()  # its holder removed the file between our open and our lock
        return False

    def _is_current(self) -> bool:
        try:
            on_disk = self.path.stat()
        except FileNotFoundError:
            return False
        held = os.fstat(self._fd)
        return (on_disk.st_dev, on_disk.st_ino) == (held.st_dev, held.st_ino)

    def release(self) -> None:
        """Give the lock up. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class TreeCache:
    """One kind of tree in the cache.

    Args:
        folder: where the trees of this kind are; see `cache_folder`.
        kept_max: how many trees stay when newer ones come; one in use always stays.
    """

    def __init__(self, folder: Path, kept_max: int) -> None:
        self._folder = folder
        self._kept_max = kept_max
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)  # an umask may have taken the x that workers need

    def obtain(self, digest: str, build: Callable[[Path], None]) -> tuple[Path, FileLock]:
        """The tree of a digest, built if it is not there; processes that ask together build it once.

        Args:
            digest: what the tree is made of, as a name.
            build: fills the empty folder that it is given. Afterwards no byte of the tree changes.

        Returns:
            The tree, and the lock that keeps it from being pruned: hold it as long as the tree is used.

        Raises:
            ConfigurationError: another process builds it for too long.
        """
        tree = self._folder / digest
        lock = FileLock(self._folder / f"{digest}.lock")
        if not lock.acquire(shared=True, timeout_s=limits.cache_lock_timeout_s):
            raise ConfigurationError(f"{lock.path} is held by another process that does not end its work")
        while not tree.is_dir():
            lock.release()
            if lock.acquire():
                try:
                    if not tree.is_dir():
                        self._build(tree, build)
                finally:
                    lock.release()
            if not lock.acquire(shared=True, timeout_s=limits.cache_lock_timeout_s):
                raise ConfigurationError(f"{lock.path} is held by another process that does not end its work")
        os.utime(tree)
        self._prune(digest)
        return tree, lock

    def _build(self, tree: Path, build: Callable[[Path], None]) -> None:
        unfinished = self._folder / f"{tree.name}.unfinished"  # ours: the exclusive lock is held
        _remove_tree(unfinished)
        unfinished.mkdir(mode=0o755)
        try:
            build(unfinished)
            _make_read_only(unfinished)
            os.sync()  # a tree that has its name is whole, even after a power cut
            unfinished.rename(tree)
        except BaseException:
            _remove_tree(unfinished)
            raise

    def _prune(self, keep: str) -> None:
        trees = [entry for entry in self._folder.iterdir() if entry.is_dir() and "." not in entry.name]
        by_age = sorted(trees, key=_modified_ns, reverse=True)
        for tree in by_age[self._kept_max :]:
            lock = FileLock(self._folder / f"{tree.name}.lock")
            if tree.name != keep and lock.acquire():
                _remove_tree(tree)
                _remove_tree(self._folder / f"{tree.name}.unfinished")
                lock.path.unlink(missing_ok=True)
                lock.release()


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _make_read_only(tree: Path) -> None:
    """Take every write bit, give everybody read, and execution where the owner has it."""
    for folder, _, files in os.walk(tree, topdown=False):
        for name in files:
            file = os.path.join(folder, name)
            os.chmod(file, 0o555 if os.lstat(file).st_mode & stat.S_IXUSR else 0o444, follow_symlinks=True)
        Path(folder).chmod(0o555)


def _remove_tree(tree: Path) -> None:
    if not tree.exists():
        return
    for folder, _, _ in os.walk(tree):
        Path(folder).chmod(0o755)  # whoever is not root cannot empty a folder without its write bit
    shutil.rmtree(tree)


def cache_folder(explicit: str | None = None) -> Path:
    """The folder of this machine's trees, made if it is missing and checked.

    Args:
        explicit: where the operator wants it; by default `HOMING_CACHE_DIR`, else `/var/cache/homing` for root and
            `~/.cache/homing` for others.

    Raises:
        ConfigurationError: it cannot be made, somebody else could change it, or a worker's uid could not reach it.
    """
    explicit = explicit or os.environ.get("HOMING_CACHE_DIR")
    folder = Path(explicit) if explicit else _default_folder()
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = folder.resolve()
        _check_folder(folder)
    except OSError as error:
        raise ConfigurationError(f"the cache folder {folder} cannot be used: {error}. Set HOMING_CACHE_DIR.") from error
    return folder


def _default_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/var/cache/homing")
    try:
        return Path.home() / ".cache" / "homing"
    except RuntimeError as error:
        raise ConfigurationError("this user has no home folder. Set HOMING_CACHE_DIR.") from error


def _check_folder(folder: Path) -> None:
    state = folder.stat()
    if state.st_uid not in (0, os.geteuid()) or state.st_mode & stat.S_IWOTH:
        raise ConfigurationError(f"somebody else may write into the cache folder {folder}. Set HOMING_CACHE_DIR.")
    if os.geteuid() != 0:
        return  # workers have this user's uid: what we can reach they can
    for ancestor in (folder, *folder.parents):
        if not ancestor.stat().st_mode & stat.S_IXOTH:
            raise ConfigurationError(
                f"workers have uids of their own and cannot pass {ancestor}, above the cache folder {folder}. "
                f"Run `chmod o+x {ancestor}`, or set HOMING_CACHE_DIR to a folder that everybody can enter."
            )
