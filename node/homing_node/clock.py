"""Time as a parameter: the node asks the system, the simulator its own clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the parts of a node ask for the time."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970, for what is kept; nothing about safety rests on it (rule 3)."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic_ns = staticmethod(time.monotonic_ns)

    @staticmethod
    def wall_ms() -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000
