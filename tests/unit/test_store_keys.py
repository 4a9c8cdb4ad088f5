"""Keys: that they come back, sort as numbers do, and that no kind reaches into another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing_node.log import rocks_keys as keys

slots = st.integers(0, 0xFFFF)
lsns = st.integers(0, (1 << 64) - 1)
ids = st.binary(min_size=32, max_size=32)


@given(slots, lsns, slots, lsns)
def test_record_keys_sort_as_slot_and_lsn_do(slot: int, lsn: int, other_slot: int, other_lsn: int) -> None:
    key, other = keys.record_key(slot, lsn), keys.record_key(other_slot, other_lsn)
    assert (key < other) == ((slot, lsn) < (other_slot, other_lsn))
    assert keys.record_place(key) == (slot, lsn)
    assert keys.slot_of_key(key) == slot
    assert keys.slot_key(keys.LOG, slot) <= key < keys.log_end(slot)
    assert (keys.log_end(slot) <= other) == (slot < other_slot)


@given(ids, ids)
def test_object_keys_sort_by_id_within_a_class(one: bytes, other: bytes) -> None:
    other = other[:2] + one[2:10] + other[10:]
    assert (keys.object_key(one) < keys.object_key(other)) == (one < other)
    assert keys.object_of_key(keys.object_key(one)) == one


@given(ids, st.integers(0, (1 << 32) - 2), st.integers(0, (1 << 32) - 2))
def test_page_keys_sort_as_numbers_do(object_id: bytes, number: int, other: int) -> None:
    assert (keys.page_key(object_id, number) < keys.page_key(object_id, other)) == (number < other)


@given(slots, lsns, ids)
def test_no_kind_reaches_into_another(slot: int, lsn: int, object_id: bytes) -> None:
    assert keys.BATCH <= keys.batch_key(lsn) < keys.BATCH_END
    assert keys.PROMISE <= keys.slot_key(keys.PROMISE, slot) < keys.PROMISE_END
    assert keys.APPLIED <= keys.slot_key(keys.APPLIED, slot) < keys.APPLIED_END
    assert keys.DAMAGED <= keys.slot_key(keys.DAMAGED, slot) < keys.DAMAGED_END
    assert keys.LOG <= keys.record_key(slot, lsn) < keys.LOG_END
    kinds = [keys.IDENTITY, keys.BATCH, keys.DAMAGED, keys.PROMISE, keys.APPLIED, keys.LOG, keys.OBJECT, keys.COUNT]
    assert len({*kinds, keys.PAGE}) == 9


@given(lsns, st.text())
def test_promises_come_back(epoch: int, claimant: str) -> None:
    assert keys.decode_promise(keys.encode_promise(epoch, claimant)) == (epoch, claimant)


@given(lsns, lsns, st.binary(min_size=16, max_size=16))
def test_applied_points_come_back(lsn: int, epoch: int, digest: bytes) -> None:
    assert keys.decode_applied(keys.encode_applied(lsn, epoch, digest)) == (lsn, epoch, digest)


@pytest.mark.parametrize("batch", [0, 1, keys.batch_ring - 1])
def test_the_ring_of_batches_closes(batch: int) -> None:
    assert keys.batch_key(batch) == keys.batch_key(batch + keys.batch_ring)
    assert keys.batch_key(batch) != keys.batch_key(batch + 1)
