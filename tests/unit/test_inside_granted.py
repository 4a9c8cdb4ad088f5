"""What an object does under grants: values pass, references do not; what may only be read is only read."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec
import pytest

from homing.errors import StorageError
from homing.values import to_stored
from homing_node.workers.inside import limits
from homing_node.workers.inside.authorizer import reads
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.failures import NotGranted
from homing_node.workers.inside.granted import prepare


@pytest.fixture
def database() -> Database:
    made = Database([], lambda: None)
    made.execute("CREATE TABLE t(a)", ())
    made.execute("INSERT INTO t VALUES (1), (2)", ())
    made.kv_put("k", to_stored("v"))
    made.commit()
    return made


def body(*args: Any, props: bytes = b"", **kwargs: Any) -> bytes:
    return msgspec.msgpack.encode([to_stored([list(args), kwargs]), props])


def called(database: Database, operation: str, *args: Any, **kwargs: Any) -> Any:
    function, (given, named) = prepare({}, None, operation, body(*args, **kwargs), lambda: database)
    return function(None, *given, **named)


def test_props_come_from_the_grant_alone() -> None:
    """Broken by: the check of `props` among the arguments, left out."""
    methods = {"m": lambda _, *args, **kwargs: [args, kwargs]}
    nobody: Any = None
    function, (args, kwargs) = prepare(methods, None, "call m", body(1, props=to_stored({"u": 7})), nobody)
    assert function(None, *args, **kwargs) == [(1,), {"props": {"u": 7}}]
    for props in (b"", to_stored({"u": 7})):
        forged = msgspec.msgpack.encode([to_stored([[], {"props": {"u": 8}}]), props])
        with pytest.raises(ValueError, match="props"):
            prepare(methods, None, "call m", forged, nobody)


@pytest.mark.parametrize("code", [4, 5, 6, 7, 8, 9, 100])
def test_no_reference_passes(code: int) -> None:
    """Broken by: the Sender's decoder in place of `from_stored`."""
    given = msgspec.msgpack.encode([[msgspec.msgpack.Ext(code, msgspec.msgpack.encode(["Counter", bytes(32)]))], {}])
    nobody: Any = None
    with pytest.raises(ValueError, match="unknown kind"):
        prepare({"m": print}, None, "call m", msgspec.msgpack.encode([given, b""]), nobody)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "truncated"),
        (b"\xc1", "malformed"),
        (to_stored([1, 2]), "a list and a dict"),
        (to_stored([[], {1: 2}]), "the name of an argument is text"),
        (to_stored([[], {}, 0]), "a list and a dict"),
    ],
)
def test_what_is_no_arguments_is_refused(given: bytes, said: str) -> None:
    nobody: Any = None
    with pytest.raises(ValueError, match=said):
        prepare({"m": print}, None, "call m", msgspec.msgpack.encode([given, b""]), nobody)


def test_an_unknown_method_or_operation_is_none() -> None:
    nobody: Any = None
    for operation in ("call other", "sql.other", "", "call"):
        with pytest.raises(LookupError):
            prepare({"m": print}, None, operation, body(), nobody)


def test_a_statement_that_was_prepared_for_the_object_is_judged_anew(database: Database) -> None:
    """Broken by: `can_cache=False` left out of `_read`, with the text prepared by the object before."""
    for _ in range(3):
        database.execute("DELETE FROM t WHERE a = 99", ())
    with pytest.raises(NotGranted, match="not authorized"):
        called(database, "sql.read", "DELETE FROM t WHERE a = 99")
    database.execute("DELETE FROM t WHERE a = 99", ())  # and afterwards the object may again
    assert called(database, "sql.read", "SELECT a FROM t") == [{"a": 1}, {"a": 2}]
    database.execute("INSERT INTO t VALUES (3)", ())


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO t VALUES (3)",
        "DELETE FROM t",
        "SELECT a FROM t; DELETE FROM t",
        "DELETE FROM t; SELECT 1",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "CREATE TEMP TABLE x(a)",
        "ANALYZE",
        "REINDEX",
        "VACUUM",
        "SAVEPOINT s",
        "COMMIT",
        "PRAGMA user_version = 1",
        "PRAGMA defer_foreign_keys = 1",
        "PRAGMA table_info('_homing_kv')",
        "PRAGMA integrity_check",
        "SELECT k FROM _homing_kv",
        "SELECT load_extension('x')",
        "EXPLAIN DELETE FROM t",
        "ATTACH ':memory:' AS m",
    ],
)
def test_a_reader_changes_nothing(database: Database, query: str) -> None:
    """Broken by: `reading` left out of `Guard.__call__`."""
    of_functions = "load_extension" in query  # SQLite says so by itself, as of SQL that is none
    with pytest.raises(StorageError if of_functions else NotGranted):
        called(database, "sql.read", query)
    assert database.commit() is None
    assert called(database, "sql.read", "SELECT count(*) AS n FROM t") == [{"n": 2}]


@pytest.mark.parametrize(
    ("query", "bindings", "rows"),
    [
        ("SELECT a FROM t WHERE a = ?", (2,), [{"a": 2}]),
        ("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT sum(i) AS s FROM n", (), [{"s": 6}]),
        ("SELECT value FROM json_each('[1,2]')", (), [{"value": 1}, {"value": 2}]),
        ("SELECT name FROM pragma_table_info('t')", (), [{"name": "a"}]),
        ("SELECT a FROM t WHERE 0", (), []),
        ("  -- nothing\n SELECT 1 AS one;", (), [{"one": 1}]),
    ],
)
def test_a_reader_reads(database: Database, query: str, bindings: tuple[Any, ...], rows: list[Any]) -> None:
    assert called(database, "sql.read", query, *bindings) == rows


def test_a_query_has_a_second_and_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "granted_s_max", 0.05)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    for operation in ("sql.read", "sql.write"):
        with pytest.raises(StorageError, match="longer than"):
            called(database, operation, endless)
        with pytest.raises(StorageError, match="rows have over"):
            called(database, operation, "SELECT zeroblob(2000000) FROM t, t AS u, t AS v")
    database.execute("SELECT a FROM t", ()).to_array()  # the object itself is held to neither


def test_pairs(database: Database) -> None:
    assert called(database, "kv.get", "k") == "v"
    called(database, "kv.put", "l", [1])
    assert called(database, "kv.list") == [["k", "v"], ["l", [1]]]
    assert called(database, "kv.list", limit=1, reverse=True) == [["l", [1]]]
    assert called(database, "kv.delete", "k") is True
    for limit in (0, limits.granted_keys_max + 1, "1", True):
        with pytest.raises(StorageError):
            called(database, "kv.list", limit=limit)


def test_what_sqlite_may_do_for_a_reader_is_a_list() -> None:
    constants = {name: getattr(apsw, name) for name in dir(apsw) if name in apsw.mapping_authorizer_function}
    assert {name for name, action in constants.items() if reads(action, "t", "a", "main")} == {
        "SQLITE_FUNCTION",
        "SQLITE_READ",
        "SQLITE_RECURSIVE",
        "SQLITE_SELECT",
    }
