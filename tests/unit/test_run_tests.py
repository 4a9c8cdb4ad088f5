"""`make test` can fail: on a failure, on a skip that nobody reviewed, and on a kind that has vanished."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "run_tests.py"
REPORT = """<testsuites><testsuite>
<testcase file="tests/unit/test_a.py" name="test_good" />
<testcase file="tests/unit/test_a.py" name="test_bad"><failure message="no" /></testcase>
<testcase file="tests/unit/test_a.py" name="test_broken"><error message="no" /></testcase>
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
    assert runner.summary(tallies).splitlines()[-1] == "5 passed, 1 failed, 2 skipped"


def test_an_absent_program_is_a_failure(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runner.PROGRAMS, "chaos", ("tests/chaos/absent.py",))
    tally = runner.Tally("chaos")
    runner.run_program(tally)
    assert tally.failed == ["tests/chaos/absent.py is absent"]


def test_every_kind_runs_in_one_lane(runner: ModuleType) -> None:
    assert sorted(kind for lane in runner.LANES for kind in lane) == sorted(runner.EVERY)


def test_what_gives_way_is_last_in_line(runner: ModuleType, tmp_path: Path) -> None:
    """Seen to fail without `nice`, and, where the kernel groups by session, without the group's own."""
    waits = "import time; time.sleep(0.5); import os; print(os.getpriority(0, 0))"
    group = "p = '/proc/self/autogroup'; print(open(p).read() if os.path.exists(p) else 'none')"
    with (tmp_path / "out.txt").open("w+") as output:
        tally = runner.Tally("mutants", output=output, gives_way=True)
        code, last, _ = runner.run_and_keep_lines((sys.executable, "-c", f"{waits}; {group}"), tally)
        output.seek(0)
        assert (code, output.readline()) == (0, "19\n")
        assert last == "none" or last.endswith("nice 19")


def test_a_lane_shows_each_kind_when_it_is_done(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "REPORTS", tmp_path)
    monkeypatch.setattr(runner, "LANES", (("check",), ("simulation",)))
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
