"""One record of a slot's log: a fixed header, a body, and a hash that chains it to the record before.

Layout, little endian: format u8, kind u8, flags u16, epoch u64, lsn u64, at_ms u64, previous hash 16 bytes, object id
32 bytes, length of the body u32, the body, hash 16 bytes. The hash is BLAKE2b-128 (RFC 7693) of all before it, so
equal hashes at an lsn mean equal logs up to there (the log matching property of Raft, Ongaro and Ousterhout 2014).
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from msgspec import Struct

from homing_node.log import limits

FORMAT = 1
BARRIER = 1
TURN = 2
PRUNE = 3

_HEADER = struct.Struct("<BBHQQQ16s32sI")
_POSITION = struct.Struct("<QQ")
HEADER_BYTES = _HEADER.size
HASH_BYTES = 16
NO_HASH = bytes(HASH_BYTES)
NO_OBJECT = bytes(32)
_OBJECT_AT = HEADER_BYTES - 4 - 32
_PREV_AT = _OBJECT_AT - HASH_BYTES


class BadRecord(ValueError):
    """Bytes that are not a record, or not the one that belongs at its place."""


class Record(Struct, frozen=True):
    """A record, taken apart.

    `at_ms` is the slot's time in milliseconds: the owner's wall clock when it began, and what has passed since. Nothing
    about safety rests on it but the age of keys, and there only within one ownership.
    """

    kind: int
    epoch: int
    lsn: int
    at_ms: int
    prev_hash: bytes
    object: bytes
    body: bytes
    hash: bytes


def encode(kind: int, epoch: int, lsn: int, at_ms: int, prev_hash: bytes, object_id: bytes, body: bytes) -> bytes:
    """The bytes of a record; the last 16 are its hash.

    Example:
        >>> decode(encode(BARRIER, 3, 7, 0, NO_HASH, NO_OBJECT, b"")).lsn
        7
    """
    head = _HEADER.pack(FORMAT, kind, 0, epoch, lsn, at_ms, prev_hash, object_id, len(body)) + body
    return head + blake2b(head, digest_size=HASH_BYTES).digest()


def position(data: bytes) -> tuple[int, int]:
    """Epoch and lsn of a record, without checking it."""
    return _POSITION.unpack_from(data, 4)


def object_of(data: bytes) -> bytes:
    """The object id of a record, without checking it."""
    return data[_OBJECT_AT : _OBJECT_AT + 32]


def prev_hash_of(data: bytes) -> bytes:
    """The hash of the record before it, as the record says, without checking it."""
    return data[_PREV_AT : _PREV_AT + HASH_BYTES]


def hash_of(data: bytes) -> bytes:
    """The hash that the record carries."""
    return data[-HASH_BYTES:]


def decode(data: bytes) -> Record:
    """Take a record apart and check its hash.

    Raises:
        BadRecord: too short, too long, of a newer format, or its hash does not match.
    """
    _, kind, _, epoch, lsn, at_ms, prev_hash, object_id, _ = _checked_header(data)
    return Record(kind, epoch, lsn, at_ms, prev_hash, object_id, data[HEADER_BYTES:-HASH_BYTES], data[-HASH_BYTES:])


def read(data: bytes) -> Record:
    """Take a record apart that was checked when it entered this process."""
    _, kind, _, epoch, lsn, at_ms, prev_hash, object_id, _ = _HEADER.unpack_from(data)
    return Record(kind, epoch, lsn, at_ms, prev_hash, object_id, data[HEADER_BYTES:-HASH_BYTES], data[-HASH_BYTES:])


def check_next(data: bytes, lsn: int, prev_hash: bytes) -> int:
    """Check that a record belongs right after `prev_hash` at `lsn`; returns its epoch.

    Raises:
        BadRecord: it does not, or is damaged.
    """
    _, _, _, epoch, at, _, before, _, _ = _checked_header(data)
    if at != lsn or before != prev_hash:
        raise BadRecord(f"record {at} does not follow at {lsn}")
    return epoch


def _checked_header(data: bytes) -> tuple[int, int, int, int, int, int, bytes, bytes, int]:
    if not HEADER_BYTES + HASH_BYTES <= len(data) <= limits.record_bytes_max:
        raise BadRecord(f"a record of {len(data)} bytes")
    header = _HEADER.unpack_from(data)
    form, lsn, length = header[0], header[4], header[8]
    if form != FORMAT:
        raise BadRecord(f"record format {form} is not known to this version")
    if len(data) != HEADER_BYTES + length + HASH_BYTES:
        raise BadRecord(f"a body of {length} bytes in a record of {len(data)}")
    if blake2b(data[:-HASH_BYTES], digest_size=HASH_BYTES).digest() != data[-HASH_BYTES:]:
        raise BadRecord(f"the hash of record {lsn} does not match")
    return header
