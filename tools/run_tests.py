"""`make test`: every check and every kind of test, each as a command of its own, then a summary that can fail.

All of them run in three lanes at one time: one computes, the others mostly wait.

    run_tests.py            everything
    run_tests.py KIND…      some: check, tidy, unit, property, fuzz, scenario, conformance, integration, e2e, sandboxes,
                            simulation, mutants, chaos

A skip that is not in tests/skips_reviewed.txt is a failure, and so is a kind that has vanished.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REPORTS = ROOT / "reports"
SKIPS = ROOT / "tests" / "skips_reviewed.txt"

SIMULATION_SEEDS = 2_000
NODE_SEEDS = 30  # of whole nodes: fewer than `make sim` takes, for the sake of the time
CHAOS_SECONDS = 60
STEP_TIMEOUT_S = 1_200
WRONG = re.compile(r"seed \d+: |not caught: |unmutated: |failed  ")  # what a program that judges itself says was wrong
WRONG_LINES_MAX = 5
NO_TESTS_COLLECTED = 5

PYTEST_KINDS = ("tidy", "unit", "property", "fuzz", "scenario", "conformance", "integration", "e2e", "sandboxes")
# Run at one time, for the others mostly wait: for leases, timeouts, etcd, and what they have killed.
LANES = (
    ("check", "tidy", "unit", "property", "fuzz", "scenario", "conformance", "simulation", "mutants"),
    ("e2e", "integration"),
    ("chaos", "sandboxes"),
)
GIVE_WAY = ("simulation", "mutants")  # nothing in them looks at a clock: beside another lane they take what it leaves
CHECKS: dict[str, Sequence[str]] = {
    "ruff check": (f"{BIN}/ruff", "check", "."),
    "ruff format": (f"{BIN}/ruff", "format", "--check", "--quiet", "."),
    "pyright": (f"{BIN}/pyright",),
    "import rules": (f"{BIN}/lint-imports", "--no-cache"),
    "protobuf": ("tools/generate_protobuf.sh", "--check"),
    "API reference": (f"{BIN}/python", "tools/api_reference.py", "--check"),
}
PROGRAMS: dict[str, Sequence[str]] = {
    "simulation": ("tests/simulation/run.py", "--seeds", str(SIMULATION_SEEDS), "--nodes", str(NODE_SEEDS)),
    "mutants": ("tests/simulation/mutants.py",),
    "chaos": ("tests/chaos/run.py", "--seconds", str(CHAOS_SECONDS), "--network", "no"),
}
EVERY = ("check", *PYTEST_KINDS, *PROGRAMS)
NICE_LAST = 19


@dataclass
class Tally:
    """What one kind came to."""

    kind: str
    passed: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    note: str = ""
    output: TextIO | None = None  # where that of its commands goes; None: to ours
    gives_way: bool = False


def give_way(leader: int) -> None:
    """Let a new session run when nobody else wants to, whatever it starts."""
    os.setpriority(os.PRIO_PGRP, leader, NICE_LAST)
    autogroup = Path(f"/proc/{leader}/autogroup")
    if autogroup.exists():  # between sessions of such a kernel `nice` says nothing
        autogroup.write_text(str(NICE_LAST))


def run(command: Sequence[str | Path], output: TextIO | None = None) -> int:
    """Run a command with its output on ours, or in a file; a command that hangs counts as one that failed."""
    words = [str(part) for part in command]
    try:
        return subprocess.run(
            words, cwd=ROOT, timeout=STEP_TIMEOUT_S, check=False, stdout=output, stderr=output
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"not done after {STEP_TIMEOUT_S} s: killed", flush=True, file=output)
        return -1


def run_checks(tally: Tally) -> None:
    for name, command in CHECKS.items():
        print(f"-- {name}", flush=True, file=tally.output)
        if run(command, tally.output) == 0:
            tally.passed += 1
        else:
            tally.failed.append(f"check: {name}")


def run_pytest(tally: Tally) -> None:
    """One kind under pytest; what happened is read from its report, not from its words."""
    kind = tally.kind
    report = REPORTS / f"{kind}.xml"
    report.unlink(missing_ok=True)
    where = sorted((ROOT / "tests").glob("test_*.py")) if kind == "tidy" else [ROOT / "tests" / kind]
    command = (BIN / "python", "-m", "pytest", "--import-mode=importlib", "-o", "junit_family=xunit1")
    code = run((*command, f"--junit-xml={report}", "--durations=3", "--durations-min=1", *where), tally.output)
    if code == NO_TESTS_COLLECTED or not report.exists():
        tally.failed.append(
            f"{kind}: no tests were found" if code == NO_TESTS_COLLECTED else f"{kind}: pytest broke off"
        )
        return
    read_report(tally, report, reviewed_skips(SKIPS.read_text()))
    if code != 0 and not tally.failed:
        tally.failed.append(f"{kind}: pytest ended with {code}")


def read_report(tally: Tally, report: Path, reviewed: Sequence[str]) -> None:
    """Count what pytest reported; a skip counts as a failure unless one of the reviewed patterns names it."""
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('file')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed.append(name)
        elif (skip := case.find("skipped")) is None:
            tally.passed += 1
        elif any(fnmatchcase(name, pattern) for pattern in reviewed):
            tally.skipped.append(name)
        else:
            tally.failed.append(f"{name}: a skip that nobody reviewed ({skip.get('message')})")


def reviewed_skips(text: str) -> list[str]:
    """The patterns of the reviewed list, each with its reason; brackets of parameters are taken as they are."""
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#"))
    return [words[0].replace("[", "[[]") for words in lines if len(words) == 2]


def run_program(tally: Tally) -> None:
    """The simulator, the mutants, chaos: programs that judge themselves."""
    program, *arguments = PROGRAMS[tally.kind]
    if not (ROOT / program).exists():
        tally.failed.append(f"{program} is absent")
        return
    code, last, wrong = run_and_keep_lines((BIN / "python", program, *arguments), tally)
    tally.note = last
    counted = re.match(r"(\d+) of (\d+) mutants caught$", last)
    tally.passed += int(counted[1]) if counted else int(code == 0)
    if code != 0:
        tally.failed.append("; ".join((f"{program} ended with {code}", *wrong)))


def run_and_keep_lines(command: Sequence[str | Path], tally: Tally) -> tuple[int, str, list[str]]:
    """Run a program; its exit code, its last line, and the first lines that say what was wrong."""
    last, wrong = "", list[str]()
    with subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=tally.gives_way
    ) as process:
        assert process.stdout is not None
        if tally.gives_way:
            give_way(process.pid)
        watchdog = threading.Timer(STEP_TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            for line in process.stdout:
                print(line, end="", flush=True, file=tally.output)
                last = line.strip() or last
                if WRONG.match(line) and len(wrong) < WRONG_LINES_MAX:
                    wrong.append(line.strip()[:300])
        except KeyboardInterrupt:
            process.terminate()  # a session of its own hears nothing of Ctrl-C
            raise
        finally:
            watchdog.cancel()
        return process.wait(), last, wrong


def run_kind(kind: str, output: TextIO | None = None) -> Tally:
    """One kind, with its output on ours; or in a file, if another lane runs beside it."""
    print(f"\n== {kind}", flush=True, file=output)
    tally = Tally(kind, output=output, gives_way=output is not None and kind in GIVE_WAY)
    step: Callable[[Tally], None] = run_checks if kind == "check" else run_program if kind in PROGRAMS else run_pytest
    began = time.monotonic()
    if kind in PROGRAMS and any((ROOT / "tests" / kind).rglob("test_*.py")):
        run_pytest(tally)
    step(tally)
    tally.seconds = time.monotonic() - began
    return tally


def run_lane(kinds: Sequence[str], tallies: dict[str, Tally], printing: threading.Lock) -> None:
    """One kind after the other; what a kind says is shown when it is done."""
    for kind in kinds:
        print(f"   {kind} begins", flush=True)
        log = REPORTS / f"{kind}.txt"
        with log.open("w") as output:
            tallies[kind] = run_kind(kind, output)
        with printing:
            print(log.read_text(errors="replace"), flush=True)


def run_all() -> list[Tally]:
    """Every kind, in lanes that run at one time."""
    tallies = {kind: Tally(kind, failed=[f"{kind}: it broke off"]) for kind in EVERY}
    printing = threading.Lock()
    ours, *others = (partial(run_lane, lane, tallies, printing) for lane in LANES)
    beside = [threading.Thread(target=lane, daemon=True) for lane in others]
    for thread in beside:
        thread.start()
    ours()
    for thread in beside:
        thread.join()
    return list(tallies.values())


def summary(tallies: Sequence[Tally], seconds: float | None = None) -> str:
    """The table, the failures, and the line that other programs read, last; `seconds`: that all took."""
    lines = ["", f"{'kind':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}"]
    for tally in tallies:
        counts = f"{tally.passed:>7} {len(tally.failed):>7} {len(tally.skipped):>8} {tally.seconds:>8.1f}"
        lines.append(f"{tally.kind:<12} {counts}  {tally.note}".rstrip())
    took_s = sum(tally.seconds for tally in tallies) if seconds is None else seconds
    lines += [f"{'all':<12} {'':>24} {took_s:>8.1f}", ""]
    lines += [f"FAILED {name}" for tally in tallies for name in tally.failed]
    lines += [f"skipped (reviewed) {name}" for tally in tallies for name in tally.skipped]
    passed, failed, skipped = (
        sum(tally.passed for tally in tallies),
        sum(len(tally.failed) for tally in tallies),
        sum(len(tally.skipped) for tally in tallies),
    )
    return "\n".join([*lines, f"{passed} passed, {failed} failed, {skipped} skipped"])


def main(arguments: Sequence[str]) -> int:
    unknown = set(arguments) - set(EVERY)
    if unknown:
        sys.exit(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}")
    REPORTS.mkdir(exist_ok=True)
    began = time.monotonic()
    tallies = [run_kind(kind) for kind in arguments] if arguments else run_all()
    text = summary(tallies, time.monotonic() - began)
    (REPORTS / "summary.txt").write_text(text + "\n")
    print(text, flush=True)
    return int(any(tally.failed for tally in tallies))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
