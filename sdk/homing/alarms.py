"""An object's alarms: what its `alarm` handler is told, and how a time is given."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from homing.errors import StorageError

TIME_MS_MAX = 8_640_000_000_000_000  # the last moment that a JavaScript Date can name
NAME_BYTES_MAX = 1_024


class Alarm(NamedTuple):
    """What the `alarm` handler is given.

    Attributes:
        name: of the alarm; empty for the one without a name.
        scheduled_time: when it was to ring, in milliseconds since 1970 (UTC).
        retry_count: how often the handler has raised for this alarm before.
    """

    name: str
    scheduled_time: int
    retry_count: int

    @property
    def is_retry(self) -> bool:
        """Whether the handler has raised for this alarm before."""
        return self.retry_count > 0


def time_ms(when: object) -> int:
    """A time in milliseconds since 1970 (UTC), rounded down.

    Args:
        when: an int or float, or a datetime; without a time zone it is taken as UTC, which is the zone of every worker.

    Raises:
        TypeError: it is neither.
        StorageError: it is not a number, negative, or beyond the year 275760.

    Example:
        >>> time_ms(datetime(1970, 1, 1, 0, 0, 1))
        1000
    """
    if isinstance(when, datetime):
        when = when.timestamp() * 1_000
    if isinstance(when, bool) or not isinstance(when, (int, float)):
        raise TypeError(f"a time is a number of milliseconds or a datetime, not {type(when).__qualname__}")
    if not 0 <= when <= TIME_MS_MAX:
        raise StorageError("an alarm's time lies between 1970 and the year 275760")
    return int(when)
