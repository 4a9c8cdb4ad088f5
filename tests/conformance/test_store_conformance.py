"""What every store must do: each test runs against the real one and against the one of the simulator."""

from __future__ import annotations

import random

import pytest
from tests.conformance.store_subjects import TAG, Subject, object_id, page, put

from homing.errors import StoreFailed
from homing.ids import SLOTS_DEFAULT, class_tag, slot_of
from homing_node.log.store import (
    CutRecords,
    DropObject,
    Op,
    PutObject,
    PutPages,
    PutRecord,
    SetApplied,
    SetPromise,
    SlotImage,
    Store,
    TrimRecords,
)


def log_of(store: Store, slot: int, first: int = 1) -> list[bytes]:
    return store.records(slot, first, 1_000)


def test_a_new_store_is_empty_and_trusted(subject: Subject) -> None:
    store = subject.store
    assert store.load() == {}
    assert store.trusted
    assert store.disk_id
    assert store.records(0, 1, 10) == []
    assert list(store.pages(object_id(1))) == []
    assert store.page(object_id(1), 1) is None
    assert store.object(object_id(1)) is None
    assert store.objects(b"", 10, TAG) == []
    assert store.disk_free_bytes() > 0


def test_everything_of_a_slot_is_there_after_a_restart(subject: Subject) -> None:
    subject.store.write(
        [
            *put(7, 1, 2, 3),
            SetPromise(7, 9, "incarnation é"),
            SetApplied(7, 1, 8, bytes(range(16))),
            *put(1_023, 1),
            SetPromise(0, 1 << 60, ""),
        ]
    )
    for store in subject.before_and_after_a_restart():
        assert store.load() == {
            0: SlotImage(promised=1 << 60),
            7: SlotImage(9, "incarnation é", 1, 8, bytes(range(16)), [b"r2", b"r3"]),
            1_023: SlotImage(records=[b"r1"]),
        }
        assert store.trusted


def test_the_disk_keeps_its_id(subject: Subject) -> None:
    before = subject.store.disk_id
    assert subject.restart().disk_id == before


def test_load_gives_only_what_is_above_the_applied_point(subject: Subject) -> None:
    """Records at and below it stay readable: other replicas may want them."""
    store = subject.store
    store.write([*put(3, 1, 2, 3), SetApplied(3, 3, 1, bytes(16))])
    assert store.load()[3].records == []
    assert not store.load()[3].damaged
    assert log_of(store, 3) == [b"r1", b"r2", b"r3"]


def test_a_later_write_replaces_an_earlier_one(subject: Subject) -> None:
    store = subject.store
    store.write([PutRecord(1, 1, b"old"), SetPromise(1, 1, "a")])
    store.write([PutRecord(1, 1, b"new"), SetPromise(1, 2, "b")])
    image = store.load()[1]
    assert (image.promised, image.claimant, image.records) == (2, "b", [b"new"])


def test_operations_of_one_batch_are_applied_in_order(subject: Subject) -> None:
    store = subject.store
    store.write([*put(1, 1, 2, 3), CutRecords(1, 2), PutRecord(1, 2, b"again")])
    assert log_of(store, 1) == [b"r1", b"again"]
    store.write([PutRecord(1, 3, b"x"), CutRecords(1, 3)])
    assert log_of(store, 1) == [b"r1", b"again"]


def test_records_stop_at_the_limit_and_at_the_end_of_the_slot(subject: Subject) -> None:
    store = subject.store
    store.write([*put(5, 1, 2, 3), *put(6, 4, 5)])
    assert store.records(5, 1, 2) == [b"r1", b"r2"]
    assert store.records(5, 2, 10) == [b"r2", b"r3"]
    assert store.records(5, 3, 1) == [b"r3"]
    assert store.records(5, 4, 10) == []
    assert store.records(5, 1, 0) == []


def test_records_begin_where_they_were_asked_for_or_not_at_all(subject: Subject) -> None:
    store = subject.store
    store.write(put(5, 4, 5))
    assert store.records(5, 3, 10) == []
    assert store.records(5, 4, 10) == [b"r4", b"r5"]


def test_records_sort_as_numbers(subject: Subject) -> None:
    store = subject.store
    lsns = range(250, 262)
    store.write([SetApplied(9, 249, 1, bytes(16)), *put(9, *reversed(lsns))])
    assert store.load()[9].records == [b"r%d" % lsn for lsn in lsns]
    assert not store.load()[9].damaged


@pytest.mark.parametrize("slot", [0, 1, 1_022, 1_023, 0xFFFF])
def test_cutting_removes_from_there_on_and_leaves_the_neighbours(subject: Subject, slot: int) -> None:
    store = subject.store
    neighbours = [other for other in (slot - 1, slot + 1) if 0 <= other <= 0xFFFF]
    for number in (slot, *neighbours):
        store.write(put(number, 1, 2, 3, 4))
    store.write([CutRecords(slot, 3)])
    assert log_of(store, slot) == [b"r1", b"r2"]
    store.write([CutRecords(slot, 3)])  # again, and beyond the end: nothing happens
    store.write([CutRecords(slot, 100)])
    assert log_of(store, slot) == [b"r1", b"r2"]
    store.write([CutRecords(slot, 0)])
    assert log_of(store, slot) == []
    for number in neighbours:
        assert len(log_of(store, number)) == 4


@pytest.mark.parametrize("slot", [0, 1_023, 0xFFFF])
def test_trimming_removes_below_and_leaves_the_neighbours(subject: Subject, slot: int) -> None:
    store = subject.store
    neighbours = [other for other in (slot - 1, slot + 1) if 0 <= other <= 0xFFFF]
    for number in (slot, *neighbours):
        store.write(put(number, 1, 2, 3, 4))
    store.write([TrimRecords(slot, 3)])
    assert log_of(store, slot) == []
    assert log_of(store, slot, 3) == [b"r3", b"r4"]
    store.write([TrimRecords(slot, 2)])  # lower than before: nothing happens
    assert log_of(store, slot, 3) == [b"r3", b"r4"]
    store.write([TrimRecords(slot, 100)])
    assert log_of(store, slot, 3) == []
    store = subject.restart()
    for number in neighbours:
        assert len(log_of(store, number)) == 4


def test_long_trims_and_trims_after_a_restart(subject: Subject) -> None:
    """Long ones are range deletes in the real store, and what a restart forgets is how far the last one went."""
    subject.store.write(put(2, *range(1, 2_001)))
    subject.store.write([TrimRecords(2, 1_500)])
    store = subject.restart()
    store.write([TrimRecords(2, 1_600)])
    store.write([TrimRecords(2, 1_601)])
    assert log_of(store, 2, 1_600) == []
    assert len(log_of(store, 2, 1_601)) == 400


def test_a_log_that_was_cut_below_its_trim_point_is_trimmed_again(subject: Subject) -> None:
    """Seen to fail with a trim point that is remembered across the cut."""
    store = subject.store
    store.write([*put(2, 1, 2, 3, 4, 5), TrimRecords(2, 4)])
    store.write([CutRecords(2, 0), *put(2, 1, 2)])
    store.write([TrimRecords(2, 2)])
    assert store.records(2, 1, 10) == []
    assert store.records(2, 2, 10) == [b"r2"]


def test_a_gap_makes_the_slot_damaged_and_gives_what_is_before_it(subject: Subject) -> None:
    subject.store.write([SetApplied(4, 1, 1, bytes(16)), *put(4, 2, 3, 5), *put(5, 1)])
    for store in subject.before_and_after_a_restart():
        images = store.load()
        assert images[4].damaged
        assert images[4].records == [b"r2", b"r3"]
        assert not images[5].damaged
        assert store.records(4, 2, 10) == [b"r2", b"r3"]


def test_a_log_that_does_not_join_its_pages_is_damaged(subject: Subject) -> None:
    store = subject.store
    store.write([SetApplied(4, 5, 1, bytes(16)), *put(4, 7)])
    assert store.load()[4] == SlotImage(0, "", 5, 1, bytes(16), [], damaged=True, trimmed=5)


def test_pages_come_ascending_and_the_newest_wins(subject: Subject) -> None:
    mine, other = object_id(1), object_id(1, 1)
    store = subject.store
    store.write([PutPages(mine, {3: page("c"), 1: page("a"), 2: page("b")}, 3), PutPages(other, {1: page("z")}, 1)])
    store.write([PutPages(mine, {2: page("B")}, 3)])
    for found in subject.before_and_after_a_restart():
        assert list(found.pages(mine)) == [(1, page("a")), (2, page("B")), (3, page("c"))]
        assert list(found.pages(other)) == [(1, page("z"))]
        assert found.page(mine, 2) == page("B")
        assert found.page(mine, 4) is None


def test_pages_above_the_count_are_removed(subject: Subject) -> None:
    mine, after = object_id(1), object_id(1, 1)
    store = subject.store
    store.write([PutPages(mine, {n: page(str(n)) for n in range(1, 1_001)}, 1_000), PutPages(after, {1: page("z")}, 1)])
    store.write([PutPages(mine, {}, 999)])
    assert [number for number, _ in store.pages(mine)] == list(range(1, 1_000))
    store = subject.restart()
    store.write([PutPages(mine, {1: page("x"), 5: page("too high")}, 3)])
    assert [number for number, _ in store.pages(mine)] == [1, 2, 3]
    store.write([PutPages(mine, {4: page("new")}, 4), PutPages(mine, {}, 1)])
    assert list(store.pages(mine)) == [(1, page("x"))]
    store.write([PutPages(mine, {2: page("above")}, 1)])
    assert list(store.pages(mine)) == [(1, page("x"))]
    store.write([PutPages(mine, {}, 0)])
    assert list(store.pages(mine)) == []
    assert list(store.pages(after)) == [(1, page("z"))]


def test_pages_are_those_of_one_moment(subject: Subject) -> None:
    mine = object_id(1)
    store = subject.store
    store.write([PutPages(mine, {n: page("old") for n in range(1, 20)}, 19)])
    pages = store.pages(mine)
    assert next(pages) == (1, page("old"))
    store.write([PutPages(mine, {n: page("new") for n in range(1, 20)}, 19)])
    assert {data for _, data in pages} == {page("old")}


def test_page_numbers_sort_as_numbers(subject: Subject) -> None:
    mine = object_id(0xFFFF, (1 << 176) - 1)
    numbers = [1, 255, 256, 257, 65_535, 65_536]
    store = subject.store
    store.write([PutPages(mine, {n: page(str(n)) for n in reversed(numbers)}, 65_536)])
    assert [number for number, _ in store.pages(mine)] == numbers


def test_objects_are_listed_by_tag_in_pages(subject: Subject) -> None:
    other_tag = class_tag("Other")
    ids = sorted(object_id(h, r) for h in (0, 1, 255, 256, 65_535) for r in (0, 7))
    ops: list[Op] = [PutObject(i, b"data " + i) for i in reversed(ids)]
    ops += [PutObject(object_id(h, tag=other_tag), b"other") for h in (0, 300, 65_535)]
    store = subject.store
    store.write(ops)
    listed: list[tuple[bytes, bytes]] = []
    after = b""
    while found := store.objects(after, 3, TAG):
        assert len(found) <= 3
        listed += found
        after = found[-1][0]
    assert listed == [(i, b"data " + i) for i in ids]
    assert len(store.objects(b"", 100, other_tag)) == 3
    assert store.objects(b"", 100, class_tag("Neither")) == []
    assert store.object(ids[3]) == b"data " + ids[3]


def test_objects_after_an_id_that_is_not_there(subject: Subject) -> None:
    store = subject.store
    ids = [object_id(h) for h in (10, 20, 30)]
    store.write([PutObject(i, b"") for i in ids])
    between = object_id(15)
    foreign = object_id(20, tag=bytes(8))  # sorts just below ids[1]
    assert [i for i, _ in store.objects(between, 9, TAG)] == ids[1:]
    assert [i for i, _ in store.objects(foreign, 9, TAG)] == ids[1:]
    assert [i for i, _ in store.objects(b"\x00\x14", 9, TAG)] == ids[1:]
    assert store.objects(ids[2], 9, TAG) == []


def test_objects_are_found_by_when_they_are_to_be_woken(subject: Subject) -> None:
    """Seen to fail when an earlier time of the same object stays, and when pages forget it."""
    store = subject.store
    here, other = [object_id(0, n) for n in range(4)], object_id(65_535, 1)
    slot = slot_of(here[0], SLOTS_DEFAULT)
    store.write([PutObject(each, b"", 50 - n) for n, each in enumerate(here)])
    store.write([PutObject(other, b"", 1), PutObject(here[0], b"", 7), PutObject(here[1], b"")])
    store.write([PutPages(here[2], {1: page("a")}, 1), PutObject(here[2], b"", 1 << 52), PutPages(here[2], {}, 0)])
    store.write([PutObject(here[3], b"", 9), PutObject(here[3], b"", 8)])
    for found in subject.before_and_after_a_restart():
        assert found.wakes(slot, 10) == [(7, here[0]), (8, here[3]), (1 << 52, here[2])]
        assert found.wakes(slot, 1) == [(7, here[0])]
        assert found.wakes(slot_of(other, SLOTS_DEFAULT), 10) == [(1, other)]
        assert found.wakes(3, 10) == []
        assert list(found.pages(here[2])) == []


def test_an_object_that_is_dropped_leaves_nothing(subject: Subject) -> None:
    """Its pages, its data, its time to wake. Another object stays; one with the same id may come in the same batch."""
    store = subject.store
    gone, again, stays = (object_id(0, n) for n in range(3))
    slot = slot_of(gone, SLOTS_DEFAULT)
    for each in (gone, again, stays):
        store.write([PutPages(each, {n: page(str(n)) for n in range(1, 701)}, 700), PutObject(each, b"data", 9)])
    store.write(
        [DropObject(gone), DropObject(again), PutPages(again, {1: page("new")}, 1), PutObject(again, b"new", 5)]
    )
    for found in subject.before_and_after_a_restart():
        assert (found.object(gone), found.object(again), found.object(stays)) == (None, b"new", b"data")
        assert [len(list(found.pages(each))) for each in (gone, again, stays)] == [0, 1, 700]
        assert found.page(gone, 1) is None
        assert found.wakes(slot, 10) == [(5, again), (9, stays)]
        assert [each.object for each in found.part(slot, b"", 1 << 20).objects] == [again, stays]
    subject.store.write([PutPages(gone, {1: page("back")}, 1), PutObject(gone, b"back")])
    for found in subject.before_and_after_a_restart():
        assert list(found.pages(gone)) == [(1, page("back"))]
        assert found.wakes(slot, 10) == [(5, again), (9, stays)]


def test_an_empty_batch_is_allowed(subject: Subject) -> None:
    subject.store.write([])
    assert subject.restart().load() == {}


def test_a_record_of_the_greatest_size(subject: Subject) -> None:
    big = random.Random(1).randbytes(24 << 20)
    subject.store.write([PutRecord(1, 1, big)])
    assert subject.restart().records(1, 1, 1) == [big]


def test_a_closed_store_takes_nothing(subject: Subject) -> None:
    store = subject.store
    store.close()
    store.close()
    with pytest.raises(StoreFailed):
        store.write(put(1, 1))
    with pytest.raises(StoreFailed):
        store.write([])
