"""What a node knows of the sockets of its objects. State only; no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.socket_record import Said, SocketChanges, SocketsMeta


class GatewayPort(Protocol):
    """Who holds connections: one gateway's stream, or what connects to the outside. Handles are its own."""

    def say(self, handles: Sequence[int], said: Said) -> None:
        """Pass on what an object says."""
        ...

    def tell(self, handle: int, kind: wire.SocketFrame, code: int = 0, reason: str = "") -> None:
        """ATTACH, LOST or GONE; with a code, GONE says what to close with."""
        ...

    def handled(self, handle: int, seq: int) -> None:
        """What came with that number was handled."""
        ...


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

    def when_settled(self, slot: int, send: Callable[[], None]) -> None:
        """Let something be told that the slot's log says, when all of that is committed and the epoch confirmed."""
        ...

    def leave_behind(self, slot: int, send: Callable[[], None]) -> None:
        """Let an effect leave that depends on nothing, behind those of the slot that are held."""
        ...


@dataclass(slots=True)
class Kept:
    """Something said, until everybody has it."""

    said: Said
    waiting: int
    recorded: bool


@dataclass(slots=True, eq=False)
class Socket:
    """One socket of an object.

    Invariants: `unsent` and `waiting` are in the order of numbers; a message is handed to the object only if those
    before were.

    Attributes:
        live: it is the running instance's, and ends with it; no record says anything of it.
        outside: it is live, and its other end is a server that the object connected to.
    """

    number: int
    tags: list[str]
    attachment: bytes | None = None
    handled: set[int] = field(default_factory=set[int])
    closing: bool = False
    gateway: GatewayPort | None = None
    handle: int = 0
    since: float = 0.0  # when it was last without a gateway
    received: int = 0  # the highest number that came on this gateway's stream
    base: int = 0
    unsent: deque[Kept] = field(default_factory=deque[Kept])  # what the gateway may not have
    unsent_bytes: int = 0
    waiting: list[SocketEvent] = field(default_factory=list[Any])  # cannot be handed over just now
    running: set[int] = field(default_factory=set[int])  # numbers of what was handed over and has no end yet
    answered_ms: int = 0
    live: bool = False
    outside: bool = False


@dataclass(slots=True, eq=False)
class SocketEvent:
    """What came on a socket, for its object.

    Attributes:
        details: what the worker is told of it (`workers.inside.calls.prepare_socket`).
        seq: its number; 0: it is of this node's own making.
    """

    owner: ObjectSockets
    socket: Socket
    kind: wire.CallKind
    seq: int
    data: bytes
    details: list[Any]
    tries: int = 0
    recorded: bool = False

    def as_call(self) -> wire.Call:
        """The call that it is for its object."""
        owner = self.owner
        return wire.Call(
            slot=owner.slot, epoch=owner.epoch, object=owner.object, class_name=owner.class_name,
            name=owner.name or "", kind=self.kind, body=self.data,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class ObjectSockets:
    """The sockets of one object, or those of the entrypoint in one worker.

    Attributes:
        object: its id; of an entrypoint a key that is shorter.
        slot, epoch: under which it is served; an entrypoint has none: 0.
    """

    object: bytes
    slot: int
    epoch: int
    class_name: str
    name: str | None
    open: dict[int, Socket] = field(default_factory=dict[int, Socket])
    auto: list[str] = field(default_factory=list[str])
    had: list[int] = field(default_factory=list[int])  # recorded, arrived, and not yet recorded as such
    count: int = 0

    def next_seq(self) -> int:
        """A number above all that any epoch gave before."""
        self.count += 1
        return self.epoch << 32 | self.count


@dataclass(slots=True)
class SocketTurn:
    """What a turn did to its object's sockets; see `Sockets.turn`."""

    owner: ObjectSockets | None
    changes: SocketChanges
    live: list[int]  # new sockets of which no record says anything
    said: list[tuple[Said, bool]]  # all that it said, and whether that is a part of the changes
    lasting: bool  # there is a record of it even if nothing was written


Address = tuple[bytes, int, int, str, str | None]
"""An object's id, slot, epoch, class and name."""
