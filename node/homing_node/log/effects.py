"""What the log core asks for: writes, messages and news. The shell carries them out; the simulator does too."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from homing.wire.v1.peer_pb2 import (
    Append,
    Appended,
    Compare,
    Compared,
    Confirm,
    Confirmed,
    Fetch,
    Fetched,
    Offer,
    Seal,
    Sealed,
    Snapshot,
    Snapshotted,
)
from homing_node.log.store import Op

Message = (
    Append
    | Appended
    | Seal
    | Sealed
    | Fetch
    | Fetched
    | Confirm
    | Confirmed
    | Snapshot
    | Snapshotted
    | Compare
    | Compared
    | Offer
)


class Advanced(Struct, frozen=True):
    """Every record of the slot up to `lsn` is committed, under this owner's epoch."""

    slot: int
    epoch: int
    lsn: int


class Recovered(Struct, frozen=True):
    """The log is on a majority of the next replicas under this epoch; the slot record may become ACTIVE (rule 14)."""

    slot: int
    epoch: int


class EpochConfirmed(Struct, frozen=True):
    """A majority confirmed the epoch in messages sent after question `number` was put (rule 19)."""

    slot: int
    number: int


class Lost(Struct, frozen=True):
    """This node owns the slot no more: abort its activations, answer *unknown* (rule 9).

    `promised` is the highest epoch met; a new claim must go above it. `lacking`: what this replica lacks nobody keeps
    as records any more, so another must own the slot first.
    """

    slot: int
    epoch: int
    promised: int
    reason: str
    lacking: bool = False


class Halted(Struct, frozen=True):
    """An invariant of the slot is broken on this node; it takes no further part in it. An alarm."""

    slot: int
    reason: str


class PagesCompared(Struct, frozen=True):
    """The replicas of a served slot were asked what their pages hold at one record.

    `differing` hold something else than `equal`, or cannot read it. Where `equal` are a majority the others were told
    to count their data as damaged; else nobody can say who is right. `silent` did not answer in time, or lack too much.
    """

    slot: int
    epoch: int
    lsn: int
    equal: tuple[str, ...]
    differing: tuple[str, ...]
    silent: tuple[str, ...]


News = Advanced | Recovered | EpochConfirmed | Lost | Halted | PagesCompared


class ReadDigest(Struct, frozen=True):
    """Read the digest of all that a slot's pages hold, which stand still, and give it to `LogCore.digest_read`."""

    slot: int
    lsn: int


class ReadPart(Struct, frozen=True):
    """Read a part of a slot's pages, and give it to `LogCore.part_read`."""

    slot: int
    node: str  # for whom
    base_lsn: int
    part: int
    place: bytes


@dataclass(slots=True)
class Outbox:
    """Everything the core asked for since it was last drained, in order.

    `writes` go to the store as one batch. When it is on disk, `LogCore.written(marks)` says so.
    """

    writes: list[Op] = field(default_factory=list[Op])
    marks: dict[int, int] = field(default_factory=dict[int, int])
    sends: list[tuple[str, Message]] = field(default_factory=list[tuple[str, Message]])
    news: list[News] = field(default_factory=list[News])
    reads: list[ReadPart | ReadDigest] = field(default_factory=list[ReadPart | ReadDigest])
    own: list[Message] = field(default_factory=list[Message])  # answers of this node to itself; the core takes them

    def __bool__(self) -> bool:
        return bool(self.writes or self.sends or self.news or self.marks or self.reads)
