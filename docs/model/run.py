"""`make model`: spin checks the model of the log, then shows that each starred rule is needed.

    run.py                 every run below
    run.py --quick         the two smallest complete ones, what must be reachable, and every mutant
    run.py --only NAME…    some, by name
    run.py --show          and tell each history that was found, step by step

A run is the model with some switches, translated by spin and compiled by gcc in a folder that is thrown away. It ends
with 1 when a complete run breaks a claim or is not complete, when nothing happens that must be possible, or when
a mutant survives.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MEMORY_MIB_MAX = 5_800
DEPTH_MAX = 1_000_000  # steps; a search that goes deeper is not complete
FOUND_DEPTH_MAX = 170  # where one violation is enough, a short history is found sooner and reads better
RUN_S_MAX = 3_600
BITSTATE_MIN_MAX = 2  # a bitstate search stops there, done or not
COMPLETE, BITSTATE, REACH, MUTANT = "complete", "bitstate", "reach", "mutant"
# How each kind is compiled, and searched. Those that stop at the first violation try the last option first, which leads
# on, and are compiled in a hurry. A bitstate search has 2^31 bits and three of them for a state.
COMPILED = {
    COMPLETE: ("-O2",),
    BITSTATE: ("-O2", "-DBITSTATE"),
    REACH: ("-O0", "-DT_REVERSE"),
    MUTANT: ("-O0", "-DT_REVERSE"),
}
SEARCHED = {
    COMPLETE: (f"-m{DEPTH_MAX}", "-w25"),
    BITSTATE: (f"-m{DEPTH_MAX}", "-w31", "-k3", f"-Q{BITSTATE_MIN_MAX}"),
    REACH: (f"-m{FOUND_DEPTH_MAX}", "-w22"),
    MUTANT: (f"-m{FOUND_DEPTH_MAX}", "-w22"),
}


@dataclass(slots=True, frozen=True)
class Run:
    """One search.

    Attributes:
        name: says what it is; for a mutant, the rule and what is broken.
        kind: COMPLETE (every state, or it fails), BITSTATE (as many as fit), REACH (must be possible) or MUTANT.
        claims: takeovers, at most.
        entries: client entries, at most.
        change: changes of the replica set, at most.
        switches: of the preprocessor.
        quick: whether `--quick` runs it.
    """

    name: str
    kind: str
    claims: int
    entries: int
    change: int = 0
    switches: tuple[str, ...] = ()
    quick: bool = True

    def defines(self) -> list[str]:
        """What spin's preprocessor is told."""
        sizes = (f"CLAIMS={self.claims}", f"ENTRIES={self.entries}", f"CHANGE={self.change}")
        return [f"-D{switch}" for switch in (*sizes, *self.switches)]


def _sized(kind: str, claims: int, entries: int, change: int, *, quick: bool = False) -> Run:
    name = f"{claims} claims, {entries} {'entry' if entries == 1 else 'entries'}" + (", 1 change" if change else "")
    return Run(name, kind, claims, entries, change, quick=quick)


_LOSSES = ("NO_CLAIM_5",)


def _mutant(
    rule: str, what: str, claims: int = 3, entries: int = 2, change: int = 0, unchecked: tuple[str, ...] = _LOSSES
) -> Run:
    """A broken rule. Claim 5 stays unchecked: that must lose or split something, not only stop a slot."""
    return Run(f"{rule}: {what}", MUTANT, claims, entries, change, (f"NO_RULE_{rule}", *unchecked))


RUNS = (
    _sized(COMPLETE, 2, 2, 0, quick=True),
    _sized(COMPLETE, 2, 2, 1, quick=True),
    _sized(COMPLETE, 3, 2, 0),
    _sized(COMPLETE, 3, 1, 1),
    _sized(BITSTATE, 4, 1, 0),
    _sized(BITSTATE, 4, 3, 1),
    Run("an acknowledged entry is taken over", REACH, 2, 2, 0, ("REACH_TAKEOVER",)),
    Run("two believe they own the slot, one is fenced", REACH, 2, 2, 0, ("REACH_FENCED",)),
    Run("a replica cuts records", REACH, 2, 2, 0, ("REACH_CUT",)),
    Run("a changed set is ACTIVE", REACH, 2, 2, 1, ("REACH_CHANGE",)),
    Run("a copy is deleted", REACH, 2, 2, 1, ("REACH_DELETE",)),
    _mutant("2", "a process that starts goes on in the epoch of the one before it"),
    _mutant("2", "the same, and only a loss counts", unchecked=("NO_CLAIM_4", "NO_CLAIM_5")),
    _mutant("4_EPOCH", "appends below the promise are taken"),
    _mutant("4_PREVIOUS", "the record before is not compared"),
    _mutant("4_PROMISE", "an append does not raise the promise"),
    _mutant("5_CUT", "a different record stays"),
    _mutant("5_SHRINK", "a late append cuts what follows it"),
    _mutant("5_COMMIT", "the commit point passes what was proved", unchecked=()),
    _mutant("6", "the answer leaves before the fsync"),
    _mutant("8_MAJORITY", "one replica is enough"),
    _mutant("8_EPOCH", "an answer of an earlier epoch counts"),
    _mutant("8_FSYNC", "the own copy counts before its fsync"),
    _mutant("10_DURABLE", "a seal is answered before its fsync", 2, 1),
    _mutant("10_HIGHER", "a seal below the promise is taken", 2),
    _mutant("11_MAJORITY", "the own seal is enough"),
    _mutant("11_ACTIVE", "the next set is sealed, not the ACTIVE one", 2, 1, 1),
    _mutant("12", "the longest log is chosen"),
    _mutant("13_BARRIER", "records of older epochs commit without a barrier", 4, 0),
    _mutant("13_COPY", "ACTIVE before the log is copied", 3, 0, 1),
    _mutant("13_NEXT", "the copy goes to the old set", 3, 0, 1),
    _mutant("14_ACTIVE", "the owner serves before the slot is ACTIVE", 2, 2, 1),
    _mutant("14_NEXT", "the old set stays the one that counts", 2, 2, 1),
    _mutant("16_ACTIVE", "the next set is the authority at once", 3, 0, 1),
    _mutant("16_READ", "a claim is reason enough to delete", 2, 1, 1),
    _mutant("16_EPOCH", "an old record is reason enough to delete", 3, 0, 2),
    _mutant("16_PROMISE", "a deleted copy forgets its promise", 2, 1, 1),
)


@dataclass(slots=True, frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        good: whether that is what it should come to.
        verdict: in words.
        states: stored.
        depth: of the search, in steps.
        memory_mib: all that the search used.
        seconds: with translation and compilation.
        told: the history that was found, a line for each step.
    """

    good: bool
    verdict: str
    states: int = 0
    depth: int = 0
    memory_mib: float = 0.0
    seconds: float = 0.0
    told: tuple[str, ...] = ()


def command(arguments: Sequence[str], folder: Path) -> str:
    """Run a program in a folder; what it said."""
    pipe, to_pipe = subprocess.PIPE, subprocess.STDOUT
    return subprocess.run(
        arguments, cwd=folder, check=False, text=True, timeout=RUN_S_MAX, stdout=pipe, stderr=to_pipe
    ).stdout


def search(run: Run, folder: Path) -> Outcome:
    """Translate, compile and search, in a folder that holds a copy of the model."""
    began = time.monotonic()
    said = command(["spin", *run.defines(), "-a", "log.pml"], folder)
    flags = ["-w", "-DSAFETY", "-DNOFAIR", f"-DMEMLIM={MEMORY_MIB_MAX}", *COMPILED[run.kind]]
    said += command(["gcc", *flags, "-o", "pan", "pan.c"], folder)
    if not (folder / "pan").exists():
        return Outcome(False, f"does not compile: {said.strip()[-300:]}")
    said = command(["./pan", *SEARCHED[run.kind]], folder)
    told = tell(run, folder) if "errors: 1" in said else ()
    good, verdict = judge(run.kind, said, told[-1] if told else "")
    return Outcome(
        good, verdict, int(_number(r"([\d.e+]+) states, stored", said)), int(_number(r"depth reached (\d+)", said)),
        _number(r"([\d.]+)\s+total actual memory", said), time.monotonic() - began, told,
    )  # fmt: skip


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found is not None else 0.0


def tell(run: Run, folder: Path) -> tuple[str, ...]:
    """Replay the history that was found: the model's own lines, and last the claim that it breaks."""
    said = command(["spin", *run.defines(), "-t", "log.pml"], folder)
    steps = [line.strip() for line in said.splitlines() if re.match(r"\s+\w+: .*(epoch|node)", line)]
    where = re.search(r"(\w+\.pml):(\d+).*assertion violated", said)
    broken = (FOLDER / where[1]).read_text().splitlines()[int(where[2]) - 1] if where is not None else ""
    claim = re.search(r"claim \d", broken)
    return (*steps, f"breaks {claim[0]}" if claim is not None else broken.strip() or "ends in an error")


def judge(kind: str, said: str, end: str) -> tuple[bool, str]:
    """Whether a search came out as it should, and how.

    Args:
        kind: of the run.
        said: by the search.
        end: of the history that was found, if one was: `breaks claim 1`, or the line of the model that failed.
    """
    if "errors: 1" in said:
        if kind == REACH:
            return "REACH" in end, "happens" if "REACH" in end else f"FAILED: {end}"
        return kind == MUTANT and end.startswith("breaks"), f"{'caught' if kind == MUTANT else 'VIOLATED'}: {end}"
    if "errors: 0" not in said:
        return False, f"BROKE OFF: {said.strip()[-200:]}"
    out_of_time = "Time limit" in said and kind == BITSTATE
    if not out_of_time and re.search("depth too small|not completed|out of memory|MEMLIM", said):
        return False, "NOT COMPLETE"
    if kind == BITSTATE:
        factor = _number(r"hash factor: ([\d.]+)", said)
        how = f"stopped after {BITSTATE_MIN_MAX} min" if out_of_time else f"to the end, {coverage(factor)}"
        return True, f"no violation; {how}; hash factor {factor:.0f}"
    return kind == COMPLETE, {COMPLETE: "no violation, complete", REACH: "NEVER HAPPENS", MUTANT: "SURVIVED"}[kind]


def coverage(factor: float) -> str:
    """What share of the states a bitstate search of three hash functions looks at, by its hash factor (bits a state).

    A state is missed when all its three bits were set by others: at the end of the search with the probability
    (1 - e^(-3/factor))^3. What follows a state that was missed may be missed, too.
    """
    return f"coverage about {100 * (1 - (1 - math.exp(-3 / factor)) ** 3):.4f} %" if factor else "coverage unknown"


def report(run: Run, outcome: Outcome, *, show: bool) -> None:
    """A line of the table, and the history if it is asked for."""
    print(
        f"{run.kind:9} {run.name:70.70} {outcome.states:>11,} {outcome.depth:>7,} {outcome.memory_mib:>6,.0f} MiB"
        f" {outcome.seconds:>6.1f} s  {'' if outcome.good else '!! '}{outcome.verdict}",
        flush=True,
    )
    for line in outcome.told if show else ():
        print(f"{'':12}{line}")


def carry_out(run: Run) -> Outcome:
    """One search in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="homing-model-") as name:
        for source in FOLDER.glob("*.pml"):
            shutil.copy(source, name)
        try:
            return search(run, Path(name))
        except subprocess.TimeoutExpired:
            return Outcome(False, f"NOT COMPLETE after {RUN_S_MAX} s")


def main() -> int:
    """Search every run and print the table."""
    parser = argparse.ArgumentParser(description="Check the model of the log, and break each of its rules once.")
    parser.add_argument("--quick", action="store_true", help="two complete runs, and every mutant")
    parser.add_argument("--only", nargs="*", default=[], help="the names of some runs, or how they begin")
    parser.add_argument("--show", action="store_true", help="tell the histories that were found")
    options = parser.parse_args()
    missing = [program for program in ("spin", "gcc") if shutil.which(program) is None]
    if missing:
        sys.exit(f"model: {' and '.join(missing)} missing; as root: apt-get install spin build-essential")
    runs = [run for run in RUNS if run.quick or not options.quick]
    runs = [run for run in runs if not options.only or run.name.startswith(tuple(options.only))]
    began = time.monotonic()
    print(f"{'':9} {'':70} {'states':>11} {'depth':>7} {'memory':>10} {'time':>8}")
    good = dict.fromkeys(COMPILED, 0)
    for run in runs:
        outcome = carry_out(run)
        good[run.kind] += outcome.good
        report(run, outcome, show=options.show)
    mutants = sum(run.kind == MUTANT for run in runs)
    fine = sum(good.values()) - good[MUTANT]
    print(f"{fine} of {len(runs) - mutants} other runs as they should be; {time.monotonic() - began:.0f} s")
    print(f"{good[MUTANT]} of {mutants} mutants caught", flush=True)
    return 0 if runs and sum(good.values()) == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
