"""The header of a file that is to be an object's database: SQLite's own files pass, others are refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from homing.errors import BadRequest
from homing_node.objects.database_file import check_header


def database(folder: Path, *before: str, page_bytes: int = 1_024) -> bytes:
    path = folder / "database"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size={page_bytes}")
    for statement in before:
        connection.execute(statement)
    connection.execute("CREATE TABLE t(a)")
    connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 400,) for _ in range(20)])
    connection.close()
    return path.read_bytes()


def test_files_of_sqlite_pass(tmp_path: Path) -> None:
    check_header(b"")
    check_header(database(tmp_path))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda file: b"not a database" + file[14:], "no SQLite database"),
        (lambda file: file[:99], "no SQLite database"),
        (lambda file: file[:-1], "its header says"),
        (lambda file: file[:-1_024], "its header says"),
        (lambda file: file + bytes(1_024), "its header says"),
        (lambda file: file[:18] + b"\2\2" + file[20:], "WAL"),
        (lambda file: file[:18] + b"\1\2" + file[20:], "WAL"),
    ],
)
def test_others_do_not(tmp_path: Path, change: object, why: str) -> None:
    assert callable(change)
    with pytest.raises(BadRequest, match=why):
        check_header(change(database(tmp_path)))


def test_pages_of_another_size_do_not_and_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"4096 bytes.*VACUUM INTO"):
        check_header(database(tmp_path, page_bytes=4_096))
    (tmp_path / "database").unlink()
    with pytest.raises(BadRequest, match="WAL mode"):
        check_header(database(tmp_path, "PRAGMA journal_mode=wal"))
