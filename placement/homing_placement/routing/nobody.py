"""Why nobody can be asked for an object. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from homing.errors import HomingError, JurisdictionUnavailable, Unavailable
from homing.locations import Jurisdiction
from homing_placement.records import NodeRecord
from homing_placement.routing.limits import RETRY_AFTER_S_DEFAULT


def nobody(bound_by: Jurisdiction | None, nodes: Iterable[NodeRecord], may_live: Callable[[str], bool]) -> Unavailable:
    """The error for an object whose slot has no owner that can be reached.

    Args:
        bound_by: its jurisdiction, if it has one.
        nodes: all that are registered.
        may_live: whether a node is not known to be out of reach.
    """
    if bound_by is not None and not any(node.zone in bound_by.zones and may_live(node.id) for node in nodes):
        return JurisdictionUnavailable(
            f"no node in {', '.join(bound_by.zones)} can be reached, where objects of the jurisdiction "
            f"{bound_by.name} are bound to live",
            retry_after_s=RETRY_AFTER_S_DEFAULT,
        )
    return Unavailable("the object has no owner that can be reached at the moment", retry_after_s=RETRY_AFTER_S_DEFAULT)


def gave_up(nobody_there: Unavailable, why: HomingError | None) -> HomingError:
    """The error of a call that nobody took for too long: what it failed with last, unless it had nowhere to go."""
    error = nobody_there if why is None or isinstance(nobody_there, JurisdictionUnavailable) else why
    if error.retry_after_s is None and error.http_status == Unavailable.http_status:
        error.retry_after_s = RETRY_AFTER_S_DEFAULT
    return error
