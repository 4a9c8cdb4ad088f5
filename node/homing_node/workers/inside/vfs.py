"""SQLite's file system in memory: a database is a list of pages, and what a transaction wrote is known.

A `PageFile` holds the pages as separate buffers, so that a large database needs no large piece of memory, and keeps the
old contents of each page that was written since the last `take`. With the settings of `database.py` SQLite writes
pages only inside COMMIT, so that what is taken after COMMIT is the transaction, each page once.
"""

from __future__ import annotations

import os
import threading
from typing import Any, cast

import apsw

from homing.errors import CommitTooLarge
from homing_node.workers.inside import limits, pages
from homing_node.workers.inside.sqlite_types import Connection

_SHIFT = 10
_PAGE = limits.page_bytes
_MASK = _PAGE - 1
_ZEROS = bytes(_PAGE)

VFS_NAME = "homing-pages"


class PageFile:
    """One database file, and what was written to it since the last `take` or `restore`."""

    __slots__ = ("_count_before", "dirty", "pages")

    def __init__(self, content: list[bytes]) -> None:
        self.pages = content
        self.dirty: dict[int, bytes | None] = {}  # index of a written page: what it was, None where there was none
        self._count_before = len(content)

    # The methods that SQLite calls through apsw. Locks, syncs and hints mean nothing in memory.

    def xRead(self, amount: int, offset: int) -> bytes:
        """Part of a page; short at the end of the file."""
        at = offset >> _SHIFT
        if at >= len(self.pages):
            return b""
        if amount == _PAGE:
            return self.pages[at]
        low = offset & _MASK
        return self.pages[at][low : low + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        """One whole page: SQLite never writes a part of one to a main database."""
        at = offset >> _SHIFT
        content = self.pages
        dirty = self.dirty
        if at not in dirty:
            if len(dirty) >= limits.commit_pages_max:
                raise CommitTooLarge(f"one transaction may change {limits.commit_bytes_max} bytes of pages")
            # A hole is part of the commit too: the replica must know every page.
            while at > len(content):
                dirty[len(content)] = None
                content.append(_ZEROS)
            dirty[at] = content[at] if at < len(content) else None
        if at < len(content):
            content[at] = data
        else:
            content.append(data)

    def xTruncate(self, size: int) -> None:
        """Drop the pages above `size` bytes; they are remembered for `restore`."""
        count = size >> _SHIFT
        for at in range(count, len(self.pages)):
            self.dirty.setdefault(at, self.pages[at])
        del self.pages[count:]

    def xFileSize(self) -> int:
        """In bytes."""
        return len(self.pages) << _SHIFT

    def xSync(self, flags: int) -> None:
        """Durability is the node's."""

    def xLock(self, level: int) -> None:
        """There is one connection."""

    def xUnlock(self, level: int) -> None:
        """There is one connection."""

    def xCheckReservedLock(self) -> bool:
        """There is one connection."""
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        """No operation is known."""
        return False

    def xSectorSize(self) -> int:
        """0: SQLite takes its smallest. A larger one would write neighbouring pages too."""
        return 0

    def xDeviceCharacteristics(self) -> int:
        """A write is whole or not at all."""
        return apsw.SQLITE_IOCAP_ATOMIC

    def xClose(self) -> None:
        """The pages stay with whoever holds the file."""

    def take(self) -> bytes | None:
        """The commit bytes of what was written since the last time, or None where nothing changed."""
        dirty = self.dirty
        content = self.pages
        count = len(content)
        if len(dirty) == 1:
            ((at, old),) = dirty.items()
            changes = [(at + 1, old, content[at])] if at < count else []
        else:
            changes = [(at + 1, dirty[at], content[at]) for at in sorted(dirty) if at < count]
        data = pages.encode(count, changes)
        unchanged = len(data) == pages.EMPTY_COMMIT_BYTES and count == self._count_before
        dirty.clear()
        self._count_before = count
        return None if unchanged else data

    def restore(self) -> None:
        """Make the pages what they were at the last `take`."""
        for at in sorted(self.dirty):
            old = self.dirty[at]
            if old is None:
                continue
            if at < len(self.pages):
                self.pages[at] = old
            else:
                self.pages.append(old)
        del self.pages[self._count_before :]
        self.dirty.clear()


class _PageVfs(apsw.VFS):
    """Opens the one file that its thread is about to open, and no other."""

    def __init__(self) -> None:
        self.next = threading.local()  # `file`: that one
        super().__init__(VFS_NAME, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        file: PageFile | None = getattr(self.next, "file", None)
        self.next.file = None
        if file is None:  # a temporary file or a journal: the settings should have kept it in memory
            raise apsw.CantOpenError("no other file can be opened")
        flags[1] = flags[0]
        return file

    def xAccess(self, pathname: str, flags: int) -> bool:
        return False

    def xDelete(self, filename: str, syncdir: bool) -> None:
        return None

    def xFullPathname(self, name: str) -> str:
        return name


class _SeedVfs(apsw.VFS):
    """SQLite seeds its random numbers from the default VFS; this one asks the kernel."""

    def __init__(self) -> None:
        super().__init__("homing-seed", "", makedefault=True)

    def xRandomness(self, numbytes: int) -> bytes:
        return os.getrandom(numbytes)


def seed_randomness() -> None:
    """Seed SQLite's random numbers from the kernel. Without /dev/urandom it would take the time and the pid,
    and the pid is the same in every jail. Call it at start, and again after a fork.
    """
    vfs = _SeedVfs()
    apsw.randomness(0)  # forget the old seed
    apsw.randomness(1)
    vfs.unregister()


def configure_process() -> None:
    """Settings of SQLite as a whole; call it once, before the first database is opened.

    Without lookaside memory an open database costs a third of what it would.
    """
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_LOOKASIDE, 0, 0)
    apsw.initialize()
    seed_randomness()


_vfs = _PageVfs()


def connect(file: PageFile) -> Connection:
    """A connection whose database is `file`."""
    _vfs.next.file = file
    connection = apsw.Connection("pages", vfs=VFS_NAME, statementcachesize=limits.statement_cache_entries)
    return cast("Connection", connection)
