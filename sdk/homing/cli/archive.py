"""What a backup looks like in its folder or bucket: a file for each slot, and `manifest.json`, written last.

A file of a slot: eight bytes that say so; the format (u32, big endian); frames (`homing.slot_frames`), the first with
the slot's head, the last with `end`; BLAKE2b-256 of all before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import obstore
from google.protobuf.message import DecodeError
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from homing.cli.limits import ARCHIVE_BUFFER_BYTES, ARCHIVE_PARTS_AT_ONCE, MANIFEST_BYTES_MAX
from homing.errors import BackupUnusable, BadRequest, StoreFailed
from homing.ids import slots_of_each
from homing.slot_frames import Frames, frame, frame_bytes_max
from homing.wire.v1.call_pb2 import SlotHead, SlotPart

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FORMAT = 1
MANIFEST = "manifest.json"
_MAGIC = b"hmgslot\0"
_HEADER = _MAGIC + FORMAT.to_bytes(4, "big")
_DIGEST_BYTES = 32


class SlotFile(msgspec.Struct):
    """What the manifest says of one slot's file; `digest` is hexadecimal, `lsn` that of the last record in it."""

    slot: int
    file: str
    bytes: int
    digest: str
    epoch: int
    promised: int
    lsn: int
    objects: int


class Manifest(msgspec.Struct):
    """`manifest.json`.

    Attributes:
        format: of manifest and files.
        homing: the version that wrote it.
        cluster: its name.
        slots: how many the cluster has for objects that no jurisdiction binds.
        started_at: before the first slot was read, in UTC; every value acknowledged by then is in the backup.
        ended_at: after the last was written.
        object: the id of the one object that this is a backup of, in hexadecimal digits; empty: of all.
        files: one for each slot that is in it.
        jurisdictions: names of the cluster's, by number; each has slots of its own behind those.
    """

    format: int
    homing: str
    cluster: str
    slots: int
    started_at: str
    ended_at: str
    object: str
    files: list[SlotFile]
    jurisdictions: list[str] = []

    @property
    def slots_in_all(self) -> int:
        """How many slots the cluster has, with those of jurisdictions."""
        return self.slots + slots_of_each(self.slots) * len(self.jurisdictions)


class _Format(msgspec.Struct):
    """What is read of a manifest before anything else."""

    format: int = 0


@dataclass(slots=True)
class Part:
    """One message of a slot's file, as it is and parsed."""

    data: bytes
    part: SlotPart


class Parts:
    """Takes bytes as they come, gives out the messages of a slot in their frames, up to the one that ends it.

    Attributes:
        ended: that one has been given out.
    """

    def __init__(self) -> None:
        self.ended = False
        self._frames = Frames()

    @property
    def rest(self) -> bytes:
        """What has come and was not given out; once `ended`, what follows the last frame."""
        return bytes(self._frames.rest)

    def feed(self, data: bytes) -> Iterator[Part]:
        """The messages that `data` completes.

        Raises:
            BackupUnusable: a frame is longer than one can be, or holds no message.
        """
        if self.ended:
            self._frames.rest += data
            return
        try:
            for message in self._frames.feed(data):
                part = SlotPart.FromString(message)
                self.ended = part.end
                yield Part(message, part)
                if self.ended:
                    return
        except DecodeError as error:
            raise BackupUnusable("a frame holds no part of a slot") from error
        except ValueError as error:
            raise BackupUnusable(str(error)) from error


class Archive:
    """One backup in a folder or a bucket.

    Args:
        place: a folder's path, or an URL such as `s3://bucket/prefix`; obstore finds credentials and endpoint in the
            environment.
        create: whether the folder may be made.

    Raises:
        BadRequest: the place cannot be one.
    """

    def __init__(self, place: str, *, create: bool = False) -> None:
        self.place = place
        try:
            self._store: ObjectStore = (
                from_url(place) if "://" in place else LocalStore(Path(place).absolute(), mkdir=create)
            )
        except (BaseError, ValueError, OSError) as error:
            raise BadRequest(f"{place} cannot be opened: {_first_line(error)}") from error

    def manifest(self) -> Manifest | None:
        """The manifest, or None if there is none.

        Raises:
            BackupUnusable: it is none of ours, or of a newer format.
            StoreFailed: the place cannot be read.
        """
        try:
            found = obstore.get(self._store, MANIFEST)
            if found.meta["size"] > MANIFEST_BYTES_MAX:
                raise BackupUnusable(f"{MANIFEST} in {self.place} is too large to be one")
            data = bytes(found.bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise StoreFailed(f"{self.place} cannot be read: {_first_line(error)}") from error
        try:
            known = msgspec.json.decode(data, type=_Format).format
            if known > FORMAT:
                raise BackupUnusable(
                    f"the backup in {self.place} has format {known}; this version of homing knows {FORMAT} at most"
                )
            return msgspec.json.decode(data, type=Manifest)
        except msgspec.MsgspecError as error:
            raise BackupUnusable(f"{MANIFEST} in {self.place} is no manifest of a backup: {error}") from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Make a backup of what was written; the last thing to do.

        Raises:
            StoreFailed: the place cannot be written.
        """
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        try:
            obstore.put(self._store, MANIFEST, data)
        except (BaseError, OSError) as error:
            raise StoreFailed(f"{self.place} cannot be written: {_first_line(error)}") from error

    def write_slot(self, name: str, parts: Iterable[Part]) -> SlotFile:
        """Write one slot's file from its messages, as they come; it is there when this returns, else nothing is.

        Raises:
            BackupUnusable: the messages do not begin with a head, or do not come to their end.
            StoreFailed: the place cannot be written.
        """
        digest, size, objects, last, head, ended = blake2b(digest_size=_DIGEST_BYTES), 0, 0, b"", SlotHead(), False
        try:
            writer = obstore.open_writer(
                self._store, name, buffer_size=ARCHIVE_BUFFER_BYTES, max_concurrency=ARCHIVE_PARTS_AT_ONCE
            )
            for number, part in enumerate(parts):
                if (number == 0) != part.part.HasField("head"):
                    raise BackupUnusable("what a slot holds does not begin with its head")
                head = part.part.head if number == 0 else head
                data = frame(part.data) if number else _HEADER + frame(part.data)
                for each in part.part.objects:
                    objects += each.object != last
                    last = each.object
                digest.update(data)
                size += writer.write(data)
                ended = part.part.end
            if not ended:
                raise BackupUnusable("what a slot holds does not come to its end")
            size += writer.write(digest.digest())
            writer.close()
        except (BaseError, OSError) as error:
            raise StoreFailed(f"{self.place} cannot be written: {_first_line(error)}") from error
        return SlotFile(head.slot, name, size, digest.hexdigest(), head.epoch, head.promised, head.lsn, objects)

    def read_slot(self, known: SlotFile) -> Iterator[Part]:
        """The messages of one slot's file. That they are right is only known at the end.

        Raises:
            BackupUnusable: the file is missing, cut short, of a newer format, or not what the manifest says.
            StoreFailed: the place cannot be read.
        """
        digest, parts = blake2b(_HEADER, digest_size=_DIGEST_BYTES), Parts()
        for data in _after_header(known, self._chunks(known)):
            for part in parts.feed(data):
                digest.update(frame(part.data))
                yield part
        if not parts.ended or parts.rest != digest.digest() or digest.hexdigest() != known.digest:
            raise BackupUnusable(f"{known.file} in {self.place} is damaged: its digest is not that of the manifest")

    def _chunks(self, known: SlotFile) -> Iterator[bytes]:
        try:
            found = obstore.get(self._store, known.file)
            if found.meta["size"] != known.bytes:
                raise BackupUnusable(
                    f"{known.file} in {self.place} has {found.meta['size']} bytes, and should have {known.bytes}"
                )
            for data in found.stream(min_chunk_size=frame_bytes_max):
                yield bytes(data)
        except FileNotFoundError as error:
            raise BackupUnusable(f"{known.file} is missing in {self.place}") from error
        except (BaseError, OSError) as error:
            raise StoreFailed(f"{self.place} cannot be read: {_first_line(error)}") from error


def _after_header(known: SlotFile, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What follows the header of a file, once that is seen to be right."""
    begun = b""
    for chunk in chunks:
        begun += chunk
        if len(begun) >= len(_HEADER):
            _check_header(known, begun[: len(_HEADER)])
            yield begun[len(_HEADER) :]
            break
    yield from chunks


def _check_header(known: SlotFile, header: bytes) -> None:
    if header[: len(_MAGIC)] != _MAGIC:
        raise BackupUnusable(f"{known.file} is no file of a backup")
    found = int.from_bytes(header[len(_MAGIC) :], "big")
    if found != FORMAT:
        raise BackupUnusable(f"{known.file} has format {found}; this version of homing knows {FORMAT}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
