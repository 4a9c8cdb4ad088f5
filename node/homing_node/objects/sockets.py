"""The sockets of objects whose slots this node serves: what comes on them, and what objects say on them. Pure.

A gateway holds the connection and attaches it here. What comes is numbered by the gateway and sent again, to whoever
serves the object then, until it is handled; what is said has a number of this side's and is kept until the gateway has
it. Both drop what they know. Of a turn that wrote, all of that is in its record (`socket_record.py`); so what such a
turn said, and what it did with a message, happens once, whatever dies (docs/sockets.md). Live sockets are in no record:
they end with the activation that they belong to.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from homing.errors import NotOwner, ObjectReset, Overloaded, Unavailable
from homing.ids import OBJECT_ID_BYTES
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock
from homing_node.objects import limits
from homing_node.objects.socket_items import take_item
from homing_node.objects.socket_record import Said, SocketChanges, SocketsMeta
from homing_node.objects.socket_state import (
    Address,
    GatewayPort,
    ObjectSockets,
    Socket,
    SocketEvent,
    SocketHost,
    SocketTurn,
)
from homing_node.objects.socket_table import ABNORMAL, INTERNAL, TRY_AGAIN, SocketTable

_AGAIN = (NotOwner.code, Unavailable.code, ObjectReset.code)
_LAST = 1 << 64


class Sockets(SocketTable):
    """All sockets of a node's objects.

    Args:
        host: runs their events.
        clock: for what waits.
    """

    def __init__(self, host: SocketHost, clock: Clock) -> None:
        super().__init__(host, clock.monotonic_ns() * 1e-9)
        self._clock = clock
        self.running = 0  # events of sockets that are being handled

    # -- what gateways say ----------------------------------------------------------------------------------------

    def attach(self, gateway: GatewayPort, m: wire.FromSocket, epoch: int) -> None:
        """A gateway holds this socket; `epoch`: under which its slot is served here, or 0."""
        of_object = len(m.socket.object) == OBJECT_ID_BYTES
        if of_object and (not epoch or m.epoch != epoch):
            gateway.tell(m.handle, wire.SOCKET_FRAME_LOST)
            return
        owner = self._objects.get(m.socket.object)
        if owner is None and of_object and (found := self._host.sockets_meta(m.socket.object, m.slot)) is not None:
            owner = self._load((m.socket.object, m.slot, epoch, *found[:2]), found[2])
        socket = owner.open.get(m.socket.number) if owner is not None else None
        if owner is None or socket is None:
            gone = partial(self._gone, gateway, m.handle, live=m.socket.live)
            if of_object:
                self._host.when_settled(m.slot, gone)  # else what deleted the object may yet come to nothing
            else:
                gone()
            return
        self._detach(socket)
        socket.gateway, socket.handle = gateway, m.handle
        socket.base, socket.received = m.base, m.base - 1
        socket.handled = {seq for seq in socket.handled if seq >= m.base}
        socket.waiting = [event for event in socket.waiting if not event.seq]
        self._gateways.setdefault(gateway, {})[m.handle] = (owner, socket)
        gateway.tell(m.handle, wire.SOCKET_FRAME_ATTACH)
        self._had(owner, socket, m.had)
        for kept in socket.unsent:
            gateway.say((m.handle,), kept.said)

    def had(self, gateway: GatewayPort, handle: int, seq: int) -> None:
        """What was said on a socket up to a number has arrived."""
        found = self._gateways.get(gateway, {}).get(handle)
        if found is not None:
            self._had(*found, seq)

    def came(self, gateway: GatewayPort, m: wire.FromSocket, data: bytes) -> None:
        """A message came, or the socket was closed at the other side."""
        found = self._gateways.get(gateway, {}).get(m.handle)
        if found is None:
            return  # its slot was lost, and the gateway is about to know
        owner, socket = found
        socket.base = max(socket.base, m.base)
        if len(socket.handled) > limits.socket_handled_max:
            socket.handled = {seq for seq in socket.handled if seq >= socket.base}
        if m.seq <= socket.received:
            return
        socket.received = m.seq
        if m.seq in socket.running:
            return  # it came on a stream that broke, and goes on
        if m.seq in socket.handled:
            gateway.handled(m.handle, m.seq)
            return
        if m.kind == wire.SOCKET_FRAME_CLOSE:
            event = SocketEvent(
                owner, socket, wire.CALL_KIND_SOCKET_CLOSE, m.seq, b"", [socket.number, m.code, m.reason, m.clean]
            )
        elif self._is_auto(owner, socket, m, data):
            self._answer(owner, socket, m.seq)
            return
        else:
            text = m.kind == wire.SOCKET_FRAME_TEXT
            event = SocketEvent(owner, socket, wire.CALL_KIND_MESSAGE, m.seq, data, [socket.number, text])
        self._hand_over([event])

    def gateway_gone(self, gateway: GatewayPort) -> None:
        """A stream broke: its sockets wait for another one."""
        for owner, socket in self._gateways.pop(gateway, {}).values():
            socket.gateway, socket.since = None, self._now
            self._restless[socket] = owner

    # -- what objects do ------------------------------------------------------------------------------------------

    def opened(self, address: Address, meta: SocketsMeta | None) -> list[Any] | None:
        """What an activation that begins is told of its sockets; None: it has none."""
        owner = self._objects.get(address[0])
        if owner is None and meta is not None:
            owner = self._load(address, meta)
        if owner is None:
            return None
        known = [
            (each.number, each.tags, each.attachment, each.answered_ms, each.closing)
            for each in owner.open.values()
            if not each.live
        ]
        return [known, owner.auto or None]

    def turn(
        self,
        address: Address,
        said: Sequence[Sequence[Any]],
        runner: SocketEvent | None,
        ended: Iterable[SocketEvent],
    ) -> SocketTurn:
        """What a turn did, as its record will say it. Nothing happens yet.

        Args:
            address: of the object.
            said: what the worker's frame says (`workers.inside.sockets`).
            runner: what came on a socket and is being handled, if that is what runs.
            ended: what came on sockets, and was handled when this turn ended.

        Raises:
            ValueError, TypeError: it is not such a frame.
        """
        changes = SocketChanges()
        live: list[int] = []
        owner = self._objects.get(address[0])
        if owner is None and said:
            owner = ObjectSockets(*address)
        if owner is not None:
            for item in said:
                take_item(owner, changes, live, item)
        ends = [event.socket for event in ended if event.kind == wire.CALL_KIND_SOCKET_CLOSE]
        changes.closed = [socket.number for socket in ends if not socket.live]
        if runner is not None and runner.seq and not (runner.recorded or runner.socket.live):
            changes.handled.append((runner.socket.number, runner.seq, runner.socket.base))
        lasting = bool(changes.accepted or changes.attached or changes.closed or changes.auto is not None)
        if owner is not None:
            changes.had = owner.had.copy()
        all_said = [(each, not _only_live(owner, live, each.numbers)) for each in changes.said]
        changes.said = [each for each, kept in all_said if kept]
        return SocketTurn(owner, changes, live, all_said, lasting)

    def take(self, turn: SocketTurn, runner: SocketEvent | None, *, recorded: bool) -> Callable[[], None] | None:
        """The turn is done, and recorded if it is. What it said leaves when what is returned is called."""
        owner, changes = turn.owner, turn.changes
        if owner is None:
            return None
        if recorded:
            del owner.had[: len(changes.had)]
            if runner is not None and changes.handled:
                runner.recorded = True
                runner.socket.handled.add(runner.seq)
        for number, tags in changes.accepted:
            socket = owner.open[number] = Socket(number, list(tags), since=self._now)
            self._restless[socket] = owner
            self._objects[owner.object] = owner
        for number in turn.live:
            self._accept_live(owner, number)
        for number, data in changes.attached:
            if number in owner.open:
                owner.open[number].attachment = data
        if changes.auto is not None:
            owner.auto = changes.auto
            self._objects[owner.object] = owner
        if not turn.said:
            return None
        kept = [(each, recorded and lasts) for each, lasts in turn.said]
        return lambda: self._say(owner, kept)

    def over(self, event: SocketEvent, reply: wire.Reply) -> None:
        """An event has its end, or did not come so far."""
        self.running -= 1
        owner, socket = event.owner, event.socket
        socket.running.discard(event.seq)
        if self._objects.get(owner.object) is not owner or owner.open.get(socket.number) is not socket:
            return
        failure = reply.failure if reply.HasField("failure") else None
        if failure is not None and failure.code == Overloaded.code:
            self.close(owner, socket, TRY_AGAIN, "too much waits for this object")
        elif failure is not None and failure.code in _AGAIN and not event.recorded:
            if not (socket.live and failure.code == ObjectReset.code):  # else it is about to end, too
                self._again(event, at_once=failure.code == ObjectReset.code)
            return
        self._settle(event)

    # -- the slot -------------------------------------------------------------------------------------------------

    def lost(self, slot: int) -> None:
        """The slot is served elsewhere: gateways look for its owner."""
        for owner in [each for each in self._objects.values() if each.slot == slot and each.epoch]:
            self._end_live(owner)
            for gateway, handle in self._leave(owner):
                gateway.tell(handle, wire.SOCKET_FRAME_LOST)

    def forget(self, object_id: bytes) -> list[tuple[GatewayPort, int]]:
        """The object is no more, or another is in its place; returns who must close its sockets, as `_leave`."""
        owner = self._objects.get(object_id)
        return self._leave(owner) if owner is not None else []

    def _leave(self, owner: ObjectSockets) -> list[tuple[GatewayPort, int]]:
        """Know nothing of an object's sockets any more; returns the gateways that hold them, and their handles."""
        del self._objects[owner.object]
        left = [(each.gateway, each.handle) for each in owner.open.values() if each.gateway is not None]
        for socket in owner.open.values():
            self._detach(socket)
            self._restless.pop(socket, None)
        return left

    async def run(self) -> None:
        """Look after those that wait, until cancelled."""
        while True:
            await asyncio.sleep(limits.socket_tick_s)
            self.tick()

    def tick(self) -> None:
        """Try again what could not be handed over, and give up sockets that no gateway holds."""
        now = self._now = self._clock.monotonic_ns() * 1e-9
        for socket, owner in list(self._restless.items()):
            if socket.waiting and self._takes_events(owner):
                waiting, socket.waiting = socket.waiting, []
                self._hand_over(waiting)
            if socket.gateway is None and now - socket.since > limits.socket_reattach_s:
                socket.since = now
                details = [socket.number, ABNORMAL, "", False]
                self._hand_over([SocketEvent(owner, socket, wire.CALL_KIND_SOCKET_CLOSE, 0, b"", details)])
            if socket.gateway is not None and not socket.waiting:
                del self._restless[socket]

    def count(self, object_id: bytes) -> int:
        """How many sockets an object has."""
        owner = self._objects.get(object_id)
        return len(owner.open) if owner is not None else 0

    # -- within ---------------------------------------------------------------------------------------------------

    def _takes_events(self, owner: ObjectSockets) -> bool:
        return not owner.epoch or self._host.takes_events(owner.slot)

    def _is_auto(self, owner: ObjectSockets, socket: Socket, m: wire.FromSocket, data: bytes) -> bool:
        text = m.kind == wire.SOCKET_FRAME_TEXT and not socket.live
        return text and bool(owner.auto) and data == owner.auto[0].encode()

    def _load(self, address: Address, meta: SocketsMeta) -> ObjectSockets | None:
        if not (meta.open or meta.auto):
            return None
        owner = self._objects[address[0]] = ObjectSockets(*address, auto=meta.auto)
        for number, entry in meta.open.items():
            socket = owner.open[number] = Socket(
                number, entry.tags, entry.attachment, set(entry.handled), entry.closing, since=self._now
            )
            self._restless[socket] = owner
        for said in meta.said:
            self._keep(owner, said, recorded=True)
        return owner

    def _answer(self, owner: ObjectSockets, socket: Socket, seq: int) -> None:
        """Answer a message for the object, which sleeps on."""
        socket.answered_ms = self._clock.wall_ms()
        said = Said(owner.next_seq(), wire.SOCKET_FRAME_TEXT, [socket.number], owner.auto[1])
        self._leave_behind(owner, said)
        if socket.gateway is not None:
            socket.gateway.handled(socket.handle, seq)
        known = [(socket.number, socket.tags, socket.attachment, socket.answered_ms, socket.closing)]
        self._host.tell_sockets(owner.object, (known, None))

    def _hand_over(self, events: Sequence[SocketEvent]) -> None:
        """Give events of one socket to its object, in order; what cannot be given waits, and what comes after it."""
        for event in events:
            socket = event.socket
            if socket.waiting or not self._takes_events(event.owner):
                self._wait(event)
            else:
                socket.running.add(event.seq)
                self.running += 1
                self._host.on_socket(event, partial(self.over, event))

    def _wait(self, event: SocketEvent) -> None:
        socket = event.socket
        insort(socket.waiting, event, key=lambda each: each.seq or _LAST)
        self._restless[socket] = event.owner

    def _again(self, event: SocketEvent, *, at_once: bool) -> None:
        """It did not come to anything, and may be tried again."""
        event.tries += at_once
        if event.tries > limits.socket_tries_max:
            self.close(event.owner, event.socket, INTERNAL, "the object cannot handle a message")
            self._settle(event)
        elif at_once and not event.socket.waiting:
            self._hand_over([event])
        else:
            self._wait(event)

    def _settle(self, event: SocketEvent) -> None:
        owner, socket = event.owner, event.socket
        if event.kind == wire.CALL_KIND_SOCKET_CLOSE:
            self._forget(owner, socket)
        if event.seq and socket.gateway is not None:
            socket.gateway.handled(socket.handle, event.seq)
        if event.kind == wire.CALL_KIND_SOCKET_CLOSE:
            if not event.seq and socket.gateway is not None:  # it came while its object heard that nobody does
                self._gone(socket.gateway, socket.handle, live=socket.live)
            self._detach(socket)


def _only_live(owner: ObjectSockets | None, new: list[int], numbers: Sequence[int]) -> bool:
    """Whether something is said on live sockets only."""
    known = owner.open if owner is not None else {}
    return all(number in new or (number in known and known[number].live) for number in numbers)
