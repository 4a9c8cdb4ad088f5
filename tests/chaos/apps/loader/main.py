"""An object and an entrypoint that load dynamic workers of what they are given."""

import asyncio
import contextlib

from workers import DurableObject as CloudflareObject

import homing
from homing import DurableObject, Response, WorkerEntrypoint


def error_of(error):
    return [type(error).__name__, str(error), getattr(error, "error_type", ""), getattr(error, "traceback", "")]


class Host(DurableObject):
    loads = 0

    async def call(self, code, method="", args=(), entrypoint=None, worker=None, props=None, limits=None, times=1):
        """What a method of a worker returned, or `fetch` answered; `times`: so often at once."""
        stub = self.stub(code, worker)
        entry = stub.get_entrypoint(entrypoint, props=props, limits=limits)
        begun = [self.begin(entry, method, args) for _ in range(times)]
        found = await asyncio.gather(*begun)
        return found if times > 1 else found[0]

    async def refused(self, code, method="run", args=(), **given):
        try:
            await self.call(code, method, args, **given)
        except (homing.HomingError, TypeError) as error:
            return error_of(error)
        return None

    def stub(self, code, worker):
        async def asked():
            self.loads += 1
            await asyncio.sleep(0)
            if code == "raise":
                raise RuntimeError("no code today")
            return grown(code)

        return self.env.LOADER.load(grown(code)) if worker is None else self.env.LOADER.get(worker, asked)

    async def begin(self, entry, method, args):
        if method:
            return await getattr(entry, method)(*args)
        answer = await entry.fetch("https://any.example/path?q=1", method="POST", headers={"x-in": "1"}, body=b"body")
        return [answer.status, answer.headers.get("x-out"), await answer.text()]

    async def granted(self, code, how, method="run"):
        """A worker with grants: to this object's own methods, its pairs, and where its requests go."""
        own = homing.grants.stub(self, ["loaded", "told"], props={"user": 7})
        env = {"own": own, "pairs": homing.grants.kv(self)}
        outbound = {"self": self, "stub": self.env.GATEWAY.get_by_name("g")}.get(how)
        self.ctx.storage.kv.put("key", "value")
        code = {**code, "env": env, "global_outbound": outbound}
        entry = self.env.LOADER.load(code).get_entrypoint(limits={"sub_requests": 3})
        running = asyncio.ensure_future(getattr(entry, method)())
        if how == "revoke":
            await asyncio.sleep(0.3)
            await own.revoke()
        try:
            return await running
        except homing.HomingError as error:
            return error_of(error)

    def bare(self, code, how):
        """What is said of an object in `env` as it is."""
        target = self if how == "self" else self.env.GATEWAY.get_by_name("g")
        try:
            self.env.LOADER.load({**code, "env": {"target": target}})
        except TypeError as error:
            return str(error)

    def told(self, text, props=None):
        return [text, props]

    async def fetch(self, request):
        return Response(f"own {request.method} {await request.text()}", status=202, headers={"x-a": "b"})

    def loaded(self, props=None):
        return self.loads

    async def several(self, code, count):
        """Calls to so many workers at once; what came of each."""
        entries = [self.env.LOADER.get(f"w{n}", lambda: code).get_entrypoint() for n in range(count)]
        found = await asyncio.gather(*(entry.run() for entry in entries), return_exceptions=True)
        return [error_of(each) if isinstance(each, Exception) else each for each in found]

    async def tailed(self, code, method="run", worker=None):
        def asked():
            return {**code, "tails": [self.env.HOST.get_by_name("tail")]}

        stub = self.env.LOADER.load(asked()) if worker is None else self.env.LOADER.get(worker, asked)
        with contextlib.suppress(homing.HomingError):
            await getattr(stub.get_entrypoint(), method)()

    async def tail(self, events):
        self.ctx.storage.kv.put("events", (self.ctx.storage.kv.get("events") or []) + events)

    def events(self):
        return self.ctx.storage.kv.get("events") or []


class Gateway(DurableObject):
    async def fetch(self, request):
        return Response(f"gateway saw {request.url} {request.headers.get('x-in')}")


class Foreign(CloudflareObject):
    """As the reference's applications are written."""

    async def ask(self, code):
        async def given():
            return {"compatibilityDate": "2026-01-01", "mainModule": "main.py", "modules": code, "env": {"K": [1]}}

        worker = self.env.LOADER.get("foreign", given)
        entrypoint = worker.getEntrypoint("Named", {"props": {"user": 7}, "limits": {"cpuMs": 2000}})
        answer = await entrypoint.fetch("https://any.example/", method="PUT")
        again = await self.env.LOADER.load(await given()).getEntrypoint("Named").total(2, b=3)
        return [answer.status, await answer.json(), again]


def grown(code):
    """Code that is too large to be sent here is described: `many` modules, one of `bytes`, or such an env."""
    if isinstance(code, dict) and "many" in code:
        return {"main_module": "m.py", "modules": {"m.py": "", **{f"m{n}.py": "" for n in range(code["many"])}}}
    if isinstance(code, dict) and "bytes" in code:
        main = "from homing import WorkerEntrypoint\nimport big\nclass Default(WorkerEntrypoint):\n"
        main += "    def run(self): return len(big.default)\n"
        return {"main_module": "m.py", "modules": {"m.py": main, "big.bin": {"data": bytes(code["bytes"])}}}
    if isinstance(code, dict) and "env_bytes" in code:
        return {"main_module": "m.py", "modules": {"m.py": ""}, "env": {"a": bytes(code["env_bytes"])}}
    return code


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        asked = await request.json()
        count = asked.get("count")
        if count:
            entries = [self.env.LOADER.load(asked["code"]).get_entrypoint() for _ in range(count)]
            found = await asyncio.gather(*(entry.run() for entry in entries), return_exceptions=True)
            return Response.json([type(each).__name__ for each in found])
        worker = self.env.LOADER.get(asked["id"], lambda: asked["code"])
        return await worker.get_entrypoint(props={"from": "entrypoint"}).fetch(request)
