"""How many dynamic workers may have calls in flight."""

from __future__ import annotations

import pytest

from homing.errors import Overloaded
from homing_node.sandboxes import limits
from homing_node.sandboxes.bounds import Bounds, Group


@pytest.mark.parametrize(("group", "most"), [(Group(5), 10), (Group(-5, 3), 4), (Group(-5), 4)])
def test_so_many_distinct_workers_have_calls(group: Group, most: int) -> None:
    bounds = Bounds()
    for number in range(most):
        bounds.begin(group, f"w{number}")
    bounds.begin(group, "w0")  # another call of the same worker is no other worker
    with pytest.raises(Overloaded) as caught:
        bounds.begin(group, "one more")
    assert caught.value.cause == "workers"
    bounds.end(group, "w0")
    with pytest.raises(Overloaded):
        bounds.begin(group, "one more")  # w0 has a call yet
    bounds.end(group, "w0")
    bounds.begin(group, "one more")


def test_requests_and_owners_are_counted_by_themselves() -> None:
    bounds = Bounds()
    for request in (1, 2, 3):
        for key in "abcd":
            bounds.begin(Group(-1, request), key)
    bounds.begin(Group(-2, 1), "e")
    assert bounds.in_flight(-1, "a") == 3


def test_one_worker_has_so_many_calls() -> None:
    """Broken by: a call that was refused and counted."""
    bounds = Bounds()
    for request in range(limits.loaded_calls_max):
        bounds.begin(Group(-1, request), "a")
    for _ in range(2):
        with pytest.raises(Overloaded) as caught:
            bounds.begin(Group(-1, 1_000), "a")
        assert caught.value.cause == "calls"
    for request in range(limits.loaded_calls_max):
        bounds.end(Group(-1, request), "a")
    assert bounds.in_flight(-1, "a") == 0
    assert not any(vars(bounds).values())  # nothing is kept of what is over
