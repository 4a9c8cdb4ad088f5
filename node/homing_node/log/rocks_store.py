"""The real store: one RocksDB for all slots of a node, with a mark beside it.

A batch is one RocksDB write that also holds the batch's number. It is on disk, and the mark of the batch before it too,
when `sync` returns: the mark lags by one batch at most, and catches up when `settle` is called.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from homing.errors import ConfigurationError, StoreFailed
from homing.ids import SLOTS_DEFAULT, slot_of
from homing_node.log import rocks_keys as keys
from homing_node.log.mark import Mark, MarkWriter, create, name_bytes_max
from homing_node.log.rocks_batch import BatchBuilder
from homing_node.log.rocks_db import Damaged, RocksDatabase, is_damage
from homing_node.log.rocks_load import load_slots
from homing_node.log.rocks_open import lock, note_broken, open_directory
from homing_node.log.rocks_parts import read_part, tags
from homing_node.log.store import Op, Part, SlotImage

unflushed_batches_max = keys.batch_ring // 4


class RocksStore:
    """The `Store` of a running node.

    `trusted` is False, from then on, when the directory once was not what its mark said: below it, with a hole, empty,
    gone, damaged, or with the mark itself missing. `lost` then says why. Each time that is found, the disk id is made
    anew: the old one stands in slot records for a copy that no longer exists. Only a database that cannot be opened is
    set aside (renamed, kept); in all other cases its data stays and can be read. See `rocks_open`.

    A slot is `damaged`, from then on, when a record is missing between others or a block of it fails its checksum:
    found by `load`, or by a read, which then raises `StoreFailed`; the next start sees the slot damaged.

    Either is over for a slot when a whole snapshot took the place of what was there (`SetWhole`).

    Writing is for one thread at a time (a lock sees to it); reading is for any.
    """

    def __init__(self, path: Path, lock_fd: int, db: RocksDatabase, disk_id: str, batch: int, lost: str,
                 counts: tuple[int, int], marks: MarkWriter) -> None:  # fmt: skip
        self.path = path
        self.disk_id = disk_id
        self.trusted = not lost
        self.lost = lost
        self._lock_fd = lock_fd
        self._db = db
        self._batch = batch  # the last that was handed over
        self._synced = batch  # the last that is on disk
        self._slots, self._slots_in_all = counts
        self.marks = marks
        self._writing = threading.Lock()
        self._failure: StoreFailed | None = None
        self._closed = False
        self.builder = BatchBuilder(self._known, lambda: tags(db), self._slots, disk_id)

    @classmethod
    def open(
        cls, path: str | Path, *, cluster: str, node: str, slots: int = SLOTS_DEFAULT, slots_in_all: int = 0
    ) -> RocksStore:
        """Open the store of a node, or make it.

        Args:
            path: the directory; made if it is not there.
            cluster: the cluster's name, up to 128 bytes.
            node: the node's id, up to 128 bytes.
            slots: how many slots the cluster has for objects that no jurisdiction binds.
            slots_in_all: with those of jurisdictions; 0: there are none.

        Raises:
            ConfigurationError: another process has it, it is another node's, or a newer version wrote it.
            StoreFailed: the machine refused (no space, no permission, an I/O error); nothing was changed.

        Example:
            >>> store = RocksStore.open("data/n1", cluster="dev", node="n1")
            >>> store.write([PutRecord(7, 1, b"…")])
        """
        home = Path(path)
        for name in (cluster, node):
            if not 0 < len(name.encode()) <= name_bytes_max:
                raise ConfigurationError(f"{name[:20]!r}: names have 1 to {name_bytes_max} bytes; choose another")
        try:
            home.mkdir(parents=True, exist_ok=True)
            lock_fd = lock(home)
        except OSError as error:
            raise StoreFailed(f"{home} cannot be used: {error}") from error
        try:
            found = open_directory(home, cluster, node)
            mark = Mark(found.disk_id, found.batch, not found.lost, cluster, node)
            create(home / "mark", mark)
            marks = MarkWriter(home / "mark", mark)
        except OSError as error:
            os.close(lock_fd)
            raise StoreFailed(f"{home} cannot be used: {error}") from error
        except BaseException:
            os.close(lock_fd)
            raise
        counts = slots, max(slots, slots_in_all)
        return cls(home, lock_fd, found.db, found.disk_id, found.batch, found.lost, counts, marks)

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, batch: Sequence[Op]) -> None:
        """Apply a batch as a whole and return when it is on disk. An empty one returns at once.

        Raises:
            StoreFailed: the disk refused, now or earlier, or the store is closed. Every later write raises too.
        """
        self.write_unsynced(batch)
        self.sync()

    def write_unsynced(self, batch: Sequence[Op], *, wait: bool = True) -> bool:
        """Hand a batch to the operating system; see `Store`.

        Raises:
            StoreFailed: as `write`.
        """
        with self._writing, self._failing():
            if not batch:
                return True
            number = self._batch + 1
            if not self._db.write(lambda: self.builder.build(batch, number), self.builder.forget, wait=wait):
                return False
            self._batch = number
            return True

    def sync(self) -> None:
        """Bring everything handed over to disk, and the mark of the last sync before.

        Raises:
            StoreFailed: as `write`.
        """
        with self._writing, self._failing():
            if self._batch == self._synced:
                return
            self._db.sync()
            self.marks.settle()
            self.marks.begin(self._batch)
            before, self._synced = self._synced, self._batch
            if before // unflushed_batches_max != self._synced // unflushed_batches_max:
                self._db.flush(wait=False)  # a log file must not hold more batches than the ring of numbers tells apart

    def settle(self) -> None:
        """Bring the mark up to the last `sync`. An error is kept, and raised by the next `sync`."""
        with contextlib.suppress(OSError):
            self.marks.settle()

    @contextlib.contextmanager
    def _failing(self) -> Generator[None]:
        """Whatever fails once fails for good (rule 7)."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except StoreFailed as error:
            self._failure = error
            if is_damage(error.__cause__):
                note_broken(self.path, str(error))
            raise
        except OSError as error:
            self._failure = StoreFailed(f"the mark could not be written: {error}")
            raise self._failure from error

    # -- reading ----------------------------------------------------------------------------------------------

    def load(self) -> dict[int, SlotImage]:
        """Every slot that the store has anything of. Damage that is found is written down.

        Raises:
            StoreFailed: the disk refused.
        """
        images, found = load_slots(self._db, self._slots_in_all, self.disk_id)
        for slot, why in found.items():
            self._write_damage(slot, why)
        return images

    def records(self, slot: int, from_lsn: int, limit: int) -> list[bytes]:
        """Up to `limit` records of a slot: the run without gaps that begins at `from_lsn`; empty if that is not there.

        Raises:
            StoreFailed: the disk refused, or a record fails its check.
        """
        records: list[bytes] = []
        try:
            cursor = self._db.cursor(keys.log_end(slot))
            found = cursor.seek(keys.record_key(slot, from_lsn))
            while found and len(records) < limit:
                if keys.record_place(cursor.key())[1] != from_lsn + len(records):
                    break
                records.append(cursor.value())
                found = cursor.next()
        except Damaged as error:
            raise self._damage(slot, error) from error
        return records

    def pages(self, object_id: bytes) -> Iterator[tuple[int, bytes]]:
        """The pages of an object's database, ascending, as of the first step.

        Raises:
            StoreFailed: the disk refused, or a page fails its check.
        """
        stem = keys.PAGE + object_id
        try:
            for key, value in self._db.scan(stem, stem + b"\xff\xff\xff\xff"):
                yield int.from_bytes(key[33:], "big"), value
        except Damaged as error:
            raise self._damage(slot_of(object_id, self._slots), error) from error

    def page(self, object_id: bytes, number: int) -> bytes | None:
        """One page of an object's database, or None.

        Raises:
            StoreFailed: as `pages`.
        """
        return self._get(keys.page_key(object_id, number), slot_of(object_id, self._slots))

    def object(self, object_id: bytes) -> bytes | None:
        """What `PutObject` said last, or None.

        Raises:
            StoreFailed: as `pages`.
        """
        return self._get(keys.object_key(object_id), slot_of(object_id, self._slots))

    def objects(self, after: bytes, limit: int, tag: bytes) -> list[tuple[bytes, bytes]]:
        """Objects with `id[2:10] == tag` and an id above `after`, ascending, with their data.

        Raises:
            StoreFailed: as `pages`; which slot is damaged is not known here.
        """
        stem = keys.OBJECT + tag
        found: list[tuple[bytes, bytes]] = []
        try:
            for key, value in self._db.scan(stem + after[:2], stem + b"\xff" * 25):
                object_id = keys.object_of_key(key)
                if object_id <= after:
                    continue
                if len(found) >= limit:
                    break
                found.append((object_id, value))
        except Damaged as error:
            raise StoreFailed(f"the list of objects is damaged: {error}") from error
        return found

    def part(self, slot: int, place: bytes, bytes_max: int) -> Part:
        """A part of the slot's objects; see `Store`.

        Raises:
            StoreFailed: as `pages`.
        """
        try:
            return read_part(self._db, slot, self._slots, place, bytes_max)
        except Damaged as error:
            raise self._damage(slot, error) from error

    def wakes(self, slot: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` of the slot's objects that are to be woken, the earliest first; see `Store`.

        Raises:
            StoreFailed: as `pages`.
        """
        try:
            return [keys.wake_of_key(key) for key, _ in islice(self._db.scan(*keys.wake_range(slot)), limit)]
        except Damaged as error:
            raise self._damage(slot, error) from error

    def _known(self, object_id: bytes) -> tuple[int, int]:
        return keys.decode_count(self._get(keys.COUNT + object_id, slot_of(object_id, self._slots)))

    def _get(self, key: bytes, slot: int) -> bytes | None:
        try:
            return self._db.get(key)
        except Damaged as error:
            raise self._damage(slot, error) from error

    def _damage(self, slot: int, error: Damaged) -> StoreFailed:
        """Write down that a slot is damaged; the next start treats it as rule 17 says."""
        self._write_damage(slot, str(error))
        return StoreFailed(f"slot {slot} is damaged: {error}")

    def _write_damage(self, slot: int, why: str) -> None:
        if self._failure is None:
            self._db.put(keys.slot_key(keys.DAMAGED, slot), why.encode())
            self._db.sync()

    # -- the directory ----------------------------------------------------------------------------------------

    def disk_free_bytes(self) -> int:
        """What the file system has left for this store.

        Raises:
            StoreFailed: the disk refused.
        """
        try:
            found = os.statvfs(self.path)
        except OSError as error:
            raise StoreFailed(f"{self.path} cannot be read: {error}") from error
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Flush and let go of the directory. Idempotent; a failed flush is no loss, the log holds everything."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._failure = self._failure or StoreFailed("the store is closed")
            self.marks.close()
            with contextlib.suppress(StoreFailed):
                self._db.close()
            os.close(self._lock_fd)
