"""Values on their way between Python and the JavaScript engine, as JSON.

What JSON has stands for itself. The rest is an object of one key: `o` an object, `m` a Map (a list of pairs), `s` a
Set, `b` bytes in hex, `d` a Date in milliseconds, `i` a BigInt in hex, `f` a number that is no integer of 53 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from homing.values import as_base

_SAFE = (1 << 53) - 1  # beyond it a number of JavaScript is not exact
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_javascript(value: Any) -> Any:
    """A value as a tree that `json` can write.

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
        return [to_javascript(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return _object(cast("dict[Any, Any]", value))
    if isinstance(value, bytes | bytearray | memoryview):
        return {"b": bytes(cast("bytes", value)).hex()}
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return {"d": (aware - _EPOCH) / _MILLISECOND}
    if isinstance(value, set | frozenset):
        return {"s": [to_javascript(each) for each in cast("set[Any]", value)]}
    return to_javascript(as_base(value))


def _float_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"


def _object(value: dict[Any, Any]) -> Any:
    if all(isinstance(key, str) for key in value):
        return {"o": {key: to_javascript(each) for key, each in value.items()}}
    return {"m": [[to_javascript(key), to_javascript(each)] for key, each in value.items()]}


def from_javascript(node: Any) -> Any:
    """The value of a tree that the engine wrote: code may have made it up.

    Raises:
        TypeError, ValueError, OverflowError, LookupError: there is no such value.
        RecursionError: it is nested too deeply.

    Example:
        >>> from_javascript({"s": [1, {"i": "20000000000001"}]}) == {1, 9007199254740993}
        True
    """
    if isinstance(node, list):
        return [from_javascript(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    ((tag, inside),) = cast("dict[str, Any]", node).items()
    return _READERS[tag](inside)


def _date(milliseconds: Any) -> datetime:
    if milliseconds is None:
        raise ValueError("an invalid Date is no value that can be sent")
    return _EPOCH + milliseconds * _MILLISECOND


def _members(inside: dict[str, Any]) -> dict[str, Any]:
    return {key: from_javascript(each) for key, each in inside.items()}


def _pairs(inside: list[Any]) -> dict[Any, Any]:
    return {from_javascript(key): from_javascript(each) for key, each in inside}


def _set(inside: list[Any]) -> set[Any]:
    return {from_javascript(each) for each in inside}


def _integer(digits: str) -> int:
    return int(digits, 16)  # which has no bound on digits, as base 10 has


_READERS: dict[str, Callable[[Any], Any]] = {
    "o": _members,
    "m": _pairs,
    "s": _set,
    "b": bytes.fromhex,
    "d": _date,
    "i": _integer,
    "f": float,
}
