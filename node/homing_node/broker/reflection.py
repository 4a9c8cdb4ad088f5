"""Sees to it that no answer gives back a secret that was sent with the question. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from homing_node.broker.urls import Refusal


class Mirror:
    """Looks through an answer as it passes.

    An answer in which a trace is found is refused from there on, rather than mended: what else such a server does
    with a secret nobody knows, and whoever gets an answer with a hole would take it for whole. So that nothing of a
    trace has passed when its end comes, as many bytes as the longest has, but one, are held back until more follows.

    Args:
        traces: what must not be in it, in lower case.

    Attributes:
        looks: there are any.
    """

    def __init__(self, traces: Sequence[bytes]) -> None:
        self._traces = traces
        self.looks = bool(traces)
        self._longest = max(map(len, traces), default=0)
        self._held = b""  # Invariant: shorter than the longest trace, and no trace is in it

    def field(self, name: str, value: str) -> None:
        """A header field.

        Raises:
            Refusal: a trace is in it.
        """
        self._look(f"{name}: {value}".encode("latin-1"))

    def feed(self, data: bytes) -> bytes:
        """A part of the body; what may be passed on now.

        Raises:
            Refusal: a trace is in it, or in it and what came before.
        """
        if not self._traces:
            return data
        both = self._held + data
        self._look(both)
        passed = max(0, len(both) - self._longest + 1)
        self._held = both[passed:]
        return both[:passed]

    def end(self) -> bytes:
        """The body has ended: the rest of it."""
        rest, self._held = self._held, b""
        return rest

    def _look(self, data: bytes) -> None:
        lowered = data.lower()
        if any(trace in lowered for trace in self._traces):
            raise Refusal("reflection", "the answer gives back a secret of the grant, and is not passed on")
