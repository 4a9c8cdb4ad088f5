"""What an owner knows of one replica. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from homing_node.log.snapshots import Sending


@dataclass(slots=True)
class Follower:
    """What the owner knows of one replica.

    Invariants: match <= sent; match only grows, and only by that replica's own word under this epoch.
    """

    disk: str
    match: int = 0  # durable there and equal, in this epoch
    sent: int = 0  # sent and not refused
    ahead_bytes: int = 0  # sent above match
    moved_at: float = 0.0  # when match last grew, or sending began
    commit_sent: int = 0
    applied: int = 0  # its pages hold everything up to here
    joins: bool = False  # it counted for nothing before this epoch, and has confirmed nothing in it
    distrusted: bool = False  # it said that its data must not count (rule 17)
    sending: Sending | None = None  # a snapshot on its way there
    need_lsn: int = 0  # what was sent again last because it asked for it, and when
    need_at: float = float("-inf")
