"""Questions to databases inside a worker: they are answered from the pages that come, and no object is touched."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homing_node.workers.inside import channel, limits
from worker_harness import WorkerHarness

Start = Callable[..., WorkerHarness]
PAGE = 1_024
_numbers = itertools.count(-1, -1)


def database(folder: Path, *statements: str) -> bytes:
    path = folder / f"database{next(_numbers)}"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=1024")
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path.read_bytes()


def look(worker: WorkerHarness, file: bytes, query: str | None = None) -> tuple[bool, Any]:
    number = next(_numbers)
    worker.send(channel.LOOK, number, len(file) // PAGE, query)
    for at in range(0, len(file), 100 * PAGE):
        worker.send(channel.PAGES, number, file[at : at + 100 * PAGE])
    found = worker.wait(lambda frame: frame[:2] == [channel.SEEN, number])
    return found[2], found[3]


def rows(worker: WorkerHarness, file: bytes, query: str) -> tuple[list[str], list[list[Any]]]:
    well, answer = look(worker, file, query)
    assert well, answer
    found = msgspec.json.decode(answer)
    return found["columns"], found["rows"]


def refused(worker: WorkerHarness, file: bytes, query: str | None = None) -> str:
    well, said = look(worker, file, query)
    assert not well, said
    return said


def test_a_query_finds_what_is_in_the_pages(start: Start, tmp_path: Path) -> None:
    worker = start()
    file = database(tmp_path, "CREATE TABLE t(a, b)", "INSERT INTO t VALUES (1, 'ä'), (NULL, x'00ff'), (2.5, 1 << 62)")
    assert rows(worker, file, "SELECT a, b AS c FROM t ORDER BY rowid") == (
        ["a", "c"], [[1, "ä"], [None, {"$bytes": "AP8="}], [2.5, 1 << 62]],
    )  # fmt: skip
    assert rows(worker, file, "SELECT a FROM t WHERE a > 7") == (["a"], [])
    assert rows(worker, file, "SELECT count(*) n FROM t; -- that is all") == (["n"], [[3]])
    assert rows(worker, b"", "SELECT 1 one") == (["one"], [[1]])
    assert rows(worker, file, "PRAGMA table_info(t)")[1][0][1] == "a"


def test_an_objects_own_database_is_read_and_not_disturbed(start: Start) -> None:
    worker = start()
    act = worker.open("Counter")
    worker.call(act, "increment")
    worker.call(
        act, "run", "for text in ('CREATE TABLE t(a)', 'INSERT INTO t VALUES (7)'):\n self.ctx.storage.sql.exec(text)"
    )
    file = b"".join(worker.replicas[act].content())
    commits = worker.commits[act]
    assert rows(worker, file, "SELECT a FROM t") == (["a"], [[7]])
    assert rows(worker, file, "SELECT k FROM _homing_kv") == (["k"], [["n"]]), "an operator may look at all of it"
    assert worker.call(act, "read") == 1
    assert worker.commits[act] == commits
    assert look(worker, file) == (True, 0)


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO t VALUES (1)", "DELETE FROM t", "DROP TABLE t", "CREATE TABLE u(a)", "PRAGMA user_version=3",
        "PRAGMA query_only=off", "PRAGMA writable_schema=on", "ATTACH 'x' AS y", "VACUUM INTO 'x'", "BEGIN", "COMMIT",
        "SELECT load_extension('x')", "SELECT 1; INSERT INTO t VALUES (1)", "CREATE TEMP TABLE u(a)", "REINDEX",
        "ANALYZE",
    ],
)  # fmt: skip
def test_what_does_not_only_read_is_refused(start: Start, tmp_path: Path, query: str) -> None:
    """Seen to fail, for one or the other, without the authorizer and without query_only."""
    worker = start()
    assert refused(worker, database(tmp_path, "CREATE TABLE t(a)", "CREATE INDEX i ON t(a)"), query)


def test_a_query_has_bounds(start: Start, tmp_path: Path) -> None:
    """And the worker's objects go on meanwhile."""
    worker = start(limits={"look_s_max": 0.5, "look_bytes_max": 10_000})
    file = database(tmp_path, "CREATE TABLE t(a)")
    act = worker.open("Counter")
    number = next(_numbers)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    worker.send(channel.LOOK, number, len(file) // PAGE, endless)
    worker.send(channel.PAGES, number, file)
    assert worker.call(act, "increment") == 1
    assert not any(frame[0] == channel.SEEN for frame in worker.frames), "it was answered before"
    assert worker.wait(lambda frame: frame[0] == channel.SEEN)[2:] == [False, "it takes longer than 0.5 s"]
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'a row' FROM n"
    assert "with LIMIT" in refused(worker, file, many)
    assert "cannot be sent" in refused(worker, file, "SELECT 9e999")
    assert "syntax error" in refused(worker, file, "SELEC 1")


def test_a_sound_file_passes_and_tells_when_its_alarm_rings(start: Start, tmp_path: Path) -> None:
    worker = start()
    alarms = (
        "CREATE TABLE _homing_alarms(name TEXT PRIMARY KEY, setting INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
        "due_ms INTEGER NOT NULL, failures INTEGER NOT NULL) WITHOUT ROWID"
    )
    assert look(worker, b"") == (True, 0)
    assert look(worker, database(tmp_path, "CREATE TABLE t(a)")) == (True, 0)
    assert look(worker, database(tmp_path, alarms)) == (True, 0)
    two = "INSERT INTO _homing_alarms VALUES ('a', 1, 9, 1000, 0), ('b', 1, 9, 500, 0)"
    assert look(worker, database(tmp_path, alarms, two)) == (True, 500)


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE _homing_alarms(name, due_ms)",),
        ("CREATE TABLE _Homing_kv(k, v)",),
        ("CREATE VIEW _homing_kv AS SELECT 'k' k, x'00' v",),
        ("CREATE TABLE _homing_other(a)",),
        ("CREATE TABLE t(a)", "CREATE TRIGGER _homing_t AFTER INSERT ON t BEGIN SELECT 1; END"),
        (
            "CREATE TABLE _homing_kv(k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID",
            "CREATE TRIGGER t AFTER INSERT ON _homing_kv BEGIN SELECT 1; END",
        ),
    ],
)
def test_tables_that_take_the_runtimes_place_are_refused(start: Start, tmp_path: Path, statements: tuple[str]) -> None:
    assert refused(start(), database(tmp_path, *statements))


def test_damaged_files_are_refused_and_do_not_end_the_worker(start: Start, tmp_path: Path) -> None:
    worker = start()
    file = database(
        tmp_path, "CREATE TABLE t(a)", "CREATE INDEX i ON t(a)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) INSERT INTO t SELECT i FROM n",
    )  # fmt: skip
    assert look(worker, file) == (True, 0)
    torn = file[: 3 * PAGE] + bytes(PAGE) + file[4 * PAGE :]
    assert "damaged" in refused(worker, torn) or "malformed" in refused(worker, torn)
    assert refused(worker, bytes(4 * PAGE))
    assert refused(worker, file[:100] + b"\xff" * (len(file) - 100))
    assert look(worker, file) == (True, 0)


def test_pages_that_do_not_fit_end_the_channel(start: Start) -> None:
    worker = start()
    worker.send(channel.LOOK, -1, limits.pages_max + 1, None)
    with pytest.raises((AssertionError, ConnectionError)):
        worker.settle()
