"""Compares the replicas of this node's slots, one after the other for ever, and one at once when somebody asks."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import structlog

from homing.errors import NotOwner, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.log.effects import PagesCompared
from homing_node.log.shell import LogShell
from homing_node.metrics import NodeMetrics

_log = structlog.stdlib.get_logger("homing.verifier")


class Verifier:
    """See `homing_node.log.compare` for how.

    Args:
        log: compares.
        metrics: counts comparisons and differences.
    """

    def __init__(self, log: LogShell, metrics: NodeMetrics) -> None:
        self._log = log
        self._metrics = metrics
        self._waiting: defaultdict[int, list[asyncio.Future[PagesCompared]]] = defaultdict(list)
        self._last = -1  # the slot that was compared last of its own accord

    async def run(self) -> None:
        """Compare one slot every `limits.compare_every_s`, until cancelled."""
        while True:
            await asyncio.sleep(limits.compare_every_s)
            served = sorted(slot for slot in self._log.core.owners if self._log.serving(slot))
            if served:
                self._last = next((slot for slot in served if slot > self._last), served[0])
                self._log.compare(self._last)

    async def verify(self, slot: int) -> wire.VerifyReply:
        """Compare one slot now; answers of a comparison that runs already are taken.

        Raises:
            NotOwner: this node does not serve it.
            Unavailable: it lost the slot meanwhile.
        """
        if not self._log.serving(slot):
            raise NotOwner(f"slot {slot} is not served here")
        waiting = self._waiting[slot]
        done = asyncio.get_running_loop().create_future()
        waiting.append(done)
        try:
            async with asyncio.timeout(limits.verify_s):
                self._log.compare(slot)
                news = await done
        except TimeoutError as error:
            raise Unavailable(f"the pages of slot {slot} could not be compared: it moves", retry_after_s=1.0) from error
        finally:
            waiting.remove(done)
            if not waiting:
                self._waiting.pop(slot, None)
        return wire.VerifyReply(lsn=news.lsn, equal=news.equal, differing=news.differing, silent=news.silent)

    def compared(self, news: PagesCompared) -> None:
        """See `PageWatch`."""
        self._metrics.compared.add()
        if news.differing:
            self._metrics.differing.add()
            _log.error(
                "replicas of a slot hold different pages", slot=news.slot, lsn=news.lsn, equal=news.equal,
                differing=news.differing,
            )  # fmt: skip
        for done in self._waiting.get(news.slot, ()):
            if not done.done():
                done.set_result(news)
