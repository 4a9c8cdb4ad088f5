"""How the arguments and results of methods become bytes: by value, where nothing can be called by what is passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from homing.streams import ReadableStream
from homing.values import from_stored, pair_of_arguments, to_stored


class Coding(Protocol):
    """What an activation's runtime asks of whoever encodes and decodes (`outgoing.Stubs`, `ByValue`)."""

    def decode_arguments(
        self, body: bytes, streams: Sequence[ReadableStream] = ...
    ) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
        """The arguments of a call; raises `ValueError` where they are none."""
        ...

    def decode_result(self, data: bytes) -> Any:
        """What a method returned; raises `ValueError` where it is no value."""
        ...

    def encode_result(self, result: Any, streams: list[ReadableStream]) -> bytes:
        """The bytes of what a method returned, without what is added to `streams`; raises `TypeError`, `ValueError`."""
        ...

    def encode_whole(self, value: Any) -> bytes:
        """The bytes of what is sent to a facet."""
        ...


class ByValue:
    """Values that objects can store, and nothing else.

    Example:
        >>> coding = ByValue()
        >>> coding.decode_arguments(coding.encode_whole([[1, {2}], {"n": b"x"}]))
        ([1, {2}], {'n': b'x'})
    """

    def decode_arguments(
        self, body: bytes, streams: Sequence[ReadableStream] = ()
    ) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
        """See `Coding`."""
        return pair_of_arguments(from_stored(body)) if body else ([], {})

    def decode_result(self, data: bytes) -> Any:
        """See `Coding`."""
        return from_stored(data)

    def encode_result(self, result: Any, streams: list[ReadableStream]) -> bytes:
        """See `Coding`."""
        return to_stored(result)

    def encode_whole(self, value: Any) -> bytes:
        """See `Coding`."""
        return to_stored(value)
