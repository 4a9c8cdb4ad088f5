"""What the mark says while batches are written: never more than is on disk, and at most one batch less."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.store_directory import marked, open_store

from homing.errors import StoreFailed
from homing_node.log.rocks_db import RocksDatabase
from homing_node.log.store import PutRecord


class Disk:
    """Watches every fsync of the store's log file; it can be told to fail."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.marks_before: list[int] = []  # what the mark said when an fsync began
        self.fails = False
        sync = RocksDatabase.sync

        def watched(db: RocksDatabase) -> None:
            self.marks_before.append(marked(path))
            if self.fails:
                raise StoreFailed("the disk does not answer")
            sync(db)

        monkeypatch.setattr(RocksDatabase, "sync", watched)


def test_a_write_returns_after_its_fsync_and_with_the_mark_of_the_batch_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 6. Seen to fail without the fsync, with a mark that is written before it, and with one that lags by two."""
    store = open_store(tmp_path / "data")
    first = marked(tmp_path / "data")
    disk = Disk(tmp_path / "data", monkeypatch)
    for number in range(1, 6):
        store.write([PutRecord(7, number, b"a")])
        assert len(disk.marks_before) == number, "no fsync"
        assert disk.marks_before[-1] <= first + number - 1, "the mark names a batch that is not on disk"
        assert marked(tmp_path / "data") >= first + number - 1, "the mark lags by more than one batch"
    store.settle()
    assert marked(tmp_path / "data") == first + 5
    store.close()


def test_a_failed_fsync_ends_the_store_and_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 7: the kernel forgets what it could not write, so a second fsync that succeeds says nothing.

    Seen to fail when the failure is not kept, and when the mark is brought up all the same.
    """
    store = open_store(tmp_path / "data")
    store.write([PutRecord(7, 1, b"a")])
    disk = Disk(tmp_path / "data", monkeypatch)
    disk.fails = True
    with pytest.raises(StoreFailed, match="does not answer"):
        store.write([PutRecord(7, 2, b"b")])
    before = marked(tmp_path / "data")
    disk.fails = False
    for _ in range(2):
        with pytest.raises(StoreFailed, match="does not answer"):
            store.write([PutRecord(7, 3, b"c")])
        with pytest.raises(StoreFailed, match="does not answer"):
            store.sync()
    assert len(disk.marks_before) == 1
    store.settle()
    assert marked(tmp_path / "data") <= before + 1, "only what was on disk before may be marked"
    store.close()
