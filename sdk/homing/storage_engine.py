"""What storage stands on: the worker's runtime implements these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from homing.storage_cursor import SqlCursor, SqlValue

if TYPE_CHECKING:
    from homing.storage import Transaction


class Engine(Protocol):
    """The database that the API stands on."""

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


class AlarmBook(Protocol):
    """The object's alarms. Times are milliseconds since 1970 (UTC)."""

    def set(self, name: str, at_ms: int, schedule: str = "") -> None:
        """Let an alarm ring at a time, instead of when it would have before; with a schedule, at each of its times."""
        ...

    def get(self, name: str) -> int | None:
        """When an alarm will ring; None if it will not, or is ringing now."""
        ...

    def list(self) -> dict[str, int]:
        """Every alarm that will ring, the earliest first."""
        ...

    def delete(self, name: str) -> None:
        """Let an alarm not ring."""
        ...


class Coordinator(Protocol):
    """The part of the runtime that knows turns and gates."""

    @property
    def alarms(self) -> AlarmBook:
        """The object's alarms."""
        ...

    async def transaction(self, callback: Callable[[Transaction], Awaitable[Any]]) -> Any:
        """Run an async callback in a transaction of its own."""
        ...

    async def sync(self) -> None:
        """End the turn's transaction here."""
        ...
