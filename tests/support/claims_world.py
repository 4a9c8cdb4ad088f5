"""A world in one thread for the claims core: nodes, an etcd that compares revisions, links, and time by the event.

Every node runs the real `Claims`. The world delivers what the watch, the probes and the transactions would, each after
a delay, in the order of time; it also keeps the history of every slot record and checks what must hold of it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from homing_placement import events as ev
from homing_placement.claims import Claims
from homing_placement.limits import ACTIVATION_GATHER_S, PROBE_TIMEOUT_S, TICK_S
from homing_placement.records import NodeRecord, SlotRecord, SlotState


@dataclass
class Node:
    """One process of a node; a restart makes another."""

    record: NodeRecord
    core: Claims
    alive: bool = True  # False: killed; nothing of it runs again
    paused: bool = False
    mute: bool = False  # its probes fail both ways: cut off from the nodes, not from etcd
    told_at: float = 0.0  # when the last message of its watch arrives
    held: dict[int, int] = field(default_factory=dict[int, int])  # slot -> epoch it was told to recover
    active: dict[int, int] = field(default_factory=dict[int, int])  # slot -> epoch it may serve
    backlog: list[ev.Event] = field(default_factory=list[ev.Event])  # arrived while paused


class World:
    """See the module.

    Args:
        slots: of the cluster.
        replicas: copies of a slot.
        initial: nodes that must be there before the records are made.
        seed: of every choice.
        recovery_s: how long a log takes from the claim to ready; None: for ever.
        unknown: share of transactions that get no answer; half of them are done all the same, some of these late.
    """

    def __init__(
        self,
        *,
        slots: int = 64,
        replicas: int = 3,
        initial: int = 3,
        seed: int = 0,
        recovery_s: float | None = 0.05,
        unknown: float = 0.0,
    ) -> None:
        self.random = Random(seed)
        self.slots, self.replicas, self.initial = slots, replicas, initial
        self.recovery_s, self.unknown = recovery_s, unknown
        self.now = 0.0
        self.revision = 0
        self.nodes: dict[str, Node] = {}
        self.records: dict[int, tuple[SlotRecord, int]] = {}
        self.registered: dict[str, tuple[NodeRecord | None, int]] = {}
        self.history: list[tuple[float, int, SlotRecord]] = []
        self.transactions = 0
        self.etcd_up = True
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0
        self._incarnations = 0

    # What a test does

    def start(self, name: str, *, zone: str = "", disk: str | None = None) -> Node:
        """Start a process of this node; it registers at once."""
        self._incarnations += 1
        record = NodeRecord(
            id=name, address=name, zone=zone, disk=disk or f"disk-{name}", incarnation=f"{name}#{self._incarnations}"
        )
        core = Claims(
            record,
            slots=self.slots,
            replicas=self.replicas,
            initial_nodes=self.initial,
            random=Random(self.random.random()),
            now=self.now,
        )
        node = self.nodes[name] = Node(record, core)
        self.register(name)
        self.tell(node, self._table(complete=True))
        self._every(TICK_S, lambda: self.tell(node, ev.Tick()), lambda: node.alive)
        return node

    def kill(self, name: str, *, link_breaks: bool = True) -> None:
        """End its process; its record stays until a lease runs out, which the test says with `unregister`."""
        self.nodes[name].alive = False
        if link_breaks:
            for other in self.nodes.values():
                if other.alive:
                    self.later(0.01, self._telling(other, ev.Suspect(name)))

    def register(self, name: str) -> None:
        """Write the node's record."""
        self.revision += 1
        self.registered[name] = (self.nodes[name].record, self.revision)
        self._publish(ev.TableSeen(nodes=(ev.NodeFact(name, self.nodes[name].record, self.revision),)))

    def unregister(self, name: str) -> None:
        """Its lease ran out."""
        self.revision += 1
        self.registered[name] = (None, self.revision)
        self._publish(ev.TableSeen(nodes=(ev.NodeFact(name, None, self.revision),)))

    def resume(self, name: str) -> None:
        """A paused process goes on, with everything that arrived meanwhile."""
        node = self.nodes[name]
        node.paused = False
        backlog, node.backlog = node.backlog, []
        for event in backlog:
            self.tell(node, event)

    def run(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    def run_until(self, done: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Let time go by until something holds; how long that took."""
        began = self.now
        while not done():
            assert self.now - began < limit_s, f"not reached in {limit_s} s: {self.summary()}"
            self.run(0.01)
        return self.now - began

    def owners(self) -> Counter[str]:
        """How many slots each living process serves."""
        count: Counter[str] = Counter()
        for slot, (record, _) in self.records.items():
            node = self.nodes.get(record.owner.node) if record.owner else None
            if node and node.alive and node.record.owner == record.owner and node.active.get(slot) == record.epoch:
                count[node.record.id] += 1
        return count

    def served(self) -> bool:
        """Every slot is ACTIVE with a living owner that knows it."""
        return self.owners().total() == self.slots

    def summary(self) -> str:
        """For a failing test."""
        return f"t={self.now:.2f} owners={dict(self.owners())} records={len(self.records)}"

    # How it works

    def later(self, delay_s: float, action: Callable[[], object]) -> None:
        """Do something after a delay."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._sequence, action))

    def tell(self, node: Node, event: ev.Event) -> None:
        """Give the node's core an event and carry out what it asks for."""
        if not node.alive:
            return
        if node.paused:
            node.backlog.append(event)
            return
        effects = node.core.handle(event, self.now)
        node.core.check()
        for effect in effects:
            self._do(node, effect)

    def _do(self, node: Node, effect: ev.Effect) -> None:
        match effect:
            case ev.Probe():
                self._probe(node, effect.node)
            case ev.WriteBatch():
                self.later(self._delay(), lambda: self._transact(node, effect))
            case ev.ReadSlots():
                self.later(self._delay(), lambda: self._read(node, effect.slots))
            case ev.Claimed():
                assert node.held.get(effect.slot, 0) < effect.record.epoch
                node.held[effect.slot] = effect.record.epoch
                node.active.pop(effect.slot, None)
                if self.recovery_s is not None:
                    ready = ev.Ready(effect.slot, effect.record.epoch)
                    self.later(self.recovery_s * self.random.uniform(0.5, 1.5), self._telling(node, ready))
                    self.later(self.recovery_s * 1.5 + ACTIVATION_GATHER_S, self._telling(node, ev.Tick()))
            case ev.Lost():
                assert effect.record.owner != node.record.owner
                node.held.pop(effect.slot, None)
                node.active.pop(effect.slot, None)
            case ev.ReadyEnded():
                if effect.active:
                    assert node.held.get(effect.slot) == effect.epoch
                    node.active[effect.slot] = effect.epoch

    def _probe(self, node: Node, target: str) -> None:
        sent_at, delay_s = self.now, self._delay()

        def arrive() -> None:
            other = self.nodes[target]
            if node.mute or other.mute or other.paused:
                self.later(PROBE_TIMEOUT_S - delay_s, self._telling(node, ev.Probed(target, None, sent_at)))
                return
            incarnation = other.record.incarnation if other.alive else None
            self.later(self._delay(), self._telling(node, ev.Probed(target, incarnation, sent_at)))

        self.later(delay_s, arrive)

    def _transact(self, node: Node, batch: ev.WriteBatch) -> None:
        self.transactions += 1
        if not self.etcd_up:
            self.later(2.0, lambda: self._reread(node, batch))
            return
        if self.random.random() < self.unknown:
            fate = self.random.random()
            if fate < 0.5:
                self._apply(batch)
            elif fate < 0.75:
                self.later(self.random.uniform(0, 3), lambda: self._apply(batch))
            self.later(2.0, lambda: self._reread(node, batch))
            return
        if self._apply(batch):
            self.later(self._delay(), self._telling(node, ev.Written(batch.batch, self.revision)))
        else:
            self.later(self._delay(), self._telling(node, ev.Refused(batch.batch, self._facts(batch), lost=True)))

    def _reread(self, node: Node, batch: ev.WriteBatch) -> None:
        if not self.etcd_up:
            self.later(0.5, lambda: self._reread(node, batch))
            return
        self.later(self._delay(), self._telling(node, ev.Refused(batch.batch, self._facts(batch), lost=False)))

    def _apply(self, batch: ev.WriteBatch) -> bool:
        if any(self.records.get(write.slot, (None, 0))[1] != write.expected for write in batch.writes):
            return False
        self.revision += 1
        for write in batch.writes:
            self._check_write(write)
            self.records[write.slot] = (write.record, self.revision)
            self.history.append((self.now, write.slot, write.record))
        facts = tuple(ev.SlotFact(write.slot, write.record, self.revision) for write in batch.writes)
        self._publish(ev.TableSeen(slots=facts))
        return True

    def _check_write(self, write: ev.SlotWrite) -> None:
        new, old = write.record, self.records.get(write.slot, (None, 0))[0]
        if old is None:
            assert (new.epoch, new.owner) == (0, None)
            return
        assert new.rank > old.rank, "a record never goes back (rule 3)"
        if new.state is SlotState.RECOVERING:
            assert new.epoch > old.epoch, "a claim has an epoch of its own (rule 1)"
            assert new.replicas == old.replicas, "the old set is the authority until ACTIVE (rule 16)"
        else:
            assert (new.epoch, new.owner) == (old.epoch, old.owner), "only the claimant makes it ACTIVE (rule 14)"
            assert new.replicas == old.next_replicas
        assert new.owner is not None
        assert new.owner.node in [replica.node for replica in new.replicas], "the owner keeps the log"

    def _read(self, node: Node, slots: tuple[int, ...]) -> None:
        if not self.etcd_up:
            self.later(0.5, lambda: self._read(node, slots))
            return
        facts = tuple(ev.SlotFact(slot, *self.records.get(slot, (None, 0))) for slot in slots)
        self.later(self._delay(), self._telling(node, ev.SlotsRead(facts)))

    def _facts(self, batch: ev.WriteBatch) -> tuple[ev.SlotFact, ...]:
        return tuple(ev.SlotFact(w.slot, *self.records.get(w.slot, (None, 0))) for w in batch.writes)

    def _table(self, *, complete: bool) -> ev.TableSeen:
        nodes = tuple(ev.NodeFact(name, record, revision) for name, (record, revision) in self.registered.items())
        slots = tuple(ev.SlotFact(slot, record, revision) for slot, (record, revision) in self.records.items())
        return ev.TableSeen(nodes, slots, complete)

    def _publish(self, told: ev.TableSeen) -> None:
        for node in self.nodes.values():
            # A watch tells in the order of revisions, whatever each message took.
            node.told_at = max(node.told_at, self.now + self._delay())
            self.later(node.told_at - self.now, self._telling(node, told))

    def _telling(self, node: Node, event: ev.Event) -> Callable[[], None]:
        return lambda: self.tell(node, event)

    def _every(self, period_s: float, action: Callable[[], None], going: Callable[[], bool]) -> None:
        def again() -> None:
            if going():
                action()
                self.later(period_s, again)

        self.later(period_s * self.random.random(), again)

    def _delay(self) -> float:
        return self.random.uniform(0.0005, 0.005)
