"""Streams in the arguments and results of methods, at the worker's end: over a real socketpair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from homing import flow
from homing.flow import BROKEN, GOES_ON, WHOLE, cost_of
from homing.sent import Sender
from homing.streams import ReadableStream
from homing_node.workers.inside.channel import (
    CALL,
    EVENT,
    FAILURE,
    FLOW,
    METHOD,
    OF_CALL,
    OF_EVENT,
    REPLY,
    RESULT,
    STOP,
    TAKEN,
    TURN,
)  # fmt: skip
from worker_harness import WorkerHarness

SENDER = Sender(cast("Any", None), cast("Any", None))
APP = """
    import asyncio
    from homing import DurableObject, ReadableStream, Response, RpcTarget, TransformStream, WorkerEntrypoint

    log = []

    async def lines(*texts):
        try:
            for text in texts:
                yield text
        finally:
            log.append("closed")

    class Pipe(DurableObject):
        def give(self):
            return {"rows": [lines("a", "b"), ReadableStream([b"c"])]}

        async def events(self):
            for n in range(3):
                self.ctx.storage.kv.put("n", n)
                yield f"{n}"

        async def endless(self):
            try:
                while True:
                    yield bytes(60_000)
            finally:
                log.append("closed")

        def too_many(self):
            return [lines("x") for _ in range(17)]

        def twice(self):
            stream = ReadableStream([b"c"])
            return [stream, stream]

        async def undone(self):
            for n in range(20):
                self.ctx.storage.kv.put(f"k{n}", bytes(1_000_000))
            return self.endless()

        async def join(self, parts):
            return b"".join([await part.collect() for part in parts["parts"]])

        async def upper(self, stream):
            async def raised():
                async for piece in stream:
                    yield piece.upper()
            return raised()

        def keep(self, stream):
            self.stream = stream
            return "kept"

        async def kept(self):
            return await self.stream.collect()

        def drop(self, stream):
            return "dropped"

        async def gated(self, stream):
            first = await anext(aiter(stream))
            async def block():
                log.append("gated")
                await asyncio.sleep(0.2)
                log.append("open")
            async def read():
                async for piece in stream:
                    log.append("piece")
            await asyncio.gather(self.ctx.block_concurrency_while(block), read())
            return log

        async def send(self):
            other = self.env.PIPE.get_by_name("b")
            return await other.join({"parts": [lines("one"), lines("two")]}, how=lines("three"))

        async def send_read(self):
            stream = ReadableStream(lines("one", "two"))
            reader = stream.get_reader()
            await self.env.PIPE.get_by_name("b").keep(stream)

        async def send_rest(self):
            stream = ReadableStream(lines("one", "two"))
            await anext(aiter(stream))
            asked = self.env.PIPE.get_by_name("b").keep(stream)
            try:
                stream.get_reader()
            except Exception as error:
                log.append(str(error))
            return await asked

        async def send_in_vain(self):
            asked = self.env.PIPE.get_by_name("b").keep(lines("one"))
            for n in range(20):
                self.ctx.storage.kv.put(f"k{n}", bytes(1_000_000))
            await asked

        async def ask(self):
            answer = await self.env.PIPE.get_by_name("b").give()
            parts = [await each.collect() for each in answer["rows"]]
            return b"|".join(parts)

        async def ask_and_drop(self):
            await self.env.PIPE.get_by_name("b").give()
            return "done"

        async def ask_with(self):
            return await self.env.PIPE.get_by_name("b").take(lambda: lines("from", "here"))

        def seen(self):
            return log

    class Careful(Pipe):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            ctx.block_concurrency_while(lambda: asyncio.sleep(0.05))

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            return Response(await self.env.PIPE.get_by_name("b").upper(lines("x", "y")))
"""


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


class Caller:
    """Calls methods as other objects do, and has their streams."""

    def __init__(self, worker: WorkerHarness) -> None:
        self._worker = worker
        self._number = 10_000

    def call(self, act: int, method: str, *args: Any, target: int = 0) -> int:
        """Send a call; each `ReadableStream` in it is one that the test sends behind it."""
        self._number += 1
        streams: list[ReadableStream] = []
        body = SENDER.encode([args, {}], streams)
        event = (METHOD, method, body, 5_000, "", "", None, False, target, len(streams))
        self._worker.send(EVENT, act, self._number, *event)
        return self._number

    def piece(self, act: int, call: int, data: bytes, end: int = GOES_ON, at: int = 0) -> None:
        self._worker.send(FLOW, act, OF_EVENT, call, at, data, end)

    def result(self, call: int) -> tuple[Any, int]:
        """What a call returned, each stream in it as its number; and how many these are."""
        _, status, payload, _, _, *flowing = self._worker.effect(call)
        if status == FAILURE:
            raise AssertionError(payload)
        count = flowing[0] if flowing else 0
        numbers = cast("list[ReadableStream]", list(range(count)))
        return SENDER.decode(payload, numbers), count


@pytest.fixture
def caller(worker: WorkerHarness) -> Caller:
    return Caller(worker)


def stream() -> ReadableStream:
    return ReadableStream(())


def closes(worker: WorkerHarness, act: int) -> bool:
    """Whether nothing is left of an activation, when what was cancelled has ended."""
    return any(worker.close(act) for _ in range(50))


def frames(worker: WorkerHarness, kind: int, act: int, side: int, call: int, at: int = 0) -> list[list[Any]]:
    """What was said of a stream so far."""
    return [frame[5:] for frame in worker.frames if frame[:5] == [kind, act, side, call, at]]


# -- results ------------------------------------------------------------------------------------------------------


def test_streams_in_a_result_flow_behind_it_each_by_itself(worker: WorkerHarness, caller: Caller):
    act = worker.open("Pipe")
    call = caller.call(act, "give")
    assert caller.result(call) == ({"rows": [0, 1]}, 2)
    assert worker.body(act, call, at=1) == (b"c", WHOLE)
    assert worker.body(act, call, at=0) == (b"ab", WHOLE)
    assert closes(worker, act), "nothing of it is left"


def test_a_piece_of_a_result_leaves_behind_what_its_turn_wrote(worker: WorkerHarness, caller: Caller):
    """The output gate: the node sees the commit first, so that it can hold the piece for it.

    Broken by: pieces that are sent in the turn that yields them.
    """
    act = worker.open("Pipe")
    call = caller.call(act, "events")
    assert worker.body(act, call) == (b"012", WHOLE)
    order = [frame[0] for frame in worker.frames if frame[0] in (TURN, FLOW) and frame[1] == act]
    assert order == [TURN, TURN, FLOW, TURN, FLOW, TURN, FLOW, FLOW]


def test_a_reader_that_takes_nothing_stops_the_generator_and_may_end_it(worker: WorkerHarness, caller: Caller):
    """Broken by: room that is always there; or a STOP that is not passed on to the code."""
    act = worker.open("Pipe")
    call = caller.call(act, "endless")
    caller.result(call)
    for _ in range(20):
        worker.settle()
    sent = sum(cost_of(data) for data, _ in frames(worker, FLOW, act, OF_EVENT, call))
    assert flow.window_bytes <= sent < flow.window_bytes + 61_000
    worker.send(TAKEN, act, OF_EVENT, call, 0, STOP)
    worker.settle()
    assert worker.call(act, "seen") == ["closed"]
    assert closes(worker, act)


def test_a_result_has_so_many_streams_and_each_once(worker: WorkerHarness, caller: Caller):
    """Broken by: no bound; or a stream that two readers would share."""
    act = worker.open("Pipe")
    failure = worker.effect(caller.call(act, "too_many"))
    assert (failure[1], failure[2][2]) == (FAILURE, "TooLarge")
    failure = worker.effect(caller.call(act, "twice"))
    assert "has a reader cannot be sent" in failure[2][1]


def test_clients_from_outside_are_told_of_fetch(worker: WorkerHarness):
    """JSON has no streams. Broken by: a type error of the encoder's."""
    act = worker.open("Pipe")
    for method in ("give", "events"):
        failure = worker.failure(act, method)
        assert (failure.code, "use `fetch`" in failure.message) == ("not-supported", True)


def test_a_result_whose_commit_fails_has_no_streams(worker: WorkerHarness, caller: Caller):
    """Broken by: a producer that goes on for nobody, and keeps its object in memory."""
    act = worker.open("Pipe")
    call = caller.call(act, "undone")
    assert worker.effect(call)[1] == FAILURE
    worker.settle()
    assert not [frame for frame in frames(worker, FLOW, act, OF_EVENT, call) if frame[1] == GOES_ON]
    assert closes(worker, act)


# -- arguments ----------------------------------------------------------------------------------------------------


def test_streams_in_arguments_are_read_as_they_come(worker: WorkerHarness, caller: Caller):
    """And who sends them hears how much was taken. Broken by: a reader that gives no credit."""
    act = worker.open("Pipe")
    call = caller.call(act, "join", {"parts": [stream(), stream()]})
    assert worker.wait(lambda frame: frame[0] == TAKEN) == [TAKEN, act, OF_EVENT, call, 0, cost_of(b"")]
    caller.piece(act, call, b"one")
    caller.piece(act, call, b"", WHOLE)
    assert worker.wait(lambda frame: frame[0] == TAKEN and frame[4]) == [TAKEN, act, OF_EVENT, call, 1, cost_of(b"")]
    caller.piece(act, call, b"two", at=1)
    caller.piece(act, call, b"", WHOLE, at=1)
    assert caller.result(call) == (b"onetwo", 0)


def test_what_comes_goes_back_piece_by_piece(worker: WorkerHarness, caller: Caller):
    """An argument flows on behind the answer. Broken by: arguments that end with their call, as requests do."""
    act = worker.open("Pipe")
    call = caller.call(act, "upper", stream())
    assert caller.result(call) == (0, 1)
    caller.piece(act, call, b"one")
    worker.wait(lambda frame: frame == [FLOW, act, OF_EVENT, call, 0, b"ONE", GOES_ON])
    caller.piece(act, call, b"two")
    caller.piece(act, call, b"", WHOLE)
    assert worker.body(act, call) == (b"ONETWO", WHOLE)


def test_a_stream_is_kept_for_later(worker: WorkerHarness, caller: Caller):
    act = worker.open("Pipe")
    first = caller.call(act, "keep", stream())
    assert caller.result(first) == ("kept", 0)
    later = caller.call(act, "kept")
    caller.piece(act, first, b"late")
    caller.piece(act, first, b"", WHOLE)
    assert caller.result(later) == (b"late", 0)


def test_who_drops_a_stream_wants_no_more_of_it(worker: WorkerHarness, caller: Caller):
    """Broken by: no word when it is dropped, or an event that holds it; its sender would wait for ever."""
    act = worker.open("Pipe")
    call = caller.call(act, "drop", stream())
    assert caller.result(call) == ("dropped", 0)
    assert worker.wait(lambda frame: frame[0] == TAKEN) == [TAKEN, act, OF_EVENT, call, 0, STOP]


def test_a_stream_that_breaks_off_is_an_error_where_it_is_read(worker: WorkerHarness, caller: Caller):
    """Also where it does so before its call begins. Broken by: an end that looks as if all was there."""
    act = worker.open("Careful")
    caller.call(act, "seen")
    call = caller.call(act, "join", {"parts": [stream()]})
    caller.piece(act, call, b"", BROKEN)
    failure = worker.effect(call)
    assert (failure[1], failure[2][2]) == (FAILURE, "BadRequest")
    assert "broke off" in failure[2][1]


def test_a_call_that_waits_for_the_constructor_has_its_streams(worker: WorkerHarness, caller: Caller):
    """Its event is begun twice. Broken by: streams that are made anew; the first would say that it is dropped."""
    act = worker.open("Careful")
    call = caller.call(act, "join", {"parts": [stream()]})
    assert worker.wait(lambda frame: frame[0] == TAKEN) == [TAKEN, act, OF_EVENT, call, 0, cost_of(b"")]
    caller.piece(act, call, b"one")
    caller.piece(act, call, b"", WHOLE)
    assert caller.result(call) == (b"one", 0)


def test_pieces_of_an_argument_wait_at_the_input_gate(worker: WorkerHarness, caller: Caller):
    """Broken by: a reader that goes on while a section holds the gate."""
    act = worker.open("Pipe")
    call = caller.call(act, "gated", stream())
    worker.wait(lambda frame: frame[0] == TAKEN)
    caller.piece(act, call, b"one")
    worker.wait(lambda frame: frame[0] == TAKEN)
    caller.piece(act, call, b"two")
    caller.piece(act, call, b"", WHOLE)
    assert caller.result(call)[0] == ["gated", "open", "piece"]


def test_numbers_that_are_no_streams_are_refused(worker: WorkerHarness):
    """Broken by: a number that is looked up whatever it is."""
    act = worker.open("Pipe")
    streams: list[ReadableStream] = []
    body = SENDER.encode([[stream()], {}], streams)
    worker.send(EVENT, act, 77, METHOD, "drop", body, 5_000, "", "", None, False, 0, 0)
    assert worker.effect(77)[2][0] == "bad-request"


# -- calls --------------------------------------------------------------------------------------------------------


def test_a_call_takes_its_streams_along(worker: WorkerHarness):
    """They begin when they are read: until then the call may be sent again. Broken by: pieces before that."""
    act = worker.open("Pipe")
    call = worker.event(act, "send")
    made = worker.wait(lambda frame: frame[0] == CALL)
    number = made[3]
    numbers = cast("list[ReadableStream]", [0, 1, 2])
    assert SENDER.decode(made[9], numbers) == [[{"parts": [0, 1]}], {"how": 2}]
    assert made[-1] == 3
    worker.settle()
    assert not frames(worker, FLOW, act, OF_CALL, number)
    worker.send(TAKEN, act, OF_CALL, number, 1, cost_of(b""))
    assert worker.body(act, number, OF_CALL, at=1) == (b"two", WHOLE)
    worker.send(TAKEN, act, OF_CALL, number, 0, STOP)
    worker.send(REPLY, act, number, RESULT, SENDER.encode("ok"))
    assert worker.answer(call) == "ok"
    worker.send(TAKEN, act, OF_CALL, number, 2, cost_of(b""))
    assert worker.body(act, number, OF_CALL, at=2) == (b"three", WHOLE), "behind the answer, too"


def test_the_streams_of_a_call_that_fails_are_closed(worker: WorkerHarness):
    """Broken by: a generator that waits for ever for whoever does not read it."""
    act = worker.open("Pipe")
    call = worker.event(act, "send")
    number = worker.wait(lambda frame: frame[0] == CALL)[3]
    worker.send(TAKEN, act, OF_CALL, number, 0, cost_of(b""))
    worker.wait(lambda frame: frame[:5] == [FLOW, act, OF_CALL, number, 0])
    worker.send(REPLY, act, number, FAILURE, ("unavailable", "gone", "", False, True, 0))
    assert worker.effect(call)[1] == FAILURE
    worker.wait(lambda frame: frame == [FLOW, act, OF_CALL, number, 2, b"", BROKEN])
    assert closes(worker, act)


def test_a_stream_that_has_a_reader_is_not_sent(worker: WorkerHarness):
    act = worker.open("Pipe")
    assert "has a reader cannot be sent" in worker.failure(act, "send_read").message


def test_what_was_sent_belongs_to_the_other(worker: WorkerHarness):
    """Of what was read in part the rest is sent. Broken by: two that read one stream."""
    act = worker.open("Pipe")
    call = worker.event(act, "send_rest")
    number = worker.wait(lambda frame: frame[0] == CALL)[3]
    worker.send(TAKEN, act, OF_CALL, number, 0, cost_of(b""))
    assert worker.body(act, number, OF_CALL) == (b"two", WHOLE)
    worker.send(REPLY, act, number, RESULT, SENDER.encode("ok"))
    assert worker.answer(call) == "ok"
    assert worker.call(act, "seen") == ["the stream has a reader already", "closed"]


def test_streams_of_a_call_that_is_not_made_are_closed(worker: WorkerHarness):
    act = worker.open("Pipe")
    assert worker.failure(act, "send_in_vain").code == "commit-too-large"
    assert not [frame for frame in worker.frames if frame[0] == CALL]
    assert closes(worker, act)


def test_streams_of_an_answer_are_read_as_they_come(worker: WorkerHarness):
    act = worker.open("Pipe")
    call = worker.event(act, "ask")
    number = worker.wait(lambda frame: frame[0] == CALL)[3]
    body = SENDER.encode({"rows": [stream(), stream()]}, [])
    worker.send(REPLY, act, number, RESULT, body, 2)
    for at, data in ((0, b"a"), (1, b"b")):
        worker.send(FLOW, act, OF_CALL, number, at, data, GOES_ON)
        worker.send(FLOW, act, OF_CALL, number, at, b"", WHOLE)
    assert worker.answer(call) == {"$bytes": "YXxi"}


def test_streams_of_an_answer_that_nobody_reads_are_not_wanted(worker: WorkerHarness):
    act = worker.open("Pipe")
    call = worker.event(act, "ask_and_drop")
    number = worker.wait(lambda frame: frame[0] == CALL)[3]
    worker.send(REPLY, act, number, RESULT, SENDER.encode({"rows": [stream(), stream()]}, []), 2)
    assert worker.answer(call) == "done"
    said = [worker.wait(lambda frame: frame[0] == TAKEN) for _ in range(2)]
    assert sorted(said) == [[TAKEN, act, OF_CALL, number, at, STOP] for at in range(2)]


def test_a_function_that_was_passed_answers_with_a_stream(worker: WorkerHarness, caller: Caller):
    act = worker.open("Pipe")
    worker.event(act, "ask_with")
    made = worker.wait(lambda frame: frame[0] == CALL)
    (function,), _ = SENDER.decode_arguments(made[9])
    call = caller.call(act, "", target=function.reference.target)
    assert caller.result(call) == (0, 1)
    assert worker.body(act, call) == (b"fromhere", WHOLE)


def test_the_entrypoint_passes_streams_on(worker: WorkerHarness):
    """One to an object, and what that answers to its client."""
    call = worker.request(0, "GET", "http://x/")
    number = worker.wait(lambda frame: frame[0] == CALL)[3]
    worker.send(REPLY, 0, number, RESULT, SENDER.encode(stream(), []), 1)
    assert worker.answer(call) == [200, [], b""]
    worker.send(TAKEN, 0, OF_CALL, number, 0, cost_of(b""))
    assert worker.body(0, number, OF_CALL) == (b"xy", WHOLE)
    worker.send(FLOW, 0, OF_CALL, number, 0, b"XY", GOES_ON)
    worker.send(FLOW, 0, OF_CALL, number, 0, b"", WHOLE)
    assert worker.body(0, call) == (b"XY", WHOLE)
