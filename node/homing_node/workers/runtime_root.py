"""The read-only tree that is a worker's whole file system, built once for each set of inputs. See docs/jail.md.

It holds python as /usr/bin/python3 with a pruned library, the packages that the worker-side runtime needs, and the
shared libraries of all of these. There is no symbolic link in it and no write bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import py_compile
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from homing.errors import JailUnavailable
from homing_node.workers import limits, runtime_root_parts
from homing_node.workers.jail_cache import FileLock, TreeCache
from homing_node.workers.runtime_root_parts import Part

_FORMAT = "2"  # raise it when the same inputs make another tree


@dataclass(frozen=True, slots=True)
class RuntimeRoot:
    """A tree that is ready to be bound.

    Attributes:
        digest: what it was made of.
        path: the tree on the host.
        lock: keeps it from being pruned; held as long as this process lives.
    """

    digest: str
    path: Path
    lock: FileLock

    @property
    def python(self) -> str:
        """The interpreter, as the worker sees it."""
        return f"/{runtime_root_parts.PYTHON}"

    @property
    def site_packages(self) -> str:
        """The folder of packages, as the worker sees it."""
        return f"/{runtime_root_parts.SITE_PACKAGES}"


def runtime_root(cache: Path) -> RuntimeRoot:
    """The tree for this interpreter, these packages and this version of homing; built if it is not in the cache.

    Several processes may call this at once; one builds, the others wait. A build takes some seconds.

    Args:
        cache: see `jail_cache.cache_folder`.

    Raises:
        JailUnavailable: a package or tool is missing, or a file cannot be copied.

    Example:
        >>> runtime_root(cache_folder()).python
        '/usr/bin/python3'
    """
    folder = cache / "runtime"
    trees = TreeCache(folder, limits.cached_runtimes_max)
    try:
        foreign, own = runtime_root_parts.library_parts(), runtime_root_parts.own_parts()
        foreign_digest = _digest(sys.version, *(f"{inside} {_state_of(source)}" for inside, source in foreign))
        libraries = _shared_libraries(folder / f"{foreign_digest}.libraries", foreign)
        digest = _digest(
            foreign_digest,
            *(f"{inside} {_state_of(source)}" for inside, source in libraries),
            *(f"{inside} {hashlib.sha256(source.read_bytes()).hexdigest()}" for inside, source in own),
        )
        path, lock = trees.obtain(digest, lambda tree: _build(tree, foreign + own + libraries))
    except OSError as error:
        raise JailUnavailable(f"the runtime of workers cannot be built in {folder}: {error}") from error
    return RuntimeRoot(digest, path, lock)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join((_FORMAT, *words)).encode()).hexdigest()[:32]


def _state_of(source: Path) -> str:
    """Foreign files are known by size and time of change; our own are few and edited: they are read."""
    state = source.stat()
    return f"{source} {state.st_size} {state.st_mtime_ns}"


def _shared_libraries(memory: Path, parts: list[Part]) -> list[Part]:
    """The shared libraries of the parts; `ldd` runs only when they are not remembered or one has changed."""
    try:
        remembered: list[list[str]] = json.loads(memory.read_text())
        if all(_state_of(Path(source)) == state for _, source, state in remembered):
            return [(inside, Path(source)) for inside, source, _ in remembered]
    except (OSError, ValueError):
        pass  # not there, or a library went away: ask again
    libraries = runtime_root_parts.shared_library_parts(parts)
    rows = [[inside, str(source), _state_of(source)] for inside, source in libraries]
    mine = memory.with_name(f"{memory.name}.{os.getpid()}")
    mine.write_text(json.dumps(rows))
    mine.rename(memory)
    return libraries


def _build(tree: Path, parts: list[Part]) -> None:
    copied: dict[Path, Path] = {}
    for inside, source in parts:
        target = tree / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        if source in copied:
            target.hardlink_to(copied[source])
            continue
        copied[source] = target
        shutil.copyfile(source, target)
        if inside == runtime_root_parts.PYTHON or ".so" in target.suffixes:
            target.chmod(0o755)
        if inside.endswith(".py"):
            _compile(target, f"/{inside}")
    for place in ("app", "packages"):  # where the application and its packages are bound
        (tree / place).mkdir()


def _compile(source: Path, shown: str) -> None:
    """Compile beside the source, never to be checked again: the tree does not change and cannot be written to."""
    try:
        py_compile.compile(
            str(source),
            dfile=shown,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except (py_compile.PyCompileError, SyntaxError):
        return  # libraries carry files that are templates, not modules
