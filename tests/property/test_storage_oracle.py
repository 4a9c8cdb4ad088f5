"""SQL, key-value storage and transactions do what plain SQLite and a dict do, also when the object is opened anew.

A turn is a transaction: what was written since the last one is gone after a crash, and all before it is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from homing.errors import StorageError
from homing.values import from_stored, to_stored
from replica import Store

TABLES = st.sampled_from(("t", "u", '"odd name"'))
KEYS = st.integers(-3, 12)
SQL_VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=40),
    st.binary(max_size=600),
)  # fmt: skip
NAMES = st.sampled_from(("a", "aa", "ab", "b", "ä", "ﬀ", "\U00010000"))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.binary(max_size=300)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
QUERIES = st.sampled_from(
    (
        "SELECT * FROM {} ORDER BY k",
        "SELECT count(*), min(k), max(k), typeof(max(a)) FROM {}",
        "SELECT k, typeof(a), a, typeof(b) FROM {} WHERE k > 2 ORDER BY k DESC LIMIT 3",
        "SELECT json_group_array(json_object('k', k, 't', typeof(b))) FROM {}",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 5) SELECT k FROM n JOIN {} ON k = i",
        "SELECT k FROM {0} EXCEPT SELECT k FROM {0} WHERE b IS NULL ORDER BY 1",
    )
)


def copy(database: sqlite3.Connection) -> sqlite3.Connection:
    """Another one that holds the same."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    database.backup(made)
    return made


class Undo(Exception):
    """Raised in a transaction."""


class StorageAgainstSqlite(RuleBasedStateMachine):
    """An object's storage beside an SQLite database and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.oracle = sqlite3.connect(":memory:", isolation_level=None)
        self.pairs: dict[str, Any] = {}
        self.committed = (copy(self.oracle), dict[str, Any]())
        self.dirty = False

    def both(self, query: str, *bindings: Any) -> None:
        """One statement in both: the same rows, names and counts, or an error in both."""
        found: Any
        expected: Any
        before = self.oracle.total_changes
        try:
            cursor = self.oracle.execute(query, bindings)
            rows = cursor.fetchall()
            names = [column[0] for column in cursor.description or ()]
            expected = (rows, names, self.oracle.total_changes - before)
        except (sqlite3.Error, OverflowError):
            expected = "an error"
        try:
            mine = self.store.sql.exec(query, *bindings)
            rows = list(mine.raw())
            found = (rows, mine.column_names, mine.rows_written)
        except StorageError:
            found = "an error"
        assert found == expected, query
        self.dirty = True

    # -- SQL ------------------------------------------------------------------------------------------------------

    @rule(table=TABLES, unique=st.booleans())
    def create(self, table: str, unique: bool) -> None:
        self.both(f"CREATE TABLE IF NOT EXISTS {table}(k INTEGER PRIMARY KEY, a, b {'UNIQUE' if unique else ''})")

    @rule(table=TABLES)
    def index(self, table: str) -> None:
        self.both(f"CREATE INDEX IF NOT EXISTS i ON {table}(a, k)")

    @rule(table=TABLES)
    def drop(self, table: str) -> None:
        self.both(f"DROP TABLE {table}")

    @rule(how=st.sampled_from(("", "OR REPLACE", "OR IGNORE")), table=TABLES, key=KEYS, a=SQL_VALUES, b=SQL_VALUES)
    def insert(self, how: str, table: str, key: int, a: Any, b: Any) -> None:
        self.both(f"INSERT {how} INTO {table} VALUES (?, ?, ?)", key, a, b)

    @rule(table=TABLES, low=KEYS, a=SQL_VALUES)
    def update(self, table: str, low: int, a: Any) -> None:
        self.both(f"UPDATE {table} SET a = ?, b = NULL WHERE k >= ? RETURNING k, a", a, low)

    @rule(table=TABLES, key=KEYS)
    def delete(self, table: str, key: int) -> None:
        self.both(f"DELETE FROM {table} WHERE k <= ?", key)

    @rule(table=TABLES, query=QUERIES)
    def select(self, table: str, query: str) -> None:
        self.both(query.format(table))

    @rule(query=st.sampled_from(("SELEC 1", "SELECT ?", "INSERT INTO nowhere VALUES (1)", "SELECT 1 +", "")))
    def wrong(self, query: str) -> None:
        if query:
            self.both(query)

    @rule(table=TABLES, key=KEYS, value=SQL_VALUES)
    def several(self, table: str, key: int, value: Any) -> None:
        """Statements before the last take no bindings; each is carried out before the next is looked at."""
        first = f"DELETE FROM {table} WHERE k = {key}"
        last = f"INSERT INTO {table} VALUES ({key}, ?, 'x''; y')"
        try:
            self.oracle.execute(first)
            self.oracle.execute(last, (value,))
            expected = True
        except (sqlite3.Error, OverflowError):
            expected = False
        try:
            self.store.sql.exec(f"{first}; -- a comment;\n{last};", value)
            found = True
        except StorageError:
            found = False
        assert found is expected
        self.dirty = True

    # -- keys -----------------------------------------------------------------------------------------------------

    @rule(name=NAMES, value=VALUES)
    def put(self, name: str, value: Any) -> None:
        self.store.kv.put(name, value)
        self.pairs[name] = from_stored(to_stored(value))
        self.dirty = True

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        assert self.store.kv.delete(name) is (name in self.pairs)
        self.pairs.pop(name, None)
        self.dirty = True

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        assert self.store.kv.get(name) == self.pairs.get(name)

    @rule(
        start=st.none() | NAMES, end=st.none() | NAMES, prefix=st.none() | NAMES, reverse=st.booleans(),
        limit=st.none() | st.integers(1, 4), after=st.booleans(),
    )  # fmt: skip
    def listed(
        self, start: str | None, end: str | None, prefix: str | None, reverse: bool, limit: int | None, after: bool
    ) -> None:
        expected = sorted(self.pairs.items(), key=lambda pair: pair[0].encode(), reverse=reverse)
        expected = [
            (name, value)
            for name, value in expected
            if (start is None or name.encode() > start.encode() or (not after and name == start))
            and (end is None or name.encode() < end.encode())
            and (prefix is None or name.startswith(prefix))
        ]
        options: dict[str, Any] = {"start_after" if after else "start": start} if start is not None else {}
        found = self.store.kv.list(end=end, prefix=prefix, reverse=reverse, limit=limit, **options)
        assert found == expected[:limit]

    # -- transactions and turns -----------------------------------------------------------------------------------

    @rule(table=TABLES, key=KEYS, name=NAMES, value=SQL_VALUES, fails=st.booleans(), inner=st.booleans())
    def transaction(self, table: str, key: int, name: str, value: Any, fails: bool, inner: bool) -> None:
        """SQL and keys together, and one transaction in another that is undone alone."""

        def work() -> None:
            self.both(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, NULL)", key, value)
            self.put(name, [key])
            if inner:
                self.undone(lambda: self.both(f"DELETE FROM {table}"))
            if fails:
                raise Undo

        if fails:
            self.undone(work)
        else:
            self.store.database.transaction_sync(work)

    def undone(self, work: Callable[[], None]) -> None:
        """Run something in a transaction that raises; nothing of it is left in either."""
        pairs = dict(self.pairs)
        self.oracle.execute("SAVEPOINT s")

        def raising() -> None:
            work()
            raise Undo

        try:
            self.store.database.transaction_sync(raising)
        except Undo:
            self.oracle.execute("ROLLBACK TO s")
            self.oracle.execute("RELEASE s")
            self.pairs = pairs
        else:
            raise AssertionError("it must raise")

    @rule()
    def turn_ends(self) -> None:
        self.store.commit()
        self.committed[0].close()
        self.committed = (copy(self.oracle), dict(self.pairs))
        self.dirty = False

    @precondition(lambda self: self.dirty)
    @rule()
    def crash(self) -> None:
        """The object is opened anew from what a replica has."""
        content = self.store.replica.content()
        self.store.database.close()
        self.store = Store(content)
        self.oracle.close()
        kept, pairs = self.committed
        self.oracle, self.pairs = copy(kept), dict(pairs)
        self.dirty = False

    @rule()
    def all_gone(self) -> None:
        self.store.database.delete_all()
        for kind, name in self.oracle.execute("SELECT type, name FROM sqlite_schema WHERE type = 'table'").fetchall():
            self.oracle.execute(f'DROP {kind} "{name}"')
        self.pairs.clear()
        self.dirty = True

    def teardown(self) -> None:
        self.store.commit()
        self.store.check()
        self.store.database.close()
        self.oracle.close()
        self.committed[0].close()


TestStorageAgainstSqlite = StorageAgainstSqlite.TestCase
TestStorageAgainstSqlite.settings = settings(settings.get_profile("homing"), max_examples=80, stateful_step_count=40)
