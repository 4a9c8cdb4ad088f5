"""A machine: its disk outlives its processes, and may be lost or spoiled."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Protocol

from homing.ids import SLOTS_DEFAULT
from homing_node.log import rocks_keys
from homing_node.log.memory_store import MemoryStore
from homing_node.log.store import DropSlot, Op, PutObject, PutPages, PutRecord, SetApplied, SetPromise, SlotImage

if TYPE_CHECKING:
    from tests.simulation.ledger import Ledger
    from tests.simulation.process import Process


OBJECTS_PER_SLOT = 3
"""Stand for a slot's pages: each holds the hash of the last record that pages have taken in."""


def object_of(slot: int, number: int) -> bytes:
    """The id of one of a slot's objects."""
    first, _ = rocks_keys.hash_range(slot, SLOTS_DEFAULT)
    return first.to_bytes(2, "big") + bytes(29) + bytes((number,))


class Slotted(Protocol):
    """A plan, of whichever simulator."""

    @property
    def slots(self) -> int:
        """How many logs there are."""
        ...


class Surroundings(Protocol):
    """What a machine asks of its world, of whichever simulator."""

    ledger: Ledger
    random: Random
    store_slots: int

    @property
    def plan(self) -> Slotted:
        """The shape of the run."""
        ...

    @property
    def now(self) -> float:
        """Simulated seconds."""
        ...


class Machine:
    """One machine of the cluster.

    Args:
        world: time, chance and the ledger.
        name: the node's id.
    """

    def __init__(self, world: Surroundings, name: str) -> None:
        self.world = world
        self.id = name
        self.process: Process | None = None
        self.slow_until = 0.0  # its disk takes its time until then
        self.deaf_until = 0.0  # its watch tells nothing until then
        self.bad = False  # its disk was lost or spoiled once
        self.spoiled: set[int] = set()  # slots of which something is missing
        self._starts = 0
        self._disks = 0
        self.store = self._new_store()

    def _new_store(self, *, trusted: bool = True) -> MemoryStore:
        self._disks += 1
        store = MemoryStore(f"{self.id}.{self._disks}", trusted=trusted, slots=self.world.store_slots)
        self.world.ledger.disks[store.disk_id] = [store]
        return store

    def incarnation(self) -> str:
        """A name for the next process."""
        self._starts += 1
        return f"{self.id}#{self._starts}"

    def fsync_s(self) -> float:
        """How long the next batch takes."""
        if self.world.now < self.slow_until:
            return self.world.random.uniform(0.05, 1.2)
        return 0.0005 + self.world.random.random() * 0.002

    def images(self) -> dict[int, SlotImage]:
        """What a process finds at start."""
        images = self.store.load()
        for slot in self.spoiled:
            image = images.setdefault(slot, SlotImage())
            image.damaged = not image.whole
        return images

    def sound(self, slot: int) -> bool:
        """Whether what the disk has of a slot may count (rule 17)."""
        image = self.store.load().get(slot) or SlotImage()
        trusted = self.store.trusted and slot not in self.spoiled
        return (trusted or image.whole) and not image.incomplete

    def wipe(self) -> None:
        """The disk is replaced by an empty one (rule 17)."""
        self.bad = True
        self.store = self._new_store()

    def spoil(self, *, forget: bool | None = None) -> None:
        """The disk loses the end of what it had, and somebody noticed (rule 17).

        Args:
            forget: whether it loses its last promises, too; None: by chance.
        """
        self.bad = True
        random = self.world.random
        forgets = random.random() < 0.5 if forget is None else forget
        kind = random.choice(("same id", "new id", "slot"))
        old = self.store
        store = (
            self._new_store(trusted=False)
            if kind == "new id"
            else MemoryStore(old.disk_id, trusted=kind == "slot", slots=self.world.store_slots)
        )
        self.world.ledger.disks[store.disk_id].append(store)
        slots = range(self.world.plan.slots)
        lost = {random.choice(slots)} if kind == "slot" else set(slots)
        for slot, image in old.load().items():
            kept = random.randint(0, len(image.records)) if slot in lost else len(image.records)
            store.write(_remains(old, slot, image, kept, forget=slot in lost and forgets))
        if kind == "slot":
            self.spoiled |= lost
            self.world.ledger.spoiled.update((id(store), slot) for slot in lost)
        self.store = store


def _remains(old: MemoryStore, slot: int, image: SlotImage, kept: int, *, forget: bool) -> list[Op]:
    """A slot with its records up to the `kept` oldest above the pages, and perhaps without its last promise."""
    ops: list[Op] = [DropSlot(slot, image.votes and not forget)] if image.incomplete else []
    if not forget:
        ops.append(SetPromise(slot, image.promised, image.claimant))
    first = image.trimmed + 1
    records = old.records(slot, first, image.applied_lsn - image.trimmed + kept)
    ops.extend(PutRecord(slot, lsn, data) for lsn, data in enumerate(records, first))
    ops.append(SetApplied(slot, image.applied_lsn, image.applied_epoch, image.applied_hash))
    for part in old.part(slot, b"", 1 << 40).objects:
        ops.append(PutObject(part.object, part.data, part.wake_ms))
        if part.pages:
            ops.append(PutPages(part.object, dict(enumerate(part.pages, 1)), part.page_count))
    return ops
