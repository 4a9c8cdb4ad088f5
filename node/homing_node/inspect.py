"""Answers about objects and the node itself. Nothing here wakes an object."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING

from homing.errors import BadRequest, NotFound, NotOwner
from homing.ids import OBJECT_ID_BYTES, class_tag, slot_of
from homing.wire.v1 import call_pb2 as wire
from homing_node.log.shell import LogShell
from homing_node.log.store import Store
from homing_node.objects import limits
from homing_node.objects.activation import Activation
from homing_node.objects.host import ObjectHost
from homing_node.objects.images import PAGE_BYTES, start, turns
from homing_node.objects.turn_record import ObjectMeta, decode_meta
from homing_node.outside import NO_OBJECT
from homing_node.settings import NodeSettings, host_name

if TYPE_CHECKING:
    from homing_node.workforce import Workforce

_VERSION = version("homing")  # once: it is looked up on disk, and what it finds there stays in memory


class Inspector:
    """Serves `Calls/Inspect`.

    Args:
        settings: of this node.
        log, store, host: where the facts are.
        workforce: knows the workers, and what their code is.
        metrics_address: gives host:port of the metrics endpoint.
    """

    def __init__(
        self,
        settings: NodeSettings,
        log: LogShell,
        store: Store,
        host: ObjectHost,
        workforce: Workforce,
        metrics_address: Callable[[], str],
    ) -> None:
        self._settings, self._log, self._store, self._host = settings, log, store, host
        self._workforce, self._metrics_address = workforce, metrics_address

    async def __call__(self, request: wire.InspectRequest) -> wire.InspectReply:
        """Answer one question.

        Raises:
            NotFound: there is no such object.
            NotOwner: this node does not serve its slot.
            BadRequest: no known question.
        """
        what = request.WhichOneof("what")
        if what == "object":
            return self._object(request.object)
        if what == "list":
            return await self._list(request.list)
        if what == "node":
            return wire.InspectReply(node=self._node())
        if what == "any":
            return await self._any()
        raise BadRequest("the request asks nothing that this version knows")

    def _object(self, asked: wire.InspectObject) -> wire.InspectReply:
        if len(asked.object) != OBJECT_ID_BYTES:
            raise BadRequest(f"an object id is {OBJECT_ID_BYTES} bytes")
        if not self._log.core.serving(asked.slot):
            raise NotOwner(f"slot {asked.slot} is not served here")
        act = self._host.objects.get(asked.object)
        if act is not None:
            facts = wire.ObjectFacts(
                object=act.object, class_name=act.class_name, name=act.name or "", active=True,
                database_bytes=act.database_bytes, alarm_ms=act.wake_ms,
                sockets=self._host.sockets.count(act.object), used_ms=_used_ms(act),
            )  # fmt: skip
            return wire.InspectReply(objects=[facts])
        fold = start(self._store.object(asked.object))
        for object_id, at_ms, body in turns(self._log.records_above_pages(asked.slot)):
            if object_id == asked.object:
                fold.take(body, at_ms, lambda number: self._store.page(asked.object, number))
        if not fold.exists:
            raise NotFound(NO_OBJECT)
        return wire.InspectReply(objects=[_facts(asked.object, fold.meta)])

    async def _list(self, asked: wire.ListObjects) -> wire.InspectReply:
        """Objects of a class in slots that this node serves, ascending by id."""
        await self._log.flushed()
        limit = max(1, min(asked.limit, limits.list_objects_max))
        tag = class_tag(asked.class_name)
        found: list[wire.ObjectFacts] = []
        after = asked.after
        while len(found) < limit:
            some = self._store.objects(after, limit, tag)
            for object_id, data in some:
                after = object_id
                if self._log.core.serving(slot_of(object_id, self._settings.slots)):
                    found.append(_facts(object_id, decode_meta(data), self._host.objects.get(object_id)))
                if len(found) == limit:
                    return wire.InspectReply(objects=found, next=after)
            if len(some) < limit:
                break
            await asyncio.sleep(0)
        return wire.InspectReply(objects=found)

    async def _any(self) -> wire.InspectReply:
        """One object of the slots that this node serves, or none."""
        await self._log.flushed()
        for slot in [slot for slot in self._log.core.owners if self._log.core.serving(slot)]:
            part = await self._log.part(slot, b"", 1)
            if part.objects:
                found = part.objects[0]
                return wire.InspectReply(objects=[_facts(found.object, decode_meta(found.data))])
        return wire.InspectReply()

    def _node(self) -> wire.NodeFacts:
        pids, classes, has_default = self._workforce.facts()
        return wire.NodeFacts(
            id=self._settings.node_id, host=host_name(), pid=os.getpid(), metrics=self._metrics_address(),
            version=_VERSION, worker_pids=pids, slots=self._slots(), classes=sorted(classes),
            has_default=has_default,
            serving=[wire.VersionShare(version=one, percent=percent) for percent, one in self._workforce.serving()],
        )  # fmt: skip

    def _slots(self) -> Iterable[wire.SlotFacts]:
        core = self._log.core
        for slot, replica in core.replicas.items():
            owner = core.owners.get(slot)
            yield wire.SlotFacts(
                slot=slot, epoch=owner.epoch if owner is not None else replica.promised,
                serving=core.serving(slot) > 0, last_lsn=replica.last_lsn, commit_lsn=replica.commit,
                applied_lsn=replica.base_lsn, lag_records=owner.lag() if owner is not None else 0,
            )  # fmt: skip


def _facts(object_id: bytes, meta: ObjectMeta, act: Activation | None = None) -> wire.ObjectFacts:
    return wire.ObjectFacts(
        object=object_id, class_name=meta.class_name, name=meta.name or "", active=act is not None,
        database_bytes=meta.page_count * PAGE_BYTES, alarm_ms=meta.wake_ms,
        sockets=len(meta.sockets.open) if meta.sockets is not None else 0,
        used_ms=meta.written_ms if act is None else _used_ms(act),
    )  # fmt: skip


def _used_ms(act: Activation) -> int:
    """When a call last came to it, by the clock on the wall."""
    return int(1_000 * (time.time() - (time.monotonic() - act.used_at)))
