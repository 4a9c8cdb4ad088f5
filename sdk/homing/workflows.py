"""What a workflow extends and is given: durable steps that run one after the other, or side by side, for days.

Names and meanings are those of https://developers.cloudflare.com/workflows/python/. See docs/workflows.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from homing.errors import DeadlineExceeded
from homing.objects import ExecutionContext, as_it_is


class NonRetryableError(Exception):
    """Raised in a step, it fails the step at once, whatever retries it has left."""


class WorkflowTimeoutError(DeadlineExceeded):
    """A step's attempt, or an event that is waited for, took longer than its timeout."""


@dataclass(frozen=True, slots=True)
class WorkflowEvent:
    """What an instance was created with.

    Attributes:
        payload: the `params`; an empty dict where there were none.
        timestamp: when it was created.
        instance_id: its id.
        workflow_name: of its workflow.
    """

    payload: Any
    timestamp: datetime
    instance_id: str
    workflow_name: str


@dataclass(frozen=True, slots=True)
class WorkflowStepEvent:
    """An event that was sent to an instance.

    Attributes:
        type: which it waited for.
        payload: what was sent with it.
        timestamp: when it was sent.
    """

    type: str
    payload: Any
    timestamp: datetime


class WorkflowEntrypoint:
    """The base of an application's workflows. Each instance runs `run` to its end, whatever dies meanwhile.

    `run` is begun anew after a crash, a move or a long sleep; steps that have ended are not run again, they give what
    they gave before. So what has an effect belongs into a step.

    Example:
        >>> class Greeting(WorkflowEntrypoint):
        ...     async def run(self, event, step):
        ...         @step.do()
        ...         async def name():
        ...             return event.payload["name"]
        ...
        ...         @step.do(config={"retries": {"limit": 3, "delay": "10 seconds"}})
        ...         async def greet(name):
        ...             return f"hello {name}"
        ...
        ...         await step.sleep("a while", "1 hour")
        ...         return await greet()
    """

    homing_base = True
    homing_adapt = staticmethod(as_it_is)

    ctx: ExecutionContext
    env: Any

    def __init__(self, ctx: ExecutionContext, env: Any) -> None:
        self.ctx = ctx
        self.env = env
