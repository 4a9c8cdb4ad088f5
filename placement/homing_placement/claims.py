"""When a node claims a slot: the rules of one node, without I/O.

Every change is a `WriteBatch` that compares mod_revisions, so whatever is decided here, etcd keeps one claimant an
epoch. The rules below only see to it that a slot without a living owner finds one soon, and that a living owner is left
alone. Whatever a transaction answered, a slot counts as claimed when its record names this very incarnation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from homing.locations import Jurisdiction, Layout
from homing_placement import events as ev
from homing_placement.creation import Creation
from homing_placement.limits import (
    JITTER_S,
    LACKING_PAUSE_S,
    RECLAIM_PAUSE_FIRST_S,
    RECLAIM_PAUSE_LAST_S,
    SLOT_WRITES_PER_TXN_MAX,
    TICK_S,
)
from homing_placement.reach import Reach
from homing_placement.records import NodeRecord, SlotRecord, SlotState
from homing_placement.rules import NodeView, Rules, SlotView


class Claims:
    """The claims of one node in one incarnation.

    Args:
        me: this node's record; it need not be registered yet.
        slots: how many the cluster has for objects that no jurisdiction binds.
        replicas: how many copies a slot gets when the cluster is created.
        initial_nodes: how many nodes must be registered before the records are created.
        random: for jitter.
        now: monotonic seconds.
        jurisdictions: each has further slots of its own.
    """

    def __init__(
        self, me: NodeRecord, *, slots: int, replicas: int, initial_nodes: int, random: Random, now: float,
        jurisdictions: Sequence[Jurisdiction] = (),
    ) -> None:  # fmt: skip
        self.me = me
        self.reach = Reach(random)
        self._owner = me.owner
        self._random = random
        self._rules = Rules(me, self.reach, now)
        self._may_claim = True
        self._complete = False
        layout = Layout(slots, jurisdictions)
        self._creation = Creation(me.id, layout.parts, replicas, initial_nodes)
        self._slots = [SlotView(part.admits(me.zone)) for part in layout.parts for _ in part.slots]
        # Invariant: holds every slot that might have to be claimed, with the time to look at it again.
        self._unsettled: dict[int, float] = {}
        self._ready: set[int] = set()  # slots whose `ready` is to be written
        self._absent = set(range(len(self._slots)))  # slots without a record
        self._batches: dict[int, ev.WriteBatch] = {}  # under way
        self._batch = 0
        self._effects: list[ev.Effect] = []

    def handle(self, event: ev.Event, now: float) -> list[ev.Effect]:
        """Take one event and say what is to be done.

        Args:
            event: what happened.
            now: monotonic seconds; never less than in the call before.
        """
        match event:
            case ev.TableSeen():
                self._on_table(event, now)
            case ev.Probed():
                self._on_probed(event, now)
            case ev.Written():
                self._on_written(event, now)
            case ev.Refused():
                self._on_refused(event, now)
            case ev.SlotsRead():
                self._on_read(event, now)
            case ev.Suspect():
                self.reach.suspect(event.node, now)
            case ev.Fenced():
                self._on_fenced(event, now)
            case ev.Ready():
                self._on_ready(event)
            case ev.Offered() | ev.ChangeSets():
                self._on_resting(event)
            case ev.MayClaim():
                self._may_claim = event.allowed
            case ev.Tick():
                self._write_ready(now)
        self._effects.extend(ev.Probe(node) for node in self.reach.due(now))
        # A slot's log that is ready changes nothing for other slots, and there are many.
        if self._may_claim and self._complete and not isinstance(event, ev.Ready):
            self._create(now)
            self._claim(now)
        effects, self._effects = self._effects, []
        return effects

    def wants_flush(self) -> bool:
        """Slots are ready and wait for a `Tick` to be written; the sooner it comes, the smaller the batches."""
        return bool(self._ready)

    def check(self) -> None:
        """Assert the invariants; tests call it after every event."""
        for slot, view in enumerate(self._slots):
            record = view.record
            assert (record is None) == (slot in self._absent), slot
            if view.held:
                assert record is not None, slot
                assert (record.owner, record.epoch) == (self._owner, view.held), (slot, view)
            assert not view.fenced or view.held, (slot, view)
            assert not view.writing or any(w.slot == slot for w in self._batches[view.writing].writes), (slot, view)
            assert not view.ready or view.ready == view.held, (slot, view)
        for number, batch in self._batches.items():
            assert 0 < len(batch.writes) <= SLOT_WRITES_PER_TXN_MAX
            assert all(self._slots[write.slot].writing == number for write in batch.writes)

    # What is seen

    def _on_table(self, event: ev.TableSeen, now: float) -> None:
        self._complete |= event.complete
        for fact in event.nodes:
            self._take_node(fact, now)
        for fact in event.slots:
            self._take(fact, now)

    def _take_node(self, fact: ev.NodeFact, now: float) -> None:
        if fact.node == self.me.id:
            return
        node = self._rules.nodes.get(fact.node)
        if fact.record is not None:
            self._rules.nodes[fact.node] = NodeView(fact.record, fact.mod_revision, registered=True)
        elif node is not None:
            node.registered = False
        self.reach.seen(fact.node, now, registered=fact.record is not None)
        self._unsettle_slots_of(fact.node, now)

    def _take(self, fact: ev.SlotFact, now: float) -> None:
        """Apply a record if it is newer by epoch, then state (rule 3)."""
        view, record = self._slots[fact.slot], fact.record
        if record is None:
            return
        old = view.record
        if old is not None and record.rank <= old.rank:
            if record.rank == old.rank:
                view.mod_revision = max(view.mod_revision, fact.mod_revision)
            return
        view.record, view.mod_revision, view.seen_at, view.wanted_since = record, fact.mod_revision, now, None
        if record.state is SlotState.ACTIVE:
            view.recoveries, view.pause_s, view.pause_until = 0, RECLAIM_PAUSE_FIRST_S, 0.0
        elif old is None or record.epoch > old.epoch:
            view.recoveries += 1
        self._absent.discard(fact.slot)
        self._unsettled[fact.slot] = now
        if record.owner is not None and record.owner.node != self.me.id:
            self.reach.mentioned(record.owner.node, now)
            if self.reach.answered_as_another(record.owner.node, record.owner.incarnation, since=0.0):
                self.reach.suspect(record.owner.node, now)
        self._settle_mine(fact.slot, view, record)

    def _settle_mine(self, slot: int, view: SlotView, record: SlotRecord) -> None:
        """Tell the node what a new record means for what it holds."""
        mine = record.owner == self._owner
        if view.ready and not (mine and record.epoch == view.ready and record.state is SlotState.RECOVERING):
            active = mine and record.epoch == view.ready
            self._effects.append(ev.ReadyEnded(slot, view.ready, active))
            view.ready = 0
            self._ready.discard(slot)
        if mine and record.epoch > view.held:
            view.held, view.fenced = record.epoch, False
            self._effects.append(ev.Claimed(slot, record, view.mod_revision, view.contact_at))
        elif not mine and view.held:
            view.held, view.fenced = 0, False
            self._effects.append(ev.Lost(slot, record))

    def _on_probed(self, event: ev.Probed, now: float) -> None:
        self.reach.result(event.node, event.incarnation, sent_at=event.sent_at, now=now)
        if event.incarnation is not None or self.reach.dead(event.node, now):
            self._unsettle_slots_of(event.node, now, living=event.incarnation)

    def _unsettle_slots_of(self, node: str, now: float, living: str | None = None) -> None:
        """Look again at the slots that this node owns, but for those of the incarnation that lives."""
        for slot, view in enumerate(self._slots):
            owner = None if view.record is None else view.record.owner
            if owner is not None and owner.node == node and owner.incarnation != living:
                self._unsettled[slot] = now

    # Transactions and reads

    def _on_written(self, event: ev.Written, now: float) -> None:
        batch = self._batches.pop(event.batch)
        for write in batch.writes:
            self._slots[write.slot].writing = 0
            self._unsettled[write.slot] = now
            self._take(ev.SlotFact(write.slot, write.record, event.revision), now)

    def _on_refused(self, event: ev.Refused, now: float) -> None:
        batch = self._batches.pop(event.batch)
        for write in batch.writes:
            view = self._slots[write.slot]
            view.writing = 0
            if not event.lost:
                view.retry_at = now + self._random.uniform(0.5, 1.5) * RECLAIM_PAUSE_FIRST_S
        self._take_read(event.found, now)
        for write in batch.writes:
            # What nobody else changed is tried again, in a batch without the others.
            if self._slots[write.slot].ready:
                self._ready.add(write.slot)
            elif self._slots[write.slot].record is not None:
                self._unsettled[write.slot] = now
        self._write_ready(now)

    def _on_read(self, event: ev.SlotsRead, now: float) -> None:
        for fact in event.found:
            self._unsettled[fact.slot] = now
        self._take_read(event.found, now)

    def _take_read(self, found: Iterable[ev.SlotFact], now: float) -> None:
        for fact in found:
            self._take(fact, now)
            # The next comparison is with what is there, even where etcd was restored to an older state.
            self._slots[fact.slot].mod_revision = fact.mod_revision

    def _on_fenced(self, event: ev.Fenced, now: float) -> None:
        view = self._slots[event.slot]
        view.floor = max(view.floor, event.promised)
        if event.lacking:
            view.pause_until = now + LACKING_PAUSE_S
        if not view.held or view.fenced:
            return
        view.fenced = True
        if view.ready:
            self._effects.append(ev.ReadyEnded(event.slot, view.ready, active=False))
            view.ready = 0
            self._ready.discard(event.slot)
        # Only what is read now decides (rule 23): the watch may be behind the claim that fenced this log.
        self._effects.append(ev.ReadSlots((event.slot,)))

    def _on_ready(self, event: ev.Ready) -> None:
        view = self._slots[event.slot]
        record = view.record
        if record is None or event.epoch != view.held or view.fenced:
            self._effects.append(ev.ReadyEnded(event.slot, event.epoch, active=False))
        elif record.state is SlotState.ACTIVE:
            self._effects.append(ev.ReadyEnded(event.slot, event.epoch, active=True))
        else:
            view.ready = event.epoch
            self._ready.add(event.slot)

    def _write_ready(self, now: float) -> None:
        writes: list[ev.SlotWrite] = []
        for slot in sorted(self._ready):
            view = self._slots[slot]
            if view.writing or view.retry_at > now:
                continue
            assert view.record is not None
            writes.append(ev.SlotWrite(slot, view.mod_revision, view.record.activated()))
        self._write(writes)
        self._ready.difference_update(write.slot for write in writes)

    def _write(self, writes: list[ev.SlotWrite]) -> None:
        for start in range(0, len(writes), SLOT_WRITES_PER_TXN_MAX):
            self._batch += 1
            batch = ev.WriteBatch(self._batch, tuple(writes[start : start + SLOT_WRITES_PER_TXN_MAX]))
            self._batches[self._batch] = batch
            for write in batch.writes:
                self._slots[write.slot].writing = self._batch
            self._effects.append(batch)

    def _on_resting(self, event: ev.Offered | ev.ChangeSets) -> None:
        self._write(self._offered(event) if isinstance(event, ev.Offered) else self._changed(event))

    def _offered(self, event: ev.Offered) -> list[ev.SlotWrite]:
        """Claim what its living owner gives away, at rest or because it lacks too much to recover it."""
        writes: list[ev.SlotWrite] = []
        for slot, epoch in event.slots:
            self._remember(slot, epoch)
            view = self._resting(slot, epoch)
            if view is not None and view.record is not None and view.record.owner != self._owner:
                view.contact_at = None
                claim = view.record.claimed_by(self._owner, above=view.floor, first=event.first)
                writes.append(ev.SlotWrite(slot, view.mod_revision, claim))
        return writes

    def _remember(self, slot: int, epoch: int) -> None:
        """An offer may come before the record of its epoch: read that, and look again."""
        view = self._slots[slot] if 0 <= slot < len(self._slots) else None
        if view is not None and epoch > (view.record.epoch if view.record is not None else 0):
            view.offered = epoch
            self._effects.append(ev.ReadSlots((slot,)))

    def _changed(self, event: ev.ChangeSets) -> list[ev.SlotWrite]:
        """Claim what is mine anew, with other replicas; until it is ACTIVE the old ones are the authority (rule 16)."""
        writes: list[ev.SlotWrite] = []
        for slot, epoch, nexts in event.slots:
            view = self._resting(slot, epoch)
            record = view.record if view is not None else None
            if view is None or record is None or record.state is not SlotState.ACTIVE or view.fenced:
                continue
            if record.owner == self._owner:
                view.contact_at = None
                claim = record.claimed_by(self._owner, above=view.floor, nexts=nexts)
                writes.append(ev.SlotWrite(slot, view.mod_revision, claim))
        return writes

    def _resting(self, slot: int, epoch: int) -> SlotView | None:
        """A slot that its owner gives away in this epoch, if I may claim it; None if that is out of date."""
        view = self._slots[slot] if 0 <= slot < len(self._slots) else None
        record = view.record if view is not None else None
        if view is None or record is None or view.writing or record.epoch != epoch or not self._may_claim:
            return None
        return view if view.admitted and self._rules.keeps(record) else None

    # First boot

    def _create(self, now: float) -> None:
        """Create the records that are absent, when enough nodes are there and it is for me to do it."""
        if not self._absent:
            return
        nodes = [node.record for node in self._rules.nodes.values() if node.registered and node.record.state == "up"]
        nodes.append(self.me)
        made = self._creation.due(nodes, self._absent, lambda slot: self._may_create(slot, now), now)
        self._write([ev.SlotWrite(slot, 0, record) for slot, record in made])

    def _may_create(self, slot: int, now: float) -> bool:
        view = self._slots[slot]
        return not view.writing and view.retry_at <= now

    # Claims

    def _claim(self, now: float) -> None:
        writes: list[ev.SlotWrite] = []
        for slot in sorted(slot for slot, at in self._unsettled.items() if at <= now):
            view = self._slots[slot]
            again_at = self._look(view, now)
            if again_at is not None:
                self._unsettled[slot] = again_at
                continue
            del self._unsettled[slot]
            record = view.record
            if record is not None and view.wanted_since is not None:
                view.pause_until = now + view.pause_s
                view.pause_s = min(2 * view.pause_s, RECLAIM_PAUSE_LAST_S)
                view.contact_at = self.reach.last_contact(record.owner.node) if record.owner else None
                writes.append(ev.SlotWrite(slot, view.mod_revision, record.claimed_by(self._owner, above=view.floor)))
        self._write(writes)

    def _look(self, view: SlotView, now: float) -> float | None:
        """When to look at this slot again; None: now is the time to claim it, if it is wanted, else it is settled."""
        record = view.record
        mine = record is not None and record.owner == self._owner and not view.fenced
        if record is None or mine or view.writing or not (view.admitted and self._rules.keeps(record)):
            view.wanted_since = None
            return None
        left_to_me = view.offered == record.epoch and record.state is SlotState.RECOVERING
        again_at = now if left_to_me else self._rules.living_until(view, record, now)
        if again_at is None or again_at > now:
            view.wanted_since = None
            return again_at
        if view.wanted_since is None:
            view.wanted_since = now
            view.jitter_s = self._random.uniform(0.0, JITTER_S)
        return None if self._may_take(view, record, now) else now + TICK_S

    def _may_take(self, view: SlotView, record: SlotRecord, now: float) -> bool:
        if max(view.pause_until, view.retry_at) > now or not self._rules.reach_majority(record, now):
            return False
        if view.held or view.offered == record.epoch:
            return True  # fenced: it is mine, and I live; or left to me
        return view.wanted_since is not None and now - view.wanted_since >= self._rules.wait_s(view, record, now)
