"""docs/reference/errors.md says what sdk/homing/errors.py does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from homing.errors import HomingError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"


def kinds(root: type[HomingError] = HomingError) -> Iterator[type[HomingError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == "homing.errors":
            yield from kinds(kind)


def row(kind: type[HomingError]) -> str:
    meaning = " ".join(filter(None, ((kind.__doc__ or "").split("\n", 1)[0], kind.hint)))
    retry = "yes" if kind.retryable else "no"
    cells = (
        f"`{kind.__name__}`",
        f"`{kind.code}`",
        kind.http_status,
        kind.grpc_status,
        kind.close_code,
        retry,
        meaning,
    )
    return f"| {' | '.join(map(str, cells))} |"


def test_the_table_of_errors_is_the_tree_of_errors() -> None:
    written = [line for line in PAGE.read_text().split("\n## Limits")[0].splitlines() if line.startswith("| `")]
    assert written == [row(kind) for kind in kinds()]
