"""A snapshot of an application: an immutable, content-addressed folder that jails bind read-only as /app.

The snapshot is taken once; workers that start later, also to replace one that died, run the same code. A change of the
files is another snapshot.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from homing.errors import ConfigurationError
from homing_node.workers import limits
from homing_node.workers.app_assets import site_of
from homing_node.workers.app_bindings import migrations_of, read_bindings
from homing_node.workers.app_bundle_config import AppConfig, read_config
from homing_node.workers.app_packages import PackageTree, obtain_packages
from homing_node.workers.app_requirements import read_requirements
from homing_node.workers.jail_cache import FileLock, TreeCache

# `python_modules` and `.venv-workers` are what Cloudflare's tools make for their own runtime.
SKIPPED_FOLDERS = frozenset(
    {".git", ".venv", ".venv-workers", "__pycache__", "node_modules", "python_modules", ".homing"}
)  # fmt: skip
MOUNTED_AT = "/app"

_SMALLER = "give homing the application's own folder, without data and virtual environments"


@dataclass(frozen=True, slots=True)
class AppBundle:
    """A snapshot that is ready to be bound.

    Attributes:
        digest: of every path and byte in it; the same files give the same digest on every node.
        path: the folder on the host.
        import_path: the folder of the main module as the worker sees it; imports start there.
        main_module: the name to import; empty if the application is files to be served, and no code.
        config_file: name of the configuration file, or empty.
        bindings: what it puts into `env`; see `app_bindings`.
        lock: keeps the snapshot from being pruned; held as long as this process lives.
        packages: what it depends on; None: on nothing.
    """

    digest: str
    path: Path
    import_path: str
    main_module: str
    config_file: str
    bindings: Mapping[str, Any] = field(repr=False)
    lock: FileLock = field(repr=False)
    packages: PackageTree | None = field(default=None, repr=False)


def bundle_app(app: Path, cache: Path) -> AppBundle:
    """Take a snapshot of an application.

    Args:
        app: a folder, or one .py file.
        cache: see `jail_cache.cache_folder`.

    Raises:
        ConfigurationError: there is no application, no main module, a file that cannot be read, a binding that is none,
            static assets that cannot be served, a symbolic link out of the folder, packages that cannot be installed,
            or more than `app_files_max` files or `app_bytes_max` bytes.

    Example:
        >>> bundle_app(Path("examples/hello"), cache_folder()).main_module
        'main'
    """
    files, config = read_app(app)
    digest = _digest(files, config)
    folder = config.main.parent.as_posix()
    bindings = read_bindings(config.values, config.file)
    for database in bindings["d1"].values():
        database["migrations"] = migrations_of(database["migrations_dir"], files)
    site = site_of(config.values, config.file, config.main, files, app.resolve())
    if site is not None:
        bindings["site"] = {**site, "folder": f"{MOUNTED_AT}/{site['folder']}"}
    requirements = read_requirements(files)
    packages = obtain_packages(requirements, cache) if requirements is not None else None
    path, lock = TreeCache(cache / "apps", limits.cached_apps_max).obtain(digest, lambda tree: _write(tree, files))
    return AppBundle(
        digest=digest,
        path=path,
        import_path=MOUNTED_AT if folder == "." else f"{MOUNTED_AT}/{folder}",
        main_module=config.main.stem,
        config_file=config.file,
        bindings=bindings,
        lock=lock,
        packages=packages,
    )


def read_app(app: Path) -> tuple[dict[str, bytes], AppConfig]:
    """Every file by its path, and the configuration. Read whole, so that digest and snapshot are of the same bytes.

    Raises:
        ConfigurationError: see `bundle_app`.
    """
    try:
        app = app.resolve(strict=True)
        if app.is_file():
            if app.suffix != ".py":
                raise ConfigurationError(f"{app} is neither a folder nor a .py file")
            return {"main.py": _content(app, limits.app_bytes_max, app)}, AppConfig(PurePosixPath("main.py"))
        if not app.is_dir():
            raise ConfigurationError(f"{app} is neither a folder nor a .py file")
        config = read_config(app)
        return _read_folder(app), config
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no application at {error.filename or app}") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise ConfigurationError(f"the application at {app} cannot be read: {error}") from error


def _read_folder(app: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = limits.app_bytes_max
    for inside, file in _walk(app, app, "", 0):
        if len(files) >= limits.app_files_max:
            raise ConfigurationError(f"{app} has more than {limits.app_files_max} files; {_SMALLER}")
        files[inside] = _content(file, left, app)
        left -= len(files[inside])
    return files


def _walk(app: Path, folder: Path, inside: str, depth: int) -> Iterator[tuple[str, Path]]:
    if depth > limits.app_depth_max:
        raise ConfigurationError(f"{folder} is more than {limits.app_depth_max} folders deep, or a link into itself")
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name in SKIPPED_FOLDERS:
            continue
        path = Path(entry.path)
        if entry.is_symlink():
            path = path.resolve(strict=True)
            if not path.is_relative_to(app):
                raise ConfigurationError(f"{entry.path} is a symbolic link to {path}, outside the application")
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(f"{entry.path!r} has a name that is not UTF-8") from error
        if path.is_dir():
            yield from _walk(app, path, f"{inside}{entry.name}/", depth + 1)
        elif path.is_file():
            yield f"{inside}{entry.name}", path


def _content(file: Path, bytes_max: int, app: Path) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ConfigurationError(f"{file} is not a file any more")
        data = stream.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ConfigurationError(f"{app} is over {limits.app_bytes_max >> 20} MiB; {_SMALLER}")
    return data


def _digest(files: dict[str, bytes], config: AppConfig) -> str:
    whole = hashlib.sha256(config.main.as_posix().encode())
    for inside, data in sorted(files.items()):
        name = inside.encode()
        whole.update(b"%d %d " % (len(name), len(data)) + name + hashlib.sha256(data).digest())
    return whole.hexdigest()[:32]


def _write(tree: Path, files: dict[str, bytes]) -> None:
    for inside, data in files.items():
        target = tree / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
