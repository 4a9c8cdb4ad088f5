"""What the fuzzers keep, once more: every find stays found, without a fuzzer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from tests.fuzz.replay import ROOT, decoder_lines, replay, smallest
from tests.fuzz.target import CORPUS, Check, Target, read, write

TARGETS = ("frames", "routes", "config", "pages")
REPLAY_S_MAX = 120
INPUTS_MAX = 600
BYTES_MAX = 300 * 1_024


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_in_the_corpus_is_a_find(name: str) -> None:
    """In a process of its own: a target sets up logging, and makes loops. Seen to fail for each file of finds."""
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / "replay.py"), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=REPLAY_S_MAX, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(_kept(name))} inputs, nothing found" in done.stdout


def _kept(name: str) -> list[bytes]:
    found = [*read(CORPUS / name / "kept.b64"), *read(CORPUS / name / "finds.b64")]
    assert found
    return found


def test_the_corpus_stays_small() -> None:
    inputs = [data for name in TARGETS for data in _kept(name)]
    assert len(inputs) <= INPUTS_MAX
    assert sum(map(len, inputs)) <= BYTES_MAX


def _refuse_a(data: bytes) -> None:
    assert b"a" not in data


def _two_ways(data: bytes) -> None:
    _refuse_a(b"") if data else None


TOY = Target("toy", (Check("a", _refuse_a, (b"x",)), Check("ways", _two_ways, (b"", b"y"))), {})


def test_a_find_is_told_with_its_input() -> None:
    wrong = replay(TOY, [b"\x00b", b"\x01a", b"\x00bab", b"\x00a"])
    assert wrong.startswith("toy, a: AGJhYg==\n")
    assert "AssertionError" in wrong
    assert replay(TOY, [b"", b"\x00b", b"\x01a"]) == ""


def test_an_input_stays_with_its_check_whatever_is_done_to_it() -> None:
    for seed in range(50):
        assert TOY.mutated(b"\x01abc", Random(seed), lambda data: data[::-1]) == b"\x01cba"
        assert TOY.mutated(b"", Random(seed), lambda data: data)[0] in (0, 1)


def test_a_corpus_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "toy" / "kept.b64"
    assert read(file) == []
    write(file, [b"\x02\xff", b"\x01"])
    file.write_text("# what it was\n" + file.read_text())
    assert read(file) == [b"\x01", b"\x02\xff"]


def test_the_decoders_of_a_file_are_found_by_name() -> None:
    file = ROOT / "node" / "homing_node" / "workers" / "inside" / "framing.py"
    (lines,) = decoder_lines(file, ["Inbox.feed"])
    assert "def feed(" in file.read_text().splitlines()[lines[0] - 1]
    with pytest.raises(AssertionError, match="has no nothing"):
        list(decoder_lines(file, ["nothing"]))


def test_of_inputs_that_do_the_same_one_is_kept() -> None:
    assert smallest(TOY, []) == []
