"""A digest of all that a slot's pages hold, the same on every replica whose pages are at the same record."""

from __future__ import annotations

import struct
import time
from hashlib import blake2b

from homing_node.log import limits
from homing_node.log.store import Store

_OBJECT = struct.Struct("<32sII")


def slot_digest(store: Store, slot: int) -> bytes:
    """Read every object of a slot, with pauses; 16 bytes of BLAKE2b (RFC 7693). The pages must stand still.

    Raises:
        StoreFailed: something cannot be read.
    """
    digest = blake2b(digest_size=16)
    place = b""
    while True:
        part = store.part(slot, place, limits.snapshot_part_bytes)
        for each in part.objects:
            if each.first_page == 1:
                digest.update(_OBJECT.pack(each.object, each.page_count, len(each.data)) + each.data)
            digest.update(b"".join(each.pages))
        place = part.next_place
        if not place:
            return digest.digest()
        time.sleep(limits.compare_pause_s)
