"""Cron schedules: moments that come again and again. Pure.

The language is that of Cloudflare's cron triggers, https://developers.cloudflare.com/workers/configuration/cron-triggers/:
five fields in UTC, with the extensions L, W and #, and with days of the week from 1, a Sunday, to 7. No library has
that dialect.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

SCHEDULE_CHARS_MAX = 256
_DAYS_AHEAD_MAX = 3_000  # 29 February comes again after 8 years at most
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_WEEK = 7

IsDay = Callable[[date], bool]


class Schedule:
    """When something is to happen.

    Where both a day of the month and a day of the week are given, either is enough.

    Args:
        text: `minute hour day-of-month month day-of-week`.

    Raises:
        ValueError: it is no schedule, or its time never comes.

    Example:
        >>> Schedule("30 9 * * MON-FRI").next_ms(0)
        34200000
    """

    def __init__(self, text: str) -> None:
        fields = text.upper().split() if len(text) <= SCHEDULE_CHARS_MAX else []
        if len(fields) != 5:
            raise ValueError(f"a schedule has five fields, as in */5 * * * *, not {text[:SCHEDULE_CHARS_MAX]!r}")
        try:
            self._minutes = sorted(_numbers(fields[0], 0, 59))
            self._hours = sorted(_numbers(fields[1], 0, 23))
            self._months = _numbers(fields[3], 1, 12, _MONTHS)
            self._is_day = _days(fields[2], fields[4])
        except ValueError as error:
            raise ValueError(f"{error} in the schedule {text!r}") from error
        if self.next_ms(0) == 0:
            raise ValueError(f"the time of the schedule {text!r} never comes")

    def next_ms(self, after_ms: int) -> int:
        """The first moment of the schedule after another, both in milliseconds since 1970; 0: there is none."""
        first = datetime.fromtimestamp(after_ms // 60_000 * 60, UTC) + timedelta(minutes=1)
        for ahead in range(_DAYS_AHEAD_MAX):
            day = first.date() + timedelta(days=ahead)
            if day.month not in self._months or not self._is_day(day):
                continue
            for hour in self._hours:
                for minute in self._minutes:
                    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                    if moment >= first:
                        return int(moment.timestamp()) * 1_000
        return 0


def _days(of_month: str, of_week: str) -> IsDay:
    if of_week in ("*", "?"):
        return _any_of(of_month, _day_of_month)
    if of_month in ("*", "?"):
        return _any_of(of_week, _day_of_week)
    month, week = _any_of(of_month, _day_of_month), _any_of(of_week, _day_of_week)
    return lambda day: month(day) or week(day)


def _any_of(field: str, read: Callable[[str], IsDay]) -> IsDay:
    tests = [read(part) for part in field.split(",")]
    return lambda day: any(test(day) for test in tests)


def _day_of_month(part: str) -> IsDay:
    if part == "L":
        return lambda day: day.day == _last(day)
    if part.startswith("L-"):
        before = _number(part[2:], 1, 30)
        return lambda day: day.day == _last(day) - before
    if part == "LW":
        return lambda day: day.day == _workday_near(day, _last(day))
    if part.endswith("W"):
        near = _number(part[:-1], 1, 31)
        return lambda day: near <= _last(day) and day.day == _workday_near(day, near)
    days = _numbers(part, 1, 31)
    return lambda day: day.day in days


def _day_of_week(part: str) -> IsDay:
    if part == "L":
        part = "SAT"
    name, hash_sign, nth = part.partition("#")
    if hash_sign:
        weekday, number = _number(name, 1, _WEEK, _WEEKDAYS), _number(nth, 1, 5)
        return lambda day: _weekday(day) == weekday and (day.day - 1) // _WEEK + 1 == number
    if part.endswith("L"):
        weekday = _number(part[:-1], 1, _WEEK, _WEEKDAYS)
        return lambda day: _weekday(day) == weekday and day.day + _WEEK > _last(day)
    weekdays = _numbers(part, 1, _WEEK, _WEEKDAYS)
    return lambda day: _weekday(day) in weekdays


def _last(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _weekday(day: date) -> int:
    return day.isoweekday() % _WEEK + 1


def _workday_near(day: date, number: int) -> int:
    """The day from Monday to Friday that is nearest to one of the month, within that month."""
    weekday = _weekday(day.replace(day=number))
    if weekday == _WEEK:
        return number - 1 if number > 1 else number + 2
    if weekday == 1:
        return number + 1 if number < _last(day) else number - 2
    return number


def _numbers(field: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    """What a field without extensions names: `*`, `a`, `a-b`, each perhaps with a step, in a list."""
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            begin, dash, end = span.partition("-")
            first = _number(begin, low, high, names)
            last = _number(end, low, high, names) if dash else high if slash else first
        if first > last:
            raise ValueError(f"{span} runs backwards")
        found.update(range(first, last + 1, _number(step, 1, high) if slash else 1))
    return frozenset(found)


def _number(text: str, low: int, high: int, names: tuple[str, ...] = ()) -> int:
    if text in names:
        return names.index(text) + 1
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and low <= int(text) <= high):
        raise ValueError(f"{text!r} is no number from {low} to {high}")
    return int(text)
