"""Counts what a grant is used for, and says when it is used up. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field

from homing_node.broker.policy import OutboundLimits
from homing_node.broker.urls import Refusal


@dataclass(slots=True)
class Meter:
    """The use of one grant, so far.

    Attributes:
        limits: of the grant.
        opened_s: when it was opened. All times are of one clock that does not go back.
        ended: why it is over, or empty. Invariant: once it is set it stays.
        calls: that have begun.
        at_once: that are under way. Invariant: not more than the limit.
        sent_bytes, received_bytes: of all of them.
    """

    limits: OutboundLimits
    opened_s: float
    ended: str = ""
    calls: int = 0
    at_once: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    _tokens: float = field(init=False)  # calls that may follow at once. Invariant: from 0 to `_tokens_max`
    _tokens_at_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens, self._tokens_at_s = self._tokens_max, self.opened_s

    @property
    def _tokens_max(self) -> float:
        return max(1.0, self.limits.calls_per_s_max) if self.limits.calls_per_s_max else 0.0

    @property
    def ends_s(self) -> float:
        """When it is over at the latest."""
        return self.opened_s + self.limits.life_s_max

    def begin(self, now_s: float) -> None:
        """A call begins; it counts whatever becomes of it.

        Raises:
            Refusal: not now, or never again. Of `calls_per_s_max` and `calls_at_once_max`, a later one may.
        """
        if not self.ended and now_s >= self.ends_s:
            self.ended = "life_s_max"
        if self.ended:
            raise Refusal(self.ended, "the grant is over")
        if self.calls >= self.limits.calls_max:
            raise Refusal("calls_max", f"the grant was for {self.limits.calls_max:,} requests")
        if self.at_once >= self.limits.calls_at_once_max:
            raise Refusal("calls_at_once_max", f"of the grant, {self.at_once} requests are under way already")
        self._refill(now_s)
        if self._tokens < 1.0:
            raise Refusal("calls_per_s_max", f"the grant is for {self.limits.calls_per_s_max:g} requests in a second")
        self._tokens -= 1.0
        self.calls += 1
        self.at_once += 1

    def end(self) -> None:
        """One that began is over."""
        self.at_once -= 1

    def sent(self, count: int) -> None:
        """Bytes are about to be sent.

        Raises:
            Refusal: they are too many.
        """
        if self.sent_bytes + count > self.limits.sent_bytes_max:
            raise Refusal("sent_bytes_max", f"the grant is for {self.limits.sent_bytes_max:,} bytes of requests")
        self.sent_bytes += count

    def received(self, count: int) -> None:
        """Bytes have come.

        Raises:
            Refusal: they are too many.
        """
        self.received_bytes += count
        if self.received_bytes > self.limits.received_bytes_max:
            raise Refusal("received_bytes_max", f"the grant is for {self.limits.received_bytes_max:,} bytes of answers")

    def wait_s(self) -> float:
        """How long until there is room for another call in a second."""
        return (1.0 - self._tokens) / self.limits.calls_per_s_max if self.limits.calls_per_s_max else 0.0

    def check(self) -> None:
        """Assert the invariants."""
        assert 0 <= self.at_once <= self.limits.calls_at_once_max
        assert self.at_once <= self.calls <= self.limits.calls_max
        assert 0.0 <= self._tokens <= self._tokens_max
        assert 0 <= self.sent_bytes <= self.limits.sent_bytes_max

    def _refill(self, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self._tokens_at_s)
        self._tokens = min(self._tokens_max, self._tokens + elapsed_s * self.limits.calls_per_s_max)
        self._tokens_at_s = now_s
