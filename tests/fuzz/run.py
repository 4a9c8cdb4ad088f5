"""`make fuzz`: atheris tries to break each decoder of bytes that come from a less trusted side.

    run.py --seconds 600            every target, each for so long
    run.py --only frames,config     some of them
    run.py --keep                   then make the corpus anew: few and short inputs that reach all that was reached

Fails at an input that finds something, and below 95 % of the decoders' lines. What is found on the way is in
`reports/fuzz/`; what the repository keeps is in `tests/fuzz/corpus/`, and `make test KIND=fuzz` replays that.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]  # as a program, only this folder is on the path

from tests.fuzz.replay import load
from tests.fuzz.target import Target

TARGETS = ("frames", "routes", "config", "pages")
REPORTS = ROOT / "reports" / "fuzz"
FOLDER = Path(__file__).parent
INPUT_S_MAX = 10
MEMORY_MIB_MAX = 2_048
SLACK_S = 300  # for the imports, and for reading the corpus
LAST_LINES = 30


@dataclass(frozen=True)
class Ran:
    """What one target came to."""

    executions: int
    inputs: int
    finds: list[Path]
    last: str


def prepare(target: Target) -> Path:
    """The folder that the fuzzer begins with and adds to: seeds, what is kept, and what was there."""
    corpus = REPORTS / target.name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in (*target.seeds(), *target.kept()):
        (corpus / hashlib.sha256(data).hexdigest()[:32]).write_bytes(data)
    return corpus


def fuzz(target: Target, corpus: Path, seconds: int) -> Ran:
    """Run the fuzzer for a while, or until its first find."""
    folder = corpus.parent
    before = set(_finds(folder))
    command = [
        sys.executable, str(FOLDER / "engine.py"), target.name, str(corpus), f"-max_total_time={seconds}",
        f"-max_len={target.input_bytes_max}", f"-timeout={INPUT_S_MAX}", f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-artifact_prefix={folder}/", "-print_final_stats=1",
    ]  # fmt: skip
    log = folder / "log.txt"
    with log.open("w") as output, tempfile.TemporaryDirectory() as scratch:  # libFuzzer ends without cleaning up
        code = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=output, timeout=seconds + SLACK_S, check=False,
            env={**os.environ, "TMPDIR": scratch},
        ).returncode  # fmt: skip
    text = log.read_text(errors="replace")
    done = re.findall(r"stat::number_of_executed_units: *(\d+)", text) or re.findall(r"^#(\d+)\t", text, re.MULTILINE)
    finds = sorted(set(_finds(folder)) - before)
    last = "\n".join(text.splitlines()[-LAST_LINES:]) if code or finds else ""
    return Ran(int(done[-1]) if done else 0, sum(1 for _ in corpus.iterdir()), finds, last)


def _finds(folder: Path) -> list[Path]:
    return [path for kind in ("crash", "timeout", "oom", "leak") for path in folder.glob(f"{kind}-*")]


def replay(*arguments: str | Path) -> bool:
    """Run `replay.py`; whether it had nothing to complain of."""
    command = [sys.executable, str(FOLDER / "replay.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def run(name: str, seconds: int, *, keep: bool) -> bool:
    """One target, from the first input to the table; whether all is well."""
    print(f"{name}: {seconds} s", flush=True)
    target = load(name)
    corpus = prepare(target)
    ran = fuzz(target, corpus, seconds)
    print(f"{name}: {ran.executions:,} executions, {ran.inputs:,} inputs in its corpus", flush=True)
    if ran.last:
        print(ran.last)
    for find in ran.finds:
        print(f"found. To see it again: .venv/bin/python tests/fuzz/replay.py {name} {find.relative_to(ROOT)}")
    kept = not keep or replay(name, "--keep", corpus)
    return replay(name, "--coverage") and kept and not ran.finds and not ran.last


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--only", default=",".join(TARGETS))
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no such target: {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    wrong = [name for name in names if not run(name, asked.seconds, keep=asked.keep)]
    print(f"wrong: {', '.join(wrong)}" if wrong else "nothing found, and enough is reached", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
