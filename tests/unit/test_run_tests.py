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
