"""Which slots of this node go to another, and how far each move has come. Pure: facts and time in, effects out.

A slot belongs with the first of its replicas, in wish order, that can take it: so a restarted node gets back what it
had, and a draining one gives everything away. The owner lets the slot come to rest (no new event; what runs ends), and
offers it to a replica that lacks nothing; that node claims it, and the log's rules do the rest. Whatever goes wrong on
the way, the owner is the owner until a higher epoch says otherwise, and takes events again. See docs/placement.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from homing_node import limits
from homing_placement.records import Replica


class Facts(Protocol):
    """What is known now."""

    def served(self) -> Iterable[int]:
        """The slots that this node serves."""
        ...

    def candidates(self) -> Iterable[int]:
        """Those that may belong elsewhere or need another set, while this node stays: to look at one costs much."""
        ...

    def epoch(self, slot: int) -> int:
        """The epoch in which this node serves a slot, or 0."""
        ...

    def replicas(self, slot: int) -> Sequence[Replica]:
        """The ACTIVE set of a slot, in wish order."""
        ...

    def is_up(self, replica: Replica) -> bool:
        """Whether that node is registered, with that disk, and not draining."""
        ...

    def lag(self, slot: int, node: str) -> int | None:
        """Records of a slot that a replica has not confirmed; None: it has no stream."""
        ...

    def at_rest(self, slot: int) -> bool:
        """Whether nothing of the slot runs or waits here."""
        ...

    def next_set(self, slot: int) -> tuple[Replica, ...] | None:
        """The set that a slot should have instead of its own; None: its own is right."""
        ...


@dataclass(frozen=True, slots=True)
class Rest:
    """Take no more events of the slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Take events of the slot again: the move did not come off."""

    slot: int


@dataclass(frozen=True, slots=True)
class Abort:
    """End what still runs in the slot; its outcome is unknown."""

    slot: int


@dataclass(frozen=True, slots=True)
class Offer:
    """Ask a node to claim these slots (slot, epoch); `first`: and to be the first of their replicas from then on."""

    node: str
    slots: tuple[tuple[int, int], ...]
    first: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Claim this slot anew with another set of replicas (rule 16)."""

    slot: int
    epoch: int
    nexts: tuple[Replica, ...]


Effect = Rest | Resume | Abort | Offer | Change


@dataclass(slots=True)
class _Move:
    """To another node, or to another set of replicas. Invariant: the slot rests from its beginning to its end."""

    target: Replica | None  # None: it stays here, with the replicas `nexts`
    nexts: tuple[Replica, ...]
    epoch: int
    since: float
    offered_at: float | None = None
    aborted: bool = False


class Moves:
    """All moves away from one node.

    Args:
        me: the node's id.

    Attributes:
        draining: whether everything shall go.
        more: whether something began when all slots were looked at last, so that others may be due soon.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self.draining = self.more = False
        self._moves: dict[int, _Move] = {}
        self._not_before: dict[int, float] = {}  # a slot whose move failed waits for this
        self._up_since: dict[str, float] = {}
        self._wanted: dict[int, tuple[str, float]] = {}  # slots that an operator moves: where to, and until when
        self._round_from = 0.0  # while the node stays nothing begins earlier that nobody asked for

    @property
    def moving(self) -> int:
        """How many slots are on their way."""
        return len(self._moves)

    def want(self, slot: int, node: str, now: float) -> None:
        """An operator wants this slot to be another replica's, whatever its order says; the last wish counts."""
        self._wanted[slot] = (node, now + limits.move_wish_s)
        self._not_before.pop(slot, None)

    def tick(self, facts: Facts, now: float) -> list[Effect]:
        """Look at everything once.

        Args:
            facts: as of now.
            now: monotonic seconds.
        """
        effects: list[Effect] = []
        for slot, (_, until) in list(self._wanted.items()):
            if now > until or not facts.epoch(slot):
                del self._wanted[slot]
        for slot, move in list(self._moves.items()):
            effects += self._advance(slot, move, facts, now)
        self._begin(facts, now, effects)
        offers: dict[tuple[str, bool], list[tuple[int, int]]] = {}
        for slot, move in self._moves.items():
            if move.offered_at is not None or not facts.at_rest(slot):
                continue
            if move.target is None:
                move.offered_at = now
                effects.append(Change(slot, move.epoch, move.nexts))
            elif facts.lag(slot, move.target.node) == 0:
                move.offered_at = now
                node = move.target.node
                offers.setdefault((node, self._wish(slot) == node), []).append((slot, facts.epoch(slot)))
        return effects + [Offer(node, tuple(slots), first) for (node, first), slots in offers.items()]

    def stuck(self, facts: Facts, now: float) -> bool:
        """Whether no slot moves, and none that is served here could."""
        return not self._moves and all(self._target(slot, facts, now) is None for slot in facts.served())

    def _advance(self, slot: int, move: _Move, facts: Facts, now: float) -> list[Effect]:
        """End a move that is over or cannot go on."""
        if facts.epoch(slot) != move.epoch:
            del self._moves[slot]  # it is owned elsewhere, or here with its new set
            return []
        refused = move.offered_at is not None and now - move.offered_at > limits.offer_patience_s
        if refused or (move.target is not None and not facts.is_up(move.target)):
            return self._call_off(slot, now)
        waits_s = now - move.since if move.offered_at is None else 0.0
        if not self.draining and waits_s > limits.rest_patience_s:
            return self._call_off(slot, now)
        if self.draining and waits_s > limits.drain_grace_s and not move.aborted:
            move.aborted = True
            return [Abort(slot)]
        return []

    def _call_off(self, slot: int, now: float) -> list[Effect]:
        del self._moves[slot]
        self._not_before[slot] = now + limits.move_pause_s
        return [Resume(slot)]

    def _begin(self, facts: Facts, now: float, effects: list[Effect]) -> None:
        room = limits.moves_at_once_max - len(self._moves)
        changing = sum(move.target is None for move in self._moves.values())
        round_ = not self.draining and now >= self._round_from
        if round_:
            self._round_from, self.more = now + limits.move_round_s, False
        slots = facts.served() if self.draining else facts.candidates() if round_ else ()
        for slot in (*self._wanted, *slots):  # what is wanted comes first
            if room <= 0:
                return
            if slot in self._moves or self._not_before.get(slot, 0.0) > now:
                continue
            target = self._target(slot, facts, now)
            may_change = target is None and round_ and changing < limits.changes_at_once_max
            nexts = facts.next_set(slot) if may_change else None
            if target is not None or nexts is not None:
                self._not_before.pop(slot, None)
                self._moves[slot] = _Move(target, nexts or (), facts.epoch(slot), now)
                effects.append(Rest(slot))
                room -= 1
                changing += target is None
                self.more = True

    def _target(self, slot: int, facts: Facts, now: float) -> Replica | None:
        """The replica that is wanted, or else the first that can take the slot; None if it stays here."""
        wish = self._wish(slot)
        if wish:
            found = (replica for replica in facts.replicas(slot) if replica.node == wish != self._me)
            return next((replica for replica in found if self._can_take(slot, replica, facts, now)), None)
        for replica in facts.replicas(slot):
            if replica.node == self._me:
                if not self.draining:
                    return None
            elif self._can_take(slot, replica, facts, now):
                return replica
        return None

    def _wish(self, slot: int) -> str:
        """Where an operator wants the slot; empty: nowhere."""
        return self._wanted[slot][0] if slot in self._wanted else ""

    def _can_take(self, slot: int, replica: Replica, facts: Facts, now: float) -> bool:
        if not facts.is_up(replica):
            self._up_since.pop(replica.node, None)
            return False
        # A node that has just come is busy enough; for one that leaves there is no time to lose.
        up_since = self._up_since.setdefault(replica.node, now)
        if not self.draining and slot not in self._wanted and now - up_since < limits.settle_s:
            return False
        lag = facts.lag(slot, replica.node)
        return lag is not None and lag <= limits.move_lag_records_max

    def check(self, facts: Facts) -> None:
        """Assert the invariants; tests call it after every tick."""
        assert len(self._moves) <= limits.moves_at_once_max
        assert all(self._not_before.get(slot, 0.0) == 0.0 or slot not in self._moves for slot in self._moves)
