"""Idempotency keys of one object (rule 22): what is kept, and for how long."""

from __future__ import annotations

import pytest

from homing_node.objects import limits
from homing_node.objects.keys import KeyTable
from homing_node.objects.turn_record import KeyEntry, KeyState, TurnBody, decode_body, encode_body

MINUTE = 60_000


def entry(key: str, at_ms: int = 0, payload: object = b"1") -> KeyEntry:
    return KeyEntry(key, b"f", KeyState.DONE, at_ms, 0, payload)


def test_a_record_puts_finishes_and_drops_keys() -> None:
    table = KeyTable()
    table.take(TurnBody(keys=[KeyEntry("a", b"f", KeyState.RUNNING)]), at_ms=5)
    running = table.get("a")
    assert running is not None
    assert (running.state, running.at_ms) == (KeyState.RUNNING, 5)
    table.take(TurnBody(keys=[entry("a"), entry("b")]), at_ms=9)
    assert [e.key for e in table.entries.values()] == ["a", "b"]
    table.take(TurnBody(dropped=["a", "never"]), at_ms=9)
    assert table.get("a") is None
    assert table.bytes == sum(e.size() for e in table.entries.values())


def test_a_key_is_kept_ten_minutes_even_when_there_are_too_many() -> None:
    """Seen to fail when `key_kept_min_ms` is not looked at."""
    table = KeyTable(entry(f"k{i}", at_ms=0) for i in range(limits.keys_kept_max + 5))
    assert table.prunable(limits.key_kept_min_ms, 0) == []
    dropped = table.prunable(limits.key_kept_min_ms + 1, 0)
    assert dropped == [f"k{i}" for i in range(6)]


def test_a_key_goes_after_a_day() -> None:
    table = KeyTable([entry("old", at_ms=0), entry("young", at_ms=MINUTE)])
    assert table.prunable(limits.key_kept_max_ms, 0) == []
    assert table.prunable(limits.key_kept_max_ms + 1, 0) == ["old"]


@pytest.mark.parametrize("at_ms", [0, 5 * limits.key_kept_max_ms])
def test_a_key_from_before_this_ownership_counts_from_its_beginning(at_ms: int) -> None:
    """The clock of the owner before may have been days behind or ahead. Seen to fail when its own time is taken."""
    began_ms = 2 * limits.key_kept_max_ms
    table = KeyTable([entry("old", at_ms)])
    assert table.prunable(began_ms + limits.key_kept_max_ms, began_ms) == []
    assert table.prunable(began_ms + limits.key_kept_max_ms + 1, began_ms) == ["old"]


def test_when_ten_minutes_cannot_be_kept_there_is_no_room() -> None:
    """The call is refused with 429; seen to fail when the bytes are not counted."""
    big = bytes(limits.keys_bytes_max // 2)
    table = KeyTable([entry("a", 0, big), entry("b", 0, big), entry("c", 0, big)])
    assert table.prunable(limits.key_kept_min_ms, 0) is None
    assert table.prunable(limits.key_kept_min_ms + 1, 0) == ["a", "b"]


@pytest.mark.parametrize(
    "body", [TurnBody(), TurnBody("C", "n", b"x", [entry("k", payload=["code", "m", "T"])], ["d"])]
)
def test_a_body_survives_its_encoding(body: TurnBody) -> None:
    assert decode_body(encode_body(body)) == body
