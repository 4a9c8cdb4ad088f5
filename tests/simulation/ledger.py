"""What must hold: the judge of a run. It sees every disk and every decision, and knows nothing of how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.machine import OBJECTS_PER_SLOT, object_of

from homing_node.log import record
from homing_node.log.core import LogCore
from homing_node.log.memory_store import MemoryStore
from homing_node.log.owner import Member
from homing_node.log.replica import Replica
from homing_node.log.store import SlotImage
from homing_placement.records import Owner, SlotRecord, SlotState


class Violation(AssertionError):
    """Something that must never happen did."""


@dataclass(slots=True, frozen=True)
class _Active:
    """An epoch that became ACTIVE."""

    owner: Owner
    members: list[Member]
    tip: int  # the last committed lsn at that moment


@dataclass(slots=True)
class _Slot:
    """The truth about one slot: `hashes[lsn]` of every record that was ever called committed."""

    hashes: list[bytes] = field(default_factory=lambda: [record.NO_HASH])
    claims: dict[int, Owner] = field(default_factory=dict[int, Owner])  # epoch to who took it over in its log
    active: dict[int, _Active] = field(default_factory=dict[int, "_Active"])

    @property
    def tip(self) -> int:
        """The last committed lsn."""
        return len(self.hashes) - 1


class Ledger:
    """Everything that was promised to a client, by slot.

    Args:
        slots: how many logs there are.
    """

    def __init__(self, slots: int) -> None:
        self.slots = [_Slot() for _ in range(slots)]
        self.disks: dict[str, list[MemoryStore]] = {}  # disk id to what it holds, and held before it was damaged
        self.spoiled: set[tuple[int, int]] = set()  # stores, by id(), and slots of them that must not count (rule 17)
        self.restored = False  # etcd was put back to an older state: epochs may be claimed twice, but not become ACTIVE

    def tip(self, slot: int) -> int:
        """The last committed lsn of a slot."""
        return self.slots[slot].tip

    # -- ownership --------------------------------------------------------------------------------------------

    def claimed(self, slot: int, epoch: int, owner: Owner) -> None:
        """A process took up an epoch."""
        before = self.slots[slot].claims.setdefault(epoch, owner)
        if before != owner and not self.restored:
            raise Violation(f"slot {slot}: epoch {epoch} of {before} is taken up by {owner}")

    def activated(self, slot: int, record_: SlotRecord) -> None:
        """The slot record became ACTIVE."""
        assert record_.owner is not None
        assert record_.state is SlotState.ACTIVE
        members = [(r.node, r.disk) for r in record_.replicas]
        found = self.slots[slot].active.setdefault(record_.epoch, _Active(record_.owner, members, self.tip(slot)))
        if found.owner != record_.owner:
            raise Violation(f"slot {slot}: epoch {record_.epoch} is ACTIVE for {found.owner} and {record_.owner}")

    def serves(self, slot: int, epoch: int, me: Owner, core: LogCore) -> None:
        """A process begins to serve: rule 14, and all that was committed by then is in its log."""
        active = self.slots[slot].active.get(epoch)
        if active is None or active.owner != me:
            raise Violation(f"slot {slot}: {me} serves epoch {epoch}, which is not ACTIVE for it")
        tip = active.tip
        if not self.holds(core, slot, tip):
            raise Violation(f"slot {slot}: committed record {tip} is not in the log of {me}, ACTIVE in epoch {epoch}")

    # -- commits ----------------------------------------------------------------------------------------------

    def advanced(self, core: LogCore, slot: int, epoch: int, lsn: int) -> None:
        """An owner says that everything up to `lsn` is committed."""
        truth = self.slots[slot]
        if epoch not in truth.active:
            raise Violation(f"slot {slot}: {core.node} commits in epoch {epoch}, which never was ACTIVE")
        position = core.replicas[slot].hash_at(lsn)
        if position is None or position[0] != epoch:
            raise Violation(f"slot {slot}: {core.node} commits record {lsn} of {position} in epoch {epoch}")
        known = min(truth.tip, lsn)
        if not self.holds(core, slot, known):
            raise Violation(f"slot {slot}: record {known} is committed twice, with different content")
        fresh: list[bytes] = []
        for at in range(truth.tip + 1, lsn + 1):
            found = hash_at(core, slot, at)
            assert found is not None
            fresh.append(found)
        first = truth.tip + 1
        truth.hashes.extend(fresh)
        members = truth.active[epoch].members
        for at in range(first, lsn + 1):
            self.on_majority(slot, at, members)

    def on_majority(self, slot: int, lsn: int, members: Sequence[Member]) -> None:
        """A record is on a majority of the disks of its set, those that count."""
        digest = self.slots[slot].hashes[lsn]
        count = 0
        for _, disk in members:
            count += any(self._on_disk(store, slot, lsn, digest) for store in self.disks[disk])
        if count < len(members) // 2 + 1:
            raise Violation(f"slot {slot}: record {lsn} is acknowledged and durable on {count} of {len(members)} disks")

    def _on_disk(self, store: MemoryStore, slot: int, lsn: int, digest: bytes) -> bool:
        """Whether a store that counts has a committed record, itself or in its pages."""
        held = store.records(slot, lsn, 1)
        sound = store.trusted and (id(store), slot) not in self.spoiled
        if sound and held and record.hash_of(held[0]) == digest:
            return True
        image = store.load().get(slot)
        if image is None or image.incomplete or not (sound or image.whole):
            return False
        if held:
            return record.hash_of(held[0]) == digest
        return image.applied_lsn >= lsn and self.is_committed(slot, image.applied_lsn, image.applied_hash)

    def holds(self, core: LogCore, slot: int, lsn: int) -> bool:
        """Whether a process has a committed record, itself or in its pages."""
        replica = core.replica(slot)
        if lsn < replica.base_lsn:
            return self.is_committed(slot, replica.base_lsn, replica.base_hash)
        return hash_at(core, slot, lsn) == self.slots[slot].hashes[lsn]

    def became_whole(self, store: MemoryStore, slot: int, replica: Replica) -> None:
        """A snapshot was taken in: the pages must be those of its base (checked where they are on disk by now)."""
        image = store.load().get(slot)
        if image is None or image.incomplete or image.applied_lsn != replica.base_lsn:
            return
        self._check_pages(store, slot, image)

    def _check_pages(self, store: MemoryStore, slot: int, image: SlotImage) -> None:
        for number in range(OBJECTS_PER_SLOT):
            found = store.object(object_of(slot, number))
            if image.applied_lsn and found != image.applied_hash:
                raise Violation(f"slot {slot}: object {number} of {store.disk_id} is not as of {image.applied_lsn}")

    def is_committed(self, slot: int, lsn: int, digest: bytes) -> bool:
        """Whether this very record is committed."""
        hashes = self.slots[slot].hashes
        return lsn < len(hashes) and hashes[lsn] == digest

    def knows_commit(self, core: LogCore, slot: int, commit: int, before: int) -> None:
        """A replica's commit point moved: it never falls, and what lies under it is committed."""
        if commit < before:
            raise Violation(f"slot {slot}: the commit point of {core.node} fell from {before} to {commit}")
        if commit > self.tip(slot) or hash_at(core, slot, commit) != self.slots[slot].hashes[commit]:
            raise Violation(f"slot {slot}: {core.node} calls record {commit} committed, and it is not")

    # -- pages ------------------------------------------------------------------------------------------------

    def applies(self, core: LogCore, slot: int, records: Sequence[bytes]) -> None:
        """Pages are about to take these records in (rule 24)."""
        for data in records:
            lsn = record.position(data)[1]
            if not self.is_committed(slot, lsn, record.hash_of(data)):
                raise Violation(f"slot {slot}: pages of {core.node} take record {lsn} in, which is not committed")

    def starts(self, core: LogCore, store: MemoryStore | None = None) -> None:
        """A process started from its disk: its pages hold what is committed, and no more.

        With `store` the pages are those of the log's simulator (`object_of`), and their content is looked at.
        """
        for slot, image in store.load().items() if store is not None else ():
            if not image.incomplete:
                self._check_pages(store, slot, image)
        for slot, replica in core.replicas.items():
            if replica.base_lsn and not self.is_committed(slot, replica.base_lsn, replica.base_hash):
                raise Violation(f"slot {slot}: pages of {core.node} hold record {replica.base_lsn}, not committed")


def hash_at(core: LogCore, slot: int, lsn: int) -> bytes | None:
    """The hash of a process's record, wherever it keeps it."""
    replica = core.replica(slot)
    if replica.last_lsn < lsn:
        return None
    found = replica.before(lsn + 1)
    return None if found is None else found[1]
