"""Records, keys and probes: forms that others rely on, and what is refused."""

from __future__ import annotations

import json
from random import Random

import pytest

from homing.errors import ConfigurationError
from homing.locations import Jurisdiction
from homing_placement.keys import ClusterKeys
from homing_placement.limits import (
    PROBE_INTERVAL_S,
    PROBE_RETRY_S,
    REACH_FRESH_INTERVALS,
    UNKNOWN_OWNER_GRACE_S,
)
from homing_placement.reach import Reach
from homing_placement.records import (
    ClusterConfig,
    JurisdictionsRecord,
    NodeRecord,
    Owner,
    Replica,
    SlotRecord,
    SlotState,
    decode,
    encode,
)

SLOT = SlotRecord(3, SlotState.RECOVERING, Owner("a", "x1"), (Replica("a", "d1"),), (Replica("b", "d2"),))


def test_a_slot_record_has_the_documented_form_and_comes_back() -> None:
    assert json.loads(encode(SLOT)) == {
        "epoch": 3,
        "state": "RECOVERING",
        "owner": ["a", "x1"],
        "replicas": [["a", "d1"]],
        "next_replicas": [["b", "d2"]],
    }
    for record in (SLOT, SLOT.activated(), SlotRecord(0, SlotState.ACTIVE, None, ())):
        assert decode(encode(record), SlotRecord) == record


def test_a_claim_keeps_replicas_and_an_activation_takes_the_next() -> None:
    active = SLOT.activated()
    assert (active.epoch, active.owner, active.replicas, active.next_replicas) == (
        3,
        SLOT.owner,
        SLOT.next_replicas,
        None,
    )
    claim = active.claimed_by(Owner("b", "y"), above=9)
    assert (claim.epoch, claim.replicas, claim.next_replicas) == (10, active.replicas, active.replicas)
    assert SLOT.next_replicas != SLOT.replicas
    again = SLOT.claimed_by(Owner("b", "y"))
    assert (again.replicas, again.next_replicas) == (SLOT.replicas, SLOT.replicas), "what was wanted before may be gone"
    assert SLOT.next_replicas is not None
    change = active.claimed_by(Owner("b", "y"), nexts=SLOT.replicas)
    assert (change.replicas, change.next_replicas) == (active.replicas, SLOT.replicas)
    assert active.rank > SLOT.rank
    assert claim.rank > active.rank


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"epoch": 1}', b'{"epoch":"1","state":"ACTIVE"}'])
def test_what_is_not_a_record_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match="SlotRecord"):
        decode(data, SlotRecord)


def test_fields_of_newer_versions_are_skipped() -> None:
    node = NodeRecord(id="a", address="h:1", disk="d", incarnation="i")
    data = json.dumps({**json.loads(encode(node)), "colour": "blue"}).encode()
    assert decode(data, NodeRecord) == node


def test_settings_of_another_cluster_are_refused() -> None:
    ClusterConfig(1_024).check(1_024)
    with pytest.raises(ConfigurationError, match="HOMING_SLOTS=1024"):
        ClusterConfig(1_024).check(64)
    with pytest.raises(ConfigurationError, match="format 2"):
        ClusterConfig(64, format=2).check(64)


def test_keys_are_told_apart() -> None:
    keys = ClusterKeys("dev")
    assert (keys.slot(7), keys.node("a"), keys.config) == (
        b"/homing/dev/slots/00007",
        b"/homing/dev/nodes/a",
        b"/homing/dev/config",
    )
    assert keys.slot_of(keys.slot(65_535)) == 65_535
    assert keys.node_of(keys.node("n-1")) == "n-1"
    assert keys.gateway_of(keys.gateway("g")) == "g"
    assert keys.load_of(keys.load("a")) == "a"
    assert keys.load_of(keys.node("a")) is None
    for other in (keys.config, keys.node("00001"), b"/homing/dev/slots/x0001", b"/homing/dev/slots/1"):
        assert keys.slot_of(other) is None
    for name in ("", "a/b", "-a", "a" * 64, "é"):
        with pytest.raises(ConfigurationError):
            ClusterKeys(name)


def reach() -> Reach:
    one = Reach(Random(1))
    one.seen("b", 0.0, registered=True)
    return one


def test_a_node_is_probed_at_once_and_then_now_and_then() -> None:
    one = reach()
    assert one.due(0.0) == ["b"]
    assert one.due(5.0) == [], "one question at a time"
    one.result("b", "i", sent_at=5.0, now=5.1)
    assert one.due(5.2) == []
    assert one.due(5.1 + 1.2 * PROBE_INTERVAL_S) == ["b"]
    one.result("b", "i", sent_at=6.3, now=6.3)
    one.suspect("b", 6.4)
    assert one.due(6.4) == ["b"]


def test_two_failures_in_a_row_are_death_and_one_answer_is_life() -> None:
    one = reach()
    one.result("b", "i", sent_at=0.0, now=0.0)
    one.result("b", None, sent_at=1.0, now=1.0)
    assert (one.dead("b", 1.0), one.reachable("b", 1.0), one.answers("b", 1.0)) == (False, True, False)
    assert one.due(1.0 + PROBE_RETRY_S) == ["b"]
    one.result("b", None, sent_at=1.2, now=1.2)
    assert (one.dead("b", 1.2), one.reachable("b", 1.2)) == (True, False)
    assert one.last_contact("b") == 0.0
    one.result("b", "j", sent_at=2.0, now=2.0)
    assert (one.dead("b", 2.0), one.answers("b", 2.0)) == (False, True)
    assert one.answered_as_another("b", "i", since=2.0)
    assert not one.answered_as_another("b", "i", since=2.1)


def test_an_old_answer_is_no_reach() -> None:
    one = reach()
    one.result("b", "i", sent_at=0.0, now=0.0)
    assert one.answers("b", REACH_FRESH_INTERVALS * PROBE_INTERVAL_S)
    assert not one.answers("b", REACH_FRESH_INTERVALS * PROBE_INTERVAL_S + 0.1)


def test_an_owner_that_nobody_can_ask_is_gone_after_a_while() -> None:
    one = Reach(Random(1))
    one.mentioned("x", 10.0)
    assert one.due(10.0) == []
    assert not one.dead("x", 10.0 + UNKNOWN_OWNER_GRACE_S - 0.1)
    assert one.dead("x", 10.0 + UNKNOWN_OWNER_GRACE_S)
    assert not one.dead("never heard of", 99.0)


def test_jurisdictions_grow_and_never_shrink() -> None:
    """Seen to fail when a node may take one away, or a zone: what was bound would get loose."""
    eu, us = Jurisdiction("eu", ("berlin",)), Jurisdiction("us", ("ohio",))
    there = JurisdictionsRecord((eu,))
    assert decode(encode(there), JurisdictionsRecord) == there
    assert there.grown_to((eu,)) is there
    assert JurisdictionsRecord().grown_to(()) == JurisdictionsRecord()
    assert there.grown_to((eu, us)).jurisdictions == (eu, us)
    wider = Jurisdiction("eu", ("paris", "berlin"))
    assert there.grown_to((wider,)).jurisdictions == (wider,)
    for fewer in ((), (us, eu), (Jurisdiction("eu", ("paris",)),)):
        with pytest.raises(ConfigurationError, match="this cluster has HOMING_JURISDICTIONS=eu=berlin"):
            there.grown_to(fewer)
