"""`workflows`: what an application creates instances of its workflows with, and asks them for what they have come to.

Each instance is one object, of the class `homing.workflow` (`workflow_object.py`). Names, shapes and limits are those
of https://developers.cloudflare.com/workflows/build/workers-api/.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from homing.bindings import workflow_rules as rules
from homing.bindings.workflow_log import DO
from homing.errors import BadRequest, NotFound
from homing.stubs import Caller, DurableObjectNamespace

WORKFLOW_CLASS = "homing.workflow"


class _New(NamedTuple):
    """An instance that is to be."""

    id: str
    params: bytes
    keep_ms: list[int]


class Workflow:
    """A workflow, `env.NAME`. Every method is awaited.

    Args:
        caller: takes the calls.
        name: of the workflow; applications that name the same share its instances.

    Example:
        >>> instance = await self.env.ORDERS.create(id="17", params={"items": 2})  # doctest: +SKIP
        >>> (await instance.status())["status"]  # doctest: +SKIP
        'queued'
    """

    def __init__(self, caller: Caller, name: str) -> None:
        self._objects = DurableObjectNamespace(caller, WORKFLOW_CLASS)
        self._name = name

    async def create(
        self,
        *,
        id: str | None = None,  # noqa: A002 - callers name it as the reference does
        params: Any = None,
        retention: Mapping[str, Any] | None = None,
    ) -> WorkflowInstance:
        """Begin an instance.

        Args:
            id: at most 100 letters, digits, `_` and `-`; by default one is made.
            params: its event's payload; by default an empty dict.
            retention: how long it is kept when it has ended: `{"successRetention", "errorRetention"}`, durations;
                each is 30 days by default.

        Raises:
            BadRequest: an instance with this id exists, or it cannot be one.
            TooLarge: params of more than 1 MiB.
            TypeError, ValueError: params that cannot be kept.
        """
        made = _new(id, params, retention)
        if refused := await self._create(made):
            raise BadRequest(refused)
        return self._instance(made.id)

    async def create_batch(self, batch: Sequence[Mapping[str, Any]]) -> list[WorkflowInstance]:
        """Begin up to 100 instances, each with the options of `create`; those whose id exists are left out.

        Raises:
            BadRequest: none, or too many; or an id that cannot be one.
            TooLarge, TypeError, ValueError: as `create`; then none is begun.
        """
        if not batch:
            raise BadRequest("WorkflowError: batchCreate should have at least 1 instance")
        if len(batch) > rules.BATCH_MAX:
            raise BadRequest(f"WorkflowError: batchCreate only supports {rules.BATCH_MAX} instances at a time")
        made = [_new(each.get("id"), each.get("params"), each.get("retention")) for each in batch]
        once: dict[str, _New] = {}
        for each in made:
            once.setdefault(each.id, each)
        refused = await asyncio.gather(*map(self._create, once.values()))
        return [self._instance(instance_id) for instance_id, why in zip(once, refused, strict=True) if not why]

    async def get(self, instance_id: str) -> WorkflowInstance:
        """An instance that exists, or has not been gone for long.

        Raises:
            NotFound: there is none.
        """
        if not rules.is_identifier(instance_id):
            raise NotFound(rules.NOT_FOUND)
        instance = self._instance(instance_id)
        await instance.status()
        return instance

    async def _create(self, made: _New) -> str:
        return await self._object(made.id).create(self._name, *made)

    def _instance(self, instance_id: str) -> WorkflowInstance:
        return WorkflowInstance(self._object(instance_id), instance_id)

    def _object(self, instance_id: str) -> Any:
        return self._objects.get_by_name(f"{self._name}/{instance_id}")


class WorkflowInstance:
    """One instance. Every method is awaited, and raises `NotFound` if it is gone.

    Args:
        stub: of its object.
        instance_id: its id.

    Attributes:
        id: its id.
    """

    def __init__(self, stub: Any, instance_id: str) -> None:
        self._object = stub
        self.id = instance_id

    async def status(self) -> dict[str, Any]:
        """What it has come to: `{"status", "error": {"name", "message"} or None, "output", "rollback": None}`.

        The status is queued, running, waiting (for a time or an event), waitingForPause, paused, complete, errored or
        terminated.
        """
        found = await self._object.status()
        if found is None:
            raise NotFound(rules.NOT_FOUND)
        return found

    async def pause(self) -> None:
        """Let no further step begin; those that run end first."""
        _check(await self._object.pause())

    async def resume(self) -> None:
        """Let it go on; raises `BadRequest` if it is not paused."""
        _check(await self._object.resume())

    async def terminate(self, *, rollback: bool = False) -> None:
        """End it; raises `BadRequest` if it has ended.

        Args:
            rollback: run what steps have for it first; the Python API has no such thing.
        """
        _check(await self._object.terminate())

    async def restart(self, **options: Any) -> None:
        """Begin it anew, with what it was created with.

        Args:
            options: `from` (or `from_`): the step to begin at, `{"name", "count", "type"}`; the steps before it keep
                what they gave. The count is 1 by default, and the type "do".

        Raises:
            BadRequest: it has come to no such step.
        """
        step: Mapping[str, Any] = options.get("from") or options.get("from_") or {}
        if not step:
            _check(await self._object.restart())
            return
        _check(await self._object.restart(step["name"], int(step.get("count", 1)), step.get("type", DO)))

    async def send_event(self, *, type: str, payload: Any = None) -> None:  # noqa: A002 - as above
        """Send it an event, for the step that waits for this type, or will.

        Args:
            type: at most 100 letters, digits, `_` and `-`.
            payload: what the step gets; at most 1 MiB.

        Raises:
            BadRequest: the instance has ended, or that is no type.
            TooLarge, TypeError, ValueError: a payload that cannot be kept.
        """
        _check(await self._object.send_event(rules.checked_type(type), rules.packed(payload, "the payload")))

    async def delete(self) -> None:
        """End it, and forget it."""
        _check(await self._object.delete())


def _new(instance_id: object, params: Any, retention: Mapping[str, Any] | None) -> _New:
    made = str(uuid.uuid4()) if instance_id is None else instance_id
    if not rules.is_identifier(made):
        raise BadRequest("(instance.invalid_id) Workflow instance has invalid id")
    kept = retention or {}
    keep_ms = [
        rules.duration_ms(kept.get(name, rules.KEEP_MS_DEFAULT)) for name in ("successRetention", "errorRetention")
    ]
    return _New(str(made), rules.packed({} if params is None else params, "params"), keep_ms)


def _check(refused: str) -> None:
    if refused == rules.NOT_FOUND:
        raise NotFound(refused)
    if refused:
        raise BadRequest(refused)
