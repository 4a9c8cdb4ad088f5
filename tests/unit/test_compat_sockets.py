"""WebSockets with JavaScript's names, and those of ASGI applications, in a worker's own runtime."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

import pytest

from homing_node.workers.inside import channel
from homing_node.workers.inside.sockets import BINARY, CLOSE, LIVE, TEXT
from worker_harness import Failed, WorkerHarness

APP = """
import json
from urllib.parse import urlsplit
import js
from js import WebSocket, WebSocketPair
from pyodide.ffi import create_proxy
from workers import DurableObject, Response, WorkerEntrypoint, asgi, fetch

log = []


class Room(DurableObject):
    async def fetch(self, request):
        client, server = WebSocketPair.new().object_values()
        server.accept()

        async def on_message(event):
            log.append([event.type, event.data, event.target.readyState])
            server.send(f"you said {event.data}")

        def on_close(event):
            log.append([event.type, event.code, event.reason, event.wasClean])

        self.proxy = create_proxy(on_message)
        server.addEventListener("message", self.proxy)
        server.addEventListener("close", create_proxy(on_close))
        self.server = server
        if request.url.endswith("/js"):
            return js.Response.new(None, status=101, webSocket=client)
        return Response(None, status=101, web_socket=client)

    def deaf(self):
        self.server.removeEventListener("message", self.proxy)

    async def dial(self, url, protocols=()):
        self.ws = ws = WebSocket.new(url, protocols)
        for kind in ("open", "message", "error", "close"):
            ws.addEventListener(kind, create_proxy(self.on_event))
        return [ws.readyState, WebSocket.CONNECTING]

    def on_event(self, event):
        log.append([event.type, event.message or event.data or event.code])

    def speak(self, text):
        self.ws.send(text)

    def leave(self):
        self.ws.close()
        return self.ws.readyState

    async def ask(self, url):
        answer = await fetch(url, headers={"Upgrade": "websocket"})
        if answer.webSocket is None:
            return answer.status
        answer.webSocket.accept()
        answer.web_socket.send("hi")
        return [answer.status, answer.webSocket.readyState]

    def said(self):
        return log


class App:
    async def __call__(self, scope, receive, send):
        assert scope["type"] == "websocket", scope["type"]
        assert (await receive()) == {"type": "websocket.connect"}
        await getattr(self, scope["path"].strip("/"))(scope, receive, send)

    async def echo(self, scope, receive, send):
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1], "headers": [(b"x-a", b"b")]})
        query, field = scope["query_string"].decode(), dict(scope["headers"])[b"x-q"].decode()
        told = [scope["scheme"], query, scope["env"].COLOR, field]
        await send({"type": "websocket.send", "text": json.dumps(told)})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "boom":
                raise ValueError("boom")
            if message.get("text") == "policy":
                return await send({"type": "websocket.close", "code": 1008, "reason": "no"})
            if message.get("text") == "enough":
                return
            await send({**message, "type": "websocket.send"})
        log.append([message, message is await receive()])
        try:
            await send({"type": "websocket.send", "text": "late"})
        except OSError as error:
            log.append(str(error))

    async def slow(self, scope, receive, send):
        await send({"type": "websocket.accept"})
        self.receive = receive

        import asyncio
        self.go = asyncio.Event()
        await self.go.wait()
        while True:
            await receive()

    async def no(self, scope, receive, send):
        await send({"type": "websocket.close"})

    async def denied(self, scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 429, "headers": [(b"retry-after", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"too ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"many"})

    async def silent(self, scope, receive, send):
        pass

    async def wrong(self, scope, receive, send):
        await send({"type": "websocket.send", "text": "too early"})

    async def lifespan(self, *_):
        raise AssertionError


app = App()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if urlsplit(request.url).path == "/go":
            app.go.set()
            return Response("gone on")
        return await asgi.fetch(app, request, self.env)
"""
BINDINGS = {"vars": {"COLOR": "red"}}
ASKED = [("upgrade", "websocket"), ("sec-websocket-protocol", "a, b"), ("x-q", "r")]

calls = itertools.count(10_000)


@pytest.fixture
def worker(start: Callable[..., WorkerHarness], monkeypatch: pytest.MonkeyPatch) -> WorkerHarness:
    made = start(APP, bindings=BINDINGS)
    monkeypatch.setattr(sys.modules["workers.asgi"], "_lifespans", {})  # those of other tests are of loops that ended
    return made


def come(worker: WorkerHarness, act: int, number: int, body: bytes | None, *end: Any, text: bool = True) -> int:
    """A message comes on a socket, or its end; the number of the event."""
    call = next(calls)
    kind, details = (channel.MESSAGE, [number, text]) if body is not None else (channel.SOCKET_CLOSE, [number, *end])
    worker.send(channel.EVENT, act, call, kind, "", body or b"", 0, "", "", details, False, 0, 0)
    return call


def said(worker: WorkerHarness, act: int) -> list[Any]:
    worker.settle()
    return [item for turn in worker.turns(act) for item in (turn[7] if len(turn) > 7 else [])]


@pytest.mark.parametrize("path", ["/python", "/js"])
def test_listeners_as_cloudflare_s_python_has_them(worker: WorkerHarness, path: str) -> None:
    act = worker.open("Room")
    status, _, _, (number, live) = worker.http(act, "GET", f"http://r{path}")
    assert (status, live) == (101, True)
    worker.effect(come(worker, act, number, b"hi"))
    worker.call(act, "deaf")
    worker.effect(come(worker, act, number, b"again"))
    worker.effect(come(worker, act, number, None, 1001, "bye", True))
    assert said(worker, act) == [[LIVE, number], [TEXT, [number], "you said hi"]]
    assert worker.call(act, "said") == [["message", "hi", 1], ["close", 1001, "bye", True]]


def outbound(worker: WorkerHarness) -> list[Any]:
    """The request to the outside that comes next."""
    return worker.wait(lambda frame: frame[0] == channel.CALL and frame[4] == channel.OUTBOUND)


def test_a_websocket_of_javascript_opens_by_itself(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    assert worker.call(act, "dial", "wss://x.example/chat", ["a", "b"]) == [0, 0]
    frame = outbound(worker)
    assert frame[10:12] == ["https://x.example/chat", [["upgrade", "websocket"], ["sec-websocket-protocol", "a, b"]]]
    assert "not accepted" in worker.failure(act, "speak", "too early").message
    worker.send(channel.REPLY, act, frame[3], channel.ANSWER, (101, [], b"", ["", b"", "", 77, True]))
    worker.settle()
    worker.call(act, "speak", "hi")
    worker.effect(come(worker, act, 77, b"hello"))
    worker.effect(come(worker, act, 77, None, 4_000, "", True))
    assert said(worker, act) == [[LIVE, 77], [TEXT, [77], "hi"]]
    assert worker.call(act, "said") == [["open", 0], ["message", "hello"], ["close", 4_000]]


def test_one_that_cannot_be_opened_hears_an_error_and_its_end(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    worker.call(act, "dial", "ws://x.example/")
    failure = ["forbidden", "not named", "", False, False, 0]
    worker.send(channel.REPLY, act, outbound(worker)[3], channel.FAILURE, failure)
    worker.settle()
    assert worker.call(act, "said") == [["error", "not named"], ["close", 1006]]
    worker.call(act, "dial", "ws://x.example/")
    worker.send(channel.REPLY, act, outbound(worker)[3], channel.ANSWER, (403, [], b"no"))
    worker.settle()
    assert worker.call(act, "said")[2:] == [["error", "the server answered with 403"], ["close", 1006]]
    assert "ws:// or wss://" in worker.failure(act, "dial", "ftp://x.example/").message


def test_one_that_is_closed_before_it_opens_does_not_open(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    worker.call(act, "dial", "ws://x.example/")
    assert worker.call(act, "leave") == 3
    worker.send(channel.REPLY, act, outbound(worker)[3], channel.ANSWER, (101, [], b"", ["", b"", "", 77, True]))
    assert said(worker, act) == [[LIVE, 77], [CLOSE, [77], 1000, ""]]
    assert worker.call(act, "said") == []


def test_the_socket_of_an_answer(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    call = worker.event(act, "ask", "https://x.example/")
    worker.send(channel.REPLY, act, outbound(worker)[3], channel.ANSWER, (101, [], b"", ["", b"", "", 77, True]))
    assert worker.answer(call) == [101, 1]
    assert said(worker, act) == [[LIVE, 77], [TEXT, [77], "hi"]]
    call = worker.event(act, "ask", "https://x.example/")
    worker.send(channel.REPLY, act, outbound(worker)[3], channel.ANSWER, (404, [], b""))
    assert worker.answer(call) == 404


# -- ASGI -----------------------------------------------------------------------------------------------------------


def talking(worker: WorkerHarness, path: str) -> int:
    """The number of a socket that the application has accepted."""
    status, _, _, (number, live) = worker.http(0, "GET", f"http://h/{path}?a=b", headers=ASKED)
    assert (status, live) == (101, True)
    return number


def test_an_application_accepts_and_talks(worker: WorkerHarness) -> None:
    status, headers, _, (number, _) = worker.http(0, "GET", "http://h/echo?a=b", headers=ASKED)
    assert (status, headers) == (101, [["x-a", "b"], ["sec-websocket-protocol", "b"]])
    worker.effect(come(worker, 0, number, b"one"))
    worker.effect(come(worker, 0, number, b"\xff", text=False))
    worker.effect(come(worker, 0, number, None, 1001, "bye", True))
    told = '["ws", "a=b", "red", "r"]'
    assert said(worker, 0) == [
        [LIVE, number], [TEXT, [number], told], [TEXT, [number], "one"], [BINARY, [number], b"\xff"]
    ]  # fmt: skip
    log = worker.call(worker.open("Room"), "said")
    assert log == [[{"type": "websocket.disconnect", "code": 1001, "reason": "bye"}, True], "the WebSocket is closed"]


@pytest.mark.parametrize(("text", "end"), [("policy", [1008, "no"]), ("enough", [1000, ""]), ("boom", [1011, ""])])
def test_its_end_closes_the_socket(worker: WorkerHarness, text: str, end: list[Any]) -> None:
    number = talking(worker, "echo")
    worker.effect(come(worker, 0, number, text.encode()))
    assert said(worker, 0)[2:] == [[CLOSE, [number], *end]]
    worker.effect(come(worker, 0, number, b"nobody hears"))
    worker.effect(come(worker, 0, number, None, end[0], "", True))


def test_a_message_counts_as_handled_when_the_application_takes_it(worker: WorkerHarness) -> None:
    """Seen to fail when it does at once: what came for a slow application filled its worker's memory."""
    number = talking(worker, "slow")
    waiting = [come(worker, 0, number, b"x") for _ in range(3)]
    worker.settle()
    answered = {effect[0] for turn in worker.turns(0) for effect in turn[5]}
    assert not answered & set(waiting)
    worker.http(0, "GET", "http://h/go")
    for call in waiting:
        worker.effect(call)


def test_an_application_that_does_not_accept(worker: WorkerHarness) -> None:
    assert worker.http(0, "GET", "http://h/no", headers=ASKED)[::2] == [403, b""]
    status, headers, body = worker.http(0, "GET", "http://h/denied", headers=ASKED)
    assert (status, headers, body) == (429, [["retry-after", "1"]], b"too many")
    for path, why in (("silent", "without an answer"), ("wrong", "cannot be sent now")):
        with pytest.raises(Failed, match=why):
            worker.http(0, "GET", f"http://h/{path}", headers=ASKED)
    assert said(worker, 0) == []
