"""Objects that note when their alarms rang, for the tests of alarms on real clusters."""

import time

from homing import DurableObject


class Sleeper(DurableObject):
    """Keeps when each of its alarms rang, in milliseconds since 1970."""

    async def sleep(self, until_ms, name=""):
        """Set an alarm."""
        await self.ctx.storage.set_alarm(until_ms, name=name)
        return await self.ctx.storage.list_alarms()

    def rang(self):
        """Name, time it was to ring and time it rang, of each run of the handler."""
        return self.ctx.storage.kv.get("rang") or []

    def fail(self, times):
        """The handler raises so many times."""
        self.ctx.storage.kv.put("fail", times)

    async def alarm(self, alarm):
        """Note it; then raise, as often as was asked for."""
        kv = self.ctx.storage.kv
        kv.put("rang", [*self.rang(), [alarm.name, alarm.scheduled_time, int(time.time() * 1_000), alarm.retry_count]])
        left = kv.get("fail") or 0
        if left:
            kv.put("fail", left - 1)
            raise RuntimeError("as it was told to")
