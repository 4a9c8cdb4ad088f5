"""The mutants are patches to the code as it is now, one rule each; and what judges them can say no."""

from __future__ import annotations

import subprocess

import pytest
from tests.simulation import mutants
from tests.simulation.mutants import PATCHES, ROOT, Mutant

# The starred rules of docs/log.md that are built; 16, replica changes, is not yet.
RULES = ("02", "04", "05", "06", "08", "10", "11", "12", "13", "14", "17", "19", "21", "24")


@pytest.mark.parametrize("mutant", mutants.mutants(), ids=lambda mutant: mutant.name)
def test_a_patch_applies_and_says_its_rule(mutant: Mutant) -> None:
    patch = PATCHES / f"{mutant.name}.patch"
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=ROOT, check=True)
    assert mutant.rule.startswith("Rule")
    assert str(int(mutant.name[:2])) in mutant.rule.split(":")[0]


def test_every_starred_rule_has_one() -> None:
    found = {mutant.name[:2] for mutant in mutants.mutants()}
    assert set(RULES) <= found


def test_no_two_change_the_same_line() -> None:
    assert mutants.same_lines(mutants.mutants()) == []


def test_a_patch_that_changes_nothing_of_meaning_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `make mutants` would be green whatever the simulator sees."""
    monkeypatch.setattr(mutants, "SEEDS_MAX", 5)
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    outcome = mutants.judge(Mutant("harmless", "Rule 0: a comment.", "", ""))
    assert (outcome.caught, outcome.seeds) == (False, 5)


def test_a_patch_that_does_not_apply_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "PATCHES", ROOT / "tests" / "support" / "mutants")
    outcome = mutants.judge(Mutant("out-of-date", "Rule 0: lines that are not there.", "", ""))
    assert not outcome.caught
    assert "does not apply" in outcome.said
