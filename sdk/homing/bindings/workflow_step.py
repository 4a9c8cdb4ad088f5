"""`step`, which a workflow's `run` is given: its decorator, its waits, and what steps depend on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any

from homing.bindings import workflow_rules as rules
from homing.bindings.workflow_pass import CONTEXT, Pass, now_ms

_CONTEXT_NAME = "ctx"


class Step:
    """A step that was declared; calling it runs it, or gives what it gave in an earlier pass.

    Args:
        under: the pass.
        declared: the steps so far, by name.
        name: its own.
        function: its code.
        depends: the steps whose results it takes, in order; None: those whose names its parameters have.
        concurrent: whether those run side by side.
        config: how it is tried again.
    """

    def __init__(
        self, under: Pass, declared: dict[str, Step], name: str, function: Callable[..., Any],
        depends: Sequence[Step] | None, concurrent: bool, config: object,
    ) -> None:  # fmt: skip
        self.name = name
        self._pass, self._declared, self._function = under, declared, function
        self._depends, self._concurrent, self._config = depends, concurrent, config
        self._task: asyncio.Task[Any] | None = None
        self._given: tuple[Any] | None = None  # what its last run gave

    async def __call__(self) -> Any:
        """Run what it depends on, where that has not run, and then itself."""
        wanted = self._wanted()
        found = iter(await self._results([step for step in wanted.values() if step is not None]))
        arguments = {name: CONTEXT if step is None else next(found) for name, step in wanted.items()}
        task = self._pass.start(self._pass.do(self.name, self._function, arguments, self._config))
        self._task = task
        try:
            self._given = (await task,)
        finally:
            if self._task is task:
                self._task = None
        return self._given[0]

    async def _results(self, steps: list[Step]) -> list[Any]:
        if self._concurrent:
            return await asyncio.gather(*(step.result() for step in steps))
        return [await step.result() for step in steps]

    async def result(self) -> Any:
        """What it gave, gives, or will give, for a step that depends on it."""
        if self._given is not None:
            return self._given[0]
        return await (self._task or self())

    def _wanted(self) -> dict[str, Step | None]:
        """The step behind each parameter of its function; None: its context."""
        parameters = [
            each
            for each in signature(self._function).parameters.values()
            if each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        ]
        if self._depends is not None:
            return _by_place(parameters, self._depends)
        wanted: dict[str, Step | None] = {}
        for each in parameters:
            if each.name in self._declared:
                wanted[each.name] = self._declared[each.name]
            elif each.name == _CONTEXT_NAME:
                wanted[each.name] = None
            elif each.default is Parameter.empty:
                raise TypeError(f"Received unexpected parameter {each.name}")
        return wanted


def _by_place(parameters: list[Parameter], depends: Sequence[Any]) -> dict[str, Step | None]:
    takes = [each.name for each in parameters if each.name != _CONTEXT_NAME]
    if len(takes) != len(depends):
        raise TypeError(f"the step takes {len(takes)} results, and depends on {len(depends)} steps")
    for step in depends:
        if not isinstance(step, Step):
            raise TypeError(f"{step!r}, which a step depends on, is not decorated with step.do")
    steps: dict[str, Step | None] = dict(zip(takes, depends, strict=True))
    return {each.name: steps.get(each.name) for each in parameters}


class WorkflowStep:
    """What a workflow does step by step. A step that has ended is not run again, whatever dies.

    Args:
        under: the pass.
    """

    def __init__(self, under: Pass) -> None:
        self._pass = under
        self._declared: dict[str, Step] = {}

    def do(
        self,
        name: str | None = None,
        depends: Sequence[Step] | None = None,
        concurrent: bool = False,
        config: dict[str, Any] | None = None,
    ) -> Callable[[Callable[..., Any]], Step]:
        """Declare a function, or a coroutine function, as a step; what that gives is awaited without arguments.

        What the step returns is kept, so it is made of None, bool, int, float, str, bytes, datetime, list, dict and
        set, in at most 1 MiB. What it raises is raised when it has been tried as often as it may.

        Args:
            name: at most 256 characters; the function's own, where it is left out.
            depends: the steps whose results the function takes, in order. Without it each parameter has the name of a
                step that was declared before, or is `ctx`: `{"step": {"name", "count"}, "attempt", "config"}`.
            concurrent: whether the steps that it depends on run side by side.
            config: `{"retries": {"limit", "delay", "backoff"}, "timeout"}`, by default 5 attempts more, after
                "10 seconds", with an "exponential" backoff (or "linear", "constant"), and "10 minutes" for each.

        Example:
            >>> @step.do("charge", config={"retries": {"limit": 3, "delay": "5 seconds"}})  # doctest: +SKIP
            ... async def charge(price): ...
        """

        def declare(function: Callable[..., Any]) -> Step:
            step_name = function.__name__ if name is None else name
            step = Step(self._pass, self._declared, step_name, function, depends, concurrent, config)
            self._declared[step_name] = step
            return step

        return declare

    async def sleep(self, name: str, duration: float | str) -> None:
        """Wait, as long as up to a year; meanwhile the instance takes no memory.

        Args:
            name: of the step.
            duration: such as "10 seconds" or "3 days", or a number of milliseconds.

        Raises:
            ValueError: that is no duration.
        """
        wait_ms = rules.duration_ms(duration)
        await self._pass.sleep(name, lambda: now_ms() + wait_ms)

    async def sleep_until(self, name: str, timestamp: Any) -> None:
        """Wait until a moment; not at all, if that has passed.

        Args:
            name: of the step.
            timestamp: a `datetime` (UTC where it has no zone), or milliseconds or seconds since 1970.

        Raises:
            ValueError: it is more than a year away.
        """
        until_ms = rules.moment_ms(timestamp)
        await self._pass.sleep(name, lambda: now_ms() + rules.duration_ms(max(until_ms - now_ms(), 0)))

    async def wait_for_event(
        self,
        name: str,
        event_type: str,
        timeout: float | str = rules.EVENT_TIMEOUT,  # noqa: ASYNC109 - the reference's name; it may be a month
    ) -> Any:
        """Wait for an event that somebody sends to the instance: its type, its payload and when it was sent.

        Events that came before they were waited for are kept, in order.

        Args:
            name: of the step.
            event_type: what was given to `send_event`.
            timeout: as a duration of `sleep`.

        Raises:
            WorkflowTimeoutError: none came in time.
        """
        return await self._pass.wait_for_event(name, rules.checked_type(event_type), rules.duration_ms(timeout))
