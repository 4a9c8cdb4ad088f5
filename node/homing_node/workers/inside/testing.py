"""What is different in a worker of a cluster that was started for tests: its clock, and that tests may run code.

The clock can be set ahead: `time.time`, `time.time_ns`, `datetime.now`, `utcnow` and `date.today` follow it, and what
is built on them; the monotonic clocks and SQLite's own `now` are the machine's. It is put in the place of the real one
before the application is imported.
"""

from __future__ import annotations

import datetime as module
import time
from typing import Any, Self

_time, _time_ns = time.time, time.time_ns
_date, _datetime = module.date, module.datetime


class _State:
    """Of this worker.

    Attributes:
        ahead_ms: of the machine's clock; None: nothing of this is here.
    """

    ahead_ms: int | None = None


_state = _State()


def install(ahead_ms: int) -> None:
    """Put the clock in the place of the real one, and let tests run code."""
    set_ahead(ahead_ms)
    time.time = lambda: _time() + (_state.ahead_ms or 0) / 1_000
    time.time_ns = lambda: _time_ns() + (_state.ahead_ms or 0) * 1_000_000
    module.__dict__.update(date=_Date, datetime=_DateTime)


def set_ahead(ahead_ms: int) -> None:
    """How far it is ahead of the machine's from now on."""
    _state.ahead_ms = ahead_ms


def run(instance: Any, source: str, name: str, *args: Any, **kwargs: Any) -> Any:
    """Run a function of a test in an object. The jail holds it as it holds the object's own code.

    Raises:
        PermissionError: this cluster was not started for tests.
    """
    if _state.ahead_ms is None:
        raise PermissionError("this cluster was not started for tests")
    made: dict[str, Any] = {"__name__": "homing_test"}
    exec(compile(source, "<test>", "exec"), made)  # noqa: S102 - to run what a test sent is what it is for; the jail bounds it
    return made[name](instance, *args, **kwargs)


def _ahead() -> module.timedelta:
    return module.timedelta(milliseconds=_state.ahead_ms or 0)


class _Like(type):
    """Of a class that every date, or every moment, counts as an instance of."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__mro__[1])


class _Date(_date, metaclass=_Like):
    @classmethod
    def today(cls) -> Self:
        found = _datetime.now() + _ahead()
        return cls(found.year, found.month, found.day)


class _DateTime(_datetime, metaclass=_Like):
    @classmethod
    def now(cls, tz: Any = None) -> Self:
        return super().now(tz) + _ahead()

    @classmethod
    def utcnow(cls) -> Self:
        return cls.now(module.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Self:
        return cls.now()
