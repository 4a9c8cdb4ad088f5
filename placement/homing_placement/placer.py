"""One node's part in placement: the claims core with its etcd, its probes and its clock.

The node is told by callbacks which slots it claimed and lost, and tells when a log is recovered or fenced. All of it
runs in one event loop; callbacks are plain functions and must not block.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from random import Random

import grpc
import msgspec
import structlog

from homing.errors import ConfigurationError
from homing.locations import Jurisdiction
from homing_placement import events as ev
from homing_placement.claims import Claims
from homing_placement.etcd import Compare, Entry, EtcdClient, EtcdError, Put
from homing_placement.keys import ClusterKeys, check_name
from homing_placement.limits import (
    ACTIVATION_GATHER_S,
    ETCD_RETRY_FIRST_S,
    ETCD_RETRY_LAST_S,
    PROBE_TIMEOUT_S,
    TICK_S,
    WRITES_IN_FLIGHT_MAX,
)
from homing_placement.membership import NodeReplaced, Registration
from homing_placement.records import (
    ClusterConfig,
    JurisdictionsRecord,
    LoadRecord,
    NodeRecord,
    Replica,
    SlotRecord,
    decode,
    encode,
)
from homing_placement.table import SlotTable

_log = structlog.stdlib.get_logger(__name__)

ProbeNode = Callable[[NodeRecord], Awaitable[str | None]]


class Placer:
    """Claims slots for one node, and keeps its view of the cluster.

    Args:
        client: of the cluster's etcd; closed by the caller after `stop`.
        cluster: its name.
        node: this node's record, with an incarnation made at process start.
        slots: HOMING_SLOTS.
        replicas: how many nodes keep a slot, when the cluster is created.
        initial_nodes: how many nodes must be registered before the cluster is created.
        probe: asks a node which incarnation it is; None when it does not answer. It is cancelled after 0.5 s.
        on_claimed: a slot is this node's in a new epoch (also again, after it was fenced): recover its log, then await
            `activated`. Arguments: slot, record, mod_revision.
        on_lost: a slot of this node has a higher epoch of another owner; `record` names it. Arguments: slot, record.
        jurisdictions: HOMING_JURISDICTIONS.
        random: for jitter.
        clock: monotonic seconds.

    Example:
        >>> placer = Placer(client, cluster="dev", node=record, slots=1024, replicas=3, initial_nodes=3,
        ...                 probe=peers.probe, on_claimed=log.recover, on_lost=log.stop)
        >>> await placer.start()
        >>> group.create_task(placer.wait())
        >>> await placer.stop()
    """

    def __init__(
        self,
        client: EtcdClient,
        *,
        cluster: str,
        node: NodeRecord,
        slots: int,
        replicas: int,
        initial_nodes: int,
        probe: ProbeNode,
        on_claimed: Callable[[int, SlotRecord, int], None],
        on_lost: Callable[[int, SlotRecord], None],
        jurisdictions: Sequence[Jurisdiction] = (),
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_name("node", node.id)
        self._client = client
        self._keys = ClusterKeys(cluster)
        self._config = ClusterConfig(slots)
        self._jurisdictions = tuple(jurisdictions)
        self._node = node
        self._probe_node = probe
        self._on_claimed = on_claimed
        self._on_lost = on_lost
        self._clock = clock
        self.table = SlotTable(client, self._keys, jurisdictions)
        self.registration = Registration(client, self._keys.node(node.id), node, clock=clock)
        self._core = Claims(
            node,
            slots=slots,
            replicas=replicas,
            initial_nodes=initial_nodes,
            jurisdictions=jurisdictions,
            random=random or Random(),  # noqa: S311 -- jitter, nothing secret
            now=clock(),
        )
        self._group: asyncio.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._replaced = asyncio.Event()
        self._writing = asyncio.Semaphore(WRITES_IN_FLIGHT_MAX)
        self._activations: dict[tuple[int, int], asyncio.Future[bool]] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._contacts: dict[int, float | None] = {}

    # The node's side

    async def start(self) -> None:
        """Create or check the cluster's settings, register, load the table and begin to claim.

        The node must answer probes by then. Waits for etcd for as long as it takes.

        Raises:
            ConfigurationError: the cluster was created with another number of slots, or by another version, or has
                other jurisdictions.
        """
        await self._settle_config()
        self.table.on_change(self._on_table)
        self._main = asyncio.create_task(self._run(), name="placer")
        ready = asyncio.gather(self.registration.registered.wait(), self.table.listed.wait())
        await asyncio.wait([ready, self._main], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            await self._main

    async def wait(self) -> None:
        """Return after `stop`; raise what ended the placer otherwise.

        Raises:
            NodeReplaced: another process runs under this node's id.
        """
        assert self._main is not None, "start() comes first"
        try:
            await asyncio.shield(self._main)
        except asyncio.CancelledError:
            if not self._main.cancelled():
                raise

    async def stop(self) -> None:
        """Claim nothing more, take the node's record away and end. Slots stay as they are; others find them."""
        self.may_claim(False)
        await self.registration.close()
        if self._main is not None:
            self._main.cancel()
            await asyncio.wait([self._main])
            if not self._main.cancelled() and (error := self._main.exception()) is not None:
                _log.info("placer_had_failed", why=repr(error))  # `wait` has raised it
        if self._flush is not None:
            self._flush.cancel()
        for activation in self._activations.values():
            activation.set_result(False)
        self._activations.clear()

    def drain(self, *, draining: bool = True) -> None:
        """Show that this node is leaving, and claim nothing more; or that it stays after all."""
        self._node = msgspec.structs.replace(self._node, state="draining" if draining else "up")
        self.registration.update(self._node)
        self.may_claim(not draining)

    def may_claim(self, allowed: bool) -> None:
        """Whether this node may claim slots: not while it drains or its disk is nearly full."""
        self._handle(ev.MayClaim(allowed))

    async def activated(self, slot: int, epoch: int) -> bool:
        """Make a slot ACTIVE whose log this node recovered (rule 14); slots that are ready together share a write.

        Returns:
            True: the slot is ACTIVE in this epoch and may serve. False: the epoch is over. It waits while etcd is away.
        """
        waiting = self._activations.get((slot, epoch))
        if waiting is None:
            waiting = self._activations[slot, epoch] = asyncio.get_running_loop().create_future()
            self._handle(ev.Ready(slot, epoch))
            if self._flush is None:
                self._flush = asyncio.get_running_loop().call_later(ACTIVATION_GATHER_S, self._tick_once)
        return await asyncio.shield(waiting)

    def fenced(self, slot: int, promised: int = 0, *, lacking: bool = False) -> None:
        """The slot's log met a higher promise, or no majority for too long, and stopped (rule 9).

        If the slot is still this node's, it is claimed anew above `promised`, and `on_claimed` follows; with `lacking`
        only after others had the time to.
        """
        self._handle(ev.Fenced(slot, promised, lacking))

    def offered(self, slots: Sequence[tuple[int, int]], *, first: bool = False) -> None:
        """The living owner of these slots (slot, epoch) wants this node to own them: claim them now.

        With `first`, this node becomes the first of their replicas, so that they stay.
        """
        self._handle(ev.Offered(tuple(slots), first))

    def change_sets(self, slots: Sequence[tuple[int, int, tuple[Replica, ...]]]) -> None:
        """Claim slots of this node anew (slot, epoch, next replicas), so that they get other replicas (rule 16).

        They have come to rest. `on_claimed` follows for each whose claim succeeds.
        """
        self._handle(ev.ChangeSets(tuple(slots)))

    def publish(self, load: LoadRecord) -> None:
        """Let the other nodes know how hot this node's slots are."""
        self.registration.beside(self._keys.load(self._node.id), load)

    async def read(self, slots: Sequence[int]) -> dict[int, SlotRecord]:
        """The records of these slots as they are now in etcd (linearizable); waits while etcd is away."""
        return {fact.slot: fact.record for fact in await self._read_facts(slots) if fact.record is not None}

    def suspect(self, node_id: str) -> None:
        """A link to a node broke, or a call to it failed: probe it now instead of within a second."""
        self._handle(ev.Suspect(node_id))

    def last_contact(self, slot: int) -> float | None:
        """When the owner before this node last answered, on `clock`; None if there was none. For `takeover_seconds`."""
        return self._contacts.get(slot)

    # Tasks

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self.table.run(), name="placer-table")
                group.create_task(self.registration.run(), name="placer-registration")
                group.create_task(self._tick(), name="placer-tick")
                await self._replaced.wait()
                raise NodeReplaced
        except BaseExceptionGroup as failures:
            if failures.subgroup(NodeReplaced) is None:
                raise
            raise NodeReplaced(f"another process registered as node {self._node.id}") from failures

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._handle(ev.Tick())

    def _tick_once(self) -> None:
        self._flush = None
        self._handle(ev.Tick())

    async def _settle_config(self) -> None:
        retry_s = ETCD_RETRY_FIRST_S
        while True:
            try:
                key = self._keys.config
                await self._client.txn([Compare.absent(key)], [Put(key, encode(self._config))])
                entry = await self._client.get(key)
                if entry is not None:
                    decode(entry.value, ClusterConfig).check(self._config.slots)
                    if await self._settle_jurisdictions():
                        return
            except EtcdError as error:
                _log.warning("placement_waits_for_etcd", why=error.message)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, ETCD_RETRY_LAST_S)

    async def _settle_jurisdictions(self) -> bool:
        """Let the cluster have what this node is told of; False: another process was faster, look again."""
        key = self._keys.jurisdictions
        entry = await self._client.get(key)
        there = JurisdictionsRecord() if entry is None else decode(entry.value, JurisdictionsRecord)
        grown = there.grown_to(self._jurisdictions)
        if grown is there:
            return True
        compare = Compare.mod(key, entry.mod_revision if entry is not None else 0)
        return (await self._client.txn([compare], [Put(key, encode(grown))])).ok

    # Events in, effects out

    def _on_table(self, seen: ev.TableSeen) -> None:
        for fact in seen.nodes:
            record = fact.record
            mine = record is None or fact.node != self._node.id or record.incarnation == self._node.incarnation
            if not mine and 0 < self.registration.revision < fact.mod_revision:
                self._replaced.set()
        self._handle(seen)

    def _handle(self, event: ev.Event) -> None:
        for effect in self._core.handle(event, self._clock()):
            self._do(effect)

    def _do(self, effect: ev.Effect) -> None:
        match effect:
            case ev.Probe():
                self._spawn(self._probe(effect.node))
            case ev.WriteBatch():
                self._spawn(self._write(effect))
            case ev.ReadSlots():
                self._spawn(self._read(effect.slots))
            case ev.Claimed():
                self._contacts[effect.slot] = effect.contact_at
                self._on_claimed(effect.slot, effect.record, effect.mod_revision)
            case ev.Lost():
                self._on_lost(effect.slot, effect.record)
            case ev.ReadyEnded():
                waiting = self._activations.pop((effect.slot, effect.epoch), None)
                if waiting is not None:
                    waiting.set_result(effect.active)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._group is None or self._main is None or self._main.done() or self._main.cancelling():
            work.close()
            return
        self._group.create_task(work)

    async def _probe(self, node_id: str) -> None:
        record = self.table.known_node(node_id)
        sent_at = self._clock()
        answer: str | None = None
        if record is not None:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    answer = await self._probe_node(record)
            except (TimeoutError, OSError, grpc.RpcError):
                answer = None
        self._handle(ev.Probed(node_id, answer, sent_at))

    async def _write(self, batch: ev.WriteBatch) -> None:
        slots = [write.slot for write in batch.writes]
        keys = [self._keys.slot(slot) for slot in slots]
        compares = [Compare.mod(key, write.expected) for key, write in zip(keys, batch.writes, strict=True)]
        puts = [Put(key, encode(write.record)) for key, write in zip(keys, batch.writes, strict=True)]
        async with self._writing:
            try:
                result = await self._client.txn(compares, puts, read_otherwise=keys)
            except EtcdError as error:
                _log.warning("slot_write_failed", slots=len(slots), code=error.code, why=error.message)
                # Whether it was done or not: first read (rule 1).
                self._handle(ev.Refused(batch.batch, await self._read_facts(slots), lost=False))
                return
        if result.ok:
            self._handle(ev.Written(batch.batch, result.revision))
        else:
            self._handle(ev.Refused(batch.batch, _facts(slots, result.reads), lost=True))

    async def _read(self, slots: Sequence[int]) -> None:
        self._handle(ev.SlotsRead(await self._read_facts(slots)))

    async def _read_facts(self, slots: Sequence[int]) -> tuple[ev.SlotFact, ...]:
        retry_s = ETCD_RETRY_FIRST_S
        while True:
            try:
                return _facts(slots, await self._client.get_many([self._keys.slot(slot) for slot in slots]))
            except EtcdError:
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, ETCD_RETRY_LAST_S)


def _facts(slots: Sequence[int], entries: Sequence[Entry | None]) -> tuple[ev.SlotFact, ...]:
    return tuple(_fact(slot, entry) for slot, entry in zip(slots, entries, strict=True))


def _fact(slot: int, entry: Entry | None) -> ev.SlotFact:
    if entry is None:
        return ev.SlotFact(slot, None, 0)
    try:
        return ev.SlotFact(slot, decode(entry.value, SlotRecord), entry.mod_revision)
    except ConfigurationError as error:
        # The next write compares with this revision and puts a sound record over it.
        _log.error("record_skipped", key=entry.key.decode(errors="replace"), why=error.message)
        return ev.SlotFact(slot, None, entry.mod_revision)
