"""Values as JSON and as stored bytes: what goes in comes out, and what cannot travel is refused by name."""

import enum
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homing.values import decode_arguments, encode_result, from_json, from_stored, to_json, to_stored

leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**90), 2**90)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC) | st.none())
)
hashable = st.integers() | st.text() | st.binary()
values = st.recursive(
    leaf | st.sets(hashable, max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def is_tag(value: Any) -> bool:
    """A dict that looks like a tag cannot come back as it was; the interface says so."""
    if isinstance(value, dict):
        return bool(value.keys() & {"$bytes", "$datetime", "$set"}) or any(map(is_tag, value.values()))
    return isinstance(value, list) and any(map(is_tag, value))


@settings(max_examples=200, deadline=None)
@given(values.filter(lambda value: not is_tag(value)))
def test_json_and_back(value: Any):
    assert from_json(to_json(value)) == value
    assert from_json(encode_result(value)) == {"result": value}


@settings(max_examples=200, deadline=None)
@given(values)
def test_stored_and_back(value: Any):
    back = from_stored(to_stored(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value", [0, 2**63 - 1, -(2**63), 2**63, 2**64, -(2**63) - 1, 10**30, True, 1.0, "", b"", [], {}, set(), (1, (2,))]
)
def test_edges_keep_their_type(value: Any):
    expected = [1, [2]] if isinstance(value, tuple) else value
    assert from_stored(to_stored(value)) == expected
    assert from_json(to_json(value)) == expected
    assert type(from_stored(to_stored(value))) is type(expected)
    assert type(from_json(encode_result(value))["result"]) is type(expected)


def test_special_values():
    assert math.isnan(from_stored(to_stored(math.nan)))
    assert from_stored(to_stored(math.inf)) == math.inf
    zone = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=zone)
    assert from_stored(to_stored(moment)).utcoffset() == timedelta(hours=5, minutes=30)
    assert from_json(to_json(moment)) == moment
    assert from_json(b'{"$datetime": "2024-01-01T00:00:00Z"}') == datetime(2024, 1, 1, tzinfo=UTC)
    assert from_stored(to_stored({(1, ("a",)), frozenset({2})})) == {(1, ("a",)), frozenset({2})}
    assert from_json(to_json({(1, 2), frozenset({3})})) == {(1, 2), frozenset({3})}
    assert from_stored(to_stored(bytearray(b"x"))) == b"x"
    assert from_stored(to_stored({1: "int", None: "none", b"b": 1.5})) == {1: "int", None: "none", b"b": 1.5}


class Colour(enum.IntEnum):
    RED = 1


def test_subclasses_travel_as_what_they_extend():
    point = namedtuple("point", "x y")
    value = [Colour.RED, OrderedDict(a=1), point(1, 2)]
    assert from_json(to_json(value)) == [1, {"a": 1}, [1, 2]]
    assert from_stored(to_stored(value)) == [1, {"a": 1}, [1, 2]]


class Thing:
    pass


@pytest.mark.parametrize(
    "value", [Thing(), object, len, Decimal(1), date(2024, 1, 1), 1j, [Thing()], {"a": {1, Thing()}}]
)
def test_other_types_are_refused_by_name(value: Any):
    for encode in (to_json, to_stored, encode_result):
        with pytest.raises(TypeError, match="of type"):
            encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], {"a": math.nan}])
def test_json_has_no_nan(value: Any):
    """Broken by: letting the encoder say null."""
    with pytest.raises(ValueError, match="cannot be sent as JSON"):
        to_json(value)


def test_what_never_ends_is_refused():
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    for value in (loop, deep):
        for encode in (to_json, to_stored):
            with pytest.raises(ValueError, match="deep"):
                encode(value)


def test_lone_surrogates_are_refused():
    for encode in (to_json, to_stored, encode_result):
        with pytest.raises(ValueError, match="surrogate"):
            encode("\ud800")


@pytest.mark.parametrize("key", [1, None, (1,), b"a"])
def test_json_keys_are_text(key: Any):
    with pytest.raises(TypeError, match="dict key"):
        to_json({key: 1})


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1,]", b'{"$bytes": "*"}', b'{"$bytes": 1}', b'{"$set": {}}', b'{"$set": [{}]}', b'{"$datetime": ""}',
     b"[" * 10_000, b'[{"$set": 1}]', b'{"$bytes": "a"}'],
)  # fmt: skip
def test_bad_json_is_a_value_error(data: bytes):
    with pytest.raises(ValueError):  # noqa: PT011 - several sentences
        from_json(data)


def test_arguments():
    assert decode_arguments(b"") == ([], {})
    assert decode_arguments(b"{}") == ([], {})
    assert decode_arguments(b' {"kwargs": {"a": 1}} ') == ([], {"a": 1})
    assert decode_arguments(b'{"args": [1, {"$bytes": "aGk="}]}') == ([1, b"hi"], {})
    assert decode_arguments(b'{"args": ["$"], "kwargs": {"$bytes": "aGk="}}') == (["$"], {"$bytes": "aGk="})
    for bad in (b'{"args": {}}', b'{"a": 1}', b"[]", b"null", b'{"args": null}'):
        with pytest.raises(ValueError):  # noqa: PT011 - several sentences
            decode_arguments(bad)


def test_the_empty_arguments_are_not_shared_between_calls():
    """Broken by: handing out one list that a method may change."""
    args, kwargs = decode_arguments(b"")
    args.append(1)
    kwargs["a"] = 1
    assert decode_arguments(b"") == ([], {})


@pytest.mark.parametrize("items", [[{}], 5, None, [[{}]]])
def test_a_stored_set_of_what_no_set_can_hold_is_a_value_error(items: Any):
    """Found by `make fuzz`: it was a TypeError, which nobody expected of bytes."""
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(3, msgspec.msgpack.encode(items)))
    with pytest.raises(ValueError, match="set"):
        from_stored(data)
