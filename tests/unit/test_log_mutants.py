"""The mutants are patches to the code as it is now, one rule each; and what judges them can say no."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.simulation import mutants, warm
from tests.simulation.mutants import PATCHES, ROOT, Mutant

# The starred rules of docs/log.md that are built; 16, replica changes, is not yet.
RULES = ("02", "04", "05", "06", "08", "10", "11", "12", "13", "14", "17", "19", "21", "24")


HARMLESS = Mutant("harmless", "Rule 0: a comment.", "log", "", "")


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_a_patch_applies_and_says_its_rule(mutant: Mutant) -> None:
    """A rule that has no number is told by its area."""
    patch = PATCHES / f"{mutant.name}.patch"
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=ROOT, check=True)
    says = mutant.rule.split(":")[0]
    if mutant.name[:2].isdigit():
        assert says.startswith("Rule")
        assert str(int(mutant.name[:2])) in says
    else:
        assert says == mutant.area.capitalize() == mutant.name.split("-")[0].capitalize()


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_the_tests_that_a_patch_names_are_there(mutant: Mutant) -> None:
    for named in filter(None, (mutant.test, mutant.also)):
        path, _, test = named.partition("::")
        assert not test or f"def {test.split('[')[0]}(" in (ROOT / path).read_text(), named


def test_every_starred_rule_has_one() -> None:
    found = {mutant.name[:2] for mutant in mutants.mutants()}
    assert set(RULES) <= found


def test_no_two_change_the_same_line() -> None:
    assert mutants.same_lines(mutants.mutants()) == []


def test_two_that_change_the_same_line_are_told_though_lines_have_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when the numbers in the patches are believed: one of them is of another time."""
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    moved = dataclasses.replace(HARMLESS, name="harmless-moved")
    assert list(mutants.changed_lines(HARMLESS)) == [("node/homing_node/log/limits.py", 1)]
    (complaint,) = mutants.same_lines([HARMLESS, moved])
    assert complaint == "harmless-moved and harmless both change node/homing_node/log/limits.py:1"
    assert mutants.same_lines([HARMLESS, HARMLESS]) == [], "a patch may change a line and what follows it"


def test_every_area_is_held_by_five_at_least() -> None:
    found = mutants.mutants()
    assert mutants.thin_areas(found) == []
    four = [mutant for mutant in found if mutant.area == "store"][:4]
    rest = [mutant for mutant in found if mutant.area != "store"]
    assert mutants.thin_areas(rest + four) == ["store has 4 mutants"]
    assert mutants.thin_areas([*found, dataclasses.replace(HARMLESS, area="")]) == ["harmless is of no area"]


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    with mutants.copied_packages() as folder:
        yield folder


def test_a_patch_that_changes_nothing_of_meaning_is_not_caught(monkeypatch: pytest.MonkeyPatch, original: Path) -> None:
    """Else `make mutants` would be green whatever the simulator sees."""
    monkeypatch.setattr(mutants, "SEEDS_MAX", {"": 5})
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    outcome = mutants.judge(HARMLESS, original)
    assert (outcome.caught, outcome.seeds) == (False, 5)
    named = dataclasses.replace(HARMLESS, test="tests/unit/test_log_mutants.py::test_every_starred_rule_has_one")
    assert not mutants.judge(named, original).caught


def test_a_patch_that_does_not_apply_is_not_caught(monkeypatch: pytest.MonkeyPatch, original: Path) -> None:
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    outcome = mutants.judge(dataclasses.replace(HARMLESS, name="out-of-date"), original)
    assert not outcome.caught
    assert "does not apply" in outcome.said


@pytest.mark.parametrize("tests", [["tests/unit/no_such_test.py"], ["-p", "no_such_plugin"]])
def test_a_test_that_cannot_run_catches_nothing(tests: list[str], original: Path) -> None:
    """Seen to fail when only the exit code counted: it is 1 also when pytest itself does not come up."""
    passed, said = mutants.pytest(original, tests)
    assert passed
    assert "the test broke" in said


def test_a_patch_changes_its_own_copy_only(original: Path) -> None:
    name = "node/homing_node/log/limits.py"
    with mutants.linked_packages(original) as one, mutants.linked_packages(original) as other:
        patch = ROOT / "tests" / "support" / "mutants" / "harmless.patch"
        subprocess.run(["git", "apply", "-p1", str(patch)], cwd=one, check=True)
        assert "; the unit" in (one / name).read_text()
        assert (other / name).read_text() == (original / name).read_text() == (ROOT / name).read_text()


PROGRAM = """
import os, sys, time
import homing_node.log.limits as limits
print(sys.argv, "pytest" in sys.modules, os.getcwd(), limits.__file__, os.environ["PYTHONPATH"], flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""


def test_a_warm_program_is_as_one_that_began_by_itself_over_the_packages_that_it_is_given(
    original: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    code, said = mutants.run([str(program), "0"], original)
    limits = original / "node/homing_node/log/limits.py"
    paths = os.pathsep.join(str((original / package).parent) for package in mutants.PACKAGES)
    assert (code, said) == (3, f"{[str(program), '0']} True {ROOT} {limits} {paths}\n")


def test_a_program_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch, original: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(mutants, "TIMEOUT_S", 0.5)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert mutants.run([str(program), "600"], original) == (-1, "timed out")


def test_a_warm_process_that_knows_homing_already_judges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has imported ['homing'" in warm.not_warm()
    for name in [name for name in sys.modules if name.split(".")[0] in warm.OURS]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "hypothesis")
    assert "not ['hypothesis'" in warm.not_warm()
