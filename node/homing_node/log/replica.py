"""One slot's log as a replica holds it: promise, records, commit point. Pure: no clock, disk or network.

Rules are those of docs/log.md. A star there means that a test breaks when the rule is removed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits, record
from homing_node.log.effects import Halted, Message, Outbox
from homing_node.log.kept import Kept
from homing_node.log.store import CutRecords, DropSlot, PutRecord, SetDamaged, SetPromise, SlotImage, TrimRecords

if TYPE_CHECKING:
    from homing_node.log.install import Installing

Reader = Callable[[int, int, int], list[bytes]]
"""(slot, from_lsn, limit) to records that are in the store."""

_CONFIRMING = (wire.Appended, wire.Snapshotted)
NEVER = 1 << 63


@dataclass(slots=True)
class _Held:
    """A write on its way to disk, and the answer that waits for it (rule 6)."""

    seq: int
    lsn: int
    to: str
    answer: Message | None


class Replica:
    """A slot's log on this node.

    Invariants (see `invariants.py`): base_lsn <= commit <= last_lsn; durable_lsn <= last_lsn; records holds exactly
    base_lsn + 1 … last_lsn; promised never falls; the chain of hashes is whole,
    and epochs never fall along it.
    """

    __slots__ = (
        "_held", "_reader", "applying", "base_epoch", "base_hash", "base_lsn", "bytes", "claimant", "commit",
        "durable_lsn", "durable_seq", "healthy", "incomplete", "installing", "joins_above", "kept", "last_epoch",
        "last_hash", "last_lsn", "out", "pins", "promised", "records", "seq", "slot", "stop_at", "votes",
    )  # fmt: skip

    def __init__(self, slot: int, image: SlotImage, out: Outbox, reader: Reader, *, healthy: bool = True) -> None:
        self.slot = slot
        self.out = out
        self._reader = reader
        trusted = (healthy or image.whole) and not image.damaged
        self.incomplete = image.incomplete  # a snapshot began to take the place of what was here
        self.votes = image.votes  # incomplete, and its promises count all the same
        self.installing: Installing | None = None  # it comes just now
        self.healthy = trusted and not image.incomplete  # False: rule 17, this replica never counts
        # Promises may be lost: for all it knows, who claimed an epoch up to this is overtaken, and must not fill it.
        self.joins_above = 0 if trusted or (image.incomplete and image.votes) else NEVER
        self.promised = image.promised  # the highest epoch promised; nothing lower is ever accepted again
        self.claimant = image.claimant  # the incarnation that claimed that epoch (rule 2)
        self.base_lsn = image.applied_lsn  # pages hold everything up to here
        self.base_epoch = image.applied_epoch
        self.base_hash = image.applied_hash
        self.records: dict[int, bytes] = {}  # base_lsn + 1 … last_lsn
        self.bytes = 0  # of these records
        self.last_lsn = self.base_lsn
        self.last_epoch = self.base_epoch
        self.last_hash = self.base_hash
        self.commit = self.base_lsn  # what this replica knows to be committed
        self.pins = 0  # readers of the pages: they stand still meanwhile
        self.stop_at = 0  # pages are brought to this record and no further: there they are compared
        self.applying = False  # pages are being brought up to a later record
        self.kept = Kept(self.base_lsn, image.trimmed)
        self.seq = 0  # writes asked for
        self.durable_seq = 0  # writes that are on disk
        self._held: deque[_Held] = deque()
        for data in image.records:
            try:
                epoch = record.check_next(data, self.last_lsn + 1, self.last_hash)
            except record.BadRecord:
                self.healthy = False  # rule 17: what follows is not to be trusted either
                break
            self._take(data, epoch)
        self.durable_lsn = self.last_lsn

    # -- reading ----------------------------------------------------------------------------------------------

    def hash_at(self, lsn: int) -> tuple[int, bytes] | None:
        """Epoch and hash of the record at an lsn at or above the base, or None."""
        if lsn == self.base_lsn:
            return self.base_epoch, self.base_hash
        return (record.position(data)[0], record.hash_of(data)) if (data := self.records.get(lsn)) else None

    def read(self, from_lsn: int, bytes_max: int) -> list[bytes]:
        """Records from an lsn on, from memory or below the base from the store; at least one if there is one."""
        found: list[bytes] = []
        size = 0
        if from_lsn <= self.base_lsn:
            stored = self._reader(self.slot, from_lsn, min(self.base_lsn - from_lsn + 1, 1_000))
        else:
            stored = [self.records[lsn] for lsn in range(from_lsn, min(self.last_lsn, from_lsn + 999) + 1)]
        for data in stored:
            size += len(data)
            if found and size > bytes_max:
                break
            found.append(data)
        return found

    def before(self, lsn: int) -> tuple[int, bytes] | None:
        """Epoch and hash of the record before `lsn`, wherever it is kept; None if it is kept nowhere."""
        prev = lsn - 1
        if prev == 0:
            return 0, record.NO_HASH
        if prev >= self.base_lsn:
            return self.hash_at(prev)
        stored = self._reader(self.slot, prev, 1)
        if not stored or record.position(stored[0])[1] != prev:
            return None
        return record.position(stored[0])[0], record.hash_of(stored[0])

    # -- writing ----------------------------------------------------------------------------------------------

    def _take(self, data: bytes, epoch: int) -> None:
        self.last_lsn += 1
        self.last_epoch = epoch
        self.last_hash = record.hash_of(data)
        self.records[self.last_lsn] = data
        self.bytes += len(data)

    def hold(self, to: str = "", answer: Message | None = None) -> None:
        """Count one write, and keep an answer until it is on disk (rule 6)."""
        self.seq += 1
        self.out.marks[self.slot] = self.seq
        self._held.append(_Held(self.seq, self.last_lsn, to, answer))

    def append_own(self, kind: int, epoch: int, at_ms: int, object_id: bytes, body: bytes) -> int:
        """The owner's own append; returns its lsn."""
        lsn = self.last_lsn + 1
        data = record.encode(kind, epoch, lsn, at_ms, self.last_hash, object_id, body)
        self._take(data, epoch)
        self.out.writes.append(PutRecord(self.slot, lsn, data))
        self.hold()
        return lsn

    def promise(self, epoch: int, claimant: str) -> None:
        """Promise an epoch; the caller holds its answer until this is on disk (rule 10)."""
        self.promised = epoch
        self.claimant = claimant
        self.out.writes.append(SetPromise(self.slot, epoch, claimant))

    def accepts(self, epoch: int, claimant: str) -> bool:
        """Whether a claimant of an epoch may still write here (rules 2, 4, 10)."""
        return epoch > self.promised or (epoch == self.promised and claimant == self.claimant)

    def _cut(self, from_lsn: int) -> bool:
        """Remove records from an lsn on (rule 5); False if that would remove what is committed."""
        if from_lsn <= self.commit:
            self.halt(f"record {from_lsn} differs at or below the commit point {self.commit}")
            return False
        for lsn in range(from_lsn, self.last_lsn + 1):
            self.bytes -= len(self.records.pop(lsn))
        self.out.writes.append(CutRecords(self.slot, from_lsn))
        self.last_lsn = from_lsn - 1
        position = self.hash_at(self.last_lsn)
        assert position is not None, "a cut leaves the record before it"
        self.last_epoch, self.last_hash = position
        self.durable_lsn = min(self.durable_lsn, self.last_lsn)
        for held in self._held:  # what is still on its way was cut too: it must not count as durable
            held.lsn = min(held.lsn, self.last_lsn)
        return True

    def damage(self, reason: str) -> None:
        """What is here must not count any more, also after a restart (rule 17)."""
        self.out.writes.append(SetDamaged(self.slot, reason))
        self.hold()
        self.halt(reason)

    def halt(self, reason: str) -> None:
        """Stop taking part: an invariant is broken here."""
        self.healthy = self.applying = False
        self.out.news.append(Halted(self.slot, reason))

    def merge(self, from_lsn: int, records: Sequence[bytes]) -> int | None:
        """Make the log equal to `records` from an lsn on; what is already equal stays, and nothing shrinks (rule 5).

        The record before `from_lsn` must already be known to match.

        Returns:
            The last lsn that is now proved equal, or None when the records are damaged or the slot was halted.
        """
        lsn = from_lsn
        for data in records:
            known = self.hash_at(lsn)
            if lsn < self.base_lsn or (known is not None and known[1] == record.hash_of(data)):
                lsn += 1  # below the base everything is committed, so equal
                continue
            if known is not None and not self._cut(lsn):
                return None
            try:
                epoch = record.check_next(data, lsn, self.last_hash)
            except record.BadRecord as error:
                self.out.news.append(Halted(self.slot, f"a peer sent a damaged record: {error}"))
                return None
            self._take(data, epoch)
            self.out.writes.append(PutRecord(self.slot, lsn, data))
            lsn += 1
        return lsn - 1

    # -- messages ---------------------------------------------------------------------------------------------

    def on_append(self, sender: str, m: wire.Append) -> None:
        """Rules 4, 5, 6, 17."""
        answer = wire.Appended(slot=self.slot, epoch=m.epoch)
        if not self.accepts(m.epoch, m.claimant):
            self.refuse(sender, m.epoch)
            return
        if not self.healthy:
            self.refuse_data(sender, m.epoch)
            return
        before = len(self.out.writes)
        self.allow_trim(m.trim)
        if m.epoch > self.promised:
            self.promise(m.epoch, m.claimant)
        said = self._append(m, answer)
        wrote = len(self.out.writes) > before
        if said:
            self.answer_when_durable(sender, answer, wrote=wrote)
        elif wrote:
            self.hold()  # no answer, but what was written on the way counts: a later answer must wait for it

    def _fenced(self, epoch: int) -> wire.Appended:
        return wire.Appended(slot=self.slot, epoch=epoch, outcome=wire.APPEND_OUTCOME_FENCED, promised=self.promised)

    def refuse(self, sender: str, epoch: int) -> None:
        """Tell an owner that its epoch is over (rule 4)."""
        self.out.sends.append((sender, self._fenced(epoch)))

    def refuse_data(self, sender: str, epoch: int) -> None:
        """Tell an owner that what is here does not count (rule 17)."""
        outcome = wire.APPEND_OUTCOME_INCOMPLETE if self.incomplete else wire.APPEND_OUTCOME_DISTRUSTED
        self.out.sends.append((sender, wire.Appended(slot=self.slot, epoch=epoch, outcome=outcome)))

    def _append(self, m: wire.Append, answer: wire.Appended) -> bool:
        """Take the records of an owner that may write here; False if there is nothing to say to it."""
        if not self._matches(m.prev_lsn, m.prev_epoch, m.prev_hash):
            if m.prev_lsn <= self.commit:
                self.halt(f"the owner's record {m.prev_lsn} differs below the commit point {self.commit}")
                return False
            answer.outcome, answer.lsn = wire.APPEND_OUTCOME_NEED, self._wanted(m.prev_lsn)
            return True
        proved = self.merge(m.prev_lsn + 1, m.records)
        if proved is None:
            return False
        answer.lsn, answer.applied = proved, self.base_lsn
        self.commit = max(self.commit, min(m.commit, proved))
        return True

    def _wanted(self, prev_lsn: int) -> int:
        """Where the owner shall go on: after the end, or after what is surely equal."""
        return self.last_lsn + 1 if prev_lsn > self.last_lsn else self.commit + 1

    def _matches(self, lsn: int, epoch: int, digest: bytes) -> bool:
        if lsn < self.base_lsn:
            return True  # committed, so equal; `merge` compares from the base on
        return self.hash_at(lsn) == (epoch, digest)

    def answer_when_durable(self, to: str, answer: Message, *, wrote: bool) -> None:
        """Send an answer once everything asked for so far is on disk (rule 6); to "" is to this node itself."""
        if wrote:
            self.hold(to, answer)
        elif self.durable_seq < self.seq:
            self._held.append(_Held(self.seq, self.last_lsn, to, answer))
        else:
            self._send(to, answer)

    def _send(self, to: str, answer: Message) -> None:
        if to:
            self.out.sends.append((to, answer))
        else:
            self.out.own.append(answer)

    def on_seal(self, sender: str, m: wire.Seal) -> None:
        """Rule 10: promise, make it durable, then tell what is here."""
        if not self.accepts(m.epoch, m.claimant):
            refusal = wire.Sealed(slot=self.slot, epoch=m.epoch, accepted=False, promised=self.promised)
            self.out.sends.append((sender, refusal))
            return
        fresh = m.epoch > self.promised
        if fresh:
            self.promise(m.epoch, m.claimant)
        self.answer_when_durable(sender, self.sealed(m.epoch), wrote=fresh)

    def sealed(self, epoch: int) -> wire.Sealed:
        """What this replica says of itself when it is sealed."""
        return wire.Sealed(
            slot=self.slot, epoch=epoch, accepted=True, promised=self.promised, last_epoch=self.last_epoch,
            last_lsn=self.last_lsn, last_hash=self.last_hash, snapshot_lsn=self.base_lsn,
            healthy=self.healthy or self.votes, trimmed=self.kept.trimmed,
        )  # fmt: skip

    def on_fetch(self, sender: str, m: wire.Fetch) -> None:
        """A new owner copies this log (rule 13)."""
        if m.epoch != self.promised or not self.healthy:
            return
        found = self.read(m.from_lsn, limits.append_bytes_max) if m.from_lsn <= self.last_lsn else []
        last = m.from_lsn + len(found) > self.last_lsn
        fetched = wire.Fetched(slot=self.slot, epoch=m.epoch, from_lsn=m.from_lsn, records=found, last=last)
        self.out.sends.append((sender, fetched))

    def written(self, seq: int) -> None:
        """Every write up to `seq` is on disk: let the answers go that waited for it."""
        self.durable_seq = max(self.durable_seq, seq)
        held = self._held
        while held and held[0].seq <= seq:
            done = held.popleft()
            self.durable_lsn = max(self.durable_lsn, done.lsn)
            if done.answer is not None:
                self._send(done.to, self._still_true(done.answer))

    def _still_true(self, answer: Message) -> Message:
        """An answer given under an epoch that has been overtaken since becomes a refusal."""
        if isinstance(answer, _CONFIRMING) and answer.epoch < self.promised:
            return self._fenced(answer.epoch)
        if isinstance(answer, wire.Sealed) and answer.epoch < self.promised:
            return wire.Sealed(slot=self.slot, epoch=answer.epoch, accepted=False, promised=self.promised)
        return answer

    # -- pages ------------------------------------------------------------------------------------------------

    def applicable(self) -> list[bytes]:
        """The records that pages may take in now: committed ones only (rule 24), and on disk here."""
        if self.applying or self.pins or not self.healthy:
            return []
        upper = min(self.commit, self.durable_lsn)
        if self.stop_at:
            upper = min(upper, self.stop_at)
        records = [self.records[lsn] for lsn in range(self.base_lsn + 1, upper + 1)]
        self.applying = bool(records)
        return records

    def applied(self, lsn: int) -> None:
        """Pages up to `lsn` are on disk: forget those records in memory."""
        self.applying = False
        if self.installing is not None or lsn <= self.base_lsn:
            return  # a snapshot has taken the place of that
        position = self.hash_at(lsn)
        assert position is not None, "applied what is not in the log"
        assert lsn <= self.commit, "applied what is not committed"
        size = sum(len(self.records.pop(gone)) for gone in range(self.base_lsn + 1, lsn + 1))
        self.bytes -= size
        if not self.records:
            self.records.clear()  # gives its table back too, which deletions alone do not
        self.base_lsn = lsn
        self.base_epoch, self.base_hash = position
        self.kept.add(lsn, size)
        self._trim()

    def allow_trim(self, lsn: int) -> None:
        """Pages of a majority hold everything up to `lsn`: records may go (rule 24)."""
        if lsn > self.kept.trim_to:
            self.kept.trim_to = lsn
            self._trim()

    def _trim(self) -> None:
        if self.kept.trim():
            self.out.writes.append(TrimRecords(self.slot, self.kept.trimmed + 1))

    def drop(self, installing: Installing | None, *, votes: bool) -> None:
        """Forget everything but the promise: a snapshot takes its place, now or when this is a member again."""
        self.out.writes.append(DropSlot(self.slot, votes))
        self.healthy, self.incomplete, self.votes, self.installing = False, True, votes, installing
        self.records.clear()
        self.kept = Kept()
        self.bytes = self.commit = self.durable_lsn = self.stop_at = 0
        self._begin_at(0, 0, record.NO_HASH)
        for held in self._held:  # what was about to be confirmed is gone
            held.lsn = 0
            if isinstance(held.answer, wire.Appended):
                held.answer = None

    def become_whole(self, lsn: int, epoch: int, digest: bytes) -> None:
        """The last part of a snapshot is here; the log goes on after `lsn`."""
        self.healthy, self.incomplete, self.votes, self.installing = True, False, False, None
        self.kept = Kept(lsn, lsn)
        self.commit = lsn
        self._begin_at(lsn, epoch, digest)

    def _begin_at(self, lsn: int, epoch: int, digest: bytes) -> None:
        self.base_lsn = self.last_lsn = lsn
        self.base_epoch = self.last_epoch = epoch
        self.base_hash = self.last_hash = digest

    def __repr__(self) -> str:
        position = f"base={self.base_lsn}, commit={self.commit}, durable={self.durable_lsn}, last={self.last_lsn}"
        return f"Replica(slot={self.slot}, promised={self.promised}, {position}, healthy={self.healthy})"
