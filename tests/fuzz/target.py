"""What a fuzz target is: checks that take any bytes and raise when something is wrong.

An input is one byte that chooses a check, and the bytes for it. A check lets through the errors that its decoder
promises; whatever else comes out is a find.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

CORPUS = Path(__file__).resolve().parent / "corpus"

Mutate = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Check:
    """One entrance for bytes.

    Attributes:
        name: for people.
        run: raises if something is wrong.
        mutate: changes an input with regard to its form; None: bytes are bytes.
        seeds: inputs to begin with, each of another kind.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    mutate: Mutate | None = None


@dataclass(frozen=True)
class Target:
    """What is fuzzed together.

    Attributes:
        name: of its folder in the corpus.
        checks: by the first byte of an input.
        decoders: file to the names in it that decode; none: the whole file. Their lines are counted.
        input_bytes_max: longer inputs are not tried.
    """

    name: str
    checks: Sequence[Check]
    decoders: Mapping[str, Sequence[str]]
    input_bytes_max: int = 4_096

    def check_of(self, data: bytes) -> Check:
        """The check that an input is for."""
        return self.checks[data[0] % len(self.checks)]

    def run(self, data: bytes) -> None:
        """One input."""
        if data:
            self.check_of(data).run(data[1:])

    def mutated(self, data: bytes, random: Random, native: Callable[[bytes], bytes]) -> bytes:
        """Another input for the same check: mostly changed by the check's form, else as libFuzzer does it.

        Args:
            data: the input.
            random: decides.
            native: what libFuzzer would do.
        """
        if not data:
            data = bytes((random.randrange(len(self.checks)),))
        mutate = self.check_of(data).mutate
        if mutate is None or random.random() < 0.3:
            return data[:1] + native(data[1:])
        return data[:1] + mutate(data[1:], random)

    def seeds(self) -> Iterator[bytes]:
        """What to begin with."""
        for number, check in enumerate(self.checks):
            yield from (bytes((number,)) + seed for seed in check.seeds)

    def kept(self) -> list[bytes]:
        """The inputs of the repository: those that reach new lines, and those that once found something."""
        return [*read(self.file("kept")), *read(self.file("finds"))]

    def file(self, which: str) -> Path:
        """Where `kept` or `finds` are."""
        return CORPUS / self.name / f"{which}.b64"


def read(file: Path) -> list[bytes]:
    """The inputs in a file: one a line, in base64; a line that begins with # says something about the next."""
    if not file.exists():
        return []
    return [base64.b64decode(line) for line in file.read_text().splitlines() if line and not line.startswith("#")]


def write(file: Path, inputs: Sequence[bytes]) -> None:
    """Write a file that `read` reads, in an order that does not depend on when what was found."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(base64.b64encode(data).decode() + "\n" for data in sorted(inputs)))
