"""An object's storage: SQL, key-value pairs and transactions over one private SQLite database.

Everything here is synchronous and local; what the asynchronous methods do is done when they are called, and to await
them never waits. What an object writes between two awaits is committed together, and nothing that the object says
leaves the node before the writes that precede it are safe on a majority of disks.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import datetime
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

from homing.alarms import time_ms
from homing.cron import Schedule
from homing.errors import NotSupported, StorageError
from homing.storage_cursor import Row, SqlCursor, SqlValue
from homing.storage_engine import Coordinator, Engine
from homing.values import from_stored, to_stored

__all__ = [
    "Alarmed",
    "AsyncKv",
    "Done",
    "Kv",
    "Row",
    "Sql",
    "SqlCursor",
    "SqlValue",
    "Storage",
    "Transaction",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
KEYS_PER_CALL_MAX = 128


class Done(Generic[T_co]):
    """The result of an operation that has been carried out, for whoever awaits it.

    As in the reference system an operation that nobody awaits happens all the same.

    Example:
        >>> self.ctx.storage.put("n", 1)
        >>> await self.ctx.storage.get("n")
        1
    """

    __slots__ = ("_result",)

    def __init__(self, result: T_co) -> None:
        self._result = result

    def __await__(self) -> Generator[None, None, T_co]:
        """Give the result; nothing waits."""
        yield from ()
        return self._result


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
    def get(self, key: str, **options: bool) -> Done[Any]: ...
    @overload
    def get(self, key: Sequence[str], **options: bool) -> Done[dict[str, Any]]: ...
    def get(self, key: str | Sequence[str], **options: bool) -> Done[Any]:
        """The value under a key or None; for several keys (128 at most) a dict of those that exist, in order."""
        _check_options(options)
        if isinstance(key, str):
            return Done(self.kv.get(key))
        found: dict[str, Any] = {}
        for one in sorted(_checked_keys(key), key=str.encode):
            data = self._engine.kv_get(one)
            if data is not None:
                found[one] = from_stored(data)
        return Done(found)

    def put(self, key: str | dict[str, Any], value: Any = None, **options: bool) -> Done[None]:
        """Keep a value under a key, or every pair of a dict (128 at most)."""
        _check_options(options)
        if isinstance(key, str):
            self.kv.put(key, value)
            return Done(None)
        _checked_keys(list(key))
        encoded = [(name, to_stored(item)) for name, item in key.items()]  # all or none: encode before writing
        for name, data in encoded:
            self._engine.kv_put(name, data)
        return Done(None)

    @overload
    def delete(self, key: str, **options: bool) -> Done[bool]: ...
    @overload
    def delete(self, key: Sequence[str], **options: bool) -> Done[int]: ...
    def delete(self, key: str | Sequence[str], **options: bool) -> Done[bool] | Done[int]:
        """Forget a key; for several keys (128 at most) returns how many were there."""
        _check_options(options)
        if isinstance(key, str):
            return Done(self.kv.delete(key))
        return Done(sum(self.kv.delete(one) for one in _checked_keys(key)))

    def list(
        self,
        *,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        prefix: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
        **options: bool,
    ) -> Done[dict[str, Any]]:
        """As `kv.list`, as a dict in the same order."""
        _check_options(options)
        return Done(
            dict(
                self.kv.list(start=start, start_after=start_after, end=end, prefix=prefix, reverse=reverse, limit=limit)
            )
        )


def _check_options(options: dict[str, bool]) -> None:
    unknown = options.keys() - {"allow_concurrency", "allow_unconfirmed", "no_cache"}
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")


def _checked_keys(keys: Sequence[str]) -> Sequence[str]:
    if len(keys) > KEYS_PER_CALL_MAX:
        raise StorageError(f"at most {KEYS_PER_CALL_MAX} keys in one call")
    return keys


class Alarmed(AsyncKv):
    """Key-value storage and alarms.

    An alarm wakes the object: its `alarm` handler runs, never before the time and at least once, on whichever node the
    object lives by then. If the handler raises it is tried again after 2, 4, 8, 16, 32 and 64 seconds and a little,
    and then given up. One handler runs at a time.

    Example:
        >>> class Reminder(DurableObject):
        ...     async def remind(self, text, when_ms):
        ...         await self.ctx.storage.put("text", text)
        ...         await self.ctx.storage.set_alarm(when_ms)
        ...
        ...     async def alarm(self, alarm):
        ...         print("it is time:", await self.ctx.storage.get("text"))
    """

    def __init__(self, engine: Engine, coordinator: Coordinator) -> None:
        super().__init__(engine)
        self._coordinator = coordinator

    def set_alarm(self, scheduled_time: float | datetime | str, *, name: str = "", **options: bool) -> Done[None]:
        """Let the alarm ring at a time; one that was set before is replaced. A time that has passed is now.

        Args:
            scheduled_time: milliseconds since 1970 (UTC), a datetime, or a cron schedule (`homing.cron`), at whose
                times it rings again and again.
            name: an object has one alarm without a name, and as many with names as it likes.
            options: accepted for compatibility.

        Raises:
            NotSupported: the class has no `alarm` handler.
            TypeError, StorageError: not a time, not a schedule, or not a name.
        """
        _check_options(options)
        if isinstance(scheduled_time, str):
            self._coordinator.alarms.set(name, _first_ms(scheduled_time), scheduled_time)
        else:
            self._coordinator.alarms.set(name, time_ms(scheduled_time))
        return Done(None)

    def get_alarm(self, name: str = "", **options: bool) -> Done[int | None]:
        """When the alarm will ring, in milliseconds since 1970 (UTC).

        None if it is not set. In its own handler it is not set, unless the handler has set it again.
        """
        _check_options(options)
        return Done(self._coordinator.alarms.get(name))

    def delete_alarm(self, name: str = "", **options: bool) -> Done[None]:
        """Let the alarm not ring. A handler that runs goes on."""
        _check_options(options)
        self._coordinator.alarms.delete(name)
        return Done(None)

    def list_alarms(self) -> Done[dict[str, int]]:
        """Every alarm that will ring: name to time, the earliest first."""
        return Done(self._coordinator.alarms.list())


def _first_ms(schedule: str) -> int:
    try:
        return Schedule(schedule).next_ms(int(time.time() * 1_000))
    except ValueError as error:
        raise StorageError(str(error)) from error


class Transaction(Alarmed):
    """What the callback of `Storage.transaction` is given. The object's whole storage takes part in the transaction."""

    def __init__(self, engine: Engine, coordinator: Coordinator, undo: Callable[[], None]) -> None:
        super().__init__(engine, coordinator)
        self._undo = undo

    def rollback(self) -> None:
        """Undo what the transaction wrote so far; it goes on, and keeps what is written from here."""
        self._undo()


class Storage(Alarmed):
    """All that an object keeps.

    What an asynchronous method does is done when it is called, awaited or not. Its options (`allow_concurrency`,
    `allow_unconfirmed`, `no_cache`) are those of the reference system, and change nothing: nothing here waits.

    An alarm wakes the object: its `alarm` handler runs, never before the time and at least once. If the handler raises
    it is tried again after 2, 4, 8, 16, 32 and 64 seconds and a little, and then given up.

    Attributes:
        sql: SQL over the object's private database.
        kv: key-value pairs, synchronous.
    """

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

    def delete_all(self, **options: bool) -> Done[None]:
        """Delete every table, every key and every alarm, at once."""
        _check_options(options)
        self._engine.delete_all()
        return Done(None)

    async def sync(self) -> None:
        """Commit what was written so far. What the object says afterwards leaves only when that is safe on disk."""
        await self._coordinator.sync()

    async def get_current_bookmark(self) -> str:
        """Not built yet: raises `NotSupported`."""
        _not_built("bookmarks")

    async def get_bookmark_for_time(self, timestamp: int | float | datetime) -> str:
        """Not built yet: raises `NotSupported`."""
        _not_built("bookmarks")

    async def on_next_session_restore_bookmark(self, bookmark: str) -> str:
        """Not built yet: raises `NotSupported`."""
        _not_built("bookmarks")


def _not_built(feature: str) -> NoReturn:
    raise NotSupported(f"{feature} are not supported yet")
