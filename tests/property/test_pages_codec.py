"""Commit bytes: what was encoded is what is applied, twice too, and hostile bytes are refused, not applied."""

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homing_node.workers.inside import limits, pages

PAGE = 1_024

edit = st.tuples(st.integers(0, PAGE - 1), st.binary(min_size=1, max_size=40))


def edited(page: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    changed = bytearray(page)
    for at, text in edits:
        data = text[: PAGE - at]
        changed[at : at + len(data)] = data
    return bytes(changed)


some_page = st.one_of(
    st.just(bytes(PAGE)),
    st.binary(min_size=PAGE, max_size=PAGE),
    st.lists(edit, max_size=6).map(lambda edits: edited(bytes(PAGE), edits)),
)


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[int, bytes | None, bytes]]:
    numbers = sorted(draw(st.sets(st.integers(1, 60), max_size=6)))
    result: list[tuple[int, bytes | None, bytes]] = []
    for number in numbers:
        old = draw(st.one_of(st.none(), some_page))
        new = draw(some_page) if draw(st.booleans()) else edited(old or bytes(PAGE), draw(st.lists(edit, max_size=5)))
        result.append((number, old, new))
    return result


@settings(max_examples=200, deadline=None)
@given(changes())
def test_apply_gives_the_new_pages_and_again_the_same(made: list[tuple[int, bytes | None, bytes]]):
    """Broken by: XOR bytes instead of new bytes in a span (the second apply undoes the first)."""
    data = pages.encode(60, made)
    assert list(pages.validate(data, 60)) == [number for number, old, new in made if old != new]
    base = {number: old for number, old, _ in made if old is not None}
    once = pages.apply(data, base.get)
    assert once == {number: new for number, old, new in made if old != new}
    twice = pages.apply(data, (base | once).get)
    assert twice == once


@settings(max_examples=100, deadline=None)
@given(st.lists(edit, max_size=3), some_page)
def test_a_small_change_is_small(edits: list[tuple[int, bytes]], old: bytes):
    """Broken by: always storing whole pages. A span has a head of 4 bytes; to fill a gap may cost a few more."""
    new = edited(old, edits)
    data = pages.encode(1, [(1, old, new)])
    filled = (limits.span_gap_bytes_min - 1 - 4) * len(edits)
    assert len(data) <= 6 + 11 + min(PAGE, filled + sum(len(text) + 4 * (1 + len(text) // 8) for _, text in edits))


@settings(max_examples=200, deadline=None)
@given(changes(), st.data())
def test_flipped_bytes_are_refused_or_caught_by_the_checksum(
    made: list[tuple[int, bytes | None, bytes]], data: st.DataObject
):
    """Broken by: no bound check in validate (struct.error or a short page comes out), or no crc check in apply."""
    good = pages.encode(60, made)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    base = {number: old for number, old, _ in made if old is not None}
    try:
        pages.validate(bytes(bad), 1_000)
        applied = pages.apply(bytes(bad), base.get)
    except (pages.BadCommit, pages.PageMismatch):
        return
    new = {number: page for number, old, page in made if old != page}
    assert all(page in new.values() or zlib.crc32(page) in map(zlib.crc32, new.values()) for page in applied.values())
    assert all(len(page) == PAGE for page in applied.values())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_validated_without_another_error(data: bytes):
    try:
        pages.validate(data, 100)
    except pages.BadCommit:
        return
    assert len(data) >= pages.EMPTY_COMMIT_BYTES


def entry(number: int, kind: int, data: bytes, crc: int = 0) -> bytes:
    return struct.pack("<IIBH", number, crc, kind, len(data)) + data


def span(offset: int, data: bytes) -> bytes:
    return struct.pack("<HH", offset, len(data)) + data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("head cut", b"\1\0\0\0\1"),
        ("too many pages", struct.pack("<IH", 11, 0)),
        ("page 0", struct.pack("<IH", 9, 1) + entry(0, 1, b"")),
        ("page past the end", struct.pack("<IH", 9, 1) + entry(10, 1, b"")),
        ("not ascending", struct.pack("<IH", 9, 2) + entry(2, 1, b"") + entry(2, 1, b"")),
        ("unknown kind", struct.pack("<IH", 9, 1) + entry(2, 3, b"")),
        ("whole page short", struct.pack("<IH", 9, 1) + entry(2, 0, bytes(1_023))),
        ("entry missing", struct.pack("<IH", 9, 2) + entry(2, 1, b"")),
        ("data missing", struct.pack("<IH", 9, 1) + entry(2, 1, span(0, b"abc"))[:-1]),
        ("trailing bytes", struct.pack("<IH", 9, 0) + b"\0"),
        ("span past the page", struct.pack("<IH", 9, 1) + entry(2, 1, span(1_020, b"abcde"))),
        ("span empty", struct.pack("<IH", 9, 1) + entry(2, 1, span(3, b""))),
        ("spans overlap", struct.pack("<IH", 9, 1) + entry(2, 1, span(3, b"ab") + span(4, b"c"))),
        ("span longer than entry", struct.pack("<IH", 9, 1) + entry(2, 1, struct.pack("<HH", 0, 9) + b"abc")),
        ("span head cut", struct.pack("<IH", 9, 1) + entry(2, 1, b"\0\0\1")),
    ],
)
def test_hostile_commits_are_refused(name: str, data: bytes):
    with pytest.raises(pages.BadCommit):
        pages.validate(data, 10)


def test_the_bounds_themselves_are_allowed():
    whole = struct.pack("<IH", 10, 1) + entry(10, 0, bytes(PAGE))
    assert list(pages.validate(whole, 10)) == [10]
    edge = struct.pack("<IH", 10, 1) + entry(1, 1, span(0, b"a") + span(1_023, b"b"))
    assert list(pages.validate(edge, 10)) == [1]


def test_a_wrong_page_below_is_noticed():
    """Broken by: no crc check in apply."""
    old, new = bytes(PAGE), b"x" + bytes(PAGE - 1)
    data = pages.encode(1, [(1, old, new)])
    with pytest.raises(pages.PageMismatch):
        pages.apply(data, {1: bytes(PAGE - 1) + b"y"}.get)


def test_a_new_page_does_not_depend_on_what_had_its_number():
    new = b"x" + bytes(PAGE - 1)
    data = pages.encode(5, [(5, None, new)])
    assert pages.apply(data, {5: b"z" * PAGE}.get) == {5: new}
