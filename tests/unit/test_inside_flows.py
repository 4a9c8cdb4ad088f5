"""Bodies that flow, at the worker's end: over a real socketpair, with a test in the place of the node."""

from collections.abc import Callable
from typing import Any

import pytest

from homing import flow, streams
from homing.flow import BROKEN, GOES_ON, WHOLE, cost_of
from homing_node.workers.inside.channel import (
    ANSWER,
    CALL,
    FAILURE,
    FLOW,
    OF_CALL,
    OF_EVENT,
    REPLY,
    STOP,
    TAKEN,
    TURN,
)  # fmt: skip
from worker_harness import WorkerHarness

APP = """
    import asyncio
    from homing import DurableObject, Response, TransformStream, WorkerEntrypoint

    log = []

    class Feed(DurableObject):
        async def fetch(self, request):
            path = request.url.rsplit("/", 1)[1]
            return await getattr(self, "on_" + path)(request)

        async def on_lines(self, request):
            async def lines():
                for n in range(3):
                    yield f"{n}\\n"
            return Response(lines(), status=203, headers={"x-a": "b"})

        async def on_endless(self, request):
            async def endless():
                try:
                    while True:
                        yield bytes(60_000)
                finally:
                    log.append("closed")
            return Response(endless())

        async def on_stubborn(self, request):
            async def stubborn():
                while True:
                    try:
                        await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        yield b"and yet"
            return Response(stubborn())

        async def on_writes(self, request):
            async def rows():
                for n in range(3):
                    self.ctx.storage.kv.put("n", n)
                    yield f"{n}"
            return Response(rows())

        async def on_fails(self, request):
            async def fails():
                yield b"half"
                raise ValueError("no more")
            return Response(fails())

        async def on_too_much(self, request):
            async def commits():
                yield b"before"
                for n in range(20):
                    self.ctx.storage.kv.put(f"k{n}", bytes(1_000_000))
                yield b"never"
            return Response(commits())

        async def on_later(self, request):
            stream = TransformStream()
            async def write():
                writer = stream.writable.get_writer()
                for n in range(2):
                    self.ctx.storage.kv.put("n", n)
                    await writer.write(f"data: {n}\\n\\n")
                await writer.close()
            self.ctx.wait_until(write())
            return Response(stream.readable)

        async def on_echo(self, request):
            return Response(request.body)

        async def on_read(self, request):
            return Response(await request.bytes())

        async def on_json(self, request):
            return Response.json(await request.json())

        async def on_ignores(self, request):
            return Response("done")

        async def on_gated(self, request):
            first = await anext(aiter(request.body))
            async def block():
                log.append("gated")
                await asyncio.sleep(0.2)
                log.append("open")
            gate = self.ctx.block_concurrency_while(block)
            async def read():
                async for piece in request.body:
                    log.append("piece")
            await asyncio.gather(gate, read())
            return Response("|".join(log))

        async def on_ask(self, request):
            answer = await self.env.FEED.get_by_name("b").fetch("http://x/lines", body=request.body, method="POST")
            return Response(answer.body, status=answer.status)

        async def on_in_vain(self, request):
            asked = self.env.FEED.get_by_name("b").fetch("http://x/lines", body=request.body, method="POST")
            for n in range(20):
                self.ctx.storage.kv.put(f"k{n}", bytes(1_000_000))
            try:
                await asked
            except Exception as error:
                while request.body.homing_reader is None and not request.body.cancelled:
                    await asyncio.sleep(0)
                return Response(f"{type(error).__name__} closed")

        async def on_gives_up(self, request):
            answer = await self.env.FEED.get_by_name("b").fetch("http://x/lines")
            return Response(str(answer.status))

        def sync(self):
            return log

    class Careful(Feed):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            ctx.block_concurrency_while(lambda: asyncio.sleep(0.05))

    class Default(WorkerEntrypoint):
        async def fetch(self, request):
            async def lines():
                yield "a"
                yield "b"
            return Response(lines())
"""


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


def asks(worker: WorkerHarness, act: int, path: str, **options: Any) -> int:
    return worker.request(act, "POST", f"http://x/{path}", **options)


def pieces(worker: WorkerHarness, act: int, call: int, side: int = OF_EVENT) -> list[list[Any]]:
    """What came of a body so far: pieces and ends."""
    return [frame[5:] for frame in worker.frames if frame[:5] == [FLOW, act, side, call, 0]]


def test_an_answer_flows_behind_its_head(worker: WorkerHarness):
    act = worker.open("Feed")
    call = asks(worker, act, "lines")
    effect = worker.effect(call)
    assert (effect[1:3], effect[5]) == ([ANSWER, [203, [["x-a", "b"]], b""]], 1)
    assert worker.body(act, call) == (b"0\n1\n2\n", WHOLE)
    assert worker.close(act), "nothing of it is left"


def test_the_entrypoint_answers_so_too(worker: WorkerHarness):
    call = asks(worker, 0, "any")
    assert worker.answer(call) == [200, [], b""]
    assert worker.body(0, call) == (b"ab", WHOLE)


def test_a_reader_that_takes_nothing_stops_the_generator(worker: WorkerHarness):
    """Broken by: room that is always there."""
    act = worker.open("Feed")
    call = asks(worker, act, "endless")
    worker.answer(call)

    def sent() -> int:
        for _ in range(20):
            worker.settle()
        return sum(cost_of(data) for data, _ in pieces(worker, act, call))

    before = sent()
    assert flow.window_bytes <= before < flow.window_bytes + 61_000
    worker.send(TAKEN, act, OF_EVENT, call, 0, 120_000)
    assert before < sent() <= before + 121_000
    assert not worker.close(act), "it stays for as long as it answers"


def test_a_client_that_goes_away_closes_the_generator(worker: WorkerHarness):
    """Broken by: a STOP that is not passed on to the code."""
    act = worker.open("Feed")
    call = asks(worker, act, "endless")
    worker.answer(call)
    worker.send(TAKEN, act, OF_EVENT, call, 0, STOP)
    worker.settle()
    assert worker.call(act, "sync") == ["closed"]
    assert worker.close(act)


def test_code_that_will_not_be_cancelled_sends_nothing_more(worker: WorkerHarness):
    act = worker.open("Feed")
    call = asks(worker, act, "stubborn")
    worker.answer(call)
    worker.settle()
    worker.send(TAKEN, act, OF_EVENT, call, 0, STOP)
    worker.settle()
    worker.call(act, "sync")
    assert [frame for frame in pieces(worker, act, call) if frame[1] == GOES_ON] == []


def test_a_piece_leaves_behind_what_its_turn_wrote(worker: WorkerHarness):
    """The output gate of chunks: the node sees the commit first, so that it can hold the piece for it.

    Broken by: pieces that are sent in the turn that yields them.
    """
    act = worker.open("Feed")
    call = asks(worker, act, "writes")
    assert worker.body(act, call) == (b"012", WHOLE)
    order = [frame[0] for frame in worker.frames if frame[0] in (TURN, FLOW) and frame[1] == act]
    assert order == [TURN, TURN, FLOW, TURN, FLOW, TURN, FLOW, FLOW]


def test_server_sent_events_are_written_over_time(worker: WorkerHarness):
    act = worker.open("Feed")
    call = asks(worker, act, "later")
    assert worker.body(act, call) == (b"data: 0\n\ndata: 1\n\n", WHOLE)
    kinds = [frame[0] for frame in worker.frames if frame[0] in (TURN, FLOW) and frame[1] == act and frame[3]]
    assert kinds.index(TURN) < kinds.index(FLOW)


def test_a_generator_that_fails_breaks_its_body_off(worker: WorkerHarness):
    """Broken by: an end that is sent as if all was there."""
    act = worker.open("Feed")
    call = asks(worker, act, "fails")
    assert worker.body(act, call) == (b"half", BROKEN)
    assert "no more" in worker.logs("traceback")[0][4]


def test_a_piece_of_a_turn_whose_commit_fails_never_leaves(worker: WorkerHarness):
    """Broken by: pieces that are sent in the turn that yields them."""
    act = worker.open("Feed")
    call = asks(worker, act, "too_much")
    assert worker.body(act, call) == (b"before", BROKEN)


def test_under_a_key_an_answer_is_kept_so_it_is_whole(worker: WorkerHarness):
    act = worker.open("Feed")
    assert worker.answer(asks(worker, act, "lines", keyed=True)) == [203, [["x-a", "b"]], b"0\n1\n2\n"]


def test_a_request_is_read_as_it_comes(worker: WorkerHarness):
    """And its sender hears how much was taken. Broken by: a reader that gives no credit."""
    act = worker.open("Feed")
    call = asks(worker, act, "echo", body=b"one", flows=True)
    assert worker.answer(call) == [200, [], b""]
    taken = worker.wait(lambda frame: frame[0] == TAKEN)
    assert taken == [TAKEN, act, OF_EVENT, call, 0, cost_of(b"one")]
    worker.send(FLOW, act, OF_EVENT, call, 0, b"two", GOES_ON)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", WHOLE)
    worker.wait(lambda frame: frame == [FLOW, act, OF_EVENT, call, 0, b"", WHOLE])
    assert b"".join(data for data, _ in pieces(worker, act, call)) == b"onetwo"


def test_a_request_is_read_as_a_whole_too(worker: WorkerHarness):
    act = worker.open("Feed")
    call = asks(worker, act, "json", body=b'{"a"', flows=True)
    worker.wait(lambda frame: frame[0] == TAKEN)
    worker.send(FLOW, act, OF_EVENT, call, 0, b":1}", GOES_ON)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", WHOLE)
    assert worker.answer(call)[2] == b'{"a":1}'


def test_a_request_that_is_too_long_to_be_read_as_a_whole_is_refused(
    worker: WorkerHarness, monkeypatch: pytest.MonkeyPatch
):
    """Broken by: an error that is the object's own, 500."""
    monkeypatch.setattr(streams, "COLLECT_BYTES_MAX", 4)
    act = worker.open("Feed")
    call = asks(worker, act, "read", body=b"12345", flows=True)
    assert worker.effect(call)[1] == FAILURE
    assert worker.effect(call)[2][0] == "too-large"


@pytest.mark.parametrize("path", ["read", "echo"])
def test_a_request_that_breaks_off_is_an_error_where_it_is_read(worker: WorkerHarness, path: str):
    """Broken by: a broken body that reads as a short one."""
    act = worker.open("Feed")
    call = asks(worker, act, path, body=b"one", flows=True)
    worker.wait(lambda frame: frame[0] == TAKEN)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", BROKEN)
    if path == "echo":
        worker.wait(lambda frame: frame == [FLOW, act, OF_EVENT, call, 0, b"", BROKEN])
    else:
        assert worker.effect(call)[1] == FAILURE
        assert "broke off" in worker.effect(call)[2][1]


def test_who_does_not_read_a_request_wants_no_more_of_it(worker: WorkerHarness):
    """Broken by: no word when the stream is dropped; the client would send into the void."""
    act = worker.open("Feed")
    call = asks(worker, act, "ignores", body=b"one", flows=True)
    assert worker.answer(call)[2] == b"done"
    assert worker.wait(lambda frame: frame[0] == TAKEN) == [TAKEN, act, OF_EVENT, call, 0, STOP]


def test_a_request_that_waits_for_the_constructor_is_read_all_the_same(worker: WorkerHarness):
    """Its event is begun twice. Broken by: the first reader's end, taken for the second's."""
    act = worker.open("Careful")
    call = asks(worker, act, "read", body=b"one", flows=True)
    assert worker.wait(lambda frame: frame[0] == TAKEN) == [TAKEN, act, OF_EVENT, call, 0, cost_of(b"one")]
    worker.send(FLOW, act, OF_EVENT, call, 0, b"two", GOES_ON)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", WHOLE)
    assert worker.answer(call)[2] == b"onetwo"


def test_a_client_that_goes_away_before_its_request_begins(worker: WorkerHarness):
    """Broken by: an end that comes for a request which still waits, and is forgotten."""
    act = worker.open("Careful")
    first = asks(worker, act, "ignores")
    call = asks(worker, act, "read", body=b"one", flows=True)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", BROKEN)
    assert worker.answer(first)[2] == b"done"
    assert "broke off" in worker.effect(call)[2][1]


def test_pieces_wait_at_the_input_gate(worker: WorkerHarness):
    """Broken by: a reader that goes on while a section holds the gate."""
    act = worker.open("Feed")
    call = asks(worker, act, "gated", body=b"one", flows=True)
    worker.wait(lambda frame: frame[0] == TAKEN)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"two", GOES_ON)
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", WHOLE)
    assert worker.answer(call)[2] == b"gated|open|piece"


def test_what_comes_goes_on_to_another_object_and_back(worker: WorkerHarness):
    """A request's body flows into a call, and the call's answer into the request's: nothing is collected on the way."""
    act = worker.open("Feed")
    call = asks(worker, act, "ask", body=b"one", flows=True)
    made = worker.wait(lambda frame: frame[0] == CALL)
    number = made[3]
    assert (made[8], made[9], made[-1]) == ("POST", b"", 1)
    worker.settle()
    assert pieces(worker, act, number, OF_CALL) == [], "not before the call runs"
    worker.send(TAKEN, act, OF_CALL, number, 0, cost_of(b""))
    worker.send(FLOW, act, OF_EVENT, call, 0, b"", WHOLE)
    worker.send(REPLY, act, number, ANSWER, [201, [["a", "b"]], b""], 1)
    assert worker.body(act, number, OF_CALL) == (b"one", WHOLE)
    assert worker.answer(call) == [201, [], b""]
    worker.send(FLOW, act, OF_CALL, number, 0, b"back", GOES_ON)
    worker.send(FLOW, act, OF_CALL, number, 0, b"", WHOLE)
    assert worker.body(act, call) == (b"back", WHOLE)


def test_who_does_not_read_an_answer_wants_no_more_of_it(worker: WorkerHarness):
    act = worker.open("Feed")
    call = asks(worker, act, "gives_up")
    number = worker.wait(lambda frame: frame[0] == CALL)[3]
    worker.send(REPLY, act, number, ANSWER, [200, [], b""], 1)
    assert worker.answer(call)[2] == b"200"
    assert worker.wait(lambda frame: frame[0] == TAKEN) == [TAKEN, act, OF_CALL, number, 0, STOP]


def test_an_activation_that_ends_says_nothing_more(worker: WorkerHarness):
    act = worker.open("Feed")
    call = asks(worker, act, "endless")
    worker.answer(call)
    worker.abort(act)
    before = len(pieces(worker, act, call))
    worker.send(TAKEN, act, OF_EVENT, call, 0, 120_000)
    worker.settle()
    assert len(pieces(worker, act, call)) == before


def test_a_body_of_a_call_that_is_not_made_is_closed(worker: WorkerHarness):
    """The commit of its turn fails, so nobody is called. Broken by: a producer that waits for ever for its call."""
    act = worker.open("Feed")
    assert worker.answer(asks(worker, act, "in_vain", body=b"one", flows=True))[2] == b"CommitTooLarge closed"
    assert not [frame for frame in worker.frames if frame[0] == CALL]
    assert worker.close(act)
