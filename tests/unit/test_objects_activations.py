"""At most one activation of an object has an effect (rule 25), half by half, over a real log core."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from homing.errors import Unavailable
from homing.ids import ObjectId
from homing_node.objects import limits
from homing_node.objects.limits import HostLimits
from homing_node.workers.inside import pages
from homing_node.workers.inside.sockets import LIVE
from host_world import HostWorld, Worker


def code(world: HostWorld, call: int) -> str:
    return world.replies[call].failure.code


def last_lsn(world: HostWorld) -> int:
    return world.core.replica(0).last_lsn


def a_turn(event: tuple[Any, ...], n: int) -> list[Any]:
    """The frame of a turn that wrote and answered."""
    return [2, event[1], n, pages.encode(1, [(1, None, bytes(1024))]), event[2], [[event[2], 0, b"1", 1, 2]]]


def kept_too_long(world: HostWorld) -> tuple[Any, ...]:
    """Abort an activation in the middle of its epoch; returns the event of a call that was answered before."""
    world.call()
    event = world.event()
    world.turn(event, 1)
    for _ in range(int(limits.kept_open_s_max // 20) + 2):
        world.clock.seconds += 20
        world.host.evictions.sweep()
        if world.worker.frames(5):
            return event
        world.host.on_frame(world.worker, [3, event[1], False])
    raise AssertionError("it was not aborted")


def test_an_activation_is_told_that_its_epoch_is_over() -> None:
    """Seen to fail when `lost` only drops what is held: the activation would go on, and time out much later."""
    world = HostWorld()
    world.call()
    event = world.event()
    world.turn(event, 1)
    world.core.resign(0, "for the test")
    world.pump()
    assert [frame[:2] for frame in world.worker.frames(5)] == [(5, event[1])]


def test_a_client_on_a_live_socket_may_keep_its_instance_for_longer() -> None:
    """Seen to fail when live sockets count as timers do: a quiet client was closed after 15 minutes."""
    world = HostWorld()
    world.call()
    event = world.event()
    world.turn(event, 1)
    world.host.on_frame(world.worker, [2, event[1], 0, None, 0, [], None, [[LIVE, 9]]])
    for _ in range(int(limits.kept_open_s_max // 20) + 2):
        world.clock.seconds += 20
        world.host.evictions.sweep()
        world.host.on_frame(world.worker, [3, event[1], False])
    assert world.worker.frames(5) == []
    assert world.worker.frames(4)[-1][2] is False, "it is asked to close, not to leave"


def test_an_aborted_activation_has_no_effect_though_its_epoch_goes_on() -> None:
    """Its calls were told that they may be tried again; seen to fail when frames of an ABORTING one are taken."""
    world = HostWorld()
    event = kept_too_long(world)
    before = last_lsn(world)
    world.host.on_frame(world.worker, a_turn(event, 2))
    assert last_lsn(world) == before
    assert not world.worker.killed, "it cannot know yet"


def test_an_answer_that_an_abort_overtook_does_not_bring_the_activation_back() -> None:
    """It was asked to close, then aborted, and says "not now" to the first; its word on the abort is still to come.

    Seen to fail when every "not now" opens the activation: its calls are told to try again, and it writes on.
    """
    world = HostWorld()
    world.call()
    event = world.event()
    world.turn(event, 1)
    world.clock.seconds += limits.idle_s + 1
    world.host.evictions.sweep()
    assert world.worker.frames(4)
    world.core.resign(0, "for the test")
    world.pump()
    assert world.worker.frames(5)
    world.claim(2)
    world.host.on_frame(world.worker, [3, event[1], False])
    late = world.call()
    assert len(world.worker.frames(3)) == 1, "the call is not for the activation that was aborted"
    world.host.on_frame(world.worker, [3, event[1], True])
    assert len(world.worker.frames(1)) == 2
    world.turn(world.event(), 1, ends=b"2")
    assert world.replies[late].body == b"2"


def test_a_turn_that_comes_when_the_log_has_lost_the_slot_is_dropped() -> None:
    """The news is on its way to the host. Seen to fail without the question to the log: the worker is blamed."""
    world = HostWorld()
    call = world.call()
    before = last_lsn(world)
    world.core.resign(0, "for the test")
    world.host.on_frame(world.worker, a_turn(world.event(), 1))
    assert last_lsn(world) == before
    assert not world.worker.killed
    world.pump()
    assert code(world, call) == "object-reset"


@pytest.mark.parametrize("n", [0, 2, 3])
def test_a_commit_that_is_not_the_next_ends_the_worker(n: int) -> None:
    """Seen to fail with the comparison removed, and with one that lets gaps pass."""
    world = HostWorld()
    world.call()
    before = last_lsn(world)
    world.host.on_frame(world.worker, a_turn(world.event(), n))
    assert world.worker.killed
    assert last_lsn(world) == before


def test_a_commit_of_another_worker_counts_for_nothing() -> None:
    """Ids are looked up in the worker's own table; seen to fail when the activation's worker is not compared."""
    world = HostWorld()
    world.call()
    before = last_lsn(world)
    world.host.on_frame(Worker(9), a_turn(world.event(), 1))
    assert last_lsn(world) == before
    assert not world.replies


def test_another_worker_cannot_say_that_an_activation_ended() -> None:
    """Else a successor would start beside the living one. Seen to fail when the worker is not compared."""
    world = HostWorld()
    world.call()
    world.host.on_frame(Worker(9), [3, world.event()[1], True])
    world.call()
    assert len(world.worker.frames(1)) == 1


def test_calls_that_come_while_an_activation_ends_go_to_its_successor() -> None:
    """Seen to fail when a call is delivered whatever the activation's life."""
    world = HostWorld()
    event = kept_too_long(world)
    late = world.call()
    assert len(world.worker.frames(3)) == 1
    world.host.on_frame(world.worker, [3, event[1], True])
    world.turn(world.event(), 1, ends=b"2")
    assert world.replies[late].body == b"2"


def test_an_activation_is_not_started_for_an_epoch_that_ended_while_its_pages_were_read() -> None:
    """Seen to fail when `done` does not look at the slot again: an activation of an ended epoch starts."""
    world = HostWorld()
    world.call()
    world.turn(world.event(), 1)
    world.new_worker()
    world.hold_reads = True
    call = world.call()
    world.core.resign(0, "for the test")
    world.pump()
    world.claim(2)
    for read in world.held_reads:
        read()
    assert not world.worker.frames(1)
    assert code(world, call) == "not-owner"


def test_a_read_of_what_is_not_committed_waits_for_it() -> None:
    """Rule 21. The turn that wrote said nothing, so nothing else holds the gate.

    Seen to fail when an effect depends on its own turn's record only.
    """
    world = HostWorld()
    world.call()
    world.hold_disk = True
    world.turn(world.event(), 1, ends=None)
    read = world.call()
    world.turn(world.event(), 0)
    assert read not in world.replies
    world.disk()
    world.pump()
    assert read in world.replies


def test_what_an_ended_activation_said_and_was_held_never_leaves() -> None:
    """Rules 9, 25: its record becomes durable after the slot was lost. Seen to fail when `end` keeps the slot."""
    world = HostWorld()
    call = world.call()
    world.hold_disk = True
    world.turn(world.event(), 1)
    world.core.resign(0, "for the test")
    world.pump()
    assert code(world, call) == "outcome-unknown"
    world.disk()
    world.pump()
    assert len(world.replies) == 1


def test_above_the_limit_of_a_worker_the_oldest_idle_activation_is_closed_and_no_other() -> None:
    """The one with a call is older still, but not idle.

    Seen to fail when the new one counts as the oldest: it is asked to close before it is opened, and its call fails.
    """
    world = HostWorld(HostLimits(activations_per_worker_max=3))
    world.call("busy")
    for name in ("old", "young"):
        world.clock.seconds += 1
        world.call(name)
        world.turn(world.event(), 1)
    old = world.event(1)
    world.clock.seconds += 1
    assert not world.worker.frames(4), "the limit is reached and not passed"
    call = world.call("new")
    assert world.worker.frames(4) == [(4, old[1], False)]
    world.turn(world.event(), 1)
    assert world.replies[call].body == b"1"


def test_when_every_activation_of_a_worker_is_busy_a_new_one_starts_all_the_same() -> None:
    """Seen to fail when the new one, which has no call yet, is taken for an idle one."""
    world = HostWorld(HostLimits(activations_per_worker_max=1))
    world.call("busy")
    call = world.call("new")
    assert not world.worker.frames(4)
    world.turn(world.event(), 1)
    assert world.replies[call].body == b"1"


A = ObjectId.from_name("Counter", "a").raw


async def evicting(world: HostWorld, *, at_once: bool = False) -> asyncio.Future[bool]:
    found = asyncio.ensure_future(world.host.evictions.evict(A, at_once=at_once))
    await asyncio.sleep(0)
    return found


async def test_an_object_is_taken_out_of_memory_when_nothing_runs_in_it() -> None:
    world = HostWorld()
    assert await (await evicting(world)) is False
    world.call()
    event = world.event()
    evicted = await evicting(world)
    assert not world.worker.frames(4), "a call runs"
    world.turn(event, 1)
    async with asyncio.timeout(5):
        while not world.worker.frames(4):
            await asyncio.sleep(0)
    assert not evicted.done()
    world.host.on_frame(world.worker, [3, event[1], True])
    assert await evicted is True
    assert A not in world.host.objects


async def test_what_runs_in_an_object_keeps_it_in_memory_or_is_ended() -> None:
    world = HostWorld()
    call = world.call()
    event = world.event()
    evicted = await evicting(world)
    world.clock.seconds += limits.evict_s + 1
    with pytest.raises(Unavailable, match="a call, a timer"):
        await evicted
    evicted = await evicting(world, at_once=True)
    assert world.worker.frames(5)
    assert code(world, call) == "object-reset"
    world.host.on_frame(world.worker, [3, event[1], True])
    assert await evicted is True
