"""What a worker writes to its descriptors 1 and 2: lines of bounded length and number, from a pipe of bounded rate.

Object code prints through the runtime, which knows the object. What comes here is the rest: nsjail's own words, the
interpreter's last words, and writes to the bare descriptors.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from homing_node.workers import limits

_CUT_MARK = "… (cut)"


class LineCutter:
    """Bytes and the time in, lines out. Pure."""

    def __init__(self) -> None:
        self._line = bytearray()  # Invariant: at most output_line_bytes_max
        self._cutting = False  # the rest of an overlong line is skipped
        self._second = -1
        self._lines = 0  # in this second
        self._dropped = 0

    def feed(self, data: bytes, now_s: float) -> list[str]:
        """The lines that these bytes complete."""
        lines: list[str] = []
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            self._end(lines, now_s)
        self._add(rest)
        return lines

    def end(self, now_s: float) -> list[str]:
        """The last line, if it had no end, and what was dropped."""
        lines: list[str] = []
        if self._line:
            self._end(lines, now_s)
        self._report_dropped(lines)
        return lines

    def _add(self, piece: bytes) -> None:
        room = limits.output_line_bytes_max - len(self._line)
        self._line += piece[:room]
        self._cutting = self._cutting or len(piece) > room

    def _end(self, lines: list[str], now_s: float) -> None:
        if int(now_s) != self._second:
            self._report_dropped(lines)
            self._second, self._lines = int(now_s), 0
        self._lines += 1
        if self._lines > limits.output_lines_per_s_max:
            self._dropped += 1
        else:
            lines.append(self._line.decode(errors="replace") + (_CUT_MARK if self._cutting else ""))
        self._line.clear()
        self._cutting = False

    def _report_dropped(self, lines: list[str]) -> None:
        if self._dropped:
            lines.append(f"… ({self._dropped} lines dropped)")
            self._dropped = 0


class OutputPipe:
    """Reads one pipe of a worker, no faster than `output_bytes_per_s_max`: a flood makes its writer wait.

    Args:
        fd: the read end, non-blocking; closed by `close` or at the end of the data.
        on_line: gets each line.
    """

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        self._fd = fd
        self._on_line = on_line
        self._cutter = LineCutter()
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._window_start_s = self._loop.time()
        self._window_bytes = 0
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, limits.output_read_bytes_max)
        except BlockingIOError:
            return
        now = self._loop.time()
        if not data:
            self._close()
            return
        self._emit(self._cutter.feed(data, now))
        if now - self._window_start_s >= 1.0:
            self._window_start_s, self._window_bytes = now, 0
        self._window_bytes += len(data)
        if self._window_bytes >= limits.output_bytes_per_s_max:
            self._loop.remove_reader(self._fd)
            self._resume = self._loop.call_at(self._window_start_s + 1.0, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._fd, self._read)

    def _emit(self, lines: list[str]) -> None:
        for line in lines:
            self._on_line(line)

    def close(self) -> None:
        """Take what the pipe still holds, once its writers are dead, and close it. Idempotent."""
        while self._fd >= 0:
            before = self._window_bytes
            self._read()
            if self._fd >= 0 and self._window_bytes == before:
                self._close()

    def _close(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._emit(self._cutter.end(self._loop.time()))
