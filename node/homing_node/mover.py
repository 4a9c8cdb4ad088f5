"""Moves slots of this node: the facts of placement, log and host for `moves.py`, and its effects carried out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

import structlog

from homing.errors import BadRequest, NotOwner
from homing.wire.v1 import peer_pb2 as wire
from homing_node import limits
from homing_node.log.links import Links
from homing_node.log.shell import LogShell
from homing_node.moves import Abort, Change, Effect, Moves, Offer, Rest, Resume
from homing_node.objects.host import ObjectHost
from homing_node.old_copies import OldCopies
from homing_node.replica_sets import ReplicaSets, Seen
from homing_node.right_sets import RightSets
from homing_node.slot_loads import SlotLoads
from homing_placement.placer import Placer
from homing_placement.records import Replica, SlotRecord

_log = structlog.stdlib.get_logger("homing.mover")


class Mover:
    """See `moves.Moves`.

    Args:
        me: this node's id.
        placer: knows nodes and slot records; claims what is offered to this node.
        links: takes offers to peers.
        log: knows how far replicas are.
        host: lets slots rest.
        sets: says which replicas a slot should have.
    """

    def __init__(
        self, me: str, placer: Placer, links: Links, log: LogShell, host: ObjectHost, sets: ReplicaSets
    ) -> None:
        self._placer, self._links, self._log, self._host = placer, links, log, host
        self._moves = Moves(me)
        self._hurry = asyncio.Event()
        self._sets = sets
        self._plan_at = 0.0
        self._planned_for: set[str] = set()  # the nodes that were registered then
        self._busy: bool | None = None  # replicas of many slots catch up; looked at when it matters
        self._loads = SlotLoads()
        self._right = RightSets()
        self._old = OldCopies(Replica(me, log.core.disk))
        self._deleting: asyncio.Future[None] | None = None

    # -- facts ------------------------------------------------------------------------------------------------

    def served(self) -> Iterable[int]:
        """See `Facts`."""
        return list(self._host.gate.slots)

    def candidates(self) -> Iterable[int]:
        """See `Facts`. Left out: slots of which this node is the first replica, and whose set is known to be right."""
        me, records, right = self._log.core.node, self._placer.table.records, self._right.records
        return [slot for slot in self._host.gate.slots if not _is_settled(records[slot], right.get(slot), me)]

    def epoch(self, slot: int) -> int:
        """See `Facts`."""
        served = self._host.gate.slots.get(slot)
        return served.epoch if served is not None else 0

    def replicas(self, slot: int) -> Sequence[Replica]:
        """See `Facts`."""
        record = self._placer.table.route(slot)[1]
        return record.replicas if record is not None and record.epoch == self.epoch(slot) else ()

    def is_up(self, replica: Replica) -> bool:
        """See `Facts`."""
        node = self._placer.table.nodes.get(replica.node)
        return node is not None and node.disk == replica.disk and node.state == "up"

    def lag(self, slot: int, node: str) -> int | None:
        """See `Facts`."""
        return self._log.core.lag_of(slot, node)

    def at_rest(self, slot: int) -> bool:
        """See `Facts`."""
        return self._host.at_rest(slot)

    def next_set(self, slot: int) -> tuple[Replica, ...] | None:
        """See `Facts`."""
        record = self._placer.table.route(slot)[1]
        if record is None or self._right.records.get(slot) is record:
            return None
        core, replicas = self._log.core, self.replicas(slot)
        distrusted = core.distrusted(slot)
        if self._sets.following(slot, replicas, distrusted, busy=False) is None:
            self._right.add(slot, record)
            return None
        lags = {each.node: core.lag_of(slot, each.node) for each in replicas if each.node != core.node}
        behind = [node for node, lag in lags.items() if lag is None or lag > limits.move_lag_records_max]
        if self._busy is None:
            self._busy = core.catching_up() >= limits.catching_up_max
        silent = [node for node, lag in lags.items() if lag is None]
        return self._sets.following(slot, replicas, distrusted, behind, silent, busy=self._busy)

    def _look(self, now: float) -> None:
        """Which nodes are there, and what the sets should be."""
        table, linked, before = self._placer.table, self._log.core.disks, self._sets.settled
        self._sets.look(
            [
                Seen(
                    node.id,
                    node.disk,
                    node.zone,
                    draining=node.state == "draining",
                    ready=node.state == "up" and linked.get(node.id) == node.disk,
                )
                for node in table.nodes.values()
            ],
            now,
        )
        self._busy = None
        if self._sets.settled != before:
            self._right.clear()
        self._right.doubt(now)
        if now >= self._plan_at or table.nodes.keys() != self._planned_for:
            self._plan_at, self._planned_for = now + limits.plan_s, set(table.nodes)
            sets = [() if record is None else [each.node for each in record.replicas] for record in table.records]
            if self._sets.plan(table.nodes, sets, now, table.loads):
                self._right.clear()
            self._measure(now)
            due = self._old.look(self._log.core.held(), dict(enumerate(table.records)), now)
            if due and (self._deleting is None or self._deleting.done()):
                self._deleting = asyncio.ensure_future(self._delete(due))

    def _measure(self, now: float) -> None:
        """Count what the slots have done, and tell the others which are hot, if that has changed."""
        self._loads.sample(
            {slot: served.load + self._log.last_lsn(slot) for slot, served in self._host.gate.slots.items()}, now
        )
        record = self._loads.due(now)
        if record is not None:
            self._placer.publish(record)

    async def _delete(self, slots: Sequence[int]) -> None:
        """Delete copies that their slots' sets do not name, if etcd still says so."""
        sure = self._old.sure(slots, await self._placer.read(slots))
        for slot, epoch in sure:
            self._log.forget(slot, epoch)
        _log.info("old copies deleted", slots=len(sure))

    # -- effects ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            now = time.monotonic()
            self._look(now)
            effects = self._moves.tick(self, now)
            for effect in effects:
                self._do(effect)
            changes = [(each.slot, each.epoch, each.nexts) for each in effects if isinstance(each, Change)]
            if changes:
                _log.info("slots get other replicas", slots=len(changes))
                self._placer.change_sets(changes)
            self._hurry.clear()
            idle_s = limits.move_round_s if self._moves.more else limits.look_s
            try:
                async with asyncio.timeout(limits.move_tick_s if self._moves.moving else idle_s):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    def _do(self, effect: Effect) -> None:
        match effect:
            case Rest():
                self._host.rest(effect.slot)
            case Resume():
                self._host.rest(effect.slot, resting=False)
                _log.debug("a slot stays: its move did not come off", slot=effect.slot)
            case Abort():
                self._host.abort_calls(effect.slot, "the slot moves, and the call took too long")
            case Offer():
                slots, epochs = zip(*effect.slots, strict=True)
                self._links.send(effect.node, wire.Offer(slots=slots, epochs=epochs, first=effect.first))
            case Change():
                pass  # all of a tick go together

    def offered(self, offer: wire.Offer) -> None:
        """A peer wants this node to own slots of its."""
        self._placer.offered(list(zip(offer.slots, offer.epochs, strict=True)), first=offer.first)

    def move(self, slot: int, node: str) -> None:
        """Begin to give one slot to another of its replicas, for good.

        Raises:
            NotOwner: this node does not serve it.
            BadRequest: that node keeps no copy of it.
        """
        if not self.epoch(slot):
            raise NotOwner(f"slot {slot} is not served here")
        names = [replica.node for replica in self.replicas(slot)]
        if node not in names:
            raise BadRequest(f"{node} keeps no copy of slot {slot}; {', '.join(sorted(names))} do")
        self._moves.want(slot, node, time.monotonic())
        self._hurry.set()

    # -- leaving ----------------------------------------------------------------------------------------------

    def drain(self, *, draining: bool = True) -> None:
        """Give every slot away, or stay after all. Returns at once."""
        if self._moves.draining != draining:
            _log.info("node drains" if draining else "node stays")
        self._moves.draining = draining
        self._placer.drain(draining=draining)
        self._hurry.set()

    async def drained(self) -> None:
        """Return when no slot is left that another node could take, at most `drain_s_max` later."""
        deadline = time.monotonic() + limits.drain_s_max
        while not self._moves.stuck(self, time.monotonic()) and time.monotonic() < deadline:
            await asyncio.sleep(limits.move_tick_s)


def _is_settled(record: SlotRecord | None, right: SlotRecord | None, me: str) -> bool:
    return record is not None and record is right and record.replicas[0].node == me
