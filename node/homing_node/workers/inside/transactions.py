"""One object's database as a sequence of transactions whose pages are captured.

The first statement of a turn begins a transaction; `commit` ends it and returns the commit bytes. Nothing else may
write: whatever goes wrong, the pages are put back to what they were.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from inspect import isawaitable
from threading import get_ident
from typing import Any, cast

import apsw

from homing.compat.waiting import without_waiting
from homing.errors import DatabaseFull, ObjectReset, StorageError
from homing.storage import SqlCursor, SqlValue
from homing_node.workers.inside import limits
from homing_node.workers.inside.authorizer import Guard
from homing_node.workers.inside.sqlite_types import Cursor
from homing_node.workers.inside.vfs import PageFile, connect

_SETTINGS = (
    # The cache first: with its default SQLite would set aside memory for 20 pages.
    "PRAGMA cache_size={cache}; PRAGMA page_size=1024; PRAGMA temp_store=memory; PRAGMA cache_spill=off; "
    "PRAGMA synchronous=off; PRAGMA locking_mode=exclusive; PRAGMA journal_mode=memory; PRAGMA max_page_count={pages}"
)
_LIMITS = (
    (apsw.SQLITE_LIMIT_LENGTH, limits.value_bytes_max),
    (apsw.SQLITE_LIMIT_SQL_LENGTH, limits.statement_bytes_max),
    (apsw.SQLITE_LIMIT_COLUMN, limits.columns_max),
    (apsw.SQLITE_LIMIT_VARIABLE_NUMBER, limits.bindings_max),
    (apsw.SQLITE_LIMIT_FUNCTION_ARG, limits.function_arguments_max),
    (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.like_pattern_bytes_max),
    (apsw.SQLITE_LIMIT_WORKER_THREADS, 0),
)
_CONFIG = (
    (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
    (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
    (apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1),
)


def mapped_error(error: BaseException) -> BaseException:
    """The error of the tree for one that apsw raised; any other error as it is."""
    if isinstance(error, apsw.FullError):
        return DatabaseFull()
    if isinstance(error, apsw.NoMemError):
        return MemoryError(str(error))
    if isinstance(error, (apsw.ConnectionClosedError, apsw.CursorClosedError)):
        return ObjectReset("this activation has ended; its storage is closed")
    if isinstance(error, apsw.Error):
        return StorageError(str(error))
    if isinstance(error, OverflowError):
        return StorageError("an integer of more than 64 bits cannot be bound")
    return error


class Transactions:
    """The storage of one activation.

    Args:
        content: the pages that the activation starts from; the database takes the list over.
        on_begin: called when a transaction begins, before its first write.
    """

    __slots__ = (
        "_begin",
        "_commit",
        "_connection",
        "_cursors",
        "_guard",
        "_has_kv",
        "_kv",
        "_on_begin",
        "_savepoints",
        "_shrink",
        "_thread",
        "alarms_changed",
        "file",
        "in_transaction",
        "on_emptied",
        "on_undone",
    )

    def __init__(self, content: list[bytes], on_begin: Callable[[], None]) -> None:
        self.file = PageFile(content)
        self.alarms_changed = False  # since the node was last told when the earliest rings
        self.in_transaction = False  # Invariant: a transaction of ours is open in SQLite, or was rolled back by it
        self.on_undone: Callable[[], None] | None = None  # what was written, or a part of it, is not to be
        self.on_emptied: Callable[[], None] | None = None  # everything was deleted
        self._on_begin = on_begin
        self._guard = Guard()
        self._cursors: list[weakref.ref[SqlCursor]] = []  # those of this turn that may have rows left
        self._has_kv: bool | None = None  # None: not known
        self._savepoints = 0
        self._shrink = False
        self._thread = get_ident()
        self._connection = connection = connect(self.file)
        settings = _SETTINGS.format(cache=_cache_pages(len(content)), pages=limits.pages_max)
        try:
            connection.cursor().execute(settings, can_cache=False).fetchall()
        except apsw.Error as error:
            connection.close()
            raise mapped_error(error) from None
        for which, value in _LIMITS:
            connection.limit(which, value)
        for which, value in _CONFIG:
            connection.config(which, value)
        connection.authorizer = self._guard
        # A cursor of its own for each internal statement: no object is made for the common call.
        self._kv = connection.cursor().execute
        self._begin = connection.cursor().execute
        self._commit = connection.cursor().execute

    def close(self) -> None:
        """Give everything back. The pages are gone; later use raises `ObjectReset`."""
        self._connection.close(True)
        self.file.pages = []
        self.file.dirty = {}

    def begin(self) -> None:
        """Open the turn's transaction if it is not open."""
        if self.in_transaction:
            return
        if get_ident() != self._thread:
            raise StorageError("storage may only be used from the object's own thread")
        self._on_begin()
        try:
            self._begin("BEGIN")
        except apsw.Error as error:
            raise mapped_error(error) from None
        self.in_transaction = True

    def commit(self) -> bytes | None:
        """End the turn's transaction.

        Returns:
            Its commit bytes, or None where it changed nothing.

        Raises:
            CommitTooLarge: it changed too many pages and was rolled back.
            StorageError: SQLite refused the commit (a deferred foreign key, say), and it was rolled back.
        """
        if self._cursors:
            self._settle()
        if self.in_transaction:
            try:
                self._commit("COMMIT")
                self.in_transaction = False
                if self._shrink:
                    self._vacuum()
            except BaseException as error:
                self.rollback()
                raise mapped_error(error) from None
        return self.file.take() if self.file.dirty else None

    def rollback(self) -> None:
        """Undo the turn's transaction."""
        self._settle()
        if self._connection.in_transaction:
            self._begin("ROLLBACK")
        self.file.restore()
        self.in_transaction = False
        self._has_kv = None
        self._shrink = False
        if self.on_undone is not None:
            self.on_undone()

    def _vacuum(self) -> None:
        """After `delete_all` the pages themselves are given back."""
        self._shrink = False
        self._connection.cursor().execute("VACUUM", can_cache=False)

    def savepoint(self) -> str:
        """Begin a part of the transaction that can be undone; give the name to `release` or `undo`."""
        self.begin()
        self._savepoints += 1
        name = f"s{self._savepoints}"
        self._savepoint_statement(f"SAVEPOINT {name}")
        return name

    def release(self, name: str) -> None:
        """Keep what was written since a savepoint, and forget the savepoint."""
        self._savepoint_statement(f"RELEASE {name}")
        self._savepoints -= 1

    def undo(self, name: str) -> None:
        """Undo what was written since a savepoint; the savepoint stays."""
        self._settle()
        self._savepoint_statement(f"ROLLBACK TO {name}")
        self._has_kv = None
        if self.on_undone is not None:
            self.on_undone()

    def _savepoint_statement(self, statement: str) -> None:
        try:
            self._begin(statement)
        except apsw.SQLError:
            raise StorageError("the transaction was rolled back by an earlier error") from None

    def transaction_sync(self, callback: Callable[[], Any]) -> Any:
        """See `homing.Storage.transaction_sync`. Alone in its turn it needs no savepoint."""
        name = self.savepoint() if self.in_transaction else None
        self.begin()
        try:
            result = without_waiting(callback)
            if isawaitable(result):
                cast("Any", result).close()
                raise TypeError("the callback of transaction_sync must not be async; use transaction")
            if not self._connection.in_transaction:
                raise StorageError("the transaction was rolled back by an earlier error")
        except BaseException:
            self.undo_or_rollback(name)
            raise
        if name is not None:
            self.release(name)
        return result

    def undo_or_rollback(self, name: str | None) -> None:
        """End a part of the transaction whose code raised; without a savepoint that is all of it."""
        if name is None or not self._connection.in_transaction:
            self.rollback()
            return
        self.undo(name)
        self.release(name)

    def _after_error(self) -> None:
        """Some errors (a full database, no memory) roll the whole transaction back."""
        if self.in_transaction and not self._connection.in_transaction:
            self.rollback()

    def _settle(self) -> None:
        for reference in self._cursors:
            cursor = reference()
            if cursor is not None:
                cursor.settle()
        self._cursors.clear()

    def run_own(self, statement: str, bindings: Sequence[SqlValue]) -> Cursor:
        """A statement of the runtime's own."""
        try:
            return self._connection.cursor().execute(statement, bindings)
        except apsw.Error as error:
            self._after_error()
            raise mapped_error(error) from None


def _cache_pages(count: int) -> int:
    return max(limits.page_cache_pages_min, min(count, limits.page_cache_pages_max))
