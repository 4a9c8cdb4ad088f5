"""What a node believes of what a sandbox says that its facets wrote: nothing; pieces, order and sums are bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from homing_node.objects.ports import Loading
from homing_node.sandboxes import limits
from homing_node.sandboxes.facet_lines import FacetLines
from homing_node.sandboxes.inside import talk


def _nobody(_request_id: str, _level: int, _text: str) -> None:
    """Reads no lines."""


class Object:
    """An object's worker, and what came to it."""

    def __init__(self) -> None:
        self.frames: list[tuple[Any, ...]] = []
        self.lines = FacetLines()
        worker: Any = SimpleNamespace(send=self.frames.append)
        self.lines.begin(1, Loading(7, 0, worker, "an object", (), _nobody))

    def commit(self, *said: Any, facet: int = 1) -> None:
        self.lines.take(talk.COMMIT, facet, *said)


def test_pieces_go_on_as_they_come_in_the_order_of_their_commits() -> None:
    made = Object()
    made.commit(1, b"a", False)
    made.commit(1, b"b", True)
    made.commit(2, b"c", True)
    assert [frame[1:] for frame in made.frames] == [
        (7, 1, 1, b"a", False), (7, 1, 1, b"b", True), (7, 1, 2, b"c", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        (2, b"x", True), (0, b"x", True), (-1, b"x", True), (True, b"x", True), (1, "x", True), (1, b"", True),
        (1, b"x", 1), (1, bytes(limits.facet_piece_bytes + 1), True), (1, b"x"), (None, b"x", True),
    ],
)  # fmt: skip
def test_what_is_no_next_piece_is_refused_and_goes_nowhere(said: tuple[Any, ...]) -> None:
    """Seen to fail for each where its part of the check is taken away."""
    made = Object()
    with pytest.raises((TypeError, ValueError)):
        made.commit(*said)
    assert made.frames == []


def test_a_commit_that_goes_on_is_not_overtaken_by_the_next() -> None:
    made = Object()
    made.commit(1, b"x", False)
    with pytest.raises(ValueError, match="does not follow"):
        made.commit(2, b"x", True)


def test_what_is_not_durable_is_bounded_and_what_is_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "facet_unkept_bytes_max", 10)
    made = Object()
    made.commit(1, bytes(6), True)
    made.commit(2, bytes(4), True)
    made.lines.keep(1, 1)
    made.commit(3, bytes(6), True)
    with pytest.raises(ValueError, match="durable"):
        made.commit(4, bytes(1), True)


def test_of_a_facet_that_has_ended_nothing_counts() -> None:
    made = Object()
    made.commit(1, b"x", True, facet=2)
    made.lines.take(talk.LOST, 1)
    assert made.frames == [(16, 7, 1, 0, b"", True)]
    made.commit(1, b"x", True)
    made.lines.take(talk.LOST, 1)
    made.lines.keep(1, 1)
    made.lines.close(1)
    assert len(made.frames) == 1
    assert len(made.lines) == 0
