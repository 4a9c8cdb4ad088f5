"""What HTTP libraries send in object code: requests that the node carries out, in a worker's own runtime."""

from __future__ import annotations

import base64
import http.client
import importlib
import subprocess
import sys
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpcore
import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from homing.compat import outbound, waiting
from homing.compat.outbound import lines, pools
from homing.http import Response
from homing_node.workers.inside import channel
from http_libraries import ERRORS, LIBRARIES, WEB, failing_at_once, sent_with
from worker_harness import WorkerHarness

CHANGED = [
    (httpcore.ConnectionPool, "handle_request"),
    (httpcore.AsyncConnectionPool, "handle_async_request"),
    (http.client.HTTPConnection, "connect"),
    (http.client.HTTPSConnection, "connect"),
    (urllib3.connection.HTTPConnection, "connect"),
    (urllib3.connection.HTTPSConnection, "connect"),
]


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """The libraries of this process, as a worker has them; they are put back."""
    for owner, name in CHANGED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    outbound.install()
    yield
    waiting.give_stacks(on=False)


@pytest.fixture
def web(changed: None, start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int]:
    waiting.give_stacks()
    worker = start(WEB)
    assert worker.hello[0] == channel.READY, worker.hello
    return worker, worker.open("Web")


def asked(worker: WorkerHarness, number: int = 1) -> list[Any]:
    """The request that the node gets: method, URL, headers, body, what becomes of redirects."""
    found = [frame for frame in worker.frames if frame[0] == channel.CALL and frame[3] == number]
    frame = found[0] if found else worker.wait(lambda frame: frame[0] == channel.CALL and frame[3] == number)
    assert frame[4] == channel.OUTBOUND
    return [frame[8], frame[10], {name.lower(): value for name, value in frame[11]}, frame[9], frame[7]]


def answer(worker: WorkerHarness, act: int, status: int, headers: Any, body: bytes, number: int = 1) -> None:
    worker.send(channel.REPLY, act, number, channel.ANSWER, (status, headers, body))


def answered(worker: WorkerHarness, call: int) -> Any:
    """What the object has of it, with the body's bytes."""
    status, many, body, reason = worker.answer(call)
    return status, many, base64.b64decode(body), reason


MANY = [("x-many", "1"), ("x-many", "2"), ("transfer-encoding", "chunked"), ("connection", "keep-alive")]
BINARY = b"\x00\r\n\xff 789"


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("origin", ["http://h", "https://h:8443", "http://[::1]:9000"])
def test_a_request_goes_out_through_the_node(web: tuple[WorkerHarness, int], library: str, origin: str) -> None:
    worker, act = web
    options = {**sent_with(library, "data"), "headers": {"x-mine": "m"}}
    call = worker.event(act, "ask", library, f"{origin}/a%20b?c=d&c=e", options)
    method, url, headers, sent, redirect = asked(worker)
    assert (method, url, redirect) == ("POST", f"{origin}/a%20b?c=d&c=e", "manual")
    assert (sent, headers["x-mine"]) == (b"data", "m")
    answer(worker, act, 201, MANY, BINARY)
    assert answered(worker, call) == (201, ["1", "2"], BINARY, "Created")


@pytest.mark.parametrize("library", LIBRARIES)
def test_redirects_are_the_library_s_own(web: tuple[WorkerHarness, int], library: str) -> None:
    worker, act = web
    options = {"follow_redirects": True} if library.startswith("httpx") else {}
    call = worker.event(act, "ask", library, "http://h/a", options)
    asked(worker)
    answer(worker, act, 302, [("location", "http://other:81/b")], b"")
    assert asked(worker, 2)[1] == "http://other:81/b"
    answer(worker, act, 200, MANY, b"there", 2)
    assert answered(worker, call)[2] == b"there"


@pytest.mark.parametrize("library", ["httpx_async", "httpx", "requests", "urllib3"])
def test_encodings_are_the_library_s_own(web: tuple[WorkerHarness, int], library: str) -> None:
    worker, act = web
    call = worker.event(act, "ask", library, "http://h/", {"headers": {"accept-encoding": "deflate"}})
    assert asked(worker)[2]["accept-encoding"] == "deflate"
    answer(worker, act, 200, [*MANY, ("content-encoding", "deflate")], zlib.compress(b"packed"))
    assert answered(worker, call)[2] == b"packed"


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("failure", "which"),
    [
        (("forbidden", "the configuration does not name it in fetch_hosts", "", False, False, 0), 0),
        (("unavailable", "http://h/ cannot be reached: no route", "", False, True, 0), 0),
        (("deadline-exceeded", "http://h/ did not answer in time", "", False, False, 0), 1),
        (("application-error", "h answered with more than 41943040 bytes", "TooLarge", False, False, 0), 2),
    ],
)
def test_errors_are_the_library_s_own(web: tuple[WorkerHarness, int], library: str, failure: Any, which: int) -> None:
    """With the words of the broker, but for a read that was late, where requests and urllib3 have their own."""
    worker, act = web
    call = worker.event(act, "ask", library, "http://h/", failing_at_once(library))
    asked(worker)
    worker.send(channel.REPLY, act, 1, channel.FAILURE, failure)
    kinds, said = worker.answer(call)
    assert ERRORS[library][which] in kinds
    assert failure[1] in said or (which == 1 and "Read timed out" in said)


@pytest.mark.parametrize("library", LIBRARIES)
def test_timeouts_are_the_library_s_own(web: tuple[WorkerHarness, int], library: str) -> None:
    worker, act = web
    kinds, _ = worker.call(act, "ask", library, "http://h/", {"timeout": 0.05, **failing_at_once(library)})
    assert ERRORS[library][1] in kinds


@pytest.mark.parametrize(
    ("library", "options"), [("httpx", {"proxy": "http://p:1"}), ("requests", {"proxies": {"http": "http://p:1"}})]
)
def test_a_proxy_is_refused(web: tuple[WorkerHarness, int], library: str, options: Any) -> None:
    worker, act = web
    assert "there can be no proxy" in worker.call(act, "ask", library, "http://h/", options)[1]


def test_bodies_in_pieces(web: tuple[WorkerHarness, int]) -> None:
    worker, act = web
    call = worker.event(act, "posted", "http://h/")
    assert b'name="f"; filename="n.bin"\r\n\r\n\x00\xff\r\n' in asked(worker)[3]
    answer(worker, act, 204, [("content-length", "9")], b"")
    assert asked(worker, 2)[3] == b"one two"
    answer(worker, act, 200, [], b"both", 2)
    assert worker.answer(call) == [204, "both"]
    call = worker.event(act, "pieces", "http://h/")
    for number in (3, 4):
        asked(worker, number)
        answer(worker, act, 200, MANY, BINARY, number)
    assert worker.answer(call) == [4, 4, 4, 4]


def test_several_at_once(web: tuple[WorkerHarness, int]) -> None:
    worker, act = web
    call = worker.event(act, "together", "http://h")
    for number in (3, 2, 1):
        answer(worker, act, 200, [], asked(worker, number)[1][-1:].encode(), number)
    assert worker.answer(call) == ["0", "1", "2"]


def test_a_request_for_the_head(web: tuple[WorkerHarness, int]) -> None:
    worker, act = web
    for number, library in enumerate(LIBRARIES, 1):
        call = worker.event(act, "ask", library, "http://h/", {"method": "HEAD"})
        asked(worker, number)
        answer(worker, act, 200, [*MANY, ("content-length", "999")], b"", number)
        assert answered(worker, call) == (200, ["1", "2"], b"", "OK")


# The hook


def test_a_library_is_changed_when_it_is_imported(changed: None, tmp_path: Path) -> None:
    """Seen to fail without the hook."""
    waiting.give_stacks(on=False)
    saved = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "httpcore"}
    try:
        module = importlib.import_module("httpcore")
        assert module.ConnectionPool.handle_request.__module__ == pools.__name__
        assert waiting.gives_stacks()
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "httpcore"]:
            del sys.modules[name]
        sys.modules.update(saved)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("http.clients")


def test_a_worker_that_uses_none_of_them_imports_none() -> None:
    """Seen to fail when the hook imports what it changes."""
    script = "import sys, homing_node.workers.inside.main as m; m.outbound.install(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(done.stdout.split())
    assert not loaded & {*outbound.CHANGED, "httpx", "urllib.request", "homing.compat.html.tokens"}
    assert "homing.compat.outbound" in loaded


def test_packages_say_that_functions_will_wait(tmp_path: Path) -> None:
    try:
        outbound.prepare("")
        outbound.prepare(str(tmp_path))
        assert not waiting.gives_stacks()
        (tmp_path / "requests").mkdir()
        outbound.prepare(str(tmp_path))
        assert waiting.gives_stacks()
    finally:
        waiting.give_stacks(on=False)


def test_what_fails_to_import_fails(changed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(outbound.CHANGED, "no_such_library", lines.__name__)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        importlib.import_module("no_such_library")


# Lines

HEADERS = st.lists(st.tuples(st.from_regex(r"\Ax-[a-z]{1,5}\Z"), st.text("abc", max_size=5)), max_size=4)


class Recorder:
    """A socket that keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def sendall(self, data: bytes) -> None:
        self.data += data


@given(st.sampled_from(["GET", "POST", "PUT"]), HEADERS, st.lists(st.binary(min_size=1, max_size=20)), st.booleans())
def test_what_a_client_writes_is_read(method: str, headers: Any, pieces: list[bytes], whole: bool) -> None:
    """In one piece or in chunks, and not before it is complete. Seen to fail when a chunk's end is not looked for."""
    connection: Any = http.client.HTTPConnection("h")
    connection.sock = Recorder()
    connection.putrequest(method, "/a?b=c")
    for name, value in headers:
        connection.putheader(name, value)
    body = b"".join(pieces)
    connection.putheader(*(("content-length", str(len(body))) if whole else ("transfer-encoding", "chunked")))
    connection.endheaders(body if whole else iter(pieces), encode_chunked=not whole)
    written = connection.sock.data
    asked = lines.read_request(written)
    assert asked is not None
    assert (asked.method, asked.target, asked.body) == (method, "/a?b=c", body)
    assert [pair for pair in asked.headers if pair[0].startswith("x-")] == headers
    assert not any(lines.read_request(written[:at]) for at in range(len(written)))


@given(st.sampled_from([200, 204, 304, 404, 599]), HEADERS, st.binary(max_size=50), st.sampled_from(["GET", "HEAD"]))
def test_what_is_written_a_client_reads(status: int, headers: Any, body: bytes, method: str) -> None:
    class Line:
        def makefile(self, *_: Any) -> Any:
            return lines.io.BytesIO(lines.written(Response(body, status=status, headers=headers), method))

    found = http.client.HTTPResponse(Line(), method=method)  # pyright: ignore[reportArgumentType] - as much as it uses
    found.begin()
    assert found.status == status
    assert found.read() == (b"" if method == "HEAD" or status in (204, 304) else body)
    for name, _ in headers:
        assert found.headers.get_all(name) == [value for own, value in headers if own == name]


def test_what_is_not_complete_is_not_sent() -> None:
    line = lines.Line("http://h:80", None, ConnectionError, at_once=False)
    line.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(ConnectionError, match="not complete"):
        line.makefile("rb")
    line.close()
