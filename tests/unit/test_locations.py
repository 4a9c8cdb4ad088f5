"""Ids that a jurisdiction binds, the slots that are its own, and namespaces that keep to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing.client_wire import object_path
from homing.errors import BadRequest, ConfigurationError, UnknownLocation
from homing.ids import (
    JURISDICTIONS_MAX,
    ObjectId,
    bound_of,
    class_of,
    first_id,
    in_jurisdiction,
    name_jurisdictions,
    slot_of,
    slots_of_each,
)
from homing.listing import ListedObject, ObjectList, in_bounds
from homing.locations import Jurisdiction, Layout, extends, read_jurisdictions, written
from homing.stubs import DurableObjectNamespace

EU, US = Jurisdiction("eu", ("berlin", "paris")), Jurisdiction("us", ("ohio",))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
counts = st.sampled_from([1, 2, 8, 64, 1_024, 32_768])
numbers = st.integers(0, JURISDICTIONS_MAX - 1)

# What clusters hold that were made before there were jurisdictions: class, name, id, slot of 1,024, slot of 64.
OLD = [
    ("Counter", "a", "dfe3c67fe0aedb6d56255df6982e8b4758d5b459b8ea8134618d60e6308b3762", 895, 55),
    ("Room", "lobby", "9e398bfbcf2059211e104bbfd6b62d302b06e86bdb0e381ac0e5d43a9bf2dc8e", 632, 39),
    ("Room", "Zürich 🏔", "fc4e8bfbcf2059211e10b4eb491d79bcf370b23b2af31204d616460b307bdd2c", 1009, 63),
    ("homing.kv", "cache/7", "3617124a8c6b36c42b2c1cfdea71f9cf95a494c83dc25c85f789243db9b7795a", 216, 13),
]


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    name_jurisdictions(["eu", "us"])
    yield
    name_jurisdictions([])


def space() -> DurableObjectNamespace:
    return DurableObjectNamespace(cast("Any", None), "Room")


@pytest.mark.parametrize(("class_name", "name", "text", "slot", "slot_of_64"), OLD)
def test_what_older_clusters_hold_stays_where_it_is(
    class_name: str, name: str, text: str, slot: int, slot_of_64: int
) -> None:
    """Seen to fail when names outside of jurisdictions are hashed with more, or their slots are counted otherwise."""
    found = ObjectId.from_name(class_name, name)
    assert (str(found), found.slot(), found.slot(64), found.bound) == (text, slot, slot_of_64, None)
    assert ObjectId.from_hex(class_name, text).jurisdiction is None


@given(st.binary(min_size=32, max_size=32), counts)
def test_slots_of_all_other_ids_are_the_first_bits_as_ever(raw: bytes, slots: int) -> None:
    assert bound_of(raw) is None
    assert slot_of(raw, slots) == int.from_bytes(raw[:2], "big") * slots >> 16


@given(names, numbers, counts)
def test_an_id_says_which_jurisdiction_binds_it_and_so_does_its_slot(name: str, number: int, slots: int) -> None:
    found = ObjectId.from_name("Room", name, number)
    assert found.bound == ObjectId.unique("Room", number).bound == number
    assert found.slot(slots) - slots in range(number * slots_of_each(slots), (number + 1) * slots_of_each(slots))
    assert found.is_of("Room", name)
    found.check_class("Room")
    others = {ObjectId.from_name("Room", name, other) for other in (None, *range(JURISDICTIONS_MAX))}
    assert len(others) == JURISDICTIONS_MAX + 1, "one object in each, and one in none"
    assert not any(other.is_of("Room", name + "'") for other in others)


@given(names, numbers)
def test_twice_as_many_slots_split_each_in_two(name: str, number: int) -> None:
    found = ObjectId.from_name("Room", name, number)
    assert found.slot(2_048) // 2 == found.slot(1_024)


def test_ids_of_a_jurisdiction_follow_each_other_behind_nearly_all_others() -> None:
    """Behind all but those whose hash is the highest, one in 65,536."""
    free = [ObjectId.from_name("Room", f"room {number}").raw for number in range(100)]
    eu, us = ([ObjectId.unique("Room", number).raw for _ in range(100)] for number in (0, 1))
    assert max(free) < first_id("Room", 0).raw < min(eu)
    assert max(eu) < first_id("Room", 1).raw < min(us)


def test_the_slots_of_jurisdictions_come_behind_those_for_all() -> None:
    layout = Layout(1_024, [EU, US])
    assert (layout.count, layout.count_max, layout.names) == (1_280, 2_048, ["eu", "us"])
    assert [(part.slots, part.jurisdiction) for part in layout.parts] == [
        (range(1_024), None),
        (range(1_024, 1_152), EU),
        (range(1_152, 1_280), US),
    ]
    for slot, number in ((0, 0), (1_023, 0), (1_024, 1), (1_151, 1), (1_152, 2), (1_279, 2)):
        assert layout.number_of(slot) == number
    assert layout.jurisdiction_of(1_279) is US
    assert layout.jurisdiction_of(1_280) is None
    assert [layout.parts[1].admits(zone) for zone in ("berlin", "ohio", "")] == [True, False, False]
    assert Layout(64).count == 64
    assert Layout(32_768, [EU] * 8).count == 65_536
    with pytest.raises(ConfigurationError, match="HOMING_SLOTS=65536"):
        Layout(65_536, [EU])


def test_what_an_operator_writes_is_read() -> None:
    assert read_jurisdictions(" eu = berlin , paris ; us=ohio ;") == (EU, US)
    assert read_jurisdictions(written([EU, US])) == (EU, US)
    assert read_jurisdictions("") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("eu", "eu needs its zones"),
        ("eu=", "eu needs its zones"),
        ("eu=a,,b", "eu needs its zones"),
        ("eu=a,a", "eu needs its zones"),
        ("EU=a", "'EU' is no name"),
        ("=a", "'' is no name"),
        ("7=a", "'7' is no name"),
        ("eu=a;eu=b", "eu is there twice"),
        (";".join(f"j{n}=a" for n in range(9)), "at most 8"),
    ],
)
def test_what_cannot_be_read_is_said_with_the_form(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as error:
        read_jurisdictions(text)
    assert "Write NAME=ZONE,ZONE;NAME=ZONE" in error.value.message


def test_a_list_grows_at_its_end_and_in_its_zones_and_nowhere_else() -> None:
    wider = Jurisdiction("eu", ("rome", "paris", "berlin"))
    assert all(extends(new, [EU]) for new in ([EU], [EU, US], [wider], [wider, US]))
    assert not any(extends(new, [EU, US]) for new in ([EU], [US, EU], [], [Jurisdiction("eu", ("paris",)), US]))


def test_a_namespace_of_a_jurisdiction_keeps_to_it() -> None:
    eu, us = space().jurisdiction("eu"), space().jurisdiction("us")
    ids = [eu.id_from_name("a"), eu.new_unique_id(), space().new_unique_id(jurisdiction="eu"), eu.get_by_name("a").id]
    assert [each.jurisdiction for each in ids] == ["eu"] * 4
    assert us.id_from_name("a").jurisdiction == "us"
    assert space().id_from_name("a").jurisdiction is None
    assert len({eu.id_from_name("a"), us.id_from_name("a"), space().id_from_name("a")}) == 3
    for mine in ids:
        assert eu.get(mine).id == eu.id_from_string(str(mine)) == space().id_from_string(str(mine)) == mine
        assert space().get(mine).id == mine, "a namespace of none takes ids of all"


@pytest.mark.parametrize(
    "refused",
    [
        lambda eu, other: eu.get(other.id_from_name("a")),
        lambda eu, other: eu.get(space().id_from_name("a")),
        lambda eu, other: eu.id_from_string(str(other.new_unique_id())),
        lambda eu, other: eu.id_from_string(str(space().new_unique_id())),
        lambda eu, other: eu.new_unique_id(jurisdiction="us"),
        lambda eu, other: eu.jurisdiction("us"),
        lambda eu, other: eu.list(cursor=str(other.new_unique_id())),
        lambda eu, other: eu.list(cursor=str(space().new_unique_id())),
    ],
)
def test_an_id_of_another_jurisdiction_is_refused(
    refused: Callable[[DurableObjectNamespace, DurableObjectNamespace], object],
) -> None:
    """Seen to fail without `check_bound`."""
    with pytest.raises(BadRequest, match="jurisdiction"):
        refused(space().jurisdiction("eu"), space().jurisdiction("us"))


def test_an_unknown_jurisdiction_is_said_with_those_that_there_are() -> None:
    asks: list[Callable[[], object]] = [
        lambda: space().jurisdiction("mars"),
        lambda: space().new_unique_id(jurisdiction="mars"),
        lambda: space().get(ObjectId.unique("Room", 5)),
        lambda: space().id_from_string(str(ObjectId.unique("Room", 5))),
        lambda: class_of("Room@mars", ["us", "eu"]),
    ]
    for ask in asks:
        with pytest.raises(UnknownLocation, match="there are eu, us"):
            ask()
    name_jurisdictions([])
    with pytest.raises(UnknownLocation, match="the cluster has none"):
        space().jurisdiction("eu")


def test_a_hint_must_be_one_and_changes_nothing() -> None:
    mine = space().id_from_name("a")
    assert space().get(mine, location_hint="weur") == space().get_by_name("a", location_hint="oc") == space().get(mine)
    with pytest.raises(UnknownLocation, match="wnam, enam, sam, weur"):
        space().get(mine, location_hint="mars")
    with pytest.raises(UnknownLocation):
        space().get_by_name("a", location_hint="")


def test_a_page_of_a_jurisdiction_ends_where_the_next_one_begins() -> None:
    def listed(number: int | None) -> ListedObject:
        return ListedObject(str(ObjectId.unique("Room", number)), None, False, 0, None, 0, None, "n1")

    page = ObjectList([listed(0), listed(0), listed(1)], "more")
    assert in_bounds(page, 0) == ObjectList(page.objects[:2], None)
    assert in_bounds(page, None) == page
    assert in_bounds(ObjectList(page.objects[:2], "more"), 0).cursor == "more", "there may be others"


def test_clients_name_a_jurisdiction_with_the_class() -> None:
    assert in_jurisdiction("Room", "eu") == "Room@eu"
    assert class_of(in_jurisdiction("Room", None), ["eu"]) == ("Room", None)
    assert object_path("Room@eu", "a") == "/_homing/v1/objects/Room%40eu/a"


def test_outside_of_object_code_a_jurisdiction_is_its_number() -> None:
    name_jurisdictions([])
    assert ObjectId.from_name("Room", "a", 1).jurisdiction == "1"
