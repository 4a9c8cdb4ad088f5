"""Starts the objects that ring the application's cron triggers; see `homing.bindings.cron`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from homing.bindings.cron import CRON_CLASS
from homing.ids import ObjectId
from homing_node import limits
from homing_node.objects.outgoing import OutgoingCalls
from homing_placement.routing.pending import KIND_RPC, Pending

_log = structlog.stdlib.get_logger("homing.crons")


class Crons:
    """Every node starts all of them, once for each version of the application: to start one again changes nothing.

    Args:
        outgoing: knows who takes calls to objects.
        crons: the schedules of the application as it is now.
    """

    def __init__(self, outgoing: OutgoingCalls, crons: Callable[[], Sequence[str]]) -> None:
        self._outgoing, self._crons = outgoing, crons
        self._changed = asyncio.Event()
        self._changed.set()

    def changed(self) -> None:
        """Another version of the application was loaded."""
        self._changed.set()

    async def run(self) -> None:
        """Start what there is, now and after each change; until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            waiting = set(self._crons())
            while waiting and not self._changed.is_set():
                for cron in sorted(waiting):
                    if await self._start(cron):
                        waiting.discard(cron)
                await asyncio.sleep(limits.cron_retry_s if waiting else 0)

    async def _start(self, cron: str) -> bool:
        port = self._outgoing.port
        if port is None:
            return False
        object_id = ObjectId.from_name(CRON_CLASS, cron)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        now_ns = time.monotonic_ns()
        pending = Pending(
            KIND_RPC, CRON_CLASS, cron, object_id.raw, object_id.slot(self._outgoing.slots), "start", b"{}", "",
            now_ns * 1e-9 + limits.cron_start_s, now_ns, lambda _: ended.set_result(None),
        )  # fmt: skip
        port.submit(pending)
        await ended
        if pending.error is not None:
            _log.warning("a cron trigger could not be started yet", cron=cron, error=str(pending.error))
        return pending.error is None
