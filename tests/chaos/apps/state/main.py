"""Objects whose state is looked at, taken out, brought in and deleted."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from js import console

from homing import DurableObject, Request, Response, WebSocket, WebSocketPair


class Ledger(DurableObject):
    """Numbers in a table, their sum beside it, and an alarm."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS entries(n INTEGER, filler BLOB)")

    def add(self, n: int, filler: int = 100) -> int:
        """Add a number; returns how many there are."""
        self.ctx.storage.sql.exec("INSERT INTO entries VALUES (?, zeroblob(?))", n, filler)
        kv = self.ctx.storage.kv
        kv.put("sum", (kv.get("sum") or 0) + n)
        return self.state()[0]

    def state(self) -> list[Any]:
        """How many, their sum as the table has it and as was kept, and whether the alarm rang."""
        found = self.ctx.storage.sql.exec("SELECT count(*) count, total(n) total FROM entries").one()
        kv = self.ctx.storage.kv
        return [found["count"], int(found["total"]), kv.get("sum") or 0, kv.get("rang") or 0]

    async def sleep(self, seconds: float) -> None:
        """Take so long."""
        await asyncio.sleep(seconds)

    def say(self, text: str) -> None:
        """Print it in every way there is, and fail."""
        print(text)  # noqa: T201 - so that a tail shows it
        logging.getLogger("ledger").warning("careful: %s", text)
        console.error("bad:", {"text": text})
        raise ValueError(text)

    def remind(self, seconds: float) -> None:
        """Set the alarm."""
        self.ctx.storage.set_alarm(int((time.time() + seconds) * 1_000))

    def alarm(self) -> None:
        """Note that it rang."""
        self.ctx.storage.kv.put("rang", (self.ctx.storage.kv.get("rang") or 0) + 1)

    async def fetch(self, request: Request) -> Response:
        """Take a socket."""
        pair = WebSocketPair()
        self.ctx.accept_websocket(pair.server)
        return Response(None, status=101, web_socket=pair.client)

    async def websocket_message(self, ws: WebSocket, message: str | bytes) -> None:
        """Say what was said."""
        ws.send(message)

    async def others(self, limit: int) -> list[list[Any]]:
        """What a list says of every object of the class, page by page."""
        found, cursor = [], None
        while True:
            page = await self.env.LEDGER.list(limit=limit, cursor=cursor)
            found += [list(each) for each in page.objects]
            cursor = page.cursor
            if cursor is None:
                return found
