"""Which replicas a slot should have: who is a member, the wish over the members, and the next step towards it. Pure.

A set changes by one member at a time, so that a majority of what was there stays and no step puts a record at risk: a
claim recovers from the old set and begins with the new one (rule 16), and the newcomer catches up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from homing.locations import Layout, Part
from homing_node import limits
from homing_node.slot_loads import Swaps
from homing_placement.loads import weights
from homing_placement.planner import Member, wish
from homing_placement.records import LoadRecord, Replica


@dataclass(frozen=True, slots=True)
class Seen:
    """A registered node as it is seen now."""

    node: str
    disk: str
    zone: str
    draining: bool
    ready: bool  # it is not draining, and has a stream with that disk (the node itself: always)


@dataclass(slots=True)
class _Planned:
    """What is wished for one part of the slots.

    Attributes:
        part: which.
        wish: for each of these slots its nodes, the owner first; empty: there is none.
        wished_for: what it was made from.
        swaps: exchanges of owners for load, within the part.
        crowded: more of these slots belong to this node than to the others.
    """

    part: Part
    wish: list[list[str]] = field(default_factory=list[list[str]])
    wished_for: object = None
    swaps: Swaps = field(default_factory=Swaps)
    crowded: bool = False


class ReplicaSets:
    """What each slot's set should be.

    Args:
        me: this node's id.
        copies: how many replicas a slot has.
        replace_after_s: a node that is gone for so long is no member any more.
        layout: the cluster's slots. Each part of them is planned by itself, over the nodes that it admits.

    Attributes:
        settled: node to disk, of those that have been ready for `limits.settle_s`.
    """

    def __init__(self, me: str, copies: int, replace_after_s: float, layout: Layout) -> None:
        self._me = me
        self._copies = copies
        self._replace_after_s = replace_after_s
        self._layout = layout
        self._planned = [_Planned(part) for part in layout.parts]
        self.settled: dict[str, str] = {}
        self._ready_since: dict[tuple[str, str], float] = {}
        self._draining_since: dict[str, float] = {}
        self._gone_since: dict[str, float] = {}
        self._zones: dict[str, str] = {}
        self._members: frozenset[str] = frozenset()
        self._now = 0.0

    def look(self, nodes: Iterable[Seen], now: float) -> None:
        """See which nodes are registered; `now` in monotonic seconds."""
        self._now = now
        zones, before = self._zones, self._ready_since
        self._zones = {**zones, **{seen.node: seen.zone for seen in nodes}}
        drains = self._draining_since
        self._draining_since = {seen.node: drains.get(seen.node, now) for seen in nodes if seen.draining}
        ready = [(seen.node, seen.disk) for seen in nodes if seen.ready]
        self._ready_since = {key: before.get(key, now) for key in ready}
        self.settled = {node: disk for (node, disk), at in self._ready_since.items() if now - at >= limits.settle_s}

    def plan(
        self,
        nodes: Iterable[str],
        sets: Sequence[Sequence[str]],
        now: float,
        loads: Mapping[str, LoadRecord] | None = None,
    ) -> bool:
        """Make the wish over the members: who is there, or was there lately, and does not drain for long.

        There is none for a part of the slots as long as this node or a set of them is not known.

        Args:
            nodes: every registered node.
            sets: the nodes of the ACTIVE set of every slot; empty where it is not known.
            now: monotonic seconds.
            loads: what nodes say of the load of their slots. Who says nothing has just come back, or is not there:
                as if it were idle, it would be given slots that go back when it has counted its own.

        Returns:
            Whether it, or what else `following` rests on, is another than before.
        """
        before = (self._members, self._gone_since.keys())
        there = set(nodes)
        gone = {node for each in sets for node in each} - there
        self._gone_since = {node: self._gone_since.get(node, now) for node in gone}
        leaving = {node for node, since in self._draining_since.items() if now - since >= limits.leaving_s}
        late = {node for node, since in self._gone_since.items() if now - since < self._replace_after_s}
        self._members = frozenset((there - leaving) | late) or frozenset(there)
        changed = before != (self._members, self._gone_since.keys())
        for planned in self._planned:
            was = (planned.wished_for, planned.crowded, planned.swaps.under_way)
            self._plan_part(planned, sets[planned.part.first : planned.part.slots.stop], there, now, loads)
            changed = changed or was != (planned.wished_for, planned.crowded, planned.swaps.under_way)
        return changed

    def _plan_part(
        self,
        planned: _Planned,
        sets: Sequence[Sequence[str]],
        there: Collection[str],
        now: float,
        loads: Mapping[str, LoadRecord] | None,
    ) -> None:
        part = planned.part
        kept = {node for each in sets for node in each}
        # The zone of a node that has been away since this one started is not known: it was right when it got its copy.
        zones, old = self._zones, kept - self._zones.keys()
        admitted = {node for node in self._members if node in old or part.admits(zones.get(node, ""))}
        members = tuple(Member(node, zones.get(node, "")) for node in sorted(admitted))
        wished_for = (members, tuple(map(tuple, sets)))
        if self._me not in there or not members or len(sets) < part.count or not all(sets):
            planned.wished_for, planned.wish = None, []
        elif wished_for != planned.wished_for:
            planned.wished_for = wished_for
            planned.wish = wish(part.count, members, self._copies, sets, part.first)
            mine = sum(each[0] == self._me for each in sets)
            planned.crowded = mine * len(members) > limits.crowded_share * part.count
        told = loads and planned.wish and admitted <= loads.keys()
        hot = weights(loads.values()) if loads and told else {}
        weighed = {slot - part.first: weight for slot, weight in hot.items() if slot in part.slots}
        planned.swaps.look(sets, frozenset(admitted), weighed, now)

    def following(
        self,
        slot: int,
        replicas: Sequence[Replica],
        distrusted: Collection[str],
        behind: Collection[str] = (),
        silent: Collection[str] = (),
        *,
        busy: bool,
    ) -> tuple[Replica, ...] | None:
        """The next set of a slot that this node owns; None: it stays as it is, or nothing can be done now.

        Args:
            slot: its number.
            replicas: its ACTIVE set, in order.
            distrusted: members that say that their data must not count (rule 17).
            behind: members that lack records or are not there; unless they leave, what is not urgent waits for them.
            silent: those of them that have confirmed nothing. One that is there must first begin to take the slot in,
                before there may be another: under a later epoch it would not be new any more, and not be filled.
            busy: replicas of other slots are catching up; what puts more to that waits, or is not urgent.
        """
        held = [replica for replica in replicas if self.settled.get(replica.node) == replica.disk]
        sound = [replica for replica in held if replica.node not in distrusted]
        if len(sound) < len(replicas) // 2 + 1:
            return None
        if len(sound) < len(held):
            return tuple(replica for replica in replicas if replica in sound or replica not in held)
        if len(held) < len(replicas):
            renewed = tuple(Replica(each.node, self.settled.get(each.node, each.disk)) for each in replicas)
            if renewed != tuple(replicas):
                return None if busy else renewed
        planned = self._planned[self._layout.number_of(slot)]
        if not planned.wish:
            return None
        order = planned.wish[slot - planned.part.first]
        there = {replica.node for replica in replicas}
        fresh = next((node for node in order if node not in there and node in self.settled), "")
        if fresh and len(replicas) < self._copies:
            if any(replica.node in silent for replica in held):
                return None
            return self._ordered([*replicas, Replica(fresh, self.settled[fresh])], order)
        leaving = [r for r in replicas if r.node not in order and r.node != self._me]
        gone = [r for r in leaving if r.node in self._gone_since and r.node not in self._members]
        old = next(iter(gone or leaving), None)
        rest = [replica for replica in replicas if replica != old]
        busy = busy or any(replica.node in behind for replica in rest)
        if fresh and old is not None and (gone or not busy):
            return self._ordered([*rest, Replica(fresh, self.settled[fresh])], order)
        if busy:
            return None
        unfit = self._me not in order or (planned.crowded and not planned.swaps.under_way)
        if unfit and (ordered := self._ordered(replicas, order)) != tuple(replicas):
            return ordered
        return self._swapped(planned, slot, replicas)

    def _swapped(self, planned: _Planned, slot: int, replicas: Sequence[Replica]) -> tuple[Replica, ...] | None:
        """The same set with the node first that should own the slot for the sake of load; None: it is as it should."""
        owner = planned.swaps.owner_of(slot - planned.part.first, self._now)
        if owner not in self.settled or replicas[0].node != self._me or all(each.node != owner for each in replicas):
            return None
        nexts = tuple(sorted(replicas, key=lambda each: each.node != owner))
        return nexts if nexts != tuple(replicas) else None

    def _ordered(self, replicas: Sequence[Replica], order: Sequence[str]) -> tuple[Replica, ...]:
        rank = {node: number for number, node in enumerate(order)}
        return tuple(sorted(replicas, key=lambda replica: rank.get(replica.node, len(rank))))
