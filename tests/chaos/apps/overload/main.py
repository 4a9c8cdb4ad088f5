"""Objects that somebody floods, and one beside them that is called as always."""

import asyncio

from homing import DurableObject


class Busy(DurableObject):
    """Its calls take their time."""

    async def slow(self, seconds, data=""):
        """Wait, with what was given in memory."""
        await asyncio.sleep(seconds)
        return len(data)

    def quick(self):
        """An answer."""
        return 1


class Queue(DurableObject):
    """One call after the other."""

    concurrency = "exclusive"

    async def slow(self, seconds):
        """Hold up the others."""
        await asyncio.sleep(seconds)


class Calm(DurableObject):
    """A counter."""

    def increment(self):
        """Write."""
        kv = self.ctx.storage.kv
        kv.put("n", (kv.get("n") or 0) + 1)
        return kv.get("n")
