"""`homing sandbox top` as rows: CPU between two looks, the order, and what does not fit."""

from __future__ import annotations

import pytest

from homing.cli import sandbox_top
from homing.cli.sandbox_top import RunRow, Top, show


def row(number: int, *, age_ms: int, cpu_ms: int, node: str = "n1", memory_bytes: int = 0) -> RunRow:
    return RunRow(node, number, "ada", 100 + number, age_ms, cpu_ms, memory_bytes)


def test_cpu_is_of_the_time_between_two_looks():
    """Broken by: CPU of its whole life, in which a loop that begins late is never seen."""
    top = Top()
    assert [each[4] for each in top.rows([row(1, age_ms=10_000, cpu_ms=100)])] == [1]
    assert [each[4] for each in top.rows([row(1, age_ms=11_000, cpu_ms=1_100)])] == [100]
    assert [each[4] for each in top.rows([row(1, age_ms=12_000, cpu_ms=3_000)])] == [190], "of two threads"
    assert [each[4] for each in top.rows([row(1, age_ms=13_000, cpu_ms=3_000)])] == [0]


def test_a_run_is_itself_on_its_node_alone():
    """Numbers are a node's own. Broken by: a look back that leaves out the node."""
    top = Top()
    top.rows([row(1, age_ms=1_000, cpu_ms=900, node="n1")])
    found = top.rows([row(1, age_ms=1_000, cpu_ms=500, node="n2")])
    assert [(each[0], each[4]) for each in found] == [("n2", 50)]


def test_what_has_just_begun_has_no_cpu_yet():
    assert [each[4] for each in Top().rows([row(1, age_ms=0, cpu_ms=0)])] == [0]


def test_most_cpu_comes_first_and_the_rest_is_in_order():
    runs = [row(2, age_ms=1_000, cpu_ms=0), row(1, age_ms=1_000, cpu_ms=0), row(3, age_ms=1_000, cpu_ms=600)]
    assert [each[1] for each in Top().rows(runs)] == [3, 1, 2]


def test_memory_and_age_are_whole_units():
    ((*_, memory, age),) = Top().rows([row(1, age_ms=2_999, cpu_ms=0, memory_bytes=3 * 1024 * 1024)])
    assert (memory, age) == (3_072, 2)


@pytest.mark.parametrize(("lines", "expected"), [(5, 5), (4, 4), (2, 2), (None, 5)])
def test_what_does_not_fit_is_counted(lines: int | None, expected: int):
    """A header and four runs. Broken by: a table that scrolls its own top away."""
    shown = show(Top(), [row(number, age_ms=1, cpu_ms=0) for number in range(4)], lines=lines).splitlines()
    assert len(shown) == expected
    assert shown[0].startswith("NODE")
    left_out = 5 - expected
    assert ("more" in shown[-1]) == bool(left_out)
    if left_out:
        assert shown[-1] == f"… and {left_out + 1} more"


def test_it_is_shown_again_and_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Broken by: a pause of another length. What a terminal gets is in `tests/sandboxes/test_sandbox_calls.py`."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(sandbox_top.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        sandbox_top.watch(lambda: [row(7, age_ms=1_000, cpu_ms=500)], 1.0)
    shown = capsys.readouterr().out
    assert pauses == [1.0, 1.0]
    assert shown.count("NODE") == 2
