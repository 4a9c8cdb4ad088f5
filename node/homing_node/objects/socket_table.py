"""The table of a node's sockets: which there are, who holds them, and what was said and may not have arrived. Pure.

`sockets.py` says what becomes of events. Here are the two ends of what is said: it is kept for each socket, and goes to
whoever holds that, until it is known to be there. And here live sockets begin and end with their activations.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.socket_record import Said
from homing_node.objects.socket_state import GatewayPort, Kept, ObjectSockets, Socket, SocketHost

# Of RFC 6455, 7.4.1, and the registry that it opened.
GOING_AWAY, ABNORMAL, INTERNAL, RESTART, TRY_AGAIN = 1001, 1006, 1011, 1012, 1013


class SocketTable:
    """See the module.

    Args:
        host: has the gate that closes pass.
        now: seconds of a monotonic clock.
    """

    def __init__(self, host: SocketHost, now: float) -> None:
        self._host = host
        self._now = now
        self._objects: dict[bytes, ObjectSockets] = {}
        self._gateways: dict[GatewayPort, dict[int, tuple[ObjectSockets, Socket]]] = {}
        self._restless: dict[Socket, ObjectSockets] = {}  # those that wait for something, or for a gateway
        self._offers: dict[int, tuple[bytes, GatewayPort, int]] = {}  # connections to the outside, by their numbers

    # -- live sockets ---------------------------------------------------------------------------------------------

    def offer(self, object_id: bytes, number: int, gateway: GatewayPort, handle: int) -> None:
        """A connection to the outside stands; it is the object's socket of that number once that is accepted."""
        self._offers[number] = (object_id, gateway, handle)

    def withdraw(self, number: int) -> None:
        """Such a connection has ended before it was accepted."""
        self._offers.pop(number, None)

    def holds(self, object_id: bytes) -> bool:
        """Whether a client is connected to the running instance itself."""
        owner = self._objects.get(object_id)
        return owner is not None and any(each.live and not each.outside for each in owner.open.values())

    def asleep(self, object_id: bytes) -> None:
        """The object has no activation any more: its live sockets end, and without others it need not be known here."""
        for number, (owner_id, gateway, handle) in list(self._offers.items()):
            if owner_id == object_id:
                del self._offers[number]
                self._gone(gateway, handle, live=True)
        owner = self._objects.get(object_id)
        if owner is not None:
            self._end_live(owner)
            if not owner.open:
                del self._objects[object_id]

    def _gone(self, gateway: GatewayPort, handle: int, *, live: bool) -> None:
        """There is no such socket, or not any more."""
        code, reason = (
            (RESTART, "what was connected to has ended") if live else (GOING_AWAY, "its object does not have it")
        )
        gateway.tell(handle, wire.SOCKET_FRAME_GONE, code, reason)

    def _accept_live(self, owner: ObjectSockets, number: int) -> None:
        """A socket belongs to the activation from now on; if it is to the outside, what comes on it may come."""
        socket = owner.open[number] = Socket(number, [], since=self._now, live=True)
        self._objects[owner.object] = owner
        offered = self._offers.get(number)
        if offered is None or offered[0] != owner.object:
            self._restless[socket] = owner
            return
        _, gateway, handle = self._offers.pop(number)
        socket.gateway, socket.handle, socket.outside = gateway, handle, True
        self._gateways.setdefault(gateway, {})[handle] = (owner, socket)
        gateway.tell(handle, wire.SOCKET_FRAME_ATTACH)

    def _end_live(self, owner: ObjectSockets) -> None:
        for socket in [each for each in owner.open.values() if each.live]:
            gateway, handle = socket.gateway, socket.handle
            self._forget(owner, socket)
            self._detach(socket)
            if gateway is not None:
                self._gone(gateway, handle, live=True)

    # -- what is said ---------------------------------------------------------------------------------------------

    def close(self, owner: ObjectSockets, socket: Socket, code: int, reason: str) -> None:
        """Close a socket, on the node's own account, when all has left that was said before."""
        if socket.closing:
            return
        socket.closing = True
        said = Said(owner.next_seq(), wire.SOCKET_FRAME_CLOSE, [socket.number], [code, reason])
        self._leave_behind(owner, said)

    def _leave_behind(self, owner: ObjectSockets, said: Said) -> None:
        """Say something of the node's own. What is held has lower numbers: behind this a gateway would drop that."""
        say = partial(self._say, owner, [(said, False)])
        if owner.epoch:
            self._host.leave_behind(owner.slot, say)
        else:
            say()

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
        full: list[Socket] = []
        for said, recorded in all_said:
            handles: dict[GatewayPort, list[int]] = {}
            for socket in self._keep(owner, said, recorded=recorded):
                socket.closing = socket.closing or said.kind == wire.SOCKET_FRAME_CLOSE
                if socket.gateway is not None:
                    handles.setdefault(socket.gateway, []).append(socket.handle)
                if socket.unsent_bytes - _size(said) > limits.socket_unsent_bytes_max:  # one may be longer than that
                    full.append(socket)
            for gateway, each in handles.items():
                gateway.say(each, said)
        for socket in full:
            self.close(owner, socket, TRY_AGAIN, "it is read too slowly")

    def _had(self, owner: ObjectSockets, socket: Socket, seq: int) -> None:
        unsent = socket.unsent
        while unsent and unsent[0].said.seq <= seq:
            self._arrived(owner, socket, unsent.popleft())

    def _arrived(self, owner: ObjectSockets, socket: Socket, kept: Kept) -> None:
        socket.unsent_bytes -= _size(kept.said)
        kept.waiting -= 1
        if not kept.waiting and kept.recorded:
            owner.had.append(kept.said.seq)

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
