"""Values out of bytes that code without trust has written: results of sandboxes, and what they ask for under grants.

The hash of text and bytes is another one in each process; that of numbers, tuples and sets is the same everywhere. So
whoever may choose members of a set, or keys of a dict, can choose those that all meet in a few places of its table,
each behind all before it: 10,000 numbers took 0.1 s instead of 1 ms, 200,000 would take a minute. A table's size times
its size is therefore bounded before it is built; what honest code returns is far below that.
"""

from __future__ import annotations

from typing import Any

from homing.values import EXT_SET, from_stored

CLASHES_MAX = 1_000_000_000
"""Of a value: the sum over its dicts and sets of (numbers + 4 x what else has such a hash) squared. One of 30,000
numbers, or of 7,500 tuples."""
_OTHER = 4  # equal hashes of tuples, sets and longer integers are easily made, and compared one by one

_LARGE = (b"\xc8", b"\xc9", b"\xde", b"\xdf")  # what begins an extension, or a map, of more than a few bytes
_LIST, _DICT, _SET, _MEMBERS = range(4)  # a set is an extension in which is a list, that of its members

# The first byte of what MessagePack says: how many bytes follow in all, or how many bytes say that.
_BYTES = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4,
          0xD3: 8}  # fmt: skip
_PLAIN = bytes(1 + _BYTES[n] if n in _BYTES else n < 0x80 or n >= 0xE0 for n in range(256))
_TEXT = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # and bytes
_COUNTED = {0xDC: (_LIST, 2), 0xDD: (_LIST, 4), 0xDE: (_DICT, 2), 0xDF: (_DICT, 4)}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def from_untrusted(data: bytes) -> Any:
    """As `homing.values.from_stored`, in a time that does not grow with the square of the bytes.

    Raises:
        ValueError: these are no bytes of a value, or its dicts and sets have too many members of predictable hashes.

    Example:
        >>> from homing.values import to_stored
        >>> from_untrusted(to_stored({n: str(n) for n in range(3)}))
        {0: '0', 1: '1', 2: '2'}
    """
    if any(mark in data for mark in _LARGE):
        _Walk(data).check()
    return from_stored(data)


class _Walk:
    """Goes over a value as its decoder would, and builds nothing.

    What the decoder refuses it may read in another way, but only behind the place at which the decoder ends.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._left, self._kind = 1, _LIST  # items of what it is in
        self._weight = 0  # of its members
        self._clashes = 0
        self._outer: list[tuple[int, int, int]] = []

    def check(self) -> None:
        """Raises `ValueError` where there is too much of it."""
        end = len(self._data)
        while self._at < end:
            while not self._left:
                if not self._outer:
                    return
                self._left, self._kind, self._weight = self._outer.pop()
            self._left -= 1
            first = self._data[self._at]
            if self._kind == _LIST and (size := _PLAIN[first]):
                self._at += size  # most of what is long is of these
            else:
                self._item(first)

    def _item(self, first: int) -> None:
        self._at += 1
        if first < 0x80 or first >= 0xE0:
            self._member(1)
        elif first < 0x90:
            self._enter(_DICT, first & 0x0F)
        elif first < 0xA0:
            self._enter(_LIST, first & 0x0F)
        elif first < 0xC0:
            self._at += first & 0x1F
        elif first in _BYTES:
            self._at += _BYTES[first]
            self._member(1)
        elif first in _TEXT:
            size = self._number(_TEXT[first])
            self._at += size
        elif first in _COUNTED:
            kind, width = _COUNTED[first]
            self._enter(kind, self._number(width))
        else:
            self._extension(first)

    def _extension(self, first: int) -> None:
        size = self._number(_EXTENSIONS[first]) if first in _EXTENSIONS else _FIXED.get(first, 0)
        code = self._number(1)
        if code == EXT_SET:
            self._enter(_SET, 1)
        else:
            self._member(_OTHER)
            self._at += size

    def _enter(self, kind: int, count: int) -> None:
        if kind == _LIST and self._kind == _SET:
            kind = _MEMBERS
        self._member(_OTHER)
        self._outer.append((self._left, self._kind, self._weight))
        self._left, self._kind, self._weight = count * 2 if kind == _DICT else count, kind, 0

    def _member(self, weight: int) -> None:
        """What comes is a member of a set, or the key of a dict; anything else counts for nothing."""
        if self._kind != _MEMBERS and (self._kind != _DICT or not self._left % 2):
            return
        before, self._weight = self._weight, self._weight + weight
        self._clashes += self._weight * self._weight - before * before
        if self._clashes > CLASHES_MAX:
            raise ValueError("its dicts and sets have too many members that are no text")

    def _number(self, width: int) -> int:
        at, self._at = self._at, self._at + width
        return int.from_bytes(self._data[at : self._at], "big")
