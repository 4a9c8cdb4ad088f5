"""From records to pages: what an object's database looks like after some records, and the batch that keeps it so.

Pages hold whole pages, records hold changes. A fold takes a page through any number of changes at once and checks the
checksum that the last of them carries (rule 24). Changes are new bytes at an offset, so applying one twice is harmless.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import structs

from homing_node.log import record
from homing_node.log.store import DropObject, Op, PutObject, PutPages, SetApplied
from homing_node.objects.keys import KeyTable
from homing_node.objects.socket_record import SocketsMeta, fold
from homing_node.objects.turn_record import KeyEntry, ObjectMeta, TurnBody, decode_body, decode_meta, encode_meta
from homing_node.workers.inside import pages

PAGE_BYTES = 1_024


class DamagedPages(ValueError):
    """A page does not have the checksum that its record promised: the slot must stop."""


@dataclass(slots=True)
class Fold:
    """One object after a number of records.

    Invariant: `pages` holds only pages at or below `page_count`; a page above `floor` has no older content.
    """

    meta: ObjectMeta
    pages: dict[int, bytes] = field(default_factory=dict[int, bytes])
    checks: dict[int, int] = field(default_factory=dict[int, int])
    floor: int = 0  # pages above it were cut at some time since: what the store has of them is old
    keys: KeyTable | None = None
    exists: bool = True  # else it is deleted, or has never been

    def take(self, body: TurnBody, at_ms: int, stored: Callable[[int], bytes | None]) -> None:
        """Add one record; `stored` gives a page as the store has it.

        Raises:
            DamagedPages: its commit cannot be read.
        """
        if body.begins or body.gone:
            self._forget()
        self.exists = not body.gone
        self.meta.written_ms = at_ms
        if body.restore:
            self.meta.restore, self.meta.restoring = body.restore, not body.ends
        if body.class_name:
            self.meta.class_name, self.meta.name = body.class_name, body.name
        if body.keys or body.dropped:
            if self.keys is None:
                self.keys = KeyTable(self.meta.keys.values())
            self.keys.take(body, at_ms)
        if body.wake_ms is not None:
            self.meta.wake_ms = body.wake_ms
        if body.sockets is not None:
            self.meta.sockets = self.meta.sockets or SocketsMeta()
            fold(self.meta.sockets, body.sockets)
        if body.commit is not None:
            try:
                self._commit(body.commit, stored)
            except struct.error as error:
                raise DamagedPages("a record holds a commit that is none") from error

    def _forget(self) -> None:
        self.meta = ObjectMeta(self.meta.class_name, self.meta.name)
        self.pages.clear()
        self.checks.clear()
        self.floor = 0
        self.keys = KeyTable()

    def _commit(self, commit: bytes, stored: Callable[[int], bytes | None]) -> None:
        page_count = pages.page_count(commit)
        if page_count < self.meta.page_count:
            self.floor = min(self.floor, page_count)
            for number in [n for n in self.pages if n > page_count]:
                del self.pages[number], self.checks[number]
        self.meta.page_count = page_count
        for number, checksum, kind, data in pages.entries(commit):
            old = self.pages.get(number)
            if old is None and kind == pages.SPANS and number <= self.floor:
                old = stored(number)
            self.pages[number] = pages.patched(old, kind, data)
            self.checks[number] = checksum

    def verify(self) -> None:
        """Check every page that was touched.

        Raises:
            DamagedPages: one does not match.
        """
        for number, data in self.pages.items():
            if zlib.crc32(data) != self.checks[number]:
                raise DamagedPages(f"page {number} fails its checksum")

    def final_meta(self) -> ObjectMeta:
        """The meta value with the keys as they are now."""
        if self.keys is not None:
            self.meta.keys = dict(self.keys.entries)
        return self.meta


def start(stored: bytes | None) -> Fold:
    """A fold over what the store has of an object."""
    meta = decode_meta(stored) if stored is not None else ObjectMeta("")
    return Fold(meta, floor=meta.page_count, exists=stored is not None)


class Source(Protocol):
    """What a fold reads from: a store."""

    def object(self, object_id: bytes) -> bytes | None:
        """The meta value, or None."""
        ...

    def page(self, object_id: bytes, number: int) -> bytes | None:
        """One page, or None."""
        ...


def turns(records: Iterable[bytes]) -> Iterator[tuple[bytes, int, TurnBody]]:
    """Object, time and body of every TURN record; a replica has checked them when it took them in."""
    for data in records:
        found = record.read(data)
        if found.kind == record.TURN:
            yield found.object, found.at_ms, decode_body(found.body)


def apply_batch(slot: int, records: list[bytes], *, source: Source) -> list[Op]:
    """The batch that brings a slot's pages up to the last of `records`; all of them committed.

    Raises:
        DamagedPages: a page fails its checksum.
    """
    folds: dict[bytes, Fold] = {}
    for object_id, at_ms, body in turns(records):
        fold = folds.get(object_id)
        if fold is None:
            fold = folds[object_id] = start(source.object(object_id))
        fold.take(body, at_ms, lambda number, oid=object_id: source.page(oid, number))
    ops: list[Op] = []
    for object_id, fold in folds.items():
        if not fold.exists:
            ops.append(DropObject(object_id))
            continue
        fold.verify()
        ops.append(PutPages(object_id, fold.pages, fold.meta.page_count))
        meta = fold.final_meta()
        ops.append(PutObject(object_id, encode_meta(meta), meta.wake_ms))
    last = record.read(records[-1])
    ops.append(SetApplied(slot, last.lsn, last.epoch, last.hash))
    return ops


@dataclass(slots=True)
class Image:
    """An object as an activation starts from it."""

    exists: bool
    page_count: int
    pages: bytes  # back to back, page 1 first
    keys: dict[str, KeyEntry]
    restoring: bool = False  # a restore of it did not come to its end: nothing of it may run
    wake_ms: int = 0  # when its earliest alarm rings; 0: none does
    sockets: SocketsMeta | None = None  # those that are open


def image(object_id: bytes, records: list[bytes], source: Source, stored_pages: Iterable[tuple[int, bytes]]) -> Image:
    """An object after the records above its pages, committed or not (rule 25).

    Args:
        object_id: 32 bytes.
        records: those of the slot above the applied point, of this object only.
        source: reads meta and pages.
        stored_pages: every page of the object as the store has it.

    Raises:
        DamagedPages: a page is missing or fails its checksum.
    """
    fold = start(source.object(object_id))
    base = {n: data for n, data in stored_pages if n <= fold.meta.page_count} if fold.meta.page_count else {}
    for _, at_ms, body in turns(records):
        fold.take(body, at_ms, base.get)
    fold.verify()
    base.update(fold.pages)
    count = fold.meta.page_count
    try:
        blob = b"".join([base[n] for n in range(1, count + 1)])
    except KeyError as error:
        raise DamagedPages(f"page {error} is missing") from error
    meta = fold.final_meta()
    return Image(fold.exists, count, blob, meta.keys, meta.restoring, meta.wake_ms, meta.sockets)


def meta_of(records: list[bytes], stored: bytes | None) -> ObjectMeta | None:
    """What there is of an object after some records, but for its pages and keys; None: there is no such object."""
    found = start(stored)
    for _, at_ms, body in turns(records):
        found.take(structs.replace(body, commit=None), at_ms, lambda _: None)  # its pages are not asked for
    return found.meta if found.exists else None
