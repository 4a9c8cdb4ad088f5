"""RocksDB as the store uses it: options, errors mapped, and reads that cannot end early without saying so.

Four things about `rocksdict` decide the shape. Its `write` keeps the interpreter's lock, also while it waits for the
disk, so a batch is written unsynced and `flush_wal` does the fsync: that releases the lock. For the same reason a write
must not wait for RocksDB's own flushes: it is refused instead, and waits outside the lock. And its ready-made iterators
end silently at a damaged block, so only the raw one is used, with its status read at every end. And an iterator does
not keep its upper bound alive: whoever uses it must.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from homing.errors import StoreFailed

write_buffer_bytes = 4 << 20
write_buffers_max = 6  # with the cache below this bounds what the store takes of memory
block_cache_bytes = 8 << 20
metadata_block_bytes = 4 << 10
table_file_bytes = 16 << 20
level_base_bytes = 64 << 20
wal_bytes_max = 64 << 20
open_files_max = 256
info_log_bytes_max = 1 << 20
stall_poll_s = 0.002
stall_s_max = 60.0  # RocksDB does not keep up for this long: the disk is as good as dead

_STALLED = "Result incomplete"
_DAMAGED = "Corruption"


class Damaged(Exception):
    """Something that was read fails its checksum or is missing."""


class Refused(Exception):
    """RocksDB does not open the directory."""


def options(*, create: bool, cut_log: bool) -> Options:
    """Options for one node's store: small in memory, bounded on disk, strict about its log."""
    table = BlockBasedOptions()
    table.set_block_cache(Cache(block_cache_bytes))
    table.set_bloom_filter(10, False)
    # Indexes and filters in parts: a whole one is as large as twenty blocks, and with a GiB of data few fit into the
    # cache, so that a read of a cold object took 150 KiB from the disk. In parts it is 7 KiB, ten times as fast.
    table.set_cache_index_and_filter_blocks(True)
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_metadata_block_size(metadata_block_bytes)
    table.set_pin_top_level_index_and_filter(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    opts = Options(raw_mode=True)
    opts.create_if_missing(create)
    strict, lenient = DBRecoveryMode.tolerate_corrupted_tail_records(), DBRecoveryMode.point_in_time()
    opts.set_wal_recovery_mode(lenient if cut_log else strict)
    opts.set_paranoid_checks(True)
    opts.set_is_fd_close_on_exec(True)
    opts.set_block_based_table_factory(table)
    opts.set_write_buffer_size(write_buffer_bytes)
    opts.set_max_write_buffer_number(write_buffers_max)
    opts.set_max_total_wal_size(wal_bytes_max)
    opts.set_target_file_size_base(table_file_bytes)
    opts.set_max_bytes_for_level_base(level_base_bytes)
    opts.set_level_compaction_dynamic_level_bytes(True)
    lz4, none = DBCompressionType.lz4(), DBCompressionType.none()
    opts.set_compression_per_level([none, none, lz4, lz4, lz4, lz4, lz4])  # young data is soon written anew
    opts.set_bytes_per_sync(1 << 20)  # write table files steadily, so that an fsync of the log does not wait for them
    opts.set_max_background_jobs(2)
    opts.set_max_open_files(open_files_max)
    opts.set_max_log_file_size(info_log_bytes_max)
    opts.set_keep_log_file_num(2)
    opts.set_max_manifest_file_size(4 << 20)
    opts.set_stats_dump_period_sec(0)
    opts.set_stats_persist_period_sec(0)
    opts.set_skip_stats_update_on_db_open(True)
    return opts


# What the machine refuses: the data may be sound, so nothing is set aside for it.
_ENVIRONMENT = (
    "No space left",
    "Disk quota exceeded",
    "Permission denied",
    "Operation not permitted",
    "Too many open files",
    "Read-only file system",
    "Input/output error",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "While lock file",
)


def is_environment(error: Exception) -> bool:
    """Whether an error of opening speaks of the machine rather than of the data."""
    text = str(error)
    return not is_damage(error) and any(words in text for words in _ENVIRONMENT)


def is_damage(error: BaseException | None) -> bool:
    """Whether RocksDB speaks of damaged data."""
    return str(error).startswith(_DAMAGED)


class RocksDatabase:
    """An open RocksDB with one column family.

    Args:
        path: its directory.
        create: whether to make it. A directory without a database is refused otherwise, so that nothing in it is lost.
        cut_log: open with what is before the first damage in the log file, and drop what is after it.
        read_only: change nothing.

    Raises:
        Refused: the data cannot be opened.
        StoreFailed: the machine refused: no space, no permission, an I/O error.
    """

    def __init__(self, path: str, *, create: bool = False, cut_log: bool = False, read_only: bool = False) -> None:
        access = AccessType.read_only(False) if read_only else AccessType.read_write()
        try:
            self._db = Rdict(path, options(create=create, cut_log=cut_log), access_type=access)
        except Exception as error:
            if is_environment(error):
                raise StoreFailed(f"the store in {path} cannot be opened: {error}") from error
            raise Refused(str(error)) from error
        unsynced = WriteOptions()
        unsynced.no_slowdown = True
        self._db.set_write_options(unsynced)
        self._write = self._db.write

    def write(
        self, build: Callable[[], WriteBatch], undo: Callable[[], None] | None = None, *, wait: bool = True
    ) -> bool:
        """Apply a batch; it is in the operating system's hands, not yet on disk.

        Args:
            build: makes the batch; called again when RocksDB was not ready for the first and took nothing of it.
            undo: called after a batch that was not taken.
            wait: whether to wait while RocksDB does not keep up.

        Returns:
            False when it did not keep up, and `wait` is False.

        Raises:
            StoreFailed: refused; what is in the log now is not known.
        """
        deadline = time.monotonic() + stall_s_max
        while not self._written(build()):
            if undo is not None:
                undo()
            if not wait:
                return False
            if time.monotonic() > deadline:
                break
            time.sleep(stall_poll_s)
        else:
            return True
        raise StoreFailed(f"the store took no write for {stall_s_max} s")

    def _written(self, batch: WriteBatch) -> bool:
        try:
            self._write(batch)
        except Exception as error:
            if str(error).startswith(_STALLED):
                return False
            raise StoreFailed(f"the store refused a write: {error}") from error
        return True

    def put(self, key: bytes, value: bytes) -> None:
        """Write one value, as `write` does.

        Raises:
            StoreFailed: refused.
        """

        def build() -> WriteBatch:
            batch = WriteBatch(raw_mode=True)
            batch.put(key, value)
            return batch

        self.write(build)

    def sync(self) -> None:
        """Bring everything written to disk.

        Raises:
            StoreFailed: the fsync failed; it must not be tried again (rule 7).
        """
        try:
            self._db.flush_wal(True)
        except Exception as error:
            raise StoreFailed(f"the store could not be brought to disk: {error}") from error

    def flush(self, *, wait: bool) -> None:
        """Turn what is in memory into a table file.

        Raises:
            StoreFailed: refused.
        """
        try:
            self._db.flush(wait)
        except Exception as error:
            raise StoreFailed(f"the store could not be flushed: {error}") from error

    def get(self, key: bytes) -> bytes | None:
        """A value, or None.

        Raises:
            Damaged: its block fails the checksum.
            StoreFailed: anything else.
        """
        try:
            return self._db.get(key)
        except Exception as error:
            raise read_error(error) from error

    def cursor(self, upper: bytes) -> Cursor:
        """A cursor over a snapshot of the keys below `upper`."""
        try:
            bounds = ReadOptions()
            bounds.set_iterate_upper_bound(upper)
            return Cursor(self._db.iter(bounds), bounds, upper)
        except Exception as error:
            raise read_error(error) from error

    def scan(self, first: bytes, upper: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values from `first` to below `upper`, as of now.

        Raises:
            Damaged: a block in the range fails its checksum; what came before it is sound.
            StoreFailed: anything else.
        """
        cursor = self.cursor(upper)
        found = cursor.seek(first)
        while found:
            yield cursor.key(), cursor.value()
            found = cursor.next()

    def close(self) -> None:
        """Flush and let go.

        Raises:
            StoreFailed: the flush failed; the directory is let go all the same.
        """
        try:
            self._db.close()
        except Exception as error:
            raise StoreFailed(f"the store could not be closed: {error}") from error


class Cursor:
    """A place among the keys. `seek` and `next` say whether there is a key, and raise where one cannot be read.

    It keeps the options and the bytes of the bound: the iterator only points at them, and ends at random without.
    """

    __slots__ = ("_kept", "_raw", "key", "value")

    def __init__(self, raw: RdictIter, bounds: ReadOptions, upper: bytes) -> None:
        self._raw = raw
        self._kept = (bounds, upper)
        self.key: Callable[[], bytes] = raw.key
        self.value: Callable[[], bytes] = raw.value

    def seek(self, key: bytes) -> bool:
        """Go to the first key at or above `key`.

        Raises:
            Damaged: the block that may hold it fails its checksum. The cursor can be moved on.
        """
        self._raw.seek(key)
        return self._raw.valid() or self._ended()

    def next(self) -> bool:
        """Go on by one.

        Raises:
            Damaged: as `seek`.
        """
        self._raw.next()
        return self._raw.valid() or self._ended()

    def _ended(self) -> bool:
        try:
            self._raw.status()
        except Exception as error:
            raise read_error(error) from error
        return False


def read_error(error: Exception) -> Damaged | StoreFailed:
    """What an error of a read means."""
    text = str(error)
    if is_damage(error) or "No such file" in text:
        return Damaged(text)
    return StoreFailed(f"the store could not be read: {text}")
