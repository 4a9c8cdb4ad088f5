"""Frames that no worker of ours sends: they end that worker, and harm nobody else. Most were found by `make fuzz`."""

from __future__ import annotations

from typing import Any

import pytest

from homing.wire.v1 import call_pb2 as wire
from homing_node.log import record
from homing_node.objects import limits, replies
from homing_node.objects.images import meta_of
from homing_node.objects.socket_items import take_item
from homing_node.objects.socket_record import SocketChanges
from homing_node.objects.socket_state import ObjectSockets
from homing_node.workers.inside.sockets import ACCEPT, ATTACH, AUTO, CLOSE, LIVE, TEXT
from host_world import HostWorld

TURN, LOG, RESET = 2, 5, 7
DEEP: list[Any] = []
for _ in range(5_000):
    DEEP = [DEEP]


def records(world: HostWorld) -> list[bytes]:
    return [data for data in world.core.replica(0).records.values() if record.read(data).kind == record.TURN]


@pytest.mark.parametrize(
    "effect",
    [
        (0, "text", 1, 2),
        (9, b"", 1, 2),
        (True, [200, [], b""], 1, 2),
        (0.0, b"1", 1, 2),
        (0, b"1", -1, 2),
        (0, b"1"),
        (1, [1 << 40, [], b""], 1, 2),
        (2, ["code"], 1, 2),
    ],
)
@pytest.mark.parametrize("key", ["", "k"])
def test_an_answer_that_is_none_is_neither_recorded_nor_is_its_call_forgotten(
    effect: tuple[Any, ...], key: str
) -> None:
    """Seen to fail when the record comes first: no replica could read it, and whoever called waited for ever."""
    world = HostWorld()
    call = world.call(key=key)
    event = world.event()
    world.host.on_frame(world.worker, [TURN, event[1], 0, None, event[2], [[event[2], *effect]]])
    world.pump()
    assert world.worker.killed
    assert records(world) == []
    assert call not in world.replies
    world.new_worker()
    assert world.replies[call].failure.code == "object-reset"


def test_a_call_that_ends_twice_is_not_ended() -> None:
    world = HostWorld()
    call = world.call()
    event = world.event()
    effect = [event[2], 0, b"1", 1, 2]
    world.host.on_frame(world.worker, [TURN, event[1], 0, None, event[2], [effect, effect]])
    assert world.worker.killed
    world.new_worker()
    assert world.replies[call].failure.code == "object-reset"


def test_a_page_of_the_entrypoint_that_is_none_is_still_answered() -> None:
    """Seen to fail when the call is forgotten before its answer is made."""
    world = HostWorld()
    answers: list[wire.Reply] = []
    world.host.call(wire.Call(id=1, kind=wire.CALL_KIND_DEFAULT), answers.append)
    number = world.event()[2]
    world.host.on_frame(world.worker, [TURN, 0, 0, None, 0, [[number, 1, [200, [], "text"], 1, 2]]])
    assert world.worker.killed
    world.new_worker()
    assert [answer.failure.code for answer in answers] == ["object-reset"]


@pytest.mark.parametrize("told", [(5, "message"), ("code", 5), ("code", None), ([], "message")])
def test_a_reset_without_words_leaves_the_object_able_to_run(told: tuple[Any, Any]) -> None:
    """Seen to fail when its calls cannot be told of it: the activation was neither there nor gone, for good."""
    world = HostWorld()
    call = world.call()
    world.host.on_frame(world.worker, [RESET, world.event()[1], *told])
    assert world.worker.killed
    world.new_worker()
    assert world.replies[call].failure.code == "object-reset"
    world.call()
    assert len(world.worker.frames(3)) == 1


@pytest.mark.parametrize(
    "said",
    [
        [ACCEPT, 9, [DEEP]],
        [TEXT, [1e300], "hi"],
        [TEXT, [float("inf")], "hi"],
        [CLOSE, [7], float("inf"), ""],
        [CLOSE, [7], 1 << 70, ""],
    ],
)
def test_what_is_said_on_sockets_beyond_all_bounds_ends_the_worker_only(said: list[Any]) -> None:
    """Seen to fail when such errors are not caught, or such numbers are recorded."""
    world = HostWorld()
    world.call()
    world.host.on_frame(world.worker, [TURN, world.event()[1], 0, None, 0, [], None, [[ACCEPT, 7, []], said]])
    world.pump()
    assert world.worker.killed
    assert records(world) == []


@pytest.mark.parametrize("said", [[ACCEPT, 7, []], [AUTO, "ping", "pong"], [ATTACH, [7], b"x"]])
def test_an_entrypoint_keeps_no_socket(said: list[Any]) -> None:
    """Seen to fail when that is not looked at: what no record can say stayed in the table of the node."""
    world = HostWorld()
    world.host.on_frame(world.worker, [TURN, 0, 0, None, 0, [], None, [[LIVE, 9], said]])
    assert world.worker.killed


def test_a_line_as_deep_as_can_be_ends_the_worker_only() -> None:
    world = HostWorld()
    world.call()
    world.host.on_frame(world.worker, [LOG, world.event()[1], "r", "stdout", "x", DEEP, 20])
    assert world.worker.killed


def test_what_a_worker_said_on_a_socket_can_be_recorded_and_read() -> None:
    world = HostWorld()
    world.call()
    said = [[ACCEPT, 7, ["t" * 256]], [CLOSE, [7], 4_999, "é" * 61], [AUTO, "x" * 2_048, ""]]
    world.host.on_frame(world.worker, [TURN, world.event()[1], 0, None, 0, [], None, said])
    world.pump()
    assert not world.worker.killed
    found = meta_of(records(world), None)
    assert found is not None
    assert found.sockets is not None
    assert found.sockets.open[7].tags == ["t" * 256]
    assert found.sockets.said[0].data == [4_999, "é" * 61]


@pytest.mark.parametrize(
    "item",
    [
        [ACCEPT, 9, ["t" * 257]],
        [ACCEPT, 9, [5]],
        [ACCEPT, 9, ["t"] * (limits.tags_max + 1)],
        [ACCEPT, 1 << 63, []],
        [ACCEPT, True, []],
        [LIVE, 0],
        [LIVE, True],
        [LIVE],
        [AUTO, "x" * 2_049, ""],
        [AUTO, "x", None],
        [TEXT, [], "hi"],
        [TEXT, ["7"], "hi"],
        [TEXT, [7], b"hi"],
        [ATTACH, [7], "text"],
        [ATTACH, [7], bytes(limits.attachment_bytes_max + 1)],
        [CLOSE, [7], 999, ""],
        [CLOSE, [7], 1_005, ""],
        [CLOSE, [7], 5_000, ""],
        [CLOSE, [7], 1_000, "é" * 62],
        [CLOSE, [7], 1_000, b""],
        [99, [7], b""],
        [],
    ],
)  # fmt: skip
def test_an_item_that_is_none_is_refused(item: list[Any]) -> None:
    """Seen to fail for the codes: one beyond 32 bits broke off the gate when it was to leave."""
    owner = ObjectSockets(bytes(32), 0, 1, "Room", None)
    with pytest.raises((ValueError, TypeError, LookupError)):
        take_item(owner, SocketChanges(), [], item)


def test_every_answer_of_a_turn_is_made_with_its_times() -> None:
    world = HostWorld()
    world.call(key="k")
    world.call(key="k")
    (act,) = world.host.objects.values()
    (call,) = act.calls.values()
    ends, more = [call.id, 0, b"1", 5, 6], [99]
    done, ((one, first), (two, second)) = replies.of_turn(act, [ends, more])
    assert done == [(call, ends), (None, more)]
    assert (one, [two]) == (call, call.waiters)
    assert (first.timing.started_ns, first.timing.ended_ns) == (5, 6)
    assert (first.body, second.body, second.timing.started_ns) == (b"1", b"1", 0)
