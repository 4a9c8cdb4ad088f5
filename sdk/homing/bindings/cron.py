"""Cron triggers: the application's `Default.scheduled` runs at the times that its configuration names.

Each schedule is an object, whose alarm rings at its times; so it rings once in the whole cluster, on whichever node the
object lives, and at least once if that node dies. Nodes call `start` when they have loaded an application.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import NamedTuple

from homing.alarms import Alarm
from homing.objects import DurableObject, DurableObjectState

CRON_CLASS = "homing.cron"


class ScheduledController(NamedTuple):
    """What `scheduled` is told.

    Attributes:
        cron: the schedule, as the configuration has it.
        scheduled_time: when it was to run, in milliseconds since 1970 (UTC).
        type: what it is.
    """

    cron: str
    scheduled_time: int
    type: str = "scheduled"

    def no_retry(self) -> None:
        """A run that failed is not repeated here, either way: the next one comes at its time."""


Run = Callable[[ScheduledController, DurableObjectState], Awaitable[object] | object]


def cron_object(crons: Sequence[str], run: Run) -> type[DurableObject]:
    """The class of the objects that ring, each named by its schedule.

    Args:
        crons: the schedules of the application as it is now.
        run: calls the application's handler.
    """

    class CronTrigger(DurableObject):
        """See the module."""

        async def start(self) -> None:
            """Ring from now on."""
            storage, name = self.ctx.storage, self.ctx.id.name or ""
            if name in crons and await storage.get_alarm() is None:
                await storage.set_alarm(name)

        async def alarm(self, alarm: Alarm) -> None:
            """Run the handler; what it raises is logged."""
            name = self.ctx.id.name or ""
            if name not in crons:
                await self.ctx.storage.delete_alarm()  # the configuration names it no more
                return
            try:
                result = run(ScheduledController(name, alarm.scheduled_time), self.ctx)
                if isawaitable(result):
                    await result
            except Exception:
                traceback.print_exc()

    return CronTrigger
