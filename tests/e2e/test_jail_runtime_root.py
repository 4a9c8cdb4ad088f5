"""The tree that is a worker's root: what is in it, and that nobody can change it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from homing_node.workers.runtime_root import runtime_root
from jailed import cache_dir, python, runtime

BUILD = """
from pathlib import Path
from homing_node.workers.jail_cache import cache_folder
from homing_node.workers.runtime_root import runtime_root
print(runtime_root(cache_folder({folder!r})).path)
"""


def entries() -> list[Path]:
    return list(runtime().path.rglob("*"))


def test_it_holds_folders_and_files_only_and_no_write_bit():
    for path in (runtime().path, *entries()):
        state = path.lstat()
        assert stat.S_ISDIR(state.st_mode) or stat.S_ISREG(state.st_mode), path
        assert not state.st_mode & 0o7222, path
        assert state.st_uid == os.geteuid()


def test_it_holds_no_shell_and_no_packages_but_those_of_the_worker():
    packages = {path.name for path in (runtime().path / runtime().site_packages.lstrip("/")).iterdir()}
    own = {"apsw", "greenlet", "msgspec", "uvloop", "homing", "homing_node"}
    assert packages == own | {"_quickjs.abi3.so", "tree_sitter", "tree_sitter_typescript"}  # those are for sandboxes
    assert [path.name for path in (runtime().path / "usr/bin").iterdir()] == ["python3"]
    node = {path.name for path in (runtime().path / runtime().site_packages.lstrip("/") / "homing_node").iterdir()}
    assert node - {"__pycache__"} == {"__init__.py", "sandboxes", "workers"}
    names = {path.name for path in entries()}
    assert not names & {"sh", "bash", "grpc", "rocksdict", "pip", "passwd", "test", "jail.py"}


def test_modules_are_compiled_and_name_no_path_of_the_host():
    compiled = [path for path in entries() if path.suffix == ".pyc"]
    sources = [path for path in entries() if path.suffix == ".py"]
    assert len(compiled) > 0.95 * len(sources)
    assert not any(str(runtime().path).encode() in path.read_bytes() for path in compiled)


def test_it_is_found_again_and_not_built_again():
    before = runtime().path.stat().st_ino
    assert runtime_root(cache_dir()).path == runtime().path
    assert runtime().path.stat().st_ino == before


def test_nodes_that_start_together_on_an_empty_cache_share_one_tree():
    """In a folder of its own; any uid must be able to pass the ones above it, so not pytest's."""
    folder = cache_dir() / f"test-{os.getpid()}"
    nodes = [python(BUILD.format(folder=str(folder))) for _ in range(3)]
    try:
        paths = {node.communicate(timeout=120)[0].strip() for node in nodes}
        assert len(paths) == 1
        assert paths != {""}
        kept = [entry.name for entry in (folder / "runtime").iterdir() if entry.is_dir()]
        assert len(kept) == 1
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
