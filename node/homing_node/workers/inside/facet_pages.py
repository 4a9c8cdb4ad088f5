"""What an object's facets have stored: the pages of each one's database are rows of a table in the object's own.

So a facet shares every fate of its object's data: it is committed with what the object wrote in the same turn, and is
in its backups, moves and deletion. A facet's facets are rows in its own database, which are pages of its object's.
"""

from __future__ import annotations

from typing import cast

from homing.errors import NotFound, StorageError
from homing_node.workers.inside import limits, pages
from homing_node.workers.inside.database import Database

_EXISTS = "SELECT 1 FROM sqlite_schema WHERE name = '_homing_facets'"
CREATE = (
    "CREATE TABLE _homing_facets(name TEXT PRIMARY KEY, number INTEGER NOT NULL, pages INTEGER NOT NULL) WITHOUT ROWID"
)
CREATE_PAGES = "CREATE TABLE _homing_facet_pages(place INTEGER PRIMARY KEY, data BLOB NOT NULL)"
_FIND = "SELECT number, pages FROM _homing_facets WHERE name = ?"
_LIST = "SELECT name FROM _homing_facets ORDER BY name"
_ADD = "INSERT INTO _homing_facets SELECT ?, coalesce(max(number), 0) + 1, ? FROM _homing_facets RETURNING number"
_RESIZE = "UPDATE _homing_facets SET pages = ?2 WHERE name = ?1"
_FORGET = "DELETE FROM _homing_facets WHERE name = ?"
_PAGES = "SELECT data FROM _homing_facet_pages WHERE place > ?1 AND place <= ?1 + ?2 ORDER BY place"
_PAGE = "SELECT data FROM _homing_facet_pages WHERE place = ?"
_PUT = "INSERT INTO _homing_facet_pages VALUES (?1, ?2) ON CONFLICT DO UPDATE SET data = excluded.data"
_CUT = "DELETE FROM _homing_facet_pages WHERE place > ?1 AND place <= ?2"
_COPY = (
    "INSERT INTO _homing_facet_pages "
    "SELECT place - ?1 + ?2, data FROM _homing_facet_pages WHERE place > ?1 AND place <= ?3"
)

_SHIFT = 20  # of a facet's number, in the place of a page; more bits than pages_max has


class FacetPages:
    """The stored facets of one object.

    Args:
        database: of the object.
    """

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def _exist(self) -> bool:
        return self._database.run_own(_EXISTS, ()).fetchone() is not None

    def find(self, name: str) -> tuple[int, int] | None:
        """The number of a facet, and how many pages it has; None: it has stored nothing."""
        if not self._exist():
            return None
        return cast("tuple[int, int] | None", self._database.run_own(_FIND, (name,)).fetchone())

    def names(self) -> list[str]:
        """Of all facets that have stored something, sorted."""
        rows = self._database.run_own(_LIST, ()).fetchall() if self._exist() else ()
        return [cast("str", name) for (name,) in rows]

    def read(self, name: str) -> tuple[int, list[bytes]]:
        """The number of a facet, 0 if it has stored nothing, and its pages.

        Raises:
            StorageError: some are missing.
        """
        found = self.find(name)
        if found is None:
            return 0, []
        number, count = found
        rows = self._database.run_own(_PAGES, (number << _SHIFT, count)).fetchall()
        if len(rows) != count:
            raise StorageError(f"the facet {name!r} has {len(rows)} of its {count} pages")
        return number, [cast("bytes", data) for (data,) in rows]

    def write(self, name: str, number: int, commit: bytes) -> int:
        """Keep what a transaction of a facet changed, in this turn's transaction.

        Args:
            name: of the facet.
            number: of it, or 0: it has stored nothing so far.
            commit: bytes in the encoding of `pages`.

        Returns:
            Its number.

        Raises:
            BadCommit, PageMismatch: it is no commit over the pages that are there.
            StorageError: the facet was deleted meanwhile, or the object's database is full.
        """
        pages.validate(commit, limits.pages_max)
        database = self._database
        database.begin()
        found = self.find(name)
        if (found[0] if found is not None else 0) != number:
            raise StorageError(f"the facet {name!r} was deleted")
        count = pages.page_count(commit)
        if found is None:
            number = self._add(name, count)
        place = number << _SHIFT

        def page(at: int) -> bytes | None:
            row = database.run_own(_PAGE, (place + at,)).fetchone()
            return None if row is None else cast("bytes", row[0])

        for at, data in pages.apply(commit, page).items():
            database.run_own(_PUT, (place + at, data))
        if found is not None and found[1] != count:
            database.run_own(_RESIZE, (name, count))
            database.run_own(_CUT, (place + count, place + found[1]))
        return number

    def delete(self, name: str) -> None:
        """Forget a facet, in this turn's transaction."""
        found = self.find(name)
        if found is not None:
            number, count = found
            self._database.begin()
            self._database.run_own(_FORGET, (name,))
            self._database.run_own(_CUT, (number << _SHIFT, (number << _SHIFT) + count))

    def clone(self, source: str, target: str) -> None:
        """Give a facet what another has stored, in this turn's transaction.

        Raises:
            NotFound: the source has stored nothing.
        """
        found = self.find(source)
        if found is None:
            raise NotFound(f"the facet {source!r} has stored nothing")
        self._database.begin()
        self.delete(target)
        number, count = found
        place = number << _SHIFT
        self._database.run_own(_COPY, (place, self._add(target, count) << _SHIFT, place + count))

    def _add(self, name: str, count: int) -> int:
        database = self._database
        if not self._exist():
            database.run_own(CREATE, ())
            database.run_own(CREATE_PAGES, ())
        row = database.run_own(_ADD, (name, count)).fetchall()[0]
        return cast("int", row[0])
