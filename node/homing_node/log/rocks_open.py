"""Opening a data directory: is it ours, is it sound, and if not, what is kept (rule 17).

The directory holds `lock`, `mark` and `rocksdb/`. The outcomes, by what is found:

- nothing at all: a new disk, trusted. Its id is new, so no slot record counts on it.
- mark and database agree, or the database is ahead of the mark: trusted as before. A last write that is torn, or is
  whole in length and wrong in content, is cut if it is above the mark.
- the database opens but is below its mark, has a hole in its last batches, is empty, or lacks its mark, or the mark is
  another disk's: what is there is kept and can be read; the disk gets a new id; not trusted.
- the database does not open, or is gone while the mark says that there was one: what is there is renamed to
  `rocksdb.set-aside-N` and kept; a new, empty database with a new disk id takes its place; not trusted.
- the database opens, and broke off its own work over damaged data when it last ran (`broken` says so): it would take no
  write again, so it is treated as one that does not open.
- the machine refuses (no space, no permission, an I/O error): StoreFailed; nothing is touched.

"Not trusted" stays written in the mark and in the database: a copy that lost something never counts again by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from rocksdict import WriteBatch

from homing.errors import ConfigurationError, StoreFailed
from homing_node.log import mark as marks
from homing_node.log import rocks_keys as keys
from homing_node.log.mark import DamagedMark, Mark, NewerMark
from homing_node.log.rocks_db import Damaged, Refused, RocksDatabase

FORMAT = 1
_BROKEN = "broken"

Migration = Callable[[RocksDatabase], None]
MIGRATIONS: Mapping[int, Migration] = {}
"""From the format named to the next one. Each must be harmless when it is run twice: the format is written after it."""


@dataclass(slots=True, frozen=True)
class Identity:
    """Whose store this is; kept in the database, beside the data."""

    format: int
    cluster: str
    node: str
    disk_id: str
    base: int = 0  # batches up to here belong to an earlier disk id; holes among them were judged already
    lost: str = ""  # why the store is not trusted; empty if it is


@dataclass(slots=True, frozen=True)
class _Format:
    """The one field that every format of an identity has, now and later."""

    format: int


@dataclass(slots=True)
class Opened:
    """A directory, open."""

    db: RocksDatabase
    disk_id: str
    batch: int  # the number of the last batch in the database
    lost: str  # why it is not trusted; empty if it is


def lock(path: Path) -> int:
    """Take the directory for this process; the descriptor holds it until it is closed.

    Raises:
        ConfigurationError: another process has it.
    """
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise ConfigurationError(
            f"{path} is in use by process {holder}: stop that node, or give this one a data directory of its own"
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def open_directory(path: Path, cluster: str, node: str) -> Opened:
    """Open or make the store in a locked directory; the outcomes are those of this module's text.

    The caller writes the mark of what was opened before anything is acknowledged.

    Raises:
        ConfigurationError: it belongs to another cluster or node, or a newer version wrote it.
        StoreFailed: the machine refused.
    """
    home = path / "rocksdb"
    mark, mark_damage = _read_mark(path / "mark")
    if mark is not None:
        _check_owner(path, mark.cluster, mark.node, cluster, node)
    fresh = Identity(FORMAT, cluster, node, secrets.token_hex(8))
    broken = path / _BROKEN
    if broken.exists():
        made = _make(path, replace(fresh, lost=f"the database was damaged: {broken.read_text(errors='replace')}"))
        broken.unlink()
        marks.sync_directory(path)
        return made
    if mark is not None and mark.batch == 0:  # its making was broken off: nothing was ever acknowledged in it
        lost = "" if mark.trusted else "what was here before was lost"
        return _make(path, replace(fresh, lost=lost))
    if not _has_files(home):
        lost = "the database is gone and its mark is not" if mark is not None or mark_damage else ""
        return _make(path, replace(fresh, lost=lost))
    try:
        db = _open_database(home, mark)
    except Refused as error:
        return _make(path, replace(fresh, lost=f"the database did not open: {error}"))
    try:
        return _judge(path, db, mark, fresh, mark_damage)
    except Damaged as error:
        db.close()
        return _make(path, replace(fresh, lost=f"the database does not say whose it is: {error}"))
    except (ConfigurationError, StoreFailed):
        db.close()
        raise


def _read_mark(path: Path) -> tuple[Mark | None, str]:
    try:
        return marks.read(path), ""
    except DamagedMark as error:
        return None, str(error)
    except NewerMark as error:
        raise ConfigurationError(f"{error}: start the version that wrote it, or a newer one") from error


def _has_files(home: Path) -> bool:
    return home.is_dir() and bool(os.listdir(home))


def _open_database(home: Path, mark: Mark | None) -> RocksDatabase:
    """Open what is there. RocksDB cuts a last record that is short, and refuses one that is wrong in content.

    A power cut can leave either, in a write that was never acknowledged. So when it refuses, it is asked, without a
    change, what there is before the damage; if that reaches the mark, the rest is cut.
    """
    try:
        return RocksDatabase(str(home))
    except Refused:
        if mark is None or not _reaches(home, mark):
            raise
    return RocksDatabase(str(home), cut_log=True)


def _reaches(home: Path, mark: Mark) -> bool:
    try:
        db = RocksDatabase(str(home), cut_log=True, read_only=True)
    except Refused:
        return False
    try:
        identity = _read_identity(db)
        top, hole = read_batches(db, identity.base if identity else 0)
        return not verdict(identity, mark, top, hole=hole)
    except Damaged:
        return False
    finally:
        db.close()


def _check_owner(path: Path, found_cluster: str, found_node: str, cluster: str, node: str) -> None:
    if (found_cluster, found_node) != (cluster, node):
        raise ConfigurationError(
            f"{path} belongs to node {found_node!r} of cluster {found_cluster!r}, and this is node {node!r} of "
            f"{cluster!r}: set HOMING_DATA_DIR to a directory of this node, or HOMING_CLUSTER and HOMING_NODE_ID right"
        )


def _make(path: Path, identity: Identity) -> Opened:
    """A new database; what is in its place is set aside. Its identity is batch 1; a mark of 0: the making broke off."""
    home = path / "rocksdb"
    mark = Mark(identity.disk_id, 0, not identity.lost, identity.cluster, identity.node)
    marks.create(path / "mark", mark)  # first: a database without a mark is one that lost it
    if _has_files(home):
        set_aside(home)
    db = RocksDatabase(str(home), create=True)
    _write_identity(db, identity, batch=1)
    return Opened(db, identity.disk_id, 1, identity.lost)


def note_broken(path: Path, why: str) -> None:
    """Let the next opening set the database aside: it found damage in its own files and takes no more writes.

    Without this the node would start, fail and end, over and over.
    """
    with contextlib.suppress(OSError):  # then the next start fails as this one did, and tries again
        (path / _BROKEN).write_text(why)
        marks.sync_directory(path)


def set_aside(home: Path) -> Path:
    """Rename what cannot be opened, so that nothing of it is lost; returns its new name."""
    number = 1
    while (aside := home.with_name(f"{home.name}.set-aside-{number}")).exists():
        number += 1
    home.rename(aside)
    marks.sync_directory(home.parent)
    return aside


def _judge(path: Path, db: RocksDatabase, mark: Mark | None, fresh: Identity, mark_damage: str) -> Opened:
    identity = _read_identity(db)
    if identity is not None:
        _check_owner(path, identity.cluster, identity.node, fresh.cluster, fresh.node)
        identity = _migrated(db, identity)
    try:
        top, hole = read_batches(db, identity.base if identity else 0)
        damage = ""
    except Damaged as error:
        top, hole, damage = 0, False, f"the numbers of its batches cannot be read: {error}"
    lost = mark_damage or damage or verdict(identity, mark, top, hole=hole)
    if not lost and identity is not None:
        return Opened(db, identity.disk_id, max(top, identity.base), identity.lost)
    base = max(top, mark.batch if mark else 0, identity.base if identity else 0, 1)
    judged = replace(fresh, base=base, lost=lost)
    _write_identity(db, judged)  # if it ends here the old mark is that of another disk, and this is judged again
    return Opened(db, judged.disk_id, base, lost)


def verdict(identity: Identity | None, mark: Mark | None, top: int, *, hole: bool) -> str:
    """Why a database that opened is not what it was; empty if it is.

    Args:
        identity: what the database says of itself; None if it is empty.
        mark: what the mark says; None if there is none.
        top: the highest batch in the database.
        hole: whether a batch below it is missing.
    """
    if mark is None:
        return "the mark is missing"
    if identity is None:
        return "the database is empty and its mark is not"
    if mark.disk_id != identity.disk_id:
        return "the mark is that of another disk"
    if max(top, identity.base) < mark.batch:
        return f"the database ends at batch {top}, and batch {mark.batch} was on disk"
    if hole:
        return "a batch is missing from the middle"
    return "" if mark.trusted == (not identity.lost) else "the mark and the database disagree on an earlier loss"


def read_batches(db: RocksDatabase, base: int) -> tuple[int, bool]:
    """The highest batch in a database, and whether one between `base` and it is missing.

    Raises:
        Damaged: the numbers cannot be read.
    """
    found = {int.from_bytes(value, "big") for _, value in db.scan(keys.BATCH, keys.BATCH_END)}
    top = max(found, default=0)
    expected = range(max(base, top - keys.batch_ring) + 1, top + 1)
    return top, not found.issuperset(expected)


def _migrated(db: RocksDatabase, identity: Identity) -> Identity:
    for step in migration_steps(identity.format, FORMAT, MIGRATIONS):
        step(db)
        identity = replace(identity, format=identity.format + 1)
        _write_identity(db, identity)
    return identity


def migration_steps(found: int, known: int, table: Mapping[int, Migration]) -> list[Migration]:
    """What brings a store from the format found to the one known.

    Raises:
        ConfigurationError: it is newer, or too old for this version.
    """
    if found > known:
        raise ConfigurationError(
            f"the store has format {found} and this version knows {known}: start the version that wrote it, or newer"
        )
    try:
        return [table[step] for step in range(found, known)]
    except KeyError as error:
        raise ConfigurationError(
            f"the store has format {found}, too old for this version: start an older one that upgrades it first"
        ) from error


def _read_identity(db: RocksDatabase) -> Identity | None:
    raw = db.get(keys.IDENTITY)
    if raw is None:
        return None
    try:
        migration_steps(msgspec.json.decode(raw, type=_Format).format, FORMAT, MIGRATIONS)
        return msgspec.json.decode(raw, type=Identity)
    except msgspec.MsgspecError as error:
        raise Damaged(str(error)) from error


def _write_identity(db: RocksDatabase, identity: Identity, batch: int | None = None) -> None:
    def build() -> WriteBatch:
        writes = WriteBatch(raw_mode=True)
        writes.put(keys.IDENTITY, msgspec.json.encode(identity))
        if batch is not None:
            writes.put(keys.batch_key(batch), keys.U64.pack(batch))
        return writes

    db.write(build)
    db.sync()
    db.flush(wait=True)  # into a table file: who this is must not hang on a log file
