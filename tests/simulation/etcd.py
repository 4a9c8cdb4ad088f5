"""A modelled etcd: slot records that change by comparing their mod_revision, and calls whose outcome may stay unknown."""

from __future__ import annotations

from collections.abc import Mapping
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

    def write(self, writes: Mapping[int, tuple[int, SlotRecord]]) -> bool:
        """One transaction: all of it, or nothing if one record was changed since the revision expected of it."""
        if any(self.records[slot][1] != expected for slot, (expected, _) in writes.items()):
            return False
        self.revision += 1
        for slot, (_, record) in writes.items():
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
