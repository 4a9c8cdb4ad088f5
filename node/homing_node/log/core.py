"""The log of a whole node as one state machine: events and time in, an `Outbox` out. No clock, disk or network.

The node's shell and the simulator drive this same class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import install, limits, snapshots
from homing_node.log.compare import Comparer
from homing_node.log.confirm import Confirmer
from homing_node.log.effects import Message, Outbox, ReadDigest, ReadPart
from homing_node.log.invariants import check_owner, check_replica
from homing_node.log.owner import Member, Owner, Stage
from homing_node.log.replica import NEVER, Reader, Replica
from homing_node.log.snapshots import Room
from homing_node.log.store import Part, SlotImage

_TO_REPLICAS = (wire.Seal, wire.Snapshot, wire.Fetch, wire.Compare)
_TO_OWNERS = (wire.Sealed, wire.Snapshotted, wire.Fetched, wire.Compared)


class LogCore:
    """Every slot's log on one node.

    Args:
        node: this node's id.
        disk: the id of its disk (rule 17).
        incarnation: random, made when the process started (rule 2).
        images: what the store holds of each slot.
        trusted: False if the store was opened below its mark: no replica here counts.
        reader: reads records that are in the store and no longer in memory.

    Example:
        >>> core = LogCore("n1", "d1", "i1", {}, trusted=True, reader=lambda slot, lsn, limit: [])
        >>> core.claim(7, 1, [("n1", "d1")], [("n1", "d1")], now=0.0)
        >>> core.written(core.drain(0.0).marks, now=0.0)     # the promise is on disk
        >>> core.written(core.drain(0.0).marks, now=0.0)     # and the barrier
        >>> core.drain(0.0).news
        [Recovered(slot=7, epoch=1)]
    """

    def __init__(
        self,
        node: str,
        disk: str,
        incarnation: str,
        images: Mapping[int, SlotImage],
        *,
        trusted: bool,
        reader: Reader,
    ) -> None:
        self.node = node
        self.disk = disk
        self.incarnation = incarnation
        self.trusted = trusted
        self.out = Outbox()
        self._reader = reader
        self._images = dict(images)
        self.replicas: dict[int, Replica] = {}
        self.owners: dict[int, Owner] = {}
        self.disks: dict[str, str] = {node: disk}  # of the peers that have a stream
        self.confirmer = Confirmer(node, self.out)
        self._comparer = Comparer(node, self.out)
        self._room = Room()
        self._ticked_at = float("-inf")
        self._dirty: set[int] = set()  # owned slots with records that were not sent
        self._remembered: Mapping[int, int] | None = None  # see `remember`
        for slot in list(self._images):
            self.replica(slot)

    def replica(self, slot: int) -> Replica:
        """The slot's log here; made empty when it is first heard of."""
        found = self.replicas.get(slot)
        if found is None:
            image = self._images.pop(slot, None) or SlotImage()
            found = self.replicas[slot] = Replica(slot, image, self.out, self._reader, healthy=self.trusted)
            if found.joins_above == NEVER and self._remembered is not None:
                found.joins_above = self._remembered.get(slot, 0)
        return found

    def drain(self, now: float) -> Outbox:
        """Send what is waiting, and hand over everything asked for since the last time."""
        for slot in self._dirty:
            owner = self.owners.get(slot)
            if owner is not None:
                owner.replicate()
        self._dirty.clear()
        self.confirmer.flush(now)
        out = self.out
        full = Outbox(out.writes, out.marks, out.sends, out.news, out.reads)
        out.writes, out.marks, out.sends, out.news, out.reads = [], {}, [], [], []
        return full

    # -- ownership --------------------------------------------------------------------------------------------

    def claim(
        self, slot: int, epoch: int, replicas: Sequence[Member], next_replicas: Sequence[Member], now: float
    ) -> None:
        """This node's claim of a slot is in the slot record: take over (rules 10-14)."""
        before = self.owners.get(slot)
        if before is not None:
            if before.epoch >= epoch:
                return
            before.lose(epoch, "this node claimed the slot anew")
            self._forget(slot)
        owner = Owner(
            self.replica(slot), self.out, (self.node, self.disk), epoch, self.incarnation, replicas, next_replicas,
            self.disks, self._room, now,
        )  # fmt: skip
        self.owners[slot] = owner
        owner.begin()
        self._drop_ended(slot)
        self._hear_self(now)

    def activated(self, slot: int, epoch: int, now: float) -> None:
        """The slot record says ACTIVE under this epoch."""
        owner = self.owners.get(slot)
        if owner is None or owner.epoch != epoch or owner.stage is not Stage.COPIED:
            return
        owner.activated(now)
        self.confirmer.open(slot, epoch, {n: d for n, d in owner.replicas.items() if n != self.node})

    def resign(self, slot: int, reason: str) -> None:
        """Own the slot no more, of one's own accord or because its record names a higher epoch."""
        owner = self.owners.get(slot)
        if owner is not None:
            owner.lose(owner.epoch, reason)
            self._forget(slot)

    def _forget(self, slot: int) -> None:
        self.owners.pop(slot, None)
        self.confirmer.close(slot)
        self._comparer.end(slot)
        self._dirty.discard(slot)

    def _drop_ended(self, slot: int) -> None:
        owner = self.owners.get(slot)
        if owner is not None and owner.stage is Stage.ENDED:
            self._forget(slot)

    def serving(self, slot: int) -> int:
        """The epoch under which this node serves the slot, or 0."""
        owner = self.owners.get(slot)
        return owner.epoch if owner is not None and owner.stage is Stage.ACTIVE else 0

    def lag_of(self, slot: int, node: str) -> int | None:
        """Records that a replica of a served slot has not confirmed; None if it is not linked, or on another disk."""
        owner = self.owners.get(slot)
        return owner.lag_of(node) if owner is not None and owner.stage is Stage.ACTIVE else None

    # -- the owner's work -------------------------------------------------------------------------------------

    def propose(self, slot: int, kind: int, at_ms: int, object_id: bytes, body: bytes, now: float) -> int:
        """Append one record to a slot that this node serves; returns its lsn. It leaves with the next `drain`."""
        lsn = self.owners[slot].propose(kind, at_ms, object_id, body, now)
        self._dirty.add(slot)
        return lsn

    def ask(self, slot: int, now: float) -> int:
        """Ask for the confirmation of the slot's epoch (rule 19); 0: it needs nobody else's."""
        return self.confirmer.ask(slot, now)

    # -- events -----------------------------------------------------------------------------------------------

    def receive(self, sender: str, m: Message, now: float) -> None:
        """A message of a peer.

        Of Append and Appended there are two for every record, and isinstance costs much where the answer is no.
        """
        if type(m) is wire.Append:
            slot = m.slot
            self._overtaken(slot, m.epoch)
            self.replica(slot).on_append(sender, m)
        elif type(m) is wire.Appended:
            slot = m.slot
            owner = self.owners.get(slot)
            if owner is not None:
                owner.on_appended(sender, m, now)
                self._drop_ended(slot)
        else:
            self._receive_rare(sender, m, now)

    def _receive_rare(self, sender: str, m: Message, now: float) -> None:
        if isinstance(m, _TO_REPLICAS):
            self._to_replica(sender, m, now)
        elif isinstance(m, wire.Confirm):
            self._on_confirm(sender, m)
        elif isinstance(m, wire.Confirmed):
            self._on_confirmed(sender, m, now)
        elif isinstance(m, _TO_OWNERS) and (owner := self.owners.get(m.slot)) is not None:
            self._to_owner(owner, sender, m, now)

    def _to_replica(self, sender: str, m: wire.Seal | wire.Snapshot | wire.Fetch | wire.Compare, now: float) -> None:
        if isinstance(m, wire.Fetch):
            self.replica(m.slot).on_fetch(sender, m)
            return
        self._overtaken(m.slot, m.epoch)
        if isinstance(m, wire.Seal):
            self.replica(m.slot).on_seal(sender, m)
        elif isinstance(m, wire.Compare):
            self._comparer.on_compare(self.replica(m.slot), sender, m, now)
        else:
            install.take(self.replica(m.slot), sender, m)

    def _to_owner(
        self,
        owner: Owner,
        sender: str,
        m: wire.Sealed | wire.Snapshotted | wire.Fetched | wire.Compared,
        now: float,
    ) -> None:
        if isinstance(m, wire.Sealed):
            owner.on_sealed(sender, m, now)
        elif isinstance(m, wire.Snapshotted):
            snapshots.on_snapshotted(owner, sender, m, now)
            self._begin_snapshots()
        elif isinstance(m, wire.Compared):
            self._comparer.on_compared(owner, sender, m)
        else:
            owner.on_fetched(sender, m, now)
        self._drop_ended(m.slot)
        if isinstance(m, wire.Fetched):
            self._hear_self(now)

    def part_read(self, read: ReadPart, part: Part) -> None:
        """The store gave a part of a slot's pages that was asked for."""
        owner = self.owners.get(read.slot)
        if owner is not None:
            snapshots.on_part(owner, read.node, read, part)

    def compare(self, slot: int, now: float) -> None:
        """Compare the pages of a served slot's replicas; `PagesCompared` says what came of it."""
        owner = self.owners.get(slot)
        if owner is not None and owner.stage is Stage.ACTIVE:
            self._comparer.begin(owner, now)

    def digest_read(self, read: ReadDigest, digest: bytes, now: float) -> None:
        """The digest of a slot's pages that was asked for; empty: they cannot be read, and `damaged` has said so."""
        self._comparer.read(self.replicas[read.slot], read.lsn, digest)
        self._hear_self(now)

    def damaged(self, slot: int, reason: str, *, noted: bool) -> None:
        """What is here of a slot cannot be read or brought up to date: it takes no further part in it (rule 17).

        Args:
            slot: its number.
            reason: for the log.
            noted: the store has written that down itself, or it may be over after a restart.
        """
        replica = self.replicas[slot]
        if noted:
            replica.halt(reason)
        else:
            replica.damage(reason)
        self.resign(slot, "its pages are damaged here")

    def _begin_snapshots(self) -> None:
        """Begin those that wait, as far as there is room."""
        while (following := self._room.following()) is not None:
            slot, node = following
            self._room.give(slot, node)
            owner = self.owners.get(slot)
            if owner is not None and node in owner.followers:
                snapshots.begin(owner, node, owner.followers[node])

    def catching_up(self) -> int:
        """How many slots served here have a replica, linked, that lacks much or all."""
        return sum(owner.stage is Stage.ACTIVE and owner.catching_up() for owner in self.owners.values())

    def held(self) -> list[int]:
        """Slots of which something is here that counts, or did."""
        return [
            slot
            for slot, replica in self.replicas.items()
            if not replica.incomplete and (replica.last_lsn or not replica.healthy)
        ]

    def remember(self, epochs: Mapping[int, int]) -> None:
        """The epoch of each slot's record, read after this process began: no promise that may be lost was higher.

        A slot without a record was never claimed. It holds for replicas that are made later, too.
        """
        self._remembered = epochs
        for slot, replica in self.replicas.items():
            if replica.joins_above == NEVER:
                replica.joins_above = epochs.get(slot, 0)

    def forget(self, slot: int, epoch: int) -> None:
        """Delete the copy of a slot whose ACTIVE record of this epoch, read just now, does not name it (rule 16).

        Nothing happens where a higher epoch was promised meanwhile: its set may name this replica. The promise stays.
        """
        replica = self.replicas.get(slot)
        if replica is not None and not replica.incomplete and replica.promised <= epoch and slot not in self.owners:
            replica.drop(None, votes=False)
            replica.hold()

    def distrusted(self, slot: int) -> set[str]:
        """Replicas of a served slot that said that their data must not count (rule 17)."""
        owner = self.owners.get(slot)
        if owner is None or owner.stage is not Stage.ACTIVE:
            return set()
        return {node for node, follower in owner.followers.items() if follower.distrusted}

    def _overtaken(self, slot: int, epoch: int) -> None:
        """Another claimant writes under a higher epoch: this node's ownership is over."""
        owner = self.owners.get(slot)
        if owner is not None and epoch > owner.epoch:
            owner.lose(epoch, "another owner has a higher epoch")
            self._forget(slot)

    def _on_confirm(self, sender: str, m: wire.Confirm) -> None:
        answer = wire.Confirmed(round=m.round)
        for slot, epoch in zip(m.slots, m.epochs, strict=True):
            replica = self.replica(slot)
            overtaken = replica.promised > epoch
            if overtaken or not (replica.healthy or replica.votes):
                answer.refused_slots.append(slot)
                answer.refused_promises.append(replica.promised)
        self.out.sends.append((sender, answer))

    def _on_confirmed(self, sender: str, m: wire.Confirmed, now: float) -> None:
        for slot, promised in self.confirmer.on_confirmed(sender, self.disks.get(sender, ""), m, now).items():
            owner = self.owners.get(slot)
            if owner is not None and promised > owner.epoch:
                owner.lose(promised, "a replica has promised a higher epoch")
                self._forget(slot)

    def written(self, marks: Mapping[int, int], now: float) -> None:
        """A batch with these marks is on disk."""
        for slot, seq in marks.items():
            self.replicas[slot].written(seq)
            owner = self.owners.get(slot)
            if owner is not None:
                owner.advance(now)
        self._comparer.written(self.replicas, marks)
        self._hear_self(now)

    def _hear_self(self, now: float) -> None:
        """Answers of this node to itself do not travel."""
        while self.out.own:
            own, self.out.own = self.out.own, []
            for m in own:
                if not isinstance(m, wire.Sealed | wire.Compared) or (owner := self.owners.get(m.slot)) is None:
                    continue
                if isinstance(m, wire.Sealed):
                    owner.on_sealed(self.node, m, now)
                else:
                    self._comparer.on_compared(owner, self.node, m)
                self._drop_ended(m.slot)

    def peer_up(self, node: str, disk: str) -> None:
        """A stream to a peer is there; it named its disk."""
        self.disks[node] = disk
        self.confirmer.peer_up(node)
        for owner in list(self.owners.values()):
            owner.peer_up(node)

    def peer_down(self, node: str) -> None:
        """The stream to a peer is gone."""
        self.disks.pop(node, None)
        self.confirmer.peer_down(node)

    def applied(self, slot: int, lsn: int) -> None:
        """Pages of the slot up to `lsn` are on disk."""
        self.replicas[slot].applied(lsn)
        self._comparer.reached(self.replicas[slot])
        owner = self.owners.get(slot)
        if owner is not None and owner.stage is Stage.ACTIVE:
            owner.allow_trim()

    def tick(self, now: float) -> None:
        """Time passed: resend, and give up where rule 9 says so."""
        self.confirmer.tick(now)
        if now - self._ticked_at < limits.owner_tick_s:
            return
        self._ticked_at = now
        self._comparer.tick(self.owners, self.replicas, now)
        for slot, owner in list(self.owners.items()):
            owner.tick(now)
            self._drop_ended(slot)
        self._begin_snapshots()
        self._hear_self(now)
        for slot in self.confirmer.expired(now, limits.majority_s):
            owner = self.owners.get(slot)
            if owner is not None:
                owner.lose(owner.epoch, "no majority of the replicas confirms the epoch")
                self._forget(slot)

    def check(self) -> None:
        """Assert every invariant of every slot; tests call it after each event."""
        for replica in self.replicas.values():
            check_replica(replica)
        for owner in self.owners.values():
            check_owner(owner)
