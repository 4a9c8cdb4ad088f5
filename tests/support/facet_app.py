"""An object with facets, and what the tests of them ask of it."""

from __future__ import annotations

from typing import Any

from worker_harness import WorkerHarness

APP = """
import asyncio, logging
from homing import DurableObject, Request, Response, RpcTarget, WebSocketPair, fetch

built = []
OWN = "SELECT name FROM sqlite_schema WHERE name NOT GLOB '_homing*'"

class Child(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        built.append(type(self).__name__)
        self.memory = 0

    def add(self, n=1):
        kv = self.ctx.storage.kv
        kv.put("n", (kv.get("n") or 0) + n)
        self.memory += n
        return kv.get("n")

    def read(self):
        return [self.ctx.storage.kv.get("n") or 0, self.memory]

    def echo(self, *args, **kwargs):
        return [list(args), kwargs]

    def sql(self, query, *bindings):
        return [dict(row) for row in self.ctx.storage.sql.exec(query, *bindings)]

    def raises(self):
        self.add(100)
        raise LookupError("no such thing")

    def give(self, what):
        return eval(what)

    async def slowly(self, seconds, n):
        self.add(n)
        await asyncio.sleep(seconds)
        return self.add(n)

    async def tell(self, callback, n):
        self.add(n)
        return await callback(n)

    def later(self, seconds):
        async def after():
            await asyncio.sleep(seconds)
            self.add(1_000)
        self.ctx.wait_until(after())

    def nested(self, depth):
        if depth == 0:
            return self.add()
        return self.ctx.facets.get("inner", lambda: {"class": Child}).nested(depth - 1)

    def says(self, text):
        print(text)

    async def calls(self, stub):
        self.add(1)
        return await stub.hello("x")

    async def fetches_later(self, seconds):
        await asyncio.sleep(seconds)
        return await fetch("http://out.test/")

    def unreadable(self):
        from homing.values import Packer
        import msgspec
        class Odd:
            pass
        stubs = self.ctx._runtime._host.stubs
        before = stubs.encode_result
        stubs.encode_result = lambda result, streams: msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b""))
        asyncio.get_running_loop().call_soon(lambda: setattr(stubs, "encode_result", before))

    def stop(self):
        self.add(7)
        self.ctx.abort("enough")

    async def fetch(self, request):
        return Response(f"{request.method} {request.url} {await request.text()} {request.headers['x-a']}", status=201)

class Other(Child):
    def add(self, n=1):
        return -super().add(n)

class Broken(Child):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.ctx.storage.kv.put("n", 5)
        raise OSError("cannot begin")

def foreign():
    import workers

    class Foreign(workers.DurableObject):
        async def run(self):
            facet = self.ctx.facets.get("f", lambda: {"class": Child, "id": self.ctx.id})
            answer = await facet.fetch("http://f/", method="PUT", body="text", headers={"x-a": "b"})
            self.ctx.facets.abort("f", "reason")
            return [await self.ctx.facets.get("f", lambda: {"class": Child}).add(2), answer.status,
                    await answer.text(), self.ctx.facets.list()]

    return Foreign

class Parent(DurableObject):
    def child(self, name="a", kind=Child):
        return self.ctx.facets.get(name, lambda: {"class": kind})

    async def arun(self, code):
        lines = "\\n".join("    " + line for line in code.split("\\n"))
        scope = {}
        exec("async def body(self):\\n" + lines, globals(), scope)
        return await scope["body"](self)
"""


def commits(node: WorkerHarness, act: int) -> int:
    """How many commits an activation has sent."""
    return sum(frame[3] is not None for frame in node.turns(act))


def run(node: WorkerHarness, act: int, code: str) -> Any:
    """What code in a method of the parent returns."""
    return node.call(act, "arun", code)


ADD = "return await self.child().add()"
