"""A test that hangs fails by its name and says where it hung; what it had set up is ended, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SUPPORT = Path(__file__).resolve().parents[1] / "support"
DEADLINE_S = 1
HANGING = """
import asyncio
import threading
from pathlib import Path

import pytest

ended = []


@pytest.fixture
def thing():
    yield
    ended.append("thing")


@pytest.fixture
async def stream():
    yield
    ended.append("stream")


@pytest.fixture
def absent():
    threading.Event().wait()  # before


@pytest.fixture
def endless():
    yield
    threading.Event().wait()  # after


async def deep():
    await asyncio.Event().wait()


async def test_task(thing, stream):
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1_000))
        await deep()


async def test_poll(thing):
    while True:  # a loop that never waits may swallow what breaks it off: asyncio catches what a callback raises
        await asyncio.sleep(0.05)


def test_thread(thing):
    threading.Event().wait()  # thread


def test_before(absent):
    pass


def test_after(endless):
    pass


def test_others_run(request):
    assert ended == ["stream", "thing", "thing", "thing"]
    assert Path(request.config.getoption("--whereabouts")).read_text() == "test_hanging.py::test_others_run"
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The first line that a run of such tests has for each, or nothing for one that passed."""
    folder = tmp_path_factory.mktemp("hanging")
    (folder / "test_hanging.py").write_text(HANGING)
    (folder / "pytest.ini").write_text(
        f"[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
        f"timeout = {DEADLINE_S}\npythonpath = {SUPPORT}\n"
    )
    words = ("-p", "whereabouts", "--whereabouts", "now.txt", "--junit-xml", "report.xml")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=folder, env={"PYTHONPATH": str(SUPPORT)}, timeout=120,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (folder / "now.txt").read_text() == "the end of the run", run.stdout + run.stderr
    found = {"": run.stdout}
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        wrong = [each for each in case if each.tag in ("failure", "error")]
        found[str(case.get("name"))] = wrong[0].get("message", "") if wrong else ""
    return found


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("test_task", "await asyncio.Event().wait()"),
        ("test_poll", "await asyncio.sleep(0.05)"),
        ("test_thread", "threading.Event().wait()  # thread"),
        ("test_before", "threading.Event().wait()  # before"),
        ("test_after", "threading.Event().wait()  # after"),
    ],
)
def test_what_hangs_fails_and_says_where(said: dict[str, str], name: str, line: str) -> None:
    """Seen to fail with the stack of the loop alone: it ends in the selector, whatever is awaited."""
    number = [each.strip() for each in HANGING.splitlines()].index(line) + 1
    place = f"test_hanging.py:{number}, {line}"
    assert f"Timeout (>{DEADLINE_S}.0s) from pytest-timeout. It waited at {place}" in said[name]


def test_the_stacks_of_all_tasks_are_shown(said: dict[str, str]) -> None:
    assert "await deep()" in said[""]
    assert "in sleep" in said[""]


def test_what_was_set_up_is_ended_and_the_run_goes_on(said: dict[str, str]) -> None:
    """Seen to fail with the method `thread`, which ends the run."""
    assert said["test_others_run"] == ""
