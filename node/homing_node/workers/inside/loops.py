"""The event loop of a worker: timers and tasks that an object's code makes belong to its activation."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, Protocol, cast

from homing_node.workers.inside.turns import Timer, current_event

try:
    import uvloop

    _Base: Any = uvloop.Loop
except ImportError:  # a runtime without it works, more slowly
    _Base = asyncio.SelectorEventLoop


class Owner(Protocol):
    """Knows the activation of an event."""

    def turns_of(self, event: list[Any]) -> Any:
        """The activation that runs an event, or None."""
        ...


class WorkerLoop(_Base):
    """An event loop whose timers, when object code sets them, fire as turns of its activation."""

    owner: Owner | None = None

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self._timer(_Base.call_later, delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self._timer(_Base.call_at, when, callback, args, context)

    def runtime_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """A timer of the runtime's own, whoever runs now."""
        return cast("asyncio.TimerHandle", _Base.call_later(self, delay, callback, *args, context=context))

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
            return cast("asyncio.TimerHandle", schedule(self, time, callback, *args, context=context))
        context = context or contextvars.copy_context()
        timer = Timer(turns, event[2], callback, args, context)
        timer.set(schedule(self, time, timer.fire, context=context))
        return cast("asyncio.TimerHandle", timer)
