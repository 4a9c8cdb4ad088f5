"""`make test` can fail: on a failure, on a skip that nobody reviewed, on a kind that has vanished or never ends."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tests.chaos.processes import find

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "run_tests.py"
REPORT = """<testsuites><testsuite>
<testcase file="tests/unit/test_a.py" name="test_good" />
<testcase file="tests/unit/test_a.py" name="test_bad"><failure message="no: 1 &lt; 2&#10;more" /></testcase>
<testcase file="tests/unit/test_a.py" name="test_broken"><error message="REASON" /></testcase>
<testcase file="tests/unit/test_a.py" name="test_some[x]"><skipped message="no root" /></testcase>
</testsuite></testsuites>"""


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tests", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["run_tests"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("reviewed", "skipped"),
    [
        ("", 0),
        ("# tests/unit/test_a.py::test_some[x] a comment\n", 0),
        ("tests/unit/test_a.py::test_some[x]\n", 0),  # a reason is part of a review
        ("tests/unit/test_a.py::test_some[x] needs root\n", 1),
        ("tests/unit/test_a.py::test_some* needs root\n", 1),
        ("tests/unit/test_a.py::test_some[y] needs root\n", 0),
    ],
)
def test_a_skip_that_nobody_reviewed_is_a_failure(
    runner: ModuleType, tmp_path: Path, reviewed: str, skipped: int
) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(REPORT)
    tally = runner.Tally("unit")
    runner.read_report(tally, report, runner.reviewed_skips(reviewed))
    assert (tally.passed, len(tally.skipped), len(tally.failed)) == (1, skipped, 3 - skipped)


def test_the_last_line_of_the_summary_adds_up(runner: ModuleType) -> None:
    tallies = [runner.Tally("unit", passed=2, failed=["a"]), runner.Tally("e2e", passed=3, skipped=["b", "c"])]
    lines = runner.summary(tallies).splitlines()
    assert lines[-1] == "5 passed, 1 failed, 2 skipped"
    assert lines[-2] == "FAILED a", "where a log is cut off last"


def test_an_absent_program_is_a_failure(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runner.PROGRAMS, "chaos", ("tests/chaos/absent.py",))
    tally = runner.Tally("chaos")
    runner.run_program(tally)
    assert tally.failed == ["tests/chaos/absent.py is absent"]


def test_every_kind_is_queued_once_and_has_a_folder(runner: ModuleType) -> None:
    assert sorted(runner.QUEUE) == sorted(runner.EVERY)
    folders = {kind for kind in runner.PYTEST_KINDS if kind != "tidy"}
    assert {kind for kind in folders if any((runner.ROOT / "tests" / kind).glob("test_*.py"))} == folders


def test_the_summary_says_how_each_failure_begins(runner: ModuleType, tmp_path: Path) -> None:
    """Seen to fail without the limit, and with more than the first line."""
    report = tmp_path / "unit.xml"
    report.write_text(REPORT.replace("REASON", "x" * 1_000))
    tally = runner.Tally("unit")
    runner.read_report(tally, report, [])
    assert tally.failed[:2] == [
        "tests/unit/test_a.py::test_bad: no: 1 < 2",
        f"tests/unit/test_a.py::test_broken: {'x' * 200}",
    ]
    assert f"FAILED {tally.failed[0]}" in runner.summary([tally]).splitlines()


def test_what_gives_way_is_last_in_line(runner: ModuleType, tmp_path: Path) -> None:
    """Seen to fail without `nice`, and, where the kernel groups by session, without the group's own."""
    waits = "import time; time.sleep(0.5); import os; print(os.getpriority(0, 0))"
    group = "p = '/proc/self/autogroup'; print(open(p).read() if os.path.exists(p) else 'none')"
    with (tmp_path / "out.txt").open("w+") as output:
        tally = runner.Tally("mutants", output=output, gives_way=True)
        code, last, *_ = runner.run_and_keep_lines((sys.executable, "-c", f"{waits}; {group}"), tally)
        output.seek(0)
        assert (code, output.readline()) == (0, "19\n")
        assert last == "none" or last.endswith("nice 19")


HANGING = """
import subprocess
import time
from pathlib import Path

import pytest


@pytest.fixture
def thing(request):
    child = subprocess.Popen(["sleep", "1000"])
    (request.path.parent / "child").write_text(str(child.pid))
    yield
    (request.path.parent / "ended").touch()


def test_good():
    pass


def test_hangs(thing):
    STUBBORN
    (Path(__file__).parent / "hangs").touch()
    time.sleep(1_000)
"""
STARTS_S = 120.0
STUBBORN = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


@pytest.fixture
def tree(runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A tree whose tests of the kind `unit` hang, and no patience once they do; their fixture says that it ended."""

    class Impatient(subprocess.Popen[bytes]):
        def wait(self, timeout: float | None = None) -> int:
            if timeout is None or timeout != runner.STEP_TIMEOUT_S:
                return super().wait(timeout)
            deadline = time.monotonic() + STARTS_S
            while not (tmp_path / "tests" / "unit" / "hangs").exists():
                assert time.monotonic() < deadline, "pytest did not start"
                time.sleep(0.05)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Impatient)
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "REPORTS", tmp_path)
    monkeypatch.setattr(runner, "GRACE_S", 10)
    monkeypatch.setenv("PYTHONPATH", str(PROGRAM.parents[1] / "tests" / "support"))

    def plant(stubborn: str) -> Path:
        folder = tmp_path / "tests" / "unit"
        folder.mkdir(parents=True)
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p whereabouts -p no:cacheprovider\n")
        (folder / "test_hanging.py").write_text(HANGING.replace("STUBBORN", stubborn or "pass"))
        return folder

    return plant


@pytest.mark.parametrize("stubborn", ["", STUBBORN], ids=["ends in its grace", "is killed"])
def test_a_kind_that_never_ends_names_the_test_that_ran(
    runner: ModuleType, tree: Callable[[str], Path], stubborn: str
) -> None:
    """It cleans up and reports, if it can; nothing that it started outlives it.

    Seen to fail with a plain kill (no report, and the child stays), without the kill of what is below it, and when the
    test that was interrupted counts.
    """
    folder = tree(stubborn)
    with (folder / "output.txt").open("w") as output:
        tally = runner.Tally("unit", output=output)
        runner.run_pytest(tally)
    (said,) = tally.failed
    assert said == "unit: not done after 1,800 s; it was at tests/unit/test_hanging.py::test_hangs"
    assert said.removeprefix("unit: ") in (folder / "output.txt").read_text()
    assert (tally.passed, (folder / "ended").exists()) == ((0, False) if stubborn else (1, True))
    child, deadline = int((folder / "child").read_text()), time.monotonic() + 10
    while find(child) is not None:
        assert time.monotonic() < deadline, "what it started goes on"
        time.sleep(0.02)


def test_a_program_that_never_ends_says_what_it_said_last(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "STEP_TIMEOUT_S", 8)
    (tmp_path / "chaos.py").write_text(
        "import time\ntry:\n    print('round 7', flush=True)\n    time.sleep(100)\n"
        "except KeyboardInterrupt:\n    print('cleaned up')\n    raise SystemExit(1)\n"
    )
    monkeypatch.setitem(runner.PROGRAMS, "chaos", ("chaos.py",))
    with (tmp_path / "out.txt").open("w") as output:
        tally = runner.Tally("chaos", output=output)
        runner.run_program(tally)
    assert tally.failed == ["chaos.py not done after 8 s; it was at round 7"]
    assert tally.note == "cleaned up"


def test_a_check_that_never_ends_is_named(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STEP_TIMEOUT_S", 1)
    monkeypatch.setattr(runner, "CHECKS", {"types": (sys.executable, "-c", "import time; time.sleep(100)")})
    tally = runner.Tally("check")
    runner.run_checks(tally)
    assert tally.failed == ["check: types: not done after 1 s"]


def test_a_lane_shows_each_kind_when_it_is_done(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "REPORTS", tmp_path)
    monkeypatch.setattr(runner, "QUEUE", ("check", "simulation"))
    monkeypatch.setattr(runner, "CHECKS", {"one": (sys.executable, "-c", "print('looked')")})
    monkeypatch.setattr(runner, "run_program", lambda tally: print("seeds", file=tally.output))
    monkeypatch.setattr(runner, "EVERY", ("check", "simulation", "chaos"))
    monkeypatch.setattr(runner, "run_pytest", lambda _: None)
    tallies = runner.run_all()
    shown = capsys.readouterr().out
    assert shown.index("check begins") < shown.index("== check\n-- one\nlooked")
    assert "== simulation\nseeds" in shown
    assert [(tally.kind, tally.failed) for tally in tallies] == [
        ("check", []),
        ("simulation", []),
        ("chaos", ["chaos: it broke off"]),
    ]


def test_lanes_take_from_both_ends_until_nothing_is_left(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is done with what waits helps with what computes. Seen to fail with lanes that take from one end alone."""
    order: list[str] = []
    begun = threading.Barrier(3)

    def run_kind(kind: str, output: object) -> object:
        order.append(kind)
        if kind in ("first", "last", "last but one"):
            begun.wait(10)
        if kind == "first":
            while len(order) < 5:
                time.sleep(0.01)
        return runner.Tally(kind)

    monkeypatch.setattr(runner, "QUEUE", ("first", "second", "third", "last but one", "last"))
    monkeypatch.setattr(runner, "EVERY", runner.QUEUE)
    monkeypatch.setattr(runner, "run_kind", run_kind)
    monkeypatch.setattr(runner, "REPORTS", tmp_path)
    assert [tally.failed for tally in runner.run_all()] == [[]] * 5
    assert set(order[:3]) == {"first", "last", "last but one"}
    assert set(order[3:]) == {"third", "second"}
