"""Which replicas a slot should have, where its record names a disk that is gone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homing_placement.records import Replica


def readmitted(replicas: Sequence[Replica], disks: Mapping[str, str]) -> tuple[Replica, ...] | None:
    """The same nodes with the disks that they have now, or None if nothing changes or nothing can (rules 16, 17).

    A node that came with another disk lost what it had; under its new disk it is a replica that lacks everything, and
    counts again as soon as it confirms. So those that stay must be a majority.

    Args:
        replicas: the ACTIVE set.
        disks: of the nodes that are up and have a stream, settled ones only.

    Example:
        >>> readmitted([Replica("a", "1"), Replica("b", "2"), Replica("c", "3")], {"c": "9"})[2]
        Replica(node='c', disk='9')
    """
    nexts = tuple(Replica(replica.node, disks.get(replica.node, replica.disk)) for replica in replicas)
    stay = len(set(nexts) & set(replicas))
    if stay == len(replicas) or stay < len(replicas) // 2 + 1:
        return None
    return nexts
