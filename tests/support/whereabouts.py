"""Where a run of tests is: what runs at the moment, for who ends the run, and what a test that hung has waited for.

`pytest --whereabouts FILE` keeps the first in a file. The second is in the report of a test that pytest-timeout broke
off: its first line names the place, and a section shows the stacks of all tasks, for the stack of a loop names no test.
"""

from __future__ import annotations

import asyncio
import gc
import os
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import pytest

OVER = "from pytest-timeout"
HERE = Path(__file__).resolve()
TESTS = HERE.parents[1]
Place = tuple[FrameType, int]


class Whereabouts:
    """Keeps one line in a file: what runs at the moment."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._tell("the collection of tests")

    def _tell(self, what: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(what)
        os.replace(fresh, self._file)  # whoever reads it finds a whole line

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._tell(f"{item.nodeid}, before it")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self._tell(item.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        self._tell(f"{item.nodeid}, after it")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._tell("the end of the run")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whereabouts", type=Path, metavar="FILE", help="keep in FILE what runs at the moment")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--whereabouts")
    if file is not None:
        config.pluginmanager.register(Whereabouts(file))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and OVER in str(call.excinfo.value):
        stacks = [list(awaits(task)) for task in unfinished()]
        report.sections.append(("the tasks that were waiting", "\n".join(map(shown, stacks))))
        found = place_of(item, [raised_at(call.excinfo.tb), *stacks])
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None and found:
            crash.message += f" It waited at {found}"
    return report


def unfinished() -> list[asyncio.Task[Any]]:
    """The tasks of every loop that have not ended; which loop a test ran in is not asked."""
    return [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]


def awaits(task: asyncio.Task[Any]) -> Iterator[Place]:
    """Where a task is, from its outermost coroutine to what it awaits; a task's own stack ends at the first."""
    inner: Any = task.get_coro()
    while inner is not None:
        for kind in ("cr", "gi", "ag"):
            frame: FrameType | None = getattr(inner, f"{kind}_frame", None)
            if frame is not None:
                yield frame, frame.f_lineno
                inner = getattr(inner, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            return


def raised_at(trace: TracebackType | None) -> list[Place]:
    return [(frame, line) for frame, line in traceback.walk_tb(trace)]


def place_of(item: pytest.Item, stacks: list[list[Place]]) -> str:
    """The line of the tests where a stack that the test's own module is in ended; or one of a fixture elsewhere."""
    inside = [[place for place in stack if TESTS in file_of(place).parents or file_of(place) == item.path]
              for stack in stacks]  # fmt: skip
    inside = [[place for place in stack if file_of(place) != HERE] for stack in inside]
    of_test = [stack for stack in inside if any(file_of(place) == item.path for place in stack)]
    for stack in (*of_test, *inside):
        if stack:
            (entry,) = traceback.StackSummary.extract(iter(stack[-1:]))
            return f"{Path(entry.filename).name}:{entry.lineno}, {entry.line}"
    return ""


def file_of(place: Place) -> Path:
    return Path(place[0].f_code.co_filename)


def shown(stack: list[Place]) -> str:
    return "".join(traceback.StackSummary.extract(iter(stack)).format()) or "a task that did not begin\n"
