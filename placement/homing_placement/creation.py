"""The first record of each slot: when it is made, by whom, and which nodes it names. Pure.

Each is written only where there is none, so etcd keeps one, whoever writes it; these rules wait for enough nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from homing.locations import Part
from homing_placement.limits import FIRST_BOOT_PATIENCE_S, SHORT_BOOT_PATIENCE_S
from homing_placement.planner import Member, wish_of_part
from homing_placement.records import NodeRecord, Replica, SlotRecord, SlotState


class Creation:
    """What one node makes.

    Args:
        me: the node's id.
        parts: the cluster's slots.
        replicas: how many copies a slot gets.
        initial_nodes: how many nodes must be registered before.
    """

    def __init__(self, me: str, parts: Sequence[Part], replicas: int, initial_nodes: int) -> None:
        self._me = me
        self._parts = parts
        self._replicas = replicas
        self._initial_nodes = initial_nodes
        self._count = sum(part.count for part in parts)
        self._since: dict[Part, float] = {}  # since when the records of a part could be made

    def due(
        self, nodes: Sequence[NodeRecord], absent: AbstractSet[int], may: Callable[[int], bool], now: float
    ) -> list[tuple[int, SlotRecord]]:
        """The records to write now, by slot.

        Args:
            nodes: those that are up, this one among them.
            absent: the slots that have none.
            may: whether one of them may be written now.
            now: monotonic seconds.
        """
        found: list[tuple[int, SlotRecord]] = []
        disks = {node.id: node.disk for node in nodes}
        started = len(absent) < self._count
        for part in self._parts:
            if absent.isdisjoint(part.slots):
                continue
            patience_s = self._patience_s(part, nodes, started=started)
            since = self._since[part] = now if patience_s == math.inf else self._since.get(part, now)
            slots = [slot for slot in part.slots if slot in absent and may(slot)] if now - since >= patience_s else []
            if slots:
                table = wish_of_part(part, [Member(node.id, node.zone) for node in nodes], self._replicas)
                found += [(slot, _unowned(table[slot - part.first], disks)) for slot in slots]
        return found

    def _patience_s(self, part: Part, nodes: Sequence[NodeRecord], *, started: bool) -> float:
        """How long to wait for others; for ever where nobody may keep these slots."""
        members = sum(part.admits(node.zone) for node in nodes)
        if not members:
            return math.inf
        if len(nodes) < self._initial_nodes:
            # Records that are there already were made by nodes that this one may just not have seen yet.
            return SHORT_BOOT_PATIENCE_S if started else math.inf
        if part.jurisdiction is not None and members < self._replicas and len(nodes) > self._initial_nodes:
            return SHORT_BOOT_PATIENCE_S  # more of its zones may be about to come
        return 0.0 if min(node.id for node in nodes) == self._me else FIRST_BOOT_PATIENCE_S


def _unowned(nodes: Sequence[str], disks: dict[str, str]) -> SlotRecord:
    replicas = tuple(Replica(node, disks[node]) for node in nodes)
    return SlotRecord(0, SlotState.ACTIVE, None, replicas)
