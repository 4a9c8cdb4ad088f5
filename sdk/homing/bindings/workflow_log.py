"""What an instance of a workflow knows of its steps, in its object's database; and events that nobody waits for yet."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from homing.storage import Sql

DO, SLEEP, EVENT = "do", "sleep", "waitForEvent"
"""Kinds of steps."""

WAITS, DONE, FAILED = "waits", "done", "failed"
"""States of a step: for a time or an event; it has ended, well or not."""

Key = tuple[str, str, int]
"""A step: its kind, its name, and the how manieth of them it is."""

_TABLES = (
    "CREATE TABLE steps(place INTEGER NOT NULL, kind TEXT, name TEXT, count INTEGER, state TEXT NOT NULL, "
    "failures INTEGER NOT NULL, due_ms INTEGER, type TEXT, value BLOB, PRIMARY KEY(kind, name, count)) WITHOUT ROWID;"
    "CREATE INDEX steps_due ON steps(due_ms) WHERE state = 'waits';"
    "CREATE TABLE events(number INTEGER PRIMARY KEY, type TEXT NOT NULL, value BLOB NOT NULL)"
)


class Row(NamedTuple):
    """A step.

    Attributes:
        place: its place in the order in which steps were begun.
        state: see above.
        failures: attempts that failed.
        due_ms: of one that waits: until when, in milliseconds since 1970.
        value: what it gave, or what was kept of its error; of an event that was waited for: what was sent.
    """

    place: int
    state: str
    failures: int
    due_ms: int
    value: bytes


class StepLog:
    """The steps of one instance.

    Args:
        sql: of its object.
    """

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def create(self) -> None:
        """Make the tables."""
        self._sql.exec(_TABLES)

    def find(self, key: Key) -> Row | None:
        """A step; None: nothing is known of it."""
        found = self._first(
            "SELECT place, state, failures, coalesce(due_ms, 0), coalesce(value, x'') FROM steps "
            "WHERE kind = ? AND name = ? AND count = ?", *key,
        )  # fmt: skip
        return Row(*found) if found is not None else None

    def end(self, key: Key, place: int, state: str, value: bytes) -> None:
        """A step has ended: DONE or FAILED."""
        self._sql.exec(
            "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, 0, NULL, NULL, ?)", place, *key, state, value
        )

    def wait(self, key: Key, place: int, due_ms: int, *, failures: int = 0, event_type: str | None = None) -> None:
        """A step waits from now on."""
        self._sql.exec(
            "INSERT OR REPLACE INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            place, *key, WAITS, failures, due_ms, event_type,
        )  # fmt: skip

    def due(self, now_ms: int) -> list[Key]:
        """The steps that have waited long enough."""
        found = self._sql.exec("SELECT kind, name, count FROM steps WHERE state = 'waits' AND due_ms <= ?", now_ms)
        return [cast("Key", row) for row in found.raw()]

    def next_ms(self) -> int | None:
        """When the next step has waited long enough; None: none waits."""
        found = self._first("SELECT min(due_ms) FROM steps WHERE state = 'waits'")
        return found[0] if found is not None else None

    def is_waiting(self) -> bool:
        """Whether a step sleeps or waits for an event."""
        return self._first("SELECT 1 FROM steps WHERE state = 'waits' AND kind <> ? LIMIT 1", DO) is not None

    def put_off(self, by_ms: int) -> None:
        """Every step that waits does so for longer."""
        self._sql.exec("UPDATE steps SET due_ms = due_ms + ? WHERE state = 'waits'", by_ms)

    def forget(self, place: int = 0) -> None:
        """Forget the steps from a place on; from 0 on also the events that nobody has waited for."""
        self._sql.exec("DELETE FROM steps WHERE place >= ?", place)
        if not place:
            self._sql.exec("DELETE FROM events")

    # Events

    def deliver(self, event_type: str, value: bytes) -> Key | None:
        """Give an event to the step that has waited for its type for longest, or keep it; returns the step."""
        found = self._first(
            "SELECT kind, name, count FROM steps WHERE state = 'waits' AND type = ? ORDER BY place LIMIT 1", event_type
        )
        if found is None:
            self._sql.exec("INSERT INTO events(type, value) VALUES (?, ?)", event_type, value)
            return None
        key = cast("Key", found)
        self._sql.exec(
            "UPDATE steps SET state = ?, value = ?, due_ms = NULL WHERE kind = ? AND name = ? AND count = ?",
            DONE, value, *key,
        )  # fmt: skip
        return key

    def take(self, event_type: str) -> bytes | None:
        """The oldest event of a type that was kept; it is not kept any more."""
        found = self._first("SELECT number, value FROM events WHERE type = ? ORDER BY number LIMIT 1", event_type)
        if found is None:
            return None
        self._sql.exec("DELETE FROM events WHERE number = ?", found[0])
        return found[1]

    def _first(self, query: str, *bindings: Any) -> Any:
        found = list(self._sql.exec(query, *bindings).raw())  # to its end, so that no statement stays open
        return found[0] if found else None
