"""Values: JSON of clients, MessagePack of storage, and what objects send each other."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from tests.fuzz.mutators import changed_bytes, changed_msgpack, changed_text, either
from tests.fuzz.target import Check

from homing import values
from homing.ids import ObjectId, class_tag
from homing.sent import Sender
from homing.streams import ReadableStream
from homing.stubs import DurableObjectStub, RpcStub

TOO_DEEP = "nested too deeply"
_encode = msgspec.msgpack.encode


@dataclass
class Point:
    """Something that both sides know."""

    x: int
    y: Any = None


class Stream(ReadableStream):
    """One that flows behind a value; any is like the other."""

    def __repr__(self) -> str:
        return "stream"


_sender = Sender(cast("Any", None), cast("Any", None))


def _same(one: Any, other: Any) -> bool:
    """Equal, of the same types, and NaN like NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (one != one and other != other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return repr(list(one)) == repr(list(other)) and all(map(_same, one.values(), other.values()))
    if isinstance(one, set | frozenset):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, Point):
        return _same(vars(one), vars(other))
    if isinstance(one, DurableObjectStub):
        return (one.class_key, one.id) == (other.class_key, other.id)
    if isinstance(one, RpcStub):
        return one.reference == other.reference
    return isinstance(one, Stream) or one == other


def check_json(data: bytes) -> None:
    """JSON is refused with a ValueError, or it makes the way there and back."""
    with contextlib.suppress(ValueError):
        args, kwargs = values.decode_arguments(data)
        if data and not any(key.startswith("$") for key in kwargs):
            both = values.from_json(data)
            assert _same(both.get("args", []), args), "arguments are read in two ways"
            assert _same(both.get("kwargs", {}), kwargs), "arguments are read in two ways"
    try:
        value = values.from_json(data)
    except ValueError:
        return
    try:
        text = values.to_json(value)
        assert values.encode_result(value) == b'{"result":' + text + b"}"
        assert _same(values.from_json(text), value), "a value came back as another"
    except ValueError as error:
        if TOO_DEEP not in str(error):
            raise
    except RecursionError:
        pass  # of the comparison


def check_stored(data: bytes) -> None:
    """What storage keeps is refused with a ValueError, or it makes the way there and back."""
    _check_packed(data, values.from_stored, values.to_stored)


def check_sent(data: bytes) -> None:
    """What another object sent: as above, and all in it is what it says to be."""
    _check_packed(data, lambda data: _sender.decode(data, _streams()), lambda value: _sender.encode(value, []))
    with contextlib.suppress(ValueError):
        args, kwargs = _sender.decode_arguments(data, _streams())
        assert isinstance(args, list)
        assert isinstance(kwargs, dict)


def _streams() -> list[ReadableStream]:
    return [Stream(()), Stream(())]


def _check_packed(data: bytes, decode: Any, encode: Any) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    _check_parts(value)
    try:
        again = decode(encode(value))
        assert _same(again, value), "a value came back as another"
    except (TypeError, ValueError) as error:  # MessagePack can say more than we do
        if not any(words in str(error) for words in (TOO_DEEP, "cannot be sent or stored")):
            raise
    except RecursionError:
        pass  # of the comparison


def _check_parts(value: Any) -> None:
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, list | tuple | set | frozenset):
            todo += part
        elif isinstance(part, dict):
            todo += [*part, *part.values()]
        elif isinstance(part, Point):
            todo += vars(part).values()
        elif isinstance(part, DurableObjectStub):
            assert type(part.class_key) is str
            todo.append(part.id)
        elif isinstance(part, RpcStub):
            assert type(part.reference.class_key) is str
            todo.append(part.reference.object_id)
            assert part.reference.activation >= 0
            assert part.reference.target >= 0
        elif isinstance(part, ObjectId):
            assert type(part.raw) is bytes
            assert part.name is None or type(part.name) is str
            assert repr(part)


def check_python(data: bytes) -> None:
    """Any value that the decoder of MessagePack makes can be encoded as ours, or is refused with a reason."""
    try:
        value = msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        return
    for encode in (values.to_json, values.encode_result, values.to_stored, _sender.encode):
        with contextlib.suppress(ValueError, TypeError):
            assert isinstance(encode(value), bytes)


def _ext(code: int, content: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, content if isinstance(content, bytes) else _encode(content))


_RAW = bytes(2) + class_tag("C") + bytes(22)
JSON = [
    b'{"args": [1, -2.5, "x", null, true, [], {}], "kwargs": {"a": 1}}',
    b'[{"$bytes": "aGk="}, {"$datetime": "2026-11-30T12:00:00+01:00"}, {"$set": [1, [2, 3], {"$set": ["a"]}]}]',
    b'[{"$bytes": 1}]',
    b'[{"$bytes": "a"}]',
    b'[{"$datetime": 5}]',
    b'[{"$datetime": "x"}]',
    b'[{"$set": 5}]',
    b'[{"$set": [{}]}]',
    b'{"\\u0024bytes": "aGk="}',
    b'{"args": [{"$bytes": "aGk="}], "kwargs": {"x": {"$set": []}}}',
    b"1" * 30,
    b"-" + b"9" * 4_400,
    b'"x"',
    b"null",
    b"1e400",
    b'"\xff"',
    b'"\\ud800"',
    b"",
    b"{}",
    b"[" * 3_000,
    b"[" * 300 + b"]" * 300,
    b'{"$":' * 800 + b"1" + b"}" * 800,
    b'{"args": [' + b'["$", ' * 500 + b"1" + b"]" * 500 + b"]}",
]
STORED = [
    _encode([None, True, -1, 1 << 63, 1.5, "x", b"y", [1], {"a": 1, 2: b"z", None: 0.5, True: 1}]),
    values.to_stored(
        [1 << 70, -(1 << 70), {1, (2, 3), frozenset((4,))}, values.from_json(b'{"$datetime": "2026-01-01"}')]
    ),
    _encode(_ext(2, b"x")),
    _encode(_ext(2, b"\xff")),
    _encode(_ext(3, [{}])),
    _encode(_ext(3, 5)),
    _encode(_ext(3, b"\xc1")),
    _encode(_ext(9, b"")),
    _encode(_ext(1, bytes(40) + b"\x01")),
    _encode(_ext(-1, bytes(4))),
    b"\x81\x91\x01\x01",
    b"\x91" * 900 + b"\x01",
]
SENT = [
    _sender.encode([[1, {2}], {"a": Point(1, [b"x"])}]),
    _sender.encode([DurableObjectStub(cast("Any", None), "C", ObjectId(_RAW, "n")), ObjectId(_RAW)]),
    _encode([[_ext(7, ["C", _RAW, "n", 5, 6])], {}]),
    _encode([_ext(7, ["C", _RAW, "n", float("inf"), -1])]),
    _encode(_ext(5, ["C", [0] * 32, 5])),
    _encode(_ext(5, [5, _RAW, None])),
    _encode(_ext(6, [_RAW])),
    _encode(_ext(6, [b"", None])),
    _encode(_ext(4, [Point.__module__, "Point", {"x": 1, "y": 2}])),
    _encode(_ext(4, [Point.__module__, "Point", {"x": 1}])),
    _encode(_ext(4, [Point.__module__, "Point", []])),
    _encode(_ext(4, ["nowhere", "Point", {}])),
    _encode(_ext(4, ["sys", "modules.x", {}])),
    _encode(_ext(9, [])),
    _encode(_ext(10, [])),
    _encode([_ext(8, [1]), {"x": _ext(8, [0])}]),
    _encode([_ext(8, [0]), _ext(8, [0])]),
    _encode(_ext(8, [-1])),
    _encode(_ext(7, ["C", _RAW, "n", 5, -1])),
    _encode({"a": 1}),
    b"",
]  # fmt: skip
_JSON_WORDS = (
    '{"$bytes": "aGk="}', '{"$datetime": "2026-11-30T12:00:00.5Z"}', '{"$set": [', '{"$', '"\\u0024', "]}", "[", "{",
    '"',
    ",", ":", "1e5", "-0", "-0.0", "1" * 25, "9223372036854775808", '"args"', '"kwargs"', "null", "true", "\\u",
    "\\ud83d",
)  # fmt: skip


def _changed_ext(data: bytes, random: Any) -> bytes:
    """The content of an extension, changed as the MessagePack that it mostly is."""
    try:
        value = msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        return changed_bytes(data, random)
    place = value[0] if isinstance(value, list) and value else value
    if not isinstance(place, msgspec.msgpack.Ext):
        return changed_msgpack(data, random)
    code = random.choice((place.code, place.code, place.code, 1, 2, 3, 4, 5, 6, 7, 8))
    made = msgspec.msgpack.Ext(code, changed_msgpack(bytes(place.data), random))
    return _encode([made, *value[1:]] if isinstance(value, list) else made)


_packed = either(changed_msgpack, _changed_ext, changed_bytes)
CHECKS = (
    Check("json", check_json, JSON, either(changed_text(_JSON_WORDS), changed_bytes)),
    Check("stored", check_stored, STORED, _packed),
    Check("sent", check_sent, SENT, _packed),
    Check(
        "python", check_python, [_encode([1, 1.5, "x", {"a": b"b", 3: None}]), _encode(float("nan"))], changed_msgpack
    ),
)
