"""A folder and an S3 bucket hold the same backup, written and read by the same means. The S3 is moto's, on loopback."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from moto.server import ThreadedMotoServer

from homing.cli.archive import FORMAT, Archive, Manifest, Part
from homing.errors import BackupUnusable, StoreFailed
from homing.wire.v1.call_pb2 import SlotHead, SlotPart, StoredObject

BUCKET = "backups"
PARTS = 80  # with 256 KiB each: more than two buffers of the writer


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    found = ThreadedMotoServer("127.0.0.1", port=0)
    found.start()
    host, port = found.get_host_and_port()
    yield f"http://{host}:{port}"
    found.stop()


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "backup")
    url = str(request.getfixturevalue("server"))
    for name, value in {
        "AWS_ENDPOINT": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    put = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
    urllib.request.urlopen(put, timeout=10).close()
    return f"s3://{BUCKET}/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}/daily"


def parts(count: int = PARTS, *, end: bool = True) -> Iterator[Part]:
    messages = [SlotPart(head=SlotHead(cluster="c", slot=1, slots=2, epoch=3, promised=3, lsn=9))]
    for number in range(count):
        pages = [hashlib.shake_128(b"%d %d" % (number, n)).digest(1_024) for n in range(256)]
        messages.append(SlotPart(objects=[StoredObject(object=bytes(32), first_page=1 + 256 * number, pages=pages)]))
    for message in [*messages, SlotPart(end=True)] if end else messages:
        yield Part(message.SerializeToString(), message)


def test_what_was_written_is_there(place: str) -> None:
    archive = Archive(place, create=True)
    assert archive.manifest() is None
    known = archive.write_slot("slot-1", parts())
    assert known.bytes > PARTS << 18
    assert [part.data for part in archive.read_slot(known)] == [part.data for part in parts()]
    manifest = Manifest(FORMAT, "0.1.0", "c", 2, "then", "now", "", [known])
    archive.write_manifest(manifest)
    assert Archive(place).manifest() == manifest


def test_a_slot_that_breaks_off_leaves_nothing_that_counts(place: str) -> None:
    archive = Archive(place, create=True)
    whole = archive.write_slot("slot-1", parts(1))
    with pytest.raises(BackupUnusable):
        archive.write_slot("slot-1", parts(end=False))
    assert len(list(archive.read_slot(whole))) == 3, "what was there before is"
    with pytest.raises(BackupUnusable, match="missing"):
        list(archive.read_slot(msgspec.structs.replace(whole, file="slot-2")))


def test_a_file_is_written_anew(place: str) -> None:
    """A slot is tried again when its owner is lost."""
    archive = Archive(place, create=True)
    archive.write_slot("slot-1", parts(2))
    known = archive.write_slot("slot-1", parts(1))
    assert len(list(archive.read_slot(known))) == 3


def test_an_s3_that_does_not_answer_is_an_error_of_the_place(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    for name, value in {
        "AWS_ENDPOINT": server, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreFailed, match="cannot be written"):
        Archive("s3://no-such-bucket/x").write_slot("slot-1", parts(1))
