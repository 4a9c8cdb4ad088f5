"""Objects with facets of their own classes and of classes that came a moment ago, for tests."""

from __future__ import annotations

import asyncio
from typing import Any

from homing import DurableObject, FacetClass, grants

DYNAMIC = """
import asyncio, os
from workers import DurableObject, Response, WorkerEntrypoint

class Counter(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.memory = 0

    def add(self, n=1):
        kv = self.ctx.storage.kv
        kv.put("n", (kv.get("n") or 0) + n)
        self.memory += n
        return kv.get("n")

    def read(self):
        return [self.ctx.storage.kv.get("n") or 0, self.memory]

    def sql(self, query, *bindings):
        return [dict(row) for row in self.ctx.storage.sql.exec(query, *bindings)]

    def raises(self):
        self.add(100)
        raise LookupError("no such thing")

    async def slowly(self, seconds, n):
        self.add(n)
        await asyncio.sleep(seconds)
        return self.add(n)

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
        return Response(f"{request.method} {request.url} {await request.text()}", status=201)

class Double(Counter):
    def add(self, n=1):
        return super().add(2 * n)

class Broken(Counter):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        raise OSError("cannot begin")

class Default(WorkerEntrypoint):
    def pid(self):
        return os.getpid()
"""


class Child(DurableObject):
    """A facet of a class of the application."""

    def add(self, n: int = 1) -> int:
        """Count."""
        kv = self.ctx.storage.kv
        kv.put("n", (kv.get("n") or 0) + n)
        return kv.get("n")


class Parent(DurableObject):
    """An object with facets."""

    def child(self, name: str) -> Any:
        """A facet of this application."""
        return self.ctx.facets.get(name, lambda: FacetClass(Child))

    def dynamic(self, name: str = "d", kind: str = "Counter", source: str = DYNAMIC, **more: Any) -> Any:
        """A facet of a class that came a moment ago."""

        def facet() -> dict[str, Any]:
            env = {"NUMBER": 7, "SELF": grants.stub(self, ["heard"])}
            code = {"main_module": "main.py", "modules": {"main.py": source}, "env": env}
            worker = self.env.LOADER.get(f"code-{hash(source)}", lambda: code)
            return {"class": worker.get_durable_object_class(kind, **more)}

        return self.ctx.facets.get(name, facet)

    def heard(self, *said: Any) -> list[Any]:
        """What a facet tells, under its grant."""
        kv = self.ctx.storage.kv
        kv.put("heard", [*(kv.get("heard") or []), list(said)])
        return kv.get("heard")

    async def add(self, name: str, n: int = 1) -> int:
        """Count in a facet, and here."""
        total = await self.child(name).add(n)
        kv = self.ctx.storage.kv
        kv.put("all", (kv.get("all") or 0) + n)
        return total

    async def arun(self, code: str) -> Any:
        """Run code of a test."""
        lines = "\n".join("    " + line for line in code.split("\n"))
        scope: dict[str, Any] = {}
        exec("async def body(self):\n" + lines, {**globals(), "asyncio": asyncio}, scope)
        return await scope["body"](self)
