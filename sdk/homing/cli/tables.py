"""Plain tables for a terminal: columns as wide as they need to be, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence

Cell = str | int


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """The rows under their header, without trailing blanks.

    Example:
        >>> table(["NODE", "SLOTS"], [["n1", 342]])
        'NODE  SLOTS\\nn1      342'
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(str(cell)) for cell in column) for column in columns]
    numeric = [len(column) > 1 and all(isinstance(cell, int) for cell in column[1:]) for column in columns]
    lines = (
        "  ".join(
            str(cell).rjust(width) if right else str(cell).ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in (header, *rows)
    )
    return "\n".join(lines)
