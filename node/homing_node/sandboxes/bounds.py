"""How many dynamic workers may have calls in flight, for each object and for each request of an entrypoint. Pure."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from homing.errors import Overloaded
from homing_node.sandboxes import limits


class Group(NamedTuple):
    """Whose calls are counted together.

    Attributes:
        owner: the number of an activation, or of the entrypoint of a worker, which is not above 0.
        request: of an entrypoint: the number of the request; of an object 0.
    """

    owner: int
    request: int = 0

    @property
    def workers_max(self) -> int:
        """How many distinct workers may have calls of these in flight."""
        return limits.loaded_per_object_max if self.owner > 0 else limits.loaded_per_request_max


class Bounds:
    """Counts calls in flight.

    Example:
        >>> bounds = Bounds()
        >>> for key in "abcd":
        ...     bounds.begin(Group(-1, 7), key)
        >>> bounds.begin(Group(-1, 7), "a"), bounds.in_flight(-1, "a")
        (None, 2)
    """

    def __init__(self) -> None:
        self._groups: dict[Group, Counter[str]] = {}
        self._workers: Counter[tuple[int, str]] = Counter()

    def begin(self, group: Group, key: str) -> None:
        """A call begins.

        Raises:
            Overloaded: too many other workers have calls of this group in flight; or this one too many of all.
        """
        counts = self._groups.get(group, Counter[str]())
        if key not in counts and len(counts) >= group.workers_max:
            whose = "an object" if group.owner > 0 else "a request"
            raise Overloaded(
                f"{len(counts)} dynamic workers have calls of {whose} in flight; at most {group.workers_max}",
                cause="workers",
                retry_after_s=1.0,
            )
        if self._workers[group.owner, key] >= limits.loaded_calls_max:
            raise Overloaded(
                f"a dynamic worker has at most {limits.loaded_calls_max} calls at once",
                cause="calls",
                retry_after_s=1.0,
            )
        counts[key] += 1
        self._groups[group] = counts
        self._workers[group.owner, key] += 1

    def end(self, group: Group, key: str) -> None:
        """A call has ended that had begun."""
        counts = self._groups[group]
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
        if not counts:
            del self._groups[group]
        self._workers[group.owner, key] -= 1
        if not self._workers[group.owner, key]:
            del self._workers[group.owner, key]

    def in_flight(self, owner: int, key: str) -> int:
        """Calls of a worker that have begun and not ended."""
        return self._workers.get((owner, key), 0)
