"""The real `Claims` as the keeper of a process: owners are probed, and claimed from only when they do not answer."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from homing_placement import events as ev
from homing_placement.claims import Claims
from homing_placement.limits import PROBE_TIMEOUT_S
from homing_placement.records import NodeRecord, SlotRecord

if TYPE_CHECKING:
    from tests.simulation.process import Process


class ClaimsKeeper:
    """Carries out what the claims of one process ask for.

    Args:
        process: whose log is told.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        world = process.world
        self.record = NodeRecord(
            id=process.id, address=process.id, disk=process.core.disk, incarnation=process.incarnation
        )
        self._claims = Claims(
            self.record,
            slots=world.plan.slots,
            replicas=world.plan.replicas,
            initial_nodes=world.plan.machines,
            random=Random(world.random.random()),
            now=world.now,
        )

    def begin(self) -> None:
        """Register, and read the whole table."""
        world = self._process.world
        world.etcd.revision += 1
        world.registered[self._process.id] = (self.record, world.etcd.revision)
        fact = ev.NodeFact(self._process.id, self.record, world.etcd.revision)
        for machine in world.machines:
            if machine.process is not None:
                machine.process.post(
                    world.random.random() * 0.1, machine.process.keeper.heard, ev.TableSeen((fact,), complete=False)
                )
        slots = tuple(ev.SlotFact(slot, *found) for slot, found in world.etcd.records.items())
        nodes = tuple(ev.NodeFact(node, *found) for node, found in world.registered.items())
        core = self._process.core
        if not core.trusted or any(not replica.healthy for replica in core.replicas.values()):
            self.heard(ev.MayClaim(allowed=False))  # it would claim for ever what its log refuses to own
        self._process.post(0.01, self.heard, ev.TableSeen(nodes, slots, complete=True))

    def heard(self, event: ev.Event) -> None:
        """Something happened; do what is asked."""
        for effect in self._claims.handle(event, self._process.world.now):
            self._carry_out(effect)
        self._claims.check()

    def _carry_out(self, effect: ev.Effect) -> None:
        process = self._process
        world = process.world
        match effect:
            case ev.WriteBatch():
                writes = {write.slot: (write.expected, write.record) for write in effect.writes}
                world.transact(process, writes, self._answer(effect))
            case ev.ReadSlots():
                world.read_records(process, effect.slots, self._read)
            case ev.Probe():
                self._probe(effect.node)
            case ev.Claimed():
                world.took(process, effect.slot, effect.record)
                replicas = [(r.node, r.disk) for r in effect.record.replicas]
                following = [(r.node, r.disk) for r in effect.record.next_replicas or effect.record.replicas]
                process.core.claim(effect.slot, effect.record.epoch, replicas, following, world.now)
            case ev.Lost():
                process.core.resign(effect.slot, "the slot record names another owner")
            case ev.ReadyEnded():
                if effect.active:
                    process.serve(effect.slot, effect.epoch)
                elif process.core.owners.get(effect.slot) is not None:
                    process.core.resign(effect.slot, "the slot record names another epoch")

    def _answer(self, batch: ev.WriteBatch):
        slots = tuple(write.slot for write in batch.writes)

        def answer(outcome: bool | None, revision: int) -> None:
            if outcome:
                self.heard(ev.Written(batch.batch, revision))
            else:
                lost = outcome is False
                self._process.world.read_records(
                    self._process, slots, lambda found: self.heard(ev.Refused(batch.batch, found, lost))
                )

        return answer

    def _read(self, found: tuple[ev.SlotFact, ...]) -> None:
        self.heard(ev.SlotsRead(found))

    def _probe(self, node: str) -> None:
        process = self._process
        world = process.world
        target = next((m.process for m in world.machines if m.id == node), None)
        cut = (process.id, node) in world.cuts or (node, process.id) in world.cuts
        answers = target is not None and not target.paused and not cut
        incarnation = target.incarnation if target is not None and answers else None
        process.post(0.002 if answers else PROBE_TIMEOUT_S, self.heard, ev.Probed(node, incarnation, sent_at=world.now))

    # -- as the other keeper ----------------------------------------------------------------------------------

    def claim(self, slot: int) -> None:
        """Only the rules of placement decide when to claim; a hint is all that can be given."""
        owner = self._process.world.etcd.records[slot][0].owner
        if owner is not None:
            self.heard(ev.Suspect(owner.node))

    def recovered(self, slot: int, epoch: int) -> None:
        """The log is on a majority."""
        self.heard(ev.Ready(slot, epoch))

    def fenced(self, slot: int, promised: int, *, lacking: bool) -> None:
        """An ownership ended."""
        self.heard(ev.Fenced(slot, promised, lacking))

    def offered(self, slots: Sequence[tuple[int, int]]) -> None:
        """Another gives these slots away."""
        self.heard(ev.Offered(tuple(slots), first=False))

    def saw(self, slot: int, found: SlotRecord, revision: int) -> None:
        """The watch told of a record."""
        self.heard(ev.TableSeen(slots=(ev.SlotFact(slot, found, revision),), complete=False))

    def tick(self) -> None:
        """Time passed."""
        self.heard(ev.Tick())
