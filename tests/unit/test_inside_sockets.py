"""Sockets as an object's worker has them: handles, tags, attachments, and what leaves with a turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from homing_node.workers.inside import channel
from homing_node.workers.inside.sockets import ACCEPT, ATTACH, AUTO, BINARY, CLOSE, TEXT
from worker_harness import Failed, WorkerHarness

APP = """
import asyncio
from homing import DurableObject, Response, WebSocket, WebSocketPair, WebSocketRequestResponsePair


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.heard = []

    def fetch(self, request):
        self.pair = WebSocketPair()
        self.ctx.accept_websocket(self.pair.server, tags=["room", "x"])
        return Response(None, status=101, web_socket=self.pair.client, headers={"a": "b"})

    def websocket_message(self, ws, message):
        self.heard.append(message)
        if message == "boom":
            raise ValueError(message)
        ws.send(message)

    async def websocket_close(self, ws, code, reason, was_clean):
        await asyncio.sleep(0)
        ws.close()
        self.heard.append([code, reason, was_clean, ws.ready_state, len(self.ctx.get_websockets())])

    def websocket_error(self, ws, error):
        self.heard.append(str(error))

    def run(self, code):
        scope = {**globals(), "self": self, "ctx": self.ctx}
        exec(code, scope)
        return scope.get("result")

    async def arun(self, code):
        lines = "\\n".join("    " + line for line in code.split("\\n"))
        scope = {}
        exec("async def body(self, ctx):\\n" + lines, globals(), scope)
        return await scope["body"](self, self.ctx)


class Deaf(DurableObject):
    def fetch(self, request):
        pair = WebSocketPair()
        return Response(None, status=int(request.headers["status"]), web_socket=pair.client)
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


def accepted(worker: WorkerHarness) -> tuple[int, int]:
    """A room with one socket, and the socket's number."""
    act = worker.open("Room")
    *_, (number, live) = worker.http(act, "GET", "http://r/")
    assert not live
    return act, number


def said(worker: WorkerHarness, act: int) -> list[Any]:
    """All that the turns of an activation said so far."""
    worker.settle()
    return [item for turn in worker.turns(act) for item in (turn[7] if len(turn) > 7 else [])]


def test_a_socket_is_accepted_and_goes_into_the_response(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    status, headers, body, (number, _) = worker.http(act, "GET", "http://r/")
    assert (status, headers, body) == (101, [["a", "b"]], b"")
    assert 0 < number < 1 << 63
    assert said(worker, act) == [[ACCEPT, number, ["room", "x"]]]


def test_messages_are_handed_over_and_answers_leave_with_their_turn(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    for body, text in ((b"h\xc3\xa9", True), (b"\xff", False), (b"boom", True)):
        come(worker, act, channel.MESSAGE, body, number, text)
    assert said(worker, act)[1:] == [[TEXT, [number], "hé"], [BINARY, [number], b"\xff"]]
    assert worker.call(act, "run", "result = [str(each) for each in self.heard]") == ["hé", "b'\\xff'", "boom"]
    assert "ValueError: boom" in worker.logs("traceback")[0][4]


def test_a_message_to_many_is_one_item(worker: WorkerHarness) -> None:
    act, one = accepted(worker)
    *_, (two, _) = worker.http(act, "GET", "http://r/")
    worker.call(act, "run", "for ws in ctx.get_websockets(): ws.send('all')\nctx.get_websockets('x')[0].send('one')")
    assert said(worker, act)[2:] == [[TEXT, [one, two], "all"], [TEXT, [one], "one"]]


def test_a_socket_that_was_closed_is_gone_before_its_handler_runs(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    worker.effect(come(worker, act, channel.SOCKET_CLOSE, b"", number, 1001, "bye", True))
    assert worker.call(act, "run", "result = self.heard") == [[1001, "bye", True, 3, 0]]
    worker.effect(come(worker, act, channel.MESSAGE, b"late", number, True))
    assert worker.call(act, "run", "result = len(self.heard)") == 1, "nobody is told of what is gone"
    assert "closed" in worker.failure(act, "run", "self.pair.server.send('x')").message


def test_an_error_and_a_class_without_handlers(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    worker.effect(come(worker, act, channel.SOCKET_ERROR, b"lost", number))
    assert worker.call(act, "run", "result = self.heard") == ["lost"]
    deaf = worker.open("Deaf")
    worker.send(channel.SOCKETS, deaf, [[5, [], None, 0, False]], None)
    assert worker.effect(come(worker, deaf, channel.MESSAGE, b"x", 5, True))[1] == channel.RESULT


def test_an_activation_knows_the_sockets_that_it_is_told_of(worker: WorkerHarness) -> None:
    """With their tags and attachments: so an object that slept finds all as it was."""
    act, number = accepted(worker)
    worker.call(act, "run", "self.pair.server.serialize_attachment({'n': 1})")
    kind, numbers, attachment = said(worker, act)[-1]
    assert (kind, numbers) == (ATTACH, [number])
    again = worker.open("Room")
    known = [[7, ["a"], attachment, 0, False], [8, ["b"], None, 1_500, True]]
    worker.send(channel.SOCKETS, again, known, ["ping", "pong"])
    code = "one, two = ctx.get_websockets()\nresult = ["
    code += "one.deserialize_attachment(), two.deserialize_attachment(), ctx.get_tags(one), ctx.get_tags(two), "
    code += "one.ready_state, two.ready_state, ctx.get_websocket_auto_response().response, "
    code += "str(ctx.get_websocket_auto_response_timestamp(two)), ctx.get_websocket_auto_response_timestamp(one)]"
    expected = [{"n": 1}, None, ["a"], ["b"], 1, 2, "pong", "1970-01-01 00:00:01.500000+00:00", None]
    assert worker.call(again, "run", code) == expected
    worker.send(channel.SOCKETS, again, [[7, ["a"], attachment, 2_500, False]], None)
    code = "result = str(ctx.get_websocket_auto_response_timestamp(ctx.get_websockets('a')[0]))"
    assert worker.call(again, "run", code) == "1970-01-01 00:00:02.500000+00:00"


def test_a_close_is_said_once_and_what_follows_it_is_not(worker: WorkerHarness) -> None:
    act, number = accepted(worker)
    worker.call(act, "run", "ws = self.pair.server\nws.close(3000, 'bye')\nws.close(3001)\nws.send('late')")
    assert said(worker, act)[1:] == [[CLOSE, [number], 3000, "bye"]]


def test_automatic_responses(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    worker.call(act, "run", "ctx.set_websocket_auto_response(WebSocketRequestResponsePair('ping', 'pong'))")
    worker.call(act, "run", "ctx.set_websocket_auto_response()")
    assert said(worker, act) == [[AUTO, "ping", "pong"], [AUTO, None, None]]


def test_a_turn_whose_commit_fails_says_nothing(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail when what an undone turn said leaves with the next."""
    worker = start(APP, limits={"commit_bytes_max": 4_096})
    act, number = accepted(worker)
    code = "ctx.storage.kv.put('x', 'y' * 100_000)\nself.pair.server.send('x')\nself.other = WebSocketPair()\n"
    worker.failure(act, "run", code + "ctx.accept_websocket(self.other.server)")
    worker.call(act, "run", "self.pair.server.send('after')")
    assert said(worker, act)[1:] == [[TEXT, [number], "after"]]
    assert worker.call(act, "run", "result = len(ctx.get_websockets())") == 1


def test_a_socket_does_not_keep_its_object_awake(worker: WorkerHarness) -> None:
    act, _ = accepted(worker)
    worker.settle()
    assert worker.close(act)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("ctx.accept_websocket(self.pair.client)", "server's end"),
        ("ctx.accept_websocket(self.pair.server)", "once"),
        ("ctx.accept_websocket(WebSocketPair().server, 'room')", "a list of texts"),
        ("ctx.accept_websocket(WebSocketPair().server, map(str, range(11)))", "at most 10 tags"),
        ("ctx.accept_websocket(WebSocketPair().server, ['x' * 257])", "256"),
        ("ctx.get_tags(WebSocketPair().server)", "did not accept"),
        ("WebSocketPair().server.send('x')", "not accepted"),
        ("WebSocketPair().server.serialize_attachment(1)", "not accepted"),
        ("self.pair.server.send(5)", "text or bytes"),
        ("self.pair.server.send(bytes((32 << 20) + 1))", "at most 33554432"),
        ("self.pair.server.serialize_attachment('x' * 16_384)", "16384"),
        ("self.pair.server.close(1006)", "3000 to 4999"),
        ("self.pair.server.close(3000, 'x' * 124)", "123"),
        ("WebSocketRequestResponsePair('x' * 2_049, '')", "2048"),
    ],
)
def test_what_cannot_be_says_so(worker: WorkerHarness, code: str, why: str) -> None:
    act, _ = accepted(worker)
    assert why in worker.failure(act, "run", code).message


@pytest.mark.parametrize(("status", "why"), [("200", "status 101"), ("101", "was accepted")])
def test_a_response_with_a_socket_that_is_none(worker: WorkerHarness, status: str, why: str) -> None:
    with pytest.raises(Failed, match=why):
        worker.http(worker.open("Deaf"), "GET", "http://r/", headers=[("status", status)])


def test_a_socket_of_another_object_is_passed_on(worker: WorkerHarness) -> None:
    """What an entrypoint does: it answers with the socket that an object accepted."""
    act = worker.open("Room")
    code = "r = await self.env.ROOM.get_by_name('other').fetch('http://o/')\nself.fetch = lambda _: r\nreturn r.status"
    call = worker.event(act, "arun", code)
    worker.wait(lambda frame: frame[0] == channel.CALL)
    passed = ["Room", bytes(32), "other", 77, False]
    worker.send(channel.REPLY, act, 1, channel.ANSWER, (101, [], b"", passed))
    assert worker.answer(call) == 101


def test_too_many_sockets(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, limits={"sockets_max": 2})
    act, _ = accepted(worker)
    worker.http(act, "GET", "http://r/")
    with pytest.raises(Failed, match="at most 2 sockets"):
        worker.http(act, "GET", "http://r/")
