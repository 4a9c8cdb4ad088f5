"""`make mutants`: each rule of the log, placement, the store, gates, backups and egress, broken once, must be noticed.

    mutants.py [--only NAME…] [--area AREA…] [--jobs 2]

Each file in `mutants/` is a patch to the packages, one rule or half of a rule; its first lines say which, and of which
`Area:` it is. The packages are copied, the patch is applied to the copy, and the simulator runs over the copy until
something is violated: that of the log, or that of whole nodes for a patch that says `World: node`. A patch that names a
`Test:` is noticed by that test instead, one that names `Also:` by both. The same seeds, and the same tests, must be green
over the packages as they are. No two patches change the same line, and no area has fewer than five.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from tests.simulation import warm

PATCHES = Path(__file__).parent / "mutants"
PACKAGES = ("sdk/homing", "node/homing_node", "placement/homing_placement", "gateway/homing_gateway")
AREAS = ("log", "placement", "store", "gates", "backup", "egress")
AREA_MUTANTS_MIN = 5
WORLDS = {"": "tests/simulation/run.py", "node": "tests/simulation/node/run.py"}
SEEDS_MAX = {"": 1_500, "node": 120}  # a mutant that survives them is not caught
TIMEOUT_S = 400
# What a broken patch raises, rather than a broken rule.
BROKEN = re.compile(r"seed \d+: (Name|Attribute|Type|UnboundLocal|Import|Syntax|Indentation)Error")


@dataclass(slots=True, frozen=True)
class Mutant:
    """One patch.

    Attributes:
        name: its file, without the suffix.
        rule: what it breaks, from its first line.
        area: one of `AREAS`.
        test: what notices it instead of the simulator, or empty.
        also: what notices it besides the simulator, or empty.
        world: which of `WORLDS` is the simulator.
    """

    name: str
    rule: str
    area: str
    test: str
    also: str
    world: str = ""


@dataclass(slots=True, frozen=True)
class Outcome:
    """What became of a mutant."""

    mutant: Mutant
    caught: bool
    seeds: int
    said: str
    seconds: float


def mutants() -> list[Mutant]:
    """All patches, in order of their names."""
    found: list[Mutant] = []
    for path in sorted(PATCHES.glob("*.patch")):
        head = path.read_text().split("\n--- ", 1)[0].splitlines()
        found.append(
            Mutant(path.stem, head[0], *(_named(word, head) for word in ("Area:", "Test:", "Also:", "World:")))
        )
    return found


def _named(word: str, head: list[str]) -> str:
    return next((line.removeprefix(word).strip() for line in head if line.startswith(word)), "")


@contextmanager
def copied_packages(of: Path = ROOT, copy: Callable[[str, str], object] = shutil.copy2) -> Generator[Path]:
    """A folder with the packages as they are, and what is compiled of them beside each file."""
    with tempfile.TemporaryDirectory(prefix="homing-mutant-") as folder:
        for package in PACKAGES:
            shutil.copytree(of / package, Path(folder) / package, copy_function=copy)
        yield Path(folder)


def linked_packages(original: Path) -> AbstractContextManager[Path]:
    """A copy that shares its files. Who changes one puts another in its place, as git does, and leaves the original."""
    return copied_packages(original, os.link)


def run(command: list[str], packages: Path) -> tuple[int, str]:
    """Run a program over some packages rather than the installed ones; its exit code and what it said."""
    return warm.run(command, [(packages / package).parent for package in PACKAGES], TIMEOUT_S)


def simulate(packages: Path, seeds: int, first: int = 0, world: str = "") -> tuple[int, int, str]:
    """Run seeds until something is violated.

    Returns:
        The number of violations, -1 if the simulator broke; of runs; and what was said of the first violation.
    """
    arguments = [WORLDS[world], "--seeds", str(seeds), "--from", str(first), "--jobs", "1", "--stop"]
    _, output = run(arguments, packages)
    last = re.search(r"^(\d+) violations in (\d+) seeds$", output.strip().rsplit("\n", 1)[-1])
    if last is None or BROKEN.search(output):
        return -1, 0, output[-600:]
    said = re.search(r"^seed \d+: .*$", output, re.MULTILINE)
    return int(last[1]), int(last[2]), said[0] if said is not None else ""


def pytest(packages: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Whether some tests pass, and how the first failed. Hypothesis looks at the same examples every time."""
    arguments = ["-m", "pytest", "--import-mode=importlib", "-q", "-x", "-p", "no:cacheprovider", "-rfE"]
    arguments += ["--hypothesis-seed=0", "--hypothesis-profile=mutants"]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what is warm asserts as it is written
    code, output = run([*arguments, *tests], packages)
    said = next((line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))), "")
    broke = re.search(r"^E +(Name|Attribute|Type|Import|Syntax)Error", output, re.MULTILINE)
    if code not in (0, 1) or broke or (code and not said):
        return True, f"the test broke: {output[-600:]}"  # as if it had passed: that catches nothing
    return code == 0, said


def judge(mutant: Mutant, original: Path) -> Outcome:
    """Apply a patch to a copy of the packages and see whether that is noticed."""
    began = time.monotonic()
    with linked_packages(original) as packages:
        patch = PATCHES / f"{mutant.name}.patch"
        applied = subprocess.run(
            ["git", "apply", "-p1", str(patch)],
            cwd=packages, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if applied.returncode != 0:
            return Outcome(mutant, False, 0, f"the patch does not apply: {applied.stdout.strip()}", 0.0)
        if mutant.test:
            passed, said = pytest(packages, [mutant.test])
            caught, seeds = not passed, 0
        else:
            violations, seeds, said = simulate(packages, SEEDS_MAX[mutant.world], world=mutant.world)
            caught = violations > 0
        if caught and mutant.also:
            passed, besides = pytest(packages, [mutant.also])
            caught, said = not passed, f"{said}; {besides}"
    return Outcome(mutant, caught, seeds, said, time.monotonic() - began)


def changed_lines(mutant: Mutant) -> Iterator[tuple[str, float]]:
    """Where a patch changes what: path and line, as the file is now. What comes after line n is at n + 0.5."""
    path, hunks = "", list[tuple[str, int, list[str]]]()
    for line in (PATCHES / f"{mutant.name}.patch").read_text().splitlines():
        if line.startswith("--- a/"):
            path = line.removeprefix("--- a/")
        elif begins := re.match(r"@@ -(\d+)", line):
            hunks.append((path, int(begins[1]), []))
        elif hunks and line[:1] in (" ", "-", "+") and not line.startswith("+++ "):
            hunks[-1][2].append(line)
    for name, said, lines in hunks:
        at = _found([line[1:] for line in lines if line[0] != "+"], (ROOT / name).read_text().splitlines(), said)
        before = " "
        for line in lines:
            if line[0] == "-" or (line[0] == "+" and before == " "):
                yield name, at if line[0] == "-" else at - 0.5
            at += line[0] != "+"
            before = line[0]


def _found(block: list[str], lines: list[str], said: int) -> int:
    """The number of the line where a block begins: the place nearest to the one said, for lines move."""
    places = [at + 1 for at in range(len(lines) - len(block) + 1) if lines[at : at + len(block)] == block]
    return min(places, key=lambda at: abs(at - said), default=said)


def same_lines(found: list[Mutant]) -> list[str]:
    """Pairs of patches that change the same line: each rule must be broken by itself."""
    owners: dict[tuple[str, float], str] = {}
    complaints: list[str] = []
    for mutant in found:
        for path, at in changed_lines(mutant):
            other = owners.setdefault((path, at), mutant.name)
            if other != mutant.name:
                complaints.append(f"{mutant.name} and {other} both change {path}:{at:g}")
    return complaints


def thin_areas(found: list[Mutant]) -> list[str]:
    """Areas that are not held by enough mutants, and mutants of no area."""
    count = Counter(mutant.area for mutant in found)
    complaints = [f"{mutant.name} is of no area" for mutant in found if mutant.area not in AREAS]
    complaints += [f"{area} has {count[area]} mutants" for area in AREAS if count[area] < AREA_MUTANTS_MIN]
    return complaints


def control(packages: Path, seeds: dict[str, int], tests: list[str], jobs: int) -> list[str]:
    """The same seeds of each world, and the same tests, over the packages as they are; returns what was wrong."""
    with ThreadPoolExecutor(jobs) as pool:
        parts = [
            pool.submit(simulate, packages, min(share, count - i), i, world)
            for world, count in seeds.items()
            if (share := -(-count // jobs))
            for i in range(0, count, share)
        ]
        runs = [pool.submit(pytest, packages, tests[i::jobs]) for i in range(min(jobs, len(tests)))]
        wrong = [f"unmutated: {said}" for violations, _, said in (p.result() for p in parts) if violations != 0]
        wrong += [f"unmutated: {said}" for green, said in (r.result() for r in runs) if not green or said]
    return wrong


def report(outcome: Outcome) -> None:
    """Three lines: whether, which and how."""
    mutant = outcome.mutant
    how = mutant.test or f"seeds: {outcome.seeds}"
    print(f"{'caught' if outcome.caught else 'NOT CAUGHT':10} {mutant.name:32} {outcome.seconds:5.1f} s  {how}")
    print(f"{'':10} {mutant.rule}\n{'':10} -> {outcome.said[:200]}", flush=True)


def main() -> int:
    """Judge every mutant, then the packages as they are."""
    parser = argparse.ArgumentParser(description="Break each rule once; each must be noticed.")
    parser.add_argument("--only", nargs="*", default=[], help="names of mutants")
    parser.add_argument("--area", nargs="*", default=AREAS, help=f"some of {', '.join(AREAS)}")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="at once")
    options = parser.parse_args()
    with copied_packages() as original:
        # What all runs import is compiled once: most of the time of a short one would go there.
        subprocess.run([sys.executable, "-m", "compileall", "-q", *PACKAGES], cwd=original, check=True)
        return judge_all(options, original)


def judge_all(options: argparse.Namespace, original: Path) -> int:
    """Judge the mutants that were asked for and the packages as they are; returns the exit code."""
    every = mutants()
    found = [m for m in every if (not options.only or m.name in options.only) and m.area in options.area]
    wrong = same_lines(every) + thin_areas(every)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes: list[Outcome] = []
        for outcome in pool.map(partial(judge, original=original), found):
            outcomes.append(outcome)
            report(outcome)
    seeds = {w: max((o.seeds for o in outcomes if o.mutant.world == w), default=0) for w in WORLDS}
    tests = sorted({test for mutant in found for test in (mutant.test, mutant.also) if test})
    red = control(original, seeds, tests, options.jobs)
    many = " and ".join(map(str, seeds.values()))
    print(f"the same {many} seeds and {len(tests)} tests unmutated: {'green' if not red else 'RED'}")
    wrong += red
    for complaint in [*wrong, *(f"not caught: {o.mutant.name}: {o.said}" for o in outcomes if not o.caught)]:
        print(complaint)
    of_area = Counter(outcome.mutant.area for outcome in outcomes if outcome.caught)
    print(", ".join(f"{area} {of_area[area]}" for area in AREAS))
    print(f"{of_area.total()} of {len(found)} mutants caught", flush=True)
    return 0 if of_area.total() == len(found) and found and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
