"""Bytes: typed arrays, `TextEncoder`, `TextDecoder`, `atob`, `btoa`, `structuredClone`."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from homing.compat.membrane import faced, plain


class ArrayBuffer(bytearray):
    """Bytes as JavaScript has them."""

    @classmethod
    def new(cls, content: Any = 0, *_: Any) -> Any:
        """So many zeros, or a copy of bytes or numbers."""
        return cls(content if isinstance(content, int) else bytes(cast("Iterable[int]", content)))

    @property
    def byteLength(self) -> int:
        """How many there are."""
        return len(self)

    def slice(self, begin: int = 0, end: int | None = None) -> Any:
        """A copy of a part."""
        return type(self)(self[begin:end])

    def to_bytes(self) -> bytes:
        """A copy of them."""
        return bytes(self)

    def to_py(self, **_: Any) -> memoryview:
        """A view of them."""
        return memoryview(self)


class Uint8Array(ArrayBuffer):
    """Bytes as an array of numbers."""

    @classmethod
    def from_(cls, content: Iterable[int]) -> Uint8Array:
        """A copy of numbers."""
        return cls(content)

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self)

    @property
    def buffer(self) -> ArrayBuffer:
        """A copy of them; there is no memory to share."""
        return ArrayBuffer(self)

    subarray = ArrayBuffer.slice

    def set(self, content: Iterable[int], offset: int = 0) -> None:
        """Write bytes at a place."""
        data = bytes(content)
        if offset < 0 or offset + len(data) > len(self):
            raise ValueError("offset is out of bounds")
        self[offset : offset + len(data)] = data


class TextEncoder:
    """From text to UTF-8."""

    encoding = "utf-8"

    @classmethod
    def new(cls) -> TextEncoder:
        """One."""
        return cls()

    def encode(self, text: str = "") -> Uint8Array:
        """The bytes of a text."""
        return Uint8Array(text.encode(errors="replace"))


class TextDecoder:
    """From bytes to text.

    Args:
        label: the encoding.
        fatal: what is not of it is an error.

    Raises:
        ValueError: there is no such encoding.
    """

    def __init__(self, label: str = "utf-8", *, fatal: bool = False) -> None:
        try:
            self.encoding = codecs.lookup(label).name
        except LookupError as error:
            raise ValueError(f"the encoding {label!r} is not known") from error
        self.fatal = fatal
        self._decoder = self._fresh()

    @classmethod
    def new(cls, label: str = "utf-8", options: Any = None, **more: Any) -> TextDecoder:
        """Of an encoding; `fatal` is an option."""
        return cls(label, fatal=_says("fatal", options, more))

    def _fresh(self) -> codecs.IncrementalDecoder:
        return codecs.getincrementaldecoder(self.encoding)("strict" if self.fatal else "replace")

    def decode(self, data: Any = b"", options: Any = None, **more: Any) -> str:
        """The text of bytes; with the option `stream` more come."""
        streams = _says("stream", options, more)
        text = self._decoder.decode(bytes(data), final=not streams)
        if not streams:
            self._decoder = self._fresh()
        return text.removeprefix("\ufeff")


def _says(name: str, options: Mapping[str, Any] | None, more: dict[str, Any]) -> bool:
    return bool(more.get(name) or (options and options.get(name)))


def btoa(text: str) -> str:
    """Base64 of a text whose characters are bytes."""
    return base64.b64encode(text.encode("latin-1")).decode()


def atob(text: str) -> str:
    """The text of Base64."""
    kept = "".join(text.split()).rstrip("=")
    return base64.b64decode(kept + "=" * (-len(kept) % 4), validate=True).decode("latin-1")


def structuredClone(value: Any, *_: Any) -> Any:
    """A copy of data and all that is in it.

    Raises:
        TypeError: there is something else in it.
    """
    return faced(_cloned(plain(value)))


def _cloned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cloned(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_cloned(item) for item in cast("list[Any]", value)]
    if isinstance(value, (set, bytearray)):
        return type(cast("Any", value))(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes, datetime)):
        return value
    raise TypeError(f"a value of type {type(value).__name__} could not be cloned")
