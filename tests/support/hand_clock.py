"""A loop's clock and timers, moved by hand."""

from __future__ import annotations

import asyncio

import pytest


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[tuple[float, object]] = []

    @classmethod
    def of_running_loop(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """The clock of what asks for the running loop from now on."""
        made = cls()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
        return made

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: object) -> Timer:
        timer = Timer(self, (self.now_s + delay_s, callback))
        self.timers.append(timer.entry)
        return timer

    def move(self, seconds: float) -> None:
        self.now_s += seconds
        due = [entry for entry in self.timers if entry[0] <= self.now_s + 1e-9]
        self.timers = [entry for entry in self.timers if entry not in due]
        for _, callback in due:
            assert callable(callback)
            callback()


class Timer:
    def __init__(self, clock: Clock, entry: tuple[float, object]) -> None:
        self.clock, self.entry = clock, entry

    def cancel(self) -> None:
        if self.entry in self.clock.timers:
            self.clock.timers.remove(self.entry)
