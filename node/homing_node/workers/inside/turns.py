"""Turns: what an object's code does between two awaits, driven one by one.

Every coroutine of an object, its handlers' and those of the tasks that it makes, runs inside a `TurnCoroutine`. Each
step enters the activation, runs the code to its next await, and leaves: then the writes are committed and the effects
go out. Timers that the object sets are turns too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Protocol, cast

from homing.compat import waiting

# The event on whose behalf code runs, as it came over the channel; None in the runtime's own code. Tasks and timers
# inherit it, so that their logs and their activation are known.
current_event: ContextVar[list[Any] | None] = ContextVar("current_event", default=None)


class Turns(Protocol):
    """What an activation is to the code that it runs."""

    ended: bool

    def admits(self) -> bool:
        """Whether the current context may go on now."""
        ...

    def opened(self) -> asyncio.Future[None]:
        """Done when the gate has opened."""
        ...

    def enter(self, call: int) -> None:
        """A turn begins, on behalf of a call (0: of none)."""
        ...

    def leave(self) -> BaseException | None:
        """A turn has ended. Returns what its commit failed with; its writes are undone then."""
        ...

    def add_timer(self, timer: Timer) -> None:
        """A timer was set."""
        ...

    def remove_timer(self, timer: Timer) -> None:
        """A timer has fired or was cancelled."""
        ...


class ProcessExit(RuntimeError):
    """Object code tried to end the process; it only ended its own task."""


class TurnCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine whose every step is a turn of an activation.

    Args:
        coroutine: the object's code.
        turns: its activation.
        call: the call on whose behalf it runs, 0 for none.
        on_first_step: called after the first step, before anything else can run.
    """

    __slots__ = ("_call", "_coroutine", "_on_first_step", "turns")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        turns: Turns,
        call: int = 0,
        on_first_step: Callable[[], None] | None = None,
    ) -> None:
        self._coroutine = waiting.Stepped(coroutine) if waiting.gives_stacks() else coroutine
        self.turns = turns
        self._call = call
        self._on_first_step = on_first_step

    def send(self, value: Any) -> Any:
        """One turn. While the gate is closed to this code the turn waits for it to open."""
        if not self.turns.ended and not self.turns.admits():
            waiting = self.turns.opened()
            cast("Any", waiting)._asyncio_future_blocking = True  # what `await` would have set
            return waiting
        return self._step(lambda: self._coroutine.send(value))

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """One turn that begins with an error, usually a cancellation; the gate does not hold it back."""
        error = value if isinstance(value, BaseException) else kind
        return self._step(lambda: self._coroutine.throw(error))

    def _step(self, resume: Callable[[], Any]) -> Any:
        turns = self.turns
        if turns.ended:
            self._coroutine.close()  # code of an ended activation runs no further, whatever it catches
            raise asyncio.CancelledError
        turns.enter(self._call)
        try:
            result = resume()
        except (SystemExit, KeyboardInterrupt) as error:
            turns.leave()
            raise ProcessExit(f"{type(error).__name__}: {error}") from error
        except BaseException:
            failed = turns.leave()
            if failed is not None:
                raise failed from None
            raise
        else:
            failed = turns.leave()
            if failed is not None:
                return self._step(lambda: self._coroutine.throw(failed))
            return result
        finally:
            if self._on_first_step is not None:
                done, self._on_first_step = self._on_first_step, None
                done()

    def close(self) -> None:
        """Called where the task is dropped."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise RuntimeError("this coroutine belongs to its task")


class Timer:
    """What `call_later` and `call_at` give to object code: a handle whose callback is a turn."""

    __slots__ = ("_args", "_call", "_callback", "_context", "_given_up", "_handle", "_turns")

    def __init__(
        self, turns: Turns, call: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self._turns = turns
        self._callback = callback
        self._args = args
        self._call = call
        self._context = context
        self._given_up = False
        self._handle: asyncio.TimerHandle | None = None

    def set(self, handle: asyncio.TimerHandle) -> None:
        """The loop's own handle, now that it is known."""
        self._handle = handle
        self._turns.add_timer(self)

    def fire(self) -> None:
        """Called by the loop, in the context where the timer was set."""
        turns = self._turns
        if turns.ended or self._given_up:
            return
        if not turns.admits():
            turns.opened().add_done_callback(lambda _: self.fire(), context=self._context)
            return
        turns.remove_timer(self)
        turns.enter(self._call)
        try:
            self._callback(*self._args)
        except (SystemExit, KeyboardInterrupt) as error:
            raise ProcessExit(f"{type(error).__name__}: {error}") from error
        finally:
            failed = turns.leave()
            if failed is not None:
                raise failed

    def cancel(self) -> None:
        """The callback will not run, even if it waits for the gate already."""
        self._given_up = True
        if self._handle is not None:
            self._handle.cancel()
        self._turns.remove_timer(self)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._given_up

    def when(self) -> float:
        """The loop's time at which it fires."""
        return self._handle.when() if self._handle is not None else 0.0
