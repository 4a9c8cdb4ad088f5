"""What both simulators do with many seeds: chunks on all cores, and an error in a line."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

from tests.simulation.ledger import Violation


class Tallied(Protocol):
    """What some runs came to."""

    violations: list[tuple[int, str]]

    def add(self, other: Self) -> None:
        """Take the runs of another in."""
        ...


_Tally = TypeVar("_Tally", bound=Tallied)
_Chunk = TypeVar("_Chunk")


def add_all(
    tally: _Tally, run_chunk: Callable[[_Chunk], _Tally], chunks: Sequence[_Chunk], jobs: int, *, stop: bool
) -> _Tally:
    """Run the chunks on `jobs` processes and add what they came to; with `stop`, up to the first violation."""
    if jobs == 1:
        for chunk in chunks:
            tally.add(run_chunk(chunk))
            if stop and tally.violations:
                break
        return tally
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for part in pool.imap_unordered(run_chunk, chunks):
            tally.add(part)
            if stop and tally.violations:
                break
    return tally


def described(error: Exception) -> str:
    """A violation as it is; of any other error where it came from."""
    if isinstance(error, Violation):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {last.name}: {error}"
