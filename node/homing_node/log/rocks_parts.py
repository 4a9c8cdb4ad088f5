"""Reading all that a slot's pages hold, part by part: for a snapshot.

Objects are ordered by class first, so the slot's are a range or two within each class: a seek leads from one to the
next.
"""

from __future__ import annotations

from collections.abc import Iterator

from homing_node.log import rocks_keys as keys
from homing_node.log.rocks_db import RocksDatabase
from homing_node.log.store import ObjectPart, Part

object_overhead_bytes = 64  # what an object without pages counts as

_PLACE_BYTES = 36  # an object's id and the number of its next page


def tags(db: RocksDatabase) -> Iterator[bytes]:
    """Every class that has objects here.

    Raises:
        Damaged: a block cannot be read.
        StoreFailed: anything else.
    """
    cursor = db.cursor(keys.after_tag(b"\xff" * 8))
    found = cursor.seek(keys.OBJECT)
    while found:
        tag = keys.tag_of_key(cursor.key())
        yield tag
        found = cursor.seek(keys.after_tag(tag))


def read_part(db: RocksDatabase, slot: int, slots: int, place: bytes, bytes_max: int) -> Part:
    """See `Store.part`.

    Raises:
        Damaged: a block cannot be read.
        StoreFailed: anything else.
    """
    found: list[ObjectPart] = []
    size = 0
    start_id, page = place[:32], int.from_bytes(place[32:_PLACE_BYTES], "big") or 1
    for object_id, data in _objects(db, slot, slots, start_id):
        if size >= bytes_max:
            return Part(found, object_id + keys.U32.pack(1))
        first = page if object_id == start_id else 1
        page_count, wake_ms = keys.decode_count(db.get(keys.COUNT + object_id))
        part = ObjectPart(object_id, data if first == 1 else b"", page_count, first)
        part.wake_ms = wake_ms if first == 1 else 0
        size += object_overhead_bytes + len(part.data)
        stem = keys.PAGE + object_id
        for _, value in db.scan(stem + keys.U32.pack(first), stem + b"\xff\xff\xff\xff"):
            if size >= bytes_max and part.pages:
                return Part([*found, part], object_id + keys.U32.pack(first + len(part.pages)))
            part.pages.append(value)
            size += len(value)
        found.append(part)
    return Part(found, b"")


def _objects(db: RocksDatabase, slot: int, slots: int, start_id: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The slot's objects and what is known of them, from an id on in the order of their keys."""
    cursor = db.cursor(keys.after_tag(b"\xff" * 8))
    found = cursor.seek(keys.object_key(start_id) if start_id else keys.OBJECT)
    while found:
        key = cursor.key()
        tag = keys.tag_of_key(key)
        first = next((first for first, end in keys.tag_ranges(tag, slot, slots) if key < end), None)
        if first is None:
            found = cursor.seek(keys.after_tag(tag))
        elif key < first:
            found = cursor.seek(first)
        else:
            yield keys.object_of_key(key), cursor.value()
            found = cursor.next()
