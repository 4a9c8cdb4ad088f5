"""What a damaged disk does to the real store: every outcome that `rocks_open` and `RocksStore` promise.

A directory is copied while its store is open: everything acknowledged is on disk then, so the copy is what a power cut
would leave. The copy is damaged and opened.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from homing.errors import ConfigurationError, StoreFailed
from homing.ids import class_tag
from homing_node.log import mark as marks
from homing_node.log import rocks_keys as keys
from homing_node.log.mark import Mark
from homing_node.log.rocks_store import RocksStore
from homing_node.log.store import PutObject, PutPages, PutRecord, SetPromise

BATCHES = 200
RECORDS = 10  # in each batch
OBJECT = (0x4000).to_bytes(2, "big") + class_tag("Counter") + bytes(22)  # slot 256


def open_store(path: Path) -> RocksStore:
    return RocksStore.open(path, cluster="c", node="n1")


def fill(store: RocksStore, first: int = 0, count: int = BATCHES) -> None:
    for batch in range(first, first + count):
        store.write([PutRecord(7, batch * RECORDS + i + 1, os.urandom(100)) for i in range(RECORDS)])


def wait_for_mark(path: Path, batch: int) -> None:
    deadline = time.monotonic() + 5
    while True:
        mark = marks.read(path / "mark")
        if mark is not None and mark.batch >= batch:
            return
        assert time.monotonic() < deadline, mark
        time.sleep(0.001)


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


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """200 batches in the log file, marked; and the mark as it was one batch before as `mark.before`."""
    path = tmp_path_factory.mktemp("filled") / "data"
    store = open_store(path)
    fill(store, count=BATCHES - 1)
    wait_for_mark(path, BATCHES)  # making the store was batch 1
    shutil.copy(path / "mark", path / "mark.before")
    fill(store, first=BATCHES - 1, count=1)
    wait_for_mark(path, BATCHES + 1)
    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    disk_id = store.disk_id
    store.close()
    return copy, disk_id


@pytest.fixture
def crashed(filled: tuple[Path, str], tmp_path: Path) -> Crashed:
    shutil.copytree(filled[0], tmp_path / "data")
    return Crashed(tmp_path / "data", filled[1])


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


# -- the log file ----------------------------------------------------------------------------------------------


def test_an_undamaged_copy_is_trusted(crashed: Crashed) -> None:
    check_sound(crashed, BATCHES * RECORDS)


def test_a_mark_that_lags_by_one_is_trusted(crashed: Crashed) -> None:
    lag_the_mark(crashed)
    check_sound(crashed, BATCHES * RECORDS)


def test_a_flipped_byte_in_the_middle_of_the_log_sets_the_database_aside(crashed: Crashed) -> None:
    flip(crashed.log(), crashed.log().stat().st_size // 2)
    check_lost(crashed, "did not open: Corruption", None)
    assert list(crashed.aside()[0].glob("*.log"))  # nothing of it is deleted


def test_a_flipped_byte_in_the_last_record_sets_the_database_aside(crashed: Crashed) -> None:
    """RocksDB refuses a record that is whole in length and wrong in content, and the mark says that it was on disk."""
    flip(crashed.log(), -300)
    check_lost(crashed, "did not open: Corruption", None)


def test_a_torn_end_is_seen_by_the_mark(crashed: Crashed) -> None:
    cut(crashed.log(), 300)
    check_lost(crashed, "batch 201 was on disk", (BATCHES - 1) * RECORDS)


def flip_the_end(log: Path) -> None:
    flip(log, -300)


def tear_the_end(log: Path) -> None:
    cut(log, 300)


@pytest.mark.parametrize("damage", [flip_the_end, tear_the_end])
def test_a_last_record_past_the_mark_may_be_cut(crashed: Crashed, damage: Callable[[Path], None]) -> None:
    """It was never acknowledged: that waits for the mark of the batch before."""
    damage(crashed.log())
    lag_the_mark(crashed)
    check_sound(crashed, (BATCHES - 1) * RECORDS)


def test_two_lost_records_are_seen_by_a_mark_that_lags(crashed: Crashed) -> None:
    cut(crashed.log(), 1_500)
    lag_the_mark(crashed)
    check_lost(crashed, "batch 200 was on disk", (BATCHES - 2) * RECORDS)


def test_half_a_log_is_seen_by_the_mark(crashed: Crashed) -> None:
    os.truncate(crashed.log(), crashed.log().stat().st_size // 2)
    store = crashed.open()
    assert not store.trusted
    assert 0 < records_of(store) < BATCHES * RECORDS
    store.close()


def test_a_deleted_log_is_seen_by_the_mark(crashed: Crashed) -> None:
    for log in crashed.files(".log"):
        log.unlink()
    check_lost(crashed, "ends at batch 1, and batch 201 was on disk", 0)


def test_an_older_copy_of_the_database_is_seen_by_the_mark(crashed: Crashed, tmp_path: Path) -> None:
    shutil.copytree(crashed.path, tmp_path / "old")
    store = crashed.open()
    fill(store, BATCHES, 5)
    store.close()
    shutil.rmtree(crashed.path / "rocksdb")
    shutil.copytree(tmp_path / "old" / "rocksdb", crashed.path / "rocksdb")
    check_lost(crashed, "batch 206 was on disk", BATCHES * RECORDS)


def test_a_batch_missing_from_the_middle_is_seen(crashed: Crashed) -> None:
    """As when one log file of several is lost: the newest batch is there, and so is the mark's."""
    crashed.open().close()
    raw = Rdict(str(crashed.path / "rocksdb"), Options(raw_mode=True))
    raw.delete(keys.batch_key(100))
    raw.close()
    check_lost(crashed, "missing from the middle", BATCHES * RECORDS)


# -- files of the database ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*", "*.sst"])
def test_a_deleted_file_sets_the_database_aside(crashed: Crashed, name: str) -> None:
    crashed.open().close()
    for path in (crashed.path / "rocksdb").glob(name):
        path.unlink()
    check_lost(crashed, "did not open", None)


def test_a_damaged_manifest_sets_the_database_aside(crashed: Crashed) -> None:
    crashed.open().close()
    manifest = next((crashed.path / "rocksdb").glob("MANIFEST-*"))
    flip(manifest, 20)
    check_lost(crashed, "did not open", None)


def test_an_emptied_directory_is_not_a_new_disk(crashed: Crashed) -> None:
    shutil.rmtree(crashed.path / "rocksdb")
    store = crashed.open()
    assert not store.trusted
    assert "gone" in store.lost
    assert store.disk_id != crashed.disk_id
    store.close()


def test_a_wiped_directory_is_a_new_disk(crashed: Crashed) -> None:
    """Nothing here can know of the old one; its id stands in slot records, and the new id does not (rule 17)."""
    shutil.rmtree(crashed.path)
    store = crashed.open()
    assert store.trusted
    assert store.disk_id != crashed.disk_id
    store.close()


# -- the mark ----------------------------------------------------------------------------------------------------


def test_without_its_mark_the_data_is_kept_and_not_trusted(crashed: Crashed) -> None:
    (crashed.path / "mark").unlink()
    check_lost(crashed, "the mark is missing", BATCHES * RECORDS)


def test_a_damaged_mark_is_no_mark(crashed: Crashed) -> None:
    flip(crashed.path / "mark", 100)
    flip(crashed.path / "mark", marks.place_step_bytes + 100)
    check_lost(crashed, "cannot be read", BATCHES * RECORDS)


@pytest.mark.parametrize("place", [0, marks.place_step_bytes])
def test_one_torn_place_of_the_mark_is_no_loss(crashed: Crashed, place: int) -> None:
    flip(crashed.path / "mark", place + 100)
    check_sound(crashed, BATCHES * RECORDS)


def test_the_mark_of_another_disk(crashed: Crashed) -> None:
    marks.create(crashed.path / "mark", Mark("else", 3, trusted=True, cluster="c", node="n1"))
    check_lost(crashed, "another disk", BATCHES * RECORDS)


def test_a_making_that_was_broken_off_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    marks.create(path / "mark", Mark("half", 0, trusted=True, cluster="c", node="n1"))
    (path / "rocksdb").mkdir()
    (path / "rocksdb" / "LOCK").write_bytes(b"")
    store = open_store(path)
    assert store.trusted
    store.close()


# -- blocks of table files -----------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path: Path) -> Crashed:
    """A store with all its data in table files: records and promises of slots 0 to 99, an object of slot 256."""
    path = tmp_path / "tables"
    store = open_store(path)
    for slot in range(100):
        store.write(
            [
                SetPromise(slot, slot + 1, f"claimant {slot}."),
                *[PutRecord(slot, lsn, os.urandom(400)) for lsn in range(1, 31)],
            ]
        )
    store.write([PutObject(OBJECT, b"meta"), PutPages(OBJECT, {n: os.urandom(1_024) for n in range(1, 65)}, 64)])
    disk_id = store.disk_id
    store.close()
    return Crashed(path, disk_id)


def find(crashed: Crashed, key: bytes) -> tuple[Path, int]:
    """The table file with a key in it in full, and where."""
    for path in crashed.files(".sst"):
        at = path.read_bytes().find(key)
        if at >= 0:
            return path, at
    raise AssertionError(key)


def test_a_damaged_block_of_records_damages_its_slots_only(tables: Crashed) -> None:
    path, at = find(tables, keys.record_key(50, 16)[:3])
    flip(path, at + 5_000)
    for _ in range(2):
        store = tables.open()
        assert store.trusted
        images = store.load()
        damaged = [slot for slot, image in images.items() if image.damaged]
        assert damaged
        assert len(damaged) <= 3
        assert set(damaged) <= {49, 50, 51}
        for slot in set(range(100)) - set(damaged):
            assert (images[slot].promised, len(images[slot].records)) == (slot + 1, 30)
        assert images[damaged[0]].promised == damaged[0] + 1
        store.close()


def test_a_damaged_block_of_promises_damages_its_slots(tables: Crashed) -> None:
    path, at = find(tables, b"claimant 50.")
    flip(path, at + 3)
    store = tables.open()
    images = store.load()
    assert store.trusted
    assert images[50].damaged
    for slot, image in images.items():
        assert image.damaged or image.promised == slot + 1
    assert any(not image.damaged for image in images.values())
    store.close()


def test_a_damaged_page_is_raised_and_remembered(tables: Crashed) -> None:
    path, at = find(tables, keys.page_key(OBJECT, 1)[:33])
    flip(path, at + 30_000)
    store = tables.open()
    assert not store.load().get(256, None)
    with pytest.raises(StoreFailed, match="slot 256 is damaged"):
        list(store.pages(OBJECT))
    with pytest.raises(StoreFailed):
        [store.page(OBJECT, number) for number in range(1, 65)]
    store.close()
    again = tables.open()
    assert again.trusted
    assert again.load()[256].damaged
    again.close()


def test_damage_is_remembered_when_the_slot_was_repaired(tables: Crashed) -> None:
    """A learner's log is filled up again by its owner; that alone must not make it count (rule 17)."""
    store = tables.open()
    store.write([PutRecord(4, 33, b"gap")])
    assert store.load()[4].damaged
    store.write([PutRecord(4, 31, b""), PutRecord(4, 32, b"")])
    store.close()
    again = tables.open()
    image = again.load()[4]
    assert len(image.records) == 33
    assert image.damaged
    again.close()


# -- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["with its mark", "without its mark"])
@pytest.mark.parametrize(("cluster", "node"), [("other", "n1"), ("c", "n2")])
def test_the_directory_of_another_is_refused_and_left_alone(
    crashed: Crashed, cluster: str, node: str, mark: str
) -> None:
    if mark == "without its mark":
        (crashed.path / "mark").unlink()
    with pytest.raises(ConfigurationError, match="node 'n1' of cluster 'c'"):
        RocksStore.open(crashed.path, cluster=cluster, node=node)
    store = crashed.open()
    assert records_of(store) == BATCHES * RECORDS
    store.close()


def test_a_newer_format_is_refused_and_left_alone(crashed: Crashed) -> None:
    raw = Rdict(str(crashed.path / "rocksdb"), Options(raw_mode=True))
    old = raw.get(keys.IDENTITY)
    raw.put(keys.IDENTITY, b'{"format": 2, "names": ["c", "n1"]}')
    raw.close()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="format 2"):
            crashed.open()
    raw = Rdict(str(crashed.path / "rocksdb"), Options(raw_mode=True))
    raw.put(keys.IDENTITY, old)
    raw.close()
    check_sound(crashed, BATCHES * RECORDS)


def test_a_newer_mark_is_refused(crashed: Crashed) -> None:
    place = bytearray(marks.encode(Mark("d", 1, trusted=True, cluster="c", node="n1")))
    struct.pack_into("<H", place, 8, 2)
    struct.pack_into("<I", place, marks.place_bytes - 4, zlib.crc32(place[:-4]))
    (crashed.path / "mark").write_bytes(bytes(place))
    with pytest.raises(ConfigurationError, match="format 2"):
        crashed.open()


@pytest.mark.parametrize("name", ["", "x" * 129, "é" * 65])
def test_names_have_a_bound(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        RocksStore.open(tmp_path / "data", cluster=name, node="n1")
    with pytest.raises(ConfigurationError):
        RocksStore.open(tmp_path / "data", cluster="c", node=name)


def test_names_at_the_bound(tmp_path: Path) -> None:
    for _ in range(2):
        store = RocksStore.open(tmp_path / "data", cluster="x" * 128, node="é" * 64)
        assert store.trusted
        store.close()


def test_a_second_store_on_the_directory_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
        open_store(tmp_path / "data")
    store.close()
    open_store(tmp_path / "data").close()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed):
        open_store(tmp_path / "file" / "data")
