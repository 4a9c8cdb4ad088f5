"""The corpus of a target once more, without atheris.

    replay.py TARGET              every input that is kept
    replay.py TARGET FILE…        some inputs, each a file as libFuzzer writes it
    replay.py TARGET --coverage   and say how much of the decoders that reaches (needs coverage.py)
    replay.py TARGET --keep FOLDER…   keep the inputs of these folders that reach something new, and drop the rest

Ends with 1 at the first input that finds something, and says which.
"""

from __future__ import annotations

import argparse
import ast
import base64
import importlib
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]  # as a program, only this folder is on the path

from tests.fuzz.target import Target, read, write

SHARE_MIN = 0.95
INPUT_S_MAX = 5.0  # more is a find, too: something takes time that grows faster than the input
UNREACHED_SHOWN = 20


def load(name: str) -> Target:
    """The target of a name."""
    return importlib.import_module(f"tests.fuzz.{name}").TARGET


def replay(target: Target, inputs: Iterable[bytes]) -> str:
    """Run inputs; what is wrong with the first that finds something, or empty."""
    for data in inputs:
        began = time.monotonic()
        try:
            target.run(data)
        except BaseException:
            return f"{_named(target, data)}\n{traceback.format_exc()}"
        took_s = time.monotonic() - began
        if took_s > INPUT_S_MAX:
            return f"{_named(target, data)}: it took {took_s:.1f} s"
    return ""


def _named(target: Target, data: bytes) -> str:
    return f"{target.name}, {target.check_of(data).name}: {base64.b64encode(data).decode()}"


# -- what is reached ----------------------------------------------------------------------------------------------


def decoder_lines(file: Path, names: Sequence[str]) -> Iterator[range]:
    """The lines of the named functions and classes of a file; of all of it if none is named."""
    text = file.read_text()
    if not names:
        yield range(1, len(text.splitlines()) + 1)
        return
    missing = set(names)
    for outer in ast.parse(text).body:
        for prefix, node in [
            ("", outer),
            *((f"{outer.name}.", each) for each in getattr(outer, "body", ()) if isinstance(outer, ast.ClassDef)),
        ]:
            name = prefix + getattr(node, "name", "")
            if name in missing:
                missing.discard(name)
                assert node.end_lineno is not None
                yield range(node.lineno, node.end_lineno + 1)
    assert not missing, f"{file} has no {', '.join(sorted(missing))}"


def measure(name: str) -> tuple[str, bool]:
    """Replay the corpus under coverage.py; a table of the decoders' lines, and whether enough of them are reached."""
    import coverage  # noqa: PLC0415 - `make fuzz` alone installs it

    measured = coverage.Coverage(
        data_file=None, include=[f"{ROOT}/{part}/*" for part in ("sdk", "placement", "node", "gateway")]
    )
    measured.start()
    target = load(name)
    wrong = replay(target, target.kept())
    measured.stop()
    if wrong:
        return wrong, False
    lines: list[str] = []
    all_reached = all_lines = 0
    for path, names in target.decoders.items():
        _, statements, _, missing, _ = measured.analysis2(str(ROOT / path))
        wanted = {line for part in decoder_lines(ROOT / path, names) for line in part}
        decoding, unreached = wanted & set(statements), sorted(wanted & set(missing))
        reached = len(decoding) - len(unreached)
        all_reached, all_lines = all_reached + reached, all_lines + len(decoding)
        line = f"  {reached / len(decoding):>6.1%}  {reached:>4} of {len(decoding):<4} {path}"
        lines.append(f"{line}  not: {', '.join(map(str, unreached[:UNREACHED_SHOWN]))}" if unreached else line)
    share = all_reached / all_lines
    lines.append(f"  {share:>6.1%}  {all_reached:>4} of {all_lines:<4} lines of the decoders of {name}")
    return "\n".join(lines), share >= SHARE_MIN


# -- what is kept -------------------------------------------------------------------------------------------------


class Steps:
    """Sees which step from line to line of the project's own code an input takes."""

    def __init__(self) -> None:
        self.taken: set[tuple[CodeType, int, int]] = set()
        self._own: dict[CodeType, bool] = {}

    def of(self, target: Target, data: bytes) -> set[tuple[CodeType, int, int]]:
        """The steps of one input."""
        self.taken = set()
        sys.settrace(self._call)
        try:
            target.run(data)
        finally:
            sys.settrace(None)
        return self.taken

    def _call(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        code = frame.f_code
        own = self._own.get(code)
        if own is None:
            name = code.co_filename
            own = self._own[code] = any(f"/{part}/homing" in name for part in ("sdk", "node", "gateway", "placement"))
        if not own:
            return None
        last = 0

        def line(frame: FrameType, event: str, _arg: Any) -> Any:
            nonlocal last
            if event == "line":
                self.taken.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line


def smallest(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Of some inputs, few and short ones that take the same steps in the same checks."""
    steps = Steps()
    found: dict[bytes, set[Any]] = {}
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        check = target.check_of(data).name
        found[bytes((target.checks.index(target.check_of(data)),)) + data[1:]] = {
            (check, *step) for step in steps.of(target, data)
        }
    kept: list[bytes] = []
    seen: set[Any] = set()
    left = dict(found)
    while left:  # the one that brings most for its length, then the next
        best = max(left, key=lambda data: (len(left[data] - seen) / (16 + len(data)), data))
        new = left.pop(best) - seen
        if not new:
            break
        seen |= new
        kept.append(best)
        left = {data: fresh for data, taken in left.items() if (fresh := taken - seen)}
    return kept


def keep(target: Target, folders: Sequence[str]) -> str:
    """Make the corpus anew of what is kept, the seeds, and what folders hold."""
    files = [path for folder in folders for path in Path(folder).iterdir() if path.is_file()]
    inputs = [*target.seeds(), *read(target.file("kept")), *(path.read_bytes() for path in files)]
    kept = smallest(target, [data for data in inputs if 0 < len(data) <= 2 * target.input_bytes_max])
    write(target.file("kept"), kept)
    return f"{target.name}: {len(kept)} inputs of {len(set(inputs))} are kept, {sum(map(len, kept)):,} bytes"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_intermixed_args()
    if asked.coverage:
        said, enough = measure(asked.target)
        print(said, flush=True)
        return int(not enough)
    target = load(asked.target)
    if asked.keep:
        print(keep(target, asked.files), flush=True)
        return 0
    inputs = [Path(file).read_bytes() for file in asked.files] or target.kept()
    wrong = replay(target, inputs)
    print(wrong or f"{target.name}: {len(inputs)} inputs, nothing found", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
