"""An object's storage: SQL, key-value pairs and transactions over one private SQLite database.

Everything here is synchronous and local; the asynchronous methods exist for compatibility and never wait. What an
object writes between two awaits is committed together, and nothing that the object says leaves the node before the
writes that precede it are safe on a majority of disks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NoReturn, Protocol, TypeVar, cast, overload

from homing.errors import NotSupported, StorageError
from homing.storage_cursor import Row, SqlCursor, SqlValue
from homing.values import from_stored, to_stored

__all__ = [
    "AsyncKv",
    "Coordinator",
    "Engine",
    "Kv",
    "Row",
    "Sql",
    "SqlCursor",
    "SqlValue",
    "Storage",
    "Transaction",
]

T = TypeVar("T")
KEYS_PER_CALL_MAX = 128


class Engine(Protocol):
    """The database that the API stands on; the worker's runtime implements it."""

    @property
    def database_size(self) -> int:
        """In bytes."""
        ...

    def execute(self, query: str, bindings: Sequence[SqlValue]) -> SqlCursor:
        """Run the statements of a query."""
        ...

    def kv_get(self, key: str) -> bytes | None:
        """The bytes under a key."""
        ...

    def kv_put(self, key: str, value: bytes) -> None:
        """Keep bytes under a key."""
        ...

    def kv_delete(self, key: str) -> bool:
        """Forget a key."""
        ...

    def kv_list(self, low: str, high: str | None, reverse: bool, limit: int | None) -> list[tuple[str, bytes]]:
        """The pairs from `low` on and before `high`."""
        ...

    def delete_all(self) -> None:
        """Delete everything."""
        ...

    def transaction_sync(self, callback: Callable[[], Any]) -> Any:
        """Run a callback in a transaction of its own."""
        ...


class Coordinator(Protocol):
    """The part of the runtime that knows turns and gates."""

    async def transaction(self, callback: Callable[[Transaction], Awaitable[Any]]) -> Any:
        """Run an async callback in a transaction of its own."""
        ...

    async def sync(self) -> None:
        """End the turn's transaction here."""
        ...


class Sql:
    """SQL over the object's database."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def exec(self, query: str, *bindings: SqlValue) -> SqlCursor:
        """Run one or several statements, separated by `;`. Bindings and cursor belong to the last one.

        Args:
            query: at most 100,000 bytes of SQL. Transactions are begun and committed for you: BEGIN, SAVEPOINT and
                their like are refused, as are ATTACH, VACUUM and most PRAGMAs.
            bindings: a value for each `?`: None, int, float, str or bytes.

        Raises:
            StorageError: SQLite refused it; the message is SQLite's.
            DatabaseFull: the database would grow past its limit; the transaction was rolled back.

        Example:
            >>> sql = self.ctx.storage.sql
            >>> sql.exec("CREATE TABLE IF NOT EXISTS guests(name TEXT)")
            >>> sql.exec("INSERT INTO guests VALUES (?)", "Ada").rows_written
            1
            >>> sql.exec("SELECT count(*) AS n FROM guests").one()["n"]
            1
        """
        return self._engine.execute(query, bindings)

    @property
    def database_size(self) -> int:
        """The size of the database, in bytes."""
        return self._engine.database_size


def _range(start: str | None, start_after: str | None, end: str | None, prefix: str | None) -> tuple[str, str | None]:
    """The smallest key and the first key past the end of a listing."""
    if start is not None and start_after is not None:
        raise StorageError("start and start_after exclude each other")
    low = start or ""
    if start_after is not None:
        low = start_after + "\0"  # the very next string in UTF-8 order
    high = end
    if prefix:
        low = max(low, prefix, key=str.encode)
        past = _past_prefix(prefix)
        if past is not None and (high is None or past.encode() < high.encode()):
            high = past
    return low, high


def _past_prefix(prefix: str) -> str | None:
    """The first string after all those that begin with `prefix`; None where there is none."""
    for i in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[i])
        if code < 0x10FFFF:
            after = 0xE000 if code == 0xD7FF else code + 1  # surrogates are no characters
            return prefix[:i] + chr(after)
    return None


class Kv:
    """Key-value pairs, beside the tables. Values: None, bool, int, float, str, bytes, datetime, list, dict, set.

    Example:
        >>> kv = self.ctx.storage.kv
        >>> kv.put("n", (kv.get("n") or 0) + 1)
    """

    __slots__ = ("_engine", "_get", "_put")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._get = engine.kv_get
        self._put = engine.kv_put

    def get(self, key: str) -> Any:
        """The value under a key, or None."""
        data = self._get(key)
        return None if data is None else from_stored(data)

    def put(self, key: str, value: Any) -> None:
        """Keep a value under a key; key and value may have 2 MiB together.

        Raises:
            TypeError: some part of the value is of a type that cannot be stored; the message names it.
            StorageError: too large.
            DatabaseFull: the database would grow past its limit; the transaction was rolled back.
        """
        self._put(key, to_stored(value))

    def delete(self, key: str) -> bool:
        """Forget a key; returns whether it was there."""
        return self._engine.kv_delete(key)

    def list(
        self,
        *,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        prefix: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[str, Any]]:
        """Keys and their values, in UTF-8 order of the keys.

        Args:
            start: the first key that may be listed.
            start_after: only keys after this one; excludes `start`.
            end: only keys before this one.
            prefix: only keys that begin so.
            reverse: the last key first.
            limit: at most so many pairs.
        """
        low, high = _range(start, start_after, end, prefix)
        if limit is not None and limit <= 0:
            raise StorageError("limit must be above 0")
        return [(key, from_stored(data)) for key, data in self._engine.kv_list(low, high, reverse, limit)]


class AsyncKv:
    """The asynchronous face of key-value storage. Options are accepted for compatibility: nothing here waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.kv = Kv(engine)
        self.sql = Sql(engine)

    @overload
    async def get(self, key: str, **options: bool) -> Any: ...
    @overload
    async def get(self, key: Sequence[str], **options: bool) -> dict[str, Any]: ...
    async def get(self, key: str | Sequence[str], **options: bool) -> Any:
        """The value under a key or None; for several keys (128 at most) a dict of those that exist, in order."""
        _check_options(options)
        if isinstance(key, str):
            return self.kv.get(key)
        found: dict[str, Any] = {}
        for one in sorted(_checked_keys(key), key=str.encode):
            data = self._engine.kv_get(one)
            if data is not None:
                found[one] = from_stored(data)
        return found

    async def put(self, key: str | dict[str, Any], value: Any = None, **options: bool) -> None:
        """Keep a value under a key, or every pair of a dict (128 at most)."""
        _check_options(options)
        if isinstance(key, str):
            self.kv.put(key, value)
            return
        _checked_keys(list(key))
        encoded = [(name, to_stored(item)) for name, item in key.items()]  # all or none: encode before writing
        for name, data in encoded:
            self._engine.kv_put(name, data)

    @overload
    async def delete(self, key: str, **options: bool) -> bool: ...
    @overload
    async def delete(self, key: Sequence[str], **options: bool) -> int: ...
    async def delete(self, key: str | Sequence[str], **options: bool) -> bool | int:
        """Forget a key; for several keys (128 at most) returns how many were there."""
        _check_options(options)
        if isinstance(key, str):
            return self.kv.delete(key)
        return sum(self.kv.delete(one) for one in _checked_keys(key))

    async def list(
        self,
        *,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        prefix: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
        **options: bool,
    ) -> dict[str, Any]:
        """As `kv.list`, as a dict in the same order."""
        _check_options(options)
        return dict(
            self.kv.list(start=start, start_after=start_after, end=end, prefix=prefix, reverse=reverse, limit=limit)
        )


def _check_options(options: dict[str, bool]) -> None:
    unknown = options.keys() - {"allow_concurrency", "allow_unconfirmed", "no_cache"}
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")


def _checked_keys(keys: Sequence[str]) -> Sequence[str]:
    if len(keys) > KEYS_PER_CALL_MAX:
        raise StorageError(f"at most {KEYS_PER_CALL_MAX} keys in one call")
    return keys


class Transaction(AsyncKv):
    """What the callback of `Storage.transaction` is given. The object's whole storage takes part in the transaction."""

    def __init__(self, engine: Engine, undo: Callable[[], None]) -> None:
        super().__init__(engine)
        self._undo = undo

    def rollback(self) -> None:
        """Undo what the transaction wrote so far; it goes on, and keeps what is written from here."""
        self._undo()


class Storage(AsyncKv):
    """All that an object keeps.

    Attributes:
        sql: SQL over the object's private database.
        kv: key-value pairs, synchronous.
    """

    def __init__(self, engine: Engine, coordinator: Coordinator) -> None:
        super().__init__(engine)
        self._coordinator = coordinator

    def transaction_sync(self, callback: Callable[[], T]) -> T:
        """Run a callback whose writes happen together: when it raises, they are undone and the error goes on.

        Example:
            >>> def move():
            ...     kv.put("a", kv.get("a") - 1)
            ...     kv.put("b", kv.get("b") + 1)
            >>> self.ctx.storage.transaction_sync(move)
        """
        return cast("T", self._engine.transaction_sync(callback))

    async def transaction(self, callback: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an async callback whose writes happen together; no other event reaches the object meanwhile.

        When it raises, its writes are undone and the error goes on. Nothing that the object says leaves before the
        transaction has ended.
        """
        return cast("T", await self._coordinator.transaction(callback))

    async def delete_all(self, **options: bool) -> None:
        """Delete every table and every key, at once."""
        _check_options(options)
        self._engine.delete_all()

    async def sync(self) -> None:
        """Commit what was written so far. What the object says afterwards leaves only when that is safe on disk."""
        await self._coordinator.sync()

    async def set_alarm(self, scheduled_time: int | float | datetime, **options: bool) -> None:
        """Not built yet."""
        _not_built("alarms")

    async def get_alarm(self, **options: bool) -> int | None:
        """Not built yet."""
        _not_built("alarms")

    async def delete_alarm(self, **options: bool) -> None:
        """Not built yet."""
        _not_built("alarms")

    async def get_current_bookmark(self) -> str:
        """Not built yet."""
        _not_built("bookmarks")

    async def get_bookmark_for_time(self, timestamp: int | float | datetime) -> str:
        """Not built yet."""
        _not_built("bookmarks")

    async def on_next_session_restore_bookmark(self, bookmark: str) -> str:
        """Not built yet."""
        _not_built("bookmarks")


def _not_built(feature: str) -> NoReturn:
    raise NotSupported(f"{feature} are not supported yet")
