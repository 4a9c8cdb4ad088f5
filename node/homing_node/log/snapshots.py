"""How an owner sends a snapshot: one part at a time, read from the store when the one before is on disk there. Pure.

While it is sent the slot's pages stand still, so that all parts are of one moment; records gather, and follow.
Parts are cut at the same places every time, so a replica that has some already says so, and they are not sent in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.effects import ReadPart
from homing_node.log.store import ObjectPart, Part

if TYPE_CHECKING:
    from homing_node.log.follower import Follower
    from homing_node.log.owner import Owner


@dataclass(slots=True)
class Sending:
    """One snapshot on its way to one replica.

    Attributes:
        base: lsn, epoch and hash of the last record that the pages hold.
        message: the part that is on its way; sent again when it gets lost. None while it is read.
        part: its number.
        place: where the store goes on after it.
        moved_at: when the replica last answered; None: it has just begun.
        sent_at: when the part was sent last, by the ticks; None: since the last tick.
    """

    base: tuple[int, int, bytes]
    message: wire.Snapshot | None = None
    part: int = 0
    place: bytes = b""
    moved_at: float | None = None
    sent_at: float | None = None


@dataclass(slots=True)
class Room:
    """Bounds how many snapshots a node sends at once; the rest waits in order.

    Invariant: no (slot, node) is in both.
    """

    busy: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    waiting: dict[tuple[int, str], None] = field(default_factory=dict[tuple[int, str], None])

    def take(self, slot: int, node: str) -> bool:
        """Whether this one may begin; else it waits."""
        key = (slot, node)
        if len(self.busy) >= limits.snapshots_at_once_max:
            self.waiting[key] = None
            return False
        self.waiting.pop(key, None)
        self.busy.add(key)
        return True

    def give(self, slot: int, node: str) -> None:
        """It is over, or nobody wants it any more."""
        self.busy.discard((slot, node))
        self.waiting.pop((slot, node), None)

    def following(self) -> tuple[int, str] | None:
        """Who waits longest, if there is room."""
        if len(self.busy) >= limits.snapshots_at_once_max:
            return None
        return next(iter(self.waiting), None)


def begin(owner: Owner, node: str, follower: Follower) -> None:
    """Begin to send a snapshot to a replica, when there is room and the pages can stand still."""
    replica = owner.replica
    waits = replica.applying or (follower.distrusted and not follower.joins)
    if waits or follower.sending is not None or not owner.counts(node, follower):
        return
    if not owner.room.take(owner.slot, node):
        return
    replica.pins += 1
    follower.sending = Sending((replica.base_lsn, replica.base_epoch, replica.base_hash))
    _send(owner, node, follower, [], last=False)


def _send(owner: Owner, node: str, follower: Follower, objects: Sequence[ObjectPart], *, last: bool) -> None:
    sending = follower.sending
    assert sending is not None
    lsn, epoch, digest = sending.base
    sending.sent_at = None
    sending.message = wire.Snapshot(
        slot=owner.slot, epoch=owner.epoch, claimant=owner.claimant, base_lsn=lsn, base_epoch=epoch, base_hash=digest,
        part=sending.part, last=last, joins=follower.joins, objects=[_to_wire(part) for part in objects],
    )  # fmt: skip
    owner.out.sends.append((node, sending.message))


def _to_wire(part: ObjectPart) -> wire.SnapshotObject:
    return wire.SnapshotObject(
        id=part.object,
        data=part.data,
        page_count=part.page_count,
        first_page=part.first_page,
        pages=part.pages,
        wake_ms=part.wake_ms,
    )


def on_part(owner: Owner, node: str, read: ReadPart, part: Part) -> None:
    """The store gave the part that was asked for."""
    follower = owner.followers.get(node)
    sending = follower.sending if follower is not None else None
    if follower is None or sending is None or (sending.base[0], sending.part) != (read.base_lsn, read.part):
        return  # given up meanwhile
    if sending.message is None:
        sending.place = part.next_place
        _send(owner, node, follower, part.objects, last=not part.next_place)


def on_snapshotted(owner: Owner, node: str, m: wire.Snapshotted, now: float) -> None:
    """A replica has a part on disk."""
    follower = owner.followers.get(node)
    sending = follower.sending if follower is not None else None
    if follower is None or sending is None or m.epoch != owner.epoch or m.base_lsn != sending.base[0]:
        return
    sending.moved_at = now
    if m.whole:
        end(owner, node, follower)
        follower.match = max(follower.match, m.base_lsn)
        follower.sent, follower.ahead_bytes, follower.moved_at = follower.match, 0, now
        follower.joins = follower.distrusted = False
        owner.advance(now)
        owner.replicate_to(node, follower)
    elif m.again:
        sending.part, sending.place = 0, b""
        _send(owner, node, follower, [], last=False)
    elif m.part == sending.part and sending.message is not None:
        sending.part, sending.message = sending.part + 1, None
        owner.out.reads.append(ReadPart(owner.slot, node, sending.base[0], sending.part, sending.place))


def tick(owner: Owner, node: str, follower: Follower, now: float) -> None:
    """Send again what got lost; give up when the replica does not answer."""
    sending = follower.sending
    assert sending is not None
    if sending.moved_at is None:
        sending.moved_at = now
    if now - sending.moved_at > limits.snapshot_patience_s:
        end(owner, node, follower)
        follower.moved_at = now + limits.snapshot_pause_s  # until then it is not nudged
    elif sending.sent_at is None:
        sending.sent_at = now
    elif now - sending.sent_at > limits.snapshot_resend_s:
        sending.sent_at = now
        send_again(owner, node, sending)


def send_again(owner: Owner, node: str, sending: Sending) -> None:
    """The last part may have got lost."""
    if sending.message is not None:
        owner.out.sends.append((node, sending.message))


def end(owner: Owner, node: str, follower: Follower) -> None:
    """It is over, whole or not: the pages may move on."""
    owner.room.give(owner.slot, node)
    if follower.sending is not None:
        follower.sending = None
        owner.replica.pins -= 1
