"""Code without `async` that waits: a view of Django or Flask, an endpoint of FastAPI that is a plain function.

It has a stack of its own, a greenlet, beside the coroutine that runs it. Where it asks for what has to be awaited, its
stack is set aside, the coroutine awaits, and the result goes back in. So it stays in the worker's one thread, and in
the turns, the context and under the cancellation of its event, as code that awaits does. Threads would touch the
runtime from beside its loop, and a jail has few.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import iscoroutine
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


class _Stack(greenlet):
    """The stack of a function that may wait."""

    closed = False  # its event is over: it cannot wait any more
    held = False  # it is inside a callback that must not wait


async def run(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that may use `wait`; returns what it returns, raises what it raises."""
    stack = _Stack(function)
    stack.gr_context = getcurrent().gr_context
    step: Callable[[], Any] = partial(stack.switch, *args)
    while True:
        asked = step()
        if stack.dead:
            return asked
        try:
            step = partial(stack.switch, await asked)
        except GeneratorExit:  # this coroutine was closed: the function may tidy up, no more
            stack.closed = True
            stack.throw(GreenletExit)
            raise
        except BaseException as error:
            step = partial(stack.throw, error)


def can_wait() -> bool:
    """Whether `wait` can be used now."""
    stack = getcurrent()
    return isinstance(stack, _Stack) and not (stack.closed or stack.held)


def wait(awaitable: Awaitable[Any]) -> Any:
    """The result of an awaitable, for code that `run` has called; others of the worker run meanwhile.

    Raises:
        RuntimeError: `run` has not called this code, or `without_waiting` has.
        BaseException: whatever awaiting it raises.
    """
    stack = getcurrent()
    if isinstance(stack, _Stack) and stack.parent is not None and not (stack.closed or stack.held):
        return stack.parent.switch(awaitable)
    if iscoroutine(awaitable):
        awaitable.close()  # nobody awaits it, and why is said here
    if isinstance(stack, _Stack) and stack.closed:
        raise GreenletExit
    if isinstance(stack, _Stack):
        raise RuntimeError("run_sync cannot wait inside transaction_sync, whose writes are one turn's; use transaction")
    raise RuntimeError("run_sync waits in WSGI applications and in endpoints without async; a coroutine awaits instead")


def without_waiting(callback: Callable[[], Any]) -> Any:
    """Call a function that must not wait, whoever has called the code around it."""
    stack = getcurrent()
    if not isinstance(stack, _Stack):
        return callback()
    before, stack.held = stack.held, True
    try:
        return callback()
    finally:
        stack.held = before


def replace_threads() -> None:
    """Have what AnyIO would run in a thread, such as FastAPI's endpoints without `async`, run here."""
    to_thread: Any = sys.modules.get("anyio.to_thread")
    if to_thread is not None:
        to_thread.run_sync = _run_here


async def _run_here(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """`anyio.to_thread.run_sync`; what limits and abandons threads has no meaning here."""
    return await run(function, *args)
