"""One slot's ownership: seal, choose, copy, serve. Pure, over the node's own `Replica` of the slot.

The states follow rules 10-14: SEALING until a majority of the ACTIVE set has promised, FETCHING the best log,
COPYING it and a barrier to a majority of the next set; COPIED, then ACTIVE once the slot record says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits, record, snapshots
from homing_node.log.effects import Advanced, Lost, Outbox, Recovered
from homing_node.log.follower import Follower
from homing_node.log.replica import Replica
from homing_node.log.snapshots import Room

Member = tuple[str, str]
"""A replica's identity: node id and disk id. A node with a new disk is another replica (rule 17)."""


class Stage:
    """How far an ownership has come. No `Enum`: Python 3.11 takes 60 ns to look up a member."""

    SEALING: Final = "sealing"
    FETCHING: Final = "fetching"
    COPYING: Final = "copying"
    COPIED: Final = "copied"
    ACTIVE: Final = "active"
    ENDED: Final = "ended"


APPENDING = (Stage.COPYING, Stage.COPIED, Stage.ACTIVE)


class Owner:
    """An ownership of one slot under one epoch.

    Invariants (see `invariants.py`): nothing is committed before ACTIVE; commit never exceeds what a majority of the
    replica set holds durably; every record above the barrier has this epoch.
    """

    def __init__(
        self,
        replica: Replica,
        out: Outbox,
        me: Member,
        epoch: int,
        claimant: str,
        replicas: Sequence[Member],
        next_replicas: Sequence[Member],
        disks: Mapping[str, str],
        room: Room,
        now: float,
    ) -> None:
        self.replica = replica
        self.slot = replica.slot
        self.out = out
        self.me = me
        self.epoch = epoch
        self.claimant = claimant
        self.replicas = dict(replicas)
        self.next_replicas = dict(next_replicas)
        self.room = room  # for snapshots that are sent
        self._disks = disks  # node id to the disk its peer stream named
        self.stage = Stage.SEALING
        self.barrier_lsn = 0
        self.seals: dict[str, wire.Sealed] = {}
        self.chosen: wire.Sealed | None = None
        self.chosen_node = ""
        self.since = now  # when this stage was entered or last moved
        self.waiting_since: float | None = None  # first moment of the oldest record without a majority
        others = {**self.replicas, **self.next_replicas}
        others.pop(me[0], None)
        self.followers = {node: Follower(disk) for node, disk in others.items()}
        for node, follower in self.followers.items():
            follower.joins = self.replicas.get(node) != follower.disk

    # -- takeover ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Promise to oneself and ask the others to (rule 10)."""
        replica = self.replica
        if not replica.healthy or not self._is_member(self.me[0], self.replicas):
            reason = "this replica is not to be trusted, or another disk was"
            self.lose(replica.promised, reason, lacking=not replica.healthy)
            return
        if not replica.accepts(self.epoch, self.claimant):
            self.lose(replica.promised, "this replica has promised more")
            return
        wrote = self.epoch > replica.promised
        if wrote:
            replica.promise(self.epoch, self.claimant)
        replica.answer_when_durable("", replica.sealed(self.epoch), wrote=wrote)
        self._ask_seals()

    def _ask_seals(self) -> None:
        for node in self.replicas:
            if node != self.me[0] and node not in self.seals:
                seal = wire.Seal(slot=self.slot, epoch=self.epoch, claimant=self.claimant)
                self.out.sends.append((node, seal))

    def on_sealed(self, node: str, m: wire.Sealed, now: float) -> None:
        """Rules 11 and 12: a majority of the last ACTIVE set, healthy; the greatest (last epoch, last lsn)."""
        if m.epoch != self.epoch or self.stage is not Stage.SEALING:
            return
        if not m.accepted:
            self.lose(m.promised, "a replica has promised a higher epoch")
            return
        if m.healthy and self._is_member(node, self.replicas):
            self.seals[node] = m
        if self.me[0] in self.seals and len(self.seals) >= majority(self.replicas):
            self._choose(now)

    def _choose(self, now: float) -> None:
        node, best = max(self.seals.items(), key=lambda seal: (seal[1].last_epoch, seal[1].last_lsn))
        mine = self.seals[self.me[0]]
        self.chosen, self.chosen_node, self.since = best, node, now
        if (mine.last_epoch, mine.last_lsn) == (best.last_epoch, best.last_lsn):
            self._copy(now)
        elif best.trimmed > self.replica.commit:
            self.out.sends.append((node, wire.Offer(slots=[self.slot], epochs=[self.epoch])))
            self.lose(self.epoch, "what this replica lacks is not kept as records any more", lacking=True)
        else:
            self.stage = Stage.FETCHING
            self._fetch(self.replica.commit + 1)

    def _fetch(self, from_lsn: int) -> None:
        fetch = wire.Fetch(slot=self.slot, epoch=self.epoch, from_lsn=from_lsn)
        self.out.sends.append((self.chosen_node, fetch))

    def on_fetched(self, node: str, m: wire.Fetched, now: float) -> None:
        """Rule 13: the chosen log becomes this replica's log."""
        if self.stage is not Stage.FETCHING or m.epoch != self.epoch or node != self.chosen_node:
            return
        chosen = self.chosen
        assert chosen is not None
        before = self.replica.before(m.from_lsn)
        if before is None or m.from_lsn > self.replica.last_lsn + 1:
            return
        wrote = len(self.out.writes)
        proved = self.replica.merge(m.from_lsn, m.records)
        if len(self.out.writes) > wrote:
            self.replica.hold()
        if proved is None:
            self.lose(self.epoch, "the chosen log could not be copied")
            return
        self.since = now
        if self.replica.last_lsn == chosen.last_lsn and self.replica.last_hash == chosen.last_hash:
            self._copy(now)
        elif m.records and not m.last:
            self._fetch(proved + 1)
        else:
            self._seal_again(now)

    def _seal_again(self, now: float) -> None:
        """The chosen log cannot be had: ask all again under the same epoch."""
        self.stage, self.since = Stage.SEALING, now
        self.seals.clear()
        self.replica.answer_when_durable("", self.replica.sealed(self.epoch), wrote=False)
        self._ask_seals()

    def _copy(self, now: float) -> None:
        """Append the barrier and bring it to a majority of the next set (rule 13)."""
        self.stage, self.since, self.waiting_since = Stage.COPYING, now, now
        self.barrier_lsn = self.replica.append_own(record.BARRIER, self.epoch, 0, record.NO_OBJECT, b"")
        for node, follower in self.followers.items():
            known = self.seals.get(node)
            start = min(known.last_lsn, self.replica.last_lsn - 1) if known is not None else self.replica.last_lsn - 1
            follower.sent, follower.moved_at = start, now
            self.replicate_to(node, follower)

    def activated(self, now: float) -> None:
        """The slot record says ACTIVE: from now on this owner may run code and acknowledge (rule 14)."""
        if self.stage is not Stage.COPIED:
            return
        self.stage, self.since = Stage.ACTIVE, now
        self.replicas = dict(self.next_replicas)
        for node in [node for node in self.followers if node not in self.replicas]:
            snapshots.end(self, node, self.followers.pop(node))  # it keeps the slot no more
        self.advance(now)

    # -- appends ----------------------------------------------------------------------------------------------

    def propose(self, kind: int, at_ms: int, object_id: bytes, body: bytes, now: float) -> int:
        """Append one record; `replicate` sends it. Only when ACTIVE."""
        assert self.stage is Stage.ACTIVE, "only an ACTIVE owner appends"
        if self.waiting_since is None:
            self.waiting_since = now
        return self.replica.append_own(kind, self.epoch, at_ms, object_id, body)

    def replicate(self) -> None:
        """Send every replica what it has not been sent, as far as it keeps up."""
        made: dict[int, wire.Append] = {}
        for node, follower in self.followers.items():
            self.replicate_to(node, follower, made)

    def replicate_to(self, node: str, follower: Follower, made: dict[int, wire.Append] | None = None) -> None:
        """Send what is missing; `made` holds messages that another replica gets just now, by the lsn before them."""
        if not self.counts(node, follower) or follower.sending is not None:
            return
        replica = self.replica
        while follower.sent < replica.last_lsn and follower.ahead_bytes < limits.append_ahead_bytes_max:
            message = made.get(follower.sent) if made is not None else None
            if message is None:
                prev = replica.before(follower.sent + 1)
                if prev is None or follower.sent < replica.kept.trimmed:
                    snapshots.begin(self, node, follower)
                    return
                found = replica.read(follower.sent + 1, limits.append_bytes_max)
                assert found, "a sent record is kept"
                message = self._append(follower.sent, prev, found)
                if made is not None:
                    made[follower.sent] = message
            self.out.sends.append((node, message))
            follower.sent += len(message.records)
            follower.commit_sent = replica.commit
            follower.ahead_bytes += sum(map(len, message.records))

    def counts(self, node: str, follower: Follower) -> bool:
        """Whether this replica is linked, and on the disk that the set names (rule 17).

        To another disk nothing is sent: it lacks what the one before it confirmed, so it would ask for that again and
        again.
        """
        return self._disks.get(node) == follower.disk

    def _append(self, prev_lsn: int, prev: tuple[int, bytes], records: Sequence[bytes]) -> wire.Append:
        return wire.Append(
            slot=self.slot, epoch=self.epoch, claimant=self.claimant, prev_lsn=prev_lsn, prev_epoch=prev[0],
            prev_hash=prev[1], records=records, commit=self.replica.commit, trim=self.replica.kept.trim_to,
        )  # fmt: skip

    def on_appended(self, node: str, m: wire.Appended, now: float) -> None:
        """A replica's answer (rules 4, 8, 9)."""
        follower = self.followers.get(node)
        if m.epoch != self.epoch or follower is None or self.stage not in APPENDING:
            return
        if m.outcome == wire.APPEND_OUTCOME_FENCED:
            self.lose(m.promised, "a replica has promised a higher epoch")
        elif not self.counts(node, follower):
            return
        elif m.outcome == wire.APPEND_OUTCOME_NEED:
            self._serve_need(node, follower, m.lsn, now)
        elif m.outcome == wire.APPEND_OUTCOME_OK:
            if m.applied > follower.applied:
                follower.applied = m.applied
                self.allow_trim()
            if m.lsn > follower.match:
                follower.match, follower.moved_at = m.lsn, now
                follower.joins = follower.distrusted = False
                follower.ahead_bytes = 0 if m.lsn >= follower.sent else follower.ahead_bytes // 2
                follower.sent = max(follower.sent, m.lsn)
                if m.lsn > self.replica.commit:
                    self.advance(now)
            self.replicate_to(node, follower)
        elif m.outcome != wire.APPEND_OUTCOME_FORGOT and (
            m.outcome == wire.APPEND_OUTCOME_INCOMPLETE or follower.joins
        ):
            snapshots.begin(self, node, follower)
        else:
            follower.joins, follower.distrusted = False, True
            snapshots.end(self, node, follower)

    def allow_trim(self) -> None:
        """Let records go that pages of a majority hold; for a replica that is there and lacks few, they stay."""
        held = [self.followers[n].applied if n != self.me[0] else self.replica.base_lsn for n in self.replicas]
        held.sort(reverse=True)
        lsn = held[majority(self.replicas) - 1]
        for node, follower in self.followers.items():
            if self.counts(node, follower) and self.replica.last_lsn - follower.match <= limits.trim_wait_records_max:
                lsn = min(lsn, follower.match)
        self.replica.allow_trim(lsn)

    def _serve_need(self, node: str, follower: Follower, lsn: int, now: float) -> None:
        """Go back to where a replica's log is equal.

        Every Append on its way may ask again, so one request in a while is served; a lower one at once, for it is
        news: the log differs there, too.
        """
        recent = now - follower.need_at < limits.resend_s / 2
        if (recent and lsn >= follower.need_lsn) or lsn > follower.sent:
            return
        follower.need_lsn, follower.need_at = lsn, now
        follower.sent, follower.ahead_bytes = max(lsn - 1, follower.match), 0
        self.replicate_to(node, follower)

    def advance(self, now: float) -> None:
        """Move the commit point to what a majority holds durably in this epoch (rule 8)."""
        if self.stage is Stage.COPYING:
            if self._durable_on_majority(self.next_replicas) >= self.barrier_lsn:
                self.stage, self.waiting_since = Stage.COPIED, None
                self.out.news.append(Recovered(self.slot, self.epoch))
            return
        if self.stage is not Stage.ACTIVE:
            return
        lsn = self._durable_on_majority(self.replicas)
        if lsn >= self.barrier_lsn and lsn > self.replica.commit:
            self.replica.commit = lsn
            self.out.news.append(Advanced(self.slot, self.epoch, lsn))
            self.waiting_since = now if lsn < self.replica.last_lsn else None

    def _durable_on_majority(self, members: Mapping[str, str]) -> int:
        held = [self.followers[n].match if n != self.me[0] else self.replica.durable_lsn for n in members]
        held.sort(reverse=True)
        return held[majority(members) - 1]

    def _is_member(self, node: str, members: Mapping[str, str]) -> bool:
        disk = members.get(node)
        return disk is not None and self._disks.get(node) == disk

    # -- time -------------------------------------------------------------------------------------------------

    def peer_up(self, node: str) -> None:
        """A stream to a replica is there (again): what was not confirmed is sent again."""
        follower = self.followers.get(node)
        if follower is None:
            return
        if self.stage is Stage.SEALING and node in self.replicas and node not in self.seals:
            self.out.sends.append((node, wire.Seal(slot=self.slot, epoch=self.epoch, claimant=self.claimant)))
        elif self.stage in APPENDING:
            follower.sent = follower.match or min(follower.sent, self.replica.last_lsn - 1)
            follower.ahead_bytes, follower.distrusted = 0, False
            if follower.sending is not None:
                snapshots.send_again(self, node, follower.sending)
            self.replicate_to(node, follower)

    def tick(self, now: float) -> None:
        """Resend what got lost; stop when there has been no majority for too long (rule 9)."""
        if self.stage is Stage.SEALING and now - self.since > limits.resend_s:
            self.since = now
            self._ask_seals()
        elif self.stage is Stage.FETCHING and now - self.since > limits.fetch_s:
            self._seal_again(now)
        elif self.stage in APPENDING:
            last, commit = self.replica.last_lsn, self.replica.commit
            for node, follower in self.followers.items():
                if follower.sending is not None:
                    snapshots.tick(self, node, follower, now)
                elif follower.match < last or follower.commit_sent < commit:
                    self._nudge(node, follower, now)
            stalled = self.waiting_since is not None and now - self.waiting_since > limits.majority_s
            if stalled and self.stage is Stage.ACTIVE:
                self.lose(self.epoch, "no majority of the replicas answers")

    def _nudge(self, node: str, follower: Follower, now: float) -> None:
        if not self.counts(node, follower):
            return
        replica = self.replica
        if follower.match < replica.last_lsn and now - follower.moved_at > limits.resend_s:
            follower.moved_at = now
            follower.sent = follower.match or min(follower.sent, replica.last_lsn - 1)
            follower.ahead_bytes = 0
            self.replicate_to(node, follower)
        elif follower.commit_sent < replica.commit and now - follower.moved_at > limits.commit_notice_s:
            follower.moved_at = now
            follower.commit_sent = replica.commit
            prev = replica.before(follower.match + 1)
            if prev is not None:
                self.out.sends.append((node, self._append(follower.match, prev, ())))

    def lose(self, promised: int, reason: str, *, lacking: bool = False) -> None:
        """End this ownership (rule 9). What was appended may still be committed by the next owner."""
        if self.stage is not Stage.ENDED:
            self.stage = Stage.ENDED
            for node, follower in self.followers.items():
                snapshots.end(self, node, follower)
            self.out.news.append(Lost(self.slot, self.epoch, max(promised, self.epoch), reason, lacking))

    def lag(self) -> int:
        """Records that the slowest replica has not confirmed."""
        return max((self.replica.last_lsn - f.match for f in self.followers.values()), default=0)

    def catching_up(self) -> bool:
        """Whether a replica is linked and lacks much or all."""
        enough = self.replica.last_lsn - limits.catching_up_records
        return any(
            (follower.match == 0 or follower.match < enough) and self.counts(node, follower)
            for node, follower in self.followers.items()
            if node in self.replicas
        )

    def lag_of(self, node: str) -> int | None:
        """Records that a replica has not confirmed; None if it could not own the slot: see `LogCore.lag_of`."""
        follower = self.followers.get(node)
        if follower is None or node not in self.replicas or not self.counts(node, follower):
            return None
        return self.replica.last_lsn - follower.match if follower.match and not follower.distrusted else None


def majority(members: Mapping[str, str]) -> int:
    """How many members are a majority."""
    return len(members) // 2 + 1
