"""Errors that come in groups, because the tasks that raised them did."""

from __future__ import annotations

from homing.errors import HomingError


def first_error(group: BaseExceptionGroup[HomingError]) -> HomingError:
    """The first error in a group, however deep."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - of any type
    assert isinstance(found, HomingError)
    return found
