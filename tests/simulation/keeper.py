"""Who changes slot records for a process: claims at any time, for no good reason, and only by the rules 1, 2 and 14."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from homing_placement import events as ev
from homing_placement.records import Replica, SlotRecord, SlotState

if TYPE_CHECKING:
    from tests.simulation.process import Process


_Then = Callable[[int, "bool | None", SlotRecord, int], None]


@dataclass(slots=True)
class _View:
    """What is known of one slot."""

    floor: int = 0  # the highest promise that was met
    claiming: bool = False
    held: int = 0  # the epoch of mine that the log was told of
    revision: int = 0  # of the record of that epoch


class Keeper:
    """The slot records of one process; every answer of etcd may be lost."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._views = [_View() for _ in range(process.world.plan.slots)]

    # -- claims -----------------------------------------------------------------------------------------------

    def claim(self, slot: int) -> None:
        """Try to take a slot over: read its record, then write it."""
        view = self._views[slot]
        if view.claiming or self._process.core.serving(slot):
            return
        view.claiming = True
        self._look(slot, self._read)

    def _look(self, slot: int, then: Callable[[int, SlotRecord, int], None]) -> None:
        def read(found: tuple[ev.SlotFact, ...]) -> None:
            assert found[0].record is not None
            then(slot, found[0].record, found[0].mod_revision)

        self._process.world.read_records(self._process, (slot,), read)

    def _write(self, slot: int, expected: int, wanted: SlotRecord, then: _Then) -> None:
        self._process.world.transact(
            self._process, {slot: (expected, wanted)}, lambda outcome, revision: then(slot, outcome, wanted, revision)
        )

    def _read(self, slot: int, found: SlotRecord, revision: int) -> None:
        process, view = self._process, self._views[slot]
        mine = Replica(process.id, process.core.disk)
        if not any(replica.node == process.id for replica in found.replicas):
            view.claiming = False
            return
        wanted = found.claimed_by(process.me, above=max(view.floor, view.held))
        following = process.world.next_replicas(slot, found, mine)
        wanted = msgspec.structs.replace(wanted, next_replicas=following)
        self._write(slot, revision, wanted, self._claimed)

    def _claimed(self, slot: int, outcome: bool | None, wanted: SlotRecord, revision: int) -> None:
        if outcome is None:  # unknown: read before anything else (rule 1)
            self._look(slot, self._looked)
        elif outcome:
            self._take(slot, wanted, revision)
        else:
            self._views[slot].claiming = False

    def _looked(self, slot: int, found: SlotRecord, revision: int) -> None:
        if found.owner == self._process.me and found.epoch > self._views[slot].held:
            self._take(slot, found, revision)
        else:
            self._views[slot].claiming = False

    def _take(self, slot: int, found: SlotRecord, revision: int) -> None:
        process, view = self._process, self._views[slot]
        view.claiming, view.held, view.revision = False, found.epoch, revision
        if found.state is not SlotState.RECOVERING:
            return
        process.world.took(process, slot, found)
        replicas = [(r.node, r.disk) for r in found.replicas]
        following = [(r.node, r.disk) for r in found.next_replicas or found.replicas]
        process.core.claim(slot, found.epoch, replicas, following, process.world.now)

    # -- activation -------------------------------------------------------------------------------------------

    def recovered(self, slot: int, epoch: int) -> None:
        """The log is on a majority: the record may become ACTIVE (rule 14)."""
        if epoch == self._views[slot].held:
            self._look(slot, self._activate)

    def _activate(self, slot: int, found: SlotRecord, revision: int) -> None:
        process, view = self._process, self._views[slot]
        mine = found.owner == process.me and found.epoch == view.held
        if mine and found.state is SlotState.ACTIVE:
            process.serve(slot, found.epoch)
        elif mine and revision == view.revision:
            self._write(slot, revision, found.activated(), self._activated)
        else:
            process.core.resign(slot, "the slot record names another epoch")

    def _activated(self, slot: int, outcome: bool | None, wanted: SlotRecord, _: int) -> None:
        process = self._process
        if outcome is None:
            self._look(slot, self._activate)
        elif outcome:
            process.serve(slot, wanted.epoch)
        else:
            process.core.resign(slot, "somebody else claimed the slot")

    # -- news -------------------------------------------------------------------------------------------------

    def fenced(self, slot: int, promised: int, *, lacking: bool) -> None:
        """An ownership ended; the next claim goes above this promise."""
        del lacking
        self._views[slot].floor = max(self._views[slot].floor, promised)

    def offered(self, slots: Sequence[tuple[int, int]]) -> None:
        """Another gives these slots away."""
        for slot, _ in slots:
            self.claim(slot)

    def saw(self, slot: int, found: SlotRecord, _: int) -> None:
        """The watch told of a record."""
        if found.owner == self._process.me:
            if found.epoch > self._views[slot].held and found.state is SlotState.RECOVERING:
                self._look(slot, self._looked)
            return
        owner = self._process.core.owners.get(slot)
        if owner is not None and found.epoch > owner.epoch:
            self._process.core.resign(slot, "the slot record names a higher epoch")

    def begin(self) -> None:
        """A process starts; nothing is owed to it."""

    def heard(self, _: ev.Event) -> None:
        """What only the real claims care for."""

    def tick(self) -> None:
        """Time passed."""
