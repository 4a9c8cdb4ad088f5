"""What an object of the reference system relies on, for the acceptance tests on a real cluster."""

import asyncio
import contextlib

from homing import DurableObject, StorageError
from homing import errors as homing_errors


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
