"""The page of the log's model tells the truth about the model and the code, and what judges a search can say no."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from docs.model import run as model

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "model"
STARRED = {"2", "4", "5", "6", "8", "10", "11", "12", "13", "14", "16"}
MUTANTS = [run for run in model.RUNS if run.kind == model.MUTANT]
SOURCES = {path.name: path.read_text() for path in FOLDER.glob("*.pml")}


def _rows() -> dict[str, list[str]]:
    """The table of rules: number to the other three cells."""
    lines = re.findall(r"^\| (\d+)( \*)? \|(.*)\|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    return {number: [cell.strip() for cell in cells.split("|")] for number, _, cells in lines}


def _marks(paragraph: str) -> set[str]:
    """The rules that a paragraph of the model says it holds."""
    words = re.findall(r"rules? ((?:\d+(?:, | and )?)+)", paragraph)
    return {number for word in words for number in re.findall(r"\d+", word)} | set(
        re.findall(r"NO_RULE_(\d+)", paragraph)
    )


def _defines(path: str, name: str) -> bool:
    """Whether a Python file has a function, or a method of a class."""
    owner, _, method = name.rpartition(".")
    body = ast.parse((ROOT / path).read_text()).body
    if owner:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == method for node in body)


def test_the_table_has_every_rule_and_stars_those_that_have_mutants() -> None:
    assert list(_rows()) == [str(number) for number in range(1, 17)]
    starred = re.findall(r"^\| (\d+) \* \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert set(starred) == STARRED
    assert {run.name.split(":")[0].split("_")[0] for run in MUTANTS} == STARRED


@pytest.mark.parametrize("rule", [str(number) for number in range(1, 17)])
def test_a_rule_is_where_the_table_says(rule: str) -> None:
    in_model, mutants, in_code = _rows()[rule]
    places = re.findall(r"`(\w+\.pml)` rule (\d+): ((?:`\w+`(?:, )?)+)", in_model)
    assert places or rule in ("7", "9")
    for file, number, names in places:
        assert number == rule
        for name in re.findall(r"\w+", names):
            defined = re.compile(rf"^(?:inline |#define ){name}\(", re.MULTILINE)
            found = [paragraph for paragraph in SOURCES[file].split("\n\n") if defined.search(paragraph)]
            assert any(rule in _marks(paragraph) for paragraph in found), f"{file}: {name}"
    named = [run.name.split(":")[0] for run in MUTANTS if re.match(rf"{rule}[_:]", run.name)]
    assert mutants.split(", ") == (list(dict.fromkeys(named)) or [""])
    path = ""
    for word in re.findall(r"`([^`]+)`", in_code):
        if word.endswith(".py"):
            path = word
        else:
            assert _defines(path, word), f"{path}: {word}"


def test_every_switch_of_the_model_is_used_by_a_run_and_the_other_way_round() -> None:
    used = {switch for run in model.RUNS for switch in run.switches}
    text = "".join(SOURCES.values())
    known = set(re.findall(r"(?:#ifn?def |defined\()((?:NO_RULE|NO_CLAIM|REACH)_\w+)", text))
    assert used == known


@pytest.mark.parametrize(
    ("kind", "said", "end", "good"),
    [
        (model.COMPLETE, "errors: 0", "", True),
        (model.COMPLETE, "error: max search depth too small\nerrors: 0", "", False),
        (model.COMPLETE, "pan: out of memory\nerrors: 0", "", False),
        (model.COMPLETE, "Time limit of 2 minutes exceeded\nWarning: Search not completed\nerrors: 0", "", False),
        (model.COMPLETE, "errors: 1", "breaks claim 1", False),
        (model.BITSTATE, "errors: 0\nhash factor: 64.0 (best if > 100.)", "", True),
        (model.BITSTATE, "Time limit of 2 minutes exceeded\nWarning: Search not completed\nerrors: 0", "", True),
        (model.BITSTATE, "error: max search depth too small\nerrors: 0", "", False),
        (model.BITSTATE, "errors: 1", "breaks claim 1", False),
        (model.REACH, "errors: 1", "assert(false); /* REACH */", True),
        (model.REACH, "errors: 1", "breaks claim 1", False),
        (model.REACH, "errors: 0", "", False),
        (model.MUTANT, "errors: 1", "breaks claim 1", True),
        (model.MUTANT, "errors: 1", "ends in an error", False),
        (model.MUTANT, "errors: 0", "", False),
        (model.MUTANT, "killed", "", False),
    ],
)
def test_a_search_is_good_only_when_it_came_out_as_its_kind_must(kind: str, said: str, end: str, good: bool) -> None:
    assert model.judge(kind, said, end)[0] is good


def test_the_coverage_of_a_bitstate_search_falls_as_its_bits_fill_up() -> None:
    assert model.coverage(1000.0) == "coverage about 100.0000 %"
    assert model.coverage(10.0) == "coverage about 98.2589 %"
    assert model.coverage(0.0) == "coverage unknown"
