"""What a damaged log file, database or mark does to the real store: every outcome that `rocks_open` promises."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict
from tests.conformance.store_directory import (
    BATCHES,
    RECORDS,
    Crashed,
    check_lost,
    check_sound,
    cut,
    fill,
    fill_and_copy,
    flip,
    lag_the_mark,
    open_store,
    records_of,
)

from homing_node.log import mark as marks
from homing_node.log import rocks_keys as keys
from homing_node.log.mark import Mark


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return fill_and_copy(tmp_path_factory.mktemp("filled") / "data")


@pytest.fixture
def crashed(filled: tuple[Path, str], tmp_path: Path) -> Crashed:
    shutil.copytree(filled[0], tmp_path / "data")
    return Crashed(tmp_path / "data", filled[1])


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
