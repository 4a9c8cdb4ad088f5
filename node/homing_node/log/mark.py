"""The mark: a small file beside the store that says how far the store was on disk.

RocksDB does not guard itself: a log file that is gone or damaged at its end can open without a word, with less in it.
The mark names the disk and the last batch that was fsynced, so that an opening below it is seen (rule 17).

The file has two places, 4,096 bytes apart, written in turn: a write that was torn by a power cut harms one, and the
other holds the batch before. Layout of a place, little endian: magic 8 bytes, version u16, flags u16 (1: trusted),
batch u64, disk id, cluster and node each as length u8 and UTF-8, zeros, CRC-32 of all before in the last 4 bytes.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

place_bytes = 512
place_step_bytes = 4_096
name_bytes_max = 128

_MAGIC = b"homingmk"
_VERSION = 1
_HEAD = struct.Struct("<8sHHQ")
_CRC = struct.Struct("<I")
_TRUSTED = 1


class DamagedMark(ValueError):
    """A mark file of which no place can be read."""


class NewerMark(ValueError):
    """A mark that a newer version wrote."""


@dataclass(slots=True, frozen=True)
class Mark:
    """What the mark says.

    Invariant: every batch up to `batch` was on disk when this was written.
    """

    disk_id: str
    batch: int
    trusted: bool  # False: the store was once not what its mark said; it stays so
    cluster: str
    node: str


def encode(mark: Mark) -> bytes:
    """One place of the file.

    Raises:
        ValueError: a name is over 128 bytes of UTF-8.

    Example:
        >>> decode(encode(Mark("d1", 7, True, "c", "n1"))).batch
        7
    """
    head = _HEAD.pack(_MAGIC, _VERSION, _TRUSTED if mark.trusted else 0, mark.batch)
    body = (head + b"".join(map(_text, (mark.disk_id, mark.cluster, mark.node)))).ljust(place_bytes - 4, b"\0")
    return body + _CRC.pack(zlib.crc32(body))


def decode(place: bytes) -> Mark:
    """A place, checked.

    Raises:
        DamagedMark: it is torn, or was never written.
        NewerMark: a newer version wrote it.
    """
    body = place[: place_bytes - 4]
    if len(place) != place_bytes or _CRC.unpack_from(place, place_bytes - 4)[0] != zlib.crc32(body):
        raise DamagedMark("a place of the mark fails its checksum")
    magic, version, flags, batch = _HEAD.unpack_from(body)
    if magic != _MAGIC:
        raise DamagedMark("a place of the mark is something else")
    if version > _VERSION:
        raise NewerMark(f"the mark has format {version}, and this version knows {_VERSION}")
    texts: list[str] = []
    at = _HEAD.size
    try:
        for _ in range(3):
            texts.append(body[at + 1 : at + 1 + body[at]].decode())
            at += 1 + body[at]
    except (IndexError, UnicodeDecodeError) as error:
        raise DamagedMark("a place of the mark holds names that are none") from error
    return Mark(texts[0], batch, bool(flags & _TRUSTED), texts[1], texts[2])


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > name_bytes_max:
        raise ValueError(f"{text[:20]!r}… is over {name_bytes_max} bytes")
    return bytes((len(raw),)) + raw


def read(path: Path) -> Mark | None:
    """The mark in a file: the place with the highest batch that can be read; None if there is no file.

    Raises:
        DamagedMark: no place can be read.
        NewerMark: a newer version wrote it.
        OSError: the disk refused.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    found: list[Mark] = []
    for start in (0, place_step_bytes):
        with contextlib.suppress(DamagedMark):
            found.append(decode(data[start : start + place_bytes]))
    if not found:
        raise DamagedMark(f"{path} cannot be read")
    return max(found, key=lambda mark: mark.batch)


def create(path: Path, mark: Mark) -> None:
    """Put a new mark in the place of whatever is there; on disk when this returns.

    Raises:
        OSError: the disk refused.
    """
    place = encode(mark)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(place.ljust(place_step_bytes, b"\0") + place)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class MarkWriter:
    """Writes marks: `begin(k)` says that batch k is on disk, `settle()` brings its mark there.

    Who writes batches calls `settle` when nobody waits for it any more, so a mark costs no answer its time.

    Args:
        path: an existing mark file.
        mark: what it says; only the batch changes from here on.
    """

    def __init__(self, path: Path, mark: Mark) -> None:
        self._place = bytearray(encode(mark))
        self._step = 0
        self._fd = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC)
        self._error: OSError | None = None
        self._due: int | None = None  # the batch whose mark is not on disk

    def begin(self, batch: int) -> None:
        """A batch is on disk; the mark of the one before must have been settled."""
        self._due = batch

    def settle(self) -> None:
        """Bring the mark that was begun last to disk; returns at once when it is there.

        Raises:
            OSError: it could not be written, now or earlier; rule 7: it is never tried again.
        """
        if self._error is not None:
            raise self._error
        batch, self._due = self._due, None
        if batch is None:
            return
        try:
            self._write(batch)
        except OSError as error:
            self._error = error
            raise

    def close(self) -> None:
        """Bring the last mark to disk if that can be done, and let go of the file."""
        with contextlib.suppress(OSError):
            self.settle()
        os.close(self._fd)

    def _write(self, batch: int) -> None:
        place = self._place
        struct.pack_into("<Q", place, 12, batch)
        _CRC.pack_into(place, place_bytes - 4, zlib.crc32(memoryview(place)[:-4]))
        os.pwrite(self._fd, place, self._step * place_step_bytes)
        self._step ^= 1
