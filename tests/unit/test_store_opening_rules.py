"""The decisions of opening that need no disk: is a store what its mark says, and how its format is brought up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from homing.errors import ConfigurationError
from homing_node.log.mark import Mark
from homing_node.log.rocks_db import RocksDatabase, is_environment
from homing_node.log.rocks_open import Identity, Migration, migration_steps, verdict

MARK = Mark("d1", 10, trusted=True, cluster="c", node="n1")
IDENTITY = Identity(1, "c", "n1", "d1")


@pytest.mark.parametrize("top", [10, 11, 12, 1_000])
def test_at_or_above_the_mark_is_sound(top: int) -> None:
    assert verdict(IDENTITY, MARK, top, hole=False) == ""


@pytest.mark.parametrize("top", [0, 1, 9])
def test_below_the_mark_is_a_loss(top: int) -> None:
    assert "batch 10 was on disk" in verdict(IDENTITY, MARK, top, hole=False)


def test_what_an_earlier_disk_had_counts_by_its_base() -> None:
    assert verdict(replace(IDENTITY, base=10), MARK, 3, hole=False) == ""


@pytest.mark.parametrize(
    ("identity", "mark", "hole", "why"),
    [
        (IDENTITY, None, False, "mark is missing"),
        (None, MARK, False, "empty"),
        (IDENTITY, replace(MARK, disk_id="d2"), False, "another disk"),
        (IDENTITY, MARK, True, "missing from the middle"),
        (IDENTITY, replace(MARK, trusted=False), False, "disagree"),
        (replace(IDENTITY, lost="gone"), MARK, False, "disagree"),
        (replace(IDENTITY, lost="gone"), replace(MARK, trusted=False), False, ""),
    ],
)
def test_other_losses(identity: Identity | None, mark: Mark | None, hole: bool, why: str) -> None:
    found = verdict(identity, mark, 20, hole=hole)
    assert why in found
    assert bool(found) == bool(why)


def step(name: str) -> Migration:
    def migrate(db: RocksDatabase) -> None:
        raise AssertionError("only its place in the list is looked at")

    migrate.__name__ = name
    return migrate


def test_migrations_are_taken_in_order() -> None:
    table = {1: step("one"), 2: step("two"), 3: step("three")}
    assert migration_steps(1, 4, table) == [table[1], table[2], table[3]]
    assert migration_steps(3, 4, table) == [table[3]]
    assert migration_steps(4, 4, table) == []


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="format 5 and this version knows 4"):
        migration_steps(5, 4, {})


def test_a_format_without_a_way_up_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="too old"):
        migration_steps(1, 3, {2: step("two")})


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("IO error: No space left on device: While appending to file: x.log", True),
        ("IO error: While lock file: x/LOCK: Resource temporarily unavailable", True),
        ("IO error: Input/output error: While pread", True),
        ("Corruption: block checksum mismatch: in x.sst", False),
        ("Corruption: IO error: No such file or directory: x.sst", False),
        ("Invalid argument: x: does not exist (create_if_missing is false)", False),
    ],
)
def test_what_the_machine_refuses_is_told_from_damage(text: str, environment: bool) -> None:
    assert is_environment(Exception(text)) == environment
