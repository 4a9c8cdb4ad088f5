"""Keys and values in RocksDB, and nothing else: one key space, a letter for each kind.

One column family for all kinds is on purpose: its one memtable is flushed as a whole, so a batch's number is in a
table file exactly when all of the batch is. With several, a lost log file could leave the number and take the data.

    I                         identity: JSON
    B ring position u32       batch number u64
    D slot u16                the slot is damaged (rule 17), with the reason
    P slot u16                promise: epoch u64, claimant
    N slot u16                the slot is incomplete, a snapshot is taking its place: 1 if its promises count, else 0
    W slot u16                disk id: on that disk the slot was made whole by a snapshot
    A slot u16                applied: lsn u64, epoch u64, hash
    L slot u16 lsn u64        a record
    O tag 8, hash 2, rest 22  what is known of an object; ordered by id within a class
    C object id 32            number of pages u32; and when it is to be woken u64, if ever
    T slot u16 time u64 id 32 an object that is to be woken then, in milliseconds since 1970
    G object id 32, page u32  a page

Numbers are big endian, so that keys sort as numbers do.

A slot's objects are those whose hash is in a range. An object that a jurisdiction binds has all ones there and its own
hash behind a mark (`homing.ids`), so within a class the objects of each such slot follow each other, too, and all of
them lie between others of the last slot that nothing binds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from homing.ids import BOUND_HASH, BOUND_MARK, JURISDICTIONS_MAX, slots_of_each

IDENTITY = b"I"
BATCH, BATCH_END = b"B", b"C"
DAMAGED, DAMAGED_END = b"D", b"E"
PROMISE, PROMISE_END = b"P", b"Q"
APPLIED, APPLIED_END = b"A", b"B"
LOG, LOG_END = b"L", b"M"
INCOMPLETE, INCOMPLETE_END = b"N", b"O"
WHOLE, WHOLE_END = b"W", b"X"
OBJECT = b"O"
COUNT = b"C"
WAKE = b"T"
PAGE = b"G"

batch_ring = 65_536
"""How many of the last batch numbers are kept: a log file lost from between others shows as a hole in them."""

_BOUND_FIRST = BOUND_MARK + b"\0"
_BOUND_END = BOUND_MARK + bytes([JURISDICTIONS_MAX])

_LOG = struct.Struct(">cHQ")  # WAKE begins so, too
_SLOT = struct.Struct(">cH")
_RING = struct.Struct(">cI")
U32 = struct.Struct(">I")
U64 = struct.Struct(">Q")
_APPLIED = struct.Struct(">QQ")


def record_key(slot: int, lsn: int) -> bytes:
    """Where a record is."""
    return _LOG.pack(LOG, slot, lsn)


def record_place(key: bytes) -> tuple[int, int]:
    """Slot and lsn of a record's key."""
    _, slot, lsn = _LOG.unpack(key)
    return slot, lsn


def log_end(slot: int) -> bytes:
    """The first key after every record of a slot."""
    return _LOG.pack(LOG, slot + 1, 0) if slot < 0xFFFF else LOG_END


def slot_key(kind: bytes, slot: int) -> bytes:
    """Where a value of a slot is: PROMISE, APPLIED, DAMAGED, …; with LOG, the start of the slot's log."""
    return _SLOT.pack(kind, slot)


def slot_of_key(key: bytes) -> int:
    """The slot in a key of `slot_key` or `record_key`."""
    return key[1] << 8 | key[2]


def batch_key(batch: int) -> bytes:
    """Where a batch's number is kept."""
    return _RING.pack(BATCH, batch % batch_ring)


def object_key(object_id: bytes) -> bytes:
    """Where an object's data is: objects of one class together, ascending by id."""
    return OBJECT + object_id[2:10] + object_id[:2] + object_id[10:]


def object_of_key(key: bytes) -> bytes:
    """The object id in a key of `object_key`."""
    return key[9:11] + key[1:9] + key[11:]


def hash_range(slot: int, slots: int) -> tuple[int, int]:
    """The first two bytes of the hashes of a slot's objects, as numbers: from, and to below."""
    return -(-slot * 65_536 // slots), -(-(slot + 1) * 65_536 // slots)


def id_ranges(kind: bytes, slot: int, slots: int, tags: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The keys of a slot's objects in a kind that is ordered by id (PAGE, COUNT): each from, and to below.

    Args:
        kind: PAGE or COUNT.
        slot: any of the cluster.
        slots: how many there are for objects that nothing binds.
        tags: every class that may have objects here.
    """
    if slot >= slots:
        first, end = _bound_range(slot, slots)
        for tag in tags:
            stem = kind + BOUND_HASH + tag
            yield stem + first, stem + end
        return
    first, end = hash_range(slot, slots)
    start = _id_start(kind, first)
    if slot == slots - 1:
        # Between these objects are those of jurisdictions, class by class.
        for tag in sorted(set(tags)):
            stem = kind + BOUND_HASH + tag
            yield start, stem + _BOUND_FIRST
            start = stem + _BOUND_END
    yield start, _id_start(kind, end)


def tag_ranges(tag: bytes, slot: int, slots: int) -> list[tuple[bytes, bytes]]:
    """The keys of a slot's objects of one class, ascending: each from, and to below."""
    stem = OBJECT + tag
    if slot >= slots:
        first, end = _bound_range(slot, slots)
        return [(stem + BOUND_HASH + first, stem + BOUND_HASH + end)]
    start, end = (_id_start(stem, number) for number in hash_range(slot, slots))
    if slot < slots - 1:
        return [(start, end)]
    return [(start, stem + BOUND_HASH + _BOUND_FIRST), (stem + BOUND_HASH + _BOUND_END, end)]


def _bound_range(slot: int, slots: int) -> tuple[bytes, bytes]:
    """What is behind hash and class in the ids of a jurisdiction's slot: from, and to below."""
    each = slots_of_each(slots)
    number, place = divmod(slot - slots, each)
    stem = BOUND_MARK + bytes([number])
    first, end = hash_range(place, each)
    return _id_start(stem, first), stem + end.to_bytes(2, "big") if end < 65_536 else BOUND_MARK + bytes([number + 1])


def tag_of_key(key: bytes) -> bytes:
    """The class in a key of `object_key`."""
    return key[1:9]


def after_tag(tag: bytes) -> bytes:
    """A key above every object of a class, and below those of the next."""
    return OBJECT + tag + b"\xff" * 25


def _id_start(stem: bytes, first: int) -> bytes:
    return stem + first.to_bytes(2, "big") if first < 65_536 else stem + b"\xff" * 37


def page_key(object_id: bytes, number: int) -> bytes:
    """Where a page is."""
    return PAGE + object_id + U32.pack(number)


def encode_count(page_count: int, wake_ms: int) -> bytes:
    """The value of COUNT."""
    return U32.pack(page_count) + (U64.pack(wake_ms) if wake_ms else b"")


def decode_count(value: bytes | None) -> tuple[int, int]:
    """Page count and time to wake out of a value of COUNT. Raises struct.error if the value is damaged."""
    if not value:
        return 0, 0
    return U32.unpack_from(value)[0], U64.unpack_from(value, 4)[0] if len(value) > 4 else 0


def wake_key(slot: int, wake_ms: int, object_id: bytes) -> bytes:
    """Where it is noted when an object is to be woken."""
    return _LOG.pack(WAKE, slot, wake_ms) + object_id


def wake_of_key(key: bytes) -> tuple[int, bytes]:
    """Time and object of a key of `wake_key`."""
    return _LOG.unpack_from(key)[2], key[11:]


def wake_range(slot: int) -> tuple[bytes, bytes]:
    """All keys of `wake_key` of a slot: from, and to below."""
    return _LOG.pack(WAKE, slot, 0), _LOG.pack(WAKE, slot, (1 << 64) - 1) + b"\xff" * 32


def encode_promise(epoch: int, claimant: str) -> bytes:
    """The value of a promise."""
    return U64.pack(epoch) + claimant.encode()


def decode_promise(value: bytes) -> tuple[int, str]:
    """Epoch and claimant. Raises struct.error or UnicodeDecodeError if the value is damaged."""
    return U64.unpack_from(value)[0], value[8:].decode()


def encode_applied(lsn: int, epoch: int, digest: bytes) -> bytes:
    """The value of an applied point."""
    return _APPLIED.pack(lsn, epoch) + digest


def decode_applied(value: bytes) -> tuple[int, int, bytes]:
    """Lsn, epoch and hash. Raises struct.error if the value is damaged."""
    lsn, epoch = _APPLIED.unpack_from(value)
    return lsn, epoch, value[16:]
