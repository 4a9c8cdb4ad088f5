"""The clients' sockets: this side holds them, and attaches each to the node that serves its object, or the entrypoint.

What a client sends is numbered and kept until its object has handled it; after a takeover, a move or a broken stream it
goes again to whoever serves the object then. What comes twice is dropped by its number (docs/sockets.md).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from homing.wire.v1 import call_pb2
from homing_gateway.limits import (
    SOCKET_HOME_LOST_S_MAX,
    SOCKET_LOOK_S,
    SOCKET_PIECE_BYTES,
    SOCKET_RETRY_S_MAX,
    SOCKET_RETRY_S_MIN,
    SOCKET_UNATTACHED_S_MAX,
    SOCKET_UNHANDLED_BYTES_MAX,
    SOCKET_UNHANDLED_MAX,
    SOCKET_UNREAD_BYTES_MAX,
)
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.link import NodeLink

TEXT, BINARY, CLOSE = call_pb2.SOCKET_FRAME_TEXT, call_pb2.SOCKET_FRAME_BINARY, call_pb2.SOCKET_FRAME_CLOSE
OF_NO_SLOT = -1  # sockets of the entrypoint: each belongs to one worker of one node
ABNORMAL, INTERNAL, RESTART, TRY_AGAIN = 1006, 1011, 1012, 1013  # close codes: RFC 6455, and its registry

_log = structlog.get_logger("homing.gateway")


class Outgoing:
    """Something for a client: a text, bytes, or the end."""

    __slots__ = ("code", "data", "kind", "reason")

    def __init__(self, kind: call_pb2.SocketFrame, data: bytes, code: int = 0, reason: str = "") -> None:
        self.kind, self.data, self.code, self.reason = kind, data, code, reason


class HeldSocket:
    """One client's socket.

    Attributes:
        ref: the object's socket that it is, a serialized `SocketRef`: the message itself would keep the whole batch in
            memory that it came in.
        slot: of the object, or `OF_NO_SLOT`.
        home: of a socket without a slot: the stream to the node where it lives; it can live on no other.
        link, handle: the stream that it is attached on, and its number there; None: it is attached to nothing.
        owner: the stream and the slot's epoch that it was last attached to.
        had: the number of what the object said last.
        out: for the client, in order.
    """

    __slots__ = (
        "_closes",
        "_out_bytes",
        "_seq",
        "_unhandled",
        "_unhandled_bytes",
        "_waiting",
        "ended",
        "had",
        "handle",
        "home",
        "link",
        "on_out",
        "on_room",
        "out",
        "over",
        "owner",
        "ref",
        "retry_at",
        "since",
        "slot",
        "tries",
    )

    def __init__(self, ref: call_pb2.SocketRef, slot: int, home: NodeLink | None = None) -> None:
        self.ref = ref.SerializeToString()
        self.slot = slot
        self.home = home
        self.link: NodeLink | None = None
        self.handle = 0
        self.owner: tuple[NodeLink | None, int] = (None, 0)
        self.had = 0
        self.out: deque[Outgoing] | None = None  # there only while it has something: an empty one costs half a KiB
        self.retry_at = 0.0
        self.tries = 0
        self.since = 0.0  # when it was last attached to nothing
        self._seq = 0
        self._unhandled: dict[int, list[call_pb2.FromSocket]] = {}
        self._unhandled_bytes = 0
        self._out_bytes = 0
        self._waiting: deque[tuple[list[call_pb2.FromSocket], int]] | None = None  # Invariant: only while it is full
        self.on_room: Callable[[], None] | None = None  # it is full no more
        self.on_out: Callable[[], None] | None = None  # something is in `out`
        self._closes = False  # the client has gone
        self.ended = False  # and its object is told, behind all that came
        self.over = False  # it is closed from here, whatever its object says

    # -- from the client ------------------------------------------------------------------------------------------

    def came(self, kind: call_pb2.SocketFrame, data: bytes) -> bool:
        """Pass a message on, when there is room for it; returns whether there is room for more (`on_room`)."""
        piece = SOCKET_PIECE_BYTES
        frames = [
            call_pb2.FromSocket(kind=kind, data=data[at : at + piece], more=at + piece < len(data))
            for at in range(0, len(data) or 1, piece)
        ]
        if self._is_full():
            self._waiting = self._waiting or deque()
            self._waiting.append((frames, len(data)))
        else:
            self._pass_on(frames, len(data))
        return not self._is_full()

    def closed(self, code: int, reason: str) -> None:
        """The client's connection has ended."""
        if self._closes:
            return
        self._closes = True
        frames = [call_pb2.FromSocket(kind=CLOSE, code=code, reason=reason, clean=code != ABNORMAL)]
        if self._waiting is not None:
            self._waiting.append((frames, 0))
        else:
            self._pass_on(frames, 0)

    def _pass_on(self, frames: list[call_pb2.FromSocket], size: int) -> None:
        self.ended = frames[0].kind == CLOSE
        self._seq += 1
        self._unhandled[self._seq] = frames
        self._unhandled_bytes += size
        base = self.base
        for frame in frames:
            frame.seq, frame.base = self._seq, base
        self.send(frames)

    def _is_full(self) -> bool:
        """Whether more has come than may wait for the object."""
        return len(self._unhandled) >= SOCKET_UNHANDLED_MAX or self._unhandled_bytes > SOCKET_UNHANDLED_BYTES_MAX

    @property
    def base(self) -> int:
        """The lowest number that is not known to be handled."""
        return next(iter(self._unhandled), self._seq + 1)

    def send(self, frames: list[call_pb2.FromSocket]) -> None:
        """Put frames on the stream, if there is one."""
        if self.link is not None:
            for frame in frames:
                frame.handle = self.handle
                self.link.send_socket(frame)

    def send_again(self) -> None:
        """Put everything on the stream that is not known to be handled."""
        base = self.base
        for frames in self._unhandled.values():
            for frame in frames:
                frame.base = base
            self.send(frames)

    def handled(self, seq: int) -> None:
        """The object has handled what came with that number."""
        was_full = self._is_full()
        if self.ended and seq == self._seq:
            self._unhandled.clear()  # its object has heard of the end: what came before is over, too
        frames = self._unhandled.pop(seq, None)
        if frames is None:
            return
        if not self._unhandled:
            self._unhandled.clear()  # an empty dict gives its table back only when it is told to
        self._unhandled_bytes -= sum(len(frame.data) for frame in frames)
        if was_full:
            self._make_room()

    def _make_room(self) -> None:
        """Pass on what waits, and have the client's next message read when it can be."""
        while self._waiting is not None and not self._is_full():
            self._pass_on(*self._waiting.popleft())
            self._waiting = self._waiting or None
        if self.on_room is not None and not self._is_full():
            self.on_room()

    @property
    def settled(self) -> bool:
        """Nothing of it is left to be done."""
        return self.ended and not self._unhandled

    # -- to the client --------------------------------------------------------------------------------------------

    def say(self, m: call_pb2.ToSockets, data: bytes) -> None:
        """Take what the object says, whole."""
        if m.seq <= self.had:
            return
        self.had = m.seq
        if self.link is not None:
            self.link.had(self.handle, m.seq, len(data))
        if self.over:
            return
        if self._out_bytes > SOCKET_UNREAD_BYTES_MAX:
            self.out, self._out_bytes = None, 0
            self.end(TRY_AGAIN, "it is read too slowly")
        else:
            self._put(Outgoing(m.kind, data, m.code, m.reason))

    def end(self, code: int, reason: str) -> None:
        """Close the client's connection from here, behind what it has not got yet."""
        if not self.over:
            self.over = True
            self._put(Outgoing(CLOSE, b"", code, reason))

    def _put(self, what: Outgoing) -> None:
        if self.out is None:
            self.out = deque()
        self.out.append(what)
        self._out_bytes += len(what.data)
        if self.on_out is not None:
            self.on_out()

    def take(self) -> Outgoing | None:
        """What the client gets next; what was given before has been sent."""
        if self.out is None:
            return None
        what = self.out.popleft()
        self.out = self.out or None
        self._out_bytes -= len(what.data)
        return what

    def detached(self, now: float) -> None:
        """Its stream is no more, or its object is elsewhere."""
        self.link = None
        self.since = now
        self.retry_at = now


class SocketHub:
    """All sockets of a gateway; implements `SocketSide`.

    Args:
        forwarder: knows owners, and has the streams to them.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._held: dict[int, dict[HeldSocket, None]] = {}  # by slot
        self._count = 0
        self._attached: dict[NodeLink, dict[int, HeldSocket]] = {}
        self._pieces: dict[NodeLink, list[bytes]] = {}  # of a long message; they come one right after the other
        self._lost: dict[HeldSocket, None] = {}  # those that are to be attached
        self._handles = itertools.count(1)
        forwarder.sockets = self

    def __len__(self) -> int:
        return self._count

    def hold(self, ref: call_pb2.SocketRef, slot: int, home: NodeLink | None = None) -> HeldSocket:
        """A client's connection becomes this socket; see `HeldSocket`."""
        held = HeldSocket(ref, slot, home)
        held.since = time.monotonic()
        self._held.setdefault(slot, {})[held] = None
        self._count += 1
        self._attach(held)
        return held

    async def run(self) -> None:
        """Attach what is attached to nothing, until cancelled."""
        while True:
            await asyncio.sleep(SOCKET_LOOK_S)
            self._retry(time.monotonic())

    async def settle(self, timeout_s: float) -> None:
        """Wait until every object has heard of the end of its sockets, but not for long."""
        deadline = time.monotonic() + timeout_s
        while self._count and time.monotonic() < deadline:
            await asyncio.sleep(SOCKET_LOOK_S)

    # -- what nodes and placement say: see `SocketSide` -------------------------------------------------------------

    def on_batch(self, link: NodeLink, batch: call_pb2.ReplyBatch) -> None:
        """See `SocketSide`."""
        mine = self._attached.get(link, {})
        for m in batch.sockets:
            if m.more:
                self._pieces.setdefault(link, []).append(m.data)
                continue
            pieces = self._pieces.pop(link, None)
            data = m.data if pieces is None else b"".join((*pieces, m.data))
            for handle in m.handles:
                held = mine.get(handle)
                if held is not None:
                    self._on_frame(held, m, data)
        for handle, seq in zip(batch.handled_handles, batch.handled_seqs, strict=True):
            held = mine.get(handle)
            if held is not None:
                held.handled(seq)
                if held.settled:
                    self._forget(held)

    def _on_frame(self, held: HeldSocket, m: call_pb2.ToSockets, data: bytes) -> None:
        if m.kind == call_pb2.SOCKET_FRAME_LOST:
            self._detach(held)
            held.tries += 1
            held.retry_at = time.monotonic() + min(SOCKET_RETRY_S_MAX, SOCKET_RETRY_S_MIN * (1 << min(held.tries, 8)))
            self._forwarder.refresh_soon(held.slot)
        elif m.kind == call_pb2.SOCKET_FRAME_GONE:
            self._detach(held)
            held.end(m.code or INTERNAL, m.reason or "the object does not know this socket")
            self._forget(held)
        elif m.kind == call_pb2.SOCKET_FRAME_ATTACH:
            held.tries = 0
        else:
            held.say(m, data)

    def link_down(self, link: NodeLink) -> None:
        """See `SocketSide`."""
        self._pieces.pop(link, None)
        for held in list(self._attached.pop(link, {}).values()):
            held.owner = (None, 0)
            self._detach(held)

    def look(self, slots: Iterable[int] | None = None) -> None:
        """See `SocketSide`."""
        for slot in list(self._held if slots is None else slots):
            mine = self._held.get(slot)
            if not mine or slot == OF_NO_SLOT:
                continue
            owner = self._forwarder.owner(slot)
            if owner[0] is None:
                continue
            for held in [each for each in mine if each.owner != owner]:
                self._detach(held)
                self._attach(held)

    # -- within ---------------------------------------------------------------------------------------------------

    def _retry(self, now: float) -> None:
        for held in list(self._lost):
            patience_s = SOCKET_UNATTACHED_S_MAX if held.slot != OF_NO_SLOT else SOCKET_HOME_LOST_S_MAX
            if now - held.since > patience_s:
                _log.warning("a socket is closed: no node serves it", slot=held.slot)
                held.end(RESTART, "what it was connected to cannot be reached")
                self._forget(held)
            elif held.retry_at <= now:
                self._attach(held)

    def _attach(self, held: HeldSocket) -> None:
        """Attach a socket to the owner of its slot, if that can be reached; what is not handled goes behind."""
        link, epoch = self._forwarder.owner(held.slot) if held.slot != OF_NO_SLOT else (held.home, 0)
        if link is None or (link is held.home and not link.up):
            self._lost[held] = None
            return
        self._lost.pop(held, None)
        held.owner = (link, epoch)
        held.link, held.handle = link, next(self._handles) & 0xFFFF_FFFF
        self._attached.setdefault(link, {})[held.handle] = held
        link.send_socket(
            call_pb2.FromSocket(
                handle=held.handle,
                kind=call_pb2.SOCKET_FRAME_ATTACH,
                base=held.base,
                socket=call_pb2.SocketRef.FromString(held.ref),
                slot=max(held.slot, 0),
                epoch=epoch,
                had=held.had,
            )
        )
        held.send_again()

    def _detach(self, held: HeldSocket) -> None:
        if held.link is not None:
            self._attached.get(held.link, {}).pop(held.handle, None)
            held.detached(time.monotonic())
        if held in self._held.get(held.slot, ()):
            self._lost[held] = None

    def _forget(self, held: HeldSocket) -> None:
        mine = self._held.get(held.slot, {})
        if held in mine:
            del mine[held]
            self._count -= 1
            if not mine:
                del self._held[held.slot]
        self._detach(held)
        self._lost.pop(held, None)
