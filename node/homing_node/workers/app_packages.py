"""The packages of an application: a tree that pip fills with wheels, once for each list of them, bound read-only."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from homing.cli import parented
from homing.errors import ConfigurationError
from homing_node.workers import limits, pip_alone
from homing_node.workers.app_requirements import Requirements
from homing_node.workers.jail_cache import FileLock, TreeCache

MOUNTED_AT = "/packages"

_FORMAT = "1"  # raise it when the same list makes another tree
_LISTED = "packages.txt"
_OPTIONS = (
    "--only-binary", ":all:", "--quiet", "--no-input", "--no-color", "--progress-bar", "off",
    "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action", "ignore",
)  # fmt: skip

_log = structlog.stdlib.get_logger("homing.workers")


@dataclass(frozen=True, slots=True)
class PackageTree:
    """Packages that are ready to be bound.

    Attributes:
        path: the folder on the host.
        lock: keeps it from being pruned; held as long as this process lives.
    """

    path: Path
    lock: FileLock


def obtain_packages(requirements: Requirements, cache: Path) -> PackageTree:
    """The tree of what an application depends on; installed if it is not in the cache.

    Where packages come from is the machine's matter: pip reads its own configuration and `PIP_*`. A package without a
    version is looked up once, when its tree is made.

    Args:
        requirements: the packages; they need others, which come with them.
        cache: see `jail_cache.cache_folder`.

    Raises:
        ConfigurationError: a package is not found, has no wheel for this Python and machine, or does not go with the
            others; they are too large, or it takes too long. Nothing of them is kept then.
    """
    words = "\0".join((_FORMAT, sys.version, platform.machine(), *requirements.lines))
    digest = hashlib.sha256(words.encode()).hexdigest()[:32]
    trees = TreeCache(cache / "packages", limits.cached_packages_max)
    return PackageTree(*trees.obtain(digest, lambda tree: _install(requirements, tree)))


def _install(requirements: Requirements, tree: Path) -> None:
    file, lines = requirements.file, requirements.lines
    if importlib.util.find_spec("pip") is None:
        raise ConfigurationError(f"pip installs the packages of {file}, and is missing: {sys.executable} -m ensurepip")
    _log.info(f"installing {len(lines)} package{'s' if len(lines) > 1 else ''} of {file}")
    with tempfile.TemporaryDirectory(prefix="homing-packages-") as folder:
        Path(folder, _LISTED).write_text("\n".join(lines), encoding="utf-8")
        status, said = _run_pip(["install", "--target", str(tree), "--requirement", _LISTED, *_OPTIONS], folder)
    if status != 0:
        last = "\n".join(said.strip().splitlines()[-limits.installer_lines_max :])
        raise ConfigurationError(
            f"the packages of {file} cannot be installed. They have to be there as wheels for Python "
            f"{sys.version_info.major}.{sys.version_info.minor} on {platform.machine()}. pip says:\n{last}"
        )
    _bound(tree, file)


def _run_pip(arguments: list[str], folder: str) -> tuple[int, str]:
    """pip's exit status and what it wrote. It dies with this process, so that nobody else meets it at its work."""
    guarded = [sys.executable, "-I", "-S", "-B", parented.__file__, str(os.getpid())]
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs; the list of packages was checked
            [*guarded, sys.executable, "-I", pip_alone.__file__, *arguments],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("HOMING_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limits.install_s_max,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"it has not ended after {limits.install_s_max:g} s"
    except OSError as error:
        raise ConfigurationError(f"pip cannot be started: {error}") from error
    return done.returncode, done.stdout


def _bound(tree: Path, file: str) -> None:
    files = [os.path.join(folder, name) for folder, _, names in os.walk(tree) for name in names]
    size = sum(os.lstat(found).st_size for found in files)
    if size > limits.packages_bytes_max or len(files) > limits.packages_files_max:
        raise ConfigurationError(
            f"the packages of {file} have {size >> 20} MiB in {len(files)} files; at most "
            f"{limits.packages_bytes_max >> 20} MiB in {limits.packages_files_max}"
        )
