"""What an object of the reference system relies on, for the acceptance tests on a real cluster."""

import asyncio
import contextlib

import feeds
from feeds import Feed

from homing import DurableObject, Response, StorageError, WebSocketPair
from homing import errors as homing_errors

__all__ = ["Default", "Feed", "Other", "Thing"]


class Thing(DurableObject):
    """Storage, gates and transactions."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.made = 0

    async def add_one(self):
        """Read, wait for storage, write: the input gate keeps others out."""
        value = await self.ctx.storage.get("n") or 0
        await self.ctx.storage.sync()
        await self.ctx.storage.put("n", value + 1)
        return value + 1

    async def value(self):
        """What `add_one` has counted."""
        return await self.ctx.storage.get("n") or 0

    async def both(self, number):
        """Two writes with no await between them."""
        kv = self.ctx.storage.kv
        kv.put("left", number)
        kv.put("right", number)
        return number

    def left_and_right(self):
        """What `both` left."""
        return [self.ctx.storage.kv.get("left"), self.ctx.storage.kv.get("right")]

    def sql(self, query, *bindings):
        """Rows of the last statement, or the error's name."""
        try:
            return self.ctx.storage.sql.exec(query, *bindings).to_array()
        except StorageError as error:
            return type(error).__name__

    def one(self, query):
        """The one row, or the error's name."""
        try:
            return self.ctx.storage.sql.exec(query).one()
        except StorageError as error:
            return type(error).__name__

    async def undone(self):
        """A transaction that raises, with SQL, a key and an alarm in it."""
        storage = self.ctx.storage
        storage.sql.exec("CREATE TABLE IF NOT EXISTS t(a)")

        def work():
            storage.sql.exec("INSERT INTO t VALUES (1)")
            storage.kv.put("k", 1)
            storage.set_alarm(4_000_000_000_000)
            raise KeyError("undo it")

        with contextlib.suppress(KeyError):
            storage.transaction_sync(work)
        return [storage.sql.exec("SELECT * FROM t").to_array(), storage.kv.get("k"), await storage.get_alarm()]

    async def foreign_id(self):
        """An id of another class."""
        other = self.env.OTHER.id_from_name("x")
        try:
            self.env.THING.id_from_string(str(other))
        except homing_errors.BadRequest as error:
            return type(error).__name__
        return "taken"

    def foreign_jurisdictions(self):
        """Ids of another jurisdiction, and of none, given to a namespace of one; and what there is not."""
        things = self.env.THING
        eu, us = things.jurisdiction("eu"), things.jurisdiction("us")
        said = []
        for take in (
            lambda: eu.get(us.id_from_name("x")),
            lambda: eu.id_from_string(str(things.id_from_name("x"))),
            lambda: things.jurisdiction("mars"),
            lambda: things.get_by_name("x", location_hint="mars"),
            lambda: [things.get(each) for each in (eu.id_from_name("x"), us.new_unique_id())] and "taken",
        ):
            try:
                said.append(take())
            except homing_errors.BadRequest as error:
                said.append(type(error).__name__)
        return said

    async def add_one_in(self, jurisdiction, name):
        """What an object of a jurisdiction has counted, which object code calls, and where that says it is."""
        stub = self.env.THING.jurisdiction(jurisdiction).get_by_name(name)
        return [await stub.add_one(), await stub.where(), stub.id.jurisdiction]

    def where(self):
        """The jurisdiction of this object, as its own id says."""
        return self.ctx.id.jurisdiction

    async def keep(self, text):
        """Keep a text in what a jurisdiction binds, keys and a database, and read it there."""
        await self.env.NOTES.put("text", text)
        await self.env.LEDGER.exec("CREATE TABLE IF NOT EXISTS kept(text)")
        await self.env.LEDGER.prepare("INSERT INTO kept VALUES (?)").bind(text).run()
        return [await self.env.NOTES.get("text"), await self.env.LEDGER.prepare("SELECT text FROM kept").first("text")]

    async def listed_in(self, jurisdiction):
        """The names of a jurisdiction's objects, two in a page."""
        found, cursor = [], None
        while True:
            page = await self.env.THING.jurisdiction(jurisdiction).list(limit=2, cursor=cursor)
            found += [each.name for each in page.objects]
            cursor = page.cursor
            if cursor is None:
                return found

    async def alarm(self):
        """None is due in these tests."""


class Other(DurableObject):
    """Another class, whose constructor holds the gate; it raises as often as it was told to."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.block_concurrency_while(self.begin)

    async def begin(self):
        """Nobody gets in meanwhile."""
        await asyncio.sleep(0.2)
        if self.ctx.storage.kv.get("broken"):
            raise RuntimeError("cannot begin")

    async def break_it(self):
        """The next instance cannot begin."""
        self.ctx.storage.kv.put("broken", True)
        await self.ctx.storage.sync()

    def drop(self):
        """End this instance."""
        self.ctx.abort("as asked")

    def hello(self):
        """An answer."""
        return "hello"


def live():
    """A socket that the running instance listens to."""
    pair = WebSocketPair()
    pair.server.accept()
    pair.server.add_event_listener("message", lambda event: pair.server.send(event.data))
    return Response(None, status=101, web_socket=pair.client)


class Talker(DurableObject):
    """Says back what it hears, on sockets of both kinds."""

    def fetch(self, request):
        """A live socket, or one that outlives the instance."""
        if request.url.endswith("/live"):
            return live()
        pair = WebSocketPair()
        self.ctx.accept_websocket(pair.server)
        return Response(None, status=101, web_socket=pair.client)

    def websocket_message(self, ws, message):
        """On the latter."""
        ws.send(message)


class Default(feeds.Default):
    """Has live sockets, too."""

    async def fetch(self, request):
        """One of them, or what an object answers."""
        if request.headers.get("upgrade") == "websocket":
            return live()
        return await super().fetch(request)
