"""The sockets of objects whose slots this node serves: what comes on them, and what objects say on them. Pure.

A gateway holds the connection and attaches it here. What comes is numbered by the gateway and sent again, to whoever
serves the object then, until it is handled; what is said has a number of this side's and is kept until the gateway has
it. Both drop what they know. Of a turn that wrote, all of that is in its record (`socket_record.py`); so what such a
turn said, and what it did with a message, happens once, whatever dies (docs/sockets.md).
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from homing.errors import NotOwner, ObjectReset, Overloaded, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node.clock import Clock
from homing_node.objects import limits
from homing_node.objects.socket_items import take_item
from homing_node.objects.socket_record import Said, SocketChanges, SocketsMeta
from homing_node.objects.socket_state import (
    Address,
    GatewayPort,
    Kept,
    ObjectSockets,
    Socket,
    SocketEvent,
    SocketTurn,
)

_AGAIN = (NotOwner.code, Unavailable.code, ObjectReset.code)
ABNORMAL, INTERNAL, TRY_AGAIN = 1006, 1011, 1013  # of RFC 6455, 7.4.1, and the registry that it opened
_LAST = 1 << 64


class SocketHost(Protocol):
    """What the table needs of the object host."""

    def on_socket(self, event: SocketEvent, reply: Callable[[wire.Reply], None]) -> None:
        """Run an event of a socket as a call."""
        ...

    def sockets_meta(self, object_id: bytes, slot: int) -> tuple[str, str | None, SocketsMeta] | None:
        """Class, name and sockets of an object, as the log and the store have them; None: there is no such object."""
        ...

    def takes_events(self, slot: int) -> bool:
        """Whether the slot is served and does not rest."""
        ...

    def tell_sockets(self, object_id: bytes, frame: tuple[Any, ...]) -> None:
        """Tell the object's activation, if there is one, of a change."""
        ...


class Sockets:
    """All sockets of a node's objects.

    Args:
        host: runs their events.
        clock: for what waits.
    """

    def __init__(self, host: SocketHost, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._objects: dict[bytes, ObjectSockets] = {}
        self._gateways: dict[GatewayPort, dict[int, tuple[ObjectSockets, Socket]]] = {}
        self._now = clock.monotonic_ns() * 1e-9
        self._restless: dict[Socket, ObjectSockets] = {}  # those that wait for something, or for a gateway
        self.running = 0  # events of sockets that objects handle

    # -- what gateways say ----------------------------------------------------------------------------------------

    def attach(self, gateway: GatewayPort, m: wire.FromSocket, epoch: int) -> None:
        """A gateway holds this socket; `epoch`: under which its slot is served here, or 0."""
        if not epoch or m.epoch != epoch:
            gateway.tell(m.handle, wire.SOCKET_FRAME_LOST)
            return
        owner = self._objects.get(m.socket.object)
        if owner is None and (found := self._host.sockets_meta(m.socket.object, m.slot)) is not None:
            owner = self._load((m.socket.object, m.slot, epoch, *found[:2]), found[2])
        socket = owner.open.get(m.socket.number) if owner is not None else None
        if owner is None or socket is None:
            gateway.tell(m.handle, wire.SOCKET_FRAME_GONE)
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
        elif owner.auto and m.kind == wire.SOCKET_FRAME_TEXT and data == owner.auto[0].encode():
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
            (each.number, each.tags, each.attachment, each.answered_ms, each.closing) for each in owner.open.values()
        ]
        return [known, owner.auto or None]

    def asleep(self, object_id: bytes) -> None:
        """The object has no activation any more: of one without sockets nothing need be known here."""
        owner = self._objects.get(object_id)
        if owner is not None and not owner.open:
            del self._objects[object_id]

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
        owner = self._objects.get(address[0])
        if owner is None and said:
            owner = ObjectSockets(*address)
        if owner is not None:
            for item in said:
                take_item(owner, changes, item)
        changes.closed = [event.socket.number for event in ended if event.kind == wire.CALL_KIND_SOCKET_CLOSE]
        if runner is not None and runner.seq and not runner.recorded:
            changes.handled.append((runner.socket.number, runner.seq, runner.socket.base))
        lasting = bool(changes.accepted or changes.attached or changes.closed or changes.auto is not None)
        if owner is not None:
            changes.had = owner.had.copy()
        return SocketTurn(owner, changes, lasting)

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
        for number, data in changes.attached:
            if number in owner.open:
                owner.open[number].attachment = data
        if changes.auto is not None:
            owner.auto = changes.auto
            self._objects[owner.object] = owner
        if not changes.said:
            return None
        kept = [(each, recorded) for each in changes.said]
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
            self._again(event, at_once=failure.code == ObjectReset.code)
            return
        self._settle(event)

    # -- the slot -------------------------------------------------------------------------------------------------

    def lost(self, slot: int) -> None:
        """The slot is served elsewhere: gateways look for its owner."""
        for owner in [each for each in self._objects.values() if each.slot == slot]:
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
            if socket.waiting and self._host.takes_events(owner.slot):
                waiting, socket.waiting = socket.waiting, []
                self._hand_over(waiting)
            if socket.gateway is None and now - socket.since > limits.socket_reattach_s:
                socket.since = now
                details = [socket.number, ABNORMAL, "", False]
                self._hand_over([SocketEvent(owner, socket, wire.CALL_KIND_SOCKET_CLOSE, 0, b"", details)])
            if socket.gateway is not None and not socket.waiting:
                del self._restless[socket]

    def close(self, owner: ObjectSockets, socket: Socket, code: int, reason: str) -> None:
        """Close a socket, on the node's own account."""
        if not socket.closing:
            socket.closing = True
            self._say(
                owner, [(Said(owner.next_seq(), wire.SOCKET_FRAME_CLOSE, [socket.number], [code, reason]), False)]
            )

    def count(self, object_id: bytes) -> int:
        """How many sockets an object has."""
        owner = self._objects.get(object_id)
        return len(owner.open) if owner is not None else 0

    # -- within ---------------------------------------------------------------------------------------------------

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

    def _keep(self, owner: ObjectSockets, said: Said, *, recorded: bool) -> list[Socket]:
        sockets = [owner.open[number] for number in said.numbers if number in owner.open]
        kept = Kept(said, len(sockets), recorded)
        size = _size(said)
        for socket in sockets:
            socket.unsent.append(kept)
            socket.unsent_bytes += size
        return sockets

    def _say(self, owner: ObjectSockets, all_said: Iterable[tuple[Said, bool]]) -> None:
        """Nothing holds it any more: keep it, and send it to every gateway once."""
        if self._objects.get(owner.object) is not owner:
            return
        for said, recorded in all_said:
            handles: dict[GatewayPort, list[int]] = {}
            for socket in self._keep(owner, said, recorded=recorded):
                socket.closing = socket.closing or said.kind == wire.SOCKET_FRAME_CLOSE
                if socket.gateway is not None:
                    handles.setdefault(socket.gateway, []).append(socket.handle)
                if socket.unsent_bytes - _size(said) > limits.socket_unsent_bytes_max:  # one may be longer than that
                    self.close(owner, socket, TRY_AGAIN, "it is read too slowly")
            for gateway, each in handles.items():
                gateway.say(each, said)

    def _had(self, owner: ObjectSockets, socket: Socket, seq: int) -> None:
        unsent = socket.unsent
        while unsent and unsent[0].said.seq <= seq:
            self._arrived(owner, socket, unsent.popleft())

    def _arrived(self, owner: ObjectSockets, socket: Socket, kept: Kept) -> None:
        socket.unsent_bytes -= _size(kept.said)
        kept.waiting -= 1
        if not kept.waiting and kept.recorded:
            owner.had.append(kept.said.seq)

    def _answer(self, owner: ObjectSockets, socket: Socket, seq: int) -> None:
        """Answer a message for the object, which sleeps on."""
        socket.answered_ms = self._clock.wall_ms()
        self._say(owner, [(Said(owner.next_seq(), wire.SOCKET_FRAME_TEXT, [socket.number], owner.auto[1]), False)])
        if socket.gateway is not None:
            socket.gateway.handled(socket.handle, seq)
        known = [(socket.number, socket.tags, socket.attachment, socket.answered_ms, socket.closing)]
        self._host.tell_sockets(owner.object, (known, None))

    def _hand_over(self, events: Sequence[SocketEvent]) -> None:
        """Give events of one socket to its object, in order; what cannot be given waits, and what comes after it."""
        for event in events:
            socket = event.socket
            if socket.waiting or not self._host.takes_events(event.owner.slot):
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
            self._detach(socket)

    def _forget(self, owner: ObjectSockets, socket: Socket) -> None:
        owner.open.pop(socket.number, None)
        self._restless.pop(socket, None)
        while socket.unsent:
            self._arrived(owner, socket, socket.unsent.popleft())

    def _detach(self, socket: Socket) -> None:
        if socket.gateway is not None:
            mine = self._gateways.get(socket.gateway, {})
            if mine.get(socket.handle, (None, None))[1] is socket:
                del mine[socket.handle]
            socket.gateway, socket.since = None, self._now


def _size(said: Said) -> int:
    return 64 + (len(said.data) if isinstance(said.data, str | bytes) else 0)
