"""A backup in its place: what was written is read, and whatever is not whole or not ours is refused.

Each case of damage was seen to pass with the comparison that it names removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from homing.cli.archive import FORMAT, MANIFEST, Archive, Manifest, Part, Parts, SlotFile
from homing.cli.restore import check_slots, needed
from homing.cli.status import Bound, Cluster
from homing.errors import BackupUnusable, BadRequest
from homing.ids import ObjectId
from homing.slot_frames import frame, frame_bytes_max
from homing.wire.v1.call_pb2 import SlotHead, SlotPart, StoredObject

HEAD = SlotHead(cluster="c", slot=7, slots=1_024, epoch=3, promised=4, lsn=20)


def parts(*, head: bool = True, end: bool = True) -> Iterator[Part]:
    messages = [SlotPart(head=HEAD)] if head else []
    for number in range(3):
        pages = [bytes([number]) * 1_024] * 5
        messages.append(SlotPart(objects=[StoredObject(object=bytes([number]) * 32, page_count=10, pages=pages)]))
        messages.append(SlotPart(objects=[StoredObject(object=bytes([number]) * 32, first_page=6, pages=pages)]))
    messages += [SlotPart(end=True)] if end else []
    for message in messages:
        data = message.SerializeToString()
        yield Part(data, SlotPart.FromString(data))


def manifest(*files: SlotFile) -> Manifest:
    return Manifest(FORMAT, "0.1.0", "c", 1_024, "then", "now", "", list(files))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path / "new"), create=True)
    assert archive.manifest() is None
    known = archive.write_slot("slot-7", parts())
    assert (known.slot, known.epoch, known.promised, known.lsn, known.objects) == (7, 3, 4, 20, 3)
    assert known.bytes == (tmp_path / "new" / "slot-7").stat().st_size
    assert [part.data for part in archive.read_slot(known)] == [part.data for part in parts()]
    archive.write_manifest(manifest(known))
    assert Archive(str(tmp_path / "new")).manifest() == manifest(known)


def test_every_byte_counts(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path))
    known = archive.write_slot("slot-7", parts())
    path = tmp_path / "slot-7"
    whole = path.read_bytes()
    for at in (*range(80), *range(80, len(whole), 97), *range(len(whole) - 40, len(whole))):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(BackupUnusable):
            list(archive.read_slot(known))
    path.write_bytes(whole)
    assert len(list(archive.read_slot(known))) == 8


def test_a_file_of_another_length_is_refused(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path))
    known = archive.write_slot("slot-7", parts())
    path = tmp_path / "slot-7"
    whole = path.read_bytes()
    for torn in (b"", whole[:5], whole[:-1], whole[: len(whole) // 2], whole + b"\0"):
        path.write_bytes(torn)
        with pytest.raises(BackupUnusable, match="bytes, and should have"):
            list(archive.read_slot(known))
        with pytest.raises(BackupUnusable):  # also where the manifest was changed to fit it
            list(archive.read_slot(msgspec.structs.replace(known, bytes=len(torn))))
    path.unlink()
    with pytest.raises(BackupUnusable, match="missing"):
        list(archive.read_slot(known))


def test_the_file_of_another_backup_is_refused(tmp_path: Path) -> None:
    """The file is right in itself: only the manifest's digest tells."""
    archive = Archive(str(tmp_path))
    archive.write_slot("slot-7", parts())
    with pytest.raises(BackupUnusable, match="digest"):
        list(archive.read_slot(msgspec.structs.replace(archive.write_slot("slot-7", parts()), digest="00" * 32)))


def test_newer_formats_are_named(tmp_path: Path) -> None:
    archive = Archive(str(tmp_path))
    known = archive.write_slot("slot-7", parts())
    path = tmp_path / "slot-7"
    path.write_bytes(path.read_bytes().replace(b"hmgslot\0\0\0\0\1", b"hmgslot\0\0\0\0\2"))
    with pytest.raises(BackupUnusable, match="has format 2"):
        list(archive.read_slot(known))
    (tmp_path / MANIFEST).write_text('{"format": 2, "unknown": "fields"}')
    with pytest.raises(BackupUnusable, match="has format 2"):
        archive.manifest()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": "1"}', '{"format": 1, "files": 3}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BackupUnusable, match="no manifest"):
        Archive(str(tmp_path)).manifest()


@pytest.mark.parametrize("missing", ["head", "end"])
def test_a_slot_that_is_not_whole_makes_no_file(tmp_path: Path, missing: str) -> None:
    with pytest.raises(BackupUnusable):
        Archive(str(tmp_path)).write_slot("slot-7", parts(head=missing != "head", end=missing != "end"))
    assert not (tmp_path / "slot-7").exists()


def test_a_place_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot be opened"):
        Archive(str(tmp_path / "absent"))
    with pytest.raises(BadRequest, match="cannot be opened"):
        Archive("nowhere://at/all")


def test_frames_come_whole_however_they_are_cut() -> None:
    whole = b"".join(frame(part.data) for part in parts()) + b"the digest"
    for size in (1, 3, 1_000, len(whole)):
        taken = Parts()
        found = [part.data for at in range(0, len(whole), size) for part in taken.feed(whole[at : at + size])]
        assert found == [part.data for part in parts()]
        assert (taken.ended, taken.rest) == (True, b"the digest")


def test_a_frame_that_says_to_be_huge_is_refused_before_it_comes() -> None:
    with pytest.raises(BackupUnusable, match="at most"):
        list(Parts().feed((frame_bytes_max + 1).to_bytes(4, "big")))
    assert list(Parts().feed(frame_bytes_max.to_bytes(4, "big"))) == []
    with pytest.raises(BackupUnusable, match="holds no part"):
        list(Parts().feed(frame(b"\xff\xff")))


def test_a_backup_goes_only_where_jurisdictions_have_the_same_numbers() -> None:
    """Ids carry the number. Seen to fail without the comparison: objects of `eu` become those of `us`."""
    found = manifest()
    found.jurisdictions = ["eu", "us"]
    assert msgspec.json.decode(msgspec.json.encode(found), type=Manifest) == found
    assert (found.slots_in_all, manifest().slots_in_all) == (1_280, 1_024)
    for names in (["eu", "us"], ["eu", "us", "asia"]):
        check_slots(Cluster(slots=[], jurisdictions=[Bound(name, [], 1_024, 128) for name in names]), found)
    for names in (["us", "eu"], ["eu"]):
        with pytest.raises(BadRequest, match="begins with those"):
            check_slots(Cluster(jurisdictions=[Bound(name, [], 1_024, 128) for name in names]), found)


def test_a_backup_names_every_slot_for_all_and_no_slot_twice() -> None:
    """Those of a jurisdiction whose nodes never came hold nothing, and may be missing."""

    def named(*slots: int) -> Manifest:
        files = [SlotFile(slot, "f", 1, "", 1, 1, 1, 0) for slot in slots]
        return Manifest(FORMAT, "0.1.0", "c", 8, "then", "now", "", files, ["eu", "us"])

    for slots in (range(10), range(8), (*range(8), 9)):
        assert needed(named(*slots), b"")
    for slots in (range(7), (*range(7), 8, 9), (*range(8), 7), range(11), ()):
        with pytest.raises(BackupUnusable, match="every slot once"):
            needed(named(*slots), b"")
    bound = ObjectId.unique("Room", 1)
    assert [file.slot for file in needed(named(*range(10)), bound.raw)] == [9]
