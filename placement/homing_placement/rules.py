"""What a node may conclude about a slot: is its owner gone, do I reach a majority, am I the first in line? No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from homing_placement.limits import (
    BOOT_GRACE_S,
    RANK_PATIENCE_S,
    RECLAIM_PAUSE_FIRST_S,
    RECOVERY_PATIENCE_MAX_S,
    RECOVERY_PATIENCE_S,
)
from homing_placement.reach import Reach
from homing_placement.records import NodeRecord, Owner, Replica, SlotRecord, SlotState


@dataclass(slots=True)
class SlotView:
    """What is known of one slot, and what this node is about to do with it."""

    record: SlotRecord | None = None
    mod_revision: int = 0  # to compare with; of `record`, unless etcd was restored to an older state
    seen_at: float = 0.0  # when the record's epoch or state last changed
    recoveries: int = 0  # claims since it was last ACTIVE
    held: int = 0  # Invariant: 0, or the epoch of `record`, which names me: the node was told `Claimed`
    floor: int = 0  # the highest promise that was met
    fenced: bool = False  # Invariant: only if held: it must be claimed anew
    reading: bool = False  # an answer to ReadSlots is awaited; nothing is decided before
    writing: int = 0  # the batch that is under way, or 0
    ready: int = 0  # the epoch that is to become ACTIVE, or 0
    wanted_since: float | None = None  # since when nobody living owns it
    jitter_s: float = 0.0  # this node's own delay where it is not the first
    pause_until: float = 0.0  # no claim or activation before
    pause_s: float = RECLAIM_PAUSE_FIRST_S
    contact_at: float | None = None  # last answer of the owner whose slot I claim


@dataclass(slots=True)
class NodeView:
    record: NodeRecord  # the newest that was seen
    mod_revision: int
    registered: bool  # it exists in etcd now


@dataclass(slots=True)
class Rules:
    """The judgement of one node.

    Attributes:
        me: this node.
        reach: what the probes say.
        started_at: when this process started.
        nodes: every other node that was seen, with its newest record.
    """

    me: NodeRecord
    reach: Reach
    started_at: float
    nodes: dict[str, NodeView] = field(default_factory=dict[str, NodeView])

    def ownerless(self, view: SlotView, record: SlotRecord, now: float) -> bool:
        """Whether nobody living owns the slot, or its claimant does not come to an end."""
        owner = record.owner
        if owner is None or owner.node == self.me.id:
            return True  # an older incarnation of mine owns nothing (rule 2); this one only when it is fenced
        if self._gone(view, owner, now):
            return True
        if record.state is SlotState.ACTIVE:
            return False
        # A claimant that lives but does not come to an end. Each further claim waits longer: under load, nodes that
        # take slots from each other would never finish one.
        patience_s = min(RECOVERY_PATIENCE_S * 2 ** (view.recoveries - 1), RECOVERY_PATIENCE_MAX_S)
        return now - view.seen_at >= patience_s

    def _gone(self, view: SlotView, owner: Owner, now: float) -> bool:
        """Whether the process that owns a slot does not answer, or another one of its node does (rule 2)."""
        if self.reach.dead(owner.node, now):
            return True
        node = self.nodes.get(owner.node)
        # Only a registration after the claim tells: a slot record may be read before the watch tells of its claimant.
        replaced = node is not None and node.record.incarnation != owner.incarnation
        if node is not None and replaced and node.mod_revision > view.mod_revision:
            return True
        return self.reach.answered_as_another(owner.node, owner.incarnation, since=view.seen_at)

    def keeps(self, record: SlotRecord) -> bool:
        """Whether I keep this slot's log: only such a node may own it; at R = 1 the one with the disk."""
        return Replica(self.me.id, self.me.disk) in record.replicas

    def wait_s(self, view: SlotView, record: SlotRecord, now: float) -> float:
        """How long after `wanted_since` I may claim: at once if I am the first reachable member in wish order."""
        before = record.replicas[: record.replicas.index(Replica(self.me.id, self.me.disk))]
        blocking = sum(self._comes_first(replica, record, now) for replica in before)
        late = blocking > 0 or self._living_claimant(record, now)
        return blocking * RANK_PATIENCE_S + (view.jitter_s if late else 0.0)

    def reach_majority(self, record: SlotRecord, now: float) -> bool:
        """Whether a majority of the ACTIVE set answers, myself included."""
        return sum(self._counts(replica, now) for replica in record.replicas) >= record.majority

    def _counts(self, replica: Replica, now: float) -> bool:
        if replica.node == self.me.id:
            return replica.disk == self.me.disk
        node = self.nodes.get(replica.node)
        return node is not None and node.record.disk == replica.disk and self.reach.reachable(replica.node, now)

    def _living_claimant(self, record: SlotRecord, now: float) -> bool:
        return record.owner is not None and self.reach.reachable(record.owner.node, now)

    def _comes_first(self, replica: Replica, record: SlotRecord, now: float) -> bool:
        """Whether a member that stands before me in wish order should be left the claim for a while."""
        node = self.nodes.get(replica.node)
        if node is not None and (node.record.state != "up" or node.record.disk != replica.disk):
            return False
        owner = record.owner
        if record.state is SlotState.RECOVERING and owner is not None and node is not None:
            same = owner == node.record.owner
            if same and self.reach.reachable(replica.node, now):
                return False  # the claimant that did not come to an end
        if self.reach.reachable(replica.node, now):
            return True
        return self.reach.unheard(replica.node) and now - self.started_at < BOOT_GRACE_S
