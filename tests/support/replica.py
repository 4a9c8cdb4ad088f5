"""What a replica does with the commits of a database: it applies them, and can be compared with the original."""

from typing import Any

from homing.storage import Kv, Sql
from homing_node.workers.inside import pages
from homing_node.workers.inside.database import Database


class Replica:
    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.commits = 0

    def apply(self, commit: bytes | None) -> None:
        if commit is None:
            return
        numbers = pages.validate(commit)
        applied = pages.apply(commit, self.pages.get)
        assert list(numbers) == sorted(applied)
        self.pages.update(applied)
        count = pages.page_count(commit)
        self.pages = {number: page for number, page in self.pages.items() if number <= count}
        assert sorted(self.pages) == list(range(1, count + 1)), "a page is missing"
        self.commits += 1

    def content(self) -> list[bytes]:
        return [self.pages[number] for number in sorted(self.pages)]


class Checked:
    """A database whose every commit goes to a replica, which must then hold the same pages."""

    def __init__(self, content: list[bytes] | None = None) -> None:
        self.replica = Replica()
        self.replica.pages = dict(enumerate(content or [], 1))
        self.begun = 0
        self.database = Database(list(content or []), self._on_begin)

    def _on_begin(self) -> None:
        self.begun += 1

    def commit(self) -> bytes | None:
        commit = self.database.commit()
        self.replica.apply(commit)
        assert self.replica.content() == self.database.file.pages
        return commit

    def reopened(self) -> Database:
        """The database as a successor of the activation would open it."""
        return Database(self.replica.content(), lambda: None)

    def check(self) -> None:
        """SQLite itself finds the replica's pages sound."""
        successor = self.reopened()
        rows = successor.execute("PRAGMA integrity_check", ()).to_array()
        assert [list(row.values()) for row in rows] in ([["ok"]], []), rows
        successor.close()


class Store(Checked):
    """The same with the API that object code uses."""

    def __init__(self, content: list[bytes] | None = None) -> None:
        super().__init__(content)
        self.sql = Sql(self.database)
        self.kv = Kv(self.database)

    def rows(self, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
        return list(self.sql.exec(query, *bindings).raw())
