"""Objects that call each other, for the tests of calls on a real cluster."""

import asyncio
from collections import deque
from dataclasses import dataclass

from homing import DurableObject, HomingError, Response, WorkerEntrypoint


@dataclass
class Parcel:
    """What travels by value."""

    to: str
    items: set
    weight: int


class Hub(DurableObject):
    """Calls leaves, and is called back."""

    async def total(self, names):
        """The sum of what leaves count, all called at once."""
        return sum(await asyncio.gather(*(self.env.LEAF.get_by_name(name).add(1) for name in names)))

    async def send(self, name):
        """Every kind of value, there and back."""
        parcel = Parcel("ä", {1, 2}, 1 << 100)
        back = await self.env.LEAF.get_by_name(name).take(parcel, at=None, raw=b"\0")
        return [isinstance(back, Parcel), back.to, sorted(back.items), back.weight == (1 << 100) + 1]

    async def visit(self, name):
        """A leaf calls this object back while it waits."""
        self.ctx.storage.kv.put("visitors", 0)
        answer = await self.env.LEAF.get_by_name(name).call_back(self.env.HUB.get(self.ctx.id))
        return [answer, self.ctx.storage.kv.get("visitors")]

    def visited(self):
        """The call back."""
        self.ctx.storage.kv.put("visitors", self.ctx.storage.kv.get("visitors") + 1)
        return "visited"

    async def fails(self, name, how):
        """What is caught of a call that fails."""
        try:
            await getattr(self.env.LEAF.get_by_name(name), how)()
        except HomingError as error:
            kind = getattr(error, "error_type", "")
            return [error.code, kind, error.remote, error.overloaded, error.retryable, error.message]
        return "nothing"

    async def pass_on(self, name):
        """What a leaf raises goes on to the caller of this one."""
        await self.env.LEAF.get_by_name(name).raises()

    async def overloads(self, name, calls):
        """Far more calls than a leaf may have: what is said of those that it refuses."""
        waiting = [self.env.LEAF.get_by_name(name).sleep(3) for _ in range(calls)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        refused = [error for error in outcomes if isinstance(error, HomingError)]
        return [len(refused), all(e.overloaded and not e.retryable and e.code == "overloaded" for e in refused)]

    async def page(self, name):
        """A request to a leaf."""
        response = await self.env.LEAF.get_by_name(name).fetch("http://leaf/a?b=c", method="POST", body="hello")
        return [response.status, response.headers["x-leaf"], await response.text()]

    async def stream(self, name):
        """Numbers to a leaf until `stop`, none awaited before the next is sent: how many, and what failed."""
        leaf = self.env.LEAF.get_by_name(name)
        self.streaming, number, failed, waiting = True, 0, [], deque()
        while self.streaming or waiting:
            if self.streaming:
                body = b"long" * 100_000 if number % 200 == 7 else b""
                waiting.append(asyncio.ensure_future(leaf.note(number, body)))
                number += 1
            if number % 4 == 0 or not self.streaming:
                await asyncio.sleep(0.004)
            if len(waiting) > 500:
                await asyncio.wait((waiting[0],))
            while waiting and waiting[0].done():
                if (error := waiting.popleft().exception()) is not None:
                    failed.append(str(error))
        return [number, failed]

    def stop(self):
        """Let `stream` come to its end."""
        self.streaming = False

    async def stubborn(self, name, key):
        """One call to a leaf: "done", or the code of what it raised."""
        try:
            await self.env.LEAF.get_by_name(name).once(key)
        except HomingError as error:
            return error.code
        return "done"


class Leaf(DurableObject):
    """Is called by hubs."""

    async def add(self, by):
        """Count."""
        value = (self.ctx.storage.kv.get("n") or 0) + by
        self.ctx.storage.kv.put("n", value)
        return value

    def take(self, parcel, at, raw):
        """Send a parcel back, heavier."""
        assert at is None
        assert raw == b"\0"
        return Parcel(parcel.to, parcel.items, parcel.weight + 1)

    async def call_back(self, hub):
        """Call whoever sent this stub."""
        return await hub.visited()

    def raises(self):
        """Raise."""
        raise KeyError("lost")

    async def sleep(self, seconds):
        """Take time."""
        await asyncio.sleep(seconds)

    def note(self, number, _=b""):
        """Remember in which order numbers come."""
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS t(number INTEGER)")
        self.ctx.storage.sql.exec("INSERT INTO t VALUES (?)", number)

    def noted(self):
        """The numbers, in that order."""
        return [row[0] for row in self.ctx.storage.sql.exec("SELECT number FROM t ORDER BY rowid").raw()]

    def once(self, key):
        """Write down that this ran."""
        ran = self.ctx.storage.kv.get("ran") or []
        self.ctx.storage.kv.put("ran", [*ran, key])

    def ran(self):
        """What `once` wrote down."""
        return self.ctx.storage.kv.get("ran") or []

    async def fetch(self, request):
        """Answer a hub's request."""
        return Response(f"{request.method} {request.url} {await request.text()}", status=203, headers={"x-leaf": "1"})


class Turnstile(DurableObject):
    """One call at a time, to its end."""

    concurrency = "exclusive"

    async def through(self, name):
        """Another object calls this one back meanwhile; nobody else gets in."""
        self.inside = getattr(self, "inside", 0) + 1
        most = self.inside
        await self.env.LEAF.get_by_name(name).sleep(0.02)
        back = await self.env.HELPER.get_by_name(name).ask(self.env.TURNSTILE.get(self.ctx.id))
        self.inside -= 1
        return [most, back]

    async def stay(self, seconds):
        """Be inside, and nobody else is."""
        await asyncio.sleep(seconds)

    def mark(self, mark):
        """Write down that somebody got in."""
        self.ctx.storage.kv.put("marks", [*self.marks(), mark])

    def marks(self):
        """Who has been in."""
        return self.ctx.storage.kv.get("marks") or []

    def open(self):
        """What is asked in the middle of `through`."""
        return self.inside


class Helper(DurableObject):
    """Calls back."""

    async def ask(self, turnstile):
        """Ask the one who asks."""
        return await turnstile.open()


class Default(WorkerEntrypoint):
    """The application's own pages."""

    async def fetch(self, request):
        """Counts visits in an object."""
        return Response(str(await self.env.LEAF.get_by_name("visits").add(1)))
