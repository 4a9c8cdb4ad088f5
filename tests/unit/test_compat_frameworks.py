"""Applications behind WSGI and ASGI, in a worker's own runtime: requests, answers, and plain functions that wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import anyio.to_thread
import pytest

from homing.ids import ObjectId
from homing.sent import Sender
from homing_node.workers.inside import channel
from worker_harness import Failed, WorkerHarness

WSGI = """
import contextvars, json
from pyodide.ffi import can_run_sync, run_sync
from workers import DurableObject, Response, WorkerEntrypoint, env, wsgi

AT_IMPORT = env.COLOR
seen = []
who = contextvars.ContextVar("who", default=None)


class Pieces:
    def __iter__(self):
        yield b"two "
        yield run_sync(async_piece())

    def close(self):
        seen.append("closed")


async def async_piece():
    return b"three"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    ctx = environ["workers.env"]
    if path.startswith("/environ"):
        told = {key: value for key, value in environ.items() if isinstance(value, (str, int, tuple))}
        start_response("200 OK", [])
        return [json.dumps([told, environ["wsgi.input"].read().decode()]).encode()]
    if path == "/pieces":
        write = start_response("201 Created", [("set-cookie", "a=1"), ("set-cookie", "b=2")])
        write(b"one ")
        return Pieces()
    if path == "/replaced":
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            import sys
            start_response("503 Busy", [("x-a", "b")], sys.exc_info())
        return [b"sorry"]
    if path == "/twice":
        start_response("200 OK", [])
        start_response("200 OK", [])
    if path == "/endless":
        start_response("200 OK", [])
        return iter(lambda: b"x" * 100, None)
    if path == "/ask":
        who.set(environ["QUERY_STRING"])
        ctx.storage.kv.put("n", 1)
        try:
            got = run_sync(ctx.other.greet(environ["QUERY_STRING"]))
        finally:
            seen.append(["over", who.get()])
        print("asked", got)
        start_response("200 OK", [])
        return [json.dumps([got, who.get(), can_run_sync(), ctx.storage.kv.get("n")]).encode()]
    if path == "/failing":
        try:
            run_sync(ctx.other.greet())
        except Exception as error:
            start_response("200 OK", [])
            return [type(error).__name__.encode()]
    if path == "/stubborn":
        try:
            run_sync(ctx.other.greet())
        finally:
            try:
                run_sync(async_piece())
            except BaseException as error:
                seen.append(type(error).__name__)
    if path == "/transaction":
        def work():
            ctx.storage.kv.put("t", 1)
            run_sync(async_piece())
        try:
            ctx.storage.transactionSync(work)
        except RuntimeError as error:
            start_response("200 OK", [])
            return [f"{ctx.storage.kv.get('t')} {error}".encode()]
    if path == "/silent":
        return []
    raise KeyError(path)


class Given:
    def __init__(self, ctx, env):
        self.storage = ctx.storage
        self.other = env.ROOMS.getByName("b")


class Room(DurableObject):
    async def fetch(self, request):
        return await wsgi.fetch(app, request, Given(self.ctx, self.env))

    async def seen(self):
        return [AT_IMPORT, env.COLOR, env.ROOMS.idFromName("x").toString() != "", seen]


Default = wsgi.entrypoint(app)
"""
ASGI = """
import asyncio, json, threading
import anyio
from pyodide.ffi import run_sync
from workers import DurableObject, WorkerEntrypoint, asgi

starts, seen = [], []


class App:
    async def __call__(self, scope, receive, send):
        await getattr(self, scope["type"])(scope, receive, send)

    async def lifespan(self, scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        starts.append("start")
        await asyncio.sleep(0.02)
        if len(starts) == 1 and FAIL_FIRST:
            await send({"type": "lifespan.startup.failed", "message": "not yet"})
            return
        scope["state"]["starts"] = len(starts)
        await send({"type": "lifespan.startup.complete"})
        await receive()

    async def http(self, scope, receive, send):
        async def answer(body=b"", status=200, headers=()):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        path = scope["path"]
        if path == "/scope":
            told = {key: scope[key] for key in ("method", "scheme", "http_version", "root_path", "state", "server")}
            told |= {key: scope[key].decode() for key in ("raw_path", "query_string")}
            headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
            message = await receive()
            await answer(json.dumps([told, headers, message["body"].decode(), message["more_body"]]).encode())
        elif path == "/pieces":
            headers = [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
            await send({"type": "http.response.start", "status": 202, "headers": headers})
            for piece in (b"one ", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        elif path == "/after":
            await receive()
            waiting = asyncio.create_task(receive())
            await answer(b"soon")
            seen.append((await waiting)["type"])
            seen.append(await scope["env"].ROOMS.getByName("b").greet())
        elif path == "/thread":
            def work(stub):
                return [threading.get_ident() == here, run_sync(stub.greet())]
            here = threading.get_ident()
            await answer(json.dumps(await anyio.to_thread.run_sync(work, scope["env"].ROOMS.getByName("b"))).encode())
        elif path == "/raises":
            raise KeyError("why")
        elif path == "/wrong":
            await send({"type": "http.response.body"})
        elif path == "/feed":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"data: 1", "more_body": True})
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
        elif path == "/breaks":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise KeyError("why")
        elif path == "/echo":
            await send({"type": "http.response.start", "status": 200})
            while (message := await receive())["type"] == "http.request":
                more = message["more_body"]
                await send({"type": "http.response.body", "body": message["body"], "more_body": more})
                if not more:
                    return
            seen.append(message["type"])
        elif path == "/endless":
            await send({"type": "http.response.start", "status": 200})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})


app = App()


class Room(DurableObject):
    async def fetch(self, request):
        return await asgi.fetch(app, request.js_object, self.env)

    async def seen(self):
        return seen


async def bare(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"bare"})


Default = asgi.entrypoint(bare)
"""
BINDINGS: dict[str, Any] = {"objects": {"ROOMS": "Room"}, "vars": {"COLOR": "red"}}
SENDER = Sender(cast("Any", None), cast("Any", None))


@pytest.fixture(autouse=True)
def _put_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes AnyIO's for its process, which here is that of the tests."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", anyio.to_thread.run_sync)


def made(worker: WorkerHarness, number: int) -> list[Any]:
    seen = [frame for frame in worker.frames if frame[0] == channel.CALL and frame[3] == number]
    return seen[0] if seen else worker.wait(lambda frame: frame[0] == channel.CALL and frame[3] == number)


def reply(worker: WorkerHarness, act: int, number: int, value: Any) -> None:
    made(worker, number)
    worker.send(channel.REPLY, act, number, channel.RESULT, SENDER.encode(value))


def ask(worker: WorkerHarness, act: int, call: int, path: str) -> int:
    """Send a request; returns its number."""
    event = (channel.FETCH, "GET", b"", 5_000, f"req-{call}", "", [f"http://x{path}", [], False], False, 0, 0)
    worker.send(channel.EVENT, act, call, *event)
    return call


@pytest.fixture
def wsgi(start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int]:
    worker = start(WSGI, bindings=BINDINGS)
    assert worker.hello[0] == channel.READY, worker.hello
    return worker, worker.open("Room")


@pytest.fixture
def asgi(start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int]:
    worker = start(f"FAIL_FIRST = False\n{ASGI}", bindings=BINDINGS)
    assert worker.hello[0] == channel.READY, worker.hello
    return worker, worker.open("Room")


def test_a_wsgi_application_is_told_of_its_request(wsgi: tuple[WorkerHarness, int]) -> None:
    worker, act = wsgi
    headers = [
        ("Content-Type", "text/plain"), ("X-Many", "1"), ("X-Many", "2"), ("Cookie", "a=1"), ("Cookie", "b=2"),
        ("X_Many", "forged"), ("Content-Length", "99"),
    ]  # fmt: skip
    _, _, body = worker.http(act, "POST", "https://h:8443/environ/caf%C3%A9%2F?q=%20", "hé".encode(), headers)
    environ, read = json.loads(body)
    assert read == "hé"
    assert {key: environ[key] for key in environ if key.startswith(("HTTP_", "CONTENT_"))} == {
        "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "3", "HTTP_X_MANY": "1,2", "HTTP_COOKIE": "a=1; b=2",
    }  # fmt: skip
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/environ/café/"
    named = ("REQUEST_METHOD", "SCRIPT_NAME", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme")
    assert [environ[name] for name in named] == ["POST", "", "q=%20", "h", "8443", "https"]


def test_pieces_are_put_together_and_the_iterable_is_closed(wsgi: tuple[WorkerHarness, int]) -> None:
    worker, act = wsgi
    status, headers, body = worker.http(act, "GET", "http://x/pieces")
    assert (status, body) == (201, b"one two three")
    assert headers == [["set-cookie", "a=1"], ["set-cookie", "b=2"]]
    assert worker.call(act, "seen")[3] == ["closed"]
    assert worker.http(act, "GET", "http://x/replaced") == [503, [["x-a", "b"]], b"sorry"]


@pytest.mark.parametrize(
    ("path", "said"), [("/twice", "called twice"), ("/silent", "has not called start_response"), ("/lost", "/lost")]
)
def test_a_wsgi_application_that_fails(wsgi: tuple[WorkerHarness, int], path: str, said: str) -> None:
    worker, act = wsgi
    with pytest.raises(Failed, match=said):
        worker.http(act, "GET", f"http://x{path}")


def test_a_view_waits_and_others_run_meanwhile(start: Callable[..., WorkerHarness]) -> None:
    """What it wrote leaves before what it calls; its context and its log lines stay its own."""
    worker = start(WSGI, bindings=BINDINGS, output=True)
    act = worker.open("Room")
    ask(worker, act, 901, "/ask?one")
    ask(worker, act, 902, "/ask?two")
    assert made(worker, 1)[6:8] == [ObjectId.from_name("Room", "b").raw, "b"]
    made(worker, 2)
    kinds = [frame[0] for frame in worker.frames if frame[0] in (channel.TURN, channel.CALL)]
    assert kinds[:2] == [channel.TURN, channel.CALL]
    reply(worker, act, 2, "second")
    assert json.loads(worker.answer(902)[2]) == ["second", "two", True, 1]
    reply(worker, act, 1, "first")
    assert json.loads(worker.answer(901)[2]) == ["first", "one", True, 1]
    assert [line[2:5] for line in worker.logs("stdout")] == [
        ["req-902", "stdout", "asked second"],
        ["req-901", "stdout", "asked first"],
    ]


def test_a_view_is_told_what_failed(wsgi: tuple[WorkerHarness, int]) -> None:
    worker, act = wsgi
    ask(worker, act, 901, "/failing")
    made(worker, 1)
    said = ("application-error", "why", "ValueError", False, False, 0)
    worker.send(channel.REPLY, act, 1, channel.FAILURE, said)
    assert worker.answer(901)[2] == b"ApplicationError"


@pytest.mark.parametrize(("path", "over"), [("/ask?x", ["over", "x"]), ("/stubborn", "GreenletExit")])
def test_a_view_ends_with_its_object(wsgi: tuple[WorkerHarness, int], path: str, over: Any) -> None:
    """It tidies up, and cannot wait any more. Seen to fail when the stack is only forgotten."""
    worker, act = wsgi
    ask(worker, act, 901, path)
    made(worker, 1)
    worker.abort(act)
    assert worker.call(worker.open("Room"), "seen")[3] == [over]


def test_a_view_cannot_wait_inside_a_transaction(wsgi: tuple[WorkerHarness, int]) -> None:
    """Its writes would be two turns'. Seen to fail when it can."""
    worker, act = wsgi
    body = worker.http(act, "GET", "http://x/transaction")[2]
    assert body.startswith(b"None nothing can wait inside transaction_sync")


def test_bindings_can_be_imported(wsgi: tuple[WorkerHarness, int]) -> None:
    worker, act = wsgi
    assert worker.call(act, "seen")[:3] == ["red", "red", True]


def test_an_endless_answer_flows_and_ends_with_its_client(
    wsgi: tuple[WorkerHarness, int], asgi: tuple[WorkerHarness, int]
) -> None:
    """Broken by: an application that goes on when nobody reads; `close` at the end would wait for it."""
    for worker, act in (wsgi, asgi):
        call = worker.request(act, "GET", "http://x/endless")
        assert worker.answer(call)[0] == 200
        worker.wait(lambda frame, act=act, call=call: frame[:4] == [channel.FLOW, act, channel.OF_EVENT, call])
        worker.send(channel.TAKEN, act, channel.OF_EVENT, call, 0, channel.STOP)
        worker.wait(lambda frame, act=act, call=call: frame[:7] == [channel.FLOW, act, 0, call, 0, b"", 2])


def test_what_an_asgi_application_sends_flows_at_once(asgi: tuple[WorkerHarness, int]) -> None:
    """And its task ends with the client, wherever it waits. Broken by: an answer that is sent when it is complete."""
    worker, act = asgi
    call = worker.request(act, "GET", "http://x/feed")
    assert worker.answer(call)[0] == 200
    frame = worker.wait(lambda frame: frame[:4] == [channel.FLOW, act, channel.OF_EVENT, call])
    assert frame[5] == b"data: 1"
    worker.send(channel.TAKEN, act, channel.OF_EVENT, call, 0, channel.STOP)
    worker.settle()
    assert worker.call(act, "seen") == ["cancelled"]


def test_an_asgi_application_that_fails_breaks_its_answer_off(asgi: tuple[WorkerHarness, int]) -> None:
    worker, act = asgi
    with pytest.raises(Failed, match="broken: after 4 bytes"):
        worker.http(act, "GET", "http://x/breaks")


def test_what_comes_for_an_asgi_application_flows(asgi: tuple[WorkerHarness, int]) -> None:
    worker, act = asgi
    call = worker.request(act, "POST", "http://x/echo", b"one ", flows=True)
    worker.wait(lambda frame: frame[0] == channel.TAKEN)
    worker.send(channel.FLOW, act, channel.OF_EVENT, call, 0, b"two", 0)
    worker.send(channel.FLOW, act, channel.OF_EVENT, call, 0, b"", 1)
    assert worker.body(act, call) == (b"one two", 1)
    call = worker.request(act, "POST", "http://x/echo", b"one", flows=True)
    worker.wait(lambda frame: frame[0] == channel.TAKEN and frame[3] == call)
    worker.send(channel.FLOW, act, channel.OF_EVENT, call, 0, b"", 2)
    assert worker.body(act, call) == (b"one", 2)
    assert worker.call(act, "seen") == ["http.disconnect"]


def test_an_asgi_application_is_told_of_its_request(asgi: tuple[WorkerHarness, int]) -> None:
    worker, act = asgi
    worker.http(act, "GET", "http://x/pieces")
    status, _, body = worker.http(act, "POST", "https://h/scope?a=%20", b"body", [("X-A", "1"), ("X-A", "2")])
    told, headers, read, more = json.loads(body)
    assert (status, read, more) == (200, "body", False)
    assert headers == [["x-a", "1"], ["x-a", "2"]]
    assert told == {
        "method": "POST", "scheme": "https", "http_version": "1.1", "root_path": "", "state": {"starts": 1},
        "server": ["h", 443], "raw_path": "/scope", "query_string": "a=%20",
    }  # fmt: skip


def test_several_body_messages_are_one_answer(asgi: tuple[WorkerHarness, int]) -> None:
    worker, act = asgi
    assert worker.http(act, "GET", "http://x/pieces") == [202, [["set-cookie", "a"], ["set-cookie", "b"]], b"one two"]


def test_an_application_starts_once_and_keeps_no_object_in_memory(asgi: tuple[WorkerHarness, int]) -> None:
    """Seen to fail when its lifespan is a task of the object that came first."""
    worker, act = asgi
    other = worker.open("Room", name="b")
    for call, place in ((901, act), (902, other), (903, act)):
        ask(worker, place, call, "/scope")
    for call in (901, 902, 903):
        assert json.loads(worker.answer(call)[2])[0]["state"] == {"starts": 1}
    assert worker.close(act)
    assert json.loads(worker.http(other, "GET", "http://x/scope")[2])[0]["state"] == {"starts": 1}


def test_a_startup_that_failed_is_tried_anew(start: Callable[..., WorkerHarness]) -> None:
    worker = start(f"FAIL_FIRST = True\n{ASGI}", bindings=BINDINGS)
    act = worker.open("Room")
    with pytest.raises(Failed, match="not yet"):
        worker.http(act, "GET", "http://x/scope")
    assert json.loads(worker.http(act, "GET", "http://x/scope")[2])[0]["state"] == {"starts": 2}


def test_an_application_without_lifespan(asgi: tuple[WorkerHarness, int]) -> None:
    assert asgi[0].http(0, "GET", "http://x/")[2] == b"bare"


def test_work_goes_on_after_the_answer(asgi: tuple[WorkerHarness, int]) -> None:
    worker, act = asgi
    assert worker.http(act, "GET", "http://x/after")[2] == b"soon"
    reply(worker, act, 1, "done")
    assert worker.call(act, "seen") == ["http.disconnect", "done"]


def test_endpoints_without_async_run_in_the_worker_s_own_thread(asgi: tuple[WorkerHarness, int]) -> None:
    worker, act = asgi
    ask(worker, act, 901, "/thread")
    reply(worker, act, 1, "hello")
    assert json.loads(worker.answer(901)[2]) == [True, "hello"]


@pytest.mark.parametrize(
    ("path", "said"), [("/raises", "why"), ("/wrong", "cannot be sent now"), ("/x", "without an answer")]
)
def test_an_asgi_application_that_fails(asgi: tuple[WorkerHarness, int], path: str, said: str) -> None:
    worker, act = asgi
    with pytest.raises(Failed, match=said):
        worker.http(act, "GET", f"http://x{path}")
