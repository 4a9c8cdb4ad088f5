"""The application that the tests of the worker-side runtime run."""

APP = """
import asyncio, datetime, os, sys, threading
from homing import DurableObject, NotSupported, Response, StorageError, WebSocketPair, WorkerEntrypoint, fetch

built = []

class Base:
    def inherited(self):
        return "inherited"

class Counter(Base, DurableObject):
    constant = 3

    def increment(self, by=1):
        kv = self.ctx.storage.kv
        n = (kv.get("n") or 0) + by
        kv.put("n", n)
        return n

    def read(self):
        return self.ctx.storage.kv.get("n") or 0

    def rewrite(self):
        self.ctx.storage.kv.put("n", self.read())
        return "same"

    def echo(self, *args, **kwargs):
        return [list(args), kwargs]

    def give(self, what):
        return eval(what)

    def run(self, code):
        scope = {**globals(), "self": self}
        exec(code, scope)
        return scope.get("result")

    async def arun(self, code):
        lines = "\\n".join("    " + line for line in code.split("\\n"))
        scope = {}
        exec("async def body(self):\\n" + lines, globals(), scope)
        return await scope["body"](self)

    async def fetch(self, request):
        data = await request.text()
        return Response(f"{request.method} {request.url} {request.headers['X-A']} {data}", status=201,
                        headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])

    def _private(self):
        return 1

    async def alarm(self):
        return 1

    @staticmethod
    def static():
        return 1

class Plain(DurableObject):
    def env_names(self):
        return sorted(vars(self.env))

class Broken(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.kv.put("started", True)
        raise LookupError("cannot be built")

    def hello(self):
        return 1

class Migrating(DurableObject):
    def __init__(self, ctx, env):
        self.log = ["init"]
        ctx.block_concurrency_while(self.migrate)

    async def migrate(self):
        self.log.append("begin")
        await asyncio.sleep(0.02)
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t(a)")
        await asyncio.sleep(0.02)
        self.log.append("end")

    def order(self):
        self.log.append("call")
        return self.log

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if "boom" in request.url:
            raise ValueError("boom")
        await asyncio.sleep(0)
        return Response.json({"url": request.url, "env": sorted(vars(self.env))})
"""
