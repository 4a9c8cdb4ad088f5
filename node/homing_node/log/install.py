"""How a replica takes a snapshot in: what it had is dropped, parts come in order, the last makes it whole. Pure.

From the first part to the last its data counts for nothing (rule 17), also after a restart in between: the store says
so. Its promise still counts where that is safe.
"""

from __future__ import annotations

from dataclasses import dataclass

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log.replica import NEVER, Replica
from homing_node.log.store import PutObject, PutPages, SetApplied, SetWhole


@dataclass(slots=True)
class Installing:
    """A snapshot that is not whole yet."""

    epoch: int
    base_lsn: int
    parts: int = 1  # taken so far


def take(replica: Replica, sender: str, m: wire.Snapshot) -> None:
    """A part of a snapshot from the owner (rules 4, 6, 17, 24)."""
    if not replica.accepts(m.epoch, m.claimant):
        replica.refuse(sender, m.epoch)
        return
    fresh = m.epoch > replica.promised
    if fresh:
        replica.promise(m.epoch, m.claimant)
    answer = wire.Snapshotted(slot=m.slot, epoch=m.epoch, base_lsn=m.base_lsn, part=m.part)
    wrote, said = fresh, True
    known = replica.installing
    mine = known if known is not None and (known.epoch, known.base_lsn) == (m.epoch, m.base_lsn) else None
    if replica.healthy and _has(replica, m):
        replica.commit = max(replica.commit, m.base_lsn)
        answer.whole = True
    elif not replica.healthy and m.epoch <= replica.joins_above:
        _refuse(replica, sender, m)
        said = False
    elif m.part == 0 and mine is None and _may_drop(replica, m):
        replica.drop(Installing(m.epoch, m.base_lsn), votes=_votes(replica, m))
        wrote = True
    elif mine is not None and m.part == mine.parts:
        _add(replica, m)
        mine.parts += 1
        answer.whole = m.last
        wrote = True
    elif mine is None and m.part and not replica.healthy:
        answer.again = True  # another process took the parts before
    elif mine is None and not replica.healthy:
        replica.refuse_data(sender, m.epoch)
        said = False
    else:
        said = mine is not None and m.part < mine.parts  # twice: it got lost, or the owner goes on after a break
    if said:
        replica.answer_when_durable(sender, answer, wrote=wrote)
    elif wrote:
        replica.hold()


def _refuse(replica: Replica, sender: str, m: wire.Snapshot) -> None:
    """Tell an owner that it may not fill this replica, and if that is known, that a later epoch may."""
    if replica.joins_above == NEVER:
        replica.refuse_data(sender, m.epoch)
    else:
        refusal = wire.Appended(slot=m.slot, epoch=m.epoch, outcome=wire.APPEND_OUTCOME_FORGOT)
        replica.out.sends.append((sender, refusal))


def _may_drop(replica: Replica, m: wire.Snapshot) -> bool:
    """Whether what is here may go. An incomplete slot has nothing; a healthy one lacks committed records.

    Those records are on a majority without it, so nothing that it has is needed. One that is damaged may have confirmed
    what it has lost, or promised: only where it did not count before this epoch does that not matter (rule 16), and
    where the epoch was claimed after that loss, for it may have promised a higher one since (`joins_above`).
    """
    return m.joins or replica.healthy or replica.incomplete


def _has(replica: Replica, m: wire.Snapshot) -> bool:
    """Whether the log here holds all that the snapshot does: equal hashes at an lsn mean equal logs up to it."""
    return replica.commit >= m.base_lsn or replica.hash_at(m.base_lsn) == (m.base_epoch, m.base_hash)


def _votes(replica: Replica, m: wire.Snapshot) -> bool:
    """Whether its promises go on to count while it has nothing.

    Everything that it confirmed must be elsewhere. Records up to the base are in the pages of a majority without it,
    and every majority with it has one of those. What a healthy one has above is not in the owner's log, for that would
    hold the base, too. And one that was no member before this epoch has confirmed nothing that counts. Without its
    vote, a second failure while it catches up would stop the slot for good.
    """
    return m.joins or replica.healthy or (replica.incomplete and replica.votes)


def _add(replica: Replica, m: wire.Snapshot) -> None:
    writes = replica.out.writes
    for part in m.objects:
        if part.pages:
            pages = dict(enumerate(part.pages, part.first_page))
            writes.append(PutPages(part.id, pages, part.page_count))
        if part.first_page == 1:
            writes.append(PutObject(part.id, part.data, part.wake_ms))
    if m.last:
        writes.append(SetApplied(m.slot, m.base_lsn, m.base_epoch, m.base_hash))
        writes.append(SetWhole(m.slot))
        replica.become_whole(m.base_lsn, m.base_epoch, m.base_hash)
