"""What objects pass by reference: called where it was made, as long as it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from homing.sent import Sender
from homing.stubs import RpcStub
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

SENDER = Sender(cast("Any", None), cast("Any", None))
PASSING = """
    from homing import DurableObject, RpcTarget

    class Cursor(RpcTarget):
        def __init__(self):
            self.n = 0

        def next(self):
            self.n += 1
            return self.n

        async def later(self, by):
            return self.n + by

        def _hidden(self):
            return "hidden"

    class Plain(DurableObject):
        async def give(self):
            seen = []
            answer = await self.env.PLAIN.get_by_name("b").take(lambda x: seen.append(x) or x * 2, Cursor())
            return [answer, seen]

        def cursor(self):
            return {"cursor": Cursor()}

        async def use(self, passed):
            return [await passed(1), await passed.next()]
"""


def passing(start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int, int, list[Any]]:
    """An object in the middle of a call with a function and a target; its arguments as they arrive."""
    worker = start(PASSING)
    act = worker.open("Plain")
    call = worker.event(act, "give")
    body = worker.wait(lambda frame: frame[0] == channel.CALL)[9]
    return worker, act, call, SENDER.decode_arguments(body)[0]


def use(worker: WorkerHarness, passed: RpcStub, method: str, *args: Any) -> Any:
    """Call what was passed, as the node does."""
    number = 50_000 + len(worker.frames)
    to = passed.reference
    body = SENDER.encode([args, {}])
    worker.send(
        channel.EVENT, to.activation, number, channel.METHOD, method, body, 5_000, "", "", None, False, to.target, 0
    )
    _, status, payload, *_ = worker.effect(number)
    return SENDER.decode(payload) if status == channel.RESULT else payload[0]


def test_functions_and_targets_are_called_where_they_were_made(start: Callable[..., WorkerHarness]) -> None:
    worker, act, call, (function, cursor) = passing(start)
    assert function.reference.class_key == "Plain"
    assert function.reference.activation == act
    assert use(worker, function, "", 21) == 42
    assert [use(worker, cursor, "next"), use(worker, cursor, "next"), use(worker, cursor, "later", 5)] == [1, 2, 7]
    number = next(frame[3] for frame in worker.frames if frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, number, channel.RESULT, SENDER.encode("ok"))
    assert worker.answer(call) == ["ok", [21]]


def test_only_public_methods_of_a_target_can_be_called(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail when any attribute will do."""
    worker, _, _, (function, cursor) = passing(start)
    for method in ("_hidden", "__init__", "n", "nothing", ""):
        assert use(worker, cursor, method) == "not-found", method
    assert use(worker, function, "__call__", 1) == "not-found"


def test_what_was_passed_with_a_call_is_gone_after_it(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail when nothing is dropped: each call would leave something behind for ever."""
    worker, act, call, (function, cursor) = passing(start)
    number = next(frame[3] for frame in worker.frames if frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, number, channel.RESULT, SENDER.encode(None))
    worker.answer(call)
    assert use(worker, function, "", 1) == "not-found"
    assert use(worker, cursor, "next") == "not-found"


def test_what_was_returned_lives_until_much_else_was(start: Callable[..., WorkerHarness]) -> None:
    worker = start(PASSING, limits={"returned_max": 2})
    act = worker.open("Plain")
    cursors: list[RpcStub] = []
    for number in range(3):
        worker.send(channel.EVENT, act, 600 + number, channel.METHOD, "cursor", b"", 5_000, "", "", None, False, 0, 0)
        cursors.append(SENDER.decode(worker.effect(600 + number)[2])["cursor"])
    assert use(worker, cursors[0], "next") == "not-found"
    assert [use(worker, each, "next") for each in cursors[1:]] == [1, 1]


def test_what_is_received_is_called_by_its_reference(start: Callable[..., WorkerHarness]) -> None:
    worker, act, _, (function, _) = passing(start)
    other = worker.open("Plain")
    body = SENDER.encode([[function], {}])
    worker.send(channel.EVENT, other, 700, channel.METHOD, "use", body, 5_000, "", "", None, False, 0, 0)
    frame = worker.wait(lambda frame: frame[0] == channel.CALL and frame[1] == other)
    assert (frame[5], frame[8], frame[12:]) == ("Plain", "", [act, function.reference.target])


def test_clients_get_nothing_by_reference(start: Callable[..., WorkerHarness]) -> None:
    """They could not call it: JSON has no such thing."""
    worker = start(PASSING)
    assert "Cursor" in worker.failure(worker.open("Plain"), "cursor").message
