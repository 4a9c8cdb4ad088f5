"""SQL that would break the capture of pages, or reach what is not the object's, is refused; ordinary SQL is not."""

from collections.abc import Iterator

import pytest

from homing.errors import StorageError
from homing.storage import Sql
from homing_node.workers.inside import vfs
from homing_node.workers.inside.database import Database
from replica import Store


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.commit()
    store.check()
    store.database.close()


REFUSED = [
    "ATTACH 'x' AS y", "ATTACH ':memory:' AS y", "DETACH main", "VACUUM", "VACUUM INTO 'x'", "vacuum main",
    "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "ROLLBACK TO a", "EXPLAIN COMMIT",
    "/* x */ BEGIN IMMEDIATE", "SELECT 1; COMMIT", "; COMMIT; SELECT 1",
    "PRAGMA cache_spill = on", "PRAGMA cache_size = 1", "PRAGMA page_size = 512", "PRAGMA journal_mode = wal",
    "PRAGMA journal_mode = off", "PRAGMA locking_mode = normal", "PRAGMA temp_store = file", "PRAGMA synchronous = 2",
    "PRAGMA temp_store_directory = '/tmp'", "PRAGMA writable_schema = on", "PRAGMA writable_schema = reset",
    "PRAGMA main.cache_spill = on", "pragma Cache_Spill(1)", "PRAGMA max_page_count = 9999999", "PRAGMA mmap_size = 1",
    "PRAGMA incremental_vacuum", "PRAGMA wal_checkpoint", "PRAGMA auto_vacuum = full", "PRAGMA encoding = 'UTF-16'",
    "PRAGMA schema_version = 1", "PRAGMA foreign_keys = off", "PRAGMA shrink_memory", "PRAGMA hard_heap_limit = 1",
    "PRAGMA trusted_schema = on", "PRAGMA ignore_check_constraints = on", "PRAGMA query_only = on", "PRAGMA data_store",
    "CREATE TEMP TABLE x(a)", "CREATE TEMPORARY VIEW x AS SELECT 1", "CREATE TABLE temp.x(a)",
    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE TABLE _homing_x(a)", "CREATE TABLE _HOMING_X(a)", "CREATE VIEW _homing_v AS SELECT 1",
    "SELECT * FROM _homing_kv", "SELECT * FROM main._homing_kv", "SELECT (SELECT v FROM _homing_kv)",
    "INSERT INTO _homing_kv VALUES ('a', 1)", "UPDATE _homing_kv SET v = 1", "DELETE FROM _homing_kv",
    "DROP TABLE _homing_kv", "DROP TABLE IF EXISTS _Homing_Kv", "ALTER TABLE _homing_kv RENAME TO x",
    "CREATE INDEX i ON _homing_kv(v)",
    "CREATE TABLE c AS SELECT * FROM _homing_kv",
    "CREATE TRIGGER x AFTER INSERT ON _homing_kv BEGIN SELECT 1; END", "PRAGMA table_info(_homing_kv)",
    "CREATE TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM _homing_kv; END; INSERT INTO t VALUES (9)",
    "SELECT load_extension('x')", "SELECT load_extension('x', 'y')", "SELECT fts3_tokenizer('simple')",
    "CREATE VIRTUAL TABLE x USING dbstat", "CREATE VIRTUAL TABLE x USING fts3(a)",
    "CREATE VIRTUAL TABLE x USING nothing(a)", "SELECT v FROM _homing_kv WHERE k = ?",
    "UPDATE sqlite_schema SET sql = 'x'", "DELETE FROM sqlite_master", "DROP TABLE sqlite_schema",
    "SELECT * FROM pragma_cache_spill", "SELECT nothing", "SELECT '", "INSERT INTO t VALUES (1, 2, 3)", "not sql",
    "SELECT ?", "SELECT ?; SELECT 1",
]  # fmt: skip


@pytest.mark.parametrize("query", REFUSED)
def test_hostile_sql_is_refused_and_breaks_nothing(store: Store, query: str):
    store.sql.exec("CREATE TABLE IF NOT EXISTS t(a)")
    store.kv.put("n", 1)
    store.commit()
    store.kv.put("n", 2)
    with pytest.raises(StorageError):
        store.sql.exec(query, *["n"] * query.endswith("= ?")).to_array()
    store.kv.put("m", 3)
    store.commit()
    assert (store.kv.get("n"), store.kv.get("m")) == (2, 3)
    assert store.database.file.pages[0][16:18] == b"\x04\x00", "the page size is 1,024"
    store.check()


@pytest.mark.parametrize(
    "query",
    [
        "PRAGMA table_info(t)", "SELECT * FROM pragma_table_info('t')", "PRAGMA user_version",
        "PRAGMA user_version = 7",
        "PRAGMA page_count", "PRAGMA foreign_key_check", "PRAGMA integrity_check", "PRAGMA quick_check(t)",
        "PRAGMA optimize", "ANALYZE", "ANALYZE t", "REINDEX", "PRAGMA defer_foreign_keys = on", "PRAGMA data_version",
        "SELECT * FROM sqlite_schema", "EXPLAIN QUERY PLAN SELECT * FROM t", "SELECT json_extract('{\"a\":1}', '$.a')",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)", "SELECT sqlite_version(), changes()", "", " ; ", "-- nothing",
        "SELECT 1; -- the end", "SELECT ';'; SELECT '--;'", "SELECT 1 /* ; */",
    ],
)  # fmt: skip
def test_harmless_sql_is_allowed(store: Store, query: str):
    store.sql.exec("CREATE TABLE IF NOT EXISTS t(a)")
    store.kv.put("n", 1)
    store.sql.exec(query).to_array()
    store.commit()


def test_nothing_reaches_the_pages_before_the_commit(store: Store):
    """Broken by: cache_spill on (a transaction larger than the cache writes pages as it goes)."""
    store.sql.exec("CREATE TABLE t(v)")
    store.commit()
    pages = list(store.database.file.pages)
    for _ in range(400):
        store.sql.exec("INSERT INTO t VALUES (randomblob(900))")
    store.sql.exec("SELECT * FROM t ORDER BY v").to_array()
    assert store.database.file.pages == pages
    assert not store.database.file.dirty
    store.database.rollback()
    assert store.rows("SELECT count(*) FROM t") == [(0,)]


def test_random_numbers_of_sqlite_come_from_the_kernel():
    """Broken by: no xRandomness (each worker would be pid 1 with nothing else to seed from)."""
    seen = set()
    for _ in range(4):
        vfs.seed_randomness()
        database = Database([], lambda: None)
        seen.add(Sql(database).exec("SELECT hex(randomblob(16)) AS r").one()["r"])
        database.close()
    assert len(seen) == 4


def test_pages_that_are_no_database_are_refused():
    with pytest.raises(StorageError, match="not a database"):
        Database([b"\xff" * 1024], lambda: None)
