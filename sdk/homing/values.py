"""Values on their way: as JSON between clients and objects, and as MessagePack in an object's key-value storage.

JSON carries integers exactly, of any size, and three tags both ways: `{"$bytes": base64}`, `{"$datetime": ISO 8601}`
and `{"$set": [...]}`. Tuples arrive as lists. NaN and infinities are errors, as is any other type: nothing is silently
turned into something else.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from collections.abc import AsyncIterable, Callable
from datetime import datetime
from typing import Any, cast

import msgspec

from homing.errors import NotSupported

_EXT_INTEGER = 1  # beyond 64 bits: signed, little endian
_EXT_DATETIME = 2  # ISO 8601
EXT_SET = 3  # a MessagePack array

_json_encode = msgspec.json.Encoder().encode
_json_decode = msgspec.json.Decoder().decode
_pack = msgspec.msgpack.Encoder().encode


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a call."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_arguments_decode = msgspec.json.Decoder(Arguments).decode
_EMPTY_BODIES = frozenset((b"", b"{}"))


_type: Callable[[Any], Any] = type  # without type inference from the comparisons below


def _refuse(value: object) -> TypeError:
    return TypeError(f"a value of type {type(value).__qualname__} cannot be sent or stored")


def _with_depth_checked(encode: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        return encode(value)
    except RecursionError:
        raise ValueError("the value is nested too deeply, or contains itself") from None


def to_json(value: Any) -> bytes:
    """The JSON text of a value.

    Raises:
        TypeError: some part of it is of a type that does not travel; the message names the type.
        ValueError: NaN, an infinity, text that is not valid Unicode, or nesting without end.
        NotSupported: some part of it is a stream, which `fetch` can carry, and calls between objects.

    Example:
        >>> to_json({"n": 2**70, "raw": b"hi"})
        b'{"n":1180591620717411303424,"raw":{"$bytes":"aGk="}}'
    """
    return _with_depth_checked(_json, value)


def _json(value: Any) -> bytes:
    return _json_encode(_tag(value))


def encode_result(value: Any) -> bytes:
    """The answer of a call, `{"result": …}`; raises what `to_json` raises."""
    kind = _type(value)
    if kind is int and -(1 << 63) < value < 1 << 63:
        return b'{"result":%d}' % value
    if value is None:
        return b'{"result":null}'
    if kind is str:
        return b'{"result":' + _json_encode(value) + b"}"
    return b'{"result":' + to_json(value) + b"}"


def _tag(value: Any) -> Any:
    """A tree that JSON can say, equal parts of it the very same objects."""
    kind = _type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise ValueError(f"{value} cannot be sent as JSON")
    if kind is list or kind is tuple:
        return [_tag(item) for item in value]
    if kind is dict:
        return {_json_key(key): _tag(item) for key, item in value.items()}
    if kind is bytes or kind is bytearray or kind is memoryview:
        return {"$bytes": b64encode(value).decode()}
    if kind is datetime:
        return {"$datetime": value.isoformat()}
    if kind is set or kind is frozenset:
        return {"$set": [_tag(item) for item in value]}
    if isinstance(value, AsyncIterable):
        raise NotSupported(
            "a stream in a call from outside, or in its result: use `fetch`, whose request and answer can be streams"
        )
    return _tag(as_base(value))


def _json_key(key: Any) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"a dict key of type {type(key).__qualname__} cannot be sent as JSON")


def as_base(value: Any) -> Any:
    """A value of a subclass (an IntEnum, a defaultdict, a named tuple) as the type that it extends.

    Raises:
        TypeError: it extends none that travels.
    """
    for base in (int, float, str, bytes, list, tuple, dict, set, frozenset):
        if isinstance(value, base):
            return cast("Any", base)(value)
    raise _refuse(value)


def from_json(data: bytes) -> Any:
    """The value of a JSON text, its tags resolved.

    Raises:
        ValueError: broken, nested too deeply, or a tag whose content is wrong.

    Example:
        >>> from_json(b'[1, {"$bytes": "aGk="}]')
        [1, b'hi']
    """
    try:
        value = _json_decode(data)
        return _untag(value) if _may_have_tags(data) else value
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def decode_arguments(body: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword arguments that the body of a call carries; an empty body carries none.

    Raises:
        ValueError: broken or too deep JSON, another shape than `{"args": [...], "kwargs": {...}}`, or a bad tag.
    """
    if body in _EMPTY_BODIES:
        return [], {}
    try:
        arguments = _arguments_decode(body)
        if _may_have_tags(body):
            return _untag(arguments.args), {key: _untag(value) for key, value in arguments.kwargs.items()}
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    return arguments.args, arguments.kwargs


def pair_of_arguments(both: Any) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword arguments of a call, of the value that was sent.

    Raises:
        ValueError: it is no such pair.
    """
    match both:
        case [list(), dict()]:
            args, kwargs = cast("tuple[list[Any], dict[str, Any]]", both)
            return args, kwargs
        case _:
            raise ValueError("the arguments of a call are a list and a dict")


def _may_have_tags(data: bytes) -> bool:
    return b"$" in data or b"\\u" in data  # the dollar sign may be written as an escape


def _untag(value: Any) -> Any:
    kind = _type(value)
    if kind is list:
        return [_untag(item) for item in value]
    if kind is not dict:
        return value
    if len(value) == 1:
        ((key, content),) = value.items()
        resolve = _TAGS.get(key)
        if resolve is not None:
            return resolve(content)
    return {key: _untag(item) for key, item in value.items()}


def _untag_bytes(content: Any) -> bytes:
    try:
        return b64decode(content, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ValueError("$bytes must be base64") from None


def _untag_datetime(content: Any) -> datetime:
    try:
        return datetime.fromisoformat(content)
    except (TypeError, ValueError):
        raise ValueError("$datetime must be ISO 8601") from None


def _untag_set(content: Any) -> set[Any]:
    if type(content) is not list:
        raise ValueError("$set must be a list")
    try:
        return {_hashable(_untag(item)) for item in cast("list[Any]", content)}
    except TypeError:
        raise ValueError("$set may only hold values that a set can hold") from None


def _hashable(item: Any) -> Any:
    """What a set can hold of a decoded value: a list was a tuple, a set was a frozenset."""
    if type(item) is list:
        return tuple(_hashable(part) for part in cast("list[Any]", item))
    return frozenset(cast("set[Any]", item)) if type(item) is set else item


_TAGS: dict[str, Callable[[Any], Any]] = {"$bytes": _untag_bytes, "$datetime": _untag_datetime, "$set": _untag_set}


class Packer:
    """MessagePack for what an object keeps or sends: None, bool, int, float, str, bytes, datetime, list, dict and set.

    Args:
        other: gives what MessagePack can carry for a value of another type, or raises `TypeError`; by default a value
            of a subclass goes as the type that it extends.
        resolve: (code, data) gives the value of an extension that `other` made; raises `ValueError` for an unknown one.
    """

    def __init__(
        self,
        other: Callable[[Any], Any] | None = None,
        resolve: Callable[[int, bytes], Any] | None = None,
    ) -> None:
        self._other = other or self._base
        self._resolve = resolve or _unknown
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._unextend).decode

    def encode(self, value: Any) -> bytes:
        """The bytes of a value.

        Raises:
            TypeError: some part of it is of a type that cannot be carried; the message names it.
            ValueError: text that is not valid Unicode, or nesting without end.
        """
        kind = _type(value)
        if kind is str or kind is bytes or (kind is int and -(1 << 63) < value < 1 << 63):
            return _pack(value)
        return _with_depth_checked(self._packed, value)

    def decode(self, data: bytes) -> Any:
        """The value whose bytes these are.

        Raises:
            ValueError: they were not made by `encode`, or are nested too deeply.
        """
        try:
            return self._decode(data)
        except RecursionError:
            raise ValueError("the value is nested too deeply") from None

    def _packed(self, value: Any) -> bytes:
        return _pack(self.extend(value))

    def extend(self, value: Any) -> Any:
        """A tree that MessagePack can say."""
        kind = _type(value)
        if kind is str or kind is bool or kind is float or kind is bytes or value is None:
            return value
        if kind is int:
            return value if -(1 << 63) < value < 1 << 63 else _large_integer(value)
        if kind is list or kind is tuple:
            return [self.extend(item) for item in value]
        if kind is dict:
            return {_stored_key(key): self.extend(item) for key, item in value.items()}
        if kind is datetime:
            return msgspec.msgpack.Ext(_EXT_DATETIME, value.isoformat().encode())
        if kind is set or kind is frozenset:
            return msgspec.msgpack.Ext(EXT_SET, _pack([self.extend(item) for item in value]))
        if kind is bytearray or kind is memoryview:
            return bytes(value)
        return self._other(value)

    def _base(self, value: Any) -> Any:
        return self.extend(as_base(value))

    def _unextend(self, code: int, data: memoryview) -> Any:
        if code == _EXT_INTEGER:
            return int.from_bytes(data, "little", signed=True)
        if code == _EXT_DATETIME:
            return datetime.fromisoformat(bytes(data).decode())
        if code == EXT_SET:
            return _set_of(self._decode(data))  # not copied: sets within sets would each be another copy of all
        return self._resolve(code, bytes(data))


def _set_of(items: Any) -> set[Any]:
    try:
        return {_hashable(item) for item in items}
    except TypeError:
        raise ValueError("bytes of a set of what no set can hold") from None


def _unknown(code: int, _: bytes) -> Any:
    raise ValueError(f"bytes of an unknown kind {code}")


def _large_integer(value: int) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(_EXT_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _stored_key(key: Any) -> Any:
    if key is None or isinstance(key, (str, bytes, bool, float)):
        return key
    if isinstance(key, int) and -(1 << 63) < key < 1 << 63:
        return key
    raise TypeError(f"a dict key of type {type(key).__qualname__} cannot be sent or stored")


_STORED = Packer()

to_stored = _STORED.encode
"""The bytes under which key-value storage keeps a value; see `Packer.encode`. A tuple comes back as a list, a frozenset
as a set."""

from_stored = _STORED.decode
"""The value that `to_stored` was given; see `Packer.decode`."""
