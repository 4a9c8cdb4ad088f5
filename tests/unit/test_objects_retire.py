"""Another version of an application's code takes objects over: what runs may end, and what comes meanwhile waits."""

from __future__ import annotations

from homing_node.objects import limits
from host_world import HostWorld, Worker

CLOSE, CLOSED, ABORT = 4, 3, 5


def retire(world: HostWorld) -> Worker:
    """The worker keeps nothing any more, and another is picked from now on."""
    old, world.worker = world.worker, Worker(world.worker.id + 1)
    world.host.retire(old, lambda _: False)
    return old


def step(world: HostWorld, seconds: float = limits.leave_poll_s) -> None:
    world.clock.seconds += seconds
    world.host.evictions.leave()
    world.pump()


def test_an_idle_object_is_taken_over_at_once() -> None:
    world = HostWorld()
    world.call()
    world.turn(world.event(), 1)
    old = retire(world)
    assert [frame[2] for frame in old.frames(CLOSE)] == [True], "its live sockets are no reason to stay"
    waiting = world.call()
    assert len(old.frames(3)) == 1, "the old code gets nothing more"
    world.host.on_frame(old, [CLOSED, old.frames(3)[0][1], True])
    world.pump()
    world.turn(world.event(), 1)
    assert world.replies[waiting].body == b"1"


def test_what_runs_ends_and_what_comes_waits_for_the_successor() -> None:
    """Seen to fail when an activation that leaves takes new calls: a busy object never comes to rest."""
    world = HostWorld()
    running = world.call()
    old = retire(world)
    later = world.call()
    step(world)
    assert (len(old.frames(3)), old.frames(CLOSE)) == (1, [])
    world.host.on_frame(
        old, [2, old.frames(3)[0][1], 0, None, old.frames(3)[0][2], [[old.frames(3)[0][2], 0, b"1", 1, 2]]]
    )
    world.pump()
    assert world.replies[running].body == b"1"
    step(world)
    assert len(old.frames(CLOSE)) == 1
    world.host.on_frame(old, [CLOSED, old.frames(3)[0][1], True])
    world.pump()
    world.turn(world.event(), 1)
    assert world.replies[later].body == b"1"


def test_a_call_that_a_running_one_may_wait_for_is_let_in() -> None:
    """Seen to fail when all new calls wait: the object stands still until it is aborted."""
    world = HostWorld()
    world.call(chain=b"chain")
    old = retire(world)
    world.call(chain=b"other")
    world.call(chain=b"chain")
    assert len(old.frames(3)) == 2


def test_one_that_does_not_close_goes_on_and_is_asked_again() -> None:
    world = HostWorld()
    world.call()
    world.turn(world.event(), 1)
    old = retire(world)
    world.host.on_frame(old, [CLOSED, old.frames(3)[0][1], False])
    world.call()
    assert len(old.frames(3)) == 2, "a timer keeps it, and it serves meanwhile"
    world.host.on_frame(
        old, [2, old.frames(3)[0][1], 0, None, old.frames(3)[1][2], [[old.frames(3)[1][2], 0, b"1", 1, 2]]]
    )
    world.pump()
    step(world, limits.close_retry_s)
    assert len(old.frames(CLOSE)) == 2


def test_one_that_does_not_come_to_rest_is_aborted() -> None:
    world = HostWorld()
    running = world.call()
    old = retire(world)
    step(world, limits.leave_s_max + 1)
    assert len(old.frames(ABORT)) == 1
    assert world.replies[running].failure.code == "object-reset"
    step(world)
    assert len(old.frames(ABORT)) == 1


def test_a_class_that_the_version_of_an_object_lacks_is_not_found() -> None:
    """While two versions serve. Seen to fail when the classes of both are looked at: the worker is told to open it."""
    world = HostWorld()
    world.worker.classes = set()
    answer = world.call()
    assert world.replies[answer].failure.code == "not-found"
    assert world.worker.sent == []
