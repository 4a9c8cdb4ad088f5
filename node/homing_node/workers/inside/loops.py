"""The event loop of a worker: timers and tasks that an object's code makes belong to its activation."""

from __future__ import annotations

import asyncio
from typing import Any

from homing_node.workers.inside.turn_timers import TurnTimers

try:
    import uvloop

    _Base: Any = uvloop.Loop
except ImportError:  # a runtime without it works, more slowly
    _Base = asyncio.SelectorEventLoop


class WorkerLoop(TurnTimers, _Base):
    """See `TurnTimers`."""
