"""Questions to a database without its object: an operator's query, and whether a file that is brought in is sound.

The pages come as those of an activation do, but no object is made of them; a thread answers, so that the objects of the
worker go on meanwhile. So SQLite parses what an application wrote, or anybody sent, in the jail and nowhere else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from homing.errors import StorageError
from homing.values import to_json
from homing_node.workers.inside import alarms, database, facet_pages, failures, limits
from homing_node.workers.inside.authorizer import HIDDEN_PREFIX, Reader
from homing_node.workers.inside.channel import SEEN
from homing_node.workers.inside.database import Database

_OWN_TABLES = {
    database.KV_CREATE, alarms.CREATE, alarms.CREATE_SCHEDULES, facet_pages.CREATE, facet_pages.CREATE_PAGES,
}  # fmt: skip
_OWN = "SELECT sql FROM sqlite_schema WHERE lower(substr(name, 1, 8)) = ?1 OR lower(substr(tbl_name, 1, 8)) = ?1"


class _Looked(Database):
    """A database that can only be read, and not for long."""

    __slots__ = ()

    def __init__(self, content: list[bytes], until_s: float) -> None:
        super().__init__(content, lambda: None)
        self.run_own("PRAGMA query_only=on", ())
        self._guard = Reader()
        self._connection.authorizer = self._guard
        self._connection.set_progress_handler(lambda: time.monotonic() > until_s, limits.look_steps)

    def query(self, query: str) -> bytes:
        """The columns and rows of a query, as JSON.

        Raises:
            StorageError: it is no query, takes too long, or its answer is too large.
            ValueError: a value that JSON does not have.
        """
        cursor = self.execute(query, ())
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in cursor.raw():
            size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
            if size > limits.look_bytes_max:
                raise StorageError(f"the rows have over {limits.look_bytes_max} bytes: ask for fewer, with LIMIT")
            rows.append(row)
        return to_json({"columns": cursor.column_names, "rows": rows})

    def check(self) -> int:
        """When the earliest of its alarms rings, in milliseconds since 1970; 0: none does.

        Raises:
            StorageError: it is not one that an object can have.
        """
        for (said,) in self.run_own("PRAGMA integrity_check(1)", ()).fetchall():
            if said != "ok":
                raise StorageError(f"the database is damaged: {said}")
        if not {sql for (sql,) in self.run_own(_OWN, (HIDDEN_PREFIX,)).fetchall()} <= _OWN_TABLES:
            raise StorageError(
                f"names that begin with {HIDDEN_PREFIX} are the runtime's, and these are not as it has them"
            )
        return alarms.earliest_ms(self)


class _Coming:
    """A database whose pages are on their way, and what is asked of it."""

    __slots__ = ("content", "page_count", "query")

    def __init__(self, page_count: int, query: str | None) -> None:
        self.page_count = page_count
        self.query = query
        self.content: list[bytes] = []


class Looks:
    """The questions of one worker.

    Args:
        send: sends a frame; called in any thread.
    """

    def __init__(self, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._send = send
        self._coming: dict[int, _Coming] = {}

    def ask(self, number: int, page_count: int, query: str | None) -> None:
        """Take a question; without a query it is whether an object can have the database.

        Raises:
            ValueError: it cannot be asked.
        """
        if number in self._coming or not 0 <= page_count <= limits.pages_max:
            raise ValueError("a question that cannot be asked")
        self._coming[number] = _Coming(page_count, query)
        self.add_pages(number, b"")

    def add_pages(self, number: int, data: bytes) -> None:
        """Take the next pages; the answer follows the last.

        Raises:
            KeyError: nobody asked.
            ValueError: they are more than were announced, or not whole.
        """
        coming, page = self._coming[number], limits.page_bytes
        coming.content.extend(data[at : at + page] for at in range(0, len(data), page))
        if len(data) % page or len(coming.content) > coming.page_count:
            raise ValueError("pages that were not announced")
        if len(coming.content) < coming.page_count:
            return
        del self._coming[number]
        try:
            threading.Thread(target=self._answer, args=(number, coming), name="look", daemon=True).start()
        except RuntimeError as error:  # object code has taken all threads
            self._send((SEEN, number, False, failures.message_of(error)))

    def _answer(self, number: int, coming: _Coming) -> None:
        until_s = time.monotonic() + limits.look_s_max
        try:
            looked = _Looked(coming.content, until_s)
            try:
                answer = looked.check() if coming.query is None else looked.query(coming.query)
            finally:
                looked.close()
        except Exception as error:  # whatever it is, it is the answer: nobody else hears of it
            late = time.monotonic() > until_s
            said = f"it takes longer than {limits.look_s_max:g} s" if late else failures.message_of(error)
            self._send((SEEN, number, False, said))
        else:
            self._send((SEEN, number, True, answer))
