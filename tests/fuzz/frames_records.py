"""The bytes of disks, peers and backups: commits, records, their bodies, what is kept of objects, pieces, marks."""

from __future__ import annotations

import contextlib
import zlib
from hashlib import blake2b
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from tests.fuzz.frames_channel import corrected
from tests.fuzz.mutators import behind, changed_bytes, changed_msgpack, either
from tests.fuzz.target import Check

from homing.errors import BadRequest, TooLarge
from homing.ids import class_tag
from homing.wire.v1 import call_pb2, peer_pb2
from homing_node.log import limits as log_limits
from homing_node.log import mark, record
from homing_node.log.pieces import Incoming as Pieces
from homing_node.log.pieces import TooMuch
from homing_node.objects.images import Fold, apply_batch, image, meta_of
from homing_node.objects.restored import Incoming
from homing_node.objects.socket_record import Said, SocketChanges, SocketEntry, SocketsMeta
from homing_node.objects.turn_record import (
    KeyEntry,
    ObjectMeta,
    TurnBody,
    decode_body,
    decode_meta,
    encode_body,
    encode_meta,
)
from homing_node.workers.inside import pages

PAGE = 1_024
OBJECT = bytes(2) + class_tag("C") + bytes(22)
_encode = msgspec.msgpack.encode


def check_commit(data: bytes) -> None:
    """A commit is refused, or it yields whole pages; the same by every way, and by its own encoding."""
    try:
        numbers = pages.validate(data, 64)
    except pages.BadCommit:
        return
    made = {number: pages.patched(None, kind, content) for number, _, kind, content in pages.entries(data)}
    assert list(made) == list(numbers)
    assert all(len(page) == PAGE for page in made.values())
    with contextlib.suppress(pages.PageMismatch):
        assert pages.apply(data, {}.get) == made
    good = corrected(data)
    assert list(pages.validate(good, 64)) == list(numbers)
    assert pages.apply(good, {}.get) == made
    fold = Fold(ObjectMeta("C"))
    fold.take(TurnBody(commit=good), 0, lambda _: None)
    fold.verify()
    assert fold.pages == made
    again = pages.encode(64, [(number, None, page) for number, page in made.items()])
    assert pages.apply(again, {}.get) == made


def check_record(data: bytes) -> None:
    """A record is refused, or every reader sees the same in it. The first byte: whether its hash is made right."""
    right, data = bool(data and data[0] & 1), data[1:]
    data = data[:-16] + blake2b(data[:-16], digest_size=16).digest() if right else data
    try:
        found = record.decode(data)
    except record.BadRecord:
        assert _refuses(data, 1, record.NO_HASH), "one reader takes what another refuses"
        return
    assert record.read(data) == found
    assert record.position(data) == (found.epoch, found.lsn)
    assert (record.object_of(data), record.prev_hash_of(data)) == (found.object, found.prev_hash)
    assert record.hash_of(data) == found.hash
    assert record.check_next(data, found.lsn, found.prev_hash) == found.epoch
    assert _refuses(data, found.lsn + 1, found.prev_hash), "a record was taken at another's place"
    again = record.encode(found.kind, found.epoch, found.lsn, found.at_ms, found.prev_hash, found.object, found.body)
    assert record.decode(again).body == found.body


def _refuses(data: bytes, lsn: int, prev_hash: bytes) -> bool:
    try:
        record.check_next(data, lsn, prev_hash)
    except record.BadRecord:
        return True
    return False


class _Store:
    """What a store has of one object: a meta value, and pages of zeros."""

    def __init__(self, meta: bytes | None) -> None:
        self._meta = meta

    def object(self, _object_id: bytes) -> bytes | None:
        """See `Source`."""
        return self._meta

    def page(self, _object_id: bytes, _number: int) -> bytes | None:
        """See `Source`."""
        return bytes(PAGE)


def check_bodies(data: bytes) -> None:
    """What a slot keeps of an object, and records above it: taken in whole, or a ValueError."""
    parts = _parts(data)
    if not parts:
        return
    stored, bodies = parts[0], parts[1:]
    with contextlib.suppress(ValueError):
        meta = decode_meta(stored)
        assert repr(decode_meta(encode_meta(meta))) == repr(meta)
    for body in bodies:
        with contextlib.suppress(ValueError):
            found = decode_body(body)
            assert repr(decode_body(encode_body(found))) == repr(found)
    before, records = record.NO_HASH, list[bytes]()
    for lsn, body in enumerate(bodies, 1):
        records.append(record.encode(record.TURN, 1, lsn, lsn, before, OBJECT, body))
        before = record.hash_of(records[-1])
    for meta in (stored, None):
        source = _Store(meta)
        with contextlib.suppress(ValueError):
            meta_of(records, meta)
        with contextlib.suppress(ValueError):
            image(OBJECT, records, source, [(1, bytes(PAGE)), (2, bytes(PAGE))])
        if records:
            with contextlib.suppress(ValueError):
                apply_batch(0, records, source=source)


def _parts(data: bytes) -> list[bytes]:
    """The values in a list, each encoded by itself; bytes as they are."""
    try:
        parts = msgspec.msgpack.decode(data)
        if not isinstance(parts, list):
            return []
        return [part if isinstance(part, bytes) else _encode(part) for part in parts[:8]]
    except (ValueError, RecursionError, OverflowError, TypeError):
        return []


def check_backup(data: bytes) -> None:
    """An object of a backup: refused, or records that this node would write itself."""
    try:
        pieces = msgspec.msgpack.decode(data, type=list[list[Any]])
        meta, *pieces = pieces[:12]
        first = _encode(meta)
        messages = [
            call_pb2.StoredObject(object=OBJECT, data=first, data_bytes=len(first), page_count=int(meta[2])),
            *(
                call_pb2.StoredObject(data=a, data_bytes=b, page_count=c, first_page=d, pages=list(e))
                for a, b, c, d, e in pieces
            ),
        ]
    except (ValueError, TypeError, IndexError, RecursionError, OverflowError):
        return  # no message of that kind
    incoming = Incoming(OBJECT, b"run")
    written = list[TurnBody]()
    try:
        for message in messages:
            written += incoming.take(message)
    except (BadRequest, TooLarge):
        return
    for body in written:
        assert repr(decode_body(encode_body(body))) == repr(body)
        if body.commit is not None:
            pages.validate(body.commit)
    if incoming.done and written:
        records = [record.encode(record.TURN, 1, 1, 1, record.NO_HASH, OBJECT, encode_body(body)) for body in written]
        found = image(OBJECT, records, _Store(None), [])
        assert found.page_count == int(meta[2])


def check_pieces(data: bytes) -> None:
    """Pieces of long messages of a peer: put together, or refused before they hold too much."""
    try:
        listed = msgspec.msgpack.decode(data, type=list[list[Any]])
        pieces = [peer_pb2.PeerPiece(id=a, data=b, last=bool(c), fetched=bool(d)) for a, b, c, d in listed[:64]]
    except (ValueError, TypeError, RecursionError):
        return
    before = log_limits.link_message_bytes_max, log_limits.long_messages_max
    log_limits.link_message_bytes_max, log_limits.long_messages_max = 256, 4
    try:
        incoming = Pieces()
        for piece in pieces:
            batch = peer_pb2.PeerBatch(pieces=[piece])
            try:
                incoming.join(batch)
            except (TooMuch, DecodeError):
                return
            held = [part for parts in incoming._parts.values() for part in parts]
            assert sum(map(len, held)) == incoming._bytes <= 256
            assert len(incoming._parts) <= 4
            assert len(batch.appends) + len(batch.fetched) == int(piece.last)
    finally:
        log_limits.link_message_bytes_max, log_limits.long_messages_max = before


def check_mark(data: bytes) -> None:
    """One place of the mark: read, or damaged, or of a newer version. The first byte: whether its checksum is right."""
    place = data[1:]
    if data and data[0] & 1:
        body = place[: mark.place_bytes - 4].ljust(mark.place_bytes - 4, b"\0")
        place = body + zlib.crc32(body).to_bytes(4, "little")
    try:
        found = mark.decode(place)
    except (mark.DamagedMark, mark.NewerMark):
        return
    with contextlib.suppress(ValueError):  # longer names than are written
        assert mark.decode(mark.encode(found)) == found


def _noise(length: int) -> bytes:
    return bytes((at * 73 + 11) % 251 for at in range(length))


_SPANS = pages.encode(
    3, [(1, bytes(PAGE), b"ab" + bytes(PAGE - 3) + b"c"), (2, None, _noise(PAGE)), (3, None, b"x" + bytes(1_023))]
)
COMMITS = [
    pages.encode(0, []),
    pages.encode(1, [(1, None, bytes(PAGE - 1) + b"x")]),
    _SPANS,
    _SPANS + b"x",
    _SPANS[:-1],
    _SPANS[:8],
    b"\x01\x00",
    b"\xff\xff\xff\xff\x00\x00",
    b"\x01\x00\x00\x00\x01\x00" + b"\x01\0\0\0\0\0\0\0\x07\x00\x00",
    b"\x01\x00\x00\x00\x01\x00" + b"\x01\0\0\0\0\0\0\0\x00\x01\x00x",
    b"\x01\x00\x00\x00\x01\x00" + b"\x01\0\0\0\0\0\0\0\x01\x02\x00xx",
    b"\x01\x00\x00\x00\x01\x00" + b"\x01\0\0\0\0\0\0\0\x01\x05\x00\x00\x00\x02\x00x",
    b"\x01\x00\x00\x00\x01\x00" + b"\x01\0\0\0\0\0\0\0\x01\x05\x00\xff\x03\x02\x00x",
    b"\x01\x00\x00\x00\x01\x00" + b"\x02\0\0\0\0\0\0\0\x01\x00\x00",
    b"\x01\x00\x00\x00\x01\x00" + b"\x01\0\0\0\0\0\0\0\x01\x09\x00",
]
_RECORD = record.encode(record.TURN, 3, 1, 5, record.NO_HASH, OBJECT, b"body")
RECORDS = [
    b"\x00" + _RECORD,
    b"\x01" + _RECORD,
    b"\x00" + _RECORD[:-1] + b"x",
    b"\x01\x02" + _RECORD[1:],
    b"\x01" + _RECORD + b"x",
    b"\x00",
]
_KEYS = [KeyEntry("k", b"f", 1, 5, 0, b"answer"), KeyEntry("l", b"g", 0, 6, 1, [200, [], b""])]
_COMMIT = pages.encode(1, [(1, None, b"x" * PAGE)])
_SOCKETS = SocketChanges(
    [(7, ["t"]), (8, [])], [(7, b"kept")], [8], [(7, 3, 1)], [Said(1, 2, [7], "hi"), Said(2, 4, [7], [1000, ""])], [1],
    ["ping", "pong"],
)  # fmt: skip
_META = ObjectMeta(
    "C", "name", 2, {"k": _KEYS[0]}, b"", False, 77,
    SocketsMeta({7: SocketEntry(["t"], b"a", [1, 2])}, [Said(1, 2, [7], "hi")], ["ping", "pong"]),
)  # fmt: skip


def _tree(value: Any) -> Any:
    return msgspec.msgpack.decode(_encode(value))


BODIES = [
    _encode([_tree(_META), _tree(TurnBody("C", "name", _COMMIT, _KEYS, ["l"], wake_ms=5, sockets=_SOCKETS))]),
    _encode(
        [_tree(ObjectMeta("C")), _tree(TurnBody(restore=b"r", begins=True)), _tree(TurnBody(restore=b"r", ends=True))]
    ),
    _encode([_tree(_META), _tree(TurnBody(commit=_COMMIT)), _tree(TurnBody(commit=pages.encode(0, [])))]),
    _encode([_tree(_META), _tree(TurnBody(commit=b"\x01\x00\x00\x00\xff\x00"))]),
    _encode([b"\xc1", b"\x90"]),
]
BACKUPS = [
    _encode([_tree(_META), [b"", 0, 0, 1, [b"p" * PAGE, b"q" * PAGE]]]),
    _encode([_tree(_META), [b"", 0, 0, 1, [b"p" * PAGE]], [b"", 0, 0, 2, [b"q" * PAGE]], [b"x", 1, 0, 0, []]]),
    _encode([_tree(ObjectMeta("C"))]),
    _encode([_tree(ObjectMeta("D"))]),
    _encode([_tree(_META), [b"", 0, 0, 2, [b"p" * PAGE]]]),
    _encode([_tree(_META), [b"", 0, 0, 1, [b"p"]]]),
    _encode([_tree(_META), [b"x", 1, 0, 0, []]]),
    _encode([["C", None, 1 << 20]]),
    _encode([[1, 2, 3]]),
]
_APPEND = peer_pb2.Append(slot=3, epoch=4, records=[_RECORD]).SerializeToString()
PIECES = [
    _encode([[1, _APPEND[:20], 0, 0], [2, b"", 0, 1], [1, _APPEND[20:], 1, 0], [2, b"", 1, 1]]),
    _encode([[number, b"x", 0, 0] for number in range(6)]),
    _encode([[1, bytes(200), 0, 0], [1, bytes(200), 0, 0]]),
    _encode([[1, b"\xff", 1, 0]]),
]
_PLACE = mark.encode(mark.Mark("disk", 7, trusted=True, cluster="c", node="n1"))
MARKS = [
    b"\x00" + _PLACE,
    b"\x01" + _PLACE,
    b"\x01" + b"homingmk\x02" + _PLACE[9:],
    b"\x01" + b"nothing",
    b"\x01" + _PLACE[:20] + b"\xff" * 400,
    b"\x01" + _PLACE[:20] + b"\x01\xff",
]

CHECKS = (
    Check("commit", check_commit, COMMITS, changed_bytes),
    Check("record", check_record, RECORDS, behind(1, changed_bytes)),
    Check("bodies", check_bodies, BODIES, either(changed_msgpack, changed_msgpack, changed_bytes)),
    Check("backup", check_backup, BACKUPS, changed_msgpack),
    Check("pieces", check_pieces, PIECES, changed_msgpack),
    Check("mark", check_mark, MARKS, behind(1, changed_bytes)),
)
