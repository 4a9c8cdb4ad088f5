"""`d1_databases` on a real cluster: statements, results, batches as one transaction, and migrations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "d1"
HOMING = Path(sys.executable).with_name("homing")


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP) as running:
        yield running


@pytest.fixture
def hand(cluster: Cluster) -> Any:
    made = cluster.get("Hand", "a")
    made.do("run", "DELETE FROM t")
    return made


def test_rows_come_in_every_shape(hand: Any) -> None:
    wrote = hand.do("run", "INSERT INTO t VALUES (?, ?)", 1, "x")
    assert (wrote["success"], wrote["results"], wrote["meta"]["changes"]) == (True, [], 1)
    assert wrote["meta"]["last_row_id"] >= 1
    assert wrote["meta"]["changed_db"] is True
    hand.do("run", "INSERT INTO t VALUES (?2, ?1)", None, 2.5)
    read = hand.do("all", "SELECT a, b FROM t ORDER BY a")
    assert read["results"] == [{"a": 1, "b": "x"}, {"a": 2.5, "b": None}]
    assert (read["meta"]["changes"], read["meta"]["changed_db"]) == (0, False)
    assert read["meta"]["rows_read"] >= 2
    assert read["meta"]["duration"] > 0
    assert hand.do("raw", "SELECT a, b FROM t ORDER BY a") == [[1, "x"], [2.5, None]]
    assert hand.do("raw", "SELECT a AS n FROM t ORDER BY a", column_names=True) == [["n"], [1], [2.5]]
    assert hand.do("first", "SELECT a, b FROM t ORDER BY a") == {"a": 1, "b": "x"}
    assert hand.do("first", "SELECT a, b FROM t ORDER BY a", column="b") == "x"
    assert hand.do("first", "SELECT a FROM t WHERE a > 9") is None
    assert hand.do("first", "SELECT a FROM t", column="c").startswith("StorageError: D1_ERROR: Column not found (c)")


def test_values_are_those_of_sqlite(hand: Any) -> None:
    hand.do("run", "INSERT INTO t VALUES (?, ?)", True, b"\x00\xff")
    assert hand.do("first", "SELECT a, b, typeof(a) AS kind FROM t") == {"a": 1, "b": b"\x00\xff", "kind": "integer"}
    assert hand.do("run", "SELECT ?", [1]).startswith("TypeError: D1_TYPE_ERROR")


def test_what_fails_says_what_and_has_no_effect(hand: Any) -> None:
    assert hand.do("run", "SELECT * FROM absent").startswith("StorageError: D1_ERROR: no such table")
    assert hand.do("run", "BEGIN").startswith("StorageError: D1_ERROR: ")
    hand.do("run", "INSERT INTO t VALUES (1, 1)")
    failed = hand.batch(["INSERT INTO t VALUES (2, ?)", 2], ["INSERT INTO absent VALUES (?)", 3])
    assert failed.startswith("StorageError: D1_ERROR: no such table")
    assert hand.do("raw", "SELECT a FROM t") == [[1]], "a batch is one transaction"


def test_a_batch_gives_each_result(hand: Any) -> None:
    found = hand.batch(["INSERT INTO t VALUES (?, ?)", 1, 2], ["UPDATE t SET b = b + ?", 5], ["SELECT b FROM t"])
    assert [each["meta"]["changes"] for each in found] == [1, 1, 0]
    assert found[2]["results"] == [{"b": 7}]


def test_a_script_is_run_whole(hand: Any) -> None:
    done = hand.script("INSERT INTO t VALUES (1, ';');\nINSERT INTO t VALUES (2, 'b')")
    assert (done["count"], done["duration"] > 0) == (2, True)
    assert hand.do("raw", "SELECT b FROM t ORDER BY a") == [[";"], ["b"]]
    assert hand.script("INSERT INTO t VALUES (3, 'c'); INSERT INTO absent VALUES (1);").startswith("StorageError")
    assert hand.do("first", "SELECT count(*) AS n FROM t", column="n") == 2


def migrate(cluster: Cluster, app: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(HOMING), "d1", "migrations", "apply", str(app), *words, "--url", cluster.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_migrations_are_applied_once_and_whole(cluster: Cluster, hand: Any, tmp_path: Path) -> None:
    """`homing dev` applied the first; the others come by hand, as on a cluster."""
    app = tmp_path / "app"
    shutil.copytree(APP, app)
    assert migrate(cluster, app).stdout == "DB: nothing to apply\n"
    (app / "sql" / "0002_more.sql").write_text("-- more\nCREATE TABLE more (a);\nINSERT INTO more VALUES (1);\n")
    (app / "sql" / "0003_last.sql").write_text("ALTER TABLE more ADD COLUMN b;")
    assert migrate(cluster, app, "main").stdout == "DB: 0002_more.sql, 0003_last.sql\n"
    assert hand.do("first", "SELECT * FROM more") == {"a": 1, "b": None}
    (app / "sql" / "0004_bad.sql").write_text("CREATE TABLE half (a); INSERT INTO absent VALUES (1);")
    failed = migrate(cluster, app)
    assert failed.returncode != 0
    assert "no such table" in failed.stderr
    assert hand.do("run", "SELECT * FROM half").startswith("StorageError: D1_ERROR: no such table")
    names = hand.do("raw", "SELECT name FROM d1_migrations ORDER BY id")
    assert names == [["0001_t.sql"], ["0002_more.sql"], ["0003_last.sql"]]
    assert migrate(cluster, app, "nothing").returncode != 0
