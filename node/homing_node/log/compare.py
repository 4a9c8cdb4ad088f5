"""Whether the replicas of a slot hold the same pages (rule 24). Pure.

Records are equal where their hashes are; that pages came out of them equal, and still are, nothing else says. So now
and then an owner names a committed record, every replica brings its pages to just that one, and tells a digest of all
that they hold. Who differs from a majority counts as damaged from then on (rule 17): it leaves the set and joins again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.effects import Outbox, PagesCompared, ReadDigest
from homing_node.log.owner import Owner, Stage, majority
from homing_node.log.replica import Replica

UNREADABLE = b""
"""Instead of a digest: the pages are damaged."""


@dataclass(slots=True)
class _Want:
    """What a replica was asked for last.

    Attributes:
        to: who asks; empty: this node itself.
        reading: the pages are at `lsn`, and are read.
    """

    to: str
    epoch: int
    lsn: int
    since: float
    reading: bool = False


@dataclass(slots=True)
class _Comparison:
    """What an owner has heard so far."""

    epoch: int
    lsn: int
    since: float
    asked: tuple[str, ...]
    digests: dict[str, bytes] = field(default_factory=dict[str, bytes])


class Comparer:
    """Comparisons of this node: those that it asked for, and those that it takes part in; one of each for a slot.

    Args:
        node: this node's id.
        out: where effects go.
    """

    def __init__(self, node: str, out: Outbox) -> None:
        self._node = node
        self._out = out
        self._wants: dict[int, _Want] = {}
        self._running: dict[int, _Comparison] = {}

    # -- the owner --------------------------------------------------------------------------------------------

    def begin(self, owner: Owner, now: float) -> None:
        """Ask every linked replica of a served slot; one that runs for the slot already goes on."""
        if owner.slot in self._running:
            return
        replica = owner.replica
        lsn = replica.commit
        position = replica.hash_at(lsn)
        assert position is not None, "the commit point is in the log"
        asked = tuple(n for n, follower in owner.followers.items() if owner.counts(n, follower))
        self._running[owner.slot] = _Comparison(owner.epoch, lsn, now, (self._node, *asked))
        message = wire.Compare(
            slot=owner.slot, epoch=owner.epoch, claimant=owner.claimant, lsn=lsn, lsn_epoch=position[0],
            hash=position[1],
        )  # fmt: skip
        self._out.sends.extend((node, message) for node in asked)
        self._want(replica, _Want("", owner.epoch, lsn, now))

    def on_compared(self, owner: Owner, node: str, m: wire.Compared) -> None:
        """A replica's answer; the last one ends the comparison."""
        running = self._running.get(owner.slot)
        if running is None or (running.epoch, running.lsn) != (m.epoch, m.lsn) or node not in running.asked:
            return
        running.digests[node] = m.digest
        if len(running.digests) == len(running.asked):
            self._judge(owner)

    def _judge(self, owner: Owner) -> None:
        running = self._running.pop(owner.slot)
        if running.epoch != owner.epoch or owner.stage is not Stage.ACTIVE:
            return
        digests = {node: digest for node, digest in running.digests.items() if node in owner.replicas}
        count = Counter(digest for digest in digests.values() if digest != UNREADABLE)
        most, times = count.most_common(1)[0] if count else (UNREADABLE, 0)
        equal = tuple(node for node, digest in digests.items() if digest == most != UNREADABLE)
        differing = tuple(node for node in digests if node not in equal)
        silent = tuple(node for node in owner.replicas if node not in digests)
        self._out.news.append(PagesCompared(owner.slot, owner.epoch, running.lsn, equal, differing, silent))
        if times >= majority(owner.replicas):
            self._tell(owner, running.lsn, [node for node in differing if digests[node] != UNREADABLE])

    def _tell(self, owner: Owner, lsn: int, differing: list[str]) -> None:
        """Tell who differs from a majority that its data is damaged; who could not read it knows."""
        message = wire.Compare(slot=owner.slot, epoch=owner.epoch, claimant=owner.claimant, lsn=lsn, differs=True)
        self._out.sends.extend((node, message) for node in differing if node != self._node)
        if self._node in differing:
            owner.replica.damage(f"its pages at record {lsn} differ from those of a majority")
            owner.lose(owner.epoch, "its pages differ from those of a majority", lacking=True)

    def end(self, slot: int) -> None:
        """The slot is owned here no more."""
        self._running.pop(slot, None)

    # -- a replica --------------------------------------------------------------------------------------------

    def on_compare(self, replica: Replica, sender: str, m: wire.Compare, now: float) -> None:
        """The owner asks, or says that the data here is damaged."""
        if (m.epoch, m.claimant) != (replica.promised, replica.claimant):
            return
        if m.differs and replica.healthy:
            replica.damage(f"its pages at record {m.lsn} differ from those of a majority")
        if not replica.healthy:
            self._answer(replica, _Want(sender, m.epoch, m.lsn, now), UNREADABLE)
        elif replica.hash_at(m.lsn) == (m.lsn_epoch, m.hash):
            replica.commit = max(replica.commit, m.lsn)
            self._want(replica, _Want(sender, m.epoch, m.lsn, now))

    def _want(self, replica: Replica, want: _Want) -> None:
        if want.lsn >= replica.base_lsn:
            self._wants[replica.slot] = want
            replica.stop_at = want.lsn
            self.reached(replica)

    def reached(self, replica: Replica) -> None:
        """Pages of a slot may have come to where they shall be compared."""
        want = self._wants.get(replica.slot)
        if want is None or want.reading or replica.applying or replica.base_lsn != want.lsn:
            return
        if replica.durable_lsn < replica.base_lsn:
            return  # the end of a snapshot is on its way to disk
        want.reading = True
        replica.pins += 1
        self._out.reads.append(ReadDigest(replica.slot, want.lsn))

    def read(self, replica: Replica, lsn: int, digest: bytes) -> None:
        """The digest of the pages at a record was read, or they could not be."""
        replica.pins -= 1
        want = self._wants.get(replica.slot)
        if want is None or not want.reading or want.lsn != lsn:
            return
        del self._wants[replica.slot]
        if replica.stop_at == lsn:  # else a snapshot took the place of the pages meanwhile
            replica.stop_at = 0
            self._answer(replica, want, digest if replica.healthy else UNREADABLE)

    def _answer(self, replica: Replica, want: _Want, digest: bytes) -> None:
        if want.to and not replica.healthy:
            replica.refuse_data(want.to, want.epoch)
        if not replica.incomplete:  # else it has no pages to speak of
            answer = wire.Compared(slot=replica.slot, epoch=want.epoch, lsn=want.lsn, digest=digest)
            replica.answer_when_durable(want.to, answer, wrote=False)

    # -- time -------------------------------------------------------------------------------------------------

    def written(self, replicas: Mapping[int, Replica], slots: Iterable[int]) -> None:
        """Something of these slots is on disk."""
        if self._wants:
            for slot in slots:
                self.reached(replicas[slot])

    def tick(self, owners: Mapping[int, Owner], replicas: Mapping[int, Replica], now: float) -> None:
        """End what takes too long, with the answers that there are."""
        late = now - limits.compare_patience_s
        for slot, running in list(self._running.items()):
            owner = owners.get(slot)
            if owner is None:
                self.end(slot)
            elif running.since < late:
                self._judge(owner)
        for slot, want in list(self._wants.items()):
            if want.since < late and not want.reading:
                del self._wants[slot]
                replicas[slot].stop_at = 0
