"""What the log asks of a disk: the operations of one batch, and the reads.

A batch is applied as a whole and is on disk when `write` returns; several slots share it (group commit, rule 6).
`RocksStore` is the real one, `MemoryStore` the fake of the simulator; both pass `tests/conformance/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct


class PutRecord(Struct, frozen=True):
    """Write one record of a slot's log."""

    slot: int
    lsn: int
    data: bytes


class CutRecords(Struct, frozen=True):
    """Remove every record of the slot at `from_lsn` and above (rule 5)."""

    slot: int
    from_lsn: int


class TrimRecords(Struct, frozen=True):
    """Remove every record of the slot below `below_lsn`: pages hold what they said (rule 24)."""

    slot: int
    below_lsn: int


class SetPromise(Struct, frozen=True):
    """The highest epoch this replica promised, and the incarnation that claimed it (rules 2, 10). Kept for ever."""

    slot: int
    epoch: int
    claimant: str


class SetApplied(Struct, frozen=True):
    """Pages of the slot hold every record up to and including this one; only ever a committed one (rule 24)."""

    slot: int
    lsn: int
    epoch: int
    hash: bytes


class PutPages(Struct, frozen=True):
    """Whole pages of one object's database; pages above `page_count` are removed."""

    object: bytes
    pages: dict[int, bytes]
    page_count: int


class DropObject(Struct, frozen=True):
    """Remove all of one object: its pages, what is known of it, and when it is to be woken."""

    object: bytes


class DropSlot(Struct, frozen=True):
    """Remove records, objects and pages of the slot, and count it as incomplete until `SetWhole`; its promise stays.

    What follows for the same slot goes in a later batch.

    `votes`: its promises still count at takeovers, although it has nothing.
    """

    slot: int
    votes: bool


class SetWhole(Struct, frozen=True):
    """A whole snapshot took the place of what was there: the slot is not incomplete or damaged, and can be trusted."""

    slot: int


class SetDamaged(Struct, frozen=True):
    """What is here of the slot must not count (rule 17), until `SetWhole`."""

    slot: int
    why: str


class PutObject(Struct, frozen=True):
    """What a slot knows of one object beside its pages: an opaque, bounded value.

    `wake_ms`: when the object is to be woken, in milliseconds since 1970; 0: never. `Store.wakes` finds it by that.
    """

    object: bytes
    data: bytes
    wake_ms: int = 0


SlotOp = CutRecords | TrimRecords | SetPromise | SetApplied | DropSlot | SetWhole | SetDamaged
Op = PutRecord | PutPages | PutObject | DropObject | SlotOp


@dataclass(slots=True)
class ObjectPart:
    """Some pages of an object, one after the other, and what is known of it beside them."""

    object: bytes
    data: bytes  # with the first pages only; else empty
    page_count: int
    first_page: int
    pages: list[bytes] = field(default_factory=list[bytes])
    wake_ms: int = 0  # with the first pages only


@dataclass(slots=True)
class Part:
    """A part of all that a slot's pages hold, and where the next begins; empty: this is the last."""

    objects: list[ObjectPart]
    next_place: bytes


@dataclass(slots=True)
class SlotImage:
    """All that a store holds of one slot, as it is read at start."""

    promised: int = 0
    claimant: str = ""
    applied_lsn: int = 0
    applied_epoch: int = 0
    applied_hash: bytes = bytes(16)
    records: list[bytes] = field(default_factory=list[bytes])  # those above applied_lsn, in order of lsn, no gaps
    damaged: bool = False  # something of this slot is missing or fails its check (rule 17)
    whole: bool = False  # made whole by a snapshot on this very disk: it counts although the store is not trusted
    incomplete: bool = False  # a snapshot began to take its place, and did not become whole
    votes: bool = False  # incomplete, and its promises count all the same
    trimmed: int = 0  # records up to here are not kept any more


class Store(Protocol):
    """A node's disk. Reads see every batch that is on disk; all calls may come from any thread."""

    disk_id: str  # random, made with the directory; names this disk in slot records
    trusted: bool  # False: opened below its mark, damaged or empty where it should not be (rule 17, every slot)

    def write(self, batch: Sequence[Op]) -> None:
        """Apply a batch as a whole and return when it is on disk.

        Raises:
            StoreFailed: the disk refused (full, EIO, …). The process must end; the batch is never tried again (rule 7).
        """
        ...

    def write_unsynced(self, batch: Sequence[Op], *, wait: bool = True) -> bool:
        """Hand a batch over; it is on disk when `sync` has returned. Batches never overtake each other.

        Args:
            batch: applied as a whole.
            wait: whether to wait while the store does not keep up.

        Returns:
            False when it did not keep up and `wait` is False; nothing of the batch was taken.

        Raises:
            StoreFailed: as `write`.
        """
        ...

    def sync(self) -> None:
        """Bring everything handed over to disk.

        Raises:
            StoreFailed: as `write`.
        """
        ...

    def settle(self) -> None:
        """Do what follows a `sync` and need not be waited for; nobody else may be in `sync` meanwhile."""
        ...

    def load(self) -> dict[int, SlotImage]:
        """Every slot that the store has anything of."""
        ...

    def records(self, slot: int, from_lsn: int, limit: int) -> list[bytes]:
        """Up to `limit` records of a slot from an lsn on, in order."""
        ...

    def pages(self, object_id: bytes) -> Iterator[tuple[int, bytes]]:
        """The pages of an object's database, ascending."""
        ...

    def page(self, object_id: bytes, number: int) -> bytes | None:
        """One page of an object's database, or None."""
        ...

    def object(self, object_id: bytes) -> bytes | None:
        """What `PutObject` said last, or None."""
        ...

    def objects(self, after: bytes, limit: int, tag: bytes) -> list[tuple[bytes, bytes]]:
        """Objects with `id[2:10] == tag` and an id above `after`, ascending, with their data."""
        ...

    def wakes(self, slot: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` of the slot's objects that are to be woken, with their times, the earliest first."""
        ...

    def part(self, slot: int, place: bytes, bytes_max: int) -> Part:
        """A part of the slot's objects from a place on, of about `bytes_max`; the first place is empty.

        Parts fit together while the slot's pages do not change.
        """
        ...

    def disk_free_bytes(self) -> int:
        """What the file system has left for this store."""
        ...

    def close(self) -> None:
        """Flush and let go of the directory. Idempotent."""
        ...
