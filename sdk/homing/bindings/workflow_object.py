"""The object of one instance of a workflow: it keeps what is known of it, and drives passes through its `run`.

An alarm stays set as long as the instance has not ended. It begins a pass when a wait is over, or when whoever ran the
last one has died; while a pass is under way it looks from time to time whether it still is, the more rarely the longer
nothing has ended: so what a crash costs is about what has to be done again anyway. A pass that only waits is given up
after a few seconds, and the object may leave memory.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any, ClassVar, NamedTuple, cast

from homing.bindings import workflow_rules as rules
from homing.bindings.workflow_log import DO, StepLog
from homing.bindings.workflow_pass import RAISED, Keeper, Pass, moment, now_ms
from homing.bindings.workflow_step import WorkflowStep
from homing.errors import StorageError
from homing.objects import DurableObject, ExecutionContext
from homing.values import from_stored, to_stored
from homing.workflows import WorkflowEvent

QUEUED, RUNNING, WAITING = "queued", "running", "waiting"
PAUSING, PAUSED = "waitingForPause", "paused"
COMPLETE, ERRORED, TERMINATED = "complete", "errored", "terminated"
ENDED = frozenset((COMPLETE, ERRORED, TERMINATED))


class WorkflowKind(NamedTuple):
    """A workflow of the application.

    Attributes:
        instance: makes one of its class, of a context and an environment.
        adapt: gives what it is given the face that it knows.
        steps_max: steps that an instance may come to.
    """

    instance: Callable[[Any, Any], Any]
    adapt: Callable[[Any], Any]
    steps_max: int


class WorkflowObject(DurableObject):
    """One instance. Its methods return an empty text, or why they refuse.

    Attributes:
        kinds: the application's workflows, by name.
    """

    kinds: ClassVar[Mapping[str, WorkflowKind]] = {}

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        self._kv = ctx.storage.kv
        self._log = StepLog(ctx.storage.sql)
        self._pass: Pass | None = None
        self._task: asyncio.Task[None] | None = None  # of the pass
        self._grace: asyncio.TimerHandle | None = None  # until a pass that only waits is given up
        self._rings_ms = 0  # the alarm, as it was last set here
        self._watch_ms = 0
        self._progress = False  # since it last rang

    # What callers ask for

    def create(self, workflow: str, instance_id: str, params: bytes, keep_ms: list[int]) -> str:
        """Begin an instance; `keep_ms`: how long it is kept after a good end, and after another."""
        if self._facts() is not None:
            return rules.EXISTS
        self._log.create()
        self._kv.put("params", params)
        facts = {"workflow": workflow, "id": instance_id, "created_ms": now_ms(), "keep_ms": keep_ms}
        self._kv.put("facts", {**facts, "state": QUEUED, "cut": 0})
        self._ring(now_ms())
        return ""

    def status(self) -> dict[str, Any] | None:
        """What the instance has come to; None: there is none."""
        facts = self._facts()
        if facts is None:
            return None
        state = facts["state"]
        found: dict[str, Any] = {"status": state, "error": None, "output": None, "rollback": None}
        if state == COMPLETE:
            found["output"] = from_stored(self._kv.get("outcome"))
        elif state == ERRORED:
            found["error"] = rules.shown_error(self._kv.get("outcome"))
        elif state == RUNNING and not (self._pass is not None and self._pass.active) and self._log.is_waiting():
            found["status"] = WAITING
        return found

    def pause(self) -> str:
        """Let no further attempt begin."""
        facts = self._facts()
        if facts is None:
            return rules.NOT_FOUND
        if facts["state"] in (QUEUED, RUNNING):
            if self._pass is not None and self._pass.active:
                self._pass.held = True
                self._save(state=PAUSING)
            else:
                self._pause()
        return ""

    def resume(self) -> str:
        """Let a paused one go on; what waits for a time has as much left of it as when it was paused."""
        facts = self._facts()
        if facts is None:
            return rules.NOT_FOUND
        if facts["state"] not in (PAUSING, PAUSED):
            return f"(instance.cannot_resume) The instance is {facts['state']}"
        if self._pass is not None:
            self._save(state=RUNNING)
            self._pass.release()
            return ""
        if facts["state"] == PAUSED:
            self._log.put_off(now_ms() - facts["paused_ms"])
        self._save(state=QUEUED, cut=0)
        self._ring(now_ms())
        return ""

    def terminate(self) -> str:
        """End it."""
        facts = self._facts()
        if facts is None:
            return rules.NOT_FOUND
        if facts["state"] in ENDED:
            return f"(instance.cannot_terminate) The instance is {facts['state']}"
        self._end(TERMINATED, b"")
        return ""

    def restart(self, name: str = "", count: int = 1, kind: str = DO) -> str:
        """Begin it anew; with a name, from that step on."""
        if self._facts() is None:
            return rules.NOT_FOUND
        found = self._log.find((kind, name, count)) if name else None
        if name and found is None:
            return f"(instance.step_not_found) The instance has come to no step {name!r}"
        self._close()
        self._log.forget(found.place if found is not None else 0)
        self._save(state=QUEUED, cut=0)
        self._ring(now_ms())
        return ""

    def send_event(self, event_type: str, payload: bytes) -> str:
        """Give an event to the step that waits for it, or will."""
        facts = self._facts()
        if facts is None:
            return rules.NOT_FOUND
        if facts["state"] in ENDED:
            return f"(instance.not_running) The instance is {facts['state']}"
        key = self._log.deliver(event_type, to_stored([event_type, now_ms(), payload]))
        if key is not None and self._pass is not None:
            self._pass.wake([key])
        elif key is not None and facts["state"] != PAUSED:
            self._ring(now_ms())
        return ""

    def delete(self) -> str:
        """Forget all of it."""
        if self._facts() is None:
            return rules.NOT_FOUND
        self._close()
        self.ctx.storage.delete_all()
        return ""

    # What drives it

    def alarm(self) -> None:
        """A wait is over, or it is time to see whether a pass is under way; or it has been kept for long enough."""
        facts = self._facts()
        if facts is None or facts["state"] == PAUSED:
            return
        if facts["state"] in ENDED:
            if now_ms() >= facts["kept_until_ms"]:
                self.ctx.storage.delete_all()
            else:
                self._ring(facts["kept_until_ms"])
        elif self._pass is not None:
            self._watch(self._pass)
        elif facts["state"] == PAUSING:
            self._pause()
        else:
            self._begin(facts)

    def _begin(self, facts: dict[str, Any]) -> None:
        """Begin a pass. That it has begun is committed before it does anything: one that kills its worker counts."""
        kind, cut = self.kinds.get(facts["workflow"]), facts["cut"]
        if kind is None:
            self._ring(now_ms() + rules.WATCH_LAST_MS)  # the application may come to have it again
            return
        if cut >= rules.CUT_MAX:
            lost = RuntimeError(f"the instance was cut off {cut} times in a row, and came no further")
            self._end(ERRORED, rules.packed_error(lost))
            return
        self._save(state=RUNNING, cut=cut + 1)
        self._watch_ms, self._progress = min(rules.WATCH_FIRST_MS << cut, rules.WATCH_LAST_MS), False
        keeper = Keeper(self._came_further, self._ring_by, self._settle, _report)
        self._pass = Pass(self._log, keeper, kind.adapt, kind.steps_max)
        self._task = asyncio.ensure_future(self._drive(kind, facts, self._pass))
        self._ring(now_ms() + self._watch_ms)
        self._ring_by(self._log.next_ms())

    async def _drive(self, kind: WorkflowKind, facts: dict[str, Any], under: Pass) -> None:
        """A pass, to the end of `run`, or until it is closed."""
        try:
            state, outcome = COMPLETE, rules.packed(await self._run(kind, facts, under), "what run returned")
        except asyncio.CancelledError as error:
            state, outcome = ERRORED, rules.packed_error(error)  # unless it was closed, the application's own doing
        except RAISED as error:
            state, outcome = ERRORED, rules.packed_error(error)
            if not under.closed:
                _report(error)
        if not under.closed:
            self._end(state, outcome)

    async def _run(self, kind: WorkflowKind, facts: dict[str, Any], under: Pass) -> Any:
        workflow = kind.instance(ExecutionContext(self.ctx), self.env)
        params = from_stored(self._kv.get("params"))
        event = WorkflowEvent(params, moment(facts["created_ms"]), facts["id"], facts["workflow"])
        result = workflow.run(kind.adapt(event), WorkflowStep(under))
        return await result if isawaitable(result) else result

    def _watch(self, under: Pass) -> None:
        """It rings while a pass is in memory: wake what is due, and look again later."""
        now = now_ms()
        under.wake(self._log.due(now))
        self._watch_ms = rules.WATCH_FIRST_MS if self._progress else min(self._watch_ms * 2, rules.WATCH_LAST_MS)
        self._progress = False
        self._ring(now + self._watch_ms)
        self._ring_by(self._log.next_ms())

    def _settle(self) -> None:
        """What is under way in the pass, or what waits, has changed."""
        under = self._pass
        if under is not None and under.held and not under.active:
            self._pause()
            return
        waits = under is not None and under.only_waits
        if waits and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(rules.GRACE_S, self._give_up)
        elif not waits and self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _give_up(self) -> None:
        """The pass has only waited for a while; the next one begins when a wait is over."""
        due_ms = self._log.next_ms()
        if due_ms is not None:
            self._close()
            self._came_further()
            self._ring(due_ms)

    def _close(self) -> None:
        """End the pass, if there is one."""
        under, task = self._pass, self._task
        self._pass = self._task = None
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if under is not None:
            under.close()
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _pause(self) -> None:
        self._close()
        self._save(state=PAUSED, paused_ms=now_ms())
        self.ctx.storage.delete_alarm()

    def _end(self, state: str, outcome: bytes) -> None:
        """The instance has come to an end."""
        self._close()
        try:
            self._kv.put("outcome", outcome)
        except StorageError:
            self._log.forget()  # the database is full: the steps make room
            self._kv.put("outcome", outcome)
        kept_until_ms = now_ms() + cast("Any", self._facts())["keep_ms"][state != COMPLETE]
        self._save(state=state, kept_until_ms=kept_until_ms)
        self._ring(kept_until_ms)

    # What it keeps

    def _facts(self) -> dict[str, Any] | None:
        return self._kv.get("facts")

    def _save(self, **changed: Any) -> None:
        self._kv.put("facts", {**cast("Any", self._facts()), **changed})

    def _came_further(self) -> None:
        """A step was written down, or the pass has come to where it only waits."""
        self._progress = True
        if cast("Any", self._facts())["cut"]:
            self._save(cut=0)

    def _ring(self, at_ms: int) -> None:
        """Set the alarm."""
        self._rings_ms = at_ms
        self.ctx.storage.set_alarm(at_ms)

    def _ring_by(self, at_ms: int | None) -> None:
        """Set it, if it would ring later."""
        if at_ms is not None and at_ms < self._rings_ms:
            self._ring(at_ms)


def workflow_objects(workflows: Mapping[str, WorkflowKind]) -> type[WorkflowObject]:
    """The class of the objects of an application's workflows."""

    class Instance(WorkflowObject):
        """One instance of them."""

        kinds = workflows

    return Instance


def _report(error: BaseException) -> None:
    """The application's code has raised: say where, in its log."""
    traceback.print_exception(error)
