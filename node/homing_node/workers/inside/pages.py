"""Commit bytes: what one transaction did to the pages of a database, checked page by page.

Layout, little endian: u32 page count after the commit, u16 number of entries, then the entries in ascending order of
page: u32 page number (from 1), u32 CRC-32 of the whole resulting page, u8 kind, u16 length of the data, data.

Kinds: 0, a whole page; 1, spans over the page as it was; 2, spans over zero bytes (a page that is new, so that
nothing depends on what had that number before). Spans are u16 offset, u16 length and the new bytes: they say
what is there now, not what changed, so applying a commit twice does no harm.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from operator import ne

from homing_node.workers.inside import limits

WHOLE = 0
SPANS = 1
SPANS_OVER_ZEROS = 2

EMPTY_COMMIT_BYTES = 6  # a commit without entries

_PAGE = limits.page_bytes
_BLOCK = 64
_ZEROS = bytes(_PAGE)
_BLOCKS = range(0, _PAGE, _BLOCK)
_commit = struct.Struct("<IH")
_entry = struct.Struct("<IIBH")
_span = struct.Struct("<HH")
_split = struct.Struct(f"{_BLOCK}s" * (_PAGE // _BLOCK)).unpack
# Runs of unequal bytes in an XOR; equal bytes fewer than span_gap_bytes_min do not end a run.
# Not `finditer`: it makes the name of the scanner's method anew each time, and the interpreter's cache of methods keeps
# up to 500 of those strings. They lie scattered over all memory, and none of it goes back when activations end.
_next_run = re.compile(rb"[^\0]+(?:\0{1,%d}[^\0]+)*" % (limits.span_gap_bytes_min - 1)).search


class BadCommit(ValueError):
    """Bytes that are no commit, or one over its bounds."""


class PageMismatch(ValueError):
    """A page that a commit yields does not have the checksum that the commit says."""


def _spans(old: bytes, new: bytes) -> bytes:
    """Where two pages differ, as spans of the new one; whole runs of unequal blocks first, for speed."""
    parts: list[bytes] = []
    blocks = list(compress(_BLOCKS, map(ne, _split(old), _split(new))))
    i = 0
    while i < len(blocks):
        start = blocks[i]
        stop = start + _BLOCK
        i += 1
        while i < len(blocks) and blocks[i] == stop:
            stop += _BLOCK
            i += 1
        difference = int.from_bytes(old[start:stop], "little") ^ int.from_bytes(new[start:stop], "little")
        changed = difference.to_bytes(stop - start, "little")
        run = _next_run(changed)
        while run is not None:
            low, high = run.span()
            parts.append(_span.pack(start + low, high - low))
            parts.append(new[start + low : start + high])
            run = _next_run(changed, high)
    return b"".join(parts)


def encode(page_count: int, changes: Iterable[tuple[int, bytes | None, bytes]]) -> bytes:
    """Commit bytes of changed pages.

    Args:
        page_count: pages of the database after the commit.
        changes: page number, the page before (None: it did not exist) and after, in ascending order. Pages that
            are equal before and after are left out, so the result may be of `EMPTY_COMMIT_BYTES`.

    Example:
        >>> encode(1, [(1, bytes(1024), bytes(1023) + b"x")]).hex(" ", 4)  # doctest: +ELLIPSIS
        '01...'
    """
    entries: list[bytes] = []
    for number, old, new in changes:
        if old == new:
            continue
        data = _spans(_ZEROS if old is None else old, new)
        kind = SPANS_OVER_ZEROS if old is None else SPANS
        if len(data) >= _PAGE:
            kind, data = WHOLE, new
        entries.append(_entry.pack(number, zlib.crc32(new), kind, len(data)))
        entries.append(data)
    return _commit.pack(page_count, len(entries) // 2) + b"".join(entries)


def page_count(data: bytes) -> int:
    """How many pages the database has after this (validated) commit."""
    return _commit.unpack_from(data)[0]


def validate(data: bytes, pages_max: int = limits.pages_max) -> Sequence[int]:
    """Check untrusted commit bytes: every bound and length, but not the checksums, which need the pages.

    Returns:
        The numbers of the pages that the commit writes.

    Raises:
        BadCommit: it must not be recorded or applied.
    """
    if len(data) < _commit.size:
        raise BadCommit("shorter than a commit's head")
    count, entries = _commit.unpack_from(data)
    if count > pages_max:
        raise BadCommit(f"{count} pages; at most {pages_max}")
    at = _commit.size
    numbers: list[int] = []
    last = 0
    for _ in range(entries):
        if at + _entry.size > len(data):
            raise BadCommit("an entry is cut short")
        number, _crc, kind, length = _entry.unpack_from(data, at)
        at += _entry.size
        if not last < number <= count:
            raise BadCommit("page numbers must ascend and be within the database")
        if at + length > len(data):
            raise BadCommit("an entry's data is cut short")
        if kind == WHOLE:
            if length != _PAGE:
                raise BadCommit("a whole page of another size")
        elif kind in (SPANS, SPANS_OVER_ZEROS):
            _validate_spans(data, at, at + length)
        else:
            raise BadCommit(f"no kind {kind}")
        at += length
        last = number
        numbers.append(number)
    if at != len(data):
        raise BadCommit("bytes after the last entry")
    return numbers


def _validate_spans(data: bytes, at: int, end: int) -> None:
    low = 0  # spans ascend and do not touch a byte twice, so their number is bounded too
    while at < end:
        if at + _span.size > end:
            raise BadCommit("a span is cut short")
        offset, length = _span.unpack_from(data, at)
        at += _span.size + length
        if offset < low or length == 0 or offset + length > _PAGE:
            raise BadCommit("spans must ascend and be within the page")
        low = offset + length
    if at != end:
        raise BadCommit("a span is longer than its entry")


def entries(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Page number, checksum of the result, kind and data of each entry of a validated commit."""
    _count, number_of_entries = _commit.unpack_from(data)
    at = _commit.size
    for _ in range(number_of_entries):
        number, crc, kind, length = _entry.unpack_from(data, at)
        at += _entry.size
        yield number, crc, kind, data[at : at + length]
        at += length


def patched(base: bytes | None, kind: int, data: bytes) -> bytes:
    """The page that one entry makes of `base`, unchecked; None counts as zero bytes."""
    if kind == WHOLE:
        return data
    return _patch((base if kind == SPANS else None) or _ZEROS, data, 0, len(data))


def apply(data: bytes, get_page: Callable[[int], bytes | None]) -> dict[int, bytes]:
    """The pages that a validated commit yields, each checked against its checksum.

    Args:
        data: bytes that `validate` accepted.
        get_page: the page of a number before the commit; None counts as zero bytes. Asked only where needed.

    Raises:
        PageMismatch: the pages under the commit are not those that it was made over.
    """
    _count, entries = _commit.unpack_from(data)
    at = _commit.size
    result: dict[int, bytes] = {}
    for _ in range(entries):
        number, crc, kind, length = _entry.unpack_from(data, at)
        at += _entry.size
        if kind == WHOLE:
            page = data[at : at + _PAGE]
        else:
            base = get_page(number) if kind == SPANS else None
            page = _patch(base or _ZEROS, data, at, at + length)
        at += length
        if zlib.crc32(page) != crc:
            raise PageMismatch(f"page {number} has another checksum than its commit says")
        result[number] = page
    return result


def _patch(base: bytes, data: bytes, at: int, end: int) -> bytes:
    page = bytearray(base)
    while at < end:
        offset, length = _span.unpack_from(data, at)
        at += _span.size
        page[offset : offset + length] = data[at : at + length]
        at += length
    return bytes(page)
