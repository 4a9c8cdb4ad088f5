"""Code without `async` that waits: a view of Django, an endpoint of FastAPI that is a plain function, `requests.get`.

It has a stack of its own, a greenlet, beside the coroutine that runs it. Where it asks for what has to be awaited, its
stack is set aside, the coroutine awaits, and the result goes back in. So it stays in the worker's one thread, and in
the turns, the context and under the cancellation of its event, as code that awaits does. Threads would touch the
runtime from beside its loop, and a jail has few.

`run` gives a stack to one function. Once `give_stacks` was called, every step of a coroutine has one, too, so that a
coroutine may call a function that waits. That costs some microseconds a step, so it is called for applications that
need it: those of Cloudflare's kind, and those with a library that asks servers without `async`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import Any, cast

from greenlet import GreenletExit, getcurrent, greenlet

stacks_kept_max = 16  # of one thread, that nobody uses


class _Over:
    """How a function ended: what it returned, or what it raised."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error


class _Stack(greenlet):
    """A stack for functions that may wait, one after the other: a new one costs two system calls.

    Attributes:
        over: how the function ended; None while it runs or waits.
        closed: its event is over: it cannot wait any more.
        held: it is inside a callback that must not wait.
    """

    over: _Over | None = None
    closed = False
    held = False


class _Idle(threading.local):
    """Stacks of this thread that nobody uses."""

    def __init__(self) -> None:
        self.stacks: list[_Stack] = []


_idle = _Idle()


def _serve(function: Any, args: Any) -> None:
    """What a stack does all its life."""
    stack = getcurrent()
    assert isinstance(stack, _Stack), "only stacks run this"
    while True:
        try:
            stack.over = _Over(function(*args), None)
        except BaseException as error:
            stack.over = _Over(None, error)
        if stack.closed:
            return  # nobody asks how it ended
        function = args = None  # an idle stack keeps nothing alive
        function, args = cast("greenlet", stack.parent).switch()


class _State:
    """Of this process.

    Attributes:
        stacks: every step of a coroutine has a stack that may wait.
    """

    stacks = False


_state = _State()


def give_stacks(*, on: bool = True) -> None:
    """From now on, coroutines that begin may call functions that `wait`."""
    _state.stacks = on


def gives_stacks() -> bool:
    """Whether coroutines may."""
    return _state.stacks


async def run(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that may use `wait`; returns what it returns, raises what it raises."""
    return await _go_on(*_begin(function, *args))


async def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns, or what comes of it if that is awaitable; where `Stepped` runs this, it may `wait`."""
    result = function(*args, **kwargs)
    return await result if isawaitable(result) else result


def _begin(function: Callable[..., Any], *args: Any) -> tuple[_Stack, Any]:
    """A stack whose function has run to its end, or to where it waits; and what it waits for."""
    stack = _idle.stacks.pop() if _idle.stacks else _Stack(_serve)
    stack.parent = getcurrent()
    stack.gr_context = getcurrent().gr_context
    return stack, stack.switch(function, args)


def _end(stack: _Stack) -> Any:
    """What the function of a stack returned; raises what it raised."""
    over, stack.over = stack.over, None
    assert over is not None, "it has ended"
    if len(_idle.stacks) < stacks_kept_max:
        stack.gr_context = None
        _idle.stacks.append(stack)
    if over.error is None:
        return over.result
    try:
        raise over.error
    finally:
        del over  # else the error would hold itself, by this frame


async def _go_on(stack: _Stack, asked: Any) -> Any:
    """Await what a stack asks for, until its function ends."""
    step: Callable[[], Any]
    while stack.over is None:
        try:
            step = partial(stack.switch, await asked)
        except GeneratorExit:  # this coroutine was closed: the function may tidy up, no more
            stack.closed = True
            stack.parent = getcurrent()
            stack.throw(GreenletExit)
            raise
        except BaseException as error:
            step = partial(stack.throw, error)
        stack.parent = getcurrent()  # where it began may be a step of `Stepped` that is over
        asked = step()
    return _end(stack)


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine each of whose steps has a stack of its own, so that its code may call functions that `wait`.

    Args:
        coroutine: the code.
    """

    __slots__ = ("_coroutine", "_going")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._going: Coroutine[Any, Any, Any] | None = None  # a step that waits

    def send(self, value: Any) -> Any:
        """The next step, or the step that waits."""
        return self._step(self._coroutine.send, value) if self._going is None else self._on(self._going.send, value)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """The same with an error."""
        error = value if isinstance(value, BaseException) else kind
        return self._step(self._coroutine.throw, error) if self._going is None else self._on(self._going.throw, error)

    def _step(self, resume: Callable[[Any], Any], value: Any) -> Any:
        stack, asked = _begin(_resumed, resume, value)
        if stack.over is not None:
            return _yielded(_end(stack))
        self._going = _go_on(stack, asked)
        return self._on(self._going.send, None)

    def _on(self, resume: Callable[[Any], Any], value: Any) -> Any:
        try:
            return resume(value)
        except StopIteration as done:
            self._going = None
            return _yielded(done.value)
        except BaseException:
            self._going = None
            raise

    def close(self) -> None:
        """The code may tidy up, no more."""
        going, self._going = self._going, None
        if going is not None:
            going.close()
        self._coroutine.close()

    def __await__(self) -> Any:
        raise RuntimeError("this coroutine belongs to its task")


def _resumed(resume: Callable[[Any], Any], value: Any) -> tuple[bool, Any]:
    """One step of a coroutine: whether it has ended, and what it returned or awaits; StopIteration leaves no stack."""
    try:
        return False, resume(value)
    except StopIteration as done:
        return True, done.value


def _yielded(step: tuple[bool, Any]) -> Any:
    ended, value = step
    if ended:
        raise StopIteration(value)
    return value


def can_wait() -> bool:
    """Whether `wait` can be used now."""
    stack = getcurrent()
    return isinstance(stack, _Stack) and not (stack.closed or stack.held)


def wait(awaitable: Awaitable[Any]) -> Any:
    """The result of an awaitable, for code that has a stack of its own; others of the worker run meanwhile.

    Raises:
        RuntimeError: it has none, or must not wait: `without_waiting` has called it.
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
        raise RuntimeError("nothing can wait inside transaction_sync, whose writes are one turn's; use transaction")
    raise RuntimeError(
        "code without async can wait in handlers of requests, calls, alarms and sockets, and not while a module is "
        "imported, in a constructor, a callback or another thread: call it in a handler, or await instead"
    )


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
