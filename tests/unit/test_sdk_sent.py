"""What objects send to each other arrives as it was, or is refused where it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing.errors import BadRequest, NotSupported, TooLarge
from homing.flow import streams_per_value_max
from homing.ids import ObjectId
from homing.sent import Copier, Sender
from homing.streams import ReadableStream, WholeBody
from homing.stubs import DurableObjectStub, Reference, RpcStub, RpcTarget
from homing.values import to_json

NOBODY: Any = None
HERE = ObjectId.from_name("Room", "here")
exported: list[Any] = []


def stub(class_key: str, object_id: ObjectId) -> DurableObjectStub:
    return DurableObjectStub(NOBODY, class_key, object_id)


def export(value: Any) -> Reference:
    exported.append(value)
    return Reference("Room", HERE, 7, len(exported))


SENDER = Sender(NOBODY, export)


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: Any = None
    seen: list[int] = field(default_factory=list[int], compare=True)

    def __post_init__(self) -> None:
        calls.append("post init")


@dataclass
class Other:
    z: int


calls: list[str] = []
KEYS = st.one_of(st.text(), st.integers(-(2**63) + 1, 2**63 - 1), st.binary(), st.booleans(), st.none())
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.datetimes(timezones=st.sampled_from((UTC,))), st.sets(st.integers()),
)  # fmt: skip
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


@given(VALUES)
def test_values_arrive_as_they_were(value: Any) -> None:
    assert SENDER.decode(SENDER.encode(value)) == value


def test_a_dataclass_arrives_with_its_fields_and_runs_nothing() -> None:
    sent = Point(1 << 80, {"at": datetime(2026, 1, 1, tzinfo=UTC), "in": [Point(2), {3}]}, [4])
    calls.clear()
    found = SENDER.decode(SENDER.encode(sent))
    assert found == sent
    assert type(found) is Point
    assert calls == []


def test_stubs_and_ids_arrive_as_such() -> None:
    object_id = ObjectId.from_name("Room", "a")
    found = SENDER.decode(SENDER.encode({"room": stub("Room", object_id), "id": object_id}))
    assert found["room"] == stub("Room", object_id)
    assert (found["room"].name, found["room"].class_key) == ("a", "Room")
    assert (found["id"], found["id"].name) == (object_id, "a")


class Cursor(RpcTarget):
    def next(self) -> int:
        return 1


def test_functions_and_targets_arrive_as_references_and_go_on_as_such() -> None:
    exported.clear()
    cursor, function = Cursor(), Cursor().next
    found = SENDER.decode(SENDER.encode([cursor, function, lambda: 1]))
    assert exported[:2] == [cursor, function]
    assert [type(each) for each in found] == [RpcStub] * 3
    assert [each.reference for each in found] == [Reference("Room", HERE, 7, number) for number in (1, 2, 3)]
    again = SENDER.decode(SENDER.encode(found))
    assert [each.reference for each in again] == [each.reference for each in found]
    assert len(exported) == 3


def test_what_cannot_travel_is_refused_by_its_name() -> None:
    @dataclass
    class Local:
        a: int

    for value, name in (
        (object(), "object"),
        (len, "builtin"),
        (Local(1), "Local"),
        (Point, "type"),
        ({1: len}, "builtin"),
    ):
        with pytest.raises(TypeError, match=name):
            SENDER.encode(value)
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="nested"):
        SENDER.encode(circle)


RAW = ObjectId.from_name("Room", "a").raw


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (4, ["os", "system", {}]),
        (4, ["test", "Point", {}]),
        (4, [__name__, "Point", {"x": 1}]),
        (4, [__name__, "Point", {"x": 1, "y": 2, "seen": 3, "more": 4}]),
        (4, [__name__, "calls", {}]),
        (4, 7),
        (5, ["Room", b"short", None]),
        (5, []),
        (5, [5, RAW, None]),
        (5, ["Room", [0] * 32, None]),
        (5, ["Room", RAW, 5]),
        (6, ["x"]),
        (6, [[0] * 32]),
        (7, ["Room", RAW, None, -1, 1]),
        (7, ["Room", RAW, None, float("inf"), 1]),
        (7, [b"Room", RAW, None, 1, 1]),
        (10, []),
    ],
)
def test_bytes_that_nobody_sends_are_refused(code: int, content: Any) -> None:
    """Another object's worker made them; nothing of it is called. Seen to fail without the check for a dataclass."""
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(content)))
    with pytest.raises(ValueError, match=r".+"):
        SENDER.decode(data)


@pytest.mark.parametrize("body", [b"\xc1", b"\x93\x90\x80\x80", b"\x92\x80\x90", b"\x01"])
def test_arguments_are_a_list_and_a_dict(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SENDER.decode_arguments(body)


def test_arguments_of_none() -> None:
    assert SENDER.decode_arguments(b"") == ([], {})
    assert SENDER.decode_arguments(SENDER.encode([(1, 2), {"a": 3}])) == ([1, 2], {"a": 3})


def test_depth_is_bounded() -> None:
    data = b"\x91" * 50_000 + b"\x01"
    with pytest.raises(ValueError, match="nest"):
        SENDER.decode(data)
    deep: Any = msgspec.msgpack.Ext(3, b"\x90")
    for _ in range(2_000):
        deep = msgspec.msgpack.Ext(4, msgspec.msgpack.encode([__name__, "Other", {"z": deep}]))
    with pytest.raises(ValueError, match=r".+"):
        SENDER.decode(msgspec.msgpack.encode(cast("Any", deep)))


async def lines(*texts: str) -> AsyncIterator[str]:
    for text in texts:
        yield text


async def test_a_stream_is_handed_over() -> None:
    """Only its number is in the bytes, wherever it stands. Broken by: a stream that both sides can read."""
    own = ReadableStream(lines("a", "b"))
    sent: list[ReadableStream] = []
    data = SENDER.encode({"rows": [own, {"x": lines("c")}]}, sent)
    found = SENDER.decode(data, sent)
    assert await own.homing_next() is None
    assert [await part.collect() for part in (found["rows"][0], found["rows"][1]["x"])] == [b"ab", b"c"]
    assert own.locked
    with pytest.raises(BadRequest, match="has a reader cannot be sent"):
        SENDER.encode(own, [])


async def test_so_many_streams_are_sent_with_a_value_and_none_where_none_can_be() -> None:
    """Broken by: no bound."""
    sent: list[ReadableStream] = []
    SENDER.encode([lines() for _ in range(streams_per_value_max)], sent)
    assert len(sent) == streams_per_value_max
    with pytest.raises(TooLarge, match="at most 16 streams"):
        SENDER.encode([lines() for _ in range(streams_per_value_max + 1)], [])
    with pytest.raises(TypeError, match="cannot be sent here"):
        SENDER.encode([lines()])


@pytest.mark.parametrize("content", [[1], [-1], ["0"], [True], [], [0, 0], 0])
def test_a_number_of_no_stream_is_refused(content: Any) -> None:
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(8, msgspec.msgpack.encode(content)))
    with pytest.raises(ValueError, match="cannot be read"):
        SENDER.decode(data, [ReadableStream(())])


def test_a_stream_is_in_one_place() -> None:
    """Broken by: two readers of one stream, each with a part of it."""
    number = msgspec.msgpack.Ext(8, msgspec.msgpack.encode([0]))
    with pytest.raises(ValueError, match="two places"):
        SENDER.decode(msgspec.msgpack.encode([number, number]), [ReadableStream(())])


async def test_a_copy_has_the_streams_themselves() -> None:
    copier = Copier(NOBODY, lambda value: value)
    found = copier.copy([ReadableStream(lines("a"))])
    assert await found[0].collect() == b"a"


async def test_a_body_that_is_there_as_a_whole_arrives_as_one() -> None:
    """Code that reads a request's body as a stream does so where it was passed to. Broken by: plain bytes there."""
    found = SENDER.decode(SENDER.encode([WholeBody(b"abc")]))[0]
    assert found == b"abc"
    assert [piece async for piece in found] == [b"abc"]


@pytest.mark.parametrize("value", [ReadableStream(()), [lines()]])
def test_json_has_no_streams(value: Any) -> None:
    with pytest.raises(NotSupported, match="use `fetch`"):
        to_json(value)
