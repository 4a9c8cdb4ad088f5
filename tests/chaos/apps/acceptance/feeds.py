"""Bodies that flow: long answers, events over time, uploads that are read as they come; and the entrypoint between."""

import asyncio

from homing import DurableObject, Response, WorkerEntrypoint

BLOCK = bytes(range(256)) * 256


class Feed(DurableObject):
    """Answers and reads piece by piece, and says how far it is."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.made = 0
        self.closed = 0

    async def fetch(self, request):
        """What the last part of the path names."""
        name, _, number = request.url.rpartition("/")[2].partition("-")
        return await getattr(self, f"answer_{name}")(request, int(number or 0))

    async def answer_blocks(self, request, mib):
        """So many MiB."""
        return Response(self.blocks(mib * 16))

    async def blocks(self, count):
        """Counts those that were asked for."""
        try:
            for _ in range(count):
                self.made += len(BLOCK)
                yield BLOCK
        finally:
            self.closed += 1

    async def answer_events(self, request, pause_ms):
        """Numbers, each stored before it is sent."""
        return Response(self.events(pause_ms / 1_000), headers={"content-type": "text/event-stream"})

    async def events(self, pause_s):
        """For ever."""
        while True:
            n = (self.ctx.storage.kv.get("n") or 0) + 1
            self.ctx.storage.kv.put("n", n)
            yield f"data: {n}\n\n"
            await asyncio.sleep(pause_s)

    async def answer_count(self, request, pause_ms):
        """How long the body is, read with a pause behind each of the first pieces."""
        size = pieces = 0
        async for piece in request.body:
            size += len(piece)
            pieces += 1
            self.made = size
            if pieces < 20:
                await asyncio.sleep(pause_ms / 1_000)
        return Response.json({"bytes": size, "pieces": pieces})

    async def swallow(self, stream, pause_ms=0):
        """How long a stream is; read with a pause behind each of the first pieces."""
        pieces = 0
        async for piece in stream:
            self.made += len(piece)
            pieces += 1
            if pieces < 20:
                await asyncio.sleep(pause_ms / 1_000)
        return self.made

    async def relay(self, source, sink, mib, pause_ms):
        """Have one object send to another what it makes; how much came."""
        feeds = self.env.FEED
        stream = await feeds.get_by_name(source).blocks(mib * 16)
        return await feeds.get_by_name(sink).swallow(stream, pause_ms)

    async def follow(self, source, pause_ms):
        """Read another's events until they break off; the last one, and the error."""
        last = 0
        try:
            async for piece in await self.env.FEED.get_by_name(source).events(pause_ms / 1_000):
                last = int(piece[6:])
        except Exception as error:
            return [last, type(error).__name__]

    async def mirror(self, long, streams):
        """What it is given."""
        return {"long": long, "streams": streams}

    async def mirrored(self, other, size):
        """What another gives back of a long value with streams in it, all read at once."""
        given = {"long": bytes(size), "streams": [self.blocks(2), self.blocks(3)]}
        back = await self.env.FEED.get_by_name(other).mirror(**given)
        parts = await asyncio.gather(*(part.collect() for part in back["streams"]))
        return [len(back["long"]), *map(len, parts)]

    async def hold(self, source):
        """Read the first piece of what another makes, and keep the rest."""
        self.kept = await self.env.FEED.get_by_name(source).blocks(1_000)
        return len(await anext(aiter(self.kept)))

    def state(self):
        """How far it is."""
        return {"made": self.made, "closed": self.closed, "n": self.ctx.storage.kv.get("n") or 0}


class Default(WorkerEntrypoint):
    """Passes every request on to the object that its path names, and the answer back."""

    async def fetch(self, request):
        """`/name/what`."""
        name = request.url.split("/")[3]
        return await self.env.FEED.get_by_name(name).fetch(request)
