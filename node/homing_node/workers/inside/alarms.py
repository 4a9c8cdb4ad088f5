"""An object's alarms: rows of a table of the runtime's own in the object's database.

So an alarm shares every fate of the object's data: it is committed and undone with what a turn wrote, and travels with
its pages. The node hears of the earliest time with each commit that changed it (docs/alarms.md). The rules of retries
are those of Cloudflare's Durable Objects. An alarm with a schedule rings again and again; the schedules are in a table
of their own.
"""

from __future__ import annotations

from random import SystemRandom
from typing import NamedTuple, cast

from homing.alarms import NAME_BYTES_MAX, Alarm
from homing.cron import Schedule
from homing.errors import NotSupported, StorageError
from homing_node.workers.inside import limits
from homing_node.workers.inside.database import Database

_EXISTS = "SELECT 1 FROM sqlite_schema WHERE name = ?"
_ALARMS, _SCHEDULES = "_homing_alarms", "_homing_schedules"
CREATE = (
    "CREATE TABLE _homing_alarms(name TEXT PRIMARY KEY, setting INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
    "due_ms INTEGER NOT NULL, failures INTEGER NOT NULL) WITHOUT ROWID"
)
_SET = "INSERT OR REPLACE INTO _homing_alarms VALUES (?1, ?2, ?3, ?3, 0)"
_GET = "SELECT at_ms FROM _homing_alarms WHERE name = ? AND setting <> ?"
_LIST = "SELECT name, at_ms FROM _homing_alarms WHERE setting <> ? ORDER BY at_ms, name"
_DELETE = "DELETE FROM _homing_alarms WHERE name = ?"
_DUE = "SELECT name, setting, at_ms, failures FROM _homing_alarms WHERE due_ms <= ? ORDER BY due_ms, name LIMIT 1"
_EARLIEST = "SELECT min(due_ms) FROM _homing_alarms"
_END = "DELETE FROM _homing_alarms WHERE name = ? AND setting = ?"
_NEXT = "UPDATE _homing_alarms SET setting = ?3, at_ms = ?4, due_ms = ?4, failures = 0 WHERE name = ?1 AND setting = ?2"
_AGAIN = "UPDATE _homing_alarms SET due_ms = ?3, failures = ?4 WHERE name = ?1 AND setting = ?2"

CREATE_SCHEDULES = "CREATE TABLE _homing_schedules(name TEXT PRIMARY KEY, schedule TEXT NOT NULL) WITHOUT ROWID"
_SET_SCHEDULE = "INSERT OR REPLACE INTO _homing_schedules VALUES (?, ?)"
_GET_SCHEDULE = "SELECT schedule FROM _homing_schedules WHERE name = ?"
_DELETE_SCHEDULE = "DELETE FROM _homing_schedules WHERE name = ?"

_random = SystemRandom()


class _Underway(NamedTuple):
    """An alarm whose handler runs."""

    alarm: Alarm
    setting: int


class Alarms:
    """The alarms of one activation.

    A handler that runs keeps its row until it ends, so that a crash of its node repeats it. What `set` writes meanwhile
    has a setting of its own: it follows, and takes the place of a retry.

    Args:
        database: of the object.
        handled: whether its class has an `alarm` handler.
    """

    __slots__ = ("_database", "_handled", "_ringing")

    def __init__(self, database: Database, *, handled: bool) -> None:
        self._database = database
        self._handled = handled
        self._ringing: _Underway | None = None

    # What the object's code asks for

    def set(self, name: str, at_ms: int, schedule: str = "") -> None:
        """Let an alarm ring at a time, instead of when it would have before; with a schedule, at each of its times."""
        _check_name(name)
        if not self._handled:
            raise NotSupported("the class has no alarm handler; define `async def alarm(self, alarm)` in it")
        if not self._exist():
            self._change(CREATE, ())
        self._change(_SET, (name, _setting(), at_ms))
        if schedule and not self._exist(_SCHEDULES):
            self._change(CREATE_SCHEDULES, ())
        if schedule:
            self._change(_SET_SCHEDULE, (name, schedule))
        else:
            self._forget_schedule(name)

    def get(self, name: str) -> int | None:
        """When an alarm will ring; None if it will not, or is ringing now."""
        _check_name(name)
        row = self._database.run_own(_GET, (name, self._own())).fetchone() if self._exist() else None
        return cast("int", row[0]) if row is not None else None

    def list(self) -> dict[str, int]:
        """Every alarm that will ring, the earliest first."""
        rows = self._database.run_own(_LIST, (self._own(),)).fetchall() if self._exist() else []
        return {cast("str", name): cast("int", at_ms) for name, at_ms in rows}

    def delete(self, name: str) -> None:
        """Let an alarm not ring."""
        _check_name(name)
        if self._exist():
            self._change(_DELETE, (name,))
            self._forget_schedule(name)

    # What the runtime asks for

    def ring(self, now_ms: int) -> Alarm | None:
        """Begin with the earliest alarm that is due; None: none is."""
        row = self._database.run_own(_DUE, (now_ms,)).fetchone() if self._exist() else None
        if row is None:
            return None
        name, setting, at_ms, failures = cast("tuple[str, int, int, int]", row)
        alarm = Alarm(name, at_ms, failures)
        self._ringing = _Underway(alarm, setting)
        return alarm

    def rang(self, now_ms: int) -> None:
        """The handler has ended well, or the alarm is given up: it rings again only if it has a schedule."""
        ringing, self._ringing = self._ringing, None
        if ringing is None or not self._exist():
            return
        name, setting = ringing.alarm.name, ringing.setting
        schedule = self._schedule(name)
        if schedule:
            # What was missed while nobody could ring is not made up for.
            self._change(_NEXT, (name, setting, _setting(), Schedule(schedule).next_ms(now_ms)))
        else:
            self._change(_END, (name, setting))

    def failed(self, now_ms: int) -> None:
        """The handler has raised: the alarm will ring again, later each time, unless it has had its tries."""
        ringing = self._ringing
        if ringing is None or ringing.alarm.retry_count >= limits.alarm_retries_max:
            self.rang(now_ms)
            return
        self._ringing = None
        failures = ringing.alarm.retry_count
        wait_s = limits.alarm_retry_first_s * 2 ** min(failures, limits.alarm_retry_doublings_max)
        due_ms = now_ms + int(1_000 * wait_s * _random.uniform(1.0, limits.alarm_retry_jitter))
        if self._exist():
            self._change(_AGAIN, (ringing.alarm.name, ringing.setting, due_ms, failures + 1))

    def _change(self, statement: str, bindings: tuple[str | int, ...]) -> None:
        self._database.begin()
        self._database.run_own(statement, bindings)
        self._database.alarms_changed = True

    def _own(self) -> int:
        """The setting of the alarm that is ringing; 0 is nobody's."""
        return self._ringing.setting if self._ringing is not None else 0

    def _schedule(self, name: str) -> str:
        row = self._database.run_own(_GET_SCHEDULE, (name,)).fetchone() if self._exist(_SCHEDULES) else None
        return cast("str", row[0]) if row is not None else ""

    def _forget_schedule(self, name: str) -> None:
        if self._schedule(name):
            self._change(_DELETE_SCHEDULE, (name,))

    def _exist(self, table: str = _ALARMS) -> bool:
        return _exist(self._database, table)


def _setting() -> int:
    return _random.getrandbits(62) | 1


def _exist(database: Database, table: str = _ALARMS) -> bool:
    return database.run_own(_EXISTS, (table,)).fetchone() is not None


def earliest_ms(database: Database) -> int:
    """When the object must be woken next, which the node is told with a commit; 0: never.

    An alarm that is ringing counts: were its node to die now, it would have to ring again.
    """
    row = database.run_own(_EARLIEST, ()).fetchone() if _exist(database) else None
    return cast("int", row[0]) if row is not None and row[0] is not None else 0


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"an alarm's name is a str, not {type(name).__qualname__}")
    if len(name.encode()) > NAME_BYTES_MAX:
        raise StorageError(f"an alarm's name has at most {NAME_BYTES_MAX} bytes")
