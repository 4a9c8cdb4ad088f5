"""What probes say at the beginning and at the end of a cut."""

from __future__ import annotations

from random import Random

from homing_placement.limits import PROBE_FAILURES_MIN, PROBE_RETRY_S, PROBE_TIMEOUT_S
from homing_placement.reach import Reach


def three() -> Reach:
    """Of a node that two others answered at 0."""
    reach = Reach(Random(1))
    for node in ("b", "c"):
        reach.seen(node, 0.0, registered=True)
    assert reach.due(0.0) == ["b", "c"]
    for node in ("b", "c"):
        reach.result(node, f"{node}1", sent_at=0.0, now=0.0)
    return reach


def fail(reach: Reach, node: str, now: float) -> None:
    reach.result(node, None, sent_at=now - PROBE_TIMEOUT_S, now=now)


def test_who_is_cut_off_learns_it_of_all_before_it_calls_one_dead() -> None:
    """Seen to fail without the look at the others: b was dead while c was taken for an ally."""
    reach = three()
    reach.suspect("b", 0.1)
    assert reach.due(0.1) == ["b"]
    fail(reach, "b", 0.6)
    assert reach.due(0.6) == ["c"]
    assert reach.due(0.6 + PROBE_RETRY_S) == ["b"]
    fail(reach, "c", 1.1)
    fail(reach, "b", 1.3)
    assert reach.dead("b", 1.3)
    assert not reach.answers("c", 1.3)


def test_after_a_cut_the_others_get_a_chance_before_they_are_dead() -> None:
    """Seen to fail without: the first that answered made a majority, and all slots of the other were taken."""
    reach = three()
    for _ in range(PROBE_FAILURES_MIN + 2):
        fail(reach, "b", 5.0)
        fail(reach, "c", 5.0)
    assert reach.dead("b", 5.0)
    assert reach.dead("c", 5.0)
    reach.due(10.0)
    reach.result("b", "b1", sent_at=10.0, now=10.0)
    assert not reach.dead("c", 10.0)
    assert not reach.answers("c", 10.0), "and is no ally either"
    fail(reach, "c", 10.5)
    assert reach.dead("c", 10.5), "one failure more is enough"


def test_one_dead_peer_does_not_keep_the_others_from_being_dead() -> None:
    """An answer of a peer that lived all along changes nothing."""
    reach = three()
    for now in (1.0, 1.7):
        fail(reach, "c", now)
    reach.result("b", "b1", sent_at=1.8, now=1.8)
    assert reach.dead("c", 1.8)
