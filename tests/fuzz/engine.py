"""One target under atheris, until libFuzzer has had enough: `engine.py TARGET FOLDER… -flags…`; see `run.py`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from random import Random

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]  # as a program, only this folder is on the path

PACKAGES = ["homing", "homing_gateway", "homing_node", "homing_placement", "tomllib"]


def main() -> None:
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=PACKAGES):
        target = importlib.import_module(f"tests.fuzz.{name}").TARGET

    def mutated(data: bytes, size_max: int, seed: int) -> bytes:
        return target.mutated(data, Random(seed), lambda rest: atheris.Mutate(rest, size_max - 1))[:size_max]

    atheris.Setup([sys.argv[0], *arguments], target.run, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
