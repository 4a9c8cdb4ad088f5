"""The mutants are patches to the code as it is now, one rule each; and what judges them can say no."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest
from tests.simulation import mutants
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


def test_a_patch_that_changes_nothing_of_meaning_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `make mutants` would be green whatever the simulator sees."""
    monkeypatch.setattr(mutants, "SEEDS_MAX", {"": 5})
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    outcome = mutants.judge(HARMLESS)
    assert (outcome.caught, outcome.seeds) == (False, 5)


def test_a_patch_that_does_not_apply_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    outcome = mutants.judge(dataclasses.replace(HARMLESS, name="out-of-date"))
    assert not outcome.caught
    assert "does not apply" in outcome.said
