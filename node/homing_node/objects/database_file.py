"""Whether a file may be a database as objects have them: what its header says. Pure.

The format is that of https://sqlite.org/fileformat2.html, 1.3.
"""

from __future__ import annotations

import struct

from homing.errors import BadRequest
from homing_node.objects.images import PAGE_BYTES

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_ROLLBACK = (1, 1)  # the versions that write and read it; 2: with a write-ahead log beside it
_SIZES = struct.Struct(">HBB")  # of a page, and those versions; from byte 16 on
_U32 = struct.Struct(">I")
_COUNTED_AT, _PAGES_AT, _VALID_AT = 24, 28, 92


def check_header(file: bytes) -> None:
    """Look at the outside of a file; an empty one is an empty database.

    Raises:
        BadRequest: an object cannot have this database; the message says why.

    Example:
        >>> check_header(b"")
    """
    if not file:
        return
    if len(file) < _HEADER_BYTES or not file.startswith(_MAGIC):
        raise BadRequest("the file is no SQLite database")
    page_bytes, *versions = _SIZES.unpack_from(file, len(_MAGIC))
    if page_bytes != PAGE_BYTES:
        raise BadRequest(
            f"the database has pages of {page_bytes} bytes, and an object's have {PAGE_BYTES}: "
            f"PRAGMA page_size={PAGE_BYTES} and VACUUM INTO make such a file"
        )
    if tuple(versions) != _ROLLBACK:
        raise BadRequest("the database is in WAL mode: VACUUM INTO makes one that is not")
    counted, pages = (_U32.unpack_from(file, at)[0] for at in (_COUNTED_AT, _PAGES_AT))
    if len(file) % PAGE_BYTES or (counted == _U32.unpack_from(file, _VALID_AT)[0] and pages * PAGE_BYTES != len(file)):
        raise BadRequest(f"the file has {len(file)} bytes, and its header says that it has {pages} pages")
