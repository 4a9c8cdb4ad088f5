"""Levels of what object code prints, by the numbers of the module `logging`.

`print` says nothing of a level; `logging` and `console` do. While they write, `printing_at` says which.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
NAMES = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR, "critical": CRITICAL}

_printing: ContextVar[int] = ContextVar("printing_level", default=0)


def name_of(level: int) -> str:
    """The name of the highest level that is not above a number.

    Example:
        >>> name_of(30), name_of(35), name_of(0)
        ('warning', 'warning', 'debug')
    """
    return max((name for name, number in NAMES.items() if number <= level), key=NAMES.__getitem__, default="debug")


def printing_level() -> int:
    """The level of what is being written; 0: who writes says none."""
    return _printing.get()


@contextmanager
def printing_at(level: int) -> Generator[None]:
    """What is written meanwhile is of this level, which is at most `CRITICAL`."""
    token = _printing.set(min(max(int(level), 0), CRITICAL))
    try:
        yield
    finally:
        _printing.reset(token)
