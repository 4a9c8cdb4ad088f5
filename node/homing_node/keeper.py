"""Placement for this node: which slots it claims, takes over, serves and loses, joined with the log and the host."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from importlib.metadata import version

import grpc
import structlog

from homing.errors import NotOwner
from homing.wire.v1 import peer_pb2 as wire
from homing_node.log.links import Links
from homing_node.log.owner import Member
from homing_node.log.shell import LogShell
from homing_node.metrics import NodeMetrics
from homing_node.mover import Mover
from homing_node.objects.host import ObjectHost
from homing_node.replica_sets import ReplicaSets
from homing_node.settings import NodeSettings, host_name
from homing_placement.etcd import EtcdClient
from homing_placement.placer import Placer
from homing_placement.records import NodeRecord, Replica, SlotRecord
from homing_placement.routing.forward import Forwarder

_log = structlog.stdlib.get_logger("homing.keeper")


class Keeper:
    """Keeps the slots of a node: hears of claims from placement, of recoveries and losses from the log.

    Args:
        settings: of the node.
        incarnation: of this process.
        disk: id of its store.
        client: of etcd.
        links: probes peers; dials those that register.
        log, host: what is told.
        metrics: counts takeovers.
        credentials: for mutual TLS towards nodes whose objects are called; None: plain.
    """

    def __init__(
        self,
        settings: NodeSettings,
        incarnation: str,
        disk: str,
        *,
        client: EtcdClient,
        links: Links,
        log: LogShell,
        host: ObjectHost,
        metrics: NodeMetrics,
        credentials: grpc.ChannelCredentials | None,
    ) -> None:
        self._settings, self._incarnation, self._disk = settings, incarnation, disk
        self._links, self._log, self._host, self._metrics = links, log, host, metrics
        self._client = client
        self._placer: Placer | None = None
        self._mover: Mover | None = None
        self._credentials = credentials
        self._forwarder: Forwarder | None = None
        self._activations: set[asyncio.Task[None]] = set()

    async def start(self, address: str, metrics_address: str) -> None:
        """Register, learn the table and begin to claim. The node must answer probes by then.

        Raises:
            ConfigurationError: the cluster was created with other settings.
        """
        settings = self._settings
        node = NodeRecord(
            id=settings.node_id, address=address, disk=self._disk, incarnation=self._incarnation, zone=settings.zone,
            host=host_name(), pid=os.getpid(), metrics=metrics_address, version=version("homing"),
        )  # fmt: skip
        self._placer = placer = Placer(
            self._client, cluster=settings.cluster, node=node, slots=settings.slots, replicas=settings.replicas,
            initial_nodes=settings.registered_first, probe=self._probe, on_claimed=self._claimed, on_lost=self._lost,
            jurisdictions=settings.jurisdictions,
        )  # fmt: skip
        placer.table.on_change(lambda seen: self._dial(fact.record for fact in seen.nodes))
        sets = ReplicaSets(settings.node_id, settings.replicas, settings.replace_after_s, settings.layout)
        self._mover = Mover(settings.node_id, placer, self._links, self._log, self._host, sets)
        self._forwarder = Forwarder(placer.table, credentials=self._credentials, lazy=True, layout=settings.layout)
        self._host.outgoing.port, self._host.outgoing.slots = self._forwarder, settings.slots
        await placer.start()
        records = enumerate(placer.table.records)
        self._log.core.remember({slot: record.epoch for slot, record in records if record is not None})

    def _dial(self, records: Iterable[NodeRecord | None]) -> None:
        for record in records:
            if record is not None:
                self._links.dial(record.id, record.address)

    async def _probe(self, node: NodeRecord) -> str | None:
        return await self._links.probe(node.id, node.address)

    async def wait(self) -> None:
        """Return after `stop`; raise what ended placement or the moves of slots otherwise.

        Raises:
            NodeReplaced: another process runs under this node's id.
        """
        assert self._placer is not None, "start comes first"
        assert self._mover is not None, "start comes first"
        assert self._forwarder is not None, "start comes first"
        work = (self._mover.run(), self._placer.wait(), self._forwarder.run())
        parts = [asyncio.ensure_future(one) for one in work]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def drain(self, *, draining: bool) -> None:
        """Give every slot away and claim none, or stay after all. Returns at once."""
        if self._mover is not None:
            self._mover.drain(draining=draining)

    def move(self, slot: int, node: str) -> None:
        """Begin to give one slot to another of its replicas, for good.

        Raises:
            NotOwner: this node does not serve it.
            BadRequest: that node keeps no copy of it.
        """
        if self._mover is None:
            raise NotOwner(f"slot {slot} is not served here")
        self._mover.move(slot, node)

    async def leave(self, background: Iterable[asyncio.Future[None]]) -> None:
        """Give every slot away, as long as somebody takes them and nothing in the background has failed."""
        if self._mover is None or any(task.done() for task in background):
            return
        self._mover.drain()
        await self._mover.drained()

    def offered(self, offer: wire.Offer) -> None:
        """A peer wants this node to own slots of its."""
        if self._mover is not None:
            self._mover.offered(offer)

    async def stop(self) -> None:
        """Leave the cluster: others find this node's slots without an owner that answers."""
        for task in list(self._activations):
            task.cancel()
        if self._placer is not None:
            await self._placer.stop()

    # -- what placement tells ---------------------------------------------------------------------------------

    def _claimed(self, slot: int, record: SlotRecord, mod_revision: int) -> None:
        members = _members(record.replicas)
        nexts = _members(record.next_replicas) if record.next_replicas is not None else members
        _log.debug("slot claimed", slot=slot, epoch=record.epoch, revision=mod_revision)
        self._log.claim(slot, record.epoch, members, nexts)

    def _lost(self, slot: int, record: SlotRecord) -> None:
        owner = record.owner.node if record.owner is not None else "nobody"
        self._log.resign(slot, f"its record names {owner} under epoch {record.epoch}")

    # -- what the log tells -----------------------------------------------------------------------------------

    def recovered(self, slot: int, epoch: int) -> None:
        """The slot's log is on a majority: make its record ACTIVE, then serve (rule 14)."""
        task = asyncio.ensure_future(self._activate(slot, epoch))
        self._activations.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._activations.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("an activation of a slot failed", exc_info=error)

    async def _activate(self, slot: int, epoch: int) -> None:
        assert self._placer is not None, "start comes first"
        if not await self._placer.activated(slot, epoch):
            self._log.resign(slot, f"epoch {epoch} ended before it was ACTIVE")
            return
        self._log.activated(slot, epoch)
        if self._log.serving(slot) == epoch:
            self._host.serve(slot, epoch, self._log.core.replica(slot).commit)
            contact = self._placer.last_contact(slot)
            if contact is not None:
                self._metrics.takeover.observe(time.monotonic() - contact)

    def fenced(self, slot: int, promised: int, *, lacking: bool = False) -> None:
        """The slot's log stopped here; a new claim must go above `promised`, and with `lacking` be another's."""
        if self._placer is not None:
            self._placer.fenced(slot, promised, lacking=lacking)

    # -- what links and calls tell ----------------------------------------------------------------------------

    def suspect(self, node: str) -> None:
        """A link broke: probe that node now."""
        if self._placer is not None:
            self._placer.suspect(node)

    def owner_of(self, slot: int) -> tuple[int, str]:
        """Epoch and owner of a slot as far as this node knows; 0 and "" if it knows nothing."""
        if self._placer is None:
            return 0, ""
        _, record = self._placer.table.route(slot)
        if record is None:
            return 0, ""
        return record.epoch, record.owner.node if record.owner is not None else ""


def _members(replicas: Iterable[Replica]) -> list[Member]:
    return [(replica.node, replica.disk) for replica in replicas]
