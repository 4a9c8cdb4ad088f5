"""The wish: which node should own each slot and which should keep its log. A pure function of what is known.

Every slot orders the nodes by a hash of (node, slot), weighted (rendezvous hashing): each node that joins or leaves
changes only its own share. On top of that no node owns or keeps more than its share rounded up, replicas are in
different zones where there are enough, and what the current table says is kept unless it breaks one of these rules.
Zones come before even shares of copies. The slots of a jurisdiction are planned by themselves, over the nodes of its
zones and no others.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from homing.locations import Part
from homing_placement.copies import Copies

Table = list[list[str]]


@dataclass(frozen=True, slots=True)
class Member:
    """A node that may own slots.

    Attributes:
        id: its name.
        zone: replicas of a slot avoid sharing one.
        weight: its share, relative to the others; above 0.
    """

    id: str
    zone: str = ""
    weight: float = 1.0


def wish(
    slots: int, members: Sequence[Member], replicas: int, current: Sequence[Sequence[str]] = (), first: int = 0
) -> Table:
    """For each slot the nodes that should keep it, the owner first and the others in the order they would take over.

    Args:
        slots: how many there are.
        members: nodes that may be used, in any order; none twice.
        replicas: how many nodes keep a slot; fewer when there are fewer members.
        current: what holds now, the same form; empty, or slots that are empty, for a new cluster.
        first: the number of the first of these slots.

    Returns:
        `slots` lists of node ids. The same arguments give the same result; a result that is passed back as `current`
        gives itself.

    Example:
        >>> table = wish(1024, [Member("a"), Member("b"), Member("c")], replicas=2)
        >>> len(table), len(table[0])
        (1024, 2)
    """
    if not members:
        return [[] for _ in range(slots)]
    by_id = {member.id: member for member in members}
    assert len(by_id) == len(members), "a member is listed twice"
    orders = [_order(first + slot, members) for slot in range(slots)]
    held = [[node for node in nodes if node in by_id] for nodes in current] or [[] for _ in range(slots)]
    assert len(held) == slots, "the current table has another number of slots"
    owned = [nodes[0] if nodes and nodes[0] in by_id else "" for nodes in current] or [""] * slots
    owners = _owners(orders, held, owned, by_id)
    return _replicas(orders, held, owners, by_id, min(replicas, len(members)))


def wish_of_part(part: Part, members: Sequence[Member], replicas: int, current: Sequence[Sequence[str]] = ()) -> Table:
    """The wish for a part of a cluster's slots: over the nodes that it admits, whatever else they keep.

    Args:
        part: the slots.
        members: all nodes that may be used.
        replicas, current: as for `wish`; `current` of these slots only.

    Returns:
        As `wish`. Where the part admits no member, each of its lists is empty: nobody else will do.
    """
    admitted = [member for member in members if part.admits(member.zone)]
    return wish(part.count, admitted, replicas, current, part.first)


def _order(slot: int, members: Sequence[Member]) -> list[str]:
    """Members by weighted rendezvous: the lowest -ln(u)/weight first; node and slot fix u in (0, 1)."""
    scored = [(-math.log(_uniform(member.id, slot)) / member.weight, member.id) for member in members]
    return [node for _, node in sorted(scored)]


def _uniform(node: str, slot: int) -> float:
    digest = hashlib.blake2b(f"{node}\0{slot}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2.0**64


def _owners(orders: list[list[str]], held: list[list[str]], owned: list[str], members: dict[str, Member]) -> list[str]:
    """One owner a slot: the current one, else the best in order, nobody above the own share rounded up."""
    whole = sum(member.weight for member in members.values())
    room = {node: math.ceil(len(orders) * member.weight / whole - 1e-9) for node, member in members.items()}
    owners = [""] * len(orders)
    # Who stays: among more slots than the share, those that like their owner best (fewest nodes before it).
    kept = sorted((orders[slot].index(node), slot) for slot, node in enumerate(owned) if node)
    for _, slot in kept:
        node = owned[slot]
        if room[node] > 0:
            room[node] -= 1
            owners[slot] = node
    for slot, order in enumerate(orders):
        if not owners[slot]:
            # A replica becomes owner without copying anything, so those go first.
            candidates = [node for node in order if node in held[slot]] + order
            owners[slot] = next(node for node in candidates if room[node] > 0)
            room[owners[slot]] -= 1
    return owners


def _replicas(
    orders: list[list[str]], held: list[list[str]], owners: list[str], members: dict[str, Member], count: int
) -> Table:
    """Owner first; then others, in order: kept ones, then the best, in zones of their own; and all of it even."""
    whole = sum(member.weight for member in members.values())
    share = {node: math.ceil(len(orders) * count * member.weight / whole - 1e-9) for node, member in members.items()}
    room = dict(share)
    zones = len({member.zone for member in members.values()})
    chosen: list[list[str]] = [[owner] for owner in owners]
    for owner in owners:
        room[owner] -= 1

    def fill(slot: int, candidates: Sequence[str], *, zoned: bool, capped: bool) -> None:
        nodes = chosen[slot]
        taken = {members[node].zone for node in nodes}
        for node in candidates:
            if len(nodes) == count:
                return
            zone = members[node].zone
            if node in nodes or (zoned and zone in taken) or (capped and room[node] <= 0):
                continue
            nodes.append(node)
            taken.add(zone)
            room[node] -= 1

    spread = zones >= count
    # Where a new owner leaves too many, who owns the slot stays, and who would keep most elsewhere goes.
    kept = Counter(node for nodes in held for node in nodes)
    for slot, nodes in enumerate(held):
        others = sorted(nodes[1:], key=lambda node: ((kept[node] - share[node]) / members[node].weight, node))
        fill(slot, nodes[:1] + others, zoned=spread, capped=False)
        kept.subtract(set(nodes).difference(chosen[slot]))
    for slot, order in enumerate(orders):
        # Each rule that cannot be kept is given up in turn: the share, then the zones.
        fill(slot, order, zoned=True, capped=True)
        fill(slot, order, zoned=True, capped=False)
        fill(slot, order, zoned=False, capped=True)
        fill(slot, order, zoned=False, capped=False)
    weights = {node: member.weight for node, member in members.items()}
    Copies(chosen, held, orders, weights, {node: member.zone for node, member in members.items()}).even()
    for slot, order in enumerate(orders):
        chosen[slot][1:] = sorted(chosen[slot][1:], key=order.index)
    return chosen
