"""The object host: activations, keys and ends (rules 21, 22, 25), over a real log core."""

from __future__ import annotations

import structlog

from homing_node.objects import limits
from host_world import HostWorld


def code(world: HostWorld, call: int) -> str:
    return world.replies[call].failure.code


def test_a_call_is_answered_when_its_record_is_on_disk() -> None:
    """Rule 21; seen to fail with `hold` letting effects go at once."""
    world = HostWorld()
    call = world.call()
    world.hold_disk = True
    world.turn(world.event(), 1)
    assert call not in world.replies
    world.disk()
    world.pump()
    assert world.replies[call].body == b"1"


def test_a_second_call_goes_to_the_same_activation() -> None:
    world = HostWorld()
    world.call()
    world.call()
    assert len(world.worker.frames(1)) == 1
    assert len(world.worker.frames(3)) == 2


def test_only_the_next_commit_is_taken() -> None:
    """Rule 25; seen to fail with the comparison of n removed: the commit is recorded twice."""
    world = HostWorld()
    world.call()
    world.turn(world.event(), 1, ends=None)
    before = world.core.replica(0).last_lsn
    world.turn(world.event(), 1, ends=None)
    assert world.worker.killed
    assert world.core.replica(0).last_lsn == before


def test_an_aborted_activation_has_no_effect_and_its_successor_waits() -> None:
    """Rule 25; seen to fail when frames of an ABORTING activation are taken, or the successor is opened at once."""
    world = HostWorld()
    first = world.call()
    event = world.event()
    world.core.resign(0, "for the test")
    world.pump()
    assert code(world, first) == "object-reset"
    assert world.worker.frames(5)
    members = [("n1", "d1")]
    world.core.claim(0, 2, members, members, world.clock.seconds)
    world.pump()
    world.call()
    assert len(world.worker.frames(1)) == 1, "the old activation has not ended"
    before = world.core.replica(0).last_lsn
    world.turn(event, 1)
    assert world.core.replica(0).last_lsn == before
    world.host.on_frame(world.worker, [3, event[1], True])
    world.pump()
    assert len(world.worker.frames(1)) == 2


def test_a_successor_starts_from_what_was_appended_and_depends_on_it() -> None:
    """Rule 25; seen to fail when the image holds committed records only, or `last_lsn` begins at the commit point.

    The turn that wrote said nothing, so nothing else holds the gate.
    """
    world = HostWorld()
    world.call()
    world.hold_disk = True
    world.turn(world.event(), 1, ends=None)
    world.new_worker()
    read = world.call()
    opened = world.worker.frames(1)[0]
    assert (opened[5], opened[6]) == (1, bytes([1]) * 1024)
    world.turn(world.event(), 0)
    assert read not in world.replies, "what it saw is not committed yet"
    world.disk()
    world.pump()
    assert read in world.replies


def test_a_dead_worker_says_unknown_only_where_something_was_committed() -> None:
    """DESIGN §8; seen to fail when `committed` is never set."""
    world = HostWorld()
    wrote, idle = world.call(), world.call()
    world.turn(world.event(0), 1, ends=None)
    world.new_worker()
    assert code(world, wrote) == "outcome-unknown"
    assert code(world, idle) == "object-reset"


def test_a_key_gives_its_one_answer_again() -> None:
    """Rule 22, done; seen to fail when the entry is not in the record."""
    world = HostWorld()
    first = world.call(key="k")
    world.turn(world.event(), 1, ends=b"7")
    again = world.call(key="k")
    assert world.replies[first].body == world.replies[again].body == b"7"
    assert len(world.worker.frames(3)) == 1
    world.new_worker()
    third = world.call(key="k")
    assert world.replies[third].body == b"7"
    assert not world.worker.frames(3)


def test_a_step_of_the_wall_clock_makes_no_key_old() -> None:
    """Rules 3 and 22; seen to fail when the age of a key is taken from the wall clock."""
    world = HostWorld()
    world.call(key="k")
    world.turn(world.event(), 1, ends=b"7")
    world.clock.stepped_s += 2 * 24 * 3_600
    world.call(key="other")
    world.turn(world.event(), 2, ends=b"8")
    world.new_worker()
    again = world.call(key="k")
    assert world.replies[again].body == b"7"


def test_a_key_is_recorded_though_nothing_was_written() -> None:
    """Rule 22; seen to fail when a turn without pages leaves no record."""
    world = HostWorld()
    world.call(key="k")
    world.turn(world.event(), 0, ends=b"7")
    world.new_worker()
    again = world.call(key="k")
    assert world.replies[again].body == b"7"


def test_a_call_under_a_key_that_was_refused_before_it_began_may_come_again() -> None:
    """Its worker had it wait for too long. Seen to fail when that is recorded as its end: whoever repeated it as the
    error says was told the same for ten minutes. And when a worker is believed that refuses what has a turn committed.
    """
    world = HostWorld()
    call = world.call(key="k")
    event = world.event()
    refused = [[event[2], 3, ["deadline-exceeded", "it waited", ""], 1, 2]]
    before = world.core.replica(0).last_lsn
    world.host.on_frame(world.worker, [2, event[1], 0, None, event[2], refused])
    world.pump()
    failure = world.replies[call].failure
    assert (failure.code, failure.started) == ("deadline-exceeded", False)
    assert world.core.replica(0).last_lsn == before
    again = world.call(key="k")
    event = world.event()
    world.turn(event, 1, ends=None)
    refused[0][0] = event[2]
    world.host.on_frame(world.worker, [2, event[1], 0, None, event[2], refused])
    assert world.worker.killed
    assert again not in world.replies


def test_a_running_key_makes_the_second_call_wait() -> None:
    """Rule 22, running."""
    world = HostWorld()
    first, second = world.call(key="k"), world.call(key="k")
    assert len(world.worker.frames(3)) == 1
    world.turn(world.event(), 1, ends=b"7")
    assert world.replies[first].body == world.replies[second].body == b"7"


def test_a_key_that_broke_off_is_never_run_again() -> None:
    """Rule 22, broken off; seen to fail when the RUNNING entry is left out of the record."""
    world = HostWorld()
    world.call(key="k")
    world.turn(world.event(), 1, ends=None)
    world.new_worker()
    again = world.call(key="k")
    assert code(world, again) == "outcome-unknown"
    assert not world.worker.frames(3)


def test_a_key_of_another_call_is_refused() -> None:
    """Rule 22, reused: while it runs, and after."""
    world = HostWorld()
    world.call(key="k")
    during = world.call(key="k", fingerprint=b"other")
    world.turn(world.event(), 1)
    after = world.call(key="k", fingerprint=b"other")
    assert code(world, during) == code(world, after) == "key-reused"


def test_too_many_calls_of_one_object_are_refused() -> None:
    world = HostWorld()
    calls = [world.call() for _ in range(limits.calls_per_object_max + 1)]
    assert code(world, calls[-1]) == "overloaded"
    assert calls[-2] not in world.replies


def test_an_unknown_class_is_not_found_and_a_wrong_epoch_not_owned() -> None:
    world = HostWorld()
    assert code(world, world.call(class_name="Nothing")) == "not-found"
    world.core.resign(0, "for the test")
    world.pump()
    assert code(world, world.call()) == "not-owner"


def test_an_idle_activation_is_closed_but_not_with_unfinished_commits() -> None:
    """Rule 25; seen to fail when `_close` does not look at the commit point."""
    world = HostWorld()
    world.call()
    world.hold_disk = True
    world.turn(world.event(), 1)
    world.clock.seconds += limits.idle_s + 1
    world.host.evictions.sweep()
    assert not world.worker.frames(4)
    world.disk()
    world.pump()
    world.host.evictions.sweep()
    assert len(world.worker.frames(4)) == 1


def test_an_activation_that_would_not_close_goes_on() -> None:
    world = HostWorld()
    world.call()
    world.turn(world.event(), 1)
    world.clock.seconds += limits.idle_s + 1
    world.host.evictions.sweep()
    world.call()
    assert len(world.worker.frames(3)) == 1, "it waits for the answer"
    world.host.on_frame(world.worker, [3, world.event()[1], False])
    assert len(world.worker.frames(3)) == 2


def test_pending_timers_keep_an_activation_fifteen_minutes_at_most() -> None:
    """Seen to fail without the abort in `sweep`: it is asked for ever."""
    world = HostWorld()
    world.call()
    act = world.event()[1]
    world.turn(world.event(), 1)
    for _ in range(int(limits.kept_open_s_max // 20) + 2):
        world.clock.seconds += 20
        world.host.evictions.sweep()
        world.host.on_frame(world.worker, [3, act, False])
    assert world.worker.frames(5) == [(5, act, "timers, wait_until or sockets kept it from eviction for too long")]


def test_a_lost_slot_answers_unknown_for_what_was_appended() -> None:
    """Rule 9; seen to fail when held effects are dropped without an answer."""
    world = HostWorld()
    wrote = world.call()
    world.hold_disk = True
    world.turn(world.event(), 1)
    world.core.resign(0, "for the test")
    world.pump()
    assert code(world, wrote) == "outcome-unknown"


def test_a_lost_slot_answers_unknown_for_a_call_of_which_an_earlier_turn_was_appended() -> None:
    """Rule 9; seen to fail when only the turn that ends the call is looked at: it may have written nothing."""
    world = HostWorld()
    both = world.call()
    world.hold_disk = True
    world.turn(world.event(), 1, ends=None)
    world.turn(world.event(), 0)
    world.core.resign(0, "for the test")
    world.pump()
    assert code(world, both) == "outcome-unknown"


def test_a_frame_that_is_none_kills_the_worker_and_nothing_else() -> None:
    world = HostWorld()
    world.call()
    for frame in (
        [],
        [2],
        [2, world.event()[1], 1, b"junk", 0, []],
        [2, world.event()[1], 0, None, 0, [[1, 9, b"", 0, 0]]],
    ):
        world.worker.killed = ""
        world.host.on_frame(world.worker, frame)
        assert world.worker.killed, frame


def test_what_object_code_prints_is_logged_with_its_call_and_its_trace() -> None:
    """Seen to fail without the field for it: a trace could be followed up to the object, and not into it."""
    world = HostWorld()
    world.call()
    act = world.event()[1]
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        for traceparent in ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "not one"):
            world.host.on_frame(world.worker, [5, act, "r-1", "stdout", "hello", traceparent, 20])
    assert [(line["event"], line["request_id"], line["trace_id"]) for line in lines] == [
        ("hello", "r-1", "a" * 32),
        ("hello", "r-1", ""),
    ]
    assert {(line["class"], line["name"]) for line in lines} == {("Counter", "a")}


def test_a_slot_at_rest_takes_no_call_and_what_runs_ends() -> None:
    """A planned move; seen to fail when `rest` is ignored, and when a held effect does not count."""
    world = HostWorld()
    running = world.call()
    world.host.rest(0)
    refused = world.call()
    assert code(world, refused) == "not-owner"
    assert not world.replies[refused].failure.started, "so the gateway sends it again"
    assert not world.host.at_rest(0)
    world.hold_disk = True
    world.turn(world.event(), 1)
    assert not world.host.at_rest(0), "its effect is held at the gate"
    world.disk()
    world.pump()
    assert world.replies[running].body == b"1"
    assert world.host.at_rest(0)


def test_a_slot_whose_move_did_not_come_off_takes_calls_again() -> None:
    world = HostWorld()
    world.host.rest(0)
    world.host.rest(0, resting=False)
    call = world.call()
    world.turn(world.event(), 1)
    assert world.replies[call].body == b"1"


def test_what_runs_for_too_long_before_a_move_ends_as_unknown_if_it_wrote() -> None:
    world = HostWorld()
    call = world.call()
    world.turn(world.event(), 1, ends=None)
    world.host.rest(0)
    world.host.abort_calls(0, "it took too long")
    assert code(world, call) == "outcome-unknown"
    assert world.host.at_rest(0)
