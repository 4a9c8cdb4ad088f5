"""Rule 19: may an effect without a record leave? A majority must say, after it was ready, that it promised no more.

A question has a number that grows over the whole node. A round to a peer asks for all slots with open questions and
answers every question put before the round was sent; there is one round on its way to a peer at a time. Only as many
peers are asked as a majority needs, for all slots the same ones where that can be, so that rounds are few and long; the
others when an answer is late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.effects import EpochConfirmed, Outbox


@dataclass(slots=True)
class _Round:
    number: int
    asked: int  # questions up to this number are in it
    slots: dict[int, int]  # slot to epoch
    sent_at: float


@dataclass(slots=True)
class _Slot:
    """Open questions of one slot. Invariant: confirmed <= asked."""

    epoch: int
    disks: dict[str, str]  # the other members of the set, in the order of asking: node to disk (rule 17)
    needed: int  # how many of them make a majority with the node's own store
    asked: int = 0
    confirmed: int = 0
    since: float = 0.0  # when the oldest open question was put, or the last was answered
    heard: dict[str, int] = field(default_factory=dict[str, int])  # peer to the last question it answered
    refusing: set[str] = field(default_factory=set[str])  # peers that answered in time, and not with yes


class Confirmer:
    """All open questions of a node.

    Args:
        node: whose they are. It asks the peers that follow it in the order of ids first: so each node is asked by one.
        out: where rounds and news go.
    """

    def __init__(self, node: str, out: Outbox) -> None:
        self._node = node
        self.out = out
        self._slots: dict[int, _Slot] = {}
        self._todo: dict[str, dict[int, int]] = {}  # peer to the slots of its next round
        self._flying: dict[str, _Round] = {}
        self._quick: set[str] = set()  # peers with a stream that answered their last round in time
        self._up: set[str] = set()
        self._question = 0
        self._round = 0

    def open(self, slot: int, epoch: int, others: Mapping[str, str]) -> None:
        """A slot became ACTIVE here; `others` are the other members of its set, node to disk."""
        in_turn = sorted(others, key=lambda peer: (peer < self._node, peer))
        self._slots[slot] = _Slot(epoch, {peer: others[peer] for peer in in_turn}, (len(others) + 1) // 2)

    def close(self, slot: int) -> None:
        """A slot is owned here no more."""
        self._slots.pop(slot, None)
        for todo in self._todo.values():
            todo.pop(slot, None)

    def ask(self, slot: int, now: float) -> int:
        """Put a question; returns its number, or 0 if the node's own store is a majority (one replica)."""
        state = self._slots[slot]
        if not state.needed:
            return 0
        self._question += 1
        if state.asked == state.confirmed:
            state.since = now
        state.asked = self._question
        quick = [peer for peer in state.disks if peer in self._quick and peer not in state.refusing]
        for peer in quick[: state.needed] if len(quick) >= state.needed else state.disks:
            self._todo.setdefault(peer, {})[slot] = state.epoch
        return self._question

    def flush(self, now: float) -> None:
        """Send a round to every peer that has open questions and no round on its way."""
        for peer, todo in self._todo.items():
            if not todo or peer in self._flying or peer not in self._up:
                continue
            self._round += 1
            self._flying[peer] = _Round(self._round, self._question, todo, now)
            self._todo[peer] = {}
            message = wire.Confirm(round=self._round, slots=list(todo), epochs=list(todo.values()))
            self.out.sends.append((peer, message))

    def on_confirmed(self, peer: str, disk: str, m: wire.Confirmed, now: float) -> dict[int, int]:
        """A peer answered a round; returns the slots that it refused, with its promises."""
        flying = self._flying.get(peer)
        if flying is None or flying.number != m.round:
            return {}
        del self._flying[peer]
        self._quick.add(peer)
        refused = dict(zip(m.refused_slots, m.refused_promises, strict=True))
        for slot, epoch in flying.slots.items():
            state = self._slots.get(slot)
            if state is None or state.epoch != epoch:
                continue
            if slot in refused or state.disks.get(peer) != disk:
                self._ask_others(slot, state, peer)
            else:
                state.refusing.discard(peer)
                state.heard[peer] = flying.asked
                self._settle(slot, state, now)
        return {slot: promised for slot, promised in refused.items() if slot in flying.slots}

    def _ask_others(self, slot: int, state: _Slot, peer: str) -> None:
        """A peer answered in time, and does not count for the slot: its data is not trusted, or on another disk."""
        state.refusing.add(peer)
        if state.confirmed < state.asked:
            for other in state.disks:
                if other not in state.refusing:
                    self._todo.setdefault(other, {})[slot] = state.epoch

    def _settle(self, slot: int, state: _Slot, now: float) -> None:
        heard = sorted((state.heard.get(peer, 0) for peer in state.disks), reverse=True)
        number = min(heard[state.needed - 1], state.asked)
        if number > state.confirmed:
            state.confirmed = number
            state.since = now
            self.out.news.append(EpochConfirmed(slot, number))

    def peer_up(self, peer: str) -> None:
        """A stream to a peer is there."""
        self._up.add(peer)
        self._flying.pop(peer, None)
        self._ask_again(peer)

    def peer_down(self, peer: str) -> None:
        """The stream to a peer is gone, and the round on it."""
        self._up.discard(peer)
        self._slow(peer)

    def _slow(self, peer: str) -> None:
        """A peer did not answer: ask the others what it was asked."""
        self._quick.discard(peer)
        self._flying.pop(peer, None)
        for other in sorted(self._up):  # in an order that does not change from run to run
            self._ask_again(other)

    def _ask_again(self, peer: str) -> None:
        todo = self._todo.setdefault(peer, {})
        for slot, state in self._slots.items():
            if state.confirmed < state.asked and peer in state.disks:
                todo[slot] = state.epoch

    def tick(self, now: float) -> None:
        """Rounds without an answer count as lost; their questions are put again, to everybody."""
        for peer, flying in list(self._flying.items()):
            if now - flying.sent_at > limits.confirm_patience_s:
                self._slow(peer)

    def expired(self, now: float, limit_s: float) -> list[int]:
        """Slots whose oldest question has waited longer than `limit_s`."""
        return [
            slot for slot, state in self._slots.items() if state.confirmed < state.asked and now - state.since > limit_s
        ]
