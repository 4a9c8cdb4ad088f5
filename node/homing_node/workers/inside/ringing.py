"""The ALARM event: which alarm is due, its handler, and what becomes of the alarm when the handler ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from inspect import CO_VARARGS, isawaitable
from typing import Any, NoReturn

from homing.alarms import Alarm
from homing_node.workers.inside import limits
from homing_node.workers.inside.sections import Sections


class Ringing(Sections):
    """Runs the handler of alarms; see `TurnKeeper` for the arguments."""

    __slots__ = ()

    def abort(self, reason: str, *, retry_alarm: bool = True) -> NoReturn:
        """See `homing.objects.Runtime`."""
        if not retry_alarm and self._alarms is not None and self._database is not None:
            self._database.rollback()
            self._effects = []
            self._alarms.rang(_now_ms())
            self.leave()
        super().abort(reason)

    def _ring(self, instance: Any, *, now_ms: int | None = None) -> Awaitable[None] | None:
        """Run the handler of the earliest alarm that is due; if it awaits, what is returned runs it on.

        Its writes and what becomes of its alarm are committed with the turn in which it ends.
        """
        alarm = self._due(_now_ms() if now_ms is None else now_ms)
        if alarm is None:
            return None  # it was put off meanwhile
        handler = self._kind.alarm or _no_handler
        takes_alarm = handler.__code__.co_argcount > 1 or handler.__code__.co_flags & CO_VARARGS
        try:
            result = handler(instance, *((self._kind.adapt(alarm),) if takes_alarm else ()))
        except Exception:
            self._alarm_failed()
            raise
        if isawaitable(result):
            return self._ring_on(result)
        self.alarms.rang(_now_ms())
        return None

    def _due(self, now_ms: int) -> Alarm | None:
        if self._database is None:
            _ = self._context.storage  # opens it
        return self.alarms.ring(now_ms)

    async def _ring_on(self, handler: Awaitable[object]) -> None:
        task = asyncio.current_task()
        assert task is not None, "a handler that awaits runs in a task of its own"
        late = self._host.later(limits.alarm_s_max, task.cancel, "an alarm handler may run for 15 minutes")
        try:
            await handler
            self.alarms.rang(_now_ms())
        except GeneratorExit:
            raise
        except BaseException:
            self._alarm_failed()
            raise
        finally:
            late.cancel()

    def _ring_in_vain(self) -> None:
        """The constructor raised and what it wrote is undone: that counts as a failure of the alarm's handler."""
        if self._due(_now_ms()) is not None:
            self._alarm_failed()
            self.leave()

    def _alarm_failed(self) -> None:
        if not self.ended:
            self.alarms.failed(_now_ms())


def _no_handler(_: Any) -> Any:
    raise NotImplementedError("an alarm rings, but the class has no alarm handler any more")


def _now_ms() -> int:
    return int(time.time() * 1_000)
