"""The mark: its bytes, and the thread that writes it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from homing_node.log import mark as marks
from homing_node.log.mark import DamagedMark, Mark, MarkWriter, NewerMark, create, decode, encode, read

MARK = Mark("0123456789abcdef", 7, trusted=True, cluster="c", node="n1")


@pytest.mark.parametrize(
    "mark",
    [
        MARK,
        Mark("", 0, trusted=False, cluster="", node=""),
        Mark("é" * 64, (1 << 64) - 1, trusted=True, cluster="x" * 128, node="y" * 128),
    ],
)
def test_a_mark_comes_back(mark: Mark) -> None:
    assert len(encode(mark)) == marks.place_bytes
    assert decode(encode(mark)) == mark


def test_a_name_over_its_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="over 128 bytes"):
        encode(Mark("d", 1, trusted=True, cluster="x" * 129, node="n"))


def test_no_flipped_bit_goes_unseen() -> None:
    place = encode(MARK)
    for at in range(len(place)):
        wrong = bytearray(place)
        wrong[at] ^= 1 << (at % 8)
        with pytest.raises(DamagedMark):
            decode(bytes(wrong))


@pytest.mark.parametrize("place", [b"", bytes(marks.place_bytes), encode(MARK)[:-1], encode(MARK) + b"x"])
def test_what_is_no_mark_is_refused(place: bytes) -> None:
    with pytest.raises(DamagedMark):
        decode(place)


def test_another_file_with_a_checksum_is_no_mark() -> None:
    body = b"something".ljust(marks.place_bytes - 4, b"\0")
    with pytest.raises(DamagedMark):
        decode(body + struct.pack("<I", zlib.crc32(body)))


@pytest.mark.parametrize("names", [b"\xff" * 480, b"\x01\xff", b"\x00\xf0" + b"a" * 300])
def test_names_that_are_none_are_damage(names: bytes) -> None:
    """Found by `make fuzz`: an IndexError left a node unable to start, though the other place was whole."""
    body = encode(MARK)[:20] + names.ljust(marks.place_bytes - 24, b"\xff")
    with pytest.raises(DamagedMark):
        decode(body + struct.pack("<I", zlib.crc32(body)))


def test_a_newer_mark_is_not_called_damaged() -> None:
    body = bytearray(encode(MARK)[:-4])
    struct.pack_into("<H", body, 8, 2)
    with pytest.raises(NewerMark):
        decode(bytes(body) + struct.pack("<I", zlib.crc32(body)))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[MarkWriter]:
    create(tmp_path / "mark", MARK)
    made = MarkWriter(tmp_path / "mark", MARK)
    yield made
    made.close()


def test_there_is_no_mark_before_one_is_made(tmp_path: Path) -> None:
    assert read(tmp_path / "mark") is None


def test_making_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    path.write_bytes(b"garbage")
    with pytest.raises(DamagedMark):
        read(path)
    create(path, MARK)
    assert read(path) == MARK
    assert [found.name for found in tmp_path.iterdir()] == ["mark"]


def test_a_settled_mark_can_be_read(tmp_path: Path, writer: MarkWriter) -> None:
    for batch in (8, 9, 10, 500):
        writer.begin(batch)
        writer.settle()
        assert read(tmp_path / "mark") == Mark(MARK.disk_id, batch, trusted=True, cluster="c", node="n1")


def test_a_torn_write_leaves_the_mark_before(tmp_path: Path, writer: MarkWriter) -> None:
    """Seen to fail with one place instead of two."""
    path = tmp_path / "mark"
    for batch in range(8, 12):
        writer.begin(batch)
        writer.settle()
        whole = path.read_bytes()
        torn = bytearray(whole)
        at = whole.find(encode(Mark(MARK.disk_id, batch, trusted=True, cluster="c", node="n1")))
        torn[at : at + marks.place_bytes] = b"\xff" * marks.place_bytes
        path.with_name("torn").write_bytes(torn)
        found = read(path.with_name("torn"))
        assert found is not None
        assert found.batch == batch - 1


def test_settling_what_was_not_begun_returns(writer: MarkWriter) -> None:
    writer.settle()
    writer.settle()


def test_a_failed_write_is_raised_at_every_later_settle() -> None:
    """Seen to fail with an error that nobody keeps."""
    writer = MarkWriter(Path("/dev/full"), MARK)
    for batch in (8, 9):
        writer.begin(batch)
        for _ in range(2):  # the second time nothing is due: that a mark is missing is said all the same
            with pytest.raises(OSError, match="No space left"):
                writer.settle()
    writer.close()
