"""What the runtime tree of a worker is made of: files of this interpreter's library, of packages, and shared libraries.

A part is (path inside the tree, file on the host). The list is found without running anything but `ldd`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from homing.errors import JailUnavailable

Part = tuple[str, Path]

PYTHON = "usr/bin/python3"
LIBRARY = f"usr/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"
SITE_PACKAGES = f"{LIBRARY}/site-packages"

FOREIGN_PACKAGES = ("apsw", "greenlet", "msgspec", "tree_sitter", "tree_sitter_typescript", "uvloop")
FOREIGN_MODULES = ("_quickjs",)  # of one file each

# Not for servers, not without a display or a disk, or there to start other programs.
_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages"}
    | {"pydoc_data", "distutils", "venv", "curses", "dbm", "__pycache__"}
)  # fmt: skip
_SKIPPED_FILES = re.compile(r"config-3|turtle\.py|antigravity\.py|_test|_tkinter|_curses|_dbm|_gdbm|readline|nis\.")
_WANTED_SUFFIXES = (".py", ".so", ".js", ".typed")
# Of the sdk, what needs packages that a worker does not have.
_SDK_SKIPPED = frozenset({"cli", "testing", "wire", "v1", "__pycache__"})
_LDD_LINE = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x")


def library_parts() -> list[Part]:
    """The interpreter and its standard library, pruned, and the foreign packages."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    parts = [(PYTHON, interpreter())]
    parts += _tree(stdlib, LIBRARY, _SKIPPED_FOLDERS | {"lib-dynload"})
    parts += _tree(_dynload(stdlib), f"{LIBRARY}/lib-dynload", _SKIPPED_FOLDERS)
    for name in FOREIGN_PACKAGES:
        parts += _tree(_package(name), f"{SITE_PACKAGES}/{name}", frozenset({"tests", "__pycache__"}))
    return parts + [(f"{SITE_PACKAGES}/{path.name}", path) for path in map(_module, FOREIGN_MODULES)]


def own_parts() -> list[Part]:
    """homing itself, as far as it runs in a jail: the sdk and the worker-side runtime."""
    node = _package("homing_node")
    parts = _tree(_package("homing"), f"{SITE_PACKAGES}/homing", _SDK_SKIPPED)
    names = ("__init__.py", "workers/__init__.py", "sandboxes/__init__.py")
    parts += [(f"{SITE_PACKAGES}/homing_node/{name}", node / name) for name in names]
    for inside in ("workers/inside", "sandboxes/inside"):
        parts += _tree(node / inside, f"{SITE_PACKAGES}/homing_node/{inside}", frozenset({"__pycache__"}))
    return parts


def interpreter() -> Path:
    """The real binary of this interpreter, outside any virtual environment."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return Path(base).resolve()


def _dynload(stdlib: Path) -> Path:
    shared = sysconfig.get_config_var("DESTSHARED")
    for folder in (stdlib / "lib-dynload", Path(str(shared))):
        if folder.is_dir():
            return folder
    raise JailUnavailable(f"the library of {interpreter()} has no lib-dynload folder")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise JailUnavailable(f"the package {name}, which workers need, is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def _module(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise JailUnavailable(f"the module {name}, which sandboxes need, is not installed")
    return Path(spec.origin)


def _tree(source: Path, inside: str, skipped: frozenset[str]) -> list[Part]:
    return list(_walk(source, inside, skipped))


def _walk(source: Path, inside: str, skipped: frozenset[str]) -> Iterator[Part]:
    with os.scandir(source) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name in skipped or _SKIPPED_FILES.match(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{inside}/{entry.name}", skipped)
        elif entry.is_file(follow_symlinks=False) and entry.name.endswith(_WANTED_SUFFIXES):
            yield f"{inside}/{entry.name}", Path(entry.path)


def shared_library_parts(parts: Iterable[Part]) -> list[Part]:
    """The loader and every shared library that the parts load.

    Libraries that came with a package keep their place beside it, where its run path finds them; those of the host go
    to /lib and /lib64, which every loader searches.

    Raises:
        JailUnavailable: `ldd` is missing or failed.
    """
    parts = list(parts)
    inside_of = {source: inside for inside, source in parts}
    binaries = [source for inside, source in parts if inside == PYTHON or ".so" in source.suffixes]
    found: dict[str, Path] = {}
    for library in _ldd(binaries):
        if library in inside_of:
            continue
        if library.name.startswith(("ld-linux", "ld-musl", "ld64")):
            found[str(library).lstrip("/")] = library
            continue
        beside = _beside_package(library)
        for place in (beside,) if beside else (f"lib/{library.name}", f"lib64/{library.name}"):
            found[place] = library
    helper = next((path.parent / "libgcc_s.so.1" for path in found.values() if path.name.startswith("libc.")), None)
    if helper is not None and helper.exists():  # loaded by name when a thread is cancelled
        found["lib/libgcc_s.so.1"] = found["lib64/libgcc_s.so.1"] = helper
    return sorted(found.items())


def _beside_package(library: Path) -> str | None:
    for name in FOREIGN_PACKAGES:
        packages = _package(name).parent
        if library.is_relative_to(packages):
            return f"{SITE_PACKAGES}/{library.relative_to(packages)}"
    return None


def _ldd(binaries: list[Path]) -> list[Path]:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program on files of this installation
            ["ldd", *map(str, binaries)],  # noqa: S607 - its place differs between distributions
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )
    except OSError as error:
        raise JailUnavailable(f"`ldd`, which finds the libraries of a worker, cannot run: {error}") from error
    libraries = sorted({Path(match[1]) for line in done.stdout.splitlines() if (match := _LDD_LINE.match(line))})
    if not libraries:
        raise JailUnavailable(f"`ldd` found no library of {binaries[0]}: {done.stderr[:500]}")
    return libraries
