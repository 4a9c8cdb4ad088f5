"""`d1_databases`: an SQLite database for all of an application, as Cloudflare's D1 has it.

A database is one object; what a statement or a batch wrote is committed when its result arrives. Names and shapes of
results are those of https://developers.cloudflare.com/d1/worker-api/.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import apsw

from homing.errors import NotSupported, StorageError
from homing.ids import bound_by
from homing.objects import DurableObject
from homing.stubs import Caller, DurableObjectNamespace

D1_CLASS = "homing.d1"

Ran = tuple[list[str], list[list[Any]], dict[str, Any]]
"""Columns, rows and `meta` of one statement."""


class D1Object(DurableObject):
    """One database."""

    def run(self, statements: list[tuple[str, list[Any]]]) -> list[Ran]:
        """Run statements, all or none."""
        return self.ctx.storage.transaction_sync(lambda: [self._run(sql, values) for sql, values in statements])

    def _run(self, statement: str, values: list[Any]) -> Ran:
        began = time.perf_counter()
        sql = self.ctx.storage.sql
        before = sql.database_size
        cursor = sql.exec(statement, *values)
        rows = [list(row) for row in cursor.raw()]
        changes, last = next(iter(sql.exec("SELECT changes(), last_insert_rowid()").raw()))
        wrote = cursor.rows_written > 0
        meta = {
            "served_by": "homing",
            "duration": (time.perf_counter() - began) * 1_000,
            "changes": changes if wrote else 0,
            "last_row_id": last,
            "changed_db": wrote or sql.database_size != before,
            "size_after": sql.database_size,
            "rows_read": cursor.rows_read,
            "rows_written": cursor.rows_written,
        }
        return list(cursor.column_names), rows, meta

    def migrate(self, migrations: list[tuple[str, str]]) -> list[str]:
        """Apply those migrations that were not yet, in order; returns their names.

        Which were is kept where the reference's own tools keep it.
        """
        sql = self.ctx.storage.sql
        sql.exec(
            "CREATE TABLE IF NOT EXISTS d1_migrations(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, "
            "applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)"
        )
        known = {row[0] for row in sql.exec("SELECT name FROM d1_migrations").raw()}
        fresh = [(name, script) for name, script in migrations if name not in known]
        for name, script in fresh:
            self.ctx.storage.transaction_sync(lambda name=name, script=script: self._apply(name, script))
        return [name for name, _ in fresh]

    def _apply(self, name: str, script: str) -> None:
        for statement in statements_of(script):
            self.ctx.storage.sql.exec(statement)
        self.ctx.storage.sql.exec("INSERT INTO d1_migrations(name) VALUES (?)", name)


class D1Database:
    """A database, `env.NAME`.

    Args:
        caller: takes the calls.
        database_id: which one; applications that name the same share it.
        migrations: names and scripts, in order, that are applied before the first statement; empty: they are applied
            by hand.
        jurisdiction: the name of what binds it to zones; one id is another database in each, and in none.

    Raises:
        UnknownLocation: the cluster has no jurisdiction of that name.

    Example:
        >>> users = self.env.DB.prepare("SELECT * FROM users WHERE name = ?").bind("ann")  # doctest: +SKIP
        >>> (await users.all())["results"]  # doctest: +SKIP
        [{'id': 1, 'name': 'ann'}]
    """

    def __init__(
        self,
        caller: Caller,
        database_id: str,
        migrations: Sequence[Sequence[str]] = (),
        jurisdiction: str | None = None,
    ) -> None:
        databases = DurableObjectNamespace(caller, D1_CLASS, bound_by(jurisdiction) if jurisdiction else None)
        self._object: Any = databases.get_by_name(database_id)
        self._migrations = migrations

    def prepare(self, query: str) -> D1PreparedStatement:
        """A statement, to be bound and run."""
        return D1PreparedStatement(self, query, ())

    async def batch(self, statements: Sequence[D1PreparedStatement]) -> list[dict[str, Any]]:
        """Run statements one after the other, all or none; their results.

        Raises:
            StorageError: one failed; none has had an effect.
        """
        ran = await self.submit([(each.query, list(each.values)) for each in statements])
        return [_result(each) for each in ran]

    async def exec(self, script: str) -> dict[str, Any]:
        """Run a script of statements without values: `{"count", "duration"}`, in milliseconds.

        Raises:
            StorageError: a statement failed; none has had an effect.
        """
        ran = await self.submit([(statement, []) for statement in statements_of(script)])
        return {"count": len(ran), "duration": sum(meta["duration"] for _, _, meta in ran)}

    def with_session(self, _: str | None = None) -> D1Database:
        """The database itself: there are no stale copies that a session could read."""
        return self

    def get_bookmark(self) -> None:
        """None: there are no stale copies that a bookmark would guard against."""

    async def dump(self) -> bytes:
        """Not supported, as in the newer databases of the reference system: raises `NotSupported`."""
        raise NotSupported("dump is not supported; use backups")

    async def submit(self, statements: list[tuple[str, list[Any]]]) -> list[Ran]:
        """Run statements, all or none; what prepared ones and batches stand on."""
        try:
            if self._migrations:
                await self._object.migrate([list(each) for each in self._migrations])
                self._migrations = ()
            return await self._object.run(statements)
        except StorageError as error:
            raise StorageError(f"D1_ERROR: {error.message}") from error


class D1PreparedStatement:
    """A statement with its values; `bind` makes another."""

    def __init__(self, database: D1Database, query: str, values: tuple[Any, ...]) -> None:
        self._database = database
        self.query = query
        self.values = values

    def bind(self, *values: Any) -> D1PreparedStatement:
        """The same statement with values for its `?`: None, numbers, text, bytes, and booleans as 0 or 1.

        Raises:
            TypeError: a value of another type.
        """
        return D1PreparedStatement(self._database, self.query, tuple(map(_value, values)))

    async def all(self) -> dict[str, Any]:
        """`{"success": True, "results": [rows as dicts], "meta": {…}}`; raises `StorageError`."""
        return _result(await self._ran())

    async def run(self) -> dict[str, Any]:
        """The same, under the name for statements that write."""
        return await self.all()

    async def first(self, column: str | None = None) -> Any:
        """The first row, or None; with a column, its value there.

        Raises:
            StorageError: the statement failed, or its rows have no such column.
        """
        columns, rows, _ = await self._ran()
        if column is not None and column not in columns:
            raise StorageError(f"D1_ERROR: Column not found ({column})")
        if not rows:
            return None
        row = dict(zip(columns, rows[0], strict=True))
        return row if column is None else row[column]

    async def raw(self, *, column_names: bool = False) -> list[list[Any]]:
        """Rows as lists; with `column_names` the first of them names the columns."""
        columns, rows, _ = await self._ran()
        return [columns, *rows] if column_names else rows

    async def _ran(self) -> Ran:
        (ran,) = await self._database.submit([(self.query, list(self.values))])
        return ran


def statements_of(script: str) -> list[str]:
    """The statements of a script, one by one.

    Example:
        >>> statements_of("SELECT 1; SELECT ';';")
        ['SELECT 1;', "SELECT ';';"]
    """
    found: list[str] = []
    begun = ""
    for part in script.split(";"):
        begun += part + ";"
        if apsw.complete(begun):
            if begun.strip(" \t\r\n;"):
                found.append(begun.strip())
            begun = ""
    return found


def _result(ran: Ran) -> dict[str, Any]:
    columns, rows, meta = ran
    return {"success": True, "results": [dict(zip(columns, row, strict=True)) for row in rows], "meta": meta}


def _value(value: object) -> Any:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, (int, float, str, bytes)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(cast("Any", value))
    raise TypeError(f"D1_TYPE_ERROR: a value of type {type(value).__qualname__} cannot be bound")
