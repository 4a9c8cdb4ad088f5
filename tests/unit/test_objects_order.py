"""Calls of one caller to one object arrive in order, whatever is refused, sent again, or given up on the way."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.order import CallOrder
from homing_placement.routing.pending import Lane, Pending


def call(order: int, before: int = 0, oldest: int = 1, lane: bytes = b"lane") -> wire.Call:
    return wire.Call(lane=lane, order=order, before=before, oldest=oldest)


def test_what_comes_behind_a_refused_call_is_refused() -> None:
    """Seen to fail when a refusal is forgotten: the third would run before the second."""
    order = CallOrder()
    assert order.admits(call(1))
    order.refuse(call(2, 1))
    assert not order.admits(call(3, 2))
    assert order.admits(call(9, 8, lane=b"another"))
    assert order.admits(call(2, oldest=2))
    assert order.admits(call(3, 2))


def test_each_that_was_refused_counts_not_only_the_first() -> None:
    """Their caller hears of one after the other. Seen to fail when only the lowest is known: 4 ran before 3."""
    order = CallOrder()
    for number in (2, 3):
        order.refuse(call(number, number - 1))
    assert order.admits(call(2, 1))
    assert not order.admits(call(4, 3))


def test_what_its_caller_has_given_up_is_not_waited_for() -> None:
    """Seen to fail when a refusal holds until the call comes again: the lane would stand still."""
    order = CallOrder()
    order.refuse(call(2, 1))
    assert order.admits(call(3, 1)), "the first has no answer yet"
    assert order.admits(call(4, 3))


def test_calls_of_clients_have_no_order() -> None:
    order = CallOrder()
    order.refuse(wire.Call())
    assert order.admits(wire.Call())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "refused_lanes_max", 2)
    order = CallOrder()
    for name in (b"a", b"b", b"c"):
        order.refuse(call(1, lane=name))
    assert order.admits(call(2, 1, lane=b"a"))
    assert not order.admits(call(2, 1, lane=b"c"))
    monkeypatch.setattr(limits, "outgoing_calls_max", 2)
    for number in (2, 3):
        order.refuse(call(number, lane=b"c"))
    assert order.admits(call(2, 1, lane=b"c"))


class World:
    """One caller, two nodes of which one serves the object; frames take time, both ways, and come in their order."""

    def __init__(self) -> None:
        self.lane = Lane(b"lane")
        self.links: tuple[list[tuple[Pending, wire.Call]], ...] = ([], [])
        self.replies: tuple[list[tuple[Pending, bool]], ...] = ([], [])  # a call, and whether it ran
        self.running: list[tuple[int, Pending]] = []  # and the node where
        self.orders = (CallOrder(), CallOrder())
        self.waiting: list[Pending] = []
        self.ran: list[int] = []
        self.given_up: set[int] = set()
        self.made = 0

    def make(self) -> None:
        self.made += 1
        pending = Pending(5, "C", "", b"", 0, "m", b"", "", 0.0, 0, cast("Any", None))
        pending.lane, pending.order = self.lane, self.made
        self.lane.calls[self.made] = pending
        self.waiting.append(pending)

    def send(self, to: int, at: int) -> None:
        """Some call that waits is tried on a link."""
        if not self.waiting:
            return
        at %= len(self.waiting)
        link = self.links[to]
        if self.lane.admits(self.waiting[at], cast("Any", link)):
            pending = self.waiting.pop(at)
            pending.link = cast("Any", link)
            link.append((pending, call(pending.order, pending.before, min(self.lane.calls))))

    def give_up(self, at: int) -> None:
        """Nobody waits for some call any more that is on no link."""
        if self.waiting:
            number = self.waiting.pop(at % len(self.waiting)).order
            self.given_up.add(number)
            del self.lane.calls[number]

    def arrive(self, at: int, *, serves: bool) -> None:
        """The first on a link comes to its node, which runs it or refuses it."""
        if not self.links[at]:
            return
        pending, m = self.links[at].pop(0)
        if serves and self.orders[at].admits(m):
            self.ran.append(pending.order)
            self.running.append((at, pending))
        else:
            self.orders[at].refuse(m)
            self.replies[at].append((pending, False))

    def end(self, which: int) -> None:
        """Some call that runs comes to its end."""
        if self.running:
            at, pending = self.running.pop(which % len(self.running))
            self.replies[at].append((pending, True))

    def hear(self, at: int) -> None:
        """The caller hears the next reply of a node."""
        if not self.replies[at]:
            return
        pending, ran = self.replies[at].pop(0)
        pending.link = None
        if ran:
            del self.lane.calls[pending.order]
        else:
            self.waiting.append(pending)


STEPS: list[Callable[[World, Random], None]] = [
    *[lambda world, _: world.make()] * 2,
    *[lambda world, random: world.send(0, random.randrange(4))] * 4,
    *[lambda world, _: world.arrive(0, serves=True)] * 3,
    *[lambda world, _: world.hear(0)] * 2,
    lambda world, random: world.send(1, random.randrange(4)),
    lambda world, _: world.arrive(0, serves=False),
    lambda world, random: world.arrive(1, serves=random.random() < 0.5),
    lambda world, _: world.hear(1),
    lambda world, random: world.end(random.randrange(4)),
    lambda world, random: world.give_up(random.randrange(4)),
]


@pytest.mark.parametrize("part", range(4))
def test_whatever_is_refused_and_wherever_it_goes_they_run_in_order(part: int) -> None:
    """Seen to fail without either half: without `Lane.admits`, and without `CallOrder.admits`.

    And when a node knows of a lane only the lowest that it refused.
    """
    for seed in range(part, 1_000, 4):
        random, world = Random(seed), World()
        for _ in range(random.randrange(120)):
            random.choice(STEPS)(world, random)
        assert world.ran == sorted(world.ran), seed
        for turn in range(20 * world.made + 20):  # and none stands still
            for node in (0, 1):
                world.arrive(node, serves=node == 0)
                world.hear(node)
            world.end(turn)
            for at in range(len(world.waiting)):
                world.send(0, at)
        assert world.ran == [number for number in range(1, world.made + 1) if number not in world.given_up], seed


def test_a_call_goes_only_where_those_before_it_are() -> None:
    """To another node, or before one that waits, it would overtake. Seen to fail without either."""
    lane = Lane(b"lane")
    calls: list[Pending] = []
    for number in (1, 2):
        pending = Pending(5, "C", "", b"", 0, "m", b"", "", 0.0, 0, cast("Any", None))
        lane.calls[number] = pending
        calls.append(pending)
    one, two = cast("Any", object()), cast("Any", object())
    assert not lane.admits(calls[1], one)
    assert lane.admits(calls[0], one)
    calls[0].link = one
    assert lane.admits(calls[1], one)
    assert not lane.admits(calls[1], two)
    calls[0].in_pieces = True
    assert not lane.admits(calls[1], one), "a short one would be there before the last piece of a long one"
