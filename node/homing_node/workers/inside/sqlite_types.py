"""The part of apsw that the runtime uses, typed: apsw's own stubs leave buffers unknown on this Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from homing.storage import SqlValue

SqlRow = tuple[SqlValue, ...]
Tracer = Callable[["Cursor", str, object], bool]


class Cursor(Protocol):
    """One statement at a time, and its rows."""

    bindings_count: int
    exec_trace: Tracer | None
    is_readonly: bool

    @property
    def get(self) -> Any:
        """All rows that are left; where that is one value, the value; None where there is no row."""
        ...

    def execute(
        self, statements: str, bindings: Sequence[SqlValue] = (), *, can_cache: bool = True, prepare_flags: int = 0
    ) -> Cursor:
        """Run until the first row or the end."""
        ...

    def fetchone(self) -> SqlRow | None:
        """The next row."""
        ...

    def fetchall(self) -> list[SqlRow]:
        """All rows that are left."""
        ...

    def get_description(self) -> tuple[tuple[str, str], ...]:
        """Name and type of each column; raises where the statement has ended."""
        ...

    def __iter__(self) -> Iterator[SqlRow]: ...


class Connection(Protocol):
    """One open database."""

    in_transaction: bool
    authorizer: Any

    def cursor(self) -> Cursor:
        """A new cursor."""
        ...

    def close(self, force: bool = False) -> None:
        """Give everything back."""
        ...

    def limit(self, which: int, value: int = -1) -> int:
        """Set a limit."""
        ...

    def config(self, op: int, value: int) -> int:
        """Set a switch."""
        ...

    def changes(self) -> int:
        """Rows that the last statement changed."""
        ...

    def total_changes(self) -> int:
        """Rows changed since the connection was opened."""
        ...

    def pragma(self, name: str) -> Any:
        """Read a setting."""
        ...

    def set_progress_handler(self, handler: Callable[[], bool] | None, nsteps: int = 100, /) -> None:
        """Ask now and then whether to break off."""
        ...
