"""Placers against a real etcd: first boot, takeover, leases, settings, and an etcd that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from etcd_process import EtcdProcess
from homing.errors import ConfigurationError
from homing.locations import Jurisdiction
from homing_placement.etcd import Compare, Delete, EtcdClient, Put, TxnResult
from homing_placement.keys import ClusterKeys
from homing_placement.membership import NodeReplaced, Registration
from homing_placement.records import LoadRecord, Owner, SlotRecord, SlotState, decode, encode
from homing_placement.table import SlotTable
from placed_node import PlacedNode

KEYS = ClusterKeys("test")


async def until(done: Callable[[], bool], limit_s: float = 15) -> float:
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < limit_s, "not reached"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


class Cluster:
    def __init__(self, url: str, slots: int) -> None:
        self.url, self.slots = url, slots
        self.living: dict[str, PlacedNode] = {}
        self.all: list[PlacedNode] = []

    async def start(self, *names: str, **settings: int) -> None:
        nodes = [PlacedNode(self.url, name, self.living, slots=self.slots, **settings) for name in names]
        self.all += nodes
        await asyncio.gather(*(node.start() for node in nodes))

    def served(self) -> bool:
        return sum(len(node.active) for node in self.living.values()) == self.slots

    async def kill(self, name: str) -> PlacedNode:
        node = self.living[name]
        await node.kill()
        self.all.remove(node)
        for other in self.living.values():
            other.placer.suspect(name)
        return node


@asynccontextmanager
async def cluster_of(etcd: EtcdProcess, *names: str, slots: int = 64, **settings: int) -> AsyncIterator[Cluster]:
    cluster = Cluster(etcd.url, slots)
    await cluster.start(*names, **settings)
    try:
        yield cluster
    finally:
        for node in cluster.all:
            await node.stop()


async def test_first_boot_of_1024_slots_takes_less_than_two_seconds(tmp_path: Path) -> None:
    """The best of three counts: something else may keep the cores busy."""
    took_s: list[float] = []
    while not took_s or (min(took_s) >= 2 and len(took_s) < 3):
        folder = tmp_path / f"boot{len(took_s)}"
        await asyncio.to_thread(folder.mkdir)
        took_s.append(await first_boot(folder))
    assert min(took_s) < 2, took_s


async def first_boot(folder: Path) -> float:
    """How long it takes until every slot of an empty cluster is served."""
    with EtcdProcess(folder) as etcd:
        began = time.monotonic()
        async with cluster_of(etcd, "a", "b", "c", slots=1_024) as cluster:
            await until(cluster.served)
            took_s = time.monotonic() - began
            assert max(len(node.active) for node in cluster.living.values()) <= 342
            async with EtcdClient([etcd.url]) as client:
                listing = await client.list_prefix(KEYS.slots)
            records = [decode(entry.value, SlotRecord) for entry in listing.entries]
            assert len(records) == 1_024
            assert {(record.epoch, record.state) for record in records} == {(1, SlotState.ACTIVE)}
            assert all(record.next_replicas is None and len(record.replicas) == 3 for record in records)
    return took_s


async def test_the_load_of_a_node_is_seen_by_others_until_it_goes(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", "b", "c") as cluster:
            await until(cluster.served)
            a, b = cluster.living["a"], cluster.living["b"]
            for slots in (((3, 4), (9, 2)), ((3, 5),)):
                a.placer.publish(LoadRecord(slots))
                await until(lambda slots=slots: b.placer.table.loads.get("a") == LoadRecord(slots))
            assert set(b.placer.table.loads) == {"a"}, "who has nothing to tell writes nothing"
            await cluster.kill("a")
            await until(lambda: "a" not in b.placer.table.loads)


async def test_a_killed_node_is_replaced_long_before_its_lease_ends_and_comes_back_with_nothing(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", "b", "c") as cluster:
            await until(cluster.served)
            await cluster.kill("b")
            took_s = await until(cluster.served)
            assert took_s < 2, f"{took_s:.2f} s"
            table = cluster.living["a"].placer.table
            assert "b" in table.nodes, "its lease lives on"
            slot = next(slot for slot, epoch in cluster.living["a"].active.items() if epoch == 2)
            assert cluster.living["a"].placer.last_contact(slot) is not None
            await cluster.start("b")
            await asyncio.sleep(1)
            assert not cluster.living["b"].claimed
            assert cluster.served()


async def test_a_node_that_stops_cleanly_is_gone_from_the_table_and_replaced(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", "b", "c") as cluster:
            await until(cluster.served)
            node = cluster.living["c"]
            cluster.all.remove(node)
            node.placer.drain()
            await until(lambda: cluster.living["a"].placer.table.nodes["c"].state == "draining")
            assert cluster.served(), "it serves until it stops"
            await node.stop()
            table = cluster.living["a"].placer.table
            await until(lambda: "c" not in table.nodes, 2)
            assert await until(cluster.served) < 2


async def test_lost_leases_move_nothing_and_are_taken_again(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", "b", "c") as cluster:
            table = cluster.living["a"].placer.table
            await until(lambda: cluster.served() and None not in table.owners)  # it hears of the slots a little later
            epochs = list(table.epochs)
            async with EtcdClient([etcd.url]) as client:
                for node in cluster.living.values():
                    lease = node.placer.registration._lease  # pyright: ignore[reportPrivateUsage] -- the fault
                    assert lease is not None
                    await client.lease_revoke(lease)
            await until(lambda: not table.nodes, 2)
            assert None not in table.owners, "calls still find the nodes"
            await until(lambda: len(table.nodes) == 3)
            await asyncio.sleep(0.5)
            assert table.epochs == epochs
            assert cluster.served()


async def test_a_silent_etcd_leaves_outcomes_unknown_and_everything_is_served_afterwards(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", "b", "c", slots=256) as cluster:
            await until(cluster.served)
            etcd.pause()
            await cluster.kill("a")
            await asyncio.sleep(3)  # the claims run into their deadline, perhaps more than once
            assert not cluster.served()
            etcd.resume()
            await until(cluster.served)
            for node in cluster.living.values():
                for slot, epoch in node.active.items():
                    record = node.placer.table.records[slot]
                    assert record is not None
                    assert (record.epoch, record.owner) == (epoch, node.record.owner)


async def test_activation_after_another_claim_says_false_and_the_slot_is_lost(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", slots=4, replicas=1, initial_nodes=1) as cluster:
            await until(cluster.served)
            node = cluster.living["a"]
            node.recovers = False
            node.placer.fenced(0, 7)
            await until(lambda: node.claimed[0] == 8)
            async with EtcdClient([etcd.url]) as client:
                entry = await client.get(KEYS.slot(0))
                assert entry is not None
                record = decode(entry.value, SlotRecord)
                other = record.claimed_by(type(node.record.owner)("other", "else"))
                await client.txn([Compare.mod(entry.key, entry.mod_revision)], [Put(entry.key, encode(other))])
            assert await node.placer.activated(0, 8) is False
            await until(lambda: bool(node.lost))
            assert node.lost == [(0, other)]
            assert await node.placer.activated(1, 99) is False, "an epoch that never was"


async def test_a_claim_in_which_another_was_faster_changes_nothing(tmp_path: Path) -> None:
    """Rule 1. Seen to break when transactions compare nothing: the other's record is gone."""
    with EtcdProcess(tmp_path) as etcd:
        async with (
            cluster_of(etcd, "a", slots=4, replicas=1, initial_nodes=1) as cluster,
            EtcdClient([etcd.url]) as client,
        ):
            await until(cluster.served)
            node = cluster.living["a"]
            entry = await client.get(KEYS.slot(0))
            assert entry is not None
            other = decode(entry.value, SlotRecord).claimed_by(Owner("other", "else"), above=20)
            own_txn, ended = node.client.txn, asyncio.Event()

            async def overtaken(*arguments: Any, **options: Any) -> TxnResult:
                node.client.txn = own_txn
                await client.txn([], [Put(entry.key, encode(other))])
                try:
                    return await own_txn(*arguments, **options)
                finally:
                    ended.set()

            node.client.txn = overtaken
            node.placer.fenced(0, 7)
            await until(lambda: bool(node.lost) and ended.is_set())  # the other's record is seen before this has ended
            found = await client.get(entry.key)
            assert found is not None
            assert decode(found.value, SlotRecord) == other
            assert node.claimed == {1: 1, 2: 1, 3: 1}


async def test_another_number_of_slots_is_refused(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", slots=8, replicas=1, initial_nodes=1):
            node = PlacedNode(etcd.url, "b", {}, slots=16)
            with pytest.raises(ConfigurationError, match="HOMING_SLOTS=8"):
                await node.placer.start()
            await node.client.close()


async def test_jurisdictions_are_added_to_a_cluster_that_serves_and_never_taken_away(tmp_path: Path) -> None:
    """The node that was there goes on as it was. Seen to fail when a node is not refused that knows of none."""
    eu = Jurisdiction("eu", ("berlin",))
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", slots=8, replicas=1, initial_nodes=1) as cluster:
            await until(cluster.served)
            newer = PlacedNode(
                etcd.url, "b", cluster.living, slots=8, zone="berlin", jurisdictions=[eu], replicas=1, initial_nodes=1
            )
            await newer.start()
            await until(lambda: 8 in newer.active)
            assert not cluster.living["a"].lost
            for told in ([], [Jurisdiction("us", ("berlin",))], [Jurisdiction("eu", ("ohio",))]):
                node = PlacedNode(etcd.url, "c", {}, slots=8, jurisdictions=told)
                with pytest.raises(ConfigurationError, match="HOMING_JURISDICTIONS=eu=berlin"):
                    await node.placer.start()
                await node.client.close()
            await newer.stop()


async def test_two_processes_of_one_node_the_older_ends(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with cluster_of(etcd, "a", slots=4, replicas=1, initial_nodes=1) as cluster:
            await until(cluster.served)
            older = cluster.living["a"]
            await cluster.start("a", replicas=1, initial_nodes=1)
            async with asyncio.timeout(10):
                with pytest.raises(NodeReplaced):
                    await older.placer.wait()
            await until(lambda: len(cluster.living["a"].active) == 4)


async def test_registration_survives_a_restart_of_etcd_and_a_deleted_record(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        living: dict[str, PlacedNode] = {}
        node = PlacedNode(etcd.url, "x", living)
        registration = Registration(node.client, KEYS.node("x"), node.record, ttl_s=2)
        task = asyncio.ensure_future(registration.run())
        await registration.registered.wait()
        etcd.kill()
        await asyncio.sleep(0.5)
        etcd.start()
        async with EtcdClient([etcd.url]) as client:
            await asyncio.sleep(3)
            assert await client.get(KEYS.node("x")) is not None
            await registration.close()
            assert await client.get(KEYS.node("x")) is None
        await asyncio.wait([task])
        await node.client.close()


async def test_a_table_follows_and_single_reads_are_shared(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with (
            cluster_of(etcd, "a", slots=16, replicas=1, initial_nodes=1) as cluster,
            EtcdClient([etcd.url]) as client,
        ):
            table = SlotTable(client, KEYS)
            task = asyncio.ensure_future(table.run())
            async with asyncio.timeout(10):
                await table.ready.wait()
            await until(cluster.served)
            await until(lambda: all(one and one.rank == (1, True) for one in table.records))
            owner, record = table.route(3)
            assert owner is not None
            assert owner.address == "a:1"
            assert record is not None
            assert table.route(99) == (None, None)
            refreshed = await asyncio.gather(*(table.refresh(slot % 16) for slot in range(200)))
            assert {one.owner.node for one in refreshed if one and one.owner} == {"a"}
            # Rule 3: a record of a lower epoch, whoever wrote it, changes nothing.
            entry = await client.get(KEYS.slot(3))
            assert entry is not None
            older = SlotRecord(0, SlotState.ACTIVE, None, record.replicas)
            await client.txn([], [Put(KEYS.slot(3), encode(older)), Put(KEYS.slot(4), b"not a record")])
            await asyncio.sleep(0.3)
            assert table.route(3) == (owner, record)
            assert table.epochs[4] == 1
            await client.txn([], [Put(KEYS.slot(3), entry.value), Delete(KEYS.slot(4))])
            task.cancel()
            await asyncio.wait([task])
            await cluster.living["a"].placer.table.refresh(3)
