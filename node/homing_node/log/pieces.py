"""What waits for the stream to a peer. A long message leaves in pieces, and other slots' messages between them. Pure.

A record of 16 MiB in one gRPC message would hold up every slot behind it for as long as it takes to travel.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.effects import Message

_FIELDS: dict[type, str] = {
    wire.Append: "appends", wire.Appended: "appended", wire.Seal: "seals", wire.Sealed: "sealed",
    wire.Fetch: "fetches", wire.Fetched: "fetched", wire.Confirm: "confirms", wire.Confirmed: "confirmed",
    wire.Offer: "offers", wire.Snapshot: "snapshots", wire.Snapshotted: "snapshotted",
    wire.Compare: "compares", wire.Compared: "compared",
}  # fmt: skip


class TooMuch(Exception):
    """A peer sends longer messages, or more of them at once, than it may."""


@dataclass(slots=True)
class _Long:
    """The messages of a slot whose first is long.

    Invariant: every message of the slot that was put after the first is in `waiting`.
    """

    id: int
    first: bytes
    first_size: int  # of its records
    fetched: bool
    waiting: deque[tuple[Message, int]] = field(default_factory=deque[tuple[Message, int]])  # with their records' sizes
    sent: int = 0


class Outgoing:
    """Messages that have not been handed to the stream.

    Invariant: the messages of one slot leave in the order in which they were put.

    Example:
        >>> outgoing = Outgoing()
        >>> outgoing.put(wire.Seal(slot=7, epoch=1, claimant="i1"))
        >>> [seal.slot for seal in outgoing.take().seals]
        [7]
    """

    def __init__(self) -> None:
        self._short: dict[str, list[Message]] = {}
        self._long: dict[int, _Long] = {}  # by slot, in the order of their turns
        self._ids = 0
        self._short_bytes = 0
        self._long_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._short or self._long)

    @property
    def has_long(self) -> bool:
        """Whether a long message is on its way: then there is always something to send."""
        return bool(self._long)

    @property
    def bytes(self) -> int:
        """Records that wait, in bytes."""
        return self._short_bytes + self._long_bytes

    def put(self, m: Message) -> None:
        """Add a message."""
        size = _size(m)
        if self._long and not isinstance(m, wire.Confirm | wire.Confirmed | wire.Offer):
            before = self._long.get(m.slot)
            if before is not None:
                before.waiting.append((m, size))
                self._long_bytes += size
                return
        if size > limits.piece_bytes_max and isinstance(m, wire.Append | wire.Fetched):
            self._ids += 1
            self._long[m.slot] = _Long(self._ids, m.SerializeToString(), size, isinstance(m, wire.Fetched))
            self._long_bytes += size
        else:
            self._short.setdefault(_FIELDS[type(m)], []).append(m)
            self._short_bytes += size

    def take(self) -> wire.PeerBatch:
        """The next batch: all short messages, and a piece of the long one whose turn it is."""
        short, self._short, self._short_bytes = self._short, {}, 0
        batch = wire.PeerBatch(**cast("Any", short))
        if self._long:
            self._take_piece(batch)
        return batch

    def _take_piece(self, batch: wire.PeerBatch) -> None:
        slot = next(iter(self._long))
        long = self._long.pop(slot)
        data = long.first[long.sent : long.sent + limits.piece_bytes_max]
        long.sent += len(data)
        last = long.sent == len(long.first)
        batch.pieces.add(id=long.id, data=data, last=last, fetched=long.fetched)
        if not last:
            self._long[slot] = long  # behind the others
            return
        self._long_bytes -= long.first_size
        for m, size in long.waiting:
            self._long_bytes -= size
            self.put(m)  # one of them may be long, too: then the rest waits for that


def _size(m: Message) -> int:
    """Bytes of data in a message. Every message is asked, and isinstance costs much where the answer is no."""
    if type(m) is wire.Append or type(m) is wire.Fetched:
        return sum(map(len, m.records))
    if type(m) is wire.Snapshot:
        return sum(len(part.data) + sum(map(len, part.pages)) for part in m.objects)
    return 0


class Incoming:
    """Puts the pieces of a peer together."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}
        self._bytes = 0

    def join(self, batch: wire.PeerBatch) -> None:
        """Add every message that became whole to the batch.

        Raises:
            TooMuch: the unfinished messages are over their limits.
            google.protobuf.message.DecodeError: the whole is no message.
        """
        for piece in batch.pieces:
            parts = self._parts.setdefault(piece.id, [])
            parts.append(piece.data)
            self._bytes += len(piece.data)
            if self._bytes > limits.link_message_bytes_max or len(self._parts) > limits.long_messages_max:
                raise TooMuch(f"{len(self._parts)} unfinished messages with {self._bytes} bytes")
            if piece.last:
                del self._parts[piece.id]
                whole = b"".join(parts)
                self._bytes -= len(whole)
                (batch.fetched.add() if piece.fetched else batch.appends.add()).ParseFromString(whole)
