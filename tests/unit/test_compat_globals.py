"""JavaScript's globals in an application of Cloudflare's kind, in a worker's own runtime."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from homing.compat.globals.data import TextDecoder, atob, btoa, structuredClone
from homing.compat.globals.urls import URL, URLSearchParams
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

APP = """
import asyncio
import js
from js import AbortController, AbortSignal, Blob, FormData, Headers, HTMLRewriter, Response as JsResponse
from js import ReadableStream
from js import TextDecoder, TextEncoder, Uint8Array, caches, clearTimeout, crypto, performance, setInterval, setTimeout
from pyodide.ffi import JsException, create_once_callable, create_proxy, to_js
from workers import DurableObject, Response, fetch


class Bold:
    def __init__(self, env):
        self.env = env

    async def element(self, element):
        element.append(await self.env.ROOMS.getByName("b").suffix(element.tagName), {"html": True})


class Room(DurableObject):
    async def fetch(self, request):
        def pull(controller):
            self.n = getattr(self, "n", 0) + 1
            controller.enqueue(TextEncoder.new().encode(f"data: {self.n}\\n\\n"))
            if self.n == 3:
                controller.close()
        return JsResponse.new(ReadableStream.new(to_js({"pull": create_proxy(pull)})))

    async def digests(self):
        digest = await crypto.subtle.digest("SHA-256", to_js(b"data"))
        other = await crypto.subtle.digest({"name": "sha-1"}, TextEncoder.new().encode("data"))
        return [digest.to_bytes().hex(), bytes(Uint8Array.new(digest).to_py()).hex(), other.byteLength]

    async def signs(self):
        algorithm = to_js({"name": "HMAC", "hash": "SHA-256"})
        secret = TextEncoder.new().encode("hush")
        key = await crypto.subtle.importKey("raw", secret, algorithm, False, to_js(["sign", "verify"]))
        mac = await crypto.subtle.sign("HMAC", key, b"data")
        good = await crypto.subtle.verify("HMAC", key, mac, b"data")
        bad = await crypto.subtle.verify("HMAC", key, mac, b"other")
        new = await crypto.subtle.generateKey(algorithm, True, ["sign"])
        size = (await crypto.subtle.exportKey("raw", new)).byteLength
        filled = crypto.getRandomValues(Uint8Array.new(16))
        return [mac.to_bytes().hex(), good, bad, size, filled.length, bytes(filled) != bytes(16), "hush" in repr(key)]

    async def refused(self, what):
        try:
            match what:
                case "encrypt":
                    await crypto.subtle.encrypt("AES-GCM", None, b"")
                case "rsa":
                    await crypto.subtle.importKey("raw", b"", to_js({"name": "RSA-PSS"}), False, [])
                case "digest":
                    await crypto.subtle.digest("CRC32", b"")
                case "use":
                    key = await crypto.subtle.importKey("raw", b"k", {"name": "HMAC", "hash": "SHA-1"}, False, ["sign"])
                    await crypto.subtle.verify("HMAC", key, b"", b"")
                case "export":
                    key = await crypto.subtle.importKey("raw", b"k", {"name": "HMAC", "hash": "SHA-1"}, False, ["sign"])
                    await crypto.subtle.exportKey("raw", key)
                case "other":
                    js.EventSource.new("x")
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def timers(self):
        seen, done = [], asyncio.Event()
        cleared = setTimeout(create_once_callable(lambda: seen.append("cleared")), 1)
        clearTimeout(cleared)
        async def later(text):
            seen.append(text)
            await self.ctx.storage.put("timer", text)
        setTimeout(later, 5, "later")
        ticks = setInterval(create_proxy(lambda: (seen.append("tick"), seen.count("tick") == 2 and done.set())), 20)
        await done.wait()
        clearTimeout(ticks)
        clearTimeout(None)
        await asyncio.sleep(0.05)
        return [seen, await self.ctx.storage.get("timer"), performance.now() > 0]

    async def aborts(self, how):
        controller = AbortController.new()
        heard = []
        controller.signal.addEventListener("abort", lambda event: heard.append(event.reason is not None))
        if how == "before":
            controller.abort()
        elif how == "while":
            setTimeout(controller.abort, 5)
        signal = AbortSignal.any([controller.signal, AbortSignal.timeout(10)]) if how == "late" else controller.signal
        try:
            found = await fetch("http://h/", signal=signal)
        except JsException as error:
            return [type(error).__name__, str(error), heard]
        return [found.status, signal.aborted]

    async def caches(self):
        cache = caches.default
        await cache.put("http://x/", Response("kept"))
        named = await caches.open("mine")
        return [await cache.match("http://x/"), await named.delete("http://x/")]

    async def blobs(self):
        blob = Blob.new(to_js(["a", b"b", Blob.new(["c"])]), {"type": "text/x"})
        part = blob.slice(1, 2)
        form = FormData.new()
        form.append("a", "1")
        form.set("a", "2")
        form.append("b", "3")
        form.delete("b")
        answer = Response(blob)
        return [blob.size, blob.type, await blob.text(), await part.text(), form.getAll("a"), form.has("b"),
                answer.headers["content-type"], (await blob.arrayBuffer()).hex()]

    async def sends(self):
        form = FormData.new()
        form.append("a", "1")
        await fetch("http://h/", method="POST", body=form)
        await fetch("http://h/", method="POST", body=js.URLSearchParams.new({"a": "1 2"}), headers={"x": "y"})
        await fetch("http://h/", method="POST", body=Uint8Array.new([1, 2]))

    async def headers(self):
        headers = Headers.new({"A": "1"})
        headers.set("b", 2)
        headers.delete("a")
        headers.append("set-cookie", "c")
        answer = JsResponse.json(to_js({"n": 1}), to_js({"status": 201, "headers": headers}))
        again = Headers.new(answer.headers)
        return [answer.status, answer.body.decode(), again.has("A"), again.getSetCookie(), again.entries()]

    async def rewritten(self):
        page = Response("<b>x</b>", headers={"content-type": "text/html"})
        found = HTMLRewriter.new().on("b", create_proxy(Bold(self.env))).transform(page.js_object)
        return await found.text()
"""


@pytest.fixture
def room(start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int]:
    worker = start(APP, bindings={"objects": {"ROOMS": "Room"}})
    assert worker.hello[0] == channel.READY, worker.hello
    return worker, worker.open("Room")


def test_digests_and_signatures(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    digest = hashlib.sha256(b"data").hexdigest()
    assert worker.call(act, "digests") == [digest, digest, 20]
    mac = hmac.new(b"hush", b"data", "sha256").hexdigest()
    assert worker.call(act, "signs") == [mac, True, False, 64, 16, True, False]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("encrypt", "NotSupported: js.crypto.subtle.encrypt is not supported yet"),
        ("rsa", "NotSupported: js.crypto.subtle with keys of RSA-PSS is not supported"),
        ("digest", "NotSupported: js.crypto.subtle with CRC32 is not supported"),
        ("use", "ValueError: the key is not for use as verify"),
        ("export", "ValueError: the key cannot be exported like this"),
        ("other", "NotSupported: js.EventSource is not supported yet"),
    ],
)
def test_what_is_not_there_says_so_by_its_name(room: tuple[WorkerHarness, int], what: str, said: str) -> None:
    worker, act = room
    assert worker.call(act, "refused", what) == said


def test_timers_are_turns_of_their_object(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.call(act, "timers") == [["later", "tick", "tick"], "later", True]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("before", ["ApplicationError", "the operation was aborted", [True]]),
        ("while", ["ApplicationError", "the operation was aborted", [True]]),
        ("late", ["DeadlineExceeded", "the operation was aborted due to timeout", []]),
    ],
)
def test_a_fetch_is_aborted(room: tuple[WorkerHarness, int], how: str, expected: Any) -> None:
    worker, act = room
    assert worker.call(act, "aborts", how) == expected


def test_a_fetch_with_a_signal_that_says_nothing(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    call = worker.event(act, "aborts", "not")
    worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, 1, channel.ANSWER, (200, [], b""))
    assert worker.answer(call) == [200, False]


def test_a_cache_forgets(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.call(act, "caches") == [None, False]


def test_blobs_and_forms(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.call(act, "blobs") == [3, "text/x", "abc", "b", ["2"], False, "text/x", "616263"]


def test_bodies_that_are_sent(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    worker.event(act, "sends")
    sent: list[tuple[bytes, str]] = []
    for number in (1, 2, 3):
        frame = worker.wait(lambda frame, number=number: frame[0] == channel.CALL and frame[3] == number)
        sent.append((frame[9], dict(frame[11]).get("content-type", "").partition(";")[0]))
        worker.send(channel.REPLY, act, number, channel.ANSWER, (200, [], b""))
    assert b'name="a"\r\n\r\n1\r\n' in sent[0][0]
    assert [kind for _, kind in sent] == ["multipart/form-data", "application/x-www-form-urlencoded", ""]
    assert [body for body, _ in sent[1:]] == [b"a=1+2", b"\x01\x02"]


def test_headers_and_answers(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    entries = [["b", "2"], ["set-cookie", "c"], ["content-type", "application/json"]]
    assert worker.call(act, "headers") == [201, '{"n":1}', False, ["c"], entries]


def test_a_stream_of_a_source_is_an_answer_that_flows(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.http(act, "GET", "http://x/")[2] == b"data: 1\n\ndata: 2\n\ndata: 3\n\n"


def test_a_rewriter_s_handlers_may_await(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    call = worker.event(act, "rewritten")
    worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, 1, channel.RESULT, b"\xa4<i/>")
    assert worker.answer(call) == "<b>x<i/></b>"


def test_text_and_base64() -> None:
    assert (atob(btoa("a\xff")), atob(" YQ "), btoa("a")) == ("a\xff", "a", "YQ==")
    decoder = TextDecoder.new("utf-8")
    assert decoder.decode(b"\xef\xbb\xbfh\xc3", stream=True) + decoder.decode(b"\xa9") == "hé"
    assert TextDecoder.new().decode(b"\xff") == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        TextDecoder.new("utf-8", {"fatal": True}).decode(b"\xff")
    with pytest.raises(ValueError, match="'x-none' is not known"):
        TextDecoder.new("x-none")


def test_clones() -> None:
    value = {"a": [1, {"b": b"x"}], "c": {1}}
    found = structuredClone(value)
    assert found == value
    assert found["a"] is not value["a"]
    with pytest.raises(TypeError, match="could not be cloned"):
        structuredClone({"a": asyncio.sleep})


def test_urls() -> None:
    url = URL.new("../c?x=1#h", "https://u:p@Example.com:443/a/b/")
    assert (url.host, url.origin, url.pathname, url.username) == ("example.com", "https://example.com", "/a/c", "u")
    url.hostname, url.port, url.hash = "other", "81", ""
    url.searchParams.append("y", 2)
    assert (url.href, url.toJSON()) == ("https://u:p@other:81/a/c?x=1&y=2",) * 2
    url.search = "?z"
    assert str(url).endswith("/a/c?z=")
    assert URL.new("http://[::1]:9/").host == "[::1]:9"
    assert (URL.canParse("/x"), URL.canParse("/x", "http://h"), URL.parse("nothing")) == (False, True, None)


def test_queries() -> None:
    query = URLSearchParams.new([["b", 1], ["a", 2], ["b", 3]])
    query.set("b", "4")
    assert ([*query], query.size, query.get("none")) == ([["b", "4"], ["a", "2"]], 2, None)
    query.sort()
    query.append("a", "5")
    assert (query.toString(), query.keys(), query.values()) == ("a=2&b=4&a=5", ["a", "b", "a"], ["2", "4", "5"])
    query.delete("a")
    assert (str(query), query.has("a"), query.getAll("b")) == ("b=4", False, ["4"])
