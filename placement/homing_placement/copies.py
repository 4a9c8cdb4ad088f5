"""Copies made even: some move from nodes that keep more than their share to nodes that keep less. Pure.

Only copies that need not be with the owner move, one for another, and as few as can be: in one step where a node that
keeps too much has a copy which one that keeps too little may take, else over nodes in between. A set of nodes is a
number here, a bit for each node, because a plan asks for many of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

Move = tuple[int, int, int]
"""A slot, the node (its bit's place) that keeps a copy of it, and the node that shall."""


class Copies:
    """The copies of all slots, and how many each node keeps.

    Args:
        chosen: for each slot its nodes, the owner first; changed in place.
        held: for each slot the nodes that keep it now; a copy there costs nothing.
        orders: for each slot all nodes, the best first.
        weights: node to its share relative to the others. Their order does not matter.
        zones: node to its zone.

    Invariants: no step lessens the number of zones of a slot or moves an owner.
    """

    def __init__(
        self,
        chosen: list[list[str]],
        held: Sequence[Collection[str]],
        orders: Sequence[Sequence[str]],
        weights: Mapping[str, float],
        zones: Mapping[str, str],
    ) -> None:
        self._names = sorted(weights)
        places = {name: place for place, name in enumerate(self._names)}
        self._weights = [weights[name] for name in self._names]
        self._chosen, self._held, self._orders = chosen, held, orders
        self._all = (1 << len(self._names)) - 1
        by_zone: dict[str, int] = {}
        for name, place in places.items():
            by_zone[zones[name]] = by_zone.get(zones[name], 0) | 1 << place
        self._zone = [by_zone[zones[name]] for name in self._names]  # the nodes of a node's zone
        self._sets = [[places[name] for name in nodes] for nodes in chosen]
        self._slots = [set[int]() for _ in self._names]  # those that a node keeps and does not own
        self._count = [0] * len(self._names)
        for slot, nodes in enumerate(self._sets):
            for number, node in enumerate(nodes):
                self._count[node] += 1
                if number:
                    self._slots[node].add(slot)

    def even(self) -> None:
        """Move copies until no node keeps more than its share, but for those that zones or owners force to."""
        # Each step makes the whole more even, so this ends; a pass without a step means that another would find none.
        while self._pass():
            pass

    def _pass(self) -> bool:
        """Bring every node to its share; those that no step can bring down share what they have among themselves."""
        moved = False
        groups = [list(range(len(self._names)))]
        while groups:
            group = groups.pop()
            caps = self._shares(group)
            moved = self._directly(caps) or moved
            path, stuck = self._search(caps)
            while path:
                moved = True
                for move in path:
                    self._move(*move)
                path, stuck = self._search(caps)
            parts = [[node for node in group if (stuck >> node & 1) == part] for part in (0, 1)]
            if all(parts):
                groups += parts
        return moved

    def _shares(self, group: Sequence[int]) -> list[int]:
        """How many copies each node may keep: of those of the group by weight, rounded up; others what they have."""
        caps = list(self._count)
        copies, whole = sum(self._count[node] for node in group), sum(self._weights[node] for node in group)
        for node in group:
            caps[node] = math.ceil(copies * self._weights[node] / whole - 1e-9)
        return caps

    def _directly(self, caps: Sequence[int]) -> bool:
        """Move from nodes above their share to those below, the cheapest and best liked first."""
        nodes = range(len(caps))
        above, below = [[n for n in nodes if sign * (self._count[n] - caps[n]) > 0] for sign in (1, -1)]
        found: list[tuple[int, int, int, int, int]] = []
        for node in above:
            for slot in self._slots[node]:
                takers = self._takers(slot, node)
                found += [(*self._cost(slot, node, new), slot, node, new) for new in below if takers >> new & 1]
        moved = False
        for *_, slot, node, new in sorted(found):
            wanted = self._count[node] > caps[node] and self._count[new] < caps[new]
            if wanted and slot in self._slots[node] and self._takers(slot, node) >> new & 1:
                self._move(slot, node, new)
                moved = True
        return moved

    def _search(self, caps: Sequence[int]) -> tuple[list[Move], int]:
        """The shortest chain of moves that takes a copy from a node above its share to one below.

        Returns:
            The chain, and 0; or nothing, and the nodes above their share with all that copies of theirs could go to.
        """
        nodes = range(len(caps))
        front = [node for node in nodes if self._count[node] > caps[node]]
        came: dict[int, Move] = {}
        seen = sum(1 << node for node in front)
        while front:
            later: list[int] = []
            for node in front:
                for new, slot in self._next(node, ~seen).items():
                    came[new] = (slot, node, new)
                    if self._count[new] < caps[new]:
                        return self._chain(came, new), 0
                    seen |= 1 << new
                    later.append(new)
            front = later
        return [], seen

    def _next(self, node: int, wanted: int) -> dict[int, int]:
        """Nodes of `wanted` that may take a copy of this one, each with the slot that suits it best."""
        best: dict[int, tuple[int, int, int]] = {}
        for slot in self._slots[node]:
            takers = self._takers(slot, node) & wanted
            while takers:
                new = (takers & -takers).bit_length() - 1
                takers &= takers - 1
                best[new] = min(best.get(new, (9, 0, 0)), (*self._cost(slot, node, new), slot))
        return {new: best[new][2] for new in sorted(best)}

    def _chain(self, came: Mapping[int, Move], last: int) -> list[Move]:
        """The moves of a path from its end; the last move comes first, so that no slot is given twice."""
        chain: list[Move] = []
        while last in came:
            chain.append(came[last])
            last = came[last][1]
        return chain

    def _takers(self, slot: int, node: int) -> int:
        """Who may have a node's copy of a slot: who has none, in a zone of its own unless the node itself has none."""
        others = taken = 0
        for other in self._sets[slot]:
            if other != node:
                others |= 1 << other
                taken |= self._zone[other]
        shared = taken >> node & 1
        return self._all & ~(others if shared else taken) & ~(1 << node)

    def _cost(self, slot: int, node: int, new: int) -> tuple[int, int]:
        """What it costs: copies that move, less those that then need not; then how little the slot likes the node."""
        held, names = self._held[slot], self._names
        return (names[new] not in held) - (names[node] not in held), self._orders[slot].index(names[new])

    def _move(self, slot: int, node: int, new: int) -> None:
        number = self._sets[slot].index(node)
        assert number, "an owner does not move"
        self._sets[slot][number] = new
        self._chosen[slot][number] = self._names[new]
        self._slots[node].remove(slot)
        self._slots[new].add(slot)
        self._count[node] -= 1
        self._count[new] += 1
