"""Counters with names: /hits/increment, /hits/decrement and /hits."""

from urllib.parse import urlparse

from workers import DurableObject, Response, WorkerEntrypoint


class Counter(DurableObject):
    """One counter; its value is kept under a key."""

    async def value(self):
        return await self.ctx.storage.get("value") or 0

    async def add(self, amount):
        value = await self.value() + amount
        await self.ctx.storage.put("value", value)
        return value


class Default(WorkerEntrypoint):
    """What the pages of the application answer."""

    async def fetch(self, request):
        name, _, action = urlparse(request.url).path.strip("/").partition("/")
        if not name:
            return Response("Name a counter in the path, as in /hits/increment", status=400)
        counter = self.env.COUNTERS.getByName(name)
        step = int(self.env.STEP)
        if action == "increment":
            return Response(f"{name}: {await counter.add(step)}")
        if action == "decrement":
            return Response(f"{name}: {await counter.add(-step)}")
        if action:
            return Response("Not found", status=404)
        return Response.json({"name": name, "value": await counter.value()})
