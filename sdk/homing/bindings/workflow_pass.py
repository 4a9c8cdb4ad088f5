"""One pass through a workflow's `run`: what becomes of each step that it comes to.

A pass is begun anew after a crash, a move or a long wait. A step that has ended gives what was written down of it; one
that has not is run, and what it gave is committed before `run` goes on. A step that waits, for a time, an event or its
next attempt, is nothing but a row of the log: whoever ends the wait wakes it, or the next pass finds it over.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any, NamedTuple, NoReturn

from homing.bindings import workflow_rules as rules
from homing.bindings.workflow_log import DO, DONE, EVENT, FAILED, SLEEP, WAITS, Key, Row, StepLog
from homing.errors import TooLarge
from homing.values import from_stored
from homing.workflows import NonRetryableError, WorkflowStepEvent, WorkflowTimeoutError

CONTEXT = object()
"""Stands among a step's arguments for its context."""

RAISED = (Exception, SystemExit, KeyboardInterrupt)
"""What an application's code may end with; the last two must not look like the end of the worker."""


class Keeper(NamedTuple):
    """What a pass tells whoever keeps the instance.

    Attributes:
        came_further: a step was written down.
        waits_until: a step waits, at most until then, in milliseconds since 1970.
        settle: what is under way, or what waits, has changed.
        report: the application's code has raised.
    """

    came_further: Callable[[], None]
    waits_until: Callable[[int], None]
    settle: Callable[[], None]
    report: Callable[[BaseException], None]


class Pass:
    """See the module.

    Args:
        log: of the instance's steps.
        keeper: of the instance.
        adapt: gives what the application is given the face that it knows.
        steps_max: steps of the application's code that it may come to.

    Attributes:
        closed: nothing of it counts any more.
        held: it is to be paused: no attempt begins.
        active: attempts that are under way.
    """

    def __init__(self, log: StepLog, keeper: Keeper, adapt: Callable[[Any], Any], steps_max: int) -> None:
        self.closed = self.held = False
        self.active = 0
        self._log, self._keeper, self._adapt, self._steps_max = log, keeper, adapt, steps_max
        self._counts: Counter[tuple[str, str]] = Counter()
        self._places = 0
        self._steps = 0
        self._resting: dict[Key, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # For its keeper

    @property
    def only_waits(self) -> bool:
        """Whether steps wait, and no attempt is under way."""
        return not self.active and bool(self._resting)

    def wake(self, keys: Iterable[Key]) -> None:
        """Let steps look again at what they wait for."""
        for key in keys:
            future = self._resting.pop(key, None)
            if future is not None and not future.done():
                future.set_result(None)
        self._keeper.settle()

    def release(self) -> None:
        """It is not to be paused after all."""
        self.held = False
        self.wake(list(self._resting))

    def close(self) -> None:
        """End it: what runs is cancelled, and has no effect on the instance."""
        self.closed = True
        for task in self._tasks:
            task.cancel()
        for future in self._resting.values():
            future.cancel()
        self._resting.clear()

    # Steps

    def start(self, step: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a step in a task, which ends with the pass.

        The end of a task ends a turn: what the step gave is committed before whoever awaits it goes on.
        """
        task: asyncio.Task[Any] = asyncio.ensure_future(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def do(self, name: str, function: Callable[..., Any], arguments: dict[str, Any], given: object) -> Any:
        """A step of the application's code: its result, from its first attempt that ends well.

        Args:
            name: of the step.
            function: its code.
            arguments: for it, by name.
            given: its configuration.
        """
        key, place = self._begin(DO, name)
        self._steps += 1
        if self._steps > self._steps_max:
            raise NonRetryableError(f"the limit of {self._steps_max} steps has been reached")
        config = rules.step_config(given)
        while True:
            row = self._log.find(key)
            if row is not None and row.state != WAITS:
                return from_stored(_ended(row))
            if self.held or (row is not None and row.due_ms > now_ms()):
                await self._rest(key)
                continue
            failures = row.failures if row is not None else 0
            context = {"step": {"name": name, "count": key[2]}, "attempt": failures + 1, "config": config.shown}
            given_to_it = {
                each: self._adapt(context) if value is CONTEXT else value for each, value in arguments.items()
            }
            outcome = await self._attempt(function, given_to_it, config.timeout_ms, f"the result of {name!r}")
            self._write_down(key, place, outcome, config, failures)

    async def _attempt(
        self, function: Callable[..., Any], arguments: dict[str, Any], timeout_ms: int, what: str
    ) -> bytes | BaseException:
        """Run a step's code once: the bytes of what it gave, or what it raised."""
        self.active += 1
        self._keeper.settle()
        try:
            result = await _limited(function, arguments, timeout_ms)
        except asyncio.CancelledError:
            self.active -= 1
            if not self.closed:
                self._keeper.settle()
            raise
        except RAISED as error:
            self.active -= 1
            return error
        self.active -= 1
        try:
            return rules.packed(result, what)
        except (TypeError, ValueError, TooLarge) as error:
            return NonRetryableError(f"{what} cannot be kept: {error}")  # it would be the same the next time

    def _write_down(
        self, key: Key, place: int, outcome: bytes | BaseException, config: rules.StepConfig, failures: int
    ) -> None:
        """What came of an attempt; raises if it was the last, and failed."""
        self._check()
        if isinstance(outcome, bytes):
            self._log.end(key, place, DONE, outcome)
            self._written()
            return
        self._keeper.report(outcome)
        if isinstance(outcome, NonRetryableError) or failures >= config.limit:
            self._fail(key, place, outcome)
        due_ms = now_ms() + rules.wait_ms(config, failures + 1)
        self._wait(key, place, due_ms, failures=failures + 1)
        self._written()

    async def sleep(self, name: str, until_ms: Callable[[], int]) -> None:
        """Wait until a time, which is asked for when the sleep begins."""
        key, place = self._begin(SLEEP, name)
        if self._log.find(key) is None:
            self._wait(key, place, until_ms())
        if (await self._until(key)).state == WAITS:
            self._log.end(key, place, DONE, b"")
            self._written()

    async def wait_for_event(self, name: str, event_type: str, timeout_ms: int) -> Any:
        """Wait for an event that is sent to the instance, or that was."""
        key, place = self._begin(EVENT, name)
        if self._log.find(key) is None:
            kept = self._log.take(event_type)
            if kept is None:
                self._wait(key, place, now_ms() + timeout_ms, event_type=event_type)
            else:
                self._log.end(key, place, DONE, kept)
                self._written()
        row = await self._until(key)
        if row.state == WAITS:
            self._fail(key, place, WorkflowTimeoutError(_timed_out(timeout_ms)))
        found_type, at_ms, payload = from_stored(_ended(row))
        return self._adapt(WorkflowStepEvent(found_type, from_stored(payload), moment(at_ms)))

    # What they share

    def _begin(self, kind: str, name: object) -> tuple[Key, int]:
        """A step is come to: which it is, and its place among all."""
        self._check()
        checked = rules.checked_step(name)
        self._counts[kind, checked] += 1
        self._places += 1
        return (kind, checked, self._counts[kind, checked]), self._places

    def _check(self) -> None:
        if self.closed:
            raise asyncio.CancelledError("this pass through the workflow is over")

    def _wait(self, key: Key, place: int, due_ms: int, *, failures: int = 0, event_type: str | None = None) -> None:
        self._log.wait(key, place, due_ms, failures=failures, event_type=event_type)
        self._keeper.waits_until(due_ms)

    async def _until(self, key: Key) -> Row:
        """Rest until a step has what it waits for, or its time is up: then it still waits in the log."""
        while True:
            row = self._log.find(key)
            assert row is not None, "only a pass that is closed can lose a step"
            if row.state != WAITS or row.due_ms <= now_ms():
                return row
            await self._rest(key)

    async def _rest(self, key: Key) -> None:
        self._check()
        future = self._resting[key] = asyncio.get_running_loop().create_future()
        self._keeper.settle()
        try:
            await future
        except asyncio.CancelledError:
            if not self.closed:  # the application gave this step up
                self._resting.pop(key, None)
                self._keeper.settle()
            raise
        self._check()

    def _fail(self, key: Key, place: int, error: BaseException) -> NoReturn:
        data = rules.packed_error(error)
        self._log.end(key, place, FAILED, data)
        self._written()
        raise rules.error_of(data) from error

    def _written(self) -> None:
        """Something was written down of a step; that may have ended the pass."""
        self._keeper.came_further()
        self._keeper.settle()
        self._check()


async def _limited(function: Callable[..., Any], arguments: dict[str, Any], timeout_ms: int) -> Any:
    limit = asyncio.timeout(timeout_ms / 1_000)
    try:
        async with limit:
            result = function(**arguments)
            return await result if isawaitable(result) else result
    except TimeoutError:
        if limit.expired():
            raise WorkflowTimeoutError(_timed_out(timeout_ms)) from None
        raise


def _timed_out(timeout_ms: int) -> str:
    return f"Execution timed out after {timeout_ms}ms"


def _ended(row: Row) -> bytes:
    """What a step gave; raises what it failed with."""
    if row.state == FAILED:
        raise rules.error_of(row.value)
    return row.value


def moment(at_ms: int) -> datetime:
    """A moment, given in milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def now_ms() -> int:
    """The wall clock."""
    return int(time.time() * 1_000)
