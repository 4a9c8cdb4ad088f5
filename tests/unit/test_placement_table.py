"""The cached table, told by a watch that a test writes: what counts when several things were said of one key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from homing.locations import Jurisdiction
from homing_placement.etcd import Change, Changes, Entry, EtcdClient, Listing
from homing_placement.etcd.model import WatchSink
from homing_placement.events import NodeFact, TableSeen
from homing_placement.keys import ClusterKeys
from homing_placement.records import (
    ClusterConfig,
    GatewayRecord,
    JurisdictionsRecord,
    NodeRecord,
    Owner,
    Record,
    Replica,
    SlotRecord,
    SlotState,
    encode,
)
from homing_placement.table import SlotTable

KEYS = ClusterKeys("test")
SET = (Replica("a", "disk-a"),)


class Etcd:
    """The client's side of a watch and of single reads; a test says what they bring."""

    def __init__(self) -> None:
        self.tell: WatchSink = lambda told: None
        self.watched = asyncio.Event()
        self.read: dict[bytes, Entry] = {}

    async def watch_prefix(self, prefix: bytes, sink: WatchSink) -> None:
        assert prefix == KEYS.prefix
        self.tell = sink
        self.watched.set()
        await asyncio.Event().wait()

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return [self.read.get(key) for key in keys]


class Told:
    """A table of two slots that has listed its cluster, and everything that it said of it since."""

    def __init__(self) -> None:
        self.etcd = Etcd()
        self.table = SlotTable(cast("EtcdClient", self.etcd), KEYS)
        self.seen: list[TableSeen] = []
        self.table.on_change(self.seen.append)

    def change(self, *changes: Change) -> TableSeen:
        self.etcd.tell(Changes(changes[-1].mod_revision, changes))
        return self.seen[-1]


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    found = Told()
    running = asyncio.create_task(found.table.run())
    await found.etcd.watched.wait()
    entries = [entry(KEYS.config, ClusterConfig(2), 1), entry(KEYS.node("a"), node("a1"), 5)]
    entries += [entry(KEYS.slot(slot), record(1, "a1"), 10) for slot in range(2)]
    found.etcd.tell(Listing(20, tuple(entries)))
    assert found.table.ready.is_set()
    yield found
    running.cancel()
    await asyncio.wait([running])


def entry(key: bytes, what: Record, revision: int) -> Entry:
    return Entry(key, encode(what), revision, revision, 1, 0)


def put(key: bytes, what: Record, revision: int) -> Change:
    return Change(key, entry(key, what, revision), revision)


def delete(key: bytes, revision: int) -> Change:
    return Change(key, None, revision)


def node(incarnation: str) -> NodeRecord:
    return NodeRecord(id="a", address="a:1", disk="disk-a", incarnation=incarnation)


def record(epoch: int, incarnation: str, state: SlotState = SlotState.ACTIVE) -> SlotRecord:
    return SlotRecord(epoch, state, Owner("a", incarnation), SET)


def test_a_record_that_was_deleted_and_put_again_is_there(told: Told) -> None:
    """A lease that ran out and a new registration may come in one message.

    Seen to fail when every change counts: deletions are applied after all that was put, so the node would be gone.
    """
    seen = told.change(delete(KEYS.node("a"), 30), put(KEYS.node("a"), node("a2"), 31))
    assert told.table.nodes == {"a": node("a2")}
    assert seen.nodes == (NodeFact("a", node("a2"), 31),)


def test_a_record_that_was_put_and_then_deleted_is_gone(told: Told) -> None:
    """The last change counts, whichever it is; seen to fail when the first one does."""
    seen = told.change(put(KEYS.node("a"), node("a2"), 30), delete(KEYS.node("a"), 31))
    assert told.table.nodes == {}
    assert seen.nodes == (NodeFact("a", None, 31),)
    gateway = KEYS.gateway("g")
    told.change(delete(gateway, 40), put(gateway, GatewayRecord(id="g"), 41))
    assert list(told.table.gateways) == ["g"]
    told.change(put(gateway, GatewayRecord(id="g"), 42), delete(gateway, 43))
    assert told.table.gateways == {}


def test_of_several_registrations_the_last_counts(told: Told) -> None:
    told.change(put(KEYS.node("a"), node("a2"), 30), put(KEYS.node("a"), node("a3"), 31))
    assert told.table.nodes == {"a": node("a3")}


def test_a_listing_without_a_record_says_that_it_is_gone(told: Told) -> None:
    """Deletions that a watch missed; seen to fail when a listing only adds."""
    told.etcd.tell(Listing(50, (entry(KEYS.config, ClusterConfig(2), 1),)))
    assert told.table.nodes == {}
    assert told.seen[-1].nodes == (NodeFact("a", None, 50),)
    assert told.table.known_node("a") == node("a1"), "it may live, and serve"
    assert told.table.route(0) == (node("a1"), record(1, "a1"))


@pytest.mark.parametrize("old", [record(0, "a0"), record(2, "a1", SlotState.RECOVERING), record(2, "other")])
def test_a_record_is_applied_only_with_a_higher_epoch_or_state(told: Told, old: SlotRecord) -> None:
    """Rule 3; seen to fail without the comparison of ranks: the table goes back."""
    new = record(2, "a1")
    assert [fact.slot for fact in told.change(put(KEYS.slot(0), new, 30)).slots] == [0]
    assert told.change(put(KEYS.slot(0), old, 31)).slots == ()
    assert (told.table.records[0], told.table.epochs[0]) == (new, 2)


async def test_what_a_single_read_brought_is_not_undone_by_a_watch_that_is_behind(told: Told) -> None:
    """Rule 3; seen to fail without the comparison of ranks."""
    told.etcd.read[KEYS.slot(1)] = entry(KEYS.slot(1), record(3, "a1"), 60)
    assert await told.table.refresh(1) == record(3, "a1")
    told.change(put(KEYS.slot(1), record(2, "a1", SlotState.RECOVERING), 40))
    assert told.table.records[1] == record(3, "a1")


def test_a_slot_of_an_older_incarnation_has_no_owner_once_another_is_registered(told: Told) -> None:
    """Rule 2: calls do not go to a process that owns nothing. Seen to fail when incarnations are not compared."""
    told.change(put(KEYS.node("a"), node("a2"), 30))
    assert told.table.owners == [None, None]
    told.change(put(KEYS.slot(0), record(2, "a2"), 31))
    assert told.table.owners == [node("a2"), None]


def test_a_record_that_is_ahead_of_the_registration_is_not_contradicted_by_an_older_one(told: Told) -> None:
    """A slot that was read at once names a process that the watch has not told of; seen to fail without revisions."""
    told.change(put(KEYS.slot(0), record(2, "a2"), 31))
    assert told.table.owners[0] == node("a1"), "the address is the same, and the process refuses what is not its own"


async def test_slots_of_a_jurisdiction_come_when_they_come() -> None:
    """The cluster serves without them. Seen to fail when it is ready only with every slot: no gateway ever is."""
    etcd, eu, us = Etcd(), Jurisdiction("eu", ("berlin",)), Jurisdiction("us", ("ohio",))
    table = SlotTable(cast("EtcdClient", etcd), KEYS, [eu])
    running = asyncio.create_task(table.run())
    await etcd.watched.wait()
    entries = [entry(KEYS.config, ClusterConfig(8), 1), entry(KEYS.jurisdictions, JurisdictionsRecord((eu, us)), 2)]
    entries += [entry(KEYS.slot(slot), record(1, "a1"), 10) for slot in range(8)]
    etcd.tell(Listing(20, tuple(entries)))
    assert table.ready.is_set()
    assert table.route(8) == (None, None)
    assert table.jurisdictions == (eu, us)
    changes = tuple(put(KEYS.slot(slot), record(1, "a1"), 30 + slot) for slot in (8, 9, 40))
    etcd.tell(Changes(70, changes))
    assert (len(table.records), table.records[8]) == (9, record(1, "a1")), "9 is of one that this process does not know"
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("names", [["us", "eu"], ["us"], []])
async def test_slots_of_a_jurisdiction_that_has_another_number_lead_nowhere(names: list[str]) -> None:
    """A gateway is told another list than the nodes. Seen to fail without the comparison: what is for eu goes to us."""
    etcd = Etcd()
    table = SlotTable(cast("EtcdClient", etcd), KEYS, [Jurisdiction("eu", ("berlin",))])
    running = asyncio.create_task(table.run())
    await etcd.watched.wait()
    there = JurisdictionsRecord(tuple(Jurisdiction(name, ("berlin",)) for name in names))
    entries = [entry(KEYS.slot(slot), record(1, "a1"), 10) for slot in range(9)]
    entries += [entry(KEYS.jurisdictions, there, 2), entry(KEYS.config, ClusterConfig(8), 1)]
    etcd.tell(Listing(20, tuple(entries)))
    assert table.ready.is_set()
    assert (table.records[7], table.records[8]) == (record(1, "a1"), None)
    etcd.tell(Changes(30, (put(KEYS.slot(8), record(2, "a1"), 30),)))
    assert table.route(8) == (None, None)
    running.cancel()
    await asyncio.wait([running])
