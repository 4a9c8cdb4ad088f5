"""One record: what is written is read, and every damaged byte is found."""

from __future__ import annotations

import pytest

from homing_node.log import limits, record
from homing_node.objects import limits as host_limits
from homing_node.workers.inside import limits as inside_limits

OBJECT = bytes(range(32))
PREVIOUS = bytes(range(100, 116))
SAMPLE = record.encode(record.TURN, 3, 7, 1_234, PREVIOUS, OBJECT, b"what a turn did")


def test_a_record_is_read_as_it_was_written() -> None:
    found = record.decode(SAMPLE)
    assert (found.kind, found.epoch, found.lsn, found.at_ms) == (record.TURN, 3, 7, 1_234)
    assert (found.prev_hash, found.object, found.body) == (PREVIOUS, OBJECT, b"what a turn did")
    assert found.hash == record.hash_of(SAMPLE)


def test_the_short_cuts_say_what_decode_says() -> None:
    found = record.decode(SAMPLE)
    assert record.position(SAMPLE) == (found.epoch, found.lsn)
    assert record.object_of(SAMPLE) == found.object
    assert record.prev_hash_of(SAMPLE) == found.prev_hash


def test_every_flipped_bit_is_found() -> None:
    """Seen to fail with the comparison of hashes removed from `decode`."""
    for at in range(len(SAMPLE)):
        for bit in range(8):
            damaged = bytearray(SAMPLE)
            damaged[at] ^= 1 << bit
            with pytest.raises(record.BadRecord):
                record.decode(bytes(damaged))


def test_every_cut_and_every_addition_is_found() -> None:
    for length in range(len(SAMPLE)):
        with pytest.raises(record.BadRecord):
            record.decode(SAMPLE[:length])
    with pytest.raises(record.BadRecord):
        record.decode(SAMPLE + b"\0")


def test_a_newer_format_is_named() -> None:
    with pytest.raises(record.BadRecord, match="format 2"):
        record.decode(b"\x02" + SAMPLE[1:])


@pytest.mark.parametrize("body_bytes", [0, 1, limits.record_bytes_max - record.HEADER_BYTES - record.HASH_BYTES])
def test_a_record_may_be_as_large_as_the_limit(body_bytes: int) -> None:
    data = record.encode(record.TURN, 1, 1, 0, record.NO_HASH, record.NO_OBJECT, bytes(body_bytes))
    assert len(record.decode(data).body) == body_bytes


def test_a_record_over_the_limit_is_refused() -> None:
    body = bytes(limits.record_bytes_max - record.HEADER_BYTES - record.HASH_BYTES + 1)
    with pytest.raises(record.BadRecord, match="bytes"):
        record.decode(record.encode(record.TURN, 1, 1, 0, record.NO_HASH, record.NO_OBJECT, body))


def test_whatever_a_worker_says_in_one_message_fits_a_record() -> None:
    """A commit of 16 MiB and an answer of 16 MiB under a key. Else replicas refuse what the owner has."""
    keys = host_limits.calls_per_object_max * (host_limits.key_bytes_max + 64)
    assert limits.record_bytes_max > inside_limits.message_bytes_max + keys + record.HEADER_BYTES + record.HASH_BYTES


def test_the_largest_numbers_fit() -> None:
    top = (1 << 64) - 1
    data = record.encode(record.PRUNE, top, top, top, PREVIOUS, OBJECT, b"")
    assert record.position(data) == (top, top)
    assert record.decode(data).at_ms == top


def test_a_record_belongs_at_one_place_only() -> None:
    """Seen to fail with either comparison removed from `check_next`."""
    assert record.check_next(SAMPLE, 7, PREVIOUS) == 3
    with pytest.raises(record.BadRecord, match="does not follow"):
        record.check_next(SAMPLE, 8, PREVIOUS)
    with pytest.raises(record.BadRecord, match="does not follow"):
        record.check_next(SAMPLE, 7, record.NO_HASH)
