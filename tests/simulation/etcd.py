"""A modelled etcd: slot records that change by comparing their mod_revision, and calls whose outcome may stay unknown."""

from __future__ import annotations

from dataclasses import dataclass, field

from homing_placement.records import Replica, SlotRecord, SlotState


@dataclass(slots=True)
class Etcd:
    """The slot records of a cluster.

    Invariant: every change of a record has a revision of its own; also after a restore they only grow.
    """

    records: dict[int, tuple[SlotRecord, int]] = field(default_factory=dict[int, tuple[SlotRecord, int]])
    revision: int = 0
    backup: dict[int, SlotRecord] = field(default_factory=dict[int, SlotRecord])

    def create(self, slot: int, replicas: tuple[Replica, ...]) -> None:
        """The record of a slot that nobody ever owned."""
        self.revision += 1
        self.records[slot] = (SlotRecord(0, SlotState.ACTIVE, None, replicas), self.revision)

    def write(self, slot: int, expected: int, record: SlotRecord) -> bool:
        """One transaction: done only if the record was not changed since `expected`."""
        if self.records[slot][1] != expected:
            return False
        self.revision += 1
        self.records[slot] = (record, self.revision)
        return True

    def take_backup(self) -> None:
        """Remember the records as they are."""
        self.backup = {slot: record for slot, (record, _) in self.records.items()}

    def restore(self) -> None:
        """Put the records back to the backup, under new revisions."""
        for slot, record in self.backup.items():
            self.revision += 1
            self.records[slot] = (record, self.revision)
