"""An object on its way out of a store in messages, and back into records: it is the same, or it is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from homing.errors import BadRequest, TooLarge
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.log import record
from homing_node.log.memory_store import MemoryStore
from homing_node.log.store import ObjectPart, PutObject, PutPages
from homing_node.objects.images import PAGE_BYTES, DamagedPages, apply_batch, image
from homing_node.objects.restored import Incoming, Whole, messages
from homing_node.objects.turn_record import (
    KeyEntry,
    KeyState,
    ObjectMeta,
    TurnBody,
    decode_meta,
    encode_body,
    encode_meta,
)
from homing_node.workers.inside import pages

OBJECT = ObjectId.from_name("Counter", "a").raw


def page(number: int) -> bytes:
    return number.to_bytes(4, "big") * (PAGE_BYTES // 4)


def stored(count: int, keys: int = 0, payload: bytes = b"answer", *, restoring: bool = False) -> MemoryStore:
    """A store with one object."""
    entries = {f"k{n}": KeyEntry(f"k{n}", b"f", KeyState.DONE, 5, 0, payload) for n in range(keys)}
    store = MemoryStore(slots=1)
    meta = ObjectMeta("Counter", "a", count, entries, restoring=restoring)
    store.write([PutObject(OBJECT, encode_meta(meta))])
    store.write([PutPages(OBJECT, {n: page(n) for n in range(1, count + 1)}, count)])
    return store


def pieces(store: MemoryStore) -> list[wire.StoredObject]:
    found: list[wire.StoredObject] = []
    place = b""
    while True:
        part = store.part(0, place, limits.backup_part_bytes)
        for message in messages(part.objects):
            assert message.ByteSize() <= 3 * limits.backup_part_bytes
            found += message.objects
        place = part.next_place
        if not place:
            return found


def restored(found: list[wire.StoredObject]) -> list[TurnBody]:
    incoming = Incoming(OBJECT, b"run")
    bodies = [body for piece in found for body in incoming.take(piece)]
    assert incoming.done
    return bodies


def records(bodies: list[TurnBody]) -> list[bytes]:
    return [record.encode(record.TURN, 1, lsn, 9, bytes(16), OBJECT, encode_body(b)) for lsn, b in enumerate(bodies, 1)]


@pytest.mark.parametrize("count", [0, 1, 300, 3_000])
@pytest.mark.parametrize(("keys", "payload"), [(0, b""), (3, b"x"), (3, bytes(700_000)), (1, bytes(5_000_000))])
def test_an_object_comes_back_as_it_was(count: int, keys: int, payload: bytes) -> None:
    """Over another, larger one, whole at once, or record by record with pages brought up after each."""
    source = stored(count, keys, payload)
    bodies = restored(pieces(source))
    assert all(len(body) < 24 << 20 for body in records(bodies))
    assert [body.begins for body in bodies] == [True] + [False] * (len(bodies) - 1)
    assert [body.ends for body in bodies] == [False] * (len(bodies) - 1) + [True]
    wanted = b"".join(page(n) for n in range(1, count + 1))
    for step in (1, len(bodies)):
        target = stored(3_500, 7)
        lines = records(bodies)
        for at in range(0, len(lines), step):
            target.write(apply_batch(0, lines[at : at + step], source=target))
            now = image(OBJECT, [], target, target.pages(OBJECT))
            assert now.restoring == (at + step < len(lines))
        got = image(OBJECT, [], target, target.pages(OBJECT))
        assert (got.page_count, got.pages) == (count, wanted)
        assert [(k.key, k.payload, k.state) for k in got.keys.values()] == [(f"k{n}", payload, 1) for n in range(keys)]
        meta = decode_meta(target.object(OBJECT) or b"")
        assert (meta.class_name, meta.name, meta.restore, meta.restoring) == ("Counter", "a", b"run", False)
        before = stored(3_500, 7)
        assert image(OBJECT, lines, before, before.pages(OBJECT)).pages == wanted


def test_changes_after_a_restore_go_on_top_of_it() -> None:
    """In the same batch: what the store had of a page before counts for nothing any more."""
    bodies = restored(pieces(stored(2)))
    grown = pages.encode(3, [(1, page(1), page(77)), (3, None, page(3))])
    changed = pages.encode(3, [(3, page(3), b"new!" + page(3)[4:])])
    target = stored(5)
    target.write(apply_batch(0, records([*bodies, TurnBody(commit=grown), TurnBody(commit=changed)]), source=target))
    got = image(OBJECT, [], target, target.pages(OBJECT))
    assert got.pages == page(77) + page(2) + b"new!" + page(3)[4:]


def test_changes_before_a_restore_are_gone_with_it() -> None:
    before = TurnBody("Counter", "a", pages.encode(9, [(n, None, page(n)) for n in range(1, 10)]))
    ops = apply_batch(0, records([before, *restored(pieces(stored(2)))]), source=stored(0))
    put = next(op for op in ops if isinstance(op, PutPages))
    assert (sorted(put.pages), put.page_count) == ([1, 2], 2)


def test_an_object_whose_own_restore_was_under_way_stays_so() -> None:
    target = stored(0)
    target.write(apply_batch(0, records(restored(pieces(stored(3, restoring=True)))), source=target))
    assert image(OBJECT, [], target, target.pages(OBJECT)).restoring


def test_what_was_stored_before_there_were_restores_is_read() -> None:
    old = encode_meta(ObjectMeta("Counter", "a", 3))
    assert old[-6:] == b"\xc4\x00\xc2\x00\xc0\x00"
    assert decode_meta(b"\x94" + old[1:-6]) == ObjectMeta("Counter", "a", 3)


Change = Callable[[list[wire.StoredObject]], None]


def drop_first(found: list[wire.StoredObject]) -> None:
    del found[0]


def swap_pages(found: list[wire.StoredObject]) -> None:
    found[1], found[2] = found[2], found[1]


def short_page(found: list[wire.StoredObject]) -> None:
    found[1].pages[0] = b"short"


def too_many_pages(found: list[wire.StoredObject]) -> None:
    found.append(wire.StoredObject(object=OBJECT, first_page=601, pages=[page(1)]))


def more_data(found: list[wire.StoredObject]) -> None:
    found[0].data += b"x"


def no_meta(found: list[wire.StoredObject]) -> None:
    found[0].data = b"\xc1" * len(found[0].data)


def other_count(found: list[wire.StoredObject]) -> None:
    found[0].page_count = 599


def other_class(found: list[wire.StoredObject]) -> None:
    found[0].data = encode_meta(ObjectMeta("Kounter", "a", 600))


@pytest.mark.parametrize(
    "change", [drop_first, swap_pages, short_page, too_many_pages, more_data, no_meta, other_count, other_class]
)
def test_what_is_no_object_is_refused(change: Change) -> None:
    found = pieces(stored(600))
    assert len(found) > 3
    change(found)
    with pytest.raises(BadRequest):
        restored(found)


@pytest.mark.parametrize("field", ["data_bytes", "page_count"])
def test_an_object_larger_than_one_can_be_is_refused_at_once(field: str) -> None:
    first = wire.StoredObject(object=OBJECT, data=b"x", data_bytes=1_000, page_count=1)
    setattr(first, field, (33 << 20) if field == "data_bytes" else 65_537)
    with pytest.raises(TooLarge):
        list(Incoming(OBJECT, b"run").take(first))


def test_a_page_that_is_missing_is_seen_on_the_way_out() -> None:
    meta = encode_meta(ObjectMeta("Counter", "a", 3))
    other = ObjectPart(bytes(32), encode_meta(ObjectMeta("Counter")), 0, 1)
    first = ObjectPart(OBJECT, meta, 3, 1, [page(1), page(2)])
    Whole().take([first, ObjectPart(OBJECT, b"", 3, 3, [page(3)]), other], last=True)
    for wrong in ([first, other], [first], [ObjectPart(OBJECT, meta, 2, 1, [page(1), page(2)])], [
        first, ObjectPart(OBJECT, b"", 3, 3, [page(3), page(4)]),
    ]):  # fmt: skip
        with pytest.raises(DamagedPages):
            Whole().take(wrong, last=True)
