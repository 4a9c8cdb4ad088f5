"""Lines from bytes: their length and number are bounded, and what was left out is said."""

from __future__ import annotations

import pytest

from homing_node.workers import limits
from homing_node.workers.process_output import LineCutter


def test_lines_come_when_they_are_whole():
    cutter = LineCutter()
    assert cutter.feed(b"one\ntw", 0.0) == ["one"]
    assert cutter.feed(b"o\n\nthree", 0.0) == ["two", ""]
    assert cutter.end(0.0) == ["three"]
    assert cutter.end(0.0) == []


def test_bad_utf8_is_shown_as_such():
    assert LineCutter().feed(b"\xff\n", 0.0) == ["\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(("extra", "mark"), [(0, False), (1, True)])
def test_a_line_is_cut_at_its_limit(extra: int, mark: bool):
    (line,) = LineCutter().feed(b"x" * (limits.output_line_bytes_max + extra) + b"\n", 0.0)
    assert line.startswith("x" * limits.output_line_bytes_max)
    assert line.endswith("(cut)") is mark


def test_a_line_without_end_takes_no_more_memory_than_its_limit():
    cutter = LineCutter()
    for _ in range(1000):
        assert cutter.feed(b"x" * 10_000, 0.0) == []
    (line,) = cutter.feed(b"\n", 0.0)
    assert len(line) < limits.output_line_bytes_max + 20
    assert cutter.feed(b"next\n", 0.0) == ["next"]


def test_lines_over_the_limit_of_a_second_are_counted():
    cutter = LineCutter()
    lines = cutter.feed(b"x\n" * (limits.output_lines_per_s_max + 7), 5.0)
    assert lines == ["x"] * limits.output_lines_per_s_max
    assert cutter.feed(b"y\n", 5.9) == []
    assert cutter.feed(b"z\n", 6.0) == ["… (8 lines dropped)", "z"]
    cutter.feed(b"x\n" * (limits.output_lines_per_s_max + 3), 7.0)
    assert cutter.end(7.0) == ["… (3 lines dropped)"]
