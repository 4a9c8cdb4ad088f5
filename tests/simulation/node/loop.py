"""Event loops on one fake clock: each simulated process has a loop of its own, so it can be stopped, or end at once.

The code under test is asyncio code and does not know. A loop here has no selector and no thread: callbacks of all
processes wait in one queue, timers in one heap, and the next of them is chosen by time and then by order alone.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from tests.simulation.ledger import Violation

SPINS_MAX = 100_000


class Handle:
    """A callback that waits, of a loop or of the world itself."""

    __slots__ = ("_args", "_call", "_context", "_when", "gone", "loop")

    def __init__(
        self,
        loop: Loop | None,
        call: Callable[..., object],
        args: tuple[Any, ...],
        when: float,
        context: Context | None,
    ) -> None:
        self.loop = loop
        self._call = call
        self._args = args
        self._when = when
        self._context = context
        self.gone = False  # cancelled

    def cancel(self) -> None:
        self.gone = True
        self._args = ()

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        if self._context is None:
            self._call(*self._args)
        else:
            self._context.run(self._call, *self._args)


class Clock:
    """The time of a world, and all that waits for it.

    Args:
        failed: told of a task that failed and that nobody looks after.

    Attributes:
        now: seconds since the beginning.
        running: the loop whose callback runs; None: the world's own.
        steps: callbacks that ran.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self.failed = failed
        self.now = 0.0
        self.running: Loop | None = None
        self.steps = 0
        self.tasks = 0
        self._number = 0
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []

    def after(self, delay: float, call: Callable[..., object], *args: Any) -> Handle:
        """Let something happen in the world, outside of every process."""
        return self.at(self.now + delay, Handle(None, call, args, self.now + delay, None))

    def at(self, when: float, handle: Handle) -> Handle:
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def soon(self, handle: Handle) -> Handle:
        self._ready.append(handle)
        return handle

    def run_until(self, end: float, done: Callable[[], bool] | None = None) -> bool:
        """Let time go by; True as soon as `done` holds."""
        ready, timers = self._ready, self._timers
        while True:
            left = SPINS_MAX
            while ready:
                self._step(ready.popleft())
                left -= 1
                if not left:
                    raise Violation(f"{SPINS_MAX} callbacks, and no time passes")
            if done is not None and done():
                return True
            if not timers or timers[0][0] > end:
                self.now = max(self.now, end)
                return False
            when, _, handle = heapq.heappop(timers)
            self.now = max(self.now, when)
            self._step(handle)

    def clear(self) -> None:
        """Nothing more will happen."""
        self._ready.clear()
        self._timers.clear()

    def _step(self, handle: Handle) -> None:
        if handle.gone:
            return
        loop = handle.loop
        if loop is None:
            handle.run()
            return
        if not loop.alive:
            return
        if loop.paused:
            loop.backlog.append(handle)
            return
        self.steps += 1
        self.running = loop
        events._set_running_loop(loop)
        try:
            handle.run()
        finally:
            events._set_running_loop(None)
            self.running = None


class Task(asyncio.Task[Any]):
    """A task with a hash that is the same in every run: asyncio keeps tasks in sets, and cancels them in their order."""

    def __init__(self, coro: Any, number: int, **kwargs: Any) -> None:
        self._hash = number
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._hash


class Loop(asyncio.AbstractEventLoop):
    """The event loop of one process.

    Args:
        clock: of the world.
        name: of the process; with it the network and etcd know who asks.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock = clock
        self.name = name
        self.alive = True
        self.paused = False
        self.backlog: list[Handle] = []
        self.wall_offset_s = 0.0  # of its wall clock
        self.wall_highest_s = 0.0  # the highest that this has been
        self._left: list[asyncio.Task[Any]] = []  # of an ended process: they must not be closed in the middle of a run

    def __repr__(self) -> str:
        return f"Loop({self.name})"

    # -- a process's life -------------------------------------------------------------------------------------

    def pause(self) -> None:
        """As SIGSTOP does."""
        self.paused = True

    def resume(self) -> None:
        """As SIGCONT does: what came meanwhile comes now."""
        self.paused = False
        backlog, self.backlog = self.backlog, []
        for handle in backlog:
            self.clock.soon(handle)

    def end(self) -> None:
        """As SIGKILL does: nothing of it runs any more, not even a `finally`."""
        self.alive = False
        self.backlog.clear()
        self._left = list(asyncio.all_tasks(self))

    def step_wall(self, seconds: float) -> None:
        """Its wall clock is set, forwards or back."""
        self.wall_offset_s += seconds
        self.wall_highest_s = max(self.wall_highest_s, self.wall_offset_s)

    def spawn(self, call: Callable[..., object], *args: Any) -> None:
        """Let the world call something inside this process."""
        self.call_soon(call, *args)

    # -- what asyncio asks of a loop --------------------------------------------------------------------------

    def time(self) -> float:
        return self.clock.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.clock.soon(Handle(self, callback, args, self.clock.now, context))

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.clock.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.clock.at(when, Handle(self, callback, args, when, context))

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        self.clock.tasks += 1
        return Task(coro, self.clock.tasks, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """What a thread would do takes a moment, and is then done at once."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except Exception as error:
                future.set_exception(error)

        self.call_later(0.001, work)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return not self.alive

    def call_exception_handler(self, context: Any) -> None:
        """A task failed and nobody asked. Tasks of a process that was ended are thrown away: that says nothing."""
        if self.alive and context.get("exception") is not None:
            self.clock.failed(f"{self.name}: {context['message']}: {context['exception']!r}")
