"""Facets that run in dynamic workers: whose they are, and what their sandboxes say of them.

What a facet writes goes on to its object as it comes, piece by piece; nothing is kept here but how much of it is not
durable yet, which is bounded. See docs/facets.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from homing_node.objects.frames import FACET
from homing_node.objects.ports import Loading
from homing_node.sandboxes import limits
from homing_node.sandboxes.inside import talk


@dataclass(slots=True, eq=False)
class FacetLine:
    """One facet, between its sandbox and its object.

    Attributes:
        owner: the number of the object's activation.
        number: of the facet.
        say: sends the object's worker a frame.
        commits: the number of the last commit of which something came.
        unfinished: it goes on.
        unkept: bytes of commits that are not durable, by number.
    """

    owner: int
    number: int
    say: Callable[[tuple[Any, ...]], None]
    commits: int = 0
    unfinished: bool = False
    unkept: dict[int, int] = field(default_factory=dict[int, int])

    def commit(self, number: Any, data: Any, last: Any) -> None:
        """A piece of a commit, of a sandbox that may say anything.

        Raises:
            TypeError, ValueError: it is none.
        """
        if type(number) is not int or type(data) is not bytes or type(last) is not bool:
            raise TypeError("a piece of a commit that is none")
        expected = self.commits if self.unfinished else self.commits + 1
        if number != expected or not 0 < len(data) <= limits.facet_piece_bytes:
            raise ValueError("a piece of a commit that does not follow")
        self.commits, self.unfinished = number, not last
        self.unkept[number] = self.unkept.get(number, 0) + len(data)
        if sum(self.unkept.values()) > limits.facet_unkept_bytes_max:
            raise ValueError("more than may wait to be durable")
        self.say((FACET, self.owner, self.number, number, data, last))

    def lost(self) -> None:
        """The facet has reset itself."""
        self.say((FACET, self.owner, self.number, 0, b"", True))

    def keep(self, number: int) -> None:
        """Commits up to that one are durable."""
        for each in [each for each in self.unkept if each <= number]:
            del self.unkept[each]


class FacetLines:
    """The facets of one dynamic worker."""

    def __init__(self) -> None:
        self._lines: dict[int, FacetLine] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, number: int) -> bool:
        return number in self._lines

    def begin(self, number: int, loading: Loading) -> None:
        """A facet is about to run."""
        self._lines[number] = FacetLine(loading.owner, number, loading.worker.send)

    def take(self, kind: int, number: int, *said: Any) -> None:
        """What a sandbox says of a facet; of one that has ended nothing counts.

        Raises:
            TypeError, ValueError: it is nothing that can be said.
        """
        line = self._lines.get(number)
        if line is None:
            return
        if kind == talk.COMMIT:
            line.commit(*said)
        else:
            del self._lines[number]
            line.lost()

    def keep(self, number: int, commit: int) -> None:
        """See `FacetLine.keep`."""
        line = self._lines.get(number)
        if line is not None:
            line.keep(commit)

    def close(self, number: int) -> None:
        """A facet has ended."""
        self._lines.pop(number, None)
