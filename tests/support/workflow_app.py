"""Workflows for unit tests, and hands on their instances in a worker's own runtime."""

from __future__ import annotations

import itertools
import time
from typing import Any

from homing.values import to_json, to_stored
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness

APP = """
import asyncio, os, time
from homing import DurableObject, NonRetryableError, WorkflowEntrypoint

ran = []
gates = {}


def gate(name):
    return gates.setdefault(name, asyncio.Event())


class Hand(DurableObject):
    def ran(self): return ran
    def open(self, name): gate(name).set()


class Demo(WorkflowEntrypoint):
    def __init__(self, ctx, env):
        self.said = "made"

    async def run(self, event, step):
        return await getattr(self, event.payload["do"])(event, step, **event.payload.get("with", {}))

    def note(self, what):
        ran.append(what)
        return what

    async def told(self, event, step):
        named = [event.payload["do"], event.instance_id, event.workflow_name, event.timestamp]
        return [*named, self.said, self.env.DEMO is not None]

    async def chain(self, event, step):
        @step.do()
        async def first(): return self.note("first")
        @step.do("second one")
        def second(): return self.note("second")
        @step.do("third one", depends=[first, second])
        async def third(a, b, ctx): return [self.note("third"), a, b, ctx]
        await first()
        @step.do()
        async def last(first, ctx): return [first, (await third())[1:3], ctx["step"]["count"]]
        return await last()

    async def beside(self, event, step):
        @step.do()
        async def left():
            gate("left").set()
            await gate("right").wait()
            return 1
        @step.do()
        async def right():
            gate("right").set()
            await gate("left").wait()
            return 2
        @step.do(concurrent=True)
        async def both(left, right): return left + right
        return await both()

    async def wrong(self, event, step):
        @step.do()
        async def misses(nothing): return 1
        @step.do("by list", depends=[misses, misses])
        async def few(one): return 1
        @step.do("no step", depends=[print])
        async def none(one): return 1
        @step.do()
        async def usual(more="default"): return more
        found = []
        for each in (misses, few, none, usual):
            try:
                found.append(await each())
            except TypeError as error:
                found.append(str(error))
        return found

    async def blocks(self, event, step, path):
        @step.do()
        async def first(): return self.note("first")
        await first()
        while not os.path.exists(path):
            time.sleep(0.005)

    async def same_names(self, event, step):
        @step.do("same")
        async def first(): return 1
        @step.do("same")
        async def second(ctx): return [2, ctx["step"]["count"]]
        return await asyncio.gather(first(), second())

    async def stops(self, event, step):
        @step.do()
        async def before(): return self.note("before")
        @step.do()
        async def during():
            self.note("during")
            await gate("during").wait()
            return "done"
        @step.do()
        async def after(before, during): return [self.note("after"), before, during]
        return await after()

    async def two_ways(self, event, step):
        @step.do()
        async def during(): await gate("during").wait()
        @step.do()
        async def later(): return self.note("later")
        async def way():
            self.note("way")
            await gate("way").wait()
            begun = asyncio.ensure_future(later())
            await asyncio.sleep(0.02)
            self.note("gone")
            await begun
        await asyncio.gather(during(), way())

    async def fails(self, event, step, times=2, limit=2, delay=20, error="ValueError", catch=False, backoff="constant"):
        kinds = {"ValueError": ValueError, "Own": type("Own", (Exception,), {}), "Final": NonRetryableError}
        @step.do(config={"retries": {"limit": limit, "delay": delay, "backoff": backoff}})
        async def flaky(ctx):
            self.note(ctx["attempt"])
            if ctx["attempt"] <= times:
                raise kinds[error](f"attempt {ctx['attempt']}")
            return ctx["attempt"]
        try:
            return await flaky()
        except Exception as raised:
            if not catch:
                raise
            return [type(raised).__name__, str(raised)]

    async def exits(self, event, step):
        raise SystemExit(3)

    async def slow(self, event, step):
        @step.do(config={"retries": {"limit": 0}, "timeout": 20})
        async def forever(): await asyncio.sleep(60)
        await forever()

    async def odd(self, event, step, what="object"):
        @step.do()
        async def gives(): return {"object": object(), "large": "x" * (1 << 20), "list": (1, {"a": None})}[what]
        return await gives()

    async def many(self, event, step):
        for number in range(4):
            @step.do()
            async def each(): return self.note(number)
            await each()

    async def sleeps(self, event, step, ms=60):
        @step.do()
        async def before(): return self.note("before")
        await before()
        await step.sleep("nap", ms)
        @step.do()
        async def after(): return self.note("after")
        return await after()

    async def waits(self, event, step, timeout=60_000, events=1):
        found = []
        for number in range(events):
            got = await step.wait_for_event(f"wait {number}", "go", timeout=timeout)
            found.append([got.type, got.payload, got.timestamp])
        return found

    async def races(self, event, step):
        @step.do()
        async def work():
            await gate("work").wait()
            return self.note("work")
        return await asyncio.gather(step.sleep("long", "1 hour"), work())
"""
FACE = """
import datetime
from workers import WorkflowEntrypoint
from workers.workflows import NonRetryableError
from pyodide.ffi import JsProxy

class MyWorkflow(WorkflowEntrypoint):
    async def run(self, event, step):
        @step.do("my step", config={"retries": {"limit": 1, "delay": 0, "backoff": "constant"}})
        async def first(ctx):
            if ctx["attempt"] == 1:
                raise ValueError("once")
            return {"items": {"n": 1}, "when": datetime.datetime(2026, 1, 2), "attempt": ctx.attempt}

        @step.do()
        async def never():
            raise NonRetryableError("no more")

        made = await first()
        await step.sleep("nap", 0)
        await step.sleep_until("until", datetime.datetime.now() + datetime.timedelta(milliseconds=20))
        got = await step.wait_for_event("wait", "go", timeout="1 minute")
        try:
            await never()
        except NonRetryableError as error:
            caught = str(error)
        age = datetime.datetime.now() - event["timestamp"]
        return {
            "event": [event["payload"], event.payload["items"], event["instanceId"], event.workflowName],
            "fresh": datetime.timedelta() <= age < datetime.timedelta(minutes=1), "caught": caught,
            "got": [got["payload"], got.payload["by"], got["type"], got["timestamp"] >= event["timestamp"]],
            "plain": [type(made) is dict, list(made.items())[0][0], made["when"].year, made["attempt"]],
            "faces": [isinstance(event, JsProxy), type(event["payload"]) is dict, hasattr(self.ctx, "waitUntil")],
        }
"""
WAIT_S = 10.0
_numbers = itertools.count(1_000_000)


class Instance:
    """One instance, and the activation that has it."""

    def __init__(
        self, worker: WorkerHarness, do: str = "", *, workflow: str = "Demo", keep_ms: int = 60_000, **more: Any
    ) -> None:
        self.worker, self._rang_ms = worker, 0
        self.act = worker.open("homing.workflow", name=f"{workflow}/a")
        params = more.pop("params", {"do": do, "with": more})
        assert self.ask("create", workflow, "a", to_stored(params), [keep_ms, keep_ms]) == ""

    def ask(self, method: str, *args: Any) -> Any:
        return self.worker.call(self.act, method, body=to_json({"args": args}))

    def ring(self, *, now: bool = False) -> None:
        """An ALARM event, as a node sends it; now: for the earliest, whether it is due or not."""
        number = next(_numbers)
        event = (channel.ALARM, "now" if now else "", b"", 0, "", "", None, False, 0, 0)
        self.worker.send(channel.EVENT, self.act, number, *event)
        assert self.worker.answer(number) is None

    @property
    def rings_ms(self) -> int:
        """When the node was told to ring."""
        self.worker.settle()
        told = [frame[6] for frame in self.worker.turns(self.act) if len(frame) > 6 and frame[6] is not None]
        return told[-1] if told else self._rang_ms

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def until(self, *statuses: str) -> dict[str, Any]:
        """Ring what is due, until it has one of these statuses."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.status())["status"] not in statuses:
            assert time.monotonic() < deadline, found
            if 0 < self.rings_ms <= time.time() * 1_000:
                self.ring()
            time.sleep(0.005)
        return found

    def output(self) -> Any:
        found = self.until("complete", "errored")
        assert found["status"] == "complete", found
        return found["output"]

    def error(self) -> dict[str, str]:
        found = self.until("complete", "errored")
        assert found["status"] == "errored", found
        return found["error"]

    def send(self, payload: Any, event_type: str = "go") -> str:
        return self.ask("send_event", event_type, to_stored(payload))

    def crash(self) -> None:
        """Its worker dies; another begins with what was committed."""
        self._rang_ms = self.rings_ms
        self.worker.abort(self.act)
        self.act = self.worker.reopen(self.act, "homing.workflow")


class Hand:
    """What the application's code did, and what it waits for."""

    def __init__(self, worker: WorkerHarness) -> None:
        self._worker, self._act = worker, worker.open("Hand")

    def ran(self) -> list[Any]:
        return self._worker.call(self._act, "ran")

    def open(self, gate: str) -> None:
        self._worker.call(self._act, "open", gate)

    def until_ran(self, *what: Any) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.ran() != list(what):
            assert time.monotonic() < deadline, self.ran()
            time.sleep(0.005)
