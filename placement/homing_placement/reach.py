"""Who answers: probes of the other nodes as a pure state machine. Silence here is a hint, never a safety argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from homing_placement.limits import (
    PROBE_FAILURES_MIN,
    PROBE_INTERVAL_S,
    PROBE_RETRY_S,
    PROBES_PER_SECOND_MAX,
    REACH_FRESH_INTERVALS,
    UNKNOWN_OWNER_GRACE_S,
)

_DEAD_UNREGISTERED_INTERVALS = 10  # how much rarer a node is probed that neither answers nor is registered


@dataclass(slots=True)
class _Peer:
    mentioned_at: float  # first heard of
    addressed: bool = False  # its record was seen once, so it can be asked
    registered: bool = False  # its record exists now
    failures: int = 0  # in a row
    asking: bool = False  # Invariant: at most one probe of a node is under way
    next_at: float = 0.0  # when the next probe is due
    answered_at: float | None = None  # when it last answered
    incarnation: str = ""  # which it then was
    answer_sent_at: float = 0.0  # when that question was sent


@dataclass(slots=True)
class Reach:
    """What the probes of the other nodes say.

    Example:
        >>> reach = Reach(Random(1))
        >>> reach.seen("b", 0.0, registered=True)
        >>> reach.due(0.0)
        ['b']
        >>> reach.result("b", "incarnation", sent_at=0.0, now=0.1)
        >>> reach.reachable("b", 0.2)
        True
    """

    random: Random
    _peers: dict[str, _Peer] = field(default_factory=dict[str, _Peer])

    def seen(self, node: str, now: float, *, registered: bool) -> None:
        """The node's record was written (`registered`) or is gone; either is worth a probe at once."""
        peer = self._peer(node, now)
        peer.registered = registered
        peer.addressed |= registered
        peer.next_at = now

    def mentioned(self, node: str, now: float) -> None:
        """A slot record names this node."""
        self._peer(node, now)

    def suspect(self, node: str, now: float) -> None:
        """Something hints that the node died or restarted: probe it at once."""
        self._peer(node, now).next_at = now

    def due(self, now: float) -> list[str]:
        """The nodes to probe now; each counts as being asked until `result`."""
        nodes = [
            node for node, peer in self._peers.items() if peer.addressed and not peer.asking and peer.next_at <= now
        ]
        for node in nodes:
            self._peers[node].asking = True
        return nodes

    def result(self, node: str, incarnation: str | None, *, sent_at: float, now: float) -> None:
        """A probe ended: with the incarnation that answered, or None for no answer in time."""
        peer = self._peer(node, now)
        peer.asking = False
        if incarnation is None:
            # When this node is the one that is cut off it should learn it of all peers at once: with some it would
            # believe in a majority, and take the slots of the others.
            self._look_at_others(peer, now)
            peer.failures += 1
            peer.next_at = now + (PROBE_RETRY_S if peer.failures < PROBE_FAILURES_MIN else self._interval_s(peer))
            return
        if peer.failures >= PROBE_FAILURES_MIN:
            # The first that answers after a cut makes a majority, while the others only seem dead: they get a chance.
            self._look_at_others(peer, now)
            for other in self._peers.values():
                other.failures = min(other.failures, PROBE_FAILURES_MIN - 1)
        peer.failures = 0
        peer.answered_at, peer.incarnation, peer.answer_sent_at = now, incarnation, sent_at
        peer.next_at = now + self._interval_s(peer) * self.random.uniform(0.9, 1.1)

    def _look_at_others(self, peer: _Peer, now: float) -> None:
        for other in self._peers.values():
            if other is not peer and (other.registered or other.failures < PROBE_FAILURES_MIN):
                other.next_at = min(other.next_at, now)

    def dead(self, node: str, now: float) -> bool:
        """It did not answer several times in a row; or nobody knows where it could be asked, for a while."""
        peer = self._peers.get(node)
        if peer is None:
            return False
        if not peer.addressed:
            return now - peer.mentioned_at >= UNKNOWN_OWNER_GRACE_S
        return peer.failures >= PROBE_FAILURES_MIN

    def answers(self, node: str, now: float) -> bool:
        """It answered lately, and every question since."""
        peer = self._peers.get(node)
        return peer is not None and peer.failures == 0 and self._fresh(peer, now)

    def reachable(self, node: str, now: float) -> bool:
        """It answered lately; one failure since is forgiven."""
        peer = self._peers.get(node)
        return peer is not None and peer.failures < PROBE_FAILURES_MIN and self._fresh(peer, now)

    def unheard(self, node: str) -> bool:
        """It never answered and did not fail either: nothing is known of it yet."""
        peer = self._peers.get(node)
        return peer is None or (peer.answered_at is None and peer.failures < PROBE_FAILURES_MIN)

    def answered_as_another(self, node: str, incarnation: str, *, since: float) -> bool:
        """A question sent at `since` or later was answered by another incarnation."""
        peer = self._peers.get(node)
        return (
            peer is not None
            and peer.answered_at is not None
            and peer.incarnation != incarnation
            and peer.answer_sent_at >= since
        )

    def last_contact(self, node: str) -> float | None:
        """When it last answered."""
        peer = self._peers.get(node)
        return None if peer is None else peer.answered_at

    def _peer(self, node: str, now: float) -> _Peer:
        peer = self._peers.get(node)
        if peer is None:
            peer = self._peers[node] = _Peer(mentioned_at=now, next_at=now)
        return peer

    def _fresh(self, peer: _Peer, now: float) -> bool:
        last = peer.answered_at
        return last is not None and now - last <= REACH_FRESH_INTERVALS * self._interval_s(peer)

    def _interval_s(self, peer: _Peer) -> float:
        interval_s = max(PROBE_INTERVAL_S, len(self._peers) / PROBES_PER_SECOND_MAX)
        forgotten = not peer.registered and peer.failures >= PROBE_FAILURES_MIN
        return interval_s * _DEAD_UNREGISTERED_INTERVALS if forgotten else interval_s
