"""The cached table of a cluster: slots, nodes and gateways, kept by one watch; what gateways route by.

A record is applied only if its epoch, then its state, is higher than the cached one (rule 3), so the table never goes
back, whatever order the watch and single reads bring things in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from homing.errors import ConfigurationError
from homing.locations import Jurisdiction, Layout
from homing_placement.etcd import Changes, Entry, EtcdClient, EtcdError, Listing
from homing_placement.events import NodeFact, SlotFact, TableSeen
from homing_placement.keys import ClusterKeys
from homing_placement.records import (
    ClusterConfig,
    GatewayRecord,
    JurisdictionsRecord,
    LoadRecord,
    NodeRecord,
    SlotRecord,
    decode,
)

_log = structlog.stdlib.get_logger(__name__)


class SlotTable:
    """What is known of a cluster. Lists are indexed by slot and changed in place, so a hot path may keep them.

    Attributes:
        config: None until the cluster exists.
        jurisdictions: those of the cluster, by number; this process may know fewer.
        layout: the slots that are of interest; None until the cluster exists.
        records: the slot records; None where none was seen.
        epochs: of the records; 0 where none was seen.
        owners: the record of the node that a slot's calls go to; None when nobody owns the slot, when its owner was
            never seen registered, or when another incarnation of the node is registered.
        nodes: the nodes that are registered now, by id.
        gateways: the gateways that are registered now, by id.
        loads: what nodes say of the load of their slots, by id.
        listed: set when etcd was read for the first time.
        ready: set when every slot is known that is for all objects: those of a jurisdiction may wait for its nodes.

    Args:
        client: of the cluster's etcd.
        keys: of the cluster.
        known: the jurisdictions whose slots are of interest; others may have been added to the cluster since.

    Example:
        >>> table = SlotTable(client, ClusterKeys("dev"))
        >>> group.create_task(table.run())
        >>> await table.ready.wait()
        >>> owner, record = table.route(7)
    """

    def __init__(self, client: EtcdClient, keys: ClusterKeys, known: Sequence[Jurisdiction] = ()) -> None:
        self.config: ClusterConfig | None = None
        self.jurisdictions: tuple[Jurisdiction, ...] = ()
        self.layout: Layout | None = None
        self.records: list[SlotRecord | None] = []
        self.epochs: list[int] = []
        self.owners: list[NodeRecord | None] = []
        self.nodes: dict[str, NodeRecord] = {}
        self.gateways: dict[str, GatewayRecord] = {}
        self.loads: dict[str, LoadRecord] = {}
        self.listed = asyncio.Event()
        self.ready = asyncio.Event()
        self._client = client
        self._keys = keys
        self._of_interest = tuple(known)
        self._mod_revisions: list[int] = []
        # The newest record of every node that was ever registered: a node whose lease ran out may live, and serve.
        self._known: dict[str, tuple[NodeRecord, int]] = {}
        self._unknown_slots = 0
        self._callbacks: list[Callable[[TableSeen], None]] = []
        self._wanted: dict[int, asyncio.Future[None]] = {}
        self._want = asyncio.Event()

    async def run(self) -> None:
        """Watch the cluster and serve `refresh`; runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._client.watch_prefix(self._keys.prefix, self._take), name="table-watch")
            group.create_task(self._serve_refreshes(), name="table-refresh")

    def on_change(self, callback: Callable[[TableSeen], None]) -> None:
        """Call back, in the event loop, with each group of records that was applied."""
        self._callbacks.append(callback)

    def route(self, slot: int) -> tuple[NodeRecord | None, SlotRecord | None]:
        """Where calls of a slot go, and its record; see `owners`."""
        return (self.owners[slot], self.records[slot]) if slot < len(self.records) else (None, None)

    def known_node(self, node_id: str) -> NodeRecord | None:
        """The newest record of a node, also when its lease ran out."""
        known = self._known.get(node_id)
        return known[0] if known else None

    async def refresh(self, slot: int) -> SlotRecord | None:
        """Read a slot linearizably and apply what is there. Callers at the same time share a read that began later.

        Returns:
            The cached record after that; it may be newer than what was read.

        Raises:
            EtcdUnavailable: no endpoint answered in time.
        """
        if slot >= len(self.records):
            return None
        waiting = self._wanted.get(slot)
        if waiting is None:
            waiting = self._wanted[slot] = asyncio.get_running_loop().create_future()
            self._want.set()
        await asyncio.shield(waiting)
        return self.records[slot]

    async def _serve_refreshes(self) -> None:
        while True:
            await self._want.wait()
            self._want.clear()
            wanted, self._wanted = self._wanted, {}
            slots = list(wanted)
            try:
                entries = await self._client.get_many([self._keys.slot(slot) for slot in slots])
            except EtcdError as error:
                for waiting in wanted.values():
                    waiting.set_exception(error)
                    waiting.exception()  # nobody may be waiting any more
                continue
            self._apply([entry for entry in entries if entry is not None])
            for waiting in wanted.values():
                waiting.set_result(None)

    # What the watch tells

    def _take(self, told: Listing | Changes) -> None:
        if isinstance(told, Listing):
            listed = {entry.key for entry in told.entries}
            gone = [self._keys.node(node) for node in self.nodes] + [self._keys.gateway(one) for one in self.gateways]
            gone += [self._keys.load(node) for node in self.loads]
            self.listed.set()
            self._apply(list(told.entries), [(key, told.revision) for key in gone if key not in listed])
        else:
            # Of several changes of a key the last counts: a record that was deleted and put again is there.
            changes = {change.key: change for change in told.changes}.values()
            entries = [change.entry for change in changes if change.entry is not None]
            deleted = [(change.key, change.mod_revision) for change in changes if change.entry is None]
            self._apply(entries, deleted)

    def _apply(self, entries: list[Entry], deleted: list[tuple[bytes, int]] | None = None) -> None:
        nodes: list[NodeFact] = []
        slots: list[SlotFact] = []
        # The number of slots must be known before the slots are, and whose they are.
        first = {self._keys.config: 0, self._keys.jurisdictions: 1}
        for entry in sorted(entries, key=lambda entry: first.get(entry.key, 2)):
            try:
                self._apply_entry(entry, nodes, slots)
            except ConfigurationError as error:
                _log.error("record_skipped", key=entry.key.decode(errors="replace"), why=error.message)
        for key, revision in deleted or ():
            self._apply_deleted(key, revision, nodes)
        if self.config is not None and not self._unknown_slots:
            self.ready.set()
        seen = TableSeen(tuple(nodes), tuple(slots), complete=self.listed.is_set())
        for callback in self._callbacks:
            callback(seen)

    def _apply_entry(self, entry: Entry, nodes: list[NodeFact], slots: list[SlotFact]) -> None:
        slot = self._keys.slot_of(entry.key)
        if slot is not None:
            record = decode(entry.value, SlotRecord)
            if self._apply_slot(slot, record, entry.mod_revision):
                slots.append(SlotFact(slot, record, entry.mod_revision))
        elif (node := self._keys.node_of(entry.key)) is not None:
            nodes.append(self._apply_node(node, decode(entry.value, NodeRecord), entry.mod_revision))
        elif (gateway := self._keys.gateway_of(entry.key)) is not None:
            self.gateways[gateway] = decode(entry.value, GatewayRecord)
        elif (node := self._keys.load_of(entry.key)) is not None:
            self.loads[node] = decode(entry.value, LoadRecord)
        elif entry.key == self._keys.config and self.config is None:
            self._apply_config(decode(entry.value, ClusterConfig))
        elif entry.key == self._keys.jurisdictions:
            self.jurisdictions = decode(entry.value, JurisdictionsRecord).jurisdictions

    def _apply_config(self, config: ClusterConfig) -> None:
        self.config = config
        self.layout = Layout(config.slots, self._of_interest)
        self._unknown_slots = config.slots
        count = self.layout.count
        self.records.extend([None] * count)
        self.epochs.extend([0] * count)
        self.owners.extend([None] * count)
        self._mod_revisions.extend([0] * count)

    def _apply_slot(self, slot: int, record: SlotRecord, mod_revision: int) -> bool:
        layout = self.layout
        if layout is None or slot >= layout.count_max:
            raise ConfigurationError(f"there is no slot {slot} in a cluster of {len(self.records)}")
        if not self._is_of_interest(slot, layout):
            return False
        cached = self.records[slot]
        if cached is None:
            self._unknown_slots -= slot < layout.slots
        elif record.rank <= cached.rank:
            return False
        self.records[slot], self.epochs[slot], self._mod_revisions[slot] = record, record.epoch, mod_revision
        self.owners[slot] = self._owner_of(record, mod_revision)
        return True

    def _is_of_interest(self, slot: int, layout: Layout) -> bool:
        """Whether a slot is for all, or of a jurisdiction that this process and the cluster give the same number.

        One that came after this process is not. And where a list has another order, a name would lead to other zones.
        """
        bound_by = layout.jurisdiction_of(slot)
        if bound_by is None:
            return slot < layout.slots
        there = self.jurisdictions[layout.number_of(slot) - 1 :][:1]
        return [each.name for each in there] == [bound_by.name]

    def _apply_node(self, node: str, record: NodeRecord, mod_revision: int) -> NodeFact:
        self.nodes[node] = record
        self._known[node] = (record, mod_revision)
        for slot, one in enumerate(self.records):
            if one is not None and one.owner is not None and one.owner.node == node:
                self.owners[slot] = self._owner_of(one, self._mod_revisions[slot])
        return NodeFact(node, record, mod_revision)

    def _apply_deleted(self, key: bytes, revision: int, nodes: list[NodeFact]) -> None:
        node, gateway = self._keys.node_of(key), self._keys.gateway_of(key)
        if node is not None and self.nodes.pop(node, None) is not None:
            nodes.append(NodeFact(node, None, revision))
        elif gateway is not None:
            self.gateways.pop(gateway, None)
        elif (node := self._keys.load_of(key)) is not None:
            self.loads.pop(node, None)

    def _owner_of(self, record: SlotRecord, mod_revision: int) -> NodeRecord | None:
        if record.owner is None:
            return None
        node, node_revision = self._known.get(record.owner.node, (None, 0))
        if node is None:
            return None
        # A slot that was read may be ahead of the watch: an older registration does not contradict it.
        contradicted = node.incarnation != record.owner.incarnation and node_revision > mod_revision
        return None if contradicted else node
