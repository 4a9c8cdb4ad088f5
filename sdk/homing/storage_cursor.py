"""The rows of a SQL statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from homing.errors import StorageError

SqlValue = None | int | float | str | bytes
Row = dict[str, SqlValue]


class SqlCursor:
    """The rows of a statement, each a dict by column name. A cursor may be read once.

    Attributes:
        rows_read: rows that this cursor has handed out.
        rows_written: rows that the statement changed, those of triggers included.

    Example:
        >>> cursor = self.ctx.storage.sql.exec("SELECT id, name FROM users WHERE age > ?", 30)
        >>> for row in cursor:
        ...     print(row["name"])
    """

    __slots__ = ("__weakref__", "_iterator", "_names", "rows_read", "rows_written")

    def __init__(
        self, rows: Iterator[tuple[SqlValue, ...]], names: list[str] | Callable[[], list[str]], rows_written: int
    ) -> None:
        self._iterator = rows
        self._names = names
        self.rows_read = 0
        self.rows_written = rows_written

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, in order; empty for a statement that never has rows."""
        names = self._names
        if callable(names):
            self._names = names = names()
        return names

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        row = next(self._iterator)
        self.rows_read += 1
        return dict(zip(self.column_names, row, strict=False))

    def next(self) -> Row | None:
        """The next row, or None after the last."""
        return next(self, None)

    def to_array(self) -> list[Row]:
        """The rows that are left."""
        return list(self)

    def one(self) -> Row:
        """The only row.

        Raises:
            StorageError: there is none, or more than one.
        """
        row = next(self, None)
        if row is None:
            raise StorageError("expected exactly one row, but there was none")
        if next(self._iterator, None) is not None:
            raise StorageError("expected exactly one row, but there were more")
        return row

    def raw(self) -> Iterator[tuple[SqlValue, ...]]:
        """The rows that are left, as tuples; shares its position with the cursor."""
        for row in self._iterator:
            self.rows_read += 1
            yield row

    def settle(self) -> None:
        """Read what is left into memory, so that no statement stays open. The runtime calls it when a turn ends."""
        self._iterator = iter(list(self._iterator))
