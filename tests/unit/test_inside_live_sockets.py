"""Live sockets as a worker has them: listeners, what they hear, and what keeps an instance in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from homing_node.workers.inside import channel
from homing_node.workers.inside.sockets import BINARY, CLOSE, LIVE, TEXT
from worker_harness import Failed, WorkerHarness

APP = """
import asyncio
from homing import DurableObject, Response, WebSocketPair, WorkerEntrypoint, fetch


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.heard = []
        self.may_go_on = asyncio.Event()
        self.answer = None

    def fetch(self, request):
        if self.answer is not None:
            return self.answer
        self.pair = WebSocketPair()
        self.ws = self.pair.server
        self.ws.accept()
        self.ws.accept()
        self.ws.add_event_listener("message", self.on_message)
        self.ws.add_event_listener("message", self.on_message)
        self.ws.add_event_listener("close", self.on_end)
        self.ws.add_event_listener("error", self.on_end)
        return Response(None, status=101, web_socket=self.pair.client)

    def on_message(self, event):
        self.heard.append(event.data)
        if event.data == "boom":
            raise ValueError(event.data)
        event.target.send(event.data)

    def on_end(self, event):
        told = [event.message] if event.type == "error" else [event.code, event.reason, event.was_clean]
        self.heard.append([event.type, event.target.ready_state, *told])

    async def slowly(self, event):
        await self.may_go_on.wait()
        self.heard.append("slowly " + event.data)

    def run(self, code):
        scope = {**globals(), "self": self, "ctx": self.ctx}
        exec(code, scope)
        return scope.get("result")

    async def arun(self, code):
        lines = "\\n".join("    " + line for line in code.split("\\n"))
        scope = {}
        exec("async def body(self, ctx):\\n" + lines, globals(), scope)
        return await scope["body"](self, self.ctx)


class Default(WorkerEntrypoint):
    made = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Default.made += 1

    async def fetch(self, request):
        pair = WebSocketPair()
        pair.server.accept()
        pair.server.add_event_listener("message", lambda event: pair.server.send(f"{event.data} {Default.made}"))
        return Response(None, status=101, web_socket=pair.client)
"""

calls = itertools.count(10_000)


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


def come(worker: WorkerHarness, act: int, kind: int, body: bytes, *details: Any) -> int:
    """Something comes on a socket; the number of the event."""
    call = next(calls)
    worker.send(channel.EVENT, act, call, kind, "", body, 0, "", "", list(details), False, 0, 0)
    return call


def accepted(worker: WorkerHarness, act: int | None = None) -> tuple[int, int]:
    """A room with one live socket, and the socket's number."""
    act = worker.open("Room") if act is None else act
    *_, (number, live) = worker.http(act, "GET", "http://r/")
    assert live
    return act, number


def said(worker: WorkerHarness, act: int) -> list[Any]:
    worker.settle()
    return [item for turn in worker.turns(act) for item in (turn[7] if len(turn) > 7 else [])]


def test_listeners_hear_what_comes_and_what_they_say_leaves_with_their_turn(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    assert said(worker, act) == [[LIVE, number]], "once, although it was accepted twice"
    come(worker, act, channel.MESSAGE, b"h\xc3\xa9", number, True)
    come(worker, act, channel.MESSAGE, b"\xff", number, False)
    worker.effect(come(worker, act, channel.MESSAGE, b"boom", number, True))
    assert said(worker, act)[1:] == [[TEXT, [number], "hé"], [BINARY, [number], b"\xff"]], "a listener is there once"
    assert "ValueError: boom" in worker.logs("traceback")[0][4]
    worker.effect(come(worker, act, channel.SOCKET_CLOSE, b"", number, 1001, "bye", True))
    worker.effect(come(worker, act, channel.MESSAGE, b"late", number, True))
    assert worker.call(act, "run", "result = self.heard[3:]") == [["close", 3, 1001, "bye", True]]


def test_an_end_that_is_known_to_be_an_error_is_heard_as_one_before(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    worker.effect(come(worker, act, channel.SOCKET_CLOSE, b"", number, 1006, "the connection was lost", False))
    _, other = accepted(worker, act)
    worker.effect(come(worker, act, channel.SOCKET_CLOSE, b"", other, 1006, "", False))
    assert worker.call(act, "run", "result = self.heard") == [
        ["error", 3, "the connection was lost"],
        ["close", 3, 1006, "the connection was lost", False],
        ["close", 3, 1006, "", False],
    ]


def test_an_async_listener_is_awaited_before_its_message_counts_as_handled(worker: WorkerHarness) -> None:
    """Seen to fail when it is left alone: a client that sends more than is handled would be read all the same."""
    act, number = accepted(worker)
    worker.call(act, "run", "self.ws.add_event_listener('message', self.slowly)")
    call = come(worker, act, channel.MESSAGE, b"a", number, True)
    assert worker.call(act, "run", "result = self.heard") == ["a"]
    assert not any(effect[0] == call for turn in worker.turns(act) for effect in turn[5])
    worker.call(act, "run", "self.may_go_on.set()")
    assert worker.effect(call)[1] == channel.RESULT
    code = "self.ws.remove_event_listener('message', self.on_message)\n"
    worker.call(act, "run", code + "self.ws.remove_event_listener('message', print)")
    worker.effect(come(worker, act, channel.MESSAGE, b"b", number, True))
    assert worker.call(act, "run", "result = self.heard") == ["a", "slowly a", "slowly b"]


def test_several_async_listeners_go_on_although_another_raised(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    code = "self.may_go_on.set()\nself.ws.add_event_listener('message', self.slowly)\n"
    worker.call(act, "run", code + "self.ws.add_event_listener('message', lambda event: self.slowly(event))")
    worker.effect(come(worker, act, channel.MESSAGE, b"boom", number, True))
    assert worker.call(act, "run", "result = self.heard") == ["boom", "slowly boom", "slowly boom"]
    assert "ValueError: boom" in worker.logs("traceback")[0][4]


def test_a_message_waits_for_the_input_gate(worker: WorkerHarness) -> None:
    """Seen to fail when listeners are called as frames come."""
    act, number = accepted(worker)
    code = "async def hold():\n    await asyncio.sleep(0.1)\n    self.heard.append('held')\n"
    worker.call(act, "arun", code + "self.ctx.block_concurrency_while(hold)")
    worker.effect(come(worker, act, channel.MESSAGE, b"a", number, True))
    assert worker.call(act, "run", "result = self.heard") == ["held", "a"]


def test_a_live_socket_keeps_its_instance_unless_that_is_to_leave(worker: WorkerHarness) -> None:
    """Seen to fail when live sockets are not asked after: an idle room lost its clients after 10 seconds."""
    act, number = accepted(worker)
    worker.settle()
    assert not worker.close(act)
    assert worker.close(act, leaving=True)
    again, number = accepted(worker)
    worker.effect(come(worker, again, channel.SOCKET_CLOSE, b"", number, 1000, "", True))
    assert worker.close(again)


def test_live_sockets_are_not_among_those_that_hibernate(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    code = "self.ws.serialize_attachment([1])\nresult = [len(ctx.get_websockets()), self.ws.deserialize_attachment()]"
    assert worker.call(act, "run", code) == [0, [1]]
    assert said(worker, act) == [[LIVE, number]], "its attachment lives no longer than the handle that has it"


def test_a_turn_whose_commit_fails_accepts_nothing(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, limits={"commit_bytes_max": 4_096})
    act = worker.open("Room")
    code = "self.other = WebSocketPair().server\nself.other.accept()\n"
    worker.failure(act, "run", code + "ctx.storage.kv.put('x', 'y' * 9_999)")
    assert said(worker, act) == []
    assert worker.call(act, "run", "result = self.other.ready_state") == 3
    assert worker.close(act)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("self.pair.client.accept()", "goes into a response"),
        ("ctx.accept_websocket(self.ws)", "once"),
        ("other = WebSocketPair().server\nctx.accept_websocket(other)\nother.accept()", "takes no listeners"),
        ("self.ws.add_event_listener('ping', print)", "not 'ping'"),
        ("for n in range(101): self.ws.add_event_listener('open', lambda event, n=n: n)", "at most 100 listeners"),
        ("self.ws.close(1005)", "1007 to 1014"),
        ("self.ws.close(2999)", "1007 to 1014"),
        ("WebSocketPair().server.close()", "not accepted"),
    ],
)
def test_what_cannot_be_says_so(worker: WorkerHarness, code: str, why: str) -> None:
    act, _ = accepted(worker)
    assert why in worker.failure(act, "run", code).message


def test_a_close_may_have_every_code_that_a_frame_may(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    worker.call(act, "run", "self.ws.close(1008, 'no')")
    assert said(worker, act)[1:] == [[CLOSE, [number], 1008, "no"]]


def test_too_many_sockets(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, limits={"sockets_max": 1})
    act, _ = accepted(worker)
    with pytest.raises(Failed, match="at most 1 sockets"):
        worker.http(act, "GET", "http://r/")


def test_the_entrypoint_accepts_too_and_no_instance_is_made_for_what_comes(worker: WorkerHarness) -> None:
    _, number = accepted(worker, 0)
    _, other = accepted(worker, 0)
    assert said(worker, 0) == [[LIVE, number], [LIVE, other]]
    worker.effect(come(worker, 0, channel.MESSAGE, b"a", number, True))
    worker.effect(come(worker, 0, channel.MESSAGE, b"b", other, True))
    assert said(worker, 0)[2:] == [[TEXT, [number], "a 2"], [TEXT, [other], "b 2"]]


def connected(worker: WorkerHarness, more: str) -> tuple[int, int]:
    """A room that asks for a socket to the outside, and does more with it."""
    act = worker.open("Room")
    code = "answer = await fetch('https://x.example/', headers={'upgrade': 'websocket'})\nself.ws = answer.web_socket\n"
    call = worker.event(act, "arun", code + more)
    frame = worker.wait(lambda frame: frame[0] == channel.CALL)
    assert frame[4] == channel.OUTBOUND
    worker.send(channel.REPLY, act, frame[3], channel.ANSWER, (101, [], b"", ["", b"", "", 77, True]))
    return act, call


def test_a_socket_to_the_outside_is_accepted_and_heard(worker: WorkerHarness) -> None:
    more = "self.ws.add_event_listener('message', self.on_message)\nself.ws.accept()\nself.ws.send('hi')\n"
    act, call = connected(worker, more + "return answer.status")
    assert worker.answer(call) == 101
    assert said(worker, act) == [[LIVE, 77], [TEXT, [77], "hi"]]
    worker.effect(come(worker, act, channel.MESSAGE, b"a", 77, True))
    assert said(worker, act)[2:] == [[TEXT, [77], "a"]]
    assert not worker.close(act)


@pytest.mark.parametrize(
    ("more", "why"), [("self.ws.send('x')", "not accepted"), ("ctx.accept_websocket(self.ws)", "once")]
)
def test_what_cannot_be_done_with_one_to_the_outside(worker: WorkerHarness, more: str, why: str) -> None:
    act, call = connected(worker, more)
    with pytest.raises(Failed, match=why):
        worker.answer(call)
    assert worker.close(act), "one that was not accepted keeps nothing in memory"


def test_the_socket_of_another_object_cannot_be_accepted(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    code = "answer = await self.env.ROOM.get_by_name('other').fetch('http://o/')\nanswer.web_socket.accept()"
    call = worker.event(act, "arun", code)
    frame = worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, frame[3], channel.ANSWER, (101, [], b"", ["Room", bytes(32), "other", 77, True]))
    with pytest.raises(Failed, match="the client of another object's socket"):
        worker.answer(call)


def test_one_to_the_outside_cannot_be_the_answer(worker: WorkerHarness) -> None:
    act, call = connected(worker, "self.answer = answer")
    worker.answer(call)
    with pytest.raises(Failed, match="cannot be answered with"):
        worker.http(act, "GET", "http://r/")
