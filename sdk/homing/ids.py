"""Object ids and slots: how a name becomes 32 bytes, and 32 bytes become a slot.

Layout of an id: bytes 0-1 begin the slot hash, bytes 2-9 are the tag of the class's stable key, bytes 10-31 come from
SHA-256 of the name, or are random. A slot is a prefix of the hash, so the number of slots can be doubled without
moving an object to an unrelated slot.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache

from homing.errors import BadRequest

OBJECT_ID_BYTES = 32
OBJECT_NAME_BYTES_MAX = 1_024
ADDRESS_BY_ID = "id:"
SLOTS_DEFAULT = 1_024
SLOTS_MAX = 65_536


@lru_cache(maxsize=1_024)
def class_tag(class_key: str) -> bytes:
    """The 8 bytes that mark every id of a class; made from the stable key, so they survive a rename."""
    return hashlib.sha256(b"homing class\0" + class_key.encode()).digest()[:8]


class ObjectId:
    """The address of one object: 32 bytes, and its name where it was made from one. `str(id)` is 64 hexadecimal digits.

    Attributes:
        name: or None.
        raw: the bytes.

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
    def from_name(cls, class_key: str, name: str) -> ObjectId:
        """The one id of `name` in a class.

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
        digest = hashlib.sha256(b"homing object\0" + tag + encoded).digest()
        return cls(digest[:2] + tag + digest[2:24], name)

    @classmethod
    def unique(cls, class_key: str) -> ObjectId:
        """A new random id."""
        noise = secrets.token_bytes(24)
        return cls(noise[:2] + class_tag(class_key) + noise[2:])

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
    def from_address(cls, class_key: str, text: str) -> ObjectId:
        """The id that an address names: an object's name, or `id:` and what `str(id)` printed.

        Raises:
            BadRequest: as `from_name` and `from_hex`.
        """
        if text.startswith(ADDRESS_BY_ID):
            return cls.from_hex(class_key, text[len(ADDRESS_BY_ID) :])
        return cls.from_name(class_key, text)

    def check_class(self, class_key: str) -> None:
        """Raises `BadRequest` unless this is an id of that class."""
        if self.raw[2:10] != class_tag(class_key):
            raise BadRequest(f"this id does not belong to class {class_key}")

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


def first_id(class_key: str) -> ObjectId:
    """The lowest id that an object of a class could have; a list begins above it."""
    return ObjectId(bytes(2) + class_tag(class_key) + bytes(22))


def slot_of(raw: bytes, slots: int) -> int:
    """The slot of a 32-byte id: the first bits of its hash."""
    return ((raw[0] << 8 | raw[1]) * slots) >> 16
