"""`make operations`: every promise to an operator measured on this machine, one after the other.

    run.py [--only rolling,big_restart] [--before CHECKOUT]

With `--before`, the speed of this checkout is compared with that one, too. The exit code is 0 only when all was kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = ("rolling", "fourth_node", "hot_slots", "alarms", "room", "overload", "lost_disk", "big_restart", "disk_use")
PAIRS = "pairs"


def run(name: str, arguments: Sequence[str | Path] = ()) -> tuple[bool, list[str]]:
    """Run one program with its output on ours; whether it was content, and its verdicts."""
    print(f"\n== {name}", flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), *map(str, arguments)]
    verdicts: list[str] = []
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if is_verdict(line):
                verdicts.append(line.strip())
        code = process.wait()
    print(f"-- {name} ended with {code} after {time.monotonic() - began:.0f} s", flush=True)
    return code == 0, verdicts or [f"{name}: BROKEN: it came to no verdict (exit code {code})"]


def is_verdict(line: str) -> bool:
    """Whether a line is one that `promises.verdict` made."""
    return ": held: " in line or ": BROKEN: " in line


def main() -> int:
    """0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PROGRAMS))
    parser.add_argument("--before", type=Path, help="an older checkout with its .venv")
    options = parser.parse_args()
    wanted = [name for name in str(options.only).split(",") if name]
    if unknown := set(wanted) - set(PROGRAMS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    results = [run(name) for name in wanted]
    if options.before:
        results.append(run(PAIRS, (options.before, ROOT)))
    print()
    for _, verdicts in results:
        print("\n".join(verdicts))
    broken = sum(not well for well, _ in results)
    print(f"operations: {len(results) - broken} of {len(results)} promises kept")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
