"""The merged output of `homing dev`: every part's lines behind its name, and our own words between them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

import click

from homing.cli.limits import LOG_LINE_BYTES_MAX

OURS = "homing"
CUT_MARK = " … (line cut)"
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")


class LineSplitter:
    """Bytes in as they arrive, whole lines of text out; an endless line is cut, never kept."""

    def __init__(self, line_bytes_max: int = LOG_LINE_BYTES_MAX) -> None:
        self._bytes_max = line_bytes_max
        self._rest = b""
        self._cutting = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        *complete, self._rest = (self._rest + data).split(b"\n")
        lines: list[str] = []
        for piece in complete:
            if self._cutting:
                self._cutting = False  # the end of a line whose beginning was already given
            else:
                lines.append(self._text(piece))
        if self._cutting:
            self._rest = b""
        elif len(self._rest) > self._bytes_max:
            lines.append(self._text(self._rest))
            self._rest, self._cutting = b"", True
        return lines

    def end(self) -> list[str]:
        """The last line, when it had no line end."""
        rest, self._rest = self._rest, b""
        return [self._text(rest)] if rest else []

    def _text(self, piece: bytes) -> str:
        text = piece[: self._bytes_max].decode("utf-8", "replace").rstrip("\r")
        return text + CUT_MARK if len(piece) > self._bytes_max else text


class Output:
    """Where all lines go.

    Args:
        names: every part that will speak, for the width of the first column and the colours.
        stream: where to write; standard output when None.
        colour: whether names are coloured; by default on a terminal only.
        on_closed: called once when the reader of our output is gone.
    """

    def __init__(
        self,
        names: list[str],
        stream: TextIO | None = None,
        *,
        colour: bool | None = None,
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream or sys.stdout
        self.colour = self._stream.isatty() if colour is None else colour
        self.on_closed = on_closed
        self._open = True
        width = max(map(len, [OURS, *names]))
        self._prefixes = {OURS: self._style(f"{OURS:<{width}} │ ", "white", bold=True)}
        for index, name in enumerate(names):
            self._prefixes[name] = self._style(f"{name:<{width}} │ ", _COLOURS[index % len(_COLOURS)])

    def line(self, name: str, text: str) -> None:
        """One line of a part."""
        if not self._open:
            return
        try:
            self._stream.write(f"{self._prefixes[name]}{text}\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._open = False
            if self.on_closed:
                self.on_closed()

    def say(self, text: str) -> None:
        """Our own words, one or more lines."""
        for row in text.split("\n"):
            self.line(OURS, row)

    def _style(self, text: str, colour: str, *, bold: bool = False) -> str:
        return click.style(text, fg=colour, bold=bold) if self.colour else text
