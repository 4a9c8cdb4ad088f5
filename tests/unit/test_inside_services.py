"""Service bindings within an application, and static assets before its code, in a worker's own runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

APP = """
import asyncio
from dataclasses import dataclass
from homing import ApplicationError, BadRequest, DurableObject, NotFound, Response, RpcTarget, WorkerEntrypoint

@dataclass
class Price:
    of: str
    cents: int

class Basket(RpcTarget):
    def __init__(self, name):
        self.name, self._items = name, []

    def add(self, item):
        self._items.append(item)
        return len(self._items)

    async def items(self):
        return self._items

class Prices(WorkerEntrypoint):
    made = 0

    def __init__(self, ctx, env):
        Prices.made += 1
        super().__init__(ctx, env)

    def of(self, name, *, twice=False):
        return Price(name, 6 if twice else 3)

    async def append(self, given):
        await asyncio.sleep(0)
        given.append("theirs")
        return given

    def basket(self, name):
        return Basket(name)

    async def fill(self, basket, tell):
        await basket.add("pear")
        await tell(await basket.items())

    async def remember(self, n):
        return await self.env.ROOM.get_by_name("a").keep(n)

    def later(self):
        async def work():
            await asyncio.sleep(0)
            print("done later")
        self.ctx.wait_until(work())

    def fails(self):
        raise ValueError("no such price")

    def properties(self):
        self.ctx.props["list"].append(1)
        return self.ctx.props

    def _hidden(self):
        return 1

    async def fetch(self, request):
        if request.url.endswith("/none"):
            return None
        if request.url.endswith("/fails"):
            raise KeyError("x")
        request.headers["x-changed"] = "1"
        return Response(f"{request.method} {request.url} {(await request.text())}", status=201)

class Room(DurableObject):
    def keep(self, n):
        self.ctx.storage.kv.put("n", n)
        return n

    async def use(self, what):
        return await used(self.env, what)

    async def wrote(self):
        self.ctx.storage.kv.put("n", 1)
        return [await self.env.PRICES.append([]), self.ctx.storage.kv.get("n")]

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        what = request.url.rpartition("/")[2]
        return Response.json(await used(self.env, what))

    def plus(self, a, b):
        return a + b

async def used(env, what):
    prices = env.PRICES
    match what:
        case "values":
            mine, price = ["mine"], await prices.of("pear", twice=True)
            theirs = await prices.append(mine)
            return [type(price) is Price, price.cents, mine, theirs]
        case "instances":
            before = Prices.made
            await prices.of("a"), await prices.of("b")
            return Prices.made - before
        case "targets":
            basket, heard = await prices.basket("b"), []
            async def hear(items):
                heard.append(items)
            await basket.add("apple")
            await prices.fill(basket, hear)
            own = Basket("own")
            await prices.fill(own, hear)
            return [heard, own._items, hasattr(basket, "_items"), hasattr(basket, "name")]
        case "order":
            return await asyncio.gather(*(prices.append([n]) for n in range(3)))
        case "fetch":
            answer = await prices.fetch("http://p/x", method="PUT", body="hi")
            return [answer.status, await answer.text()]
        case "self":
            return [await env.SELF.plus(1, 2), (await env.SELF.fetch("http://s/a.txt")).body.decode()]
        case "props":
            return [await env.MORE.properties(), await env.MORE.properties()]
        case "later":
            return await prices.later()
    return await told(prices, what)

async def told(prices, what):
    try:
        match what:
            case "fails":
                await prices.fails()
            case "misfit":
                await prices.of()
            case "unknown":
                await prices.nothing()
            case "hidden":
                prices._hidden
            case "unsent":
                prices.of(object())
            case "none":
                await prices.fetch("http://p/none")
            case "fetch-fails":
                await prices.fetch("http://p/fails")
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "remote", None)]
"""
PRICES = {"of": "", "entrypoint": "Prices", "props": {}}
BINDINGS: dict[str, Any] = {
    "objects": {"ROOM": "Room"},
    "services": {
        "PRICES": PRICES,
        "MORE": {**PRICES, "props": {"list": [0]}},
        "SELF": {**PRICES, "entrypoint": ""},
        "OTHER": {"of": "billing", "entrypoint": "Bills", "props": {}},
    },
}
SETTINGS = {"html_handling": "auto-trailing-slash", "not_found_handling": "none"}


@pytest.fixture
def site(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a.txt").write_text("from a file")
    return {**SETTINGS, "folder": str(tmp_path / "public"), "files": {"/a.txt": ("e1", 11)}}


@pytest.fixture
def worker(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> WorkerHarness:
    worker = start(APP, bindings={**BINDINGS, "site": site, "assets": ["ASSETS"]})
    assert worker.hello[0] == channel.READY, worker.hello
    return worker


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("values", [True, 6, ["mine"], ["mine", "theirs"]]),
        ("instances", 2),
        ("targets", [[["apple", "pear"], ["pear"]], ["pear"], False, False]),
        ("order", [[0, "theirs"], [1, "theirs"], [2, "theirs"]]),
        ("fetch", [201, "PUT http://p/x hi"]),
        ("self", [3, "from a file"]),
        ("props", [{"list": [0, 1]}, {"list": [0, 1]}]),
        ("fails", ["ApplicationError", "no such price", True]),
        ("unknown", ["NotFound", "Prices has no method nothing", False]),
        ("hidden", ["AttributeError", "_hidden", None]),
        ("unsent", ["TypeError", "a value of type object cannot be sent or stored", None]),
        ("none", ["ApplicationError", "fetch must return a Response, not NoneType", False]),
        ("fetch-fails", ["ApplicationError", "'x'", True]),
    ],
)
def test_a_service_is_called_from_the_entrypoint_and_from_an_object(
    worker: WorkerHarness, what: str, expected: Any
) -> None:
    """Values go by value: seen to fail when the very list is handed over."""
    status, _, body = worker.http(0, "GET", f"http://x/{what}")
    assert status == 200
    act = worker.open("Room")
    assert worker.call(act, "use", what) == expected
    assert body == msgspec.json.encode(expected)


def test_arguments_that_do_not_fit(worker: WorkerHarness) -> None:
    name, message, remote = worker.call(worker.open("Room"), "use", "misfit")
    assert (name, remote) == ("BadRequest", False)
    assert "missing 1 required positional argument: 'name'" in message


def test_what_a_caller_wrote_before_is_there_after(worker: WorkerHarness) -> None:
    act = worker.open("Room")
    assert worker.call(act, "wrote") == [["theirs"], 1]


def test_what_a_service_leaves_for_later_is_done(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, bindings=BINDINGS, output=True)
    assert worker.http(0, "GET", "http://x/later")[0] == 200
    worker.wait(lambda frame: frame[0] == channel.LOG and frame[4] == "done later")


def test_a_service_calls_objects(start: Callable[..., WorkerHarness]) -> None:
    app = APP.replace(
        'case "later":', 'case "object":\n            return await prices.remember(7)\n        case "later":'
    )
    worker = start(app, bindings=BINDINGS)
    worker.send(
        channel.EVENT,
        0,
        9,
        channel.DEFAULT,
        "GET",
        b"",
        5_000,
        "r",
        "",
        ["http://x/object", [], False],
        False,
        0,
        0,
    )
    frame = worker.wait(lambda frame: frame[0] == channel.CALL)
    assert (frame[1], frame[5]) == (0, "Room")
    worker.send(channel.REPLY, 0, frame[3], channel.RESULT, b"\x07")
    assert worker.answer(9)[2] == b"7"


def test_another_application_s_service_says_so(start: Callable[..., WorkerHarness]) -> None:
    app = APP.replace("prices = env.PRICES", "return await env.OTHER.pay()")
    worker = start(app, bindings=BINDINGS)
    failure = worker.failure(worker.open("Room"), "use", "any")
    assert failure.code == "not-supported"
    assert failure.message == "env.OTHER (the service billing, another application) is not supported yet"


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [
        ("Nobody", "Nobody, which is bound as a service, is no WorkerEntrypoint"),
        ("Room", "Room, which is bound as a service, is no WorkerEntrypoint"),
        ("used", "used, which is bound as a service, is no WorkerEntrypoint"),
    ],
)
def test_a_service_that_is_none(start: Callable[..., WorkerHarness], entrypoint: str, said: str) -> None:
    bindings = {**BINDINGS, "services": {"A": {**PRICES, "entrypoint": entrypoint}}}
    hello = start(APP, bindings=bindings).hello
    assert hello[0] == channel.FAILED
    assert said in hello[2]


COMPAT = """
from js import URL
from pyodide.ffi import JsException, to_js
from workers import FetchResponse, Request, Response, WorkerEntrypoint

class Greeter(WorkerEntrypoint):
    async def greet(self, options):
        return {"text": f"{self.ctx.props.word}, {options['name']}", "env": self.env.COLOR}

    async def fetch(self, request):
        return Response.json({"path": URL.new(request.url).pathname, "kind": type(request) is Request})

class Default(WorkerEntrypoint):
    def __init__(self, ctx, env):
        print("made")
        super().__init__(ctx, env)

    async def fetch(self, request):
        path = URL.new(request.url).pathname
        if path == "/greet":
            return Response.json(await self.env.GREETER.greet(to_js({"name": "ann"})))
        if path == "/fetch":
            answer = await self.env.GREETER.fetch(URL.new("http://g/deep"))
            return Response.json([isinstance(answer, FetchResponse), (await answer.json()).path, answer.ok])
        if path == "/asset":
            answer = await self.env.ASSETS.fetch(URL.new("/a.txt", request.url))
            return Response(await answer.text(), headers={"x-was": answer.headers["content-type"]})
        return await self.env.ASSETS.fetch(request.js_object)
"""


def with_names(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> WorkerHarness:
    greeter = {"of": "", "entrypoint": "Greeter", "props": {"word": "hello"}}
    bindings = {
        "site": {**site, "worker_first": ["/first/*"]}, "assets": ["ASSETS"], "services": {"GREETER": greeter},
        "vars": {"COLOR": "red"},
    }  # fmt: skip
    return start(COMPAT, bindings=bindings, output=True)


def test_the_same_with_the_reference_s_names(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> None:
    compat = with_names(start, site)
    assert compat.http(0, "GET", "http://x/greet")[2] == b'{"text": "hello, ann", "env": "red"}'
    assert compat.http(0, "GET", "http://x/fetch")[2] == b'[true, "/deep", true]'
    status, headers, body = compat.http(0, "GET", "http://x/asset")
    assert (status, dict(headers)["x-was"], body) == (200, "text/plain; charset=utf-8", b"from a file")


def test_code_does_not_run_for_a_file(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> None:
    """Not even its constructor; and each file counts as progress, or a busy worker would be taken for a stuck one.

    Seen to fail when the answer leaves without a turn.
    """
    compat = with_names(start, site)
    status, headers, body = compat.http(0, "GET", "http://x/a.txt", headers=[("if-none-match", '"other"')])
    assert (status, body) == (200, b"from a file")
    assert [name for name, _ in headers] == ["etag", "content-type", "cache-control"]
    assert compat.http(0, "GET", "http://x/a.txt", headers=[("if-none-match", '"e1"')])[::2] == [304, b""]
    assert compat.http(0, "POST", "http://x/a.txt")[0] == 405
    compat.settle()
    assert not compat.logs("stdout")
    compat.wait(lambda frame: frame[0] == channel.BEAT and frame[1] == 3)
    assert compat.http(0, "GET", "http://x/first/a.txt")[0] == 404
    assert compat.http(0, "GET", "http://x/none")[0] == 404
    compat.settle()
    assert [frame[4] for frame in compat.logs("stdout")] == ["made", "made"]


def test_what_is_no_url_is_refused(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> None:
    compat = with_names(start, site)
    with pytest.raises(Exception, match="bad-request: Invalid URL"):
        compat.http(0, "GET", "/a.txt")


def test_a_file_that_cannot_be_read(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> None:
    """It is that request's failure, not the worker's."""
    worker = start("", bindings={"site": {**site, "files": {"/gone.txt": ("e", 1), **site["files"]}}})
    with pytest.raises(Exception, match=r"application-error: .*No such file"):
        worker.http(0, "GET", "http://x/gone.txt")
    assert worker.http(0, "GET", "http://x/a.txt")[0] == 200


def test_files_without_any_code(start: Callable[..., WorkerHarness], site: dict[str, Any]) -> None:
    worker = start("", bindings={"site": site})
    assert worker.hello[1] == {"classes": {}, "default": True}
    assert worker.http(0, "GET", "http://x/a.txt")[::2] == [200, b"from a file"]
    assert worker.http(0, "GET", "http://x/nothing")[::2] == [404, b""]
    assert worker.http(0, "POST", "http://x/a.txt")[0] == 405
