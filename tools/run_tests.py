"""`make test`: every check and every kind of test, each as a command of its own, then a summary that can fail.

All of them run in three lanes at one time: one computes, the others mostly wait. A command that takes too long is
interrupted, so that it still reports and cleans up, and what it was at is said.

    run_tests.py            everything
    run_tests.py KIND…      some: check, tidy, unit, property, fuzz, scenario, conformance, integration, e2e, examples,
                            sandboxes, simulation, mutants, chaos

A skip that is not in tests/skips_reviewed.txt is a failure, and so is a kind that has vanished.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO, cast
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.chaos.processes import descendants, end

BIN = Path(sys.executable).parent
REPORTS = ROOT / "reports"
SKIPS = ROOT / "tests" / "skips_reviewed.txt"

SIMULATION_SEEDS = 2_000
NODE_SEEDS = 30  # of whole nodes: fewer than `make sim` takes, for the sake of the time
CHAOS_SECONDS = 60
STEP_TIMEOUT_S = 1_800  # of a kind; a test that hangs ends by itself before
GRACE_S = 60  # to report and clean up in, once interrupted
REASON_CHARS_MAX = 200
WRONG = re.compile(r"seed \d+: |not caught: |unmutated: |failed  ")  # what a program that judges itself says was wrong
WRONG_LINES_MAX = 5
NO_TESTS_COLLECTED = 5

PYTEST_KINDS = (
    "tidy", "unit", "property", "fuzz", "scenario", "conformance", "integration", "e2e", "examples", "sandboxes",
)  # fmt: skip
# One lane takes from the front, where kinds compute. The others take from the back, where they mostly wait: for leases,
# timeouts, etcd, and what they have killed. Who finds no more of its own helps with the rest.
QUEUE = (
    "check", "tidy", "unit", "property", "fuzz", "scenario", "conformance", "mutants", "simulation",
    "integration", "examples", "sandboxes", "e2e", "chaos",
)  # fmt: skip
LANES = 3
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


def run(
    command: Sequence[str | Path], output: TextIO | None = None, at: Callable[[], str] = str
) -> tuple[int, str | None]:
    """Run a command with its output on ours, or in a file.

    Returns:
        Its exit code; and what it was at, of which `at` knows, when it had taken too long and was interrupted.
    """
    words = [str(part) for part in command]
    with subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=output) as process:
        try:
            return process.wait(STEP_TIMEOUT_S), None
        except subprocess.TimeoutExpired:
            late = at()  # before it is interrupted, and at something else
            print(not_done(late), flush=True, file=output)
            interrupt(process)
            return -1, late


def not_done(at: str) -> str:
    return f"not done after {STEP_TIMEOUT_S:,} s" + (f"; it was at {at[:REASON_CHARS_MAX]}" if at else "")


def interrupt(process: subprocess.Popen[Any]) -> None:
    """End a command as Ctrl-C would, that it may report and clean up; then kill what is left of all that it started."""
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        below += descendants(process.pid)
        process.kill()
    end(below)


def run_checks(tally: Tally) -> None:
    for name, command in CHECKS.items():
        print(f"-- {name}", flush=True, file=tally.output)
        code, late = run(command, tally.output)
        if code == 0:
            tally.passed += 1
        else:
            tally.failed.append(f"check: {name}" + (f": {not_done(late)}" if late is not None else ""))


def run_pytest(tally: Tally) -> None:
    """One kind under pytest; what happened is read from its report, not from its words."""
    kind = tally.kind
    report, now = REPORTS / f"{kind}.xml", REPORTS / f"{kind}.now"
    report.unlink(missing_ok=True)
    now.unlink(missing_ok=True)
    where = sorted((ROOT / "tests").glob("test_*.py")) if kind == "tidy" else [ROOT / "tests" / kind]
    command = (BIN / "python", "-m", "pytest", "--import-mode=importlib", "-o", "junit_family=xunit1")
    options = (f"--junit-xml={report}", f"--whereabouts={now}", "--durations=3", "--durations-min=1")

    def at() -> str:
        return now.read_text() if now.exists() else ""

    code, late = run((*command, *options, *where), tally.output, at)
    if late is not None:
        tally.failed.append(f"{kind}: {not_done(late)}")
    if report.exists() and code != NO_TESTS_COLLECTED:
        read_report(tally, report, reviewed_skips(SKIPS.read_text()))
    elif late is None:
        why = "no tests were found" if code == NO_TESTS_COLLECTED else f"pytest broke off with {code}, at {at()}"
        tally.failed.append(f"{kind}: {why}")
    if code != 0 and not tally.failed:
        tally.failed.append(f"{kind}: pytest ended with {code}")


def read_report(tally: Tally, report: Path, reviewed: Sequence[str]) -> None:
    """Count what pytest reported; a skip counts as a failure unless one of the reviewed patterns names it."""
    for case in ElementTree.parse(report).iter("testcase"):
        if case.get("name") is None:  # what was interrupted: it has neither a name nor an outcome
            continue
        name = f"{case.get('file')}::{case.get('name')}"
        wrong = [each for each in case if each.tag in ("failure", "error")]
        if wrong:
            tally.failed.append(f"{name}: {first_line(wrong[0].get('message'))}")
        elif (skip := case.find("skipped")) is None:
            tally.passed += 1
        elif any(fnmatchcase(name, pattern) for pattern in reviewed):
            tally.skipped.append(name)
        else:
            tally.failed.append(f"{name}: a skip that nobody reviewed ({first_line(skip.get('message'))})")


def first_line(message: str | None) -> str:
    """What a reason begins with; of the output some readers see the last lines alone."""
    return (message or "no reason was given").strip().partition("\n")[0][:REASON_CHARS_MAX]


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
    code, last, wrong, late = run_and_keep_lines((BIN / "python", program, *arguments), tally)
    tally.note = last
    counted = re.match(r"(\d+) of (\d+) mutants caught$", last)
    tally.passed += int(counted[1]) if counted else int(code == 0)
    if code != 0:
        how = f"ended with {code}" if late is None else not_done(late)
        tally.failed.append("; ".join((f"{program} {how}", *wrong)))


def run_and_keep_lines(command: Sequence[str | Path], tally: Tally) -> tuple[int, str, list[str], str | None]:
    """Run a program.

    Returns:
        Its exit code, its last line, the first lines that say what was wrong; and as `run` what it was at.
    """
    last, wrong, at = "", list[str](), cast(str | None, None)
    with subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=tally.gives_way
    ) as process:
        assert process.stdout is not None
        if tally.gives_way:
            give_way(process.pid)

        def too_late() -> None:
            nonlocal at
            at = last
            interrupt(process)

        watchdog = threading.Timer(STEP_TIMEOUT_S, too_late)
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
        return process.wait(), last, wrong, at


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


def run_lane(take: Callable[[], str], tallies: dict[str, Tally], printing: threading.Lock) -> None:
    """One kind after the other, until `take` finds none; what a kind says is shown when it is done."""
    while True:
        try:
            kind = take()
        except IndexError:
            return
        print(f"   {kind} begins", flush=True)
        log = REPORTS / f"{kind}.txt"
        with log.open("w") as output:
            tallies[kind] = run_kind(kind, output)
        with printing:
            print(log.read_text(errors="replace"), flush=True)


def run_all() -> list[Tally]:
    """Every kind, in lanes that run at one time."""
    tallies = {kind: Tally(kind, failed=[f"{kind}: it broke off"]) for kind in EVERY}
    left = deque(QUEUE)
    printing = threading.Lock()
    beside = [
        threading.Thread(target=run_lane, args=(left.pop, tallies, printing), daemon=True) for _ in range(LANES - 1)
    ]
    for thread in beside:
        thread.start()
    run_lane(left.popleft, tallies, printing)
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
    lines += [f"skipped (reviewed) {name}" for tally in tallies for name in tally.skipped]
    lines += [f"FAILED {name}" for tally in tallies for name in tally.failed]  # last, where a log is cut off last
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
