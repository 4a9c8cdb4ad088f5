"""What an object's code prints: lines of bounded size at a bounded rate, each with its level and its call."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from homing import levels
from homing_node.workers.inside import failures, limits
from homing_node.workers.inside.turns import current_event

Emit = Callable[[list[Any] | None, str, str, int], None]
LEVELS = {"stdout": levels.INFO, "stderr": levels.WARNING}  # of a stream, where who writes says none


class LineBudget:
    """So many lines a second, and a count of those that were dropped.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._dropped = 0

    def take(self) -> tuple[bool, int]:
        """Whether a line may go out now, and how many were dropped since that was last said."""
        second = int(self._clock())
        dropped = 0
        if second != self._second:
            self._second, self._lines = second, 0
            dropped, self._dropped = self._dropped, 0
        if self._lines >= limits.log_lines_per_s_max:
            self._dropped += 1
            return False, 0
        self._lines += 1
        return True, dropped


class Output(io.TextIOBase):
    """Takes the place of `sys.stdout` or `sys.stderr`.

    Args:
        stream: its name in the log.
        emit: called with the event whose code printed (or None), the stream, a line, and its level.
    """

    def __init__(self, stream: str, emit: Emit) -> None:
        self._stream = stream
        self._emit = emit
        self._line = ""  # Invariant: not longer than a line may be; what is over is not kept
        self._event: list[Any] | None = None
        self._level = LEVELS[stream]

    encoding = "utf-8"

    def writable(self) -> bool:
        """It can be written."""
        return True

    def write(self, text: str) -> int:
        """Emit the lines that are complete and keep the rest; text of another call or level ends the line."""
        event = current_event.get()
        level = levels.printing_level() or LEVELS[self._stream]
        if self._line and (event is not self._event or level != self._level):
            self.flush()
        self._event, self._level = event, level
        start = 0
        while (end := text.find("\n", start)) >= 0:
            self._keep(text, start, end)
            self._end_line()
            start = end + 1
        self._keep(text, start, len(text))
        return len(text)

    def _keep(self, text: str, start: int, end: int) -> None:
        room = limits.log_line_bytes_max + 1 - len(self._line)
        self._line += text[start : min(end, start + room)]

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        self._emit(self._event, self._stream, failures.cut(line, limits.log_line_bytes_max), self._level)

    def flush(self) -> None:
        """Emit what is there of a line."""
        if self._line:
            self._end_line()


@contextmanager
def logging_at_levels() -> Generator[None]:
    """Meanwhile what handlers of the module `logging` print has the level of its record."""
    plain = logging.Logger.callHandlers

    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        with levels.printing_at(record.levelno):
            plain(self, record)

    logging.Logger.callHandlers = call_handlers
    try:
        yield
    finally:
        logging.Logger.callHandlers = plain
