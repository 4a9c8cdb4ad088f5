"""Object ids and slots: how a name becomes 32 bytes, and 32 bytes become a slot.

Layout of an id: bytes 0-1 begin the slot hash, bytes 2-9 are the tag of the class's stable key, bytes 10-31 come from
SHA-256 of the name, or are random. A slot is a prefix of the hash, so the number of slots can be doubled without
moving an object to an unrelated slot.

An id that a jurisdiction binds says so itself: bytes 0-1 are all ones, bytes 10-14 are a mark, byte 15 is the
jurisdiction's number, and the slot hash begins at byte 16. Its slot is one of those that only this jurisdiction has,
behind those of all others. Another id looks like one by chance once in 2^56.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache

from homing.errors import BadRequest, UnknownLocation

OBJECT_ID_BYTES = 32
OBJECT_NAME_BYTES_MAX = 1_024
ADDRESS_BY_ID = "id:"
ADDRESS_OF_JURISDICTION = "@"
SLOTS_DEFAULT = 1_024
SLOTS_MAX = 65_536
JURISDICTIONS_MAX = 8
BOUND_HASH = b"\xff\xff"
"""In an id that a jurisdiction binds, where others have their slot hash: it is sorted behind nearly all of them."""
BOUND_MARK = hashlib.sha256(b"homing jurisdiction").digest()[:5]

_NAMES: list[str] = []  # of the jurisdictions of the cluster whose object code this process runs


@lru_cache(maxsize=1_024)
def class_tag(class_key: str) -> bytes:
    """The 8 bytes that mark every id of a class; made from the stable key, so they survive a rename."""
    return hashlib.sha256(b"homing class\0" + class_key.encode()).digest()[:8]


class ObjectId:
    """The address of one object: 32 bytes, and its name where it was made from one. `str(id)` is 64 hexadecimal digits.

    Attributes:
        name: or None.
        raw: the bytes.
        jurisdiction: the name of what binds it to zones, or None. Outside of object code, its number.

    Example:
        >>> a = ObjectId.from_name("Counter", "a")
        >>> a == ObjectId.from_hex("Counter", str(a)), a.name
        (True, 'a')
    """

    __slots__ = ("name", "raw")

    def __init__(self, raw: bytes, name: str | None = None) -> None:
        if len(raw) != OBJECT_ID_BYTES:
            raise BadRequest(f"an object id is {OBJECT_ID_BYTES} bytes, not {len(raw)}")
        self.raw = raw
        self.name = name

    @classmethod
    def from_name(cls, class_key: str, name: str, bound: int | None = None) -> ObjectId:
        """The one id of `name` in a class.

        Args:
            class_key: of the class.
            name: of the object.
            bound: the number of its jurisdiction; None: it is in none.

        Raises:
            BadRequest: the name is empty, not valid Unicode, or over 1,024 bytes of UTF-8.
        """
        try:
            encoded = name.encode()
        except UnicodeEncodeError as error:
            raise BadRequest("an object name must be valid Unicode") from error
        if not 0 < len(encoded) <= OBJECT_NAME_BYTES_MAX:
            raise BadRequest(f"an object name is 1 to {OBJECT_NAME_BYTES_MAX} bytes of UTF-8, not {len(encoded)}")
        tag = class_tag(class_key)
        if bound is not None:
            digest = hashlib.sha256(b"homing bound object\0" + bytes([bound]) + tag + encoded).digest()
            return cls(_bound(tag, bound, digest[:16]), name)
        digest = hashlib.sha256(b"homing object\0" + tag + encoded).digest()
        return cls(digest[:2] + tag + digest[2:24], name)

    @classmethod
    def unique(cls, class_key: str, bound: int | None = None) -> ObjectId:
        """A new random id; `bound` as for `from_name`."""
        noise = secrets.token_bytes(24)
        tag = class_tag(class_key)
        return cls(noise[:2] + tag + noise[2:] if bound is None else _bound(tag, bound, noise[:16]))

    @classmethod
    def from_hex(cls, class_key: str, text: str) -> ObjectId:
        """The id that `str(id)` printed.

        Raises:
            BadRequest: not 64 hexadecimal digits, or an id of another class.
        """
        try:
            raw = bytes.fromhex(text) if len(text) == 2 * OBJECT_ID_BYTES else b""
        except ValueError:
            raw = b""
        if not raw:
            raise BadRequest("an object id is 64 hexadecimal digits")
        found = cls(raw)
        found.check_class(class_key)
        return found

    @classmethod
    def from_address(cls, class_key: str, text: str, bound: int | None = None) -> ObjectId:
        """The id that an address names: an object's name, or `id:` and what `str(id)` printed.

        Args:
            class_key: of the class.
            text: the address.
            bound: the number of the jurisdiction that it must be in; None: a name is in none, an id may be in any.

        Raises:
            BadRequest: as `from_name`, `from_hex` and `check_bound`.
        """
        if not text.startswith(ADDRESS_BY_ID):
            return cls.from_name(class_key, text, bound)
        found = cls.from_hex(class_key, text[len(ADDRESS_BY_ID) :])
        if bound is not None:
            found.check_bound(bound)
        return found

    @property
    def bound(self) -> int | None:
        """The number of the jurisdiction that binds it, or None."""
        return bound_of(self.raw)

    @property
    def jurisdiction(self) -> str | None:
        """The name of the jurisdiction that binds it to its zones; None: it may live on any node."""
        number = self.bound
        if number is None:
            return None
        return _NAMES[number] if number < len(_NAMES) else str(number)

    def check_class(self, class_key: str) -> None:
        """Raises `BadRequest` unless this is an id of that class."""
        if self.raw[2:10] != class_tag(class_key):
            raise BadRequest(f"this id does not belong to class {class_key}")

    def check_bound(self, bound: int) -> None:
        """Raises `BadRequest` unless this is an id of that jurisdiction, by number."""
        if self.bound != bound:
            raise BadRequest("this id does not belong to that jurisdiction")

    def is_of(self, class_key: str, name: str) -> bool:
        """Whether that name gives this id, in the jurisdiction that it is of."""
        return ObjectId.from_name(class_key, name, self.bound) == self

    def slot(self, slots: int = SLOTS_DEFAULT) -> int:
        """The slot of this id in a cluster of `slots` slots (a power of two)."""
        return slot_of(self.raw, slots)

    def __str__(self) -> str:
        return self.raw.hex()

    def __repr__(self) -> str:
        return f"ObjectId({self.raw.hex()[:12]}…, name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectId) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)


def first_id(class_key: str, bound: int | None = None) -> ObjectId:
    """The lowest id that an object of a class could have, or one of a jurisdiction in it; a list begins above it."""
    tag = class_tag(class_key)
    return ObjectId(bytes(2) + tag + bytes(22) if bound is None else _bound(tag, bound, bytes(16)))


def _bound(tag: bytes, bound: int, rest: bytes) -> bytes:
    assert 0 <= bound < JURISDICTIONS_MAX, bound
    return BOUND_HASH + tag + BOUND_MARK + bytes([bound]) + rest


def bound_of(raw: bytes) -> int | None:
    """The number of the jurisdiction that binds a 32-byte id, or None."""
    bound = raw[0] == raw[1] == 0xFF and raw[10:15] == BOUND_MARK and raw[15] < JURISDICTIONS_MAX
    return raw[15] if bound else None


def slots_of_each(slots: int) -> int:
    """How many slots each jurisdiction has of its own, in a cluster of `slots` slots for all others."""
    return max(1, slots // JURISDICTIONS_MAX)


def slot_of(raw: bytes, slots: int) -> int:
    """The slot of a 32-byte id: the first bits of its hash.

    Args:
        raw: the id.
        slots: how many the cluster has for ids that nothing binds, a power of two.

    Returns:
        A number below `slots`, or, of an id that a jurisdiction binds, one of those that follow.
    """
    bound = bound_of(raw) if raw[0] == 0xFF else None  # most are known by their first byte: every call comes here
    if bound is None:
        return ((raw[0] << 8 | raw[1]) * slots) >> 16
    each = slots_of_each(slots)
    return slots + bound * each + (((raw[16] << 8 | raw[17]) * each) >> 16)


def name_jurisdictions(names: Sequence[str]) -> None:
    """Say what the jurisdictions of the cluster are called whose object code runs in this process, by number."""
    _NAMES[:] = names


def bound_by(jurisdiction: str, names: Sequence[str] | None = None) -> int:
    """The number of a jurisdiction.

    Args:
        jurisdiction: its name.
        names: of all, by number; None: those of `name_jurisdictions`.

    Raises:
        UnknownLocation: there is none of that name.
    """
    known = _NAMES if names is None else names
    if jurisdiction not in known:
        there = f"there are {', '.join(sorted(known))}" if known else "the cluster has none (HOMING_JURISDICTIONS)"
        raise UnknownLocation(f"there is no jurisdiction {jurisdiction[:100]!r}: {there}")
    return known.index(jurisdiction)


def in_jurisdiction(class_name: str, jurisdiction: str | None) -> str:
    """How clients name a class where they mean its objects in a jurisdiction: `Room@eu`."""
    return class_name if jurisdiction is None else f"{class_name}{ADDRESS_OF_JURISDICTION}{jurisdiction}"


def class_of(text: str, names: Sequence[str]) -> tuple[str, int | None]:
    """A class, and the number of the jurisdiction that `in_jurisdiction` named with it.

    Raises:
        UnknownLocation: there is none of that name.

    Example:
        >>> class_of("Room@eu", ["us", "eu"]), class_of("Room", ["eu"])
        (('Room', 1), ('Room', None))
    """
    class_name, has_jurisdiction, jurisdiction = text.partition(ADDRESS_OF_JURISDICTION)
    return class_name, bound_by(jurisdiction, names) if has_jurisdiction else None
