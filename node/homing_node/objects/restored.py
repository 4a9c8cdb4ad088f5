"""Objects as backups hold them: in messages on the way out, in records on the way in. Pure.

An object comes back by ordinary TURN records, so replicas, pages and snapshots need to know nothing of backups. Pages
are written from the first to the last, so each record leaves pages without a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from homing.errors import BadRequest, TooLarge
from homing.ids import class_tag
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.log.store import ObjectPart
from homing_node.objects.images import PAGE_BYTES, DamagedPages
from homing_node.objects.limits import database_bytes_max
from homing_node.objects.turn_record import KeyEntry, ObjectMeta, TurnBody, decode_meta
from homing_node.workers.inside import pages

_PAGES_MAX = database_bytes_max // PAGE_BYTES
_RECORD_PAGES = limits.restore_record_bytes // PAGE_BYTES
_OVERHEAD_BYTES = 64  # an object's id and the lengths around it


def messages(parts: Iterable[ObjectPart]) -> Iterator[wire.SlotPart]:
    """What a store gave, in messages of about `backup_part_bytes`."""
    message, size = wire.SlotPart(), 0
    for part in parts:
        for piece in _pieces(part):
            message.objects.append(piece)
            size += _OVERHEAD_BYTES + len(piece.data) + sum(map(len, piece.pages))
            if size >= limits.backup_part_bytes:
                yield message
                message, size = wire.SlotPart(), 0
    if size:
        yield message


def _pieces(part: ObjectPart) -> Iterator[wire.StoredObject]:
    for at in range(0, len(part.data), limits.backup_part_bytes):
        yield wire.StoredObject(
            object=part.object, data_bytes=len(part.data), page_count=part.page_count,
            data=part.data[at : at + limits.backup_part_bytes],
        )  # fmt: skip
    if part.pages:
        yield wire.StoredObject(
            object=part.object, page_count=part.page_count, first_page=part.first_page, pages=part.pages
        )


class Whole:
    """Sees that what a store gives of each object is all its pages."""

    def __init__(self) -> None:
        self._left = 0  # pages of the object that came last

    def take(self, parts: Iterable[ObjectPart], *, last: bool) -> None:
        """Take what follows.

        Args:
            parts: of objects, in order.
            last: nothing follows these.

        Raises:
            DamagedPages: some are missing, or are there that should not be.
        """
        for part in parts:
            if part.data:
                self._end()
                self._left = decode_meta(part.data).page_count
                if self._left != part.page_count:
                    raise DamagedPages(f"{part.page_count} pages are there, and should be {self._left}")
            self._left -= len(part.pages)
        if last or self._left < 0:
            self._end()

    def _end(self) -> None:
        if self._left:
            raise DamagedPages("pages are missing, or too many")


class Incoming:
    """One object of a backup, while its parts come in.

    Args:
        object_id: 32 bytes.
        restore: names the restore.

    Attributes:
        done: every record has been given out.

    Invariant: `_pages` are those that follow the first `_written`.
    """

    def __init__(self, object_id: bytes, restore: bytes) -> None:
        self.object = object_id
        self.done = False
        self._restore = restore
        self._data = bytearray()
        self._meta: ObjectMeta | None = None
        self._keys: list[list[KeyEntry]] = []  # what is left, in bunches
        self._pages: list[bytes] = []
        self._written = 0
        self._begun = False

    def take(self, piece: wire.StoredObject) -> Iterator[TurnBody]:
        """The records that can be written after one more part.

        Raises:
            BadRequest: it is no part of this object, or not the next.
            TooLarge: it says to be larger than an object can be.
        """
        if self.done:
            raise BadRequest("parts follow an object that was complete")
        if piece.data:
            self._take_data(piece)
        if piece.pages:
            self._take_pages(piece)
        if self._meta is not None:
            yield from self._bodies(self._meta)

    def _take_data(self, piece: wire.StoredObject) -> None:
        if piece.data_bytes > limits.restore_data_bytes_max or piece.page_count > _PAGES_MAX:
            raise TooLarge("the backup holds an object that is larger than objects can be")
        if self._meta is not None or len(self._data) + len(piece.data) > piece.data_bytes:
            raise BadRequest("an object's data is longer than it says")
        self._data += piece.data
        if len(self._data) == piece.data_bytes:
            self._meta = self._decoded(piece.page_count)
            self._data = bytearray()
            self._keys = _bunches(self._meta.keys.values())

    def _decoded(self, page_count: int) -> ObjectMeta:
        try:
            meta = decode_meta(bytes(self._data))
        except (ValueError, msgspec.MsgspecError) as error:
            raise BadRequest("an object's data cannot be understood") from error
        if meta.page_count != page_count:
            raise BadRequest(f"an object has {page_count} pages, and should have {meta.page_count}")
        if class_tag(meta.class_name) != self.object[2:10]:
            raise BadRequest(f"the id of an object does not belong to its class {meta.class_name[:100]}")
        return meta

    def _take_pages(self, piece: wire.StoredObject) -> None:
        here = self._written + len(self._pages)
        if self._meta is None or piece.first_page != here + 1:
            raise BadRequest("an object's pages do not follow one another")
        if here + len(piece.pages) > self._meta.page_count or any(len(page) != PAGE_BYTES for page in piece.pages):
            raise BadRequest("an object has more pages than it says, or one of another size")
        self._pages += piece.pages

    def _bodies(self, meta: ObjectMeta) -> Iterator[TurnBody]:
        while len(self._keys) > 1:
            yield self._body(meta, self._keys.pop(0), [], whole=False)
        all_here = self._written + len(self._pages) == meta.page_count
        while not self.done and (all_here or len(self._pages) >= _RECORD_PAGES):
            some, self._pages = self._pages[:_RECORD_PAGES], self._pages[_RECORD_PAGES:]
            self.done = all_here and not self._pages
            yield self._body(meta, self._keys.pop() if self._keys else [], some, whole=self.done)

    def _body(self, meta: ObjectMeta, keys: list[KeyEntry], some: list[bytes], *, whole: bool) -> TurnBody:
        begins, self._begun = not self._begun, True
        first, self._written = self._written + 1, self._written + len(some)
        changes = [(number, None, page) for number, page in enumerate(some, first)]
        return TurnBody(
            meta.class_name if begins else "",
            meta.name if begins else None,
            pages.encode(self._written, changes) if some else None,
            keys,
            restore=self._restore,
            begins=begins,
            ends=whole and not meta.restoring,  # a backup may hold an object whose own restore was under way
            wake_ms=meta.wake_ms if whole else 0 if begins else None,
        )


def _bunches(keys: Iterable[KeyEntry]) -> list[list[KeyEntry]]:
    """Keys in their order, as many together as fit a record."""
    bunches: list[list[KeyEntry]] = []
    size = limits.restore_record_bytes
    for entry in keys:
        size += entry.size()
        if size > limits.restore_record_bytes:
            bunches.append([])
            size = entry.size()
        bunches[-1].append(entry)
    return bunches
