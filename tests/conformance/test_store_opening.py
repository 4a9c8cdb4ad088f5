"""Whose a directory is: another node's, a newer version's, or in use."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from rocksdict import Options, Rdict
from tests.conformance.store_directory import (
    BATCHES,
    RECORDS,
    Crashed,
    check_sound,
    fill_and_copy,
    open_store,
    records_of,
)

from homing.errors import ConfigurationError, StoreFailed
from homing_node.log import mark as marks
from homing_node.log import rocks_keys as keys
from homing_node.log.mark import Mark
from homing_node.log.rocks_store import RocksStore


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return fill_and_copy(tmp_path_factory.mktemp("filled") / "data")


@pytest.fixture
def crashed(filled: tuple[Path, str], tmp_path: Path) -> Crashed:
    shutil.copytree(filled[0], tmp_path / "data")
    return Crashed(tmp_path / "data", filled[1])


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
