"""What an object's own SQL may do.

The capture of a transaction's pages stands on settings that SQL could change, and on every transaction being the
runtime's. So this is an allowlist: other databases, temporary tables, transaction statements, every PRAGMA not named
here, virtual tables of unknown modules and the runtime's own tables are refused.
"""

from __future__ import annotations

import apsw

HIDDEN_PREFIX = "_homing_"

_ACTIONS = frozenset(
    (
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_ANALYZE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_VIEW,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_TRIGGER,
        apsw.SQLITE_DROP_VIEW,
        apsw.SQLITE_DROP_VTABLE,
        apsw.SQLITE_INSERT,
        apsw.SQLITE_READ,
        apsw.SQLITE_RECURSIVE,
        apsw.SQLITE_REINDEX,
        apsw.SQLITE_SELECT,
        apsw.SQLITE_UPDATE,
    )
)
_READS = frozenset((apsw.SQLITE_FUNCTION, apsw.SQLITE_PRAGMA, apsw.SQLITE_RECURSIVE, apsw.SQLITE_SELECT))
_MODULES = frozenset(("fts5", "fts5vocab", "rtree", "rtree_i32", "geopoly"))
_FUNCTIONS_REFUSED = frozenset(("load_extension", "fts3_tokenizer"))

# May be read; with an argument it is refused.
_PRAGMAS_READ = frozenset(
    (
        "application_id",
        "compile_options",
        "data_version",
        "encoding",
        "foreign_keys",
        "freelist_count",
        "function_list",
        "max_page_count",
        "module_list",
        "page_count",
        "page_size",
        "pragma_list",
        "schema_version",
        "user_version",
    )
)
# The argument is a name or a number of results, or sets what concerns this connection's rules only.
_PRAGMAS_ARGUMENT = frozenset(
    (
        "defer_foreign_keys",
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "legacy_alter_table",
        "optimize",
        "quick_check",
        "recursive_triggers",
        "reverse_unordered_selects",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    )
)


# What they tell of a schema, whoever may only read it may know.
_PRAGMAS_OF_READERS = frozenset(
    ("foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_list", "table_xinfo")
)
_READS_OF_READERS = frozenset(
    (apsw.SQLITE_FUNCTION, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE, apsw.SQLITE_SELECT)
)  # fmt: skip


def _is_hidden(name: str | None) -> bool:
    return name is not None and name[: len(HIDDEN_PREFIX)].lower() == HIDDEN_PREFIX


def allows(action: int, first: str | None, second: str | None, database: str | None) -> bool:
    """Whether an object's SQL may contain this action; the arguments are SQLite's.

    Example:
        >>> allows(apsw.SQLITE_PRAGMA, "journal_mode", "off", None)
        False
    """
    if action == apsw.SQLITE_PRAGMA:
        name = (first or "").lower()
        allowed = name in _PRAGMAS_READ if second is None else name in _PRAGMAS_ARGUMENT
        return (allowed or (second is None and name in _PRAGMAS_ARGUMENT)) and not _is_hidden(second)
    if action == apsw.SQLITE_FUNCTION:
        return (second or "").lower() not in _FUNCTIONS_REFUSED
    if action == apsw.SQLITE_CREATE_VTABLE:
        return (second or "").lower() in _MODULES and not _is_hidden(first)
    if database == "temp":
        # ALTER TABLE looks there for what refers to the table; SQLite itself refuses to modify it directly.
        return first == "sqlite_temp_master" and action in (apsw.SQLITE_READ, apsw.SQLITE_UPDATE)
    if action not in _ACTIONS:
        return False
    return not _is_hidden(first) and not (_is_hidden(second) and action != apsw.SQLITE_READ)


def reads(action: int, first: str | None, second: str | None, database: str | None) -> bool:
    """Whether SQL that may change nothing may contain this action; the arguments are SQLite's.

    Example:
        >>> reads(apsw.SQLITE_READ, "guests", "name", "main"), reads(apsw.SQLITE_DELETE, "guests", None, "main")
        (True, False)
    """
    if action == apsw.SQLITE_PRAGMA:
        return (first or "").lower() in _PRAGMAS_OF_READERS and not _is_hidden(second)
    return action in _READS_OF_READERS and allows(action, first, second, database)


class Guard:
    """The authorizer of one connection: it checks while `user` is set and lets the runtime's own statements pass.

    Attributes:
        user: the statement that is prepared is an object's.
        reading: and may change nothing.
    """

    __slots__ = ("reading", "user")

    def __init__(self) -> None:
        self.user = self.reading = False

    def __call__(self, action: int, first: str | None, second: str | None, database: str | None, by: str | None) -> int:
        """Called by SQLite when a statement is prepared."""
        if self.user and self.reading:
            return apsw.SQLITE_OK if reads(action, first, second, database) else apsw.SQLITE_DENY
        if not self.user or allows(action, first, second, database):
            return apsw.SQLITE_OK
        # A plain ANALYZE goes over every table; it passes over the runtime's own instead of failing.
        return apsw.SQLITE_IGNORE if action == apsw.SQLITE_ANALYZE else apsw.SQLITE_DENY


class Reader(Guard):
    """The authorizer of one who may look at everything, the runtime's own tables too, and change nothing."""

    __slots__ = ()

    def __call__(self, action: int, first: str | None, second: str | None, database: str | None, by: str | None) -> int:
        """Called by SQLite when a statement is prepared."""
        reads = action == apsw.SQLITE_READ or (action in _READS and allows(action, first, second, database))
        return apsw.SQLITE_OK if reads or not self.user else apsw.SQLITE_DENY
