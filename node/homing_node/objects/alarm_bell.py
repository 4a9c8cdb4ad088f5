"""Wakes objects for their alarms: an ALARM event goes the way of a call, and so do its writes and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import structlog

from homing.errors import StoreFailed
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock
from homing_node.log.store import Store
from homing_node.objects import limits
from homing_node.objects.alarm_clock import AlarmClock
from homing_node.objects.images import turns
from homing_node.objects.ports import CallTarget, LogPort
from homing_node.objects.turn_record import decode_meta

_log = structlog.stdlib.get_logger("homing.objects")


class AlarmBell:
    """The alarms of a node; see `AlarmClock`.

    Args:
        log: has the records that pages do not hold yet.
        store: has the times in order, and what is known of objects.
        clock: of the node.
        host: runs the events.
    """

    def __init__(self, log: LogPort, store: Store, clock: Clock, host: CallTarget) -> None:
        self._log, self._store, self._clock, self._host = log, store, clock, host
        self._times = AlarmClock(self._read, self._changes)
        self.serve, self.end, self.turned = self._times.serve, self._times.end, self._times.turned

    async def run(self) -> None:
        """Ring what is due, until cancelled. Never early: a wall clock that is put back puts alarms off."""
        while True:
            self.tick()
            await asyncio.sleep(limits.alarm_tick_s)

    def tick(self) -> None:
        """Ring what is due now."""
        now_ms = self._clock.wall_ms()
        if self._times.next_ms() > now_ms:
            return
        for slot, object_id in self._times.due(now_ms):
            event = self._event(slot, object_id)
            done = partial(self._rang, slot, object_id)
            if event is None:
                done(wire.Reply(failure=wire.Failure()))
            else:
                self._host.call(event, done)

    def _rang(self, slot: int, object_id: bytes, reply: wire.Reply) -> None:
        self._times.rang(slot, object_id, self._clock.wall_ms(), well=not reply.HasField("failure"))

    def _event(self, slot: int, object_id: bytes) -> wire.Call | None:
        """The event for an object; None: it cannot be found now."""
        found = self._name_of(slot, object_id)
        if found is None:
            return None
        class_name, name = found
        return wire.Call(
            slot=slot, epoch=self._log.serving(slot), object=object_id, class_name=class_name, name=name,
            kind=wire.CALL_KIND_ALARM,
        )  # fmt: skip

    def _name_of(self, slot: int, object_id: bytes) -> tuple[str, str] | None:
        """Class and name, from what pages hold or from the first record of an object that has no pages yet."""
        try:
            stored = self._store.object(object_id)
        except StoreFailed as error:
            _log.error("an alarm cannot ring", object=object_id.hex(), slot=slot, error=str(error))
            return None
        if stored is not None:
            meta = decode_meta(stored)
            return meta.class_name, meta.name or ""
        for found, _, body in turns(self._log.records_above_pages(slot)):
            if found == object_id and body.class_name:
                return body.class_name, body.name or ""
        return None

    def _read(self, slot: int, count: int) -> list[tuple[int, bytes]]:
        try:
            return self._store.wakes(slot, count)
        except StoreFailed as error:
            _log.error("alarms cannot be read", slot=slot, error=str(error))
            self._log.resign(slot, "its alarms cannot be read")
            return []

    def _changes(self, slot: int) -> Iterator[tuple[bytes, int]]:
        for object_id, _, body in turns(self._log.records_above_pages(slot)):
            if body.wake_ms is not None:
                yield object_id, body.wake_ms
