"""Deleting an object: nothing of it is left, nothing of it runs on, and it is done when it is committed.

Each test was seen to fail with what it is about removed from `deletions.py`, `outside.py` or `images.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backup_world import BackupWorld, contents, page
from homing.errors import BadRequest, NotFound, NotOwner, Unavailable
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.clock import SystemClock
from homing_node.deletions import Deletions
from homing_node.objects.socket_record import Said
from homing_node.workers.inside import channel

A, B = (ObjectId.from_name("Counter", name).raw for name in "ab")


async def delete(world: BackupWorld, object_id: bytes = A, slot: int = 0) -> wire.DeleteReply:
    """Delete it; the worker says at once that what it is told to abort has ended."""
    asked = wire.DeleteRequest(slot=slot, object=object_id)
    running = asyncio.ensure_future(Deletions(world.outside, world.host)(asked))
    while not running.done():
        world.closed()
        await asyncio.sleep(0.002)
    return running.result()


async def test_what_was_there_is_gone_and_a_new_object_begins() -> None:
    world = await BackupWorld().start()
    for flush in (False, True):
        await world.write("a", 1, count=5)
        await world.write("b", 2)
        if flush:
            await world.log.flushed()
        await delete(world)
        with pytest.raises(NotFound):
            await world.read("a")
        assert world.outside.meta(0, A) is None
        with pytest.raises(NotFound):
            await delete(world)
        opens = len(world.worker.frames(1))
        assert (await world.write("a", 9)).body == b"9"
        opened = world.worker.frames(1)[opens]
        assert (opened[3], opened[5:]) == (A, (0, b"")), "it begins without pages"
        assert contents(await world.read("a")) == {A: page(9)}
        assert A not in world.host.shut


async def test_a_call_that_runs_is_ended_and_writes_nothing_more() -> None:
    """Seen to fail, with the turn after the deletion in the log, when the activation is not ended first."""
    world = await BackupWorld().start()
    await world.write("a", 1)
    call = world.call("a")
    await world.until(lambda: len(world.worker.frames(3)) == 2)
    running = asyncio.ensure_future(Deletions(world.outside, world.host)(wire.DeleteRequest(slot=0, object=A)))
    await world.until(lambda: world.worker.frames(5))
    assert world.core.replica(0).last_lsn == 2, "nothing is written while it may still run"
    waits = world.call("a")
    world.closed()
    await running
    assert (await world.answered(call)).failure.code == "object-reset"
    assert (await world.answered(waits)).failure.code == "unavailable", "it comes again, and finds a new object"
    assert not world.host.objects


async def test_an_object_that_has_written_nothing_can_be_deleted_too() -> None:
    world = await BackupWorld().start()
    world.call("a")
    await world.until(lambda: world.worker.frames(3))
    await delete(world)
    assert not world.host.objects
    assert world.core.replica(0).last_lsn == 1, "there is nothing to record"


async def test_its_alarm_does_not_ring() -> None:
    world = await BackupWorld().start()
    soon = SystemClock.wall_ms() + 60
    await world.write("a", 1, wake_ms=soon)
    await world.write("b", 1, wake_ms=soon)
    await delete(world)
    await world.until(lambda: SystemClock.wall_ms() > soon)
    world.host.bell.tick()
    await world.until(lambda: alarms(world))
    assert {event[1] for event in alarms(world)} == {world.host.objects[B].id}
    await world.log.flushed()
    assert [found for _, found in world.store.wakes(0, 9)] == [B]


def alarms(world: BackupWorld) -> list[tuple[Any, ...]]:
    return [event for event in world.worker.frames(channel.EVENT) if event[3] == channel.ALARM]


class Gateway:
    """One that holds a socket."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, int]] = []

    def say(self, handles: Sequence[int], said: Said) -> None: ...

    def tell(self, handle: int, kind: wire.SocketFrame, code: int = 0, reason: str = "") -> None:
        self.told.append((handle, wire.SocketFrame.Name(kind).removeprefix("SOCKET_FRAME_"), code))

    def handled(self, handle: int, seq: int) -> None: ...


async def test_its_sockets_are_closed_when_it_is_committed() -> None:
    world = await BackupWorld().start()
    await world.write("a", 1)
    act = world.host.objects[A]
    accepted = world.host.sockets.turn(act.address, [[1, 77, []]], None, ())
    world.host.sockets.take(accepted, None, recorded=True)
    gateway = Gateway()
    socket = wire.SocketRef(class_name="Counter", object=A, name="a", number=77)
    attach = wire.FromSocket(handle=5, kind=wire.SOCKET_FRAME_ATTACH, base=1, socket=socket, slot=0, epoch=1)
    world.host.attach_socket(gateway, attach)
    assert gateway.told == [(5, "ATTACH", 0)]
    await delete(world)
    assert gateway.told[1:] == [(5, "GONE", 1001)]
    assert not world.host.objects, "nobody is woken to hear of it"


async def half_deleted(monkeypatch: pytest.MonkeyPatch) -> tuple[BackupWorld, asyncio.Future[Any]]:
    """An object's deletion is in the log and not committed."""
    world = await BackupWorld().start()
    await world.write("a", 1)
    world.host.evictions.end(A, "for the test")
    world.closed()
    monkeypatch.setattr(world.log, "_flush", lambda: None)  # nothing is written from here on
    running = asyncio.ensure_future(Deletions(world.outside, world.host)(wire.DeleteRequest(slot=0, object=A)))
    await world.until(lambda: world.host.gate.slots[0].held)
    return world, running


async def half_deleted_with_a_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[BackupWorld, asyncio.Future[Any], Gateway]:
    """And a gateway comes that holds a socket of it."""
    world, running = await half_deleted(monkeypatch)
    gateway = Gateway()
    socket = wire.SocketRef(class_name="Counter", object=A, name="a", number=77)
    attach = wire.FromSocket(handle=5, kind=wire.SOCKET_FRAME_ATTACH, base=1, socket=socket, slot=0, epoch=1)
    world.host.attach_socket(gateway, attach)
    assert gateway.told == []
    return world, running, gateway


async def test_a_gateway_that_comes_later_is_told_the_same_and_not_before_it_is_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen to fail when such a gateway is told no code: its client was closed with 1011."""
    world, running, gateway = await half_deleted_with_a_socket(monkeypatch)
    monkeypatch.undo()
    world.log._flush()
    await running
    assert gateway.told == [(5, "GONE", 1001)]
    assert not world.host.objects, "nobody is woken to hear of it"


async def test_a_deletion_that_is_not_committed_closes_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its slot is lost before. Seen to fail when the answer to who comes does not wait for what is in the log."""
    world, running, gateway = await half_deleted_with_a_socket(monkeypatch)
    world.host.lost(0, 1, "because")
    with pytest.raises(NotOwner):
        await running
    assert gateway.told == [], "whoever owns the slot next says what is so"


async def test_only_the_owner_deletes_and_only_one_at_a_time() -> None:
    world = await BackupWorld().start()
    await world.write("a", 1)
    with pytest.raises(BadRequest):
        await delete(world, b"short")
    world.host.shut.add(A)
    with pytest.raises(Unavailable, match="already"):
        await delete(world)
    world.host.shut.clear()
    world.log.resign(0, "because")
    with pytest.raises(NotOwner):
        await delete(world)


async def test_an_activation_that_does_not_end_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "restore_patience_s", 0.05)
    world = await BackupWorld().start()
    await world.write("a", 1)
    with pytest.raises(Unavailable, match="did not end in time"):
        await Deletions(world.outside, world.host)(wire.DeleteRequest(slot=0, object=A))
    world.closed()
    assert contents(await world.read("a")) == {A: page(1)}
    assert not world.host.shut


async def test_a_slot_that_is_lost_before_the_commit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be deleted or not: whoever asked asks its next owner."""
    world, running = await half_deleted(monkeypatch)
    world.host.lost(0, 1, "because")
    with pytest.raises(NotOwner):
        await running
