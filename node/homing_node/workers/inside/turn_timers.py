"""Timers that an object's code makes belong to its activation, whatever loop they are in."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from homing_node.workers.inside.turns import Timer, current_event

if TYPE_CHECKING:
    _Loop = asyncio.BaseEventLoop
else:
    _Loop = object


class Owner(Protocol):
    """Knows the activation of an event."""

    def turns_of(self, event: list[Any]) -> Any:
        """The activation that runs an event, or None."""
        ...


class TurnTimers(_Loop):
    """Makes of an event loop one whose timers, when object code sets them, fire as turns of its activation."""

    owner: Owner | None = None

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self._timer(super().call_later, delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self._timer(super().call_at, when, callback, args, context)

    def runtime_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """A timer of the runtime's own, whoever runs now."""
        return super().call_later(delay, callback, *args, context=context)

    def _timer(
        self,
        schedule: Callable[..., Any],
        time: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        event = current_event.get()
        turns = self.owner.turns_of(event) if event is not None and self.owner is not None else None
        if event is None or turns is None:
            return cast("asyncio.TimerHandle", schedule(time, callback, *args, context=context))
        context = context or contextvars.copy_context()
        timer = Timer(turns, event[2], callback, args, context)
        timer.set(schedule(time, timer.fire, context=context))
        return cast("asyncio.TimerHandle", timer)
