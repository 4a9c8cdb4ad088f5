"""A store's directory as a power cut leaves it, and ways to damage it.

A directory is copied while its store is open: everything acknowledged is on disk then, so the copy is what a power cut
would leave. The copy is damaged and opened.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from homing.ids import class_tag
from homing_node.log import mark as marks
from homing_node.log.rocks_store import RocksStore
from homing_node.log.store import PutRecord, SetPromise

BATCHES = 200
RECORDS = 10  # in each batch
OBJECT = (0x4000).to_bytes(2, "big") + class_tag("Counter") + bytes(22)  # slot 256


def open_store(path: Path) -> RocksStore:
    return RocksStore.open(path, cluster="c", node="n1")


def fill(store: RocksStore, first: int = 0, count: int = BATCHES) -> None:
    for batch in range(first, first + count):
        store.write([PutRecord(7, batch * RECORDS + i + 1, os.urandom(100)) for i in range(RECORDS)])


def marked(path: Path) -> int:
    """The batch that the mark names."""
    mark = marks.read(path / "mark")
    assert mark is not None
    return mark.batch


class Crashed:
    """A filled directory as a power cut leaves it, and the disk id it had."""

    def __init__(self, path: Path, disk_id: str) -> None:
        self.path = path
        self.disk_id = disk_id

    def files(self, suffix: str) -> list[Path]:
        return sorted((self.path / "rocksdb").glob(f"*{suffix}"), key=lambda path: path.stat().st_size)

    def log(self) -> Path:
        return self.files(".log")[-1]

    def aside(self) -> list[Path]:
        return sorted(self.path.glob("rocksdb.set-aside-*"))

    def open(self) -> RocksStore:
        return open_store(self.path)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at if at >= 0 else path.stat().st_size + at)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def cut(path: Path, bytes_: int) -> None:
    os.truncate(path, path.stat().st_size - bytes_)


def lag_the_mark(crashed: Crashed) -> None:
    (crashed.path / "mark.before").rename(crashed.path / "mark")


def records_of(store: RocksStore) -> int:
    return len(store.records(7, 1, 10_000))


def check_sound(crashed: Crashed, records: int) -> None:
    store = crashed.open()
    assert (store.trusted, store.lost, store.disk_id) == (True, "", crashed.disk_id)
    assert records_of(store) == records
    assert not store.load()[7].damaged
    fill(store, first=records // RECORDS, count=1)
    store.close()
    assert crashed.aside() == []
    store = crashed.open()
    assert store.trusted
    assert records_of(store) == records + RECORDS
    store.close()


def check_lost(crashed: Crashed, why: str, records: int | None) -> None:
    """Not trusted, a new disk id, and both stay so; `records` readable, or None for set aside."""
    store = crashed.open()
    assert not store.trusted
    assert why in store.lost
    assert store.disk_id != crashed.disk_id
    disk_id = store.disk_id
    assert records_of(store) == (records or 0)
    assert len(crashed.aside()) == (1 if records is None else 0)
    store.write([SetPromise(3, 4, "a")])
    store.close()
    again = crashed.open()
    assert (again.trusted, again.disk_id) == (False, disk_id)
    assert why in again.lost
    assert again.load()[3].promised == 4
    again.close()


def fill_and_copy(path: Path) -> tuple[Path, str]:
    """200 batches in the log file, marked; and the mark as it was one batch before as `mark.before`."""
    store = open_store(path)
    fill(store, count=BATCHES - 1)
    assert marked(path) == BATCHES - 1  # making the store was batch 1; the mark lags by one
    store.settle()
    assert marked(path) == BATCHES
    shutil.copy(path / "mark", path / "mark.before")
    fill(store, first=BATCHES - 1, count=1)
    store.settle()
    assert marked(path) == BATCHES + 1
    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    disk_id = store.disk_id
    store.close()
    return copy, disk_id
