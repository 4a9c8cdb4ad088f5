"""What the helpers of `homing.testing` look into: a counter with alarms and sockets."""

import asyncio
import time
from datetime import datetime

from homing import DurableObject, Response, WebSocketPair


class Thing(DurableObject):
    """Counts, in memory and on disk."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.calls = 0

    def fetch(self, request):
        """Open a socket."""
        pair = WebSocketPair()
        self.ctx.accept_websocket(pair.server)
        return Response(None, status=101, web_socket=pair.client)

    def websocket_message(self, ws, message):
        """Say how many calls this instance has seen."""
        self.calls += 1
        ws.send(f"{message} {self.calls}")

    def count(self):
        """One more; [of this instance, of all]."""
        self.calls += 1
        kv = self.ctx.storage.kv
        kv.put("n", (kv.get("n") or 0) + 1)
        return [self.calls, kv.get("n")]

    def keep_busy(self):
        """What keeps an object from sleep."""
        self.ctx.wait_until(self._forever())

    async def _forever(self):
        await asyncio.sleep(600)

    def remind(self, seconds, message="rang"):
        """Set an alarm."""
        self.ctx.storage.kv.put("message", message)
        self.ctx.storage.set_alarm(int((time.time() + seconds) * 1_000))

    def alarm(self):
        """Leave a trace with the time as it is now, and set the next, up to three."""
        kv = self.ctx.storage.kv
        if kv.get("message") == "boom":
            raise ValueError("boom")
        rang = [*(kv.get("rang") or []), time.time()]
        kv.put("rang", rang)
        if len(rang) < 3:
            self.remind(3_600)

    def rang(self):
        """When alarms rang."""
        return self.ctx.storage.kv.get("rang") or []

    def now(self):
        """Two clocks."""
        return [time.time(), datetime.now().timestamp(), isinstance(datetime.fromtimestamp(0), datetime)]
