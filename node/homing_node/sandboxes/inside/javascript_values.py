"""Values on their way between Python and the JavaScript engine, as JSON.

What JSON has stands for itself. The rest is an object of one key: `o` an object, `m` a Map (a list of pairs), `s` a
Set, `b` bytes in hex, `k` bytes that are `Kept` (their number; towards the engine also their length), `d` a Date in
milliseconds, `i` a BigInt in hex, `f` a number that is no integer of 53 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from homing.values import as_base

_SAFE = (1 << 53) - 1  # beyond it a number of JavaScript is not exact
_KEPT_BYTES = 16 * 1024  # above them bytes do not travel with what they are in
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Kept:
    """Bytes that cross in pieces, since their text in hex would need a multiple of their memory.

    Example:
        >>> kept = Kept()
        >>> number = kept.add(b"hello")
        >>> kept.piece(number, 1, 3), kept.more(number, b"!"), kept.take(number)
        ('656c6c', 1, b'hello!')
    """

    def __init__(self) -> None:
        self._numbers = 0
        self._data: dict[int, bytearray] = {}

    def add(self, data: bytes) -> int:
        """Keep bytes; returns their number."""
        return self.more(0, data)

    def more(self, number: int, data: bytes) -> int:
        """Append to what is kept; 0: keep something new. Returns the number."""
        if not number:
            number = self._numbers = self._numbers + 1
            self._data[number] = bytearray()
        self._data[number] += data
        return number

    def piece(self, number: int, at: int, count: int) -> str:
        """A part, in hex; below 0: nothing, and it is forgotten."""
        if at < 0:
            self._data.pop(number, None)
            return ""
        return self._data[number][at : at + count].hex()

    def take(self, number: int) -> bytes:
        """All of it, which is forgotten."""
        return bytes(self._data.pop(number))


def to_javascript(value: Any, kept: Kept | None = None) -> Any:
    """A value as a tree that `json` can write.

    Args:
        value: of the types that an object can store.
        kept: takes long bytes; None: they are in the tree, too.

    Raises:
        TypeError: some part of it is of a type that does not travel.
        RecursionError: it is nested too deeply.

    Example:
        >>> to_javascript({"n": 2**60, "raw": b"hi"})
        {'o': {'n': {'i': '1000000000000000'}, 'raw': {'b': '6869'}}}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _SAFE else {"i": f"{value:x}"}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return {"f": _float_text(value)}
    if isinstance(value, list | tuple):
        return [to_javascript(each, kept) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return _object(cast("dict[Any, Any]", value), kept)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(cast("bytes", value)), kept)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return {"d": (aware - _EPOCH) / _MILLISECOND}
    if isinstance(value, set | frozenset):
        return {"s": [to_javascript(each, kept) for each in cast("set[Any]", value)]}
    return to_javascript(as_base(value), kept)


def _bytes(value: bytes, kept: Kept | None) -> dict[str, Any]:
    if kept is None or len(value) <= _KEPT_BYTES:
        return {"b": value.hex()}
    return {"k": [kept.add(value), len(value)]}


def _float_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"


def _object(value: dict[Any, Any], kept: Kept | None) -> Any:
    if all(isinstance(key, str) for key in value):
        return {"o": {key: to_javascript(each, kept) for key, each in value.items()}}
    return {"m": [[to_javascript(key, kept), to_javascript(each, kept)] for key, each in value.items()]}


def from_javascript(node: Any, kept: Kept | None = None) -> Any:
    """The value of a tree that the engine wrote: code may have made it up.

    Args:
        node: the tree.
        kept: has long bytes; None: none are kept.

    Raises:
        TypeError, ValueError, OverflowError, LookupError: there is no such value.
        RecursionError: it is nested too deeply.

    Example:
        >>> from_javascript({"s": [1, {"i": "20000000000001"}]}) == {1, 9007199254740993}
        True
    """
    if isinstance(node, list):
        return [from_javascript(each, kept) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    ((tag, inside),) = cast("dict[str, Any]", node).items()
    match tag:
        case "o":
            return {key: from_javascript(each, kept) for key, each in inside.items()}
        case "m":
            return {from_javascript(key, kept): from_javascript(each, kept) for key, each in inside}
        case "s":
            return {from_javascript(each, kept) for each in inside}
        case "k":
            return (kept or Kept()).take(inside)
        case _:
            return _READERS[tag](inside)


def _date(milliseconds: Any) -> datetime:
    if milliseconds is None:
        raise ValueError("an invalid Date is no value that can be sent")
    return _EPOCH + milliseconds * _MILLISECOND


def _integer(digits: str) -> int:
    return int(digits, 16)  # which has no bound on digits, as base 10 has


_READERS: dict[str, Callable[[str], Any]] = {"b": bytes.fromhex, "d": _date, "i": _integer, "f": float}
