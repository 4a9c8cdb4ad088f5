"""Objects that run what they are given, under grants that a test names."""

import asyncio

import homing
from homing import DurableObject, grants

HOST, PORT = "127.0.0.1", 18931
LOCAL = {"schemes": ["http"], "ports": [PORT]}


class Counter(DurableObject):
    async def add(self, n=1):
        total = (self.ctx.storage.kv.get("n") or 0) + n
        self.ctx.storage.kv.put("n", total)
        return total

    def total(self):
        return self.ctx.storage.kv.get("n") or 0

    def secret(self):
        return "of the object"

    async def slow(self, seconds):
        await asyncio.sleep(seconds)
        return "late"

    async def held(self):
        await self.__dict__.setdefault("released", asyncio.Event()).wait()
        return "late"

    def release(self):
        self.__dict__.setdefault("released", asyncio.Event()).set()

    def stub(self):
        return self.env.COUNTER.get_by_name("another")

    def fails(self):
        raise KeyError("no such thing")


class Giver(DurableObject):
    """`grant` makes each kind from plain words, so that a test can ask for it from outside."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.given = {}
        sql = ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS sales(name TEXT, amount INT)")
        if not sql.exec("SELECT count(*) AS n FROM sales").one()["n"]:
            sql.exec("INSERT INTO sales VALUES ('a', 1), ('b', 2), ('c', 4)")
            ctx.storage.kv.put("color", "red")

    def grant(self, kind, of="", **options):
        if kind == "http":
            options = {**LOCAL, "methods": ["GET", "POST"], "paths": ["/items/**"], **options}
            return grants.http(options.pop("host", HOST), **options)
        if kind == "files":
            return grants.files(**options)
        if kind == "named":
            return grants.named(of)
        target = self.env.COUNTER.get_by_name(of) if of else self
        return getattr(grants, kind)(target, **options)

    async def run(self, code, wanted, **options):
        made = {name: self.grant(**each) for name, each in wanted.items()}
        self.given.update(made)
        ran = await homing.run(code, grants=made, **options)
        error = ran.error
        told = None if error is None else [error.code, error.error_type, error.message]
        return {"result": ran.result, "stdout": ran.stdout, "error": told}

    async def refused(self, wanted):
        try:
            await self.run("1", wanted)
        except (homing.HomingError, TypeError) as error:
            return [type(error).__name__, str(error)]
        return None

    def search(self, text, *, props):
        return [text, props["user"]]

    async def revoke(self, name):
        await self.given[name].revoke()

    def sales(self):
        return [row["amount"] for row in self.ctx.storage.sql.exec("SELECT amount FROM sales")]

    def color(self):
        return self.ctx.storage.kv.get("color")

    def reset(self):
        self.ctx.abort("a test wants it")


class Queue(DurableObject):
    concurrency = "exclusive"

    async def run(self, code):
        ran = await homing.run(code, grants={"me": grants.stub(self, ["answer"])})
        return ran.check()

    def answer(self, n):
        return n * 2
