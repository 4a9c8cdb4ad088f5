"""The cache of trees: built once, whole or not at all, pruned only when unused, and never where others may write."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from homing.errors import ConfigurationError
from homing_node.workers.jail_cache import FileLock, TreeCache, cache_folder


def fill(tree: Path) -> None:
    (tree / "folder").mkdir()
    (tree / "folder" / "file").write_text("text")


def test_a_tree_is_built_once_and_read_only(tmp_path: Path):
    trees = TreeCache(tmp_path / "kind", 3)
    path, _ = trees.obtain("a", fill)
    again, _ = trees.obtain("a", lambda _: pytest.fail("built twice"))
    assert path == again == tmp_path / "kind" / "a"
    assert [entry.stat().st_mode & 0o777 for entry in (path, path / "folder", path / "folder/file")] == [
        0o555,
        0o555,
        0o444,
    ]


def test_a_build_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path):
    trees = TreeCache(tmp_path / "kind", 3)

    def fail(tree: Path) -> None:
        fill(tree)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        trees.obtain("a", fail)
    assert [entry.name for entry in (tmp_path / "kind").iterdir()] == ["a.lock"]
    assert trees.obtain("a", fill)[0].is_dir()


def test_what_a_killed_builder_left_is_removed(tmp_path: Path):
    trees = TreeCache(tmp_path / "kind", 3)
    left = tmp_path / "kind" / "a.unfinished"
    left.mkdir()
    (left / "half").write_text("x")
    path, _ = trees.obtain("a", fill)
    assert {entry.name for entry in path.iterdir()} == {"folder"}


def test_builders_that_start_together_build_once(tmp_path: Path):
    built: list[int] = []
    paths: list[Path] = []

    def build(tree: Path) -> None:
        built.append(1)
        time.sleep(0.1)
        fill(tree)

    def obtain() -> None:
        paths.append(TreeCache(tmp_path / "kind", 3).obtain("a", build)[0])

    threads = [threading.Thread(target=obtain) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert len(set(paths)) == 1
    assert len(paths) == 6


def test_old_trees_go_but_never_one_in_use(tmp_path: Path):
    """Seen to fail when `_prune` does not ask for the lock."""
    trees = TreeCache(tmp_path / "kind", 2)
    held = trees.obtain("a", fill)
    trees.obtain("b", fill)[1].release()
    for number, name in enumerate("ab"):
        os.utime(tmp_path / "kind" / name, ns=(number, number))
    trees.obtain("c", fill)[1].release()
    trees.obtain("d", fill)[1].release()
    names = {entry.name for entry in (tmp_path / "kind").iterdir() if entry.is_dir()}
    assert names == {"a", "c", "d"}
    held[1].release()
    trees.obtain("d", fill)
    assert not (tmp_path / "kind" / "a").exists()
    assert not (tmp_path / "kind" / "a.lock").exists()


def test_a_lock_excludes_and_ends_with_release(tmp_path: Path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire(shared=True)
    first.release()
    first.release()
    assert second.acquire(shared=True)
    assert first.acquire(shared=True)


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else two processes could each hold "the" lock, one on the old file. Seen to fail without `_is_current`."""
    path = tmp_path / "lock"
    lock_file = fcntl.flock

    def remove_then_lock(fd: int, mode: int) -> None:
        monkeypatch.undo()
        path.unlink()  # as a pruner does, between the open and the lock of another process
        lock_file(fd, mode)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    late = FileLock(path)
    assert not late.acquire()
    assert late.acquire()
    assert not FileLock(path).acquire()


def test_a_folder_that_others_may_write_is_refused(tmp_path: Path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match="somebody else may write"):
        cache_folder(str(folder))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="HOMING_CACHE_DIR"):
        cache_folder(str(tmp_path / "file" / "cache"))


def test_as_root_every_folder_above_must_be_passable(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    if os.geteuid() != 0:
        assert cache_folder(str(closed / "cache")).is_dir()
        return
    with pytest.raises(ConfigurationError, match=r"cannot pass .*chmod o\+x"):
        cache_folder(str(closed / "cache"))
