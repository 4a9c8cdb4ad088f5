"""What a node may conclude about a slot: is its owner gone, do I reach a majority, am I the first in line? No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from homing_placement.limits import (
    BOOT_GRACE_S,
    RANK_PATIENCE_S,
    RECLAIM_PAUSE_FIRST_S,
    RECOVERY_PATIENCE_MAX_S,
    RECOVERY_PATIENCE_S,
    TICK_S,
)
from homing_placement.reach import Reach
from homing_placement.records import NodeRecord, Owner, Replica, SlotRecord, SlotState


@dataclass(slots=True)
class SlotView:
    """What is known of one slot, and what this node is about to do with it."""

    admitted: bool = True  # no jurisdiction binds it to other zones than this node's
    record: SlotRecord | None = None
    mod_revision: int = 0  # to compare with; of `record`, unless etcd was restored to an older state
    seen_at: float = 0.0  # when the record's epoch or state last changed
    recoveries: int = 0  # claims since it was last ACTIVE
    held: int = 0  # Invariant: 0, or the epoch of `record`, which names me: the node was told `Claimed`
    floor: int = 0  # the highest promise that was met
    fenced: bool = False  # Invariant: only if held: it must be claimed anew
    writing: int = 0  # the batch that is under way, or 0
    ready: int = 0  # the epoch that is to become ACTIVE, or 0
    wanted_since: float | None = None  # since when nobody living owns it
    jitter_s: float = 0.0  # this node's own delay where it is not the first
    retry_at: float = 0.0  # no write before: etcd was in trouble
    pause_until: float = 0.0  # no claim before
    pause_s: float = RECLAIM_PAUSE_FIRST_S
    offered: int = -1  # the epoch whose claimant leaves the slot to me
    contact_at: float | None = None  # last answer of the owner whose slot I claim


@dataclass(slots=True)
class NodeView:
    """What is known of another node."""

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

    def living_until(self, view: SlotView, record: SlotRecord, now: float) -> float | None:
        """Until when the slot's owner counts as living, as far as it is known now.

        Returns:
            `now`: nobody living owns it, or its claimant does not come to an end; later: look again then; None: as long
            as no probe or record says otherwise.
        """
        if self._gone(view, record.owner, now):
            return now
        if record.state is SlotState.ACTIVE:
            unheard = record.owner is not None and self.reach.unheard(record.owner.node)
            return now + TICK_S if unheard else None
        # A claimant that lives but does not come to an end. Each further claim waits longer: under load, nodes that
        # take slots from each other would never finish one.
        patience_s = min(RECOVERY_PATIENCE_S * 2 ** (view.recoveries - 1), RECOVERY_PATIENCE_MAX_S)
        return max(now, view.seen_at + patience_s)

    def _gone(self, view: SlotView, owner: Owner | None, now: float) -> bool:
        """Whether there is no owner, it does not answer, or another incarnation of its node does (rule 2)."""
        if owner is None or owner.node == self.me.id:
            return True  # of mine: an older incarnation, or this one once it is fenced
        if self.reach.dead(owner.node, now):
            return True
        node = self.nodes.get(owner.node)
        replaced = node is not None and node.record.incarnation != owner.incarnation
        # Only a registration after the claim tells: a slot record may be read before the watch tells of its claimant.
        if node is not None and replaced and node.mod_revision > view.mod_revision:
            return True
        return self.reach.answered_as_another(owner.node, owner.incarnation, since=view.seen_at)

    def keeps(self, record: SlotRecord) -> bool:
        """Whether I keep this slot's log: only such a node may own it; at R = 1 the one with the disk."""
        return Replica(self.me.id, self.me.disk) in record.replicas

    def wait_s(self, view: SlotView, record: SlotRecord, now: float) -> float:
        """How long after `wanted_since` I may claim: at once if I am the first reachable member in wish order."""
        mine = record.replicas.index(Replica(self.me.id, self.me.disk))
        stuck = record.state is SlotState.RECOVERING and not self._gone(view, record.owner, now)
        claimant = record.owner.node if stuck and record.owner is not None else ""
        before = [replica for replica in record.replicas[:mine] if replica.node != claimant]
        blocking = sum(self._comes_first(replica, now) for replica in before)
        return blocking * RANK_PATIENCE_S + (view.jitter_s if blocking or stuck else 0.0)

    def reach_majority(self, record: SlotRecord, now: float) -> bool:
        """Whether a majority of the ACTIVE set answers, myself included."""
        return sum(self._counts(replica, now) for replica in record.replicas) >= record.majority

    def _counts(self, replica: Replica, now: float) -> bool:
        if replica.node == self.me.id:
            return replica.disk == self.me.disk
        node = self.nodes.get(replica.node)
        return node is not None and node.record.disk == replica.disk and self.reach.answers(replica.node, now)

    def _comes_first(self, replica: Replica, now: float) -> bool:
        """Whether a member that stands before me in wish order should be left the claim for a while."""
        node = self.nodes.get(replica.node)
        if node is not None and (node.record.state != "up" or node.record.disk != replica.disk):
            return False
        if self.reach.reachable(replica.node, now):
            return True
        return self.reach.unheard(replica.node) and now - self.started_at < BOOT_GRACE_S
