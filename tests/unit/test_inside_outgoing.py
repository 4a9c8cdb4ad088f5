"""Calls that an object makes, as its worker makes them: what leaves when, and what becomes of the answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from homing.ids import ObjectId, first_id, name_jurisdictions
from homing.listing import ListedObject, ObjectList, encode
from homing.sent import Sender
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

SENDER = Sender(cast("Any", None), cast("Any", None))
OTHER = "stub = self.env.PLAIN.get_by_name('b')\n"


def made(worker: WorkerHarness, number: int) -> list[Any]:
    """The frame of an activation's call."""
    seen = [frame for frame in worker.frames if frame[0] == channel.CALL and frame[3] == number]
    return seen[0] if seen else worker.wait(lambda frame: frame[0] == channel.CALL and frame[3] == number)


def answer(worker: WorkerHarness, act: int, number: int, value: Any) -> None:
    worker.send(channel.REPLY, act, number, channel.RESULT, SENDER.encode(value))


def fail(worker: WorkerHarness, act: int, number: int, code: str, error_type: str = "", **flags: bool) -> None:
    said = (code, "why", error_type, flags.get("overloaded", False), flags.get("retryable", False), 1_500)
    worker.send(channel.REPLY, act, number, channel.FAILURE, said)


def begin(worker: WorkerHarness, code: str) -> tuple[int, int]:
    """An object that runs some code; its activation and the number of the call."""
    act = worker.open("Counter")
    return act, worker.event(act, "arun", code)


def test_a_call_says_whom_and_what(worker: WorkerHarness) -> None:
    act, call = begin(worker, OTHER + "return await stub.greet(1, {2}, name='x')")
    _, from_act, for_call, number, kind, class_name, raw, name, method, body, url, headers, *target = made(worker, 1)
    assert (from_act, for_call, number, kind) == (act, call, 1, channel.METHOD)
    assert (class_name, raw, name, method) == ("Plain", ObjectId.from_name("Plain", "b").raw, "b", "greet")
    assert SENDER.decode_arguments(body) == ([1, {2}], {"name": "x"})
    assert (url, headers, target) == ("", [], [0, 0])
    answer(worker, act, 1, {"back": [1 << 70, 3]})
    assert worker.answer(call) == {"back": [1 << 70, 3]}


def test_a_list_says_of_what_and_from_where(worker: WorkerHarness) -> None:
    code = "page = await self.env.PLAIN.list(limit=2)\nreturn [[each.name for each in page.objects], page.cursor]"
    act, call = begin(worker, code)
    frame = made(worker, 1)
    assert (frame[4:6], frame[8:10]) == ([channel.LIST, "Plain"], ["", (2).to_bytes(4, "big")])
    assert frame[6] == first_id("Plain").raw
    found = ListedObject(ObjectId.from_name("Plain", "b").raw.hex(), "b", True, 1_024, None, 0, 5, "n1")
    worker.send(channel.REPLY, act, 1, channel.RESULT, encode(ObjectList([found], found.id)))
    assert worker.answer(call) == [["b"], found.id]
    call = worker.event(act, "arun", f"return (await self.env.PLAIN.list(cursor={found.id!r})).cursor")
    assert made(worker, 2)[6] == bytes.fromhex(found.id)
    worker.send(channel.REPLY, act, 2, channel.RESULT, b"nonsense")
    assert worker.effect(call)[1] == channel.FAILURE
    for wrong in ("limit=0", "limit=1_001", "cursor='x'", f"cursor='{ObjectId.from_name('Counter', 'a')}'"):
        act, call = begin(worker, f"await self.env.PLAIN.list({wrong})")
        assert worker.effect(call)[2][2] == "BadRequest", wrong


def test_a_list_of_a_jurisdiction_begins_and_ends_with_it(worker: WorkerHarness) -> None:
    name_jurisdictions(["us", "eu"])
    code = "page = await self.env.PLAIN.jurisdiction('eu').list()\n"
    code += "return [[each.name for each in page.objects], page.cursor]"
    act, call = begin(worker, code)
    assert made(worker, 1)[6] == first_id("Plain", 1).raw
    found = [
        ListedObject(str(ObjectId.from_name("Plain", name, bound)), name, True, 1_024, None, 0, 5, "n1")
        for name, bound in (("b", 1), ("c", 2))
    ]
    worker.send(channel.REPLY, act, 1, channel.RESULT, encode(ObjectList(found, found[1].id)))
    assert worker.answer(call) == [["b"], None]
    name_jurisdictions([])


def test_a_request_and_its_response(worker: WorkerHarness) -> None:
    code = "r = await stub.fetch('http://o/p?q', method='post', headers={'a': 'b'}, body='hello')\n"
    act, call = begin(worker, OTHER + code + "return [r.status, r.headers['c'], await r.text()]")
    frame = made(worker, 1)
    assert frame[4] == channel.FETCH
    assert frame[8:12] == ["POST", b"hello", "http://o/p?q", [["a", "b"]]]
    worker.send(channel.REPLY, act, 1, channel.ANSWER, (202, [("C", "d")], b"there"))
    assert worker.answer(call) == [202, "d", "there"]


def test_a_call_begins_when_it_is_made_and_in_that_order(worker: WorkerHarness) -> None:
    """Awaited or not, the last first. Seen to fail where a call begins at its await."""
    act, call = begin(worker, OTHER + "one, two = stub.m(1), stub.m(2)\nstub.m(3)\nreturn [await two, await one]")
    assert [SENDER.decode_arguments(made(worker, n)[9])[0] for n in (1, 2, 3)] == [[1], [2], [3]]
    answer(worker, act, 1, "one")
    answer(worker, act, 2, "two")
    assert worker.answer(call) == ["two", "one"]


def test_what_a_turn_wrote_leaves_before_what_it_calls(worker: WorkerHarness) -> None:
    """So the node holds the call until the write is committed. Seen to fail with the two the other way round."""
    begin(worker, OTHER + "self.ctx.storage.kv.put('n', 1)\nreturn await stub.m()")
    made(worker, 1)
    kinds = [frame[0] for frame in worker.frames if frame[0] in (channel.TURN, channel.CALL)]
    assert kinds == [channel.TURN, channel.CALL]


def test_a_turn_whose_commit_fails_calls_nothing(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail when the calls of an undone turn leave with the next."""
    worker = start(limits={"commit_bytes_max": 32_768})
    code = "waiting = stub.m()\nself.ctx.storage.kv.put('big', os.urandom(200_000))\nawait waiting"
    act, call = begin(worker, OTHER + code)
    with pytest.raises(Exception, match="commit-too-large"):
        worker.answer(call)
    worker.call(act, "increment")
    worker.settle()
    assert [frame for frame in worker.frames if frame[0] == channel.CALL] == []


def test_other_events_come_in_while_a_call_is_awaited(worker: WorkerHarness) -> None:
    """So a cycle of calls does not stand still."""
    act, call = begin(worker, OTHER + "return await stub.m()")
    made(worker, 1)
    assert worker.call(act, "increment") == 1
    answer(worker, act, 1, "late")
    assert worker.answer(call) == "late"


def test_an_answer_waits_for_the_gate(worker: WorkerHarness) -> None:
    act, call = begin(worker, OTHER + "r = await stub.m()\nreturn [r, self.ctx.storage.kv.get('s')]")
    made(worker, 1)
    section = """
async def hold():
    await asyncio.sleep(0.05)
    self.ctx.storage.kv.put('s', 'written')
await self.ctx.block_concurrency_while(hold)
"""
    held = worker.event(act, "arun", section)
    worker.settle()
    answer(worker, act, 1, "r")
    assert worker.answer(call) == ["r", "written"]
    worker.answer(held)


def test_a_call_leaves_an_open_transaction_and_its_answer_comes_in(worker: WorkerHarness) -> None:
    """Seen to stand still for 30 s when calls wait for the transaction's end."""
    code = """
async def inside(txn):
    self.ctx.storage.kv.put('t', 1)
    return await stub.m()
return await self.ctx.storage.transaction(inside)
"""
    act, call = begin(worker, OTHER + code)
    made(worker, 1)
    answer(worker, act, 1, "in")
    assert worker.answer(call) == "in"


def test_what_a_call_raises_says_what_it_is(worker: WorkerHarness) -> None:
    caught = """
try:
    await stub.m()
except Exception as e:
    return [type(e).__name__, getattr(e, 'error_type', ''), e.remote, e.overloaded, e.retryable, e.retry_after_s]
"""
    act = worker.open("Counter")
    cases: list[tuple[str, dict[str, Any], list[Any]]] = [
        ("application-error", {"error_type": "KeyError"}, ["ApplicationError", "KeyError", True, False, False, 1.5]),
        ("overloaded", {"overloaded": True}, ["Overloaded", "", False, True, False, 1.5]),
        ("unavailable", {"retryable": True}, ["Unavailable", "", False, False, True, 1.5]),
        ("outcome-unknown", {}, ["OutcomeUnknown", "", False, False, False, 1.5]),
    ]
    for number, (code, flags, expected) in enumerate(cases, 1):
        call = worker.event(act, "arun", OTHER + caught)
        made(worker, number)
        fail(worker, act, number, code, **flags)
        assert worker.answer(call) == expected


def test_an_error_keeps_what_it_says_of_itself_on_the_next_hop(worker: WorkerHarness) -> None:
    act, call = begin(worker, OTHER + "return await stub.m()")
    made(worker, 1)
    fail(worker, act, 1, "overloaded", overloaded=True)
    payload = worker.effect(call)[2]
    assert payload == ["application-error", "why", "Overloaded", True, False]


def test_an_activation_that_awaits_is_not_closed(worker: WorkerHarness) -> None:
    """Nor one whose call nobody awaits. Seen to fail when only tasks count."""
    act = worker.open("Counter")
    worker.call(act, "run", OTHER + "stub.m()")
    made(worker, 1)
    assert not worker.close(act)
    answer(worker, act, 1, None)
    assert worker.close(act)


def test_answers_that_nobody_waits_for_are_passed_over(worker: WorkerHarness) -> None:
    act = worker.open("Counter")
    answer(worker, act, 7, 1)
    answer(worker, 99, 1, 1)
    assert worker.call(act, "increment") == 1


def test_an_answer_that_cannot_be_read_is_an_error(worker: WorkerHarness) -> None:
    act, call = begin(worker, OTHER + "return await stub.m()")
    made(worker, 1)
    worker.send(channel.REPLY, act, 1, channel.RESULT, b"\xc1")
    with pytest.raises(Exception, match="cannot be read"):
        worker.answer(call)


def test_no_more_than_the_limit_wait_at_once(start: Callable[..., WorkerHarness]) -> None:
    worker = start(limits={"outgoing_calls_max": 3})
    code = "waiting = [stub.m() for _ in range(5)]\nreturn [type(f.exception()).__name__ for f in waiting if f.done()]"
    _, call = begin(worker, OTHER + code)
    assert worker.answer(call) == ["Overloaded", "Overloaded"]
    worker.settle()
    assert len([frame for frame in worker.frames if frame[0] == channel.CALL]) == 3


def test_a_call_of_a_callback_leaves_in_a_turn_of_its_own(worker: WorkerHarness) -> None:
    code = OTHER + "asyncio.get_running_loop().call_soon(stub.m, 1)\nawait asyncio.sleep(0.01)\nreturn 1"
    act, call = begin(worker, code)
    assert SENDER.decode_arguments(made(worker, 1)[9])[0] == [1]
    assert worker.answer(call) == 1
    answer(worker, act, 1, None)


def test_the_entrypoint_calls_objects(start: Callable[..., WorkerHarness]) -> None:
    app = """
    from homing import DurableObject, Response, WorkerEntrypoint

    class Room(DurableObject):
        pass

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(str(await self.env.ROOM.get_by_name("r").size()))
    """
    worker = start(app)
    worker.send(channel.EVENT, 0, 1, channel.DEFAULT, "GET", b"", 5_000, "r", "", ["http://x/", [], False], False, 0, 0)
    frame = made(worker, 1)
    assert (frame[1], frame[5], frame[8]) == (0, "Room", "size")
    answer(worker, 0, 1, 42)
    assert worker.answer(1)[2] == b"42"


def test_a_stub_is_called_by_handlers_only(worker: WorkerHarness) -> None:
    """Not while the module is imported, nor from a thread of its own."""
    code = """
import contextvars
try:
    contextvars.Context().run(self.env.PLAIN.get_by_name('b').m)
except RuntimeError as e:
    result = str(e)
"""
    act = worker.open("Counter")
    assert "handler" in worker.call(act, "run", code)


def test_methods_run_for_objects_with_values_of_their_own(worker: WorkerHarness) -> None:
    act = worker.open("Counter")
    body = SENDER.encode([[1 << 70, {2}], {}])
    worker.send(channel.EVENT, act, 1_000, channel.METHOD, "echo", body, 5_000, "r", "", None, False, 0, 0)
    _, status, payload, *_ = worker.effect(1_000)
    assert (status, SENDER.decode(payload)) == (channel.RESULT, [[1 << 70, {2}], {}])
    for method, given, code in (
        ("nothing", b"", "not-found"),
        ("echo", b"\xc1", "bad-request"),
        ("_private", b"", "not-found"),
    ):
        number = 1_001 + len(worker.frames)
        worker.send(channel.EVENT, act, number, channel.METHOD, method, given, 5_000, "r", "", None, False, 0, 0)
        assert worker.effect(number)[2][0] == code


EXCLUSIVE = """
    import asyncio
    from homing import DurableObject

    class Queue(DurableObject):
        concurrency = "exclusive"

        async def slow(self, mark):
            seen = self.ctx.storage.kv.get("seen") or []
            self.ctx.storage.kv.put("seen", [*seen, f"{mark} begins"])
            await self.env.QUEUE.get_by_name("other").wait()
            self.ctx.storage.kv.put("seen", [*self.ctx.storage.kv.get("seen"), f"{mark} ends"])
            return self.ctx.storage.kv.get("seen")

        def fast(self):
            return self.ctx.storage.kv.get("seen")

        async def fails(self):
            await asyncio.sleep(0)
            raise LookupError
"""


def test_calls_of_an_exclusive_class_run_one_after_the_other(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail without the queue: the second would begin while the first awaits."""
    worker = start(EXCLUSIVE)
    act = worker.open("Queue")
    one, two, three = worker.event(act, "slow", 1), worker.event(act, "slow", 2), worker.event(act, "fast")
    made(worker, 1)
    worker.settle()
    assert len([frame for frame in worker.frames if frame[0] == channel.CALL]) == 1
    answer(worker, act, 1, None)
    assert worker.answer(one) == ["1 begins", "1 ends"]
    made(worker, 2)
    answer(worker, act, 2, None)
    assert worker.answer(two)[2:] == ["2 begins", "2 ends"]
    assert worker.answer(three)[-1] == "2 ends"
    failing, after = worker.event(act, "fails"), worker.event(act, "fast")
    with pytest.raises(Exception, match=r"LookupError|application-error"):
        worker.answer(failing)
    assert worker.answer(after)


def test_what_an_exclusive_call_waits_for_comes_in(start: Callable[..., WorkerHarness]) -> None:
    """Seen to stand still when a call that is a part of the running one is queued."""
    worker = start(EXCLUSIVE)
    act = worker.open("Queue")
    one, queued = worker.event(act, "slow", 1), worker.event(act, "fast")
    made(worker, 1)
    assert worker.call(act, "fast", _awaited=True) == ["1 begins"]
    answer(worker, act, 1, None)
    worker.answer(one)
    assert worker.answer(queued) == ["1 begins", "1 ends"]


def test_what_it_waits_for_comes_in_when_the_gate_was_closed_meanwhile(start: Callable[..., WorkerHarness]) -> None:
    """Seen to stand still when only the front of the queue is looked at."""
    app = (
        EXCLUSIVE
        + """
        async def gated(self):
            waiting = self.env.QUEUE.get_by_name("other").wait()
            await self.ctx.block_concurrency_while(lambda: asyncio.sleep(0.05))
            return await waiting
    """
    )
    worker = start(app)
    act = worker.open("Queue")
    one = worker.event(act, "gated")
    made(worker, 1)
    queued, inner = worker.event(act, "fast"), worker.event(act, "fast", _awaited=True)
    worker.answer(inner)
    answer(worker, act, 1, 1)
    assert worker.answer(one) == 1
    worker.answer(queued)


def test_a_call_in_the_queue_that_nobody_waits_for_does_not_begin(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail when the queue is left as it is. What runs goes on: seen to fail when the answer is yes for all."""
    worker = start(EXCLUSIVE)
    act = worker.open("Queue")
    one, two, three = worker.event(act, "slow", 1), worker.event(act, "slow", 2), worker.event(act, "fast")
    made(worker, 1)
    for call in (two, one, 999):
        worker.send(channel.GIVE_UP, act, call)
    worker.settle()
    assert [frame for frame in worker.frames if frame[0] == channel.GIVE_UP] == [[channel.GIVE_UP, act, two]]
    answer(worker, act, 1, None)
    assert worker.answer(one) == ["1 begins", "1 ends"]
    assert worker.answer(three) == ["1 begins", "1 ends"]


def test_a_call_that_an_object_was_constructed_for_has_begun(start: Callable[..., WorkerHarness]) -> None:
    """What its constructor wrote is recorded under the call's key. Seen to fail when it is like any other there."""
    app = """
        import asyncio
        from homing import DurableObject

        class Slow(DurableObject):
            def __init__(self, ctx, env):
                super().__init__(ctx, env)
                self.begun = asyncio.Event()
                ctx.storage.kv.put("made", True)
                ctx.block_concurrency_while(self.env.SLOW.get_by_name("other").wait)

            def answer(self):
                return 1
    """
    worker = start(app)
    act = worker.open("Slow")
    one, two = worker.event(act, "answer"), worker.event(act, "answer")
    made(worker, 1)
    for call in (one, two):
        worker.send(channel.GIVE_UP, act, call)
    worker.settle()
    assert [frame for frame in worker.frames if frame[0] == channel.GIVE_UP] == [[channel.GIVE_UP, act, two]]
    answer(worker, act, 1, None)
    assert worker.answer(one) == 1


def test_what_was_queued_for_too_long_is_refused(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail when only the call's own deadline counts."""
    worker = start(EXCLUSIVE, limits={"queued_s_max": 0.02})
    act = worker.open("Queue")
    one = worker.event(act, "slow", 1)
    made(worker, 1)
    queued = worker.event(act, "fast")
    worker.settle()
    time.sleep(0.05)
    answer(worker, act, 1, None)
    worker.answer(one)
    assert worker.effect(queued)[1:3] == [
        channel.REFUSED, ["overloaded", "the call was queued for too long", "wait"],
    ]  # fmt: skip
    assert worker.call(act, "fast")


def test_another_concurrency_is_refused_when_the_application_is_loaded(start: Callable[..., WorkerHarness]) -> None:
    worker = start(EXCLUSIVE.replace('"exclusive"', '"once"'))
    assert worker.hello[:3] == [
        channel.FAILED,
        "ValueError",
        "Queue.concurrency is \"exclusive\", or is not set: 'once'",
    ]
