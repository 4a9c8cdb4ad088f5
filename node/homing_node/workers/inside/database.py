"""One object's storage: checked SQL and key-value pairs, over the transactions of `transactions.py`."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import apsw

from homing.errors import HomingError, StorageError
from homing.storage import SqlCursor, SqlValue
from homing_node.workers.inside import limits
from homing_node.workers.inside.sqlite_types import Cursor, Tracer
from homing_node.workers.inside.transactions import Transactions, mapped_error

KV_CREATE = "CREATE TABLE _homing_kv(k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"
_KV_EXISTS = "SELECT 1 FROM sqlite_schema WHERE name = '_homing_kv'"
_KV_GET = "SELECT v FROM _homing_kv WHERE k = ?"
_KV_PUT = "INSERT INTO _homing_kv VALUES (?1, ?2) ON CONFLICT DO UPDATE SET v = excluded.v"
_KV_DELETE = "DELETE FROM _homing_kv WHERE k = ?"
_SCHEMA = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"

# Statements are cached by text and flags. With a flag that the runtime's own do not have, an object's "COMMIT" is
# never taken for the runtime's, which was prepared without the authorizer's checks.
_OBJECTS_OWN = apsw.SQLITE_PREPARE_PERSISTENT

# What may follow the last statement of a query.
_nothing = re.compile(r"(?:\s|;|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*\Z", re.DOTALL)
_FINISHED: Iterator[tuple[SqlValue, ...]] = iter(())


class Database(Transactions):
    """The storage of one activation; what `homing.storage` calls its engine."""

    __slots__ = ()

    def execute(self, query: str, bindings: Sequence[SqlValue]) -> SqlCursor:
        """See `homing.Sql.exec`."""
        self.begin()
        if ";" in query and ";" in query.rstrip("; \t\r\n"):
            query = self._execute_all_but_last(query, bindings)
        connection = self._connection
        before = connection.total_changes()
        cursor = self._run(query, bindings)
        try:
            names = [column[0] for column in cursor.get_description()]
        except apsw.ExecutionCompleteError:
            written = connection.total_changes() - before
            return SqlCursor(_FINISHED, lambda: self._column_names(query, bindings), written)
        if not cursor.is_readonly:
            rows = list(self._rows(cursor))  # RETURNING: SQLite counts what it changed when the statement ends
            return SqlCursor(iter(rows), names, connection.total_changes() - before)
        result = SqlCursor(self._rows(cursor), names, 0)
        self._cursors.append(weakref.ref(result))
        if len(self._cursors) > limits.open_cursors_checked:
            self._cursors = [reference for reference in self._cursors if reference() is not None]
        return result

    def _run(self, query: str, bindings: Sequence[SqlValue], trace: Tracer | None = None) -> Cursor:
        cursor = self._connection.cursor()
        if trace is not None:
            cursor.exec_trace = trace
        self._guard.user = True
        try:
            return cursor.execute(query, bindings, prepare_flags=_OBJECTS_OWN)
        except (apsw.ExecTraceAbort, HomingError):
            raise
        except (apsw.Error, OverflowError) as error:
            self._after_error()
            raise mapped_error(error) from None
        finally:
            self._guard.user = False

    def _rows(self, cursor: Cursor) -> Iterator[tuple[SqlValue, ...]]:
        try:
            yield from cursor
        except apsw.Error as error:
            raise mapped_error(error) from None

    def _execute_all_but_last(self, query: str, bindings: Sequence[SqlValue]) -> str:
        """Run the statements before the last one to their end; return the last."""
        while True:
            text, count = self._first_statement(query, bindings)
            rest = query[len(text) :]
            if not text or _nothing.match(rest):
                return query
            if count:
                raise StorageError("bindings belong to the last statement; an earlier one has parameters")
            cursor = self._run(text, ())
            for _ in self._rows(cursor):
                pass
            query = rest

    def _first_statement(self, query: str, bindings: Sequence[SqlValue]) -> tuple[str, int]:
        """The text of a query's first statement and how many parameters it has; nothing runs."""
        found: list[tuple[str, int]] = []

        def trace(cursor: Cursor, text: str, _bindings: object) -> bool:
            found.append((text, cursor.bindings_count))
            return False

        try:
            self._run(query, bindings, trace)
        except apsw.ExecTraceAbort:
            return found[0]
        return "", 0

    def _column_names(self, query: str, bindings: Sequence[SqlValue]) -> list[str]:
        """For a statement that had no rows: SQLite says the names only while it is open."""
        names: list[str] = []

        def trace(cursor: Cursor, _text: str, _bindings: object) -> bool:
            names.extend(column[0] for column in cursor.get_description())
            return False

        try:
            self._run(query, bindings, trace)
        except (apsw.ExecTraceAbort, StorageError):
            return names
        return names

    def of_stranger(
        self, query: str, bindings: Sequence[SqlValue], *, read_only: bool
    ) -> Iterator[dict[str, SqlValue]]:
        """Run SQL of somebody without trust to its end: not for long, and not for more rows than can be answered.

        Args:
            query, bindings: as `execute`; where it may only read, one statement.
            read_only: the authorizer refuses whatever could change something.

        Raises:
            StorageError: SQLite refused it, it took too long, or its rows are too large.
        """
        until_s = time.monotonic() + limits.granted_s_max
        self._connection.set_progress_handler(lambda: time.monotonic() > until_s, limits.look_steps)
        try:
            if read_only:
                return iter(self._read(query, bindings))
            cursor = self.execute(query, bindings)
            rows = _bounded(cursor.raw())
            return iter([dict(zip(cursor.column_names, row, strict=False)) for row in rows])
        except StorageError as error:
            if time.monotonic() > until_s:
                raise StorageError(f"the query took longer than {limits.granted_s_max:g} s") from error
            raise
        finally:
            self._connection.set_progress_handler(None)

    def _read(self, query: str, bindings: Sequence[SqlValue]) -> list[dict[str, SqlValue]]:
        names: list[str] = []
        statements = 0

        def trace(cursor: Cursor, _text: str, _bindings: object) -> bool:
            nonlocal statements
            statements += 1
            names[:] = [column[0] for column in cursor.get_description()]
            return statements == 1 and cursor.is_readonly

        self.begin()
        cursor = self._connection.cursor()
        cursor.exec_trace = trace
        self._guard.user = self._guard.reading = True
        try:  # not cached: what was prepared for others was judged by other rules
            rows = _bounded(cursor.execute(query, bindings, can_cache=False, prepare_flags=_OBJECTS_OWN))
        except apsw.ExecTraceAbort:
            raise StorageError("this grant is for one statement, which only reads") from None
        except (apsw.Error, OverflowError) as error:
            self._after_error()
            raise mapped_error(error) from None
        finally:
            self._guard.user = self._guard.reading = False
        return [dict(zip(names, row, strict=False)) for row in rows]

    @property
    def database_size(self) -> int:
        """In bytes, the open transaction's pages included."""
        if not self.in_transaction:
            return self.file.xFileSize()
        return cast("int", self._connection.pragma("page_count")) * limits.page_bytes

    def kv_get(self, key: str) -> bytes | None:
        """The bytes under a key, or None."""
        if not self._has_kv and not self._find_kv():
            _check_key(key)
            return None
        try:
            value = self._kv(_KV_GET, (key,)).get  # to its end: an open statement would lock the table
        except apsw.Error as error:
            raise mapped_error(error) from None
        if value is None:
            _check_key(key)
        return value

    def kv_put(self, key: str, value: bytes) -> None:
        """Keep bytes under a key."""
        if type(key) is not str or len(value) > limits.value_bytes_max >> 2 or len(key) > 1_024:
            _check_key(key)
            if len(key.encode()) + len(value) > limits.value_bytes_max:
                raise StorageError(f"a key and its value may have {limits.value_bytes_max} bytes together")
        if not self.in_transaction:
            self.begin()
        if not self._has_kv and not self._find_kv():
            self.run_own(KV_CREATE, ())
            self._has_kv = True
        try:
            self._kv(_KV_PUT, (key, value))
        except apsw.Error as error:
            self._after_error()
            raise mapped_error(error) from None

    def kv_delete(self, key: str) -> bool:
        """Forget a key; returns whether it was there."""
        _check_key(key)
        if not self._has_kv and not self._find_kv():
            return False
        self.begin()
        self.run_own(_KV_DELETE, (key,))
        return self._connection.changes() > 0

    def kv_list(self, low: str, high: str | None, reverse: bool, limit: int | None) -> list[tuple[str, bytes]]:
        """The pairs from `low` on and before `high`, in order."""
        if not self._has_kv and not self._find_kv():
            return []
        query = "SELECT k, v FROM _homing_kv WHERE k >= ?"
        bindings: list[SqlValue] = [low]
        if high is not None:
            query += " AND k < ?"
            bindings.append(high)
        query += " ORDER BY k DESC LIMIT ?" if reverse else " ORDER BY k LIMIT ?"
        bindings.append(-1 if limit is None else limit)
        return cast("list[tuple[str, bytes]]", self.run_own(query, bindings).fetchall())

    def delete_all(self) -> None:
        """Drop every table, in this turn's transaction; the pages are given back when it commits."""
        connection = self._connection
        self.begin()
        self._settle()
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 0)
        try:
            for kind in ("trigger", "view", "table"):
                # Again each time: a virtual table takes its own tables with it.
                for name in self._schema_names(kind):
                    if kind != "table" or name in self._schema_names(kind):
                        self.run_own(f'DROP {kind} "{name.replace(chr(34), chr(34) * 2)}"', ())
            if self.run_own("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'", ()).fetchone():
                self.run_own("DELETE FROM sqlite_sequence", ())
        finally:
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
        self._has_kv = False
        self._shrink = self.alarms_changed = True
        if self.on_emptied is not None:
            self.on_emptied()

    def _schema_names(self, kind: str) -> list[str]:
        """Names of one kind; virtual tables first, because their shadow tables cannot be dropped before them."""
        rows = self.run_own(f"{_SCHEMA} AND type = ? ORDER BY sql NOT LIKE 'create virtual%'", (kind,))
        return [cast("str", row[1]) for row in rows]

    def _find_kv(self) -> bool:
        if self._has_kv is None:
            self._has_kv = self.run_own(_KV_EXISTS, ()).fetchone() is not None
        return self._has_kv


def _bounded(rows: Iterable[tuple[SqlValue, ...]]) -> list[tuple[SqlValue, ...]]:
    """All rows; raises `StorageError` where their values are too large together."""
    found: list[tuple[SqlValue, ...]] = []
    size = 0
    for row in rows:
        size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if size > limits.granted_rows_bytes_max:
            raise StorageError(f"the rows have over {limits.granted_rows_bytes_max} bytes: ask for fewer, with LIMIT")
        found.append(row)
    return found


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__qualname__}")
