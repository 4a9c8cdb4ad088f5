"""Time and its end: `setTimeout` and its like, `AbortController`, `performance`; and `caches`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, TypeVar

from homing.errors import ApplicationError, DeadlineExceeded

T = TypeVar("T")

_numbers = itertools.count(1)
_running: set[asyncio.Future[Any]] = set()


class Timeout(int):
    """The number of a timer, and the timer."""

    timer: asyncio.TimerHandle | None = None


def setTimeout(callback: Callable[..., Any], delay: float = 0, *args: Any) -> Timeout:
    """Call a function in so many milliseconds, once; returns what `clearTimeout` takes. It ends with its object."""
    return _set(callback, max(0.0, delay), args, again=False)


def setInterval(callback: Callable[..., Any], delay: float = 0, *args: Any) -> Timeout:
    """Call a function every so many milliseconds; returns what `clearInterval` takes. It ends with its object."""
    return _set(callback, max(1.0, delay), args, again=True)


def clearTimeout(timeout: int | None = None) -> None:
    """Do not call it any more."""
    if isinstance(timeout, Timeout) and timeout.timer is not None:
        timeout.timer.cancel()


def clearInterval(timeout: int | None = None) -> None:
    """Do not call it any more."""
    clearTimeout(timeout)


def queueMicrotask(callback: Callable[[], Any]) -> None:
    """Call a function soon."""
    _set(callback, 0.0, (), again=False)


def _set(callback: Callable[..., Any], delay_ms: float, args: tuple[Any, ...], *, again: bool) -> Timeout:
    loop = asyncio.get_running_loop()
    timeout = Timeout(next(_numbers))

    def fire() -> None:
        if again:
            timeout.timer = loop.call_later(delay_ms / 1_000, fire)
        result = callback(*args)
        if isawaitable(result):
            task = asyncio.ensure_future(result)
            _running.add(task)
            task.add_done_callback(_running.discard)

    timeout.timer = loop.call_later(delay_ms / 1_000, fire)
    return timeout


class AbortSignal:
    """Says that something is to end; `fetch` heeds it.

    Attributes:
        aborted: whether it has said so.
        reason: an exception, or what was given as the reason.
    """

    def __init__(self) -> None:
        self.aborted = False
        self.reason: Any = None
        self.onabort: Callable[[Any], Any] | None = None
        self._listeners: list[Callable[[Any], Any]] = []

    @classmethod
    def timeout(cls, ms: float) -> AbortSignal:
        """One that says so in so many milliseconds."""
        signal = cls()
        late = DeadlineExceeded("the operation was aborted due to timeout")
        setTimeout(signal.end, ms, late)
        return signal

    @classmethod
    def abort(cls, reason: Any = None) -> AbortSignal:
        """One that has said so."""
        signal = cls()
        signal.end(reason)
        return signal

    @classmethod
    def any(cls, signals: Iterable[AbortSignal]) -> AbortSignal:
        """One that says so with the first of several."""
        whole = cls()
        for each in signals:
            if each.aborted:
                whole.end(each.reason)
            each.addEventListener("abort", lambda signal: whole.end(signal.reason))
        return whole

    def end(self, reason: Any = None) -> None:
        """Say so, once."""
        if self.aborted:
            return
        self.aborted = True
        self.reason = reason if reason is not None else _aborted("the operation was aborted")
        for listener in (*self._listeners, *([self.onabort] if self.onabort is not None else [])):
            listener(self)

    def addEventListener(self, kind: str, listener: Callable[[Any], Any], *_: Any) -> None:
        """Call a function when it says so."""
        if kind == "abort":
            self._listeners.append(listener)

    def removeEventListener(self, kind: str, listener: Callable[[Any], Any], *_: Any) -> None:
        """Do not call it any more."""
        if kind == "abort" and listener in self._listeners:
            self._listeners.remove(listener)

    def throwIfAborted(self) -> None:
        """Raise the reason, if it has said so."""
        if self.aborted:
            raise self.reason if isinstance(self.reason, BaseException) else _aborted(str(self.reason))

    async def guard(self, awaitable: Awaitable[T]) -> T:
        """What comes of an awaitable, unless this says that it is to end."""
        task = asyncio.ensure_future(awaitable)

        def end(_: Any) -> None:
            task.cancel()

        self.addEventListener("abort", end)
        if self.aborted:
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled():
                self.throwIfAborted()
            raise
        finally:
            self.removeEventListener("abort", end)


def _aborted(message: str) -> ApplicationError:
    return ApplicationError(message, error_type="AbortError")


class AbortController:
    """Makes a signal say that something is to end; made with `new`."""

    def __init__(self) -> None:
        self.signal = AbortSignal()

    @classmethod
    def new(cls) -> AbortController:
        """One with a signal of its own."""
        return cls()

    def abort(self, reason: Any = None) -> None:
        """Have it said."""
        self.signal.end(reason)


class _Performance:
    """Time since this process began to need it."""

    timeOrigin = time.time() * 1_000
    _began_s = time.monotonic()

    def now(self) -> float:
        """In milliseconds."""
        return (time.monotonic() - self._began_s) * 1_000


performance = _Performance()


class Cache:
    """A cache that has forgotten everything, as one may at any time: there is none before an application here."""

    async def match(self, request: Any, *_: Any, **__: Any) -> None:
        """Nothing."""

    async def put(self, request: Any, response: Any) -> None:
        """Is forgotten."""

    async def delete(self, request: Any, *_: Any, **__: Any) -> bool:
        """There was nothing."""
        return False


class _Caches:
    """The default cache, and those with names."""

    default = Cache()

    async def open(self, name: str) -> Cache:
        """One with a name."""
        return Cache()


caches = _Caches()
