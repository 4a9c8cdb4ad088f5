"""What a node's claims core is told, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from homing_placement.records import NodeRecord, Replica, SlotRecord


@dataclass(frozen=True, slots=True)
class SlotFact:
    """A slot's record as etcd has it; None when there is none."""

    slot: int
    record: SlotRecord | None
    mod_revision: int


@dataclass(frozen=True, slots=True)
class NodeFact:
    """A node's record as etcd has it; None when it is not registered (any more)."""

    node: str
    record: NodeRecord | None
    mod_revision: int


# Events


@dataclass(frozen=True, slots=True)
class TableSeen:
    """The watch told something. `complete`: the whole table is known from now on."""

    nodes: tuple[NodeFact, ...] = ()
    slots: tuple[SlotFact, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe ended: which incarnation answered, or None."""

    node: str
    incarnation: str | None
    sent_at: float


@dataclass(frozen=True, slots=True)
class Written:
    """Every write of a batch was done, at this revision."""

    batch: int
    revision: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A batch was not done, or nobody knows; `found` was read linearizably after that.

    Attributes:
        lost: a comparison failed, so somebody else was faster; else etcd is in trouble and a pause is due.
    """

    batch: int
    found: tuple[SlotFact, ...]
    lost: bool


@dataclass(frozen=True, slots=True)
class SlotsRead:
    """The answer to `ReadSlots`."""

    found: tuple[SlotFact, ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A link to this node broke, or a call to it failed."""

    node: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """My log of this slot met a higher promise, or no majority for too long, and was stopped (rule 9).

    `lacking`: what it lacks nobody keeps as records any more, so another must own the slot before this node can.
    """

    slot: int
    promised: int
    lacking: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """The log of this slot is recovered in this epoch: it may become ACTIVE (rule 14)."""

    slot: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Offered:
    """The living owner of these slots (slot, epoch) has let them come to rest and wants me to own them.

    Attributes:
        first: they shall stay: I become the first of their replicas.
    """

    slots: tuple[tuple[int, int], ...]
    first: bool = False


@dataclass(frozen=True, slots=True)
class ChangeSets:
    """These slots of mine (slot, epoch, next replicas) are at rest and shall have other replicas (rule 16)."""

    slots: tuple[tuple[int, int, tuple[Replica, ...]], ...]


@dataclass(frozen=True, slots=True)
class MayClaim:
    """Whether this node may claim at all: not while it drains or its disk is nearly full."""

    allowed: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


Event = (
    TableSeen | Probed | Written | Refused | SlotsRead | Suspect | Fenced | Ready | Offered | ChangeSets
    | MayClaim | Tick
)  # fmt: skip


# Effects


@dataclass(frozen=True, slots=True)
class SlotWrite:
    """Write this record if the slot's mod_revision is as expected (0: it does not exist)."""

    slot: int
    expected: int
    record: SlotRecord


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """One transaction: all of these, or none. Answered by `Written` or `Refused`."""

    batch: int
    writes: tuple[SlotWrite, ...]


@dataclass(frozen=True, slots=True)
class ReadSlots:
    """Read these linearizably. Answered by `SlotsRead`."""

    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask this node for its incarnation. Answered by `Probed`."""

    node: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """The slot is mine in a new epoch: recover its log.

    Attributes:
        contact_at: when the owner before me last answered; None if there was none.
    """

    slot: int
    record: SlotRecord
    mod_revision: int
    contact_at: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """A slot that was mine has a higher epoch of another owner."""

    slot: int
    record: SlotRecord


@dataclass(frozen=True, slots=True)
class ReadyEnded:
    """The answer to `Ready`: the slot is ACTIVE in that epoch, or the epoch is over."""

    slot: int
    epoch: int
    active: bool


Effect = WriteBatch | ReadSlots | Probe | Claimed | Lost | ReadyEnded
