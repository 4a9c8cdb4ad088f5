"""What every store must do for snapshots and trimming: real one and fake alike."""

from __future__ import annotations

import pytest
from tests.conformance.store_subjects import TAG, Subject, page, put

from homing.ids import BOUND_HASH, BOUND_MARK, SLOTS_DEFAULT, class_tag, slot_of, slots_of_each
from homing_node.log import rocks_keys as keys
from homing_node.log.store import (
    DropSlot,
    ObjectPart,
    Op,
    Part,
    PutObject,
    PutPages,
    PutRecord,
    SetApplied,
    SetDamaged,
    SetPromise,
    SetWhole,
    SlotImage,
    Store,
    TrimRecords,
)

EACH = slots_of_each(SLOTS_DEFAULT)  # slots of a jurisdiction


def ids_of(slot: int, tags: list[bytes], count: int) -> list[bytes]:
    """Objects of a slot, of several classes: the first and the last hash of the slot among them."""
    bound, place = divmod(slot - SLOTS_DEFAULT, EACH)
    first, end = keys.hash_range(slot, SLOTS_DEFAULT) if bound < 0 else keys.hash_range(place, EACH)
    hashes = [first, end - 1] + [first + number % (end - first) for number in range(count - 2)]
    rests = [number.to_bytes(22, "big") for number in range(count)]
    rests[1] = b"\xff" * 22  # of the last hash: the last id that there can be
    found: list[bytes] = []
    for each, rest in zip(hashes, rests, strict=True):
        hashed = each.to_bytes(2, "big")
        for tag in tags:
            mark = BOUND_MARK + bytes([max(bound, 0)])
            found.append(hashed + tag + rest if bound < 0 else BOUND_HASH + tag + mark + hashed + rest[:14])
            assert slot_of(found[-1], SLOTS_DEFAULT) == slot
    return found


def parts(store: Store, slot: int, bytes_max: int) -> list[ObjectPart]:
    found: list[ObjectPart] = []
    place = b""
    while True:
        part = store.part(slot, place, bytes_max)
        found += part.objects
        if not part.next_place:
            return found
        assert part.objects, "each part brings something"
        place = part.next_place


def with_neighbours(store: Store, slot: int) -> dict[bytes, tuple[bytes, list[bytes]]]:
    """Fill a slot and those beside it; returns what the slot has: data and pages by id."""
    content: dict[bytes, tuple[bytes, list[bytes]]] = {}
    for at in (slot - 1, slot, slot + 1):
        for number, found in enumerate(ids_of(at, [TAG, class_tag("Other")], 5)):
            pages = [page(f"{number}.{each}") for each in range(number % 4)]
            data = b"object %d of %d" % (number, at)
            ops: list[Op] = [PutObject(found, data, number and 1_000 + number)]
            if pages:
                ops.append(PutPages(found, dict(enumerate(pages, 1)), len(pages)))
            store.write([*ops, *put(at, number + 1), SetApplied(at, 1, 1, bytes(16))])
            if at == slot:
                content[found] = (data, pages)
    return content


@pytest.mark.parametrize("bytes_max", [1, 1_500, 1 << 20])
@pytest.mark.parametrize("slot", [1, 511, 1_022, 1_023, 1_024, 1_100, 1_151, 1_152, 2_046])
def test_parts_hold_all_of_a_slot_and_nothing_else(subject: Subject, slot: int, bytes_max: int) -> None:
    content = with_neighbours(subject.store, slot)
    rebuilt: dict[bytes, tuple[bytes, list[bytes]]] = {}
    for part in parts(subject.store, slot, bytes_max):
        data, pages = rebuilt.setdefault(part.object, (part.data, []))
        assert part.first_page == len(pages) + 1
        assert part.page_count == len(content[part.object][1])
        pages += part.pages
        rebuilt[part.object] = (data, pages)
    assert rebuilt == content


def test_a_slot_without_objects_has_one_empty_part(subject: Subject) -> None:
    assert subject.store.part(3, b"", 100) == Part([], b"")


def test_parts_say_once_when_an_object_is_to_be_woken(subject: Subject) -> None:
    """Seen to fail when a snapshot takes no times along."""
    with_neighbours(subject.store, 5)
    told = sorted((part.wake_ms, part.object) for part in parts(subject.store, 5, 1) if part.wake_ms)
    assert told == subject.store.wakes(5, 100)
    assert len(told) == 9


def test_a_dropped_slot_has_its_promise_and_nothing_else(subject: Subject) -> None:
    content = with_neighbours(subject.store, 5)
    before = subject.store.load()
    subject.store.write([SetPromise(5, 9, "i"), DropSlot(5, votes=True)])
    for store in subject.before_and_after_a_restart():
        after = store.load()
        assert after[5] == SlotImage(9, "i", incomplete=True, votes=True)
        assert (after[4], after[6]) == (before[4], before[6])
        assert parts(store, 5, 1 << 20) == []
        assert store.records(5, 1, 10) == []
        assert store.wakes(5, 10) == []
        assert len(store.wakes(4, 10)) == 9
        for found in content:
            assert store.object(found) is None
            assert list(store.pages(found)) == []
        assert parts(store, 4, 1 << 20)
        assert parts(store, 6, 1 << 20)


@pytest.mark.parametrize("slot", [1_022, 1_023, 1_024, 1_151, 1_152, 2_046])
def test_a_slot_that_is_dropped_takes_nothing_of_a_jurisdictions(subject: Subject, slot: int) -> None:
    """Nor the other way round. Seen to fail when the last slot for all goes as one range: a jurisdiction is in it."""
    with_neighbours(subject.store, slot)
    beside = [parts(subject.store, at, 1 << 20) for at in (slot - 1, slot + 1)]
    subject.store.write([DropSlot(slot, votes=True)])
    for store in subject.before_and_after_a_restart():
        assert parts(store, slot, 1 << 20) == []
        assert [parts(store, at, 1 << 20) for at in (slot - 1, slot + 1)] == beside
        assert all(list(store.pages(found)) == [] for found in ids_of(slot, [TAG, class_tag("Other")], 5))


def test_a_slot_that_is_dropped_takes_nothing_of_a_class_that_comes_with_it(subject: Subject) -> None:
    """A batch is of many slots. Seen to fail when only the classes are left alone that the disk has already."""
    found = ids_of(1_024, [class_tag("New")], 2)[0]
    new: list[Op] = [PutObject(found, b"x"), PutPages(found, {1: page("1")}, 1)]
    subject.store.write([*new, DropSlot(1_023, votes=True)])
    for store in subject.before_and_after_a_restart():
        assert [part.pages for part in parts(store, 1_024, 1 << 20)] == [[page("1")]]


def test_a_slot_that_became_whole_says_so_after_a_restart(subject: Subject) -> None:
    with_neighbours(subject.store, 5)
    found = ids_of(5, [TAG], 2)[0]
    subject.store.write([DropSlot(5, votes=True)])
    subject.store.write([PutObject(found, b"x"), PutPages(found, {1: page("1")}, 2)])
    subject.store.write([PutPages(found, {2: page("2")}, 2), SetApplied(5, 40, 3, b"h" * 16), SetWhole(5)])
    subject.store.write([PutRecord(5, 41, b"r41")])
    for store in subject.before_and_after_a_restart():
        image = store.load()[5]
        assert image == SlotImage(
            applied_lsn=40, applied_epoch=3, applied_hash=b"h" * 16, records=[b"r41"], whole=True, trimmed=40
        )
        assert [data for _, data in store.pages(found)] == [page("1"), page("2")]


def test_a_damaged_slot_stays_so_until_it_is_whole(subject: Subject) -> None:
    """Also when a snapshot begins, and does not become whole."""
    subject.store.write([*put(7, 1, 2), *put(8, 1)])
    subject.store.write([SetDamaged(7, "its pages differ")])
    for store in subject.before_and_after_a_restart():
        assert store.load()[7].damaged
        assert not store.load()[8].damaged
    subject.store.write([DropSlot(7, votes=True)])
    for store in subject.before_and_after_a_restart():
        assert store.load()[7].damaged
    subject.store.write([SetApplied(7, 40, 3, b"h" * 16), SetWhole(7)])
    for store in subject.before_and_after_a_restart():
        assert not store.load()[7].damaged


def test_what_is_trimmed_is_known_after_a_restart(subject: Subject) -> None:
    subject.store.write([*put(7, 1, 2, 3, 4, 5), SetApplied(7, 4, 1, bytes(16))])
    subject.store.write([TrimRecords(7, 3)])
    for store in subject.before_and_after_a_restart():
        assert store.load()[7].trimmed == 2
    subject.store.write([*put(8, 1, 2), SetApplied(8, 2, 1, bytes(16))])
    subject.store.write([TrimRecords(8, 3)])
    for store in subject.before_and_after_a_restart():
        assert store.load()[8].trimmed == 2
