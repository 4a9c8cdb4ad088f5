"""From records to pages: a page that is not what its record promised stops the slot (rule 24)."""

from __future__ import annotations

import pytest

from homing.ids import ObjectId
from homing_node.log import record
from homing_node.log.memory_store import MemoryStore
from homing_node.log.store import Op, PutObject, PutPages
from homing_node.objects.images import DamagedPages, apply_batch, image, meta_of
from homing_node.objects.turn_record import (
    KeyEntry,
    ObjectMeta,
    TurnBody,
    decode_body,
    decode_meta,
    encode_body,
    encode_meta,
)
from homing_node.workers.inside import pages

OBJECT = ObjectId.from_name("Counter", "a").raw
OLD, NEW = bytes(1024), bytes(10) + b"new" + bytes(1011)


def stored(page: bytes | None, count: int = 1) -> MemoryStore:
    """A store that holds an object of one page, or of none though its meta value says that there is one."""
    store = MemoryStore()
    batch: list[Op] = [PutObject(OBJECT, encode_meta(ObjectMeta("Counter", "a", page_count=count)))]
    if page is not None:
        batch.append(PutPages(OBJECT, {1: page}, 1))
    store.write(batch)
    return store


def update() -> list[bytes]:
    """A record that changes three bytes of page 1, and carries the checksum of the page that comes of it."""
    commit = pages.encode(1, [(1, OLD, NEW)])
    assert len(commit) < 100
    body = encode_body(TurnBody(commit=commit))
    return [record.encode(record.TURN, 1, 1, 0, bytes(16), OBJECT, body)]


def test_a_change_is_put_on_the_page_that_it_was_made_for() -> None:
    store = stored(OLD)
    assert image(OBJECT, update(), store, store.pages(OBJECT)).pages == NEW
    store.write(apply_batch(7, update(), source=store))
    assert store.page(OBJECT, 1) == NEW
    assert store.load()[7].applied_lsn == 1


@pytest.mark.parametrize("wrong", [b"\1" + bytes(1023), bytes(1023) + b"\1"])
def test_a_page_that_is_not_what_its_record_promised_is_refused(wrong: bytes) -> None:
    """Seen to fail without the comparison of checksums, in either direction."""
    store = stored(wrong)
    with pytest.raises(DamagedPages, match="page 1 fails its checksum"):
        image(OBJECT, update(), store, store.pages(OBJECT))
    with pytest.raises(DamagedPages, match="page 1 fails its checksum"):
        apply_batch(7, update(), source=store)


def test_a_page_that_is_missing_is_refused() -> None:
    """Seen to fail when zeros are taken for it."""
    store = stored(None)
    with pytest.raises(DamagedPages, match="page 1 is missing"):
        image(OBJECT, [], store, store.pages(OBJECT))


@pytest.mark.parametrize("commit", [b"", b"\x01\x00", b"\x01\x00\x00\x00\x05\x00", b"\x01\x00\x00\x00\x01\x00\x01"])
def test_a_commit_that_is_none_is_damage(commit: bytes) -> None:
    """A record of a peer is believed as far as its hash goes. Found by `make fuzz`: a struct.error ended the node."""
    records = [record.encode(record.TURN, 1, 1, 0, bytes(16), OBJECT, encode_body(TurnBody(commit=commit)))]
    store = stored(OLD)
    with pytest.raises(DamagedPages):
        apply_batch(7, records, source=store)
    with pytest.raises(DamagedPages):
        image(OBJECT, records, store, store.pages(OBJECT))


def test_what_is_nested_without_end_is_a_value_error() -> None:
    """Found by `make fuzz`: only a ValueError is expected of bytes, and a RecursionError came."""
    deep = b"\x91" * 10_000 + b"\xc0"
    key = b"\x96\xa1k\xc4\x01f\x01\x00\x00" + deep
    with pytest.raises(ValueError, match="nested"):
        decode_body(b"\x94\xa0\xc0\xc0\x91" + key)
    with pytest.raises(ValueError, match="nested"):
        decode_meta(b"\x94\xa1C\xc0\x00\x81\xa1k" + key)


def a_record(lsn: int, body: TurnBody) -> bytes:
    return record.encode(record.TURN, 1, lsn, 100 + lsn, bytes(16), OBJECT, encode_body(body))


def first_turn() -> TurnBody:
    return TurnBody("Counter", "a", pages.encode(1, [(1, None, NEW)]), wake_ms=7)


GONE = TurnBody(wake_ms=0, gone=True)


def test_nothing_is_left_of_an_object_that_is_deleted() -> None:
    """Whether what was there is in pages, in records, or in both; seen to fail when the store still has its data."""
    for store in (stored(OLD), MemoryStore()):
        records = [a_record(1, first_turn()), a_record(2, GONE)]
        found = image(OBJECT, records, store, store.pages(OBJECT))
        assert (found.exists, found.page_count, found.pages, found.keys, found.wake_ms) == (False, 0, b"", {}, 0)
        assert meta_of(records, store.object(OBJECT)) is None
        store.write(apply_batch(7, records, source=store))
        assert store.object(OBJECT) is None
        assert list(store.pages(OBJECT)) == []
        assert store.wakes(7, 9) == []
        assert store.load()[7].applied_lsn == 2


def test_what_follows_a_deletion_is_a_new_object() -> None:
    """Seen to fail when the keys of the one before are remembered."""
    old = TurnBody("Counter", "a", pages.encode(2, [(1, None, OLD), (2, None, OLD)]), [KeyEntry("k", b"f", 1)])
    for begun in (0, 1):
        store = MemoryStore()
        records = [a_record(1, old), a_record(2, GONE), a_record(3, first_turn())]
        if begun:
            store.write(apply_batch(7, records[:1], source=store))
        found = image(OBJECT, records[begun:], store, store.pages(OBJECT))
        assert (found.exists, found.pages, found.keys, found.wake_ms) == (True, NEW, {}, 7)
        store.write(apply_batch(7, records[begun:], source=store))
        assert list(store.pages(OBJECT)) == [(1, NEW)]
        kept = decode_meta(store.object(OBJECT) or b"")
        assert (kept.class_name, kept.name, kept.page_count, kept.written_ms) == ("Counter", "a", 1, 103)
