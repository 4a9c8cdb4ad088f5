"""Errors that come in groups, because the tasks that raised them did.

`except*` is not used for them: until Python 3.11.4 what is raised inside it comes out in a group again
(python/cpython#103590), and Debian 12 has 3.11.2.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def only(group: BaseExceptionGroup[BaseException], kind: type[E]) -> E | None:
    """The first error in a group, however deep, if all that is in it is of one kind; else None."""
    found, others = group.split(kind)
    if found is None or others is not None:
        return None
    error: BaseException = found
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - of any type
    assert isinstance(error, kind)
    return error
