"""Quotas: who may begin, who waits, who is refused. Times are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing.errors import Overloaded
from homing_node.sandboxes.admission import Admission, Quotas


def test_a_tenant_has_so_many_at_one_time_and_the_next_waits():
    admission = Admission(Quotas(running=2))
    assert [admission.ask("ada", ticket, 0.0) for ticket in (1, 2, 3)] == [True, True, False]
    assert admission.due(0.0) == []
    admission.ended("ada")
    assert admission.due(0.0) == [3]
    assert admission.running == 2


def test_the_queue_is_bounded_and_says_why():
    admission = Admission(Quotas(running=1, waiting=1))
    admission.ask("ada", 1, 0.0)
    admission.ask("ada", 2, 0.0)
    with pytest.raises(Overloaded) as refused:
        admission.ask("ada", 3, 0.0)
    assert refused.value.cause == "sandboxes"
    assert refused.value.retry_after_s == 1.0
    assert admission.ask("bob", 4, 0.0), "another tenant has room of its own"


def test_starts_are_counted_by_a_bucket_that_fills():
    admission = Admission(Quotas(starts_per_s=10))
    begun = [admission.ask("ada", ticket, 0.0) for ticket in range(12)]
    assert begun == [True] * 10 + [False] * 2
    assert admission.due(0.05) == []
    assert admission.due(0.15) == [10]
    assert admission.due(5.0) == [11]


def test_who_waits_is_not_passed_by_who_comes():
    admission = Admission(Quotas(running=1))
    admission.ask("ada", 1, 0.0)
    admission.ask("ada", 2, 0.0)
    admission.ended("ada")
    assert not admission.ask("ada", 3, 0.0)
    assert admission.due(0.0) == [2]


def test_tenants_are_served_in_turn():
    admission = Admission(Quotas(running=9, all_running=1))
    admission.ask("ada", 1, 0.0)
    for ticket in (2, 3):
        admission.ask("ada", ticket, 0.0)
    admission.ask("bob", 4, 0.0)
    served: list[int] = []
    for name in ("ada", "ada", "bob"):
        admission.ended(name)
        found = admission.due(0.0)
        served += found
    assert served == [2, 4, 3] or served == [4, 2, 3], served


def test_who_gives_up_leaves_the_queue():
    admission = Admission(Quotas(running=1))
    admission.ask("ada", 1, 0.0)
    admission.ask("ada", 2, 0.0)
    admission.withdraw("ada", 2)
    admission.ended("ada")
    assert admission.due(0.0) == []
    assert admission.waiting == 0


def test_idle_tenants_are_forgotten_and_busy_ones_are_not():
    admission = Admission(Quotas())
    admission.ask("ada", 1, 0.0)
    admission.ask("bob", 2, 0.0)
    admission.ended("ada")
    admission.forget_idle(100.0)
    admission.ended("bob")
    with pytest.raises(KeyError):
        admission.ended("ada")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "end", "tick"])), max_size=80))
def test_never_more_than_the_quotas_and_nobody_is_lost(steps: list[tuple[str, str]]):
    """Invariant: seen to fail when `due` does not count what it lets in."""
    quotas = Quotas(running=2, starts_per_s=5, waiting=3, all_running=4)
    admission = Admission(quotas)
    running: dict[int, str] = {}
    waiting: dict[int, str] = {}
    now_s = 0.0
    for ticket, (name, step) in enumerate(steps):
        if step == "ask":
            try:
                (running if admission.ask(name, ticket, now_s) else waiting)[ticket] = name
            except Overloaded:
                assert list(waiting.values()).count(name) == quotas.waiting
        elif step == "end" and name in running.values():
            admission.ended(running.pop(next(each for each, whose in running.items() if whose == name)))
        else:
            now_s += 0.1
        for each in admission.due(now_s):
            running[each] = waiting.pop(each)
        assert admission.running == len(running) <= quotas.all_running
        assert admission.waiting == len(waiting)
        for tenant in "abc":
            assert list(running.values()).count(tenant) <= quotas.running
