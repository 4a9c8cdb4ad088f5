"""Applications written for Cloudflare's Python Workers: their names, in a worker's own runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from homing.compat.forms import File, FormData, read_form
from homing.compat.membrane import JsArray, JsObject, plain, snake_case
from homing.ids import ObjectId
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

APP = """
import json
from workers import DurableObject, FetchResponse, FormData, Response, WorkerEntrypoint
from js import JSON, URL, Date, Object, console
from pyodide.ffi import JsException, JsProxy, create_proxy, to_js
import js

class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        ctx.blockConcurrencyWhile(self.migrate)

    async def migrate(self):
        self.sql.exec("CREATE TABLE IF NOT EXISTS log(id INTEGER PRIMARY KEY, text TEXT)")

    async def write(self, text):
        self.sql.exec("INSERT INTO log(text) VALUES (?)", text)
        cursor = self.sql.exec("SELECT id, text FROM log ORDER BY id")
        names = cursor.columnNames
        rows = cursor.toArray()
        return [list(names), rows.length, rows[0].text, [row.to_py() for row in rows], self.sql.databaseSize > 0]

    async def walked(self):
        cursor = self.sql.exec("SELECT id AS items FROM log")
        first, last = cursor.next(), cursor.next()
        await self.ctx.storage.put("items", {"keys": 1})
        pairs = await self.ctx.storage.list()
        return [first.done, first.value.items, last.done, last.value, [*pairs.keys()], pairs.get("items").keys]

    async def one(self):
        return self.sql.exec("SELECT count(*) AS n FROM log").one().n

    async def values(self):
        storage = self.ctx.storage
        await storage.put("a", to_js({"deep": [1, {"x": 2}]}, dict_converter=Object.fromEntries))
        await storage.put({"b": 1, "c": 2})
        found = await storage.get("a")
        listed = await storage.list(to_js({"prefix": "b"}))
        many = await storage.get(["b", "c", "d"])
        return [found.deep[1].x, found.to_py(), isinstance(found, JsProxy), listed, many, await storage.get("none"),
                await storage.delete("b"), self.ctx.storage.kv.get("c")]

    async def undo(self):
        def work():
            self.ctx.storage.kv.put("t", 1)
            raise ValueError("undo")
        try:
            self.ctx.storage.transactionSync(work)
        except ValueError:
            pass
        async def more(txn):
            await txn.put("u", 2)
            await txn.setAlarm(Date.now() + 60_000)
        await self.ctx.storage.transaction(more)
        at = await self.ctx.storage.getAlarm()
        return [await self.ctx.storage.get("t"), await self.ctx.storage.get("u"), at > Date.now()]

    async def alarm(self, info):
        self.ctx.storage.kv.put("rang", [info.isRetry, info.retryCount, info.scheduledTime])

    async def rang(self):
        return self.ctx.storage.kv.get("rang")

    def names(self):
        other = self.env.ROOMS.idFromName("a")
        again = self.env.ROOMS.idFromString(other.toString())
        try:
            self.env.ROOMS.idFromString("zz")
            said = "taken"
        except JsException as error:
            said = type(error).__name__
        return [self.ctx.id.name, other.toString() == str(again), other.equals(again), other == again, said,
                self.env.COLOR, self.env.LIMITS.most]

    def bound(self):
        rooms, options = self.env.ROOMS, to_js({"locationHint": "weur"}, dict_converter=Object.fromEntries)
        eu = rooms.jurisdiction("eu")
        unique = rooms.newUniqueId(to_js({"jurisdiction": "eu"}, dict_converter=Object.fromEntries))
        mine = eu.idFromName("a")
        said = []
        for wrong in (lambda: eu.get(rooms.idFromName("a")), lambda: rooms.jurisdiction("mars"),
                      lambda: rooms.getByName("a", {"locationHint": "mars"})):
            try:
                wrong()
            except JsException as error:
                said.append(type(error).__name__)
        return [mine.jurisdiction, unique.jurisdiction, rooms.idFromName("a").jurisdiction,
                eu.get(unique, options).id.equals(unique), rooms.get(mine).id.equals(mine),
                eu.getByName("a", options).id == mine, said]

    async def refused(self, what):
        try:
            if what == "js":
                js.WebAssembly.new()
            elif what == "env":
                await self.env.CACHE.get("x")
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def globals(self):
        url = URL.new("https://example.com:8080/a/b?x=1&x=2#top")
        seen = []
        keep = create_proxy(lambda value: seen.append(value))
        keep(3)
        keep.destroy()
        console.log("hello", {"a": 1})
        return [url.pathname, url.searchParams.get("x"), url.host, url.href, JSON.stringify({"a": [1]}),
                JSON.parse('{"b": {"c": 1}}').b.c, Date.new(0).toISOString(), seen, len(js.crypto.randomUUID())]

    async def webSocketMessage(self, ws, message):
        return "never by RPC"

    async def fetch(self, request):
        url = URL.new(request.url)
        if url.pathname == "/json":
            data = await request.json()
            return Response.json({"got": data.name, "list": data.list}, status=201)
        if url.pathname == "/form":
            form = await request.form_data()
            return Response(form["a"], headers={"x-form": "1"})
        if url.pathname == "/away":
            return Response.redirect("https://example.com/", 307)
        return js.Response.new("js", to_js({"status": 202, "headers": {"x-a": "b"}}))

    async def ask(self, name):
        stub = self.env.ROOMS.get(self.env.ROOMS.idFromName(name))
        response = await stub.fetch("http://room/json", method="POST", body=json.dumps({"name": "n", "list": []}))
        data = await response.json()
        return [isinstance(response, FetchResponse), response.status, data.got, stub.id.toString() == str(stub.id)]

    async def tell(self, name):
        return await self.env.ROOMS.getByName(name).write(to_js({"text": 1}))


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stub = self.env.ROOMS.get(self.env.ROOMS.idFromName("lobby"))
        return Response(str(await stub.one()), headers={"x-color": self.env.COLOR})
"""
BINDINGS = {
    "objects": {"ROOMS": "Room"}, "vars": {"COLOR": "red", "LIMITS": {"most": 3}},
    "missing": {"CACHE": "kv_namespaces"}, "jurisdictions": ["us", "eu"],
}  # fmt: skip


@pytest.fixture
def room(start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int]:
    worker = start(APP, bindings=BINDINGS)
    assert worker.hello[0] == channel.READY, worker.hello
    return worker, worker.open("Room")


def test_only_the_application_s_own_classes_are_objects(room: tuple[WorkerHarness, int]) -> None:
    """What it imports from `workers` is none. Seen to fail when every subclass counts."""
    summary = room[0].hello[1]
    assert [*summary["classes"]] == ["Room"]
    assert summary["default"]
    assert "webSocketMessage" not in summary["classes"]["Room"]


def test_sql_has_javascript_s_names(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.call(act, "write", "hello") == [["id", "text"], 1, "hello", [{"id": 1, "text": "hello"}], True]
    assert worker.call(act, "one") == 1


def test_entries_come_before_methods_but_not_in_a_map(room: tuple[WorkerHarness, int]) -> None:
    """A column may be named `items`. Seen to fail with a plain dict's attributes."""
    worker, act = room
    worker.call(act, "write", "hello")
    assert worker.call(act, "walked") == [False, 1, True, None, ["items"], 1]


def test_values_read_as_objects_of_javascript(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    deep = {"deep": [1, {"x": 2}]}
    assert worker.call(act, "values") == [2, deep, True, {"b": 1}, {"b": 1, "c": 2}, None, True, 2]


def test_transactions_and_alarms(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.call(act, "undo") == [None, 2, True]


def test_an_alarm_s_handler_is_told_what_it_is(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP.replace("Date.now() + 60_000", "1"), bindings=BINDINGS)
    act = worker.open("Room")
    worker.call(act, "undo")
    worker.send(channel.EVENT, act, 9_000, channel.ALARM, "", b"", 0, "", "", None, False, 0, 0)
    worker.effect(9_000)
    assert worker.call(act, "rang") == [False, 0, 1]


def test_ids_and_variables(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    assert worker.call(act, "names") == ["a", True, True, True, "BadRequest", "red", 3]


def test_jurisdictions_and_location_hints(room: tuple[WorkerHarness, int]) -> None:
    """Seen to fail when an object of options in the last place is no option of these methods."""
    worker, act = room
    errors = ["BadRequest", "UnknownLocation", "UnknownLocation"]
    assert worker.call(act, "bound") == ["eu", "eu", None, True, True, True, errors]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("js", "NotSupported: js.WebAssembly is not supported yet"),
        ("env", "NotSupported: env.CACHE (kv_namespaces) is not supported yet"),
    ],
)
def test_what_is_not_built_says_so_by_its_name(room: tuple[WorkerHarness, int], what: str, said: str) -> None:
    worker, act = room
    assert worker.call(act, "refused", what) == said


def test_globals_of_javascript(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, bindings=BINDINGS, output=True)
    act = worker.open("Room")
    url = "https://example.com:8080/a/b?x=1&x=2#top"
    expected = ["/a/b", "1", "example.com:8080", url, '{"a":[1]}', 1, "1970-01-01T00:00:00.000Z", [3], 36]
    assert worker.call(act, "globals") == expected
    assert worker.logs("stdout")[-1][4] == 'hello {"a":1}'


def test_requests_and_responses(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    status, headers, body = worker.http(act, "POST", "http://x/json", b'{"name": "n", "list": [1]}')
    assert (status, dict(headers)) == (201, {"content-type": "application/json"})
    assert body == b'{"got": "n", "list": [1]}'
    form = b"a=1+2&b="
    kind = [("content-type", "application/x-www-form-urlencoded")]
    status, headers, body = worker.http(act, "POST", "http://x/form", form, kind)
    assert (status, dict(headers)["x-form"], body) == (200, "1", b"1 2")
    status, headers, body = worker.http(act, "GET", "http://x/away")
    assert (status, dict(headers)["location"], body) == (307, "https://example.com/", b"")
    status, headers, body = worker.http(act, "GET", "http://x/")
    assert (status, dict(headers)["x-a"], body) == (202, "b", b"js")


def test_objects_call_each_other(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    call = worker.event(act, "ask", "b")
    frame = worker.wait(lambda frame: frame[0] == channel.CALL)
    assert (frame[5], frame[6], frame[8]) == ("Room", ObjectId.from_name("Room", "b").raw, "POST")
    worker.send(channel.REPLY, act, 1, channel.ANSWER, (201, [("content-type", "application/json")], b'{"got": "n"}'))
    assert worker.answer(call) == [True, 201, "n", True]
    call = worker.event(act, "tell", "b")
    worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, 2, channel.RESULT, b"\x07")
    assert worker.answer(call) == 7


def test_the_entrypoint_gets_the_same_face(room: tuple[WorkerHarness, int]) -> None:
    worker, _ = room
    worker.send(
        channel.EVENT, 0, 5_000, channel.DEFAULT, "GET", b"", 5_000, "r", "", ["http://x/", [], False], False, 0, 0
    )
    frame = worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, 0, frame[3], channel.RESULT, b"\x05")
    status, headers, body = worker.answer(5_000)
    assert (status, dict(headers)["x-color"], body) == (200, "red", b"5")


@pytest.mark.parametrize("head", ["async def on_fetch(request, env, ctx)", "def on_fetch(request)"])
def test_a_module_with_a_function_answers_too(start: Callable[..., WorkerHarness], head: str) -> None:
    worker = start(f"from workers import Response\n{head}:\n    return Response(request.url, headers={{'a': 'b'}})\n")
    assert worker.hello[1]["default"], worker.hello
    status, headers, body = worker.http(0, "GET", "http://x/y")
    assert (status, dict(headers)["a"], body) == (200, "b", b"http://x/y")


def test_a_binding_of_a_class_that_is_not_there_fails_the_application(start: Callable[..., WorkerHarness]) -> None:
    worker = start(APP, bindings={"objects": {"ROOMS": "Rooom"}})
    assert worker.hello[:2] == [channel.FAILED, "ValueError"]
    assert "Rooom" in worker.hello[2]


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("idFromName", "id_from_name"), ("newUniqueId", "new_unique_id"), ("acceptWebSocket", "accept_websocket"),
        ("setWebSocketAutoResponse", "set_websocket_auto_response"), ("sql", "sql"), ("id_from_name", "id_from_name"),
    ],
)  # fmt: skip
def test_names(name: str, snake: str) -> None:
    assert snake_case(name) == snake


def test_objects_and_arrays() -> None:
    value = JsObject(a=JsArray([JsObject(b=1)]))
    assert value.a[0].b == 1
    assert value.a.length == 1
    found: Any = value.to_py()
    assert found == {"a": [{"b": 1}]}
    assert (type(found), type(found["a"]), type(found["a"][0])) == (dict, list, dict)
    with pytest.raises(AttributeError):
        _ = value.missing
    assert plain([{"a": JsObject(items=[1])}]) == [{"a": {"items": [1]}}]
    assert json.dumps(plain({"a": JsObject(items=1)})) == '{"a": {"items": 1}}'


async def test_forms_there_and_back() -> None:
    form = FormData([("a", "1"), ("a", "ü"), ("f", File(b"\x00\r\n\xff", 'x".bin', "image/png"))])
    body, kind = form.encoded()
    found = read_form(kind, body)
    assert [*found] == ["a", "f"]
    assert found.get_all("a") == ["1", "ü"]
    file = found["f"]
    assert isinstance(file, File)
    assert (await file.bytes(), file.content_type) == (b"\x00\r\n\xff", "image/png")
    assert found.get("none") is None
    for kind in ("", "text/plain", "multipart/form-data"):
        with pytest.raises(ValueError, match=r".+"):
            read_form(kind, b"x")
