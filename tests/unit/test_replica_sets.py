"""Which replicas a slot should have when disks are gone."""

from __future__ import annotations

from homing_node.replica_sets import readmitted
from homing_placement.records import Replica

SET = [Replica("a", "1"), Replica("b", "2"), Replica("c", "3")]


def test_a_set_whose_disks_are_there_or_away_stays() -> None:
    assert readmitted(SET, {"a": "1", "b": "2", "c": "3", "d": "4"}) is None
    assert readmitted(SET, {"a": "1"}) is None, "who is away may come back with its disk"


def test_a_node_with_another_disk_is_taken_in_at_its_place() -> None:
    assert readmitted(SET, {"a": "9", "b": "2"}) == (Replica("a", "9"), *SET[1:])


def test_those_that_stay_must_be_a_majority() -> None:
    """Seen to fail without that: two new disks would outvote the only one that has the log."""
    assert readmitted(SET, {"b": "8", "c": "9"}) is None
    assert readmitted(SET[:1], {"a": "9"}) is None
    assert readmitted([*SET, Replica("d", "4"), Replica("e", "5")], {"d": "8", "e": "9"}) == (
        *SET,
        Replica("d", "8"),
        Replica("e", "9"),
    )
