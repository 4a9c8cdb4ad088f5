"""Calls between objects on the caller's node: held at the gate, sent with what they inherit, answered or forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from homing import errors
from homing.ids import ObjectId, first_id
from homing_node.objects import limits
from homing_placement.routing.pending import KIND_FETCH, KIND_LIST, KIND_METHOD, Pending
from host_world import HostWorld

OTHER = ObjectId.from_name("Counter", "other")
CALL, REPLY = 8, 7


class Port:
    """Who takes calls to other objects; a test answers them."""

    def __init__(self) -> None:
        self.sent: list[Pending] = []
        self.lists: list[Pending] = []

    def submit(self, pending: Pending) -> None:
        self.sent.append(pending)

    def list(self, pending: Pending) -> None:
        self.lists.append(pending)


@pytest.fixture
def world() -> HostWorld:
    made = HostWorld()
    made.host.outgoing.slots = 1
    made.host.outgoing.port = Port()
    return made


def sent(world: HostWorld) -> list[Pending]:
    port = world.host.outgoing.port
    assert isinstance(port, Port)
    return port.sent


def make(
    world: HostWorld, event: tuple[Any, ...], number: int = 1, *, kind: int = KIND_METHOD, raw: bytes = OTHER.raw,
    name: str = "other", body: bytes = b"b", url: str = "", call: int | None = None, target: int = 0,
) -> None:  # fmt: skip
    """The worker calls another object on behalf of an event."""
    made = [number, kind, "Counter", raw, name, "m", body, url, [["a", "b"]] if url else [], 0, target]
    world.host.on_frame(world.worker, [CALL, event[1], event[2] if call is None else call, *made])
    world.pump()


def make_behind_a_write(world: HostWorld) -> None:
    """An object writes, and calls another; the write is not on disk yet."""
    world.call("a")
    event = world.event()
    world.hold_disk = True
    world.turn(event, 1, ends=None)
    make(world, event)


def finish(pending: Pending, answer: bytes = b"r", error: errors.HomingError | None = None) -> None:
    pending.answer, pending.error = answer, error
    pending.on_done(pending)


def test_a_call_waits_for_what_its_object_wrote(world: HostWorld) -> None:
    """Seen to fail when calls pass the gate: the other object would know what a crash takes back."""
    make_behind_a_write(world)
    assert sent(world) == []
    world.disk()
    world.pump()
    assert [pending.method for pending in sent(world)] == ["m"]


def test_a_call_waits_for_the_epoch_to_be_confirmed(world: HostWorld) -> None:
    """It says what its object knows, as an answer does (rule 19). Seen to fail when a call that wrote nothing leaves at
    once; a store that is a majority by itself confirms at once, so this one asks another."""
    asked: list[int] = []
    world.host.gate._ask = lambda slot: asked.append(slot) or 5
    world.call("a")
    make(world, world.event())
    assert (asked, sent(world)) == ([0], [])
    world.host.gate.confirmed(0, 5)
    assert len(sent(world)) == 1


def test_what_is_held_when_the_slot_is_lost_is_never_called(world: HostWorld) -> None:
    """Seen to fail when the end of a slot lets its calls go."""
    make_behind_a_write(world)
    world.host.lost(0, 1, "gone")
    assert sent(world) == []


def test_it_inherits_deadline_chain_and_names(world: HostWorld) -> None:
    world.call("a")
    event = world.event()
    (call,) = (act.calls[event[2]] for act in world.host.objects.values())
    call.m.timeout_ms, call.m.request_id, call.m.traceparent = 4_000, "r-1", "00-t"
    world.clock.seconds += 1
    make(world, event)
    make(world, event, 2)
    one, two = sent(world)
    assert one.deadline_s == pytest.approx(world.clock.seconds + 3)
    assert (one.request_id, one.traceparent, one.kind) == ("r-1", "00-t", KIND_METHOD)
    assert one.chain
    assert one.chain == two.chain == call.m.chain
    world.call("b")
    make(world, world.event(), 3)
    assert sent(world)[2].chain != one.chain
    call.m.chain = b"from afar"
    make(world, event, 4)
    assert sent(world)[3].chain == b"from afar"


def test_without_a_call_there_is_a_deadline_too(world: HostWorld) -> None:
    world.call("a")
    make(world, world.event(), call=0)
    assert sent(world)[0].deadline_s == pytest.approx(world.clock.seconds + limits.outgoing_s_max)


def test_an_answer_goes_to_the_activation_that_asked(world: HostWorld) -> None:
    world.call("a")
    event = world.event()
    make(world, event, 7)
    make(world, event, 8, kind=KIND_FETCH, url="http://x/")
    one, two = sent(world)
    finish(one)
    two.status, two.answer_headers = 404, [("c", "d")]
    finish(two, b"body")
    assert world.worker.frames(REPLY) == [
        (REPLY, event[1], 7, 0, b"r"), (REPLY, event[1], 8, 1, (404, [("c", "d")], b"body")),
    ]  # fmt: skip
    finish(one)
    assert len(world.worker.frames(REPLY)) == 2, "once"


def test_an_earlier_call_without_an_answer_is_named_until_it_has_one(world: HostWorld) -> None:
    """By it the other node knows what may still come. Calls to another object are in another lane."""
    world.call("a")
    event = world.event()
    make(world, event, 1)
    make(world, event, 2, raw=ObjectId.from_name("Counter", "third").raw, name="third")
    make(world, event, 3)
    one, two, three = sent(world)
    assert one.lane is three.lane is not two.lane
    assert one.lane is not None
    assert [*one.lane.calls] == [1, 3]
    finish(one)
    assert [*one.lane.calls] == [3]


def test_what_failed_says_whether_to_try_again(world: HostWorld) -> None:
    """Overload must not be answered with more of it. Seen to fail with `retryable` as the tree has it."""
    own = errors.ApplicationError("x", error_type="KeyError")
    passed_on = errors.ApplicationError("x", error_type="Overloaded")
    passed_on.overloaded, passed_on.retryable = True, True
    cases: list[tuple[errors.HomingError, tuple[str, str, bool, bool]]] = [
        (errors.Overloaded("x"), ("overloaded", "", True, False)),
        (errors.Unavailable("x"), ("unavailable", "", False, True)),
        (errors.ObjectReset("x"), ("object-reset", "", False, True)),
        (errors.OutcomeUnknown("x"), ("outcome-unknown", "", False, False)),
        (own, ("application-error", "KeyError", False, False)),
        (passed_on, ("application-error", "Overloaded", True, False)),
    ]
    world.call("a")
    for number, (error, expected) in enumerate(cases, 1):
        make(world, world.event(), number)
        finish(sent(world)[-1], error=error)
        code, _, error_type, overloaded, again, _ = world.worker.frames(REPLY)[-1][4]
        assert (code, error_type, overloaded, again) == expected


def test_nobody_is_told_when_the_activation_is_gone(world: HostWorld) -> None:
    """A later activation may have a call of the same number. Seen to fail when ends forget nothing."""
    world.call("a")
    event = world.event()
    make(world, event)
    world.host.on_frame(world.worker, [7, event[1], "object-reset", "why"])
    finish(sent(world)[0])
    assert world.worker.frames(REPLY) == []


def test_a_dead_worker_s_entrypoint_is_forgotten(world: HostWorld) -> None:
    old = world.worker
    made = [1, KIND_METHOD, "Counter", OTHER.raw, "other", "m", b"", "", [], 0, 0]
    world.host.on_frame(world.worker, [CALL, 0, 5, *made])
    world.new_worker()
    finish(sent(world)[0])
    assert old.frames(REPLY) == world.worker.frames(REPLY) == []


def test_what_no_worker_of_ours_sends_ends_it(world: HostWorld) -> None:
    """The jail's side of the channel is not trusted. Each was seen to fail without its check."""
    wrong: list[dict[str, Any]] = [
        {"raw": b"x" * 32}, {"raw": b"short"}, {"kind": 1}, {"kind": 4}, {"name": "another"}, {"body": "text"},
        {"target": -1}, {"target": 1.5}, {"kind": 2.0}, {"target": "1"},
        {"raw": ObjectId.from_name("Other", "other").raw},
    ]  # fmt: skip
    for one in wrong:
        world.call("a")
        make(world, world.event(), **one)
        assert world.worker.killed, one
        world.new_worker()
    assert sent(world) == []


def test_a_number_is_used_once_and_there_is_a_limit(world: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "outgoing_calls_max", 2)
    world.call("a")
    event = world.event()
    make(world, event, 1)
    make(world, event, 2)
    make(world, event, 3)
    assert world.worker.killed
    world.new_worker()
    world.call("b")
    make(world, world.event(), 1)
    make(world, world.event(), 1)
    assert world.worker.killed


def test_too_many_bytes_are_refused(world: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "calls_bytes_per_object_max", 10)
    world.call("a")
    make(world, world.event(), 1, body=b"12345678")
    make(world, world.event(), 2, body=b"12345678")
    assert len(sent(world)) == 1
    (refused,) = world.worker.frames(REPLY)
    assert (refused[2], refused[4][0]) == (2, "overloaded")


def test_an_unknown_class_and_a_node_that_knows_no_slots(world: HostWorld) -> None:
    world.host.outgoing.port = None
    world.call("a")
    make(world, world.event())
    raw = ObjectId.unique("Nothing").raw
    made = [2, KIND_METHOD, "Nothing", raw, "", "m", b"", "", [], 0, 0]
    world.host.outgoing.port = Port()
    world.host.on_frame(world.worker, [CALL, world.event()[1], 0, *made])
    assert [frame[4][0] for frame in world.worker.frames(REPLY)] == ["unavailable", "not-found"]


def test_a_resting_slot_takes_what_its_own_calls_wait_for(world: HostWorld) -> None:
    """A calls B, which calls A, while A's slot is about to move: it rests only when that has come to its end. Seen to
    stand still when a resting slot takes nothing."""
    world.call("a")
    make(world, world.event())
    chain = sent(world)[0].chain
    world.host.rest(0)
    refused = world.call("a")
    assert world.replies[refused].failure.code == "not-owner"
    events = len(world.worker.frames(3))
    world.call("a", chain=chain)
    world.call("a", chain=b"another")
    assert len(world.worker.frames(3)) == events + 1


def test_what_was_passed_is_called_in_the_activation_that_passed_it_only(world: HostWorld) -> None:
    """Another activation may use the same number for something else. Seen to fail without the comparison."""
    world.call("a")
    act = world.event()[1]
    world.call("a", activation=act, target=5)
    assert world.event()[11] == 5
    for activation in (act + 1, 0):
        refused = world.call("a", activation=activation, target=5)
        assert world.replies[refused].failure.code == "not-found"
    world.host.on_frame(world.worker, [7, act, "object-reset", "why"])
    refused = world.call("a", activation=act, target=5)
    assert world.replies[refused].failure.code == "not-found"


def test_what_is_refused_for_good_holds_up_nobody(world: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overload is an answer. Seen to fail when every refusal is waited for: those behind it were sent again."""
    monkeypatch.setattr(limits, "calls_per_object_max", 1)
    world.call("a")
    refused = [world.call("a", lane=b"l", order=number) for number in (1, 2)]
    assert [world.replies[number].failure.code for number in refused] == ["overloaded", "overloaded"]
    world.host.rest(0)
    refused = [world.call("a", lane=b"l", order=number, before=number - 1) for number in (3, 4)]
    world.host.rest(0, resting=False)
    refused.append(world.call("a", lane=b"l", order=4, before=3))
    assert [world.replies[number].failure.code for number in refused] == ["not-owner", "not-owner", "unavailable"]


def test_a_list_goes_to_no_object(world: HostWorld) -> None:
    world.call("a")
    act = world.event()[1]
    above = first_id("Counter").raw
    made = [1, KIND_LIST, "Counter", above, "", "", (9).to_bytes(4, "big"), "", [], 0, 0]
    world.host.on_frame(world.worker, [CALL, act, 0, *made])
    port = world.host.outgoing.port
    assert isinstance(port, Port)
    assert [(each.class_name, each.object_id, each.body[-1]) for each in port.lists] == [("Counter", above, 9)]
    assert not port.sent
    port.lists[0].answer = b"page"
    port.lists[0].on_done(port.lists[0])
    assert world.worker.frames(REPLY)[-1][1:] == (act, 1, 0, b"page")
    foreign = [2, KIND_LIST, "Nothing", above, "", "", b"", "", [], 0, 0]
    world.host.on_frame(world.worker, [CALL, act, 0, *foreign])
    assert world.worker.killed, "an id of another class is none that a list can begin at"
