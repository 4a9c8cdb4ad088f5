"""A cluster of log cores whose messages and disks move only when a test says so, and which tells what happens."""

from __future__ import annotations

from typing import Any

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import record
from homing_node.log.core import LogCore
from homing_node.log.digest import slot_digest
from homing_node.log.effects import Advanced, EpochConfirmed, Lost, News, PagesCompared, ReadDigest, Recovered
from homing_node.log.memory_store import MemoryStore
from homing_node.log.store import Op, PutObject, SetApplied

SLOT = 0
OBJECTS = [bytes(31) + bytes((number,)) for number in range(3)]
"""Ids of objects in the slot, which stand for its pages: each holds the last record that they have taken in."""


class Node:
    """One node: its disk outlives its cores."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts = 0
        self.store = MemoryStore(f"disk-{name}")
        self.core: LogCore | None = None
        self.queue: list[tuple[list[Op], dict[int, int]]] = []  # batches that are not on disk
        self.question = 0


class Cluster:
    """Nodes with one slot, all linked to each other.

    Args:
        names: of the nodes; the slot's replicas unless a claim says otherwise.
    """

    def __init__(self, names: list[str]) -> None:
        self.now = 0.0
        self.nodes = {name: Node(name) for name in names}
        self.network: list[tuple[str, str, Any]] = []
        self.held: list[tuple[str, str, Any]] = []
        self.cut: set[tuple[str, str]] = set()
        self.lines: list[str] = []
        self.compared: list[PagesCompared] = []
        self.acknowledged: dict[int, bytes] = {}  # lsn to hash of everything an owner called committed
        self.epoch = 0  # of the slot's record
        self.members = [(name, self.nodes[name].store.disk_id) for name in names]
        for name in names:
            self.start(name)
        self.lines.clear()

    # -- processes --------------------------------------------------------------------------------------------

    def core(self, name: str) -> LogCore:
        """The running core of a node."""
        found = self.nodes[name].core
        assert found is not None, f"{name} does not run"
        return found

    def start(self, name: str, *, trusted: bool = True) -> None:
        """Start a node from its disk."""
        node = self.nodes[name]
        node.starts += 1
        node.core = LogCore(
            name, node.store.disk_id, f"{name}#{node.starts}", node.store.load(), trusted=trusted,
            reader=node.store.records,
        )  # fmt: skip
        node.core.remember({SLOT: self.epoch})
        for other in self.nodes.values():
            if other is not node and other.core is not None:
                other.core.peer_up(name, node.store.disk_id)
                node.core.peer_up(other.name, other.store.disk_id)
                self._settle(other)
        self._settle(node)

    def crash(self, name: str) -> None:
        """Lose what is not on disk, and everything under way to the node."""
        node = self.nodes[name]
        node.core = None
        node.queue.clear()
        node.store.crash()
        self.network = [m for m in self.network if m[1] != name]
        for other in self.nodes.values():
            if other.core is not None:
                other.core.peer_down(name)

    def wipe(self, name: str) -> None:
        """Give a node that does not run an empty disk with a new name."""
        self.nodes[name].store = MemoryStore(f"{self.nodes[name].store.disk_id}'")

    # -- what a shell does ------------------------------------------------------------------------------------

    def claim(self, name: str, epoch: int, next_members: list[tuple[str, str]] | None = None) -> None:
        """Its claim is in the slot record; `next_members` are the replicas from then on, if others."""
        self.epoch = max(self.epoch, epoch)
        following = next_members or self.members
        self.core(name).claim(SLOT, epoch, self.members, following, self.now)
        self.members = following
        self._settle(self.nodes[name])

    def activate(self, name: str, epoch: int) -> None:
        """The slot record is ACTIVE."""
        self.core(name).activated(SLOT, epoch, self.now)
        self._settle(self.nodes[name])

    def write(self, name: str, body: str) -> None:
        """A client's call that writes."""
        core = self.core(name)
        if not core.serving(SLOT):
            self.say(f"{name} does not serve")
            return
        core.propose(SLOT, record.TURN, 0, record.NO_OBJECT, body.encode(), self.now)
        self._settle(self.nodes[name])

    def ask(self, name: str) -> None:
        """A client's call that only reads asks for the epoch's confirmation."""
        self.nodes[name].question = self.core(name).ask(SLOT, self.now)
        self.say(f"{name} asks: question {self.nodes[name].question}")
        self._settle(self.nodes[name])

    def compare(self, name: str) -> None:
        """An owner has the replicas compared."""
        self.core(name).compare(SLOT, self.now)
        self._settle(self.nodes[name])

    def apply(self, name: str) -> None:
        """Bring the pages of a node up to its commit point."""
        replica = self.core(name).replica(SLOT)
        records = replica.applicable()
        if records:
            epoch, lsn = record.position(records[-1])
            ops: list[Op] = [PutObject(object_id, records[-1]) for object_id in OBJECTS]
            ops.append(SetApplied(SLOT, lsn, epoch, record.hash_of(records[-1])))
            self.nodes[name].store.write(ops)
            self.core(name).applied(SLOT, lsn)
            self._settle(self.nodes[name])
        self.say(f"{name} pages hold {replica.base_lsn}")

    def tick(self, seconds: float) -> None:
        """Let time go by, everywhere."""
        self.now += seconds
        for node in self.nodes.values():
            if node.core is not None:
                node.core.tick(self.now)
                self._settle(node)

    def sync(self, name: str) -> None:
        """Everything that a node wrote gets on disk."""
        node = self.nodes[name]
        queue, node.queue = node.queue, []
        for ops, marks in queue:
            node.store.write(ops)
            self.core(name).written(marks, self.now)
        self._settle(node)

    def deliver(self, source: str = "", target: str = "") -> int:
        """Deliver what is under way now, between two nodes or everywhere; what that begets waits."""
        chosen = [m for m in self.network if source in ("", m[0]) and target in ("", m[1])]
        self.network = [m for m in self.network if m not in chosen]
        for sender, to, message in chosen:
            node = self.nodes[to]
            if node.core is None or (sender, to) in self.cut or isinstance(message, wire.Offer):
                self.say(f"{sender} x {to}  {told(message)}")
                continue
            self.say(f"{sender} > {to}  {told(message)}")
            node.core.receive(sender, message, self.now)
            self._settle(node)
        return len(chosen)

    def hold(self, source: str, target: str) -> None:
        """Keep what is under way between two nodes for later."""
        kept = [m for m in self.network if m[:2] == (source, target)]
        self.network = [m for m in self.network if m[:2] != (source, target)]
        self.held += kept
        self.say(f"{len(kept)} held")

    def release(self) -> None:
        """What was held is under way again."""
        self.network += self.held
        self.held = []

    def lose(self, source: str, target: str) -> None:
        """The last message under way between two nodes is lost."""
        last = max(i for i, m in enumerate(self.network) if m[:2] == (source, target))
        self.say(f"{source} x {target}  {told(self.network.pop(last)[2])}")

    def settle(self) -> None:
        """Deliver and sync until nothing moves."""
        moved = True
        while moved:
            moved = self.deliver() > 0
            for node in self.nodes.values():
                if node.core is not None and node.queue:
                    self.sync(node.name)
                    moved = True

    def _settle(self, node: Node) -> None:
        """Take what the core asked for."""
        core = node.core
        assert core is not None
        out = core.drain(self.now)
        if out.writes or out.marks:
            node.queue.append((out.writes, out.marks))
        self.network.extend((node.name, to, message) for to, message in out.sends)
        for news in out.news:
            self._note(node.name, news)
        for read in out.reads:
            if isinstance(read, ReadDigest):
                core.digest_read(read, slot_digest(node.store, SLOT), self.now)
            else:
                core.part_read(read, node.store.part(SLOT, read.place, 1))
            self._settle(node)
        core.check()

    def _note(self, name: str, news: News) -> None:
        if isinstance(news, Advanced):
            self.say(f"{name} ! committed up to {news.lsn} in epoch {news.epoch}")
            self._acknowledge(name, news.lsn)
        elif isinstance(news, Recovered):
            self.say(f"{name} ! recovered in epoch {news.epoch}: the record may become ACTIVE")
        elif isinstance(news, EpochConfirmed):
            self.say(f"{name} ! questions up to {news.number} are answered")
        elif isinstance(news, Lost):
            self.say(f"{name} ! lost epoch {news.epoch}, met {news.promised}: {news.reason}")
        elif isinstance(news, PagesCompared):
            self.compared.append(news)
        else:
            self.say(f"{name} ! HALTED: {news.reason}")

    def _acknowledge(self, name: str, upto: int) -> None:
        """Invariants of every history: what is committed is on a majority of disks, and stays as it was."""
        replica = self.core(name).replica(SLOT)
        for lsn in range(replica.base_lsn + 1, upto + 1):
            data = replica.records[lsn]
            if lsn not in self.acknowledged:
                self.acknowledged[lsn] = record.hash_of(data)
                disks = sum(node.store.records(SLOT, lsn, 1) == [data] for node in self.nodes.values())
                assert disks > len(self.members) // 2, f"record {lsn} is committed and on {disks} disks"
            assert self.acknowledged[lsn] == record.hash_of(data), f"record {lsn} was committed and has changed"

    # -- telling ----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Add a line to what happened."""
        self.lines.append(text)

    def logs(self) -> None:
        """Tell what every node has."""
        for node in self.nodes.values():
            if node.core is None:
                self.say(f"{node.name} is down")
                continue
            replica = node.core.replica(SLOT)
            kept = " ".join(short(data) for data in replica.records.values())
            pages = f"pages {replica.base_lsn} + " if replica.base_lsn else ""
            state = f"promised {replica.promised}, committed {replica.commit}, on disk {replica.durable_lsn}"
            healthy = "" if replica.healthy else ", not to be trusted"
            self.say(f"{node.name}  {state}{healthy}: {pages}{kept or 'nothing'}")


def short(data: bytes) -> str:
    """A record in a word: lsn/epoch:body."""
    found = record.decode(data)
    body = "barrier" if found.kind == record.BARRIER else found.body.decode()
    return f"{found.lsn}/{found.epoch}:{body}"


def told(m: Any) -> str:
    """A message in a line."""
    if isinstance(m, wire.Append):
        records = " ".join(map(short, m.records)) or "nothing"
        return f"Append epoch {m.epoch} after {m.prev_lsn}/{m.prev_epoch}: {records}; committed {m.commit}"
    if isinstance(m, wire.Appended):
        outcome = wire.AppendOutcome.Name(m.outcome).removeprefix("APPEND_OUTCOME_")
        detail = f" promised {m.promised}" if m.promised else f" {m.lsn}" if m.lsn else ""
        return f"Appended epoch {m.epoch} {outcome}{detail}"
    if isinstance(m, wire.Seal):
        return f"Seal epoch {m.epoch} of {m.claimant}"
    if isinstance(m, wire.Sealed):
        if not m.accepted:
            return f"Sealed epoch {m.epoch} REFUSED promised {m.promised}"
        return f"Sealed epoch {m.epoch}: log ends at {m.last_lsn}/{m.last_epoch}{'' if m.healthy else ' UNHEALTHY'}"
    if isinstance(m, wire.Fetch):
        return f"Fetch epoch {m.epoch} from {m.from_lsn}"
    if isinstance(m, wire.Fetched):
        return f"Fetched epoch {m.epoch}: {' '.join(map(short, m.records)) or 'nothing'}{' (all)' if m.last else ''}"
    if isinstance(m, wire.Snapshot):
        return f"Snapshot of {m.base_lsn}, part {m.part}{' (last)' if m.last else ''}{' joins' if m.joins else ''}"
    if isinstance(m, wire.Snapshotted):
        return f"Snapshotted {m.base_lsn}, part {m.part}{' WHOLE' if m.whole else ' AGAIN' if m.again else ''}"
    if isinstance(m, wire.Compare):
        return f"Compare epoch {m.epoch} at {m.lsn}{' DIFFERS' if m.differs else ''}"
    if isinstance(m, wire.Compared):
        return f"Compared epoch {m.epoch} at {m.lsn}"
    if isinstance(m, wire.Offer):
        return f"Offer of epoch {m.epochs[0]}"
    if isinstance(m, wire.Confirm):
        return f"Confirm round {m.round} epoch {' '.join(map(str, m.epochs))}"
    assert isinstance(m, wire.Confirmed)
    refused = f" REFUSED promised {' '.join(map(str, m.refused_promises))}" if m.refused_promises else ""
    return f"Confirmed round {m.round}{refused}"
