"""Values on their way between objects: MessagePack, with what JSON and storage cannot carry.

By value, as `Packer` has it: None, bool, int of any size, float, str, bytes, datetime, lists, dicts, sets; and ids of
objects, and instances of dataclasses that both sides have. A stub arrives as a stub of the same object; functions and
`RpcTarget`s go by reference. A stream, or an asynchronous generator, arrives as a stream: what is sent of it is its
number, and its pieces flow behind the value (`homing.flow`). Nothing is ever run to make a value: the fields of a
dataclass are put back as they were, without its `__init__`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

import msgspec

from homing.errors import HomingError, TooLarge
from homing.flow import streams_per_value_max
from homing.ids import ObjectId
from homing.streams import ReadableStream, WholeBody
from homing.stubs import Caller, DurableObjectStub, Reference, RpcStub, RpcTarget
from homing.values import Packer, as_base, pair_of_arguments

_EXT_DATACLASS = 4  # [module, qualified name, {field: value}]
_EXT_STUB = 5  # [class, id, name]
_EXT_ID = 6  # [id, name]
_EXT_REFERENCE = 7  # [class, id, name, activation, target]
_EXT_STREAM = 8  # [its number among those of the value]
_EXT_BODY = 9  # a body that is there as a whole: it can be read as a stream is, also where it arrives

_pack = msgspec.msgpack.Encoder().encode
_T = TypeVar("_T")
_NOWHERE = ObjectId(bytes(32))


class Sender:
    """Encodes and decodes what objects send to each other.

    Args:
        caller: takes the calls of stubs that are received.
        export: (a function or an `RpcTarget`) gives its place, for whoever gets it to call.

    Example:
        >>> sender = Sender(None, None)  # doctest: +SKIP
        >>> sender.decode(sender.encode({"ids": {1, 2}, 7: b"x"}))  # doctest: +SKIP
        {'ids': {1, 2}, 7: b'x'}
    """

    def __init__(self, caller: Caller, export: Callable[[Any], Reference]) -> None:
        self._caller = caller
        self._export = export
        self._packer = Packer(self._other, self._resolve)
        self._sent: list[ReadableStream] | None = None  # streams of the value that is being encoded
        self._came: list[ReadableStream | None] = []  # and of the one that is being decoded

    def encode(self, value: Any, streams: list[ReadableStream] | None = None) -> bytes:
        """The bytes of a value.

        Args:
            value: what is sent.
            streams: takes the streams that are in it, to be sent behind it; what was passed is locked. None: it may
                have none.

        Raises:
            TypeError, ValueError: see `Packer.encode`.
            TooLarge: there are too many streams in it.
            BadRequest: one of them has a reader.
        """
        self._sent = streams
        try:
            return self._packer.encode(value)
        finally:
            self._sent = None

    def decode(self, data: bytes, streams: Sequence[ReadableStream] = ()) -> Any:
        """The value whose bytes these are; `streams` flow behind it, each of which is at one place in it, or at none.

        Raises:
            ValueError: they were not made by `encode`, or are nested too deeply.
        """
        self._came = [*streams]
        try:
            return self._packer.decode(data)
        finally:
            self._came = []

    def decode_arguments(
        self, body: bytes, streams: Sequence[ReadableStream] = ()
    ) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
        """The positional and keyword arguments of a call.

        Raises:
            ValueError: they are not the bytes of a pair of them.
        """
        if not body:
            return [], {}
        return pair_of_arguments(self.decode(body, streams))

    def _other(self, value: Any) -> Any:
        if isinstance(value, DurableObjectStub):
            return _extension(_EXT_STUB, [value.class_key, value.id.raw, value.id.name])
        if isinstance(value, ObjectId):
            return _extension(_EXT_ID, [value.raw, value.name])
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kind = type(value)
            if _dataclass(kind.__module__, kind.__qualname__) is not kind:
                raise TypeError(
                    f"{kind.__qualname__} cannot be sent: a dataclass must be found under its module's name"
                )
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return _extension(_EXT_DATACLASS, [kind.__module__, kind.__qualname__, self._packer.extend(fields)])
        if isinstance(value, RpcStub):
            return _reference(value.reference)
        if isinstance(value, (RpcTarget, FunctionType, MethodType)):
            return _reference(self._export(value))
        if isinstance(value, WholeBody):
            return msgspec.msgpack.Ext(_EXT_BODY, bytes(value))
        if isinstance(value, (ReadableStream, AsyncGenerator)):
            return _extension(_EXT_STREAM, [self._pass_on(cast("Any", value))])
        return self._packer.extend(as_base(value))

    def _pass_on(self, value: ReadableStream | AsyncGenerator[Any]) -> int:
        """Take a stream out of the value that is being encoded; returns its number there."""
        if self._sent is None:
            raise TypeError("a stream cannot be sent here")
        if len(self._sent) >= streams_per_value_max:
            raise TooLarge(f"at most {streams_per_value_max} streams are sent with a call, and as many with its result")
        stream = value.homing_pass_on() if isinstance(value, ReadableStream) else ReadableStream(value)
        self._sent.append(stream)
        return len(self._sent) - 1

    def _resolve(self, code: int, data: bytes) -> Any:
        if code == _EXT_BODY:
            return WholeBody(data)
        content = self._packer.decode(data)
        try:
            if code == _EXT_STUB:
                class_key, *found = content
                return DurableObjectStub(self._caller, _of_type(str, class_key), _id(*found))
            if code == _EXT_ID:
                return _id(*content)
            if code == _EXT_DATACLASS:
                return _restored(*content)
            if code == _EXT_STREAM:
                return self._stream(*content)
            if code == _EXT_REFERENCE:
                class_key, raw, name, activation, target = content
                numbers = _of_type(int, activation), _of_type(int, target)
                if min(numbers) < 0:
                    raise ValueError("a reference to nothing")
                return self._referred(Reference(_of_type(str, class_key), _id(raw, name), *numbers))
        except (LookupError, TypeError, AttributeError, HomingError) as error:
            raise ValueError(f"a value that cannot be read: {error}") from error
        raise ValueError(f"bytes of an unknown kind {code}")

    def _stream(self, number: Any) -> ReadableStream:
        at = _of_type(int, number)
        if at < 0:
            raise LookupError("a number below 0")
        found, self._came[at] = self._came[at], None
        if found is None:
            raise ValueError("a stream that is in two places")
        return found

    def _referred(self, to: Reference) -> Any:
        return RpcStub(self._caller, to)


class Copier(Sender):
    """Copies what goes from one class to another in the same process, as if it had been sent.

    Args:
        caller: takes the calls of stubs that are copied.
        borrow: gives what stands, where it arrives, for a function or an `RpcTarget`.
    """

    def __init__(self, caller: Caller, borrow: Callable[[Any], Any]) -> None:
        super().__init__(caller, self._pass)
        self._borrow = borrow
        self._passed: list[Any] = []  # by the value that is being copied

    def copy(self, value: Any) -> Any:
        """A copy of a value, with the very streams that are in it; raises what `encode` raises."""
        self._passed = []
        streams: list[ReadableStream] = []
        return self.decode(self.encode(value, streams), streams)

    def _pass(self, value: Any) -> Reference:
        self._passed.append(value)
        return Reference("", _NOWHERE, 0, len(self._passed) - 1)

    def _referred(self, to: Reference) -> Any:
        return super()._referred(to) if to.class_key else self._borrow(self._passed[to.target])


def _of_type(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__qualname__} instead of {kind.__qualname__}")
    return value


def _id(raw: Any, name: Any = None) -> ObjectId:
    return ObjectId(_of_type(bytes, raw), name if name is None else _of_type(str, name))


def _extension(code: int, content: Sequence[Any]) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _pack(content))


def _reference(to: Reference) -> msgspec.msgpack.Ext:
    return _extension(_EXT_REFERENCE, [to.class_key, to.object_id.raw, to.object_id.name, to.activation, to.target])


def _dataclass(module: str, qualified_name: str) -> type[Any] | None:
    """The dataclass of that name in a module that is loaded: one that is not was never meant to be received."""
    found: Any = sys.modules.get(module)
    for part in qualified_name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


def _restored(module: str, qualified_name: str, values: dict[str, Any]) -> Any:
    kind = _dataclass(module, qualified_name)
    if kind is None:
        raise ValueError(f"there is no dataclass {qualified_name} in {module} here")
    names = {field.name for field in dataclasses.fields(kind)}
    if values.keys() != names:
        raise ValueError(f"{qualified_name} has other fields here: {', '.join(sorted(values.keys() ^ names))}")
    made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)  # a frozen one, too
    return made
