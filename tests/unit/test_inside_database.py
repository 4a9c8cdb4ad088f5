"""Storage: what each transaction captured is what a replica holds, and hostile SQL cannot change that."""

import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from homing.errors import CommitTooLarge, DatabaseFull, ObjectReset, StorageError
from homing.storage import Sql
from homing_node.workers.inside import limits
from replica import Store


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.commit()
    store.check()
    store.database.close()


# Commits


def test_a_small_update_is_one_page_and_the_same_value_none(store: Store):
    assert store.commit() is None
    store.kv.put("n", 1)
    store.commit()
    store.kv.put("n", 2)
    commit = store.commit()
    assert commit is not None
    assert len(commit) < 50
    store.kv.put("n", 2)
    assert store.commit() is None
    store.sql.exec("SELECT 1")
    assert store.commit() is None
    assert store.replica.commits == 2


def test_everything_sqlite_can_do_reaches_the_replica(store: Store):
    store.sql.exec("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b); CREATE INDEX ti ON t(a)")
    store.commit()
    for n in range(300):
        store.sql.exec("INSERT INTO t(a, b) VALUES (?, ?)", n % 7, "x" * (n % 90))
        if n % 11 == 0:
            store.commit()
    store.commit()
    store.sql.exec("CREATE VIRTUAL TABLE f USING fts5(text); INSERT INTO f SELECT 'word' || id || ' same' FROM t")
    store.commit()
    assert store.rows("SELECT count(*) FROM f WHERE f MATCH 'same'") == [(300,)]
    store.sql.exec("CREATE TRIGGER tr AFTER DELETE ON t BEGIN INSERT INTO f VALUES ('gone' || old.id); END")
    store.sql.exec("DELETE FROM t WHERE id % 3 = 0")
    store.commit()
    store.sql.exec("ALTER TABLE t ADD COLUMN c DEFAULT 5; ALTER TABLE t RENAME TO u; ANALYZE; REINDEX")
    store.commit()
    store.sql.exec("CREATE VIEW v AS SELECT a, count(*) AS n FROM u GROUP BY a; DROP TABLE f")
    store.commit()
    assert len(store.rows("SELECT * FROM v")) == 7
    store.check()
    successor = store.reopened()
    assert list(Sql(successor).exec("SELECT count(*) FROM u").raw()) == [(200,)]
    successor.close()


def test_random_transactions_with_rollbacks_reach_the_replica(store: Store):
    """Broken by: keeping what was captured when a transaction rolls back."""
    chance = random.Random(5)
    store.sql.exec("CREATE TABLE t(k INTEGER PRIMARY KEY, v)")
    expected: dict[int, bytes] = {}
    for _ in range(200):
        pending = dict(expected)
        for _ in range(chance.randint(1, 6)):
            key = chance.randint(1, 60)
            if chance.random() < 0.3:
                store.sql.exec("DELETE FROM t WHERE k = ?", key)
                pending.pop(key, None)
            else:
                value = chance.randbytes(chance.choice((5, 50, 900, 5_000)))
                store.sql.exec("INSERT OR REPLACE INTO t VALUES (?, ?)", key, value)
                pending[key] = value
        if chance.random() < 0.3:
            store.database.rollback()
            assert store.commit() is None
        else:
            expected = pending
            store.commit()
    assert dict(store.rows("SELECT k, v FROM t")) == expected


def test_a_database_that_shrinks_and_grows_again(store: Store):
    store.sql.exec("CREATE TABLE t(v)")
    store.sql.exec("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50) "
                   "INSERT INTO t SELECT randomblob(900) FROM c")  # fmt: skip
    store.commit()
    large = store.sql.database_size
    store.database.delete_all()
    store.commit()
    assert store.sql.database_size < large / 10
    store.sql.exec("CREATE TABLE t(v); INSERT INTO t VALUES (randomblob(5000))")
    store.commit()
    store.check()


def test_the_database_begins_its_transaction_once_in_a_turn(store: Store):
    store.kv.put("a", 1)
    store.kv.put("b", 1)
    store.sql.exec("SELECT 1")
    assert store.begun == 1
    store.commit()
    assert store.kv.get("a") == 1
    assert store.begun == 1


# Limits


def test_a_commit_at_its_limit_passes_and_above_it_is_undone(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Broken by: not counting pages in xWrite."""
    store.sql.exec("CREATE TABLE t(v)")
    store.kv.put("before", 1)
    store.commit()
    pages = list(store.database.file.pages)
    monkeypatch.setattr(limits, "commit_pages_max", 20)
    store.sql.exec("INSERT INTO t VALUES (randomblob(30000))")
    with pytest.raises(CommitTooLarge):
        store.commit()
    assert store.database.file.pages == pages
    assert store.commit() is None
    assert store.rows("SELECT * FROM t") == []
    assert store.kv.get("before") == 1
    # 18 pages of overflow, the table's own and the first
    store.sql.exec("INSERT INTO t VALUES (randomblob(18 * 1020 + 40))")
    store.commit()
    touched = len(store.database.file.pages) - len(pages) + 2
    assert touched == 20


def test_a_full_database_is_undone_and_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "pages_max", 40)
    store = Store()
    store.sql.exec("CREATE TABLE t(v)")
    store.kv.put("n", 1)
    store.commit()
    store.kv.put("n", 2)
    with pytest.raises(DatabaseFull):
        store.sql.exec("INSERT INTO t VALUES (randomblob(60000))")
    store.commit()
    with pytest.raises(DatabaseFull):
        store.kv.put("big", os.urandom(60_000))
    store.commit()
    store.check()
    assert store.rows("SELECT count(*) FROM t") == [(0,)]
    store.sql.exec("INSERT INTO t VALUES (randomblob(20000))")
    store.commit()
    store.check()
    store.database.close()


@pytest.mark.parametrize(
    ("query", "bindings", "fits"),
    [
        ("SELECT length(?)", ["x" * limits.value_bytes_max], True),
        ("SELECT length(?)", ["x" * (limits.value_bytes_max + 1)], False),
        ("SELECT length(zeroblob(3000000))", [], False),
        ("SELECT " + "+".join("?" * 100), [1] * 100, True),
        ("SELECT " + "+".join("?" * 101), [1] * 101, False),
        ("SELECT 1" + " " * (100_000 - 8), [], True),
        ("SELECT 1" + " " * (100_001 - 8), [], False),
        ("SELECT max(" + ",".join("1" * 32) + ")", [], True),
        ("SELECT max(" + ",".join("1" * 33) + ")", [], False),
        ("SELECT 'a' LIKE '" + "a" * 50 + "'", [], True),
        ("SELECT 'a' LIKE '" + "a" * 51 + "'", [], False),
        ("CREATE TABLE w(" + ",".join(f"c{n}" for n in range(100)) + ")", [], True),
        ("CREATE TABLE w(" + ",".join(f"c{n}" for n in range(101)) + ")", [], False),
        ("SELECT ?", [2**63 - 1], True),
        ("SELECT ?", [2**63], False),
    ],
)
def test_limits_at_their_edges(store: Store, query: str, bindings: list[Any], fits: bool):
    if fits:
        store.sql.exec(query, *bindings).to_array()
        return
    with pytest.raises(StorageError):
        store.sql.exec(query, *bindings).to_array()


def test_a_key_and_its_value_at_their_limit(store: Store):
    room = limits.value_bytes_max - 1 - 5
    store.kv.put("k", b"x" * (room - 40))
    assert len(store.kv.get("k")) == room - 40
    with pytest.raises(StorageError):
        store.kv.put("k", b"x" * (room + 1))
    with pytest.raises(StorageError):
        store.kv.put("k" * limits.value_bytes_max, b"x" * 10)
    with pytest.raises(TypeError, match="a key is a str"):
        store.kv.put(5, 1)  # type: ignore[arg-type] - the wrong type is the point
    for call in (store.kv.get, store.kv.delete):
        with pytest.raises(TypeError, match="a key is a str"):
            call(None)  # type: ignore[arg-type] - the wrong type is the point


def test_another_thread_may_not_write(store: Store):
    caught: list[Exception] = []

    def write() -> None:
        try:
            store.kv.put("a", 1)
        except StorageError as error:
            caught.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert "own thread" in str(caught[0])


def test_a_closed_database_says_that_the_activation_has_ended():
    store = Store()
    store.kv.put("a", 1)
    store.commit()
    store.database.close()
    for use in (
        lambda: store.kv.get("a"),
        lambda: store.kv.put("a", 2),
        lambda: store.sql.exec("SELECT 1"),
        store.kv.list,
        lambda: store.database.transaction_sync(lambda: None),
    ):
        with pytest.raises(ObjectReset):
            use()


# Cursors


def test_cursor_methods(store: Store):
    sql = store.sql
    sql.exec("CREATE TABLE t(id, name); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    assert [row["name"] for row in sql.exec("SELECT * FROM t ORDER BY id")] == ["a", "b", "c"]
    cursor = sql.exec("SELECT id, name FROM t ORDER BY id")
    assert cursor.next() == {"id": 1, "name": "a"}
    assert next(cursor.raw()) == (2, "b")
    assert cursor.to_array() == [{"id": 3, "name": "c"}]
    assert cursor.next() is None
    assert cursor.column_names == ["id", "name"]
    assert cursor.rows_read == 3
    assert sql.exec("SELECT id FROM t WHERE id = ?", 2).one() == {"id": 2}
    for query in ("SELECT id FROM t WHERE id = 9", "SELECT id FROM t"):
        with pytest.raises(StorageError, match="exactly one row"):
            sql.exec(query).one()
    assert sql.exec("SELECT id AS x, name FROM t WHERE 0").column_names == ["x", "name"]
    assert sql.exec("UPDATE t SET name = 'z' WHERE id > 1").rows_written == 2
    assert sql.exec("SELECT 1").rows_written == 0
    returning = sql.exec("UPDATE t SET name = 'y' WHERE id > 1 RETURNING id")
    assert returning.rows_written == 2
    assert [row["id"] for row in returning] == [2, 3]
    assert sql.exec("INSERT INTO t VALUES (4, 'd') RETURNING id").one() == {"id": 4}
    assert sql.exec("DELETE FROM t").column_names == []


def test_several_statements_take_bindings_for_the_last(store: Store):
    query = "CREATE TABLE t(a); INSERT INTO t VALUES (1); SELECT 7; INSERT INTO t VALUES (?); "
    assert store.sql.exec(query, 2).to_array() == []
    assert store.rows("SELECT a FROM t; SELECT sum(a) FROM t") == [(3,)]
    trigger = "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = a + 1; SELECT 1; END; SELECT count(*) FROM t"
    assert store.rows(trigger) == [(2,)]
    with pytest.raises(StorageError, match="bindings belong to the last"):
        store.sql.exec("INSERT INTO t VALUES (?); SELECT 1", 5)
    with pytest.raises(StorageError):
        store.sql.exec("SELECT 1; SELECT ?")


def test_a_cursor_is_read_into_memory_when_its_turn_ends(store: Store):
    """Broken by: leaving statements open (the next turn would change the rows under the cursor)."""
    store.sql.exec("CREATE TABLE t(a)")
    for n in range(100):
        store.sql.exec("INSERT INTO t VALUES (?)", n)
    cursor = store.sql.exec("SELECT a FROM t")  # unsorted: a sorter would have read every row already
    assert cursor.next() == {"a": 0}
    store.commit()
    store.sql.exec("DELETE FROM t")
    store.commit()
    assert [row["a"] for row in cursor] == list(range(1, 100))
    cursor = store.sql.exec("SELECT 1 AS one UNION ALL SELECT 2")
    store.database.rollback()
    assert cursor.to_array() == [{"one": 1}, {"one": 2}]


def test_many_open_cursors_are_not_all_kept(store: Store):
    store.sql.exec("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2)")
    kept = [store.sql.exec("SELECT a FROM t") for _ in range(10)]
    for _ in range(1_000):
        store.sql.exec("SELECT a FROM t").next()
    assert len(store.database._cursors) <= limits.open_cursors_checked + 1
    store.commit()
    assert [len(cursor.to_array()) for cursor in kept] == [2] * 10


# Key-value pairs


def test_kv_values_and_listing(store: Store):
    kv = store.kv
    assert kv.get("a") is None
    assert kv.delete("a") is False
    assert kv.list() == []
    for key in ("b", "a", "c", "ab", "\u00e9", "\U0001f600", "\uffff", ""):
        kv.put(key, key)
    keys = [key for key, _ in kv.list()]
    assert keys == sorted(keys, key=str.encode)
    assert [key for key, _ in kv.list(prefix="a")] == ["a", "ab"]
    assert [key for key, _ in kv.list(start="ab", end="c")] == ["ab", "b"]
    assert [key for key, _ in kv.list(start_after="ab", limit=1)] == ["b"]
    assert [key for key, _ in kv.list(reverse=True, limit=2)] == ["\U0001f600", "\uffff"]
    assert [key for key, _ in kv.list(prefix="\uffff")] == ["\uffff"]
    assert [key for key, _ in kv.list(prefix="a", start="ab")] == ["ab"]
    assert [key for key, _ in kv.list(prefix="a", end="ab")] == ["a"]
    assert kv.delete("a") is True
    assert kv.get("a") is None
    kv.put("none", None)
    assert ("none", None) in kv.list()
    with pytest.raises(StorageError):
        kv.list(start="a", start_after="b")
    with pytest.raises(StorageError):
        kv.list(limit=0)


def test_kv_after_rollback_of_its_own_table(store: Store):
    """Broken by: remembering that the table exists when its creation was rolled back."""
    store.kv.put("a", 1)
    store.database.rollback()
    assert store.kv.get("a") is None
    store.kv.put("a", 2)
    store.commit()
    assert store.kv.get("a") == 2


# Transactions


def test_transaction_sync_alone_nested_and_raising(store: Store):
    sync = store.database.transaction_sync
    assert sync(lambda: store.kv.put("a", 1) or 5) == 5

    def fails() -> None:
        store.kv.put("b", 1)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised above
        sync(fails)
    assert [key for key, _ in store.kv.list()] == ["a"]
    store.commit()

    def outer() -> None:
        store.kv.put("c", 1)
        with pytest.raises(ValueError):  # noqa: PT011 - raised above
            sync(fails)
        sync(lambda: store.kv.put("d", 1))

    sync(outer)
    store.commit()
    assert [key for key, _ in store.kv.list()] == ["a", "c", "d"]
    with pytest.raises(ValueError):  # noqa: PT011 - raised above
        sync(fails)
    assert store.commit() is None

    async def never() -> None: ...

    with pytest.raises(TypeError, match="async"):
        sync(never)
    assert store.commit() is None


def test_delete_all_is_part_of_its_transaction(store: Store):
    store.sql.exec("CREATE TABLE p(id INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE c(p NOT NULL REFERENCES p)")
    store.sql.exec("INSERT INTO p VALUES (1); INSERT INTO c VALUES (1); CREATE VIEW v AS SELECT * FROM c")
    store.sql.exec('CREATE VIRTUAL TABLE f USING fts5(a); CREATE INDEX i ON c(p); CREATE TABLE "odd ""name"(a)')
    store.sql.exec("CREATE TRIGGER tr AFTER INSERT ON c BEGIN DELETE FROM p; END")
    store.kv.put("a", 1)
    store.commit()

    def undone() -> None:
        store.database.delete_all()
        raise KeyError

    with pytest.raises(KeyError):
        store.database.transaction_sync(undone)
    assert store.kv.get("a") == 1
    store.commit()
    store.database.delete_all()
    assert store.kv.get("a") is None
    store.kv.put("b", 1)
    store.commit()
    assert [row["name"] for row in store.sql.exec("SELECT name FROM sqlite_schema")] == ["_homing_kv"]
    assert store.kv.list() == [("b", 1)]
    store.database.delete_all()
    store.commit()
    assert store.sql.database_size <= 1024
