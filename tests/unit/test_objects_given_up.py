"""Calls that nobody waits for any more: what has not begun does not begin, what runs goes on."""

from __future__ import annotations

from typing import Any

import pytest

from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node.calls import _Exchange  # a gateway's stream, without gRPC
from homing_node.objects.frames import GIVE_UP
from host_world import HostWorld, Worker

CLOSED = 3


def code(world: HostWorld, call: int) -> tuple[str, bool]:
    failure = world.replies[call].failure
    return failure.code, failure.started


NOT_BEGUN = ("unavailable", False)


def existing() -> HostWorld:
    """An object has written, and left memory; reading it takes its time."""
    world = HostWorld()
    world.call()
    event = world.event()
    world.turn(event, 1)
    world.host.on_frame(world.worker, [CLOSED, event[1], True])
    world.worker.sent.clear()
    world.hold_reads = True
    return world


def says_not_begun(world: HostWorld, event: tuple[Any, ...]) -> None:
    world.host.on_frame(world.worker, [GIVE_UP, event[1], event[2]])
    world.pump()


def test_a_call_that_waits_for_its_object_to_be_read_is_not_run() -> None:
    """Seen to fail when the node ignores what is given up: the object ran both."""
    world = existing()
    first, second = world.call(), world.call()
    world.give_up(second)
    assert code(world, second) == NOT_BEGUN
    world.held_reads.pop()()
    assert len(world.worker.frames(3)) == 1
    world.turn(world.event(), 1)
    assert world.replies[first].body == b"1"


def test_with_the_last_one_the_object_is_not_begun() -> None:
    """Seen to fail when what was read is used for nobody, and when it is used for who came later and reads anew."""
    world = existing()
    world.give_up(world.call())
    assert not world.host.runs(ObjectId.from_name("Counter", "a").raw)
    again = world.call()
    for read in world.held_reads:
        read()
    assert len(world.worker.frames(1)) == len(world.worker.frames(3)) == 1
    world.turn(world.event(), 1)
    assert world.replies[again].body == b"1"


def test_a_call_that_waits_for_the_next_activation_is_not_run() -> None:
    """Seen to fail when those that wait for a successor are not looked through."""
    world = HostWorld()
    world.call()
    event = world.event()
    world.turn(event, 1)
    act = world.host.objects[ObjectId.from_name("Counter", "a").raw]
    world.host.evictions.close(act)
    waits = world.call()
    world.give_up(waits)
    assert code(world, waits) == NOT_BEGUN
    world.host.on_frame(world.worker, [CLOSED, event[1], True])
    assert len(world.worker.frames(3)) == 1


def test_what_runs_goes_on_and_its_worker_is_asked_whether_it_does() -> None:
    world = HostWorld()
    call = world.call()
    event = world.event()
    world.give_up(call)
    assert world.worker.frames(GIVE_UP) == [(GIVE_UP, event[1], event[2])]
    assert call not in world.replies
    world.turn(event, 1)
    assert world.replies[call].body == b"1"
    world.give_up(call)
    says_not_begun(world, event)  # nothing is known of it any more
    assert len(world.worker.frames(GIVE_UP)) == 1
    assert not world.worker.killed


def test_one_of_which_a_turn_is_committed_has_begun() -> None:
    """Seen to fail when the worker is asked: it might say that what was only constructed for it has not begun."""
    world = HostWorld()
    call = world.call(key="k")
    event = world.event()
    world.turn(event, 1, ends=None)
    world.give_up(call)
    assert world.worker.frames(GIVE_UP) == []


def test_a_call_that_had_not_begun_leaves_no_trace_and_its_key_is_free() -> None:
    """Seen to fail when the end of such a call is recorded: who repeats it would never have it run."""
    world = HostWorld()
    call = world.call(key="k")
    event = world.event()
    world.give_up(call)
    before = world.core.replica(0).last_lsn
    says_not_begun(world, event)
    assert code(world, call) == NOT_BEGUN
    assert world.core.replica(0).last_lsn == before
    assert world.host.busy() == 0
    again = world.call(key="k")
    assert len(world.worker.frames(3)) == 2
    world.turn(world.event(), 1)
    assert world.replies[again].body == b"1"


def test_who_waits_for_the_same_runs_in_its_place() -> None:
    """Seen to fail when they are forgotten, or told what was told to nobody."""
    world = HostWorld()
    first, second, third = (world.call(key="k") for _ in range(3))
    event = world.event()
    world.give_up(first)
    says_not_begun(world, event)
    assert second not in world.replies
    assert len(world.worker.frames(3)) == 2
    world.turn(world.event(), 1)
    assert [world.replies[each].body for each in (second, third)] == [b"1", b"1"]


def test_who_waits_for_the_same_may_give_up_too() -> None:
    world = HostWorld()
    first, second = world.call(key="k"), world.call(key="k")
    world.give_up(second)
    assert code(world, second) == NOT_BEGUN
    world.turn(world.event(), 1)
    assert world.replies[first].body == b"1"


@pytest.mark.parametrize("given_up", [False, True])
def test_a_worker_that_says_so_of_another_call_breaks_the_protocol(given_up: bool) -> None:
    """Seen to fail when it is believed: it could have calls of others sent again that it has run."""
    world = HostWorld()
    call = world.call()
    event = world.event()
    if given_up:
        world.give_up(call)
        world.turn(event, 1, ends=None)
    says_not_begun(world, event)
    assert world.worker.killed
    assert call not in world.replies


def test_of_another_worker_it_means_nothing() -> None:
    world = HostWorld()
    call = world.call()
    event = world.event()
    world.give_up(call)
    stranger = Worker(9)
    world.host.on_frame(stranger, [GIVE_UP, event[1], event[2]])
    assert call not in world.replies
    assert not stranger.killed


async def test_the_pieces_of_a_body_that_will_not_come_whole_are_dropped() -> None:
    """Seen to fail when the node ignores what is given up: they stayed until there was no room for those of others."""
    world = HostWorld()
    gateway = _Exchange(world.host)
    call = wire.Call(
        id=7, slot=0, epoch=1, object=ObjectId.from_name("Counter", "a").raw, class_name="Counter",
        kind=wire.CALL_KIND_RPC, method="m", body=bytes(1_000), more=True,
    )  # fmt: skip
    gateway.on_batch(wire.CallBatch(calls=[call]))
    gateway.on_batch(wire.CallBatch(pieces=[wire.Piece(id=7, data=bytes(1_000))], cancels=[7, 8]))
    assert (gateway._partial, gateway._partial_bytes) == ({}, 0)
    assert [reply.id for reply in gateway._ready] == [7]
    assert world.worker.frames(3) == []


async def test_a_gateway_that_gives_up_is_heard_and_one_that_is_late_is_not() -> None:
    """Seen to fail when an exchange forgets its calls before they are answered, or keeps them for longer."""
    world = HostWorld()
    gateway = _Exchange(world.host)
    call = wire.Call(
        id=7, slot=0, epoch=1, object=ObjectId.from_name("Counter", "a").raw, class_name="Counter",
        kind=wire.CALL_KIND_RPC, method="m", body=b"{}",
    )  # fmt: skip
    gateway.on_batch(wire.CallBatch(calls=[call]))
    gateway.on_batch(wire.CallBatch(cancels=[7]))
    event = world.event()
    assert len(world.worker.frames(GIVE_UP)) == 1
    says_not_begun(world, event)
    assert [reply.id for reply in gateway._ready] == [7]
    assert not gateway._open
    gateway.on_batch(wire.CallBatch(cancels=[7]))
    assert len(world.worker.frames(GIVE_UP)) == 1
