"""Handlers that are coroutines and call functions that wait, in a worker's own runtime: each step has a stack."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from homing.sent import Sender
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

APP = """
import asyncio, contextvars
from pyodide.ffi import can_run_sync, run_sync
from workers import DurableObject, Response, WorkerEntrypoint, wsgi

who = contextvars.ContextVar("who", default=None)
seen = []


def greeted(env, name):
    return run_sync(env.ROOMS.getByName("b").greet(name))


def view(environ, start_response):
    start_response("200 OK", [])
    return [greeted(environ["workers.env"], "first").encode(), greeted(environ["workers.env"], "second").encode()]


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        seen.append(can_run_sync())

    async def waits(self, name):
        who.set(name)
        self.ctx.storage.kv.put("before", name)
        first = greeted(self.env, name)
        await asyncio.sleep(0)
        second = greeted(self.env, first)
        return [second, who.get(), await self.ctx.storage.get("before")]

    def plain(self, name, *, twice=False):
        found = greeted(self.env, name)
        return found * (1 + twice)

    def future(self, name):
        greeted(self.env, name)
        return self.env.ROOMS.getByName("b").greet("again")

    async def tasks(self):
        async def one(name):
            return greeted(self.env, name)
        return await asyncio.gather(one("a"), one("b"))

    async def fails(self):
        try:
            greeted(self.env, "x")
        except Exception as error:
            return [type(error).__name__, str(error)]

    async def ends(self):
        try:
            greeted(self.env, "x")
        finally:
            seen.append("tidied")

    async def in_transaction(self):
        def work():
            self.ctx.storage.kv.put("t", 1)
            greeted(self.env, "x")
        try:
            self.ctx.storage.transactionSync(work)
        except RuntimeError as error:
            return [self.ctx.storage.kv.get("t"), str(error)]

    async def in_a_callback(self):
        done = asyncio.get_running_loop().create_future()
        def call():
            try:
                run_sync(asyncio.sleep(0))
            except RuntimeError as error:
                done.set_result(str(error))
        asyncio.get_running_loop().call_later(0, call)
        return await done

    async def in_a_thread(self):
        def call():
            try:
                run_sync(asyncio.sleep(0))
            except RuntimeError as error:
                return str(error)
        return await asyncio.to_thread(call)

    async def fetch(self, request):
        return await wsgi.fetch(view, request, self.env)

    async def alarm(self):
        await self.ctx.storage.put("rang", greeted(self.env, "alarm"))

    async def seen(self):
        return [seen, await self.ctx.storage.get("rang")]


class Default(WorkerEntrypoint):
    def fetch(self, request):
        return Response(greeted(self.env, "entry"))
"""
SENDER = Sender(cast("Any", None), cast("Any", None))


@pytest.fixture
def room(start: Callable[..., WorkerHarness]) -> tuple[WorkerHarness, int]:
    worker = start(APP, bindings={"objects": {"ROOMS": "Room"}})
    assert worker.hello[0] == channel.READY, worker.hello
    return worker, worker.open("Room")


def reply(worker: WorkerHarness, act: int, number: int, value: Any) -> None:
    made = [frame for frame in worker.frames if frame[0] == channel.CALL and frame[3] == number]
    if not made:
        worker.wait(lambda frame: frame[0] == channel.CALL and frame[3] == number)
    worker.send(channel.REPLY, act, number, channel.RESULT, SENDER.encode(value))


def test_a_coroutine_may_call_what_waits(room: tuple[WorkerHarness, int]) -> None:
    """Its writes leave before what it calls, its context stays; others run meanwhile.

    Seen to fail when a step has no stack of its own, and when a stack keeps the parent of the step that began it.
    """
    worker, act = room
    one, two = worker.event(act, "waits", "ann"), worker.event(act, "waits", "bob")
    reply(worker, act, 2, "hello bob")
    reply(worker, act, 3, "hello twice")
    assert worker.answer(two) == ["hello twice", "bob", "bob"]
    reply(worker, act, 1, "hello ann")
    reply(worker, act, 4, "hello again")
    assert worker.answer(one) == ["hello again", "ann", "bob"]
    kinds = [frame[0] for frame in worker.frames if frame[0] in (channel.TURN, channel.CALL)]
    assert kinds[:2] == [channel.TURN, channel.CALL], "a turn ends where a function waits"


def test_methods_without_async_wait(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    call = worker.event(act, "plain", "x", twice=True)
    reply(worker, act, 1, "ab")
    assert worker.answer(call) == "abab"
    call = worker.event(act, "future", "x")
    reply(worker, act, 2, "first")
    reply(worker, act, 3, "second")
    assert worker.answer(call) == "second"
    failure = worker.failure(act, "plain")
    assert failure.code == "bad-request"
    assert "missing 1 required positional argument: 'name'" in failure.message


def test_tasks_and_wsgi_wait_inside_a_coroutine(room: tuple[WorkerHarness, int]) -> None:
    """Seen to fail when a view's stack keeps the parent that it began under: its second answer goes astray."""
    worker, act = room
    call = worker.event(act, "tasks")
    reply(worker, act, 2, "two")
    reply(worker, act, 1, "one")
    assert worker.answer(call) == ["one", "two"]
    event = (channel.FETCH, "GET", b"", 5_000, "r", "", ["http://x/", [], False], False, 0, 0)
    worker.send(channel.EVENT, act, 900, *event)
    reply(worker, act, 3, "1")
    reply(worker, act, 4, "2")
    assert worker.answer(900)[2] == b"12"


def test_alarms_and_the_entrypoint_wait(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    worker.send(
        channel.EVENT, 0, 901, channel.DEFAULT, "GET", b"", 5_000, "r", "", ["http://x/", [], False], False, 0, 0
    )
    frame = worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, 0, frame[3], channel.RESULT, SENDER.encode("hi"))
    assert worker.answer(901)[2] == b"hi"
    assert worker.call(act, "seen")[0] == [False], "a constructor cannot"


def test_what_is_waited_for_fails(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    call = worker.event(act, "fails")
    worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.send(channel.REPLY, act, 1, channel.FAILURE, ("unavailable", "nobody", "", False, True, 0))
    assert worker.answer(call) == ["Unavailable", "nobody"]


def test_code_that_waits_ends_with_its_object(room: tuple[WorkerHarness, int]) -> None:
    """Seen to fail when the step that waits is only forgotten."""
    worker, act = room
    worker.event(act, "ends")
    worker.wait(lambda frame: frame[0] == channel.CALL)
    worker.abort(act)
    assert worker.call(worker.open("Room"), "seen")[0] == [False, "tidied", False]


@pytest.mark.parametrize("where", ["in_a_callback", "in_a_thread"])
def test_elsewhere_an_error_says_what_to_do(room: tuple[WorkerHarness, int], where: str) -> None:
    worker, act = room
    assert "call it in a handler, or await instead" in worker.call(act, where)


def test_nothing_waits_inside_a_transaction(room: tuple[WorkerHarness, int]) -> None:
    worker, act = room
    kept, said = worker.call(act, "in_transaction")
    assert kept is None
    assert said.startswith("nothing can wait inside transaction_sync")


def test_an_application_of_homing_pays_nothing(start: Callable[..., WorkerHarness]) -> None:
    app = """
        import greenlet
        from homing import DurableObject

        class Plain(DurableObject):
            async def stack(self):
                return type(greenlet.getcurrent()).__name__
    """
    worker = start(app)
    assert worker.call(worker.open("Plain"), "stack") == "greenlet"
    assert json.dumps(worker.hello[1]["classes"]) == '{"Plain": ["stack"]}'
