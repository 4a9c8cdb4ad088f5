"""Backup under load, destroy everything, restore: real clusters of three nodes, and processes killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tests.chaos.cluster import DevCluster

from patience import PATIENCE_S, until

APP = """
import hashlib
from homing import DurableObject


class Counter(DurableObject):
    def increment(self) -> int:
        kv = self.ctx.storage.kv
        value = (kv.get("value") or 0) + 1
        kv.put("value", value)
        return value

    def read(self) -> int:
        return self.ctx.storage.kv.get("value") or 0

    def fill(self, number: int, size: int) -> None:
        self.ctx.storage.kv.put(f"blob{number}", hashlib.shake_128(b"%d" % number).digest(size))

    def digest(self, count: int) -> str:
        return hashlib.sha256(b"".join(self.ctx.storage.kv.get(f"blob{n}") for n in range(count))).hexdigest()
"""
SLOTS = 64
BLOB_BYTES = 1_000_000
BLOBS = 6


def blobs_digest() -> str:
    parts = (hashlib.shake_128(b"%d" % number).digest(BLOB_BYTES) for number in range(BLOBS))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that workers of any uid can read."""
    folder = Path(tempfile.mkdtemp(prefix="homing-backup-"))
    folder.chmod(0o755)
    (folder / "app.py").write_text(APP)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def cluster(place: Path) -> AsyncIterator[tuple[DevCluster, httpx.AsyncClient]]:
    """Three nodes with nothing on their disks, and a client."""
    with DevCluster(place / "app.py", nodes=3, environment={"HOMING_SLOTS": str(SLOTS)}) as made:
        await made.wait_settled(90)
        async with httpx.AsyncClient(base_url=f"{made.url}/_homing/v1/objects/Counter", timeout=60) as http:
            yield made, http


async def call(http: httpx.AsyncClient, name: str, method: str, *args: object, key: str = "") -> object:
    """Call a method; with a key as often as the answer says it may be tried again, as while its slot changes hands."""
    headers = {"idempotency-key": key} if key else {}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = await http.post(f"/{name}/rpc/{method}", json={"args": args}, headers=headers)
        if not key or answer.is_success or not answer.json()["retryable"] or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def fill(http: httpx.AsyncClient, name: str, number: int, size: int) -> object:
    """Write much; on a busy machine a slot may change hands meanwhile."""
    return await call(http, name, "fill", number, size, key=f"fill-{number}")


async def homing(made: DevCluster, *words: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(made.homing, *words)


async def done(made: DevCluster, *words: str) -> dict[str, int]:
    ended = await homing(made, *words, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


async def refused(made: DevCluster, *words: str) -> str:
    ended = await homing(made, *words)
    assert ended.returncode == 1, ended.stdout
    return ended.stderr


class Load:
    """Clients that increment, each an object of its own, under a new key each time."""

    def __init__(self, http: httpx.AsyncClient, clients: int) -> None:
        self.http, self.clients = http, clients
        self.acknowledged: dict[str, int] = {}
        self.keys: dict[str, str] = {}  # of the last acknowledged increment
        self.asked: dict[str, int] = {}
        self.stopping = False

    async def _client(self, name: str) -> None:
        number = 0
        while not self.stopping:
            number += 1
            self.asked[name] = number
            found = await call(self.http, name, "increment", key=f"{name}-{number}")
            assert found == number
            self.acknowledged[name], self.keys[name] = number, f"{name}-{number}"

    async def has_begun(self) -> bool:
        return len(self.acknowledged) == self.clients and min(self.acknowledged.values()) >= 20

    async def run(self) -> None:
        await asyncio.gather(*(self._client(f"o{number}") for number in range(self.clients)))


async def test_everything_acknowledged_before_a_backup_outlives_the_cluster(place: Path) -> None:
    """The backup is taken under load; then all data is destroyed, and another cluster gets it."""
    saved = str(place / "saved")
    async with cluster(place) as (made, http):
        for number in range(BLOBS):
            await fill(http, "large", number, BLOB_BYTES)
        load = Load(http, 24)
        running = asyncio.ensure_future(load.run())
        await until(load.has_begun, "twenty acknowledged increments of each", by=running)
        before, keys = dict(load.acknowledged), dict(load.keys)
        told = await done(made, "backup", saved)
        load.stopping = True
        await running
        assert min(load.acknowledged[name] - before[name] for name in before) > 0, "there was no load meanwhile"
        assert (told["slots"], told["objects"]) == (SLOTS, 25)
        assert "already holds a backup" in await refused(made, "backup", saved)
        epochs = {slot.slot: slot.epoch for slot in (await made.view()).slots}
    assert not made.data_dir.exists()

    async with cluster(place) as (made, http):
        assert (await done(made, "restore", saved))["objects"] == 25
        assert all(slot.epoch > epochs[slot.slot] for slot in (await made.wait_settled(60)).slots)
        assert await call(http, "large", "digest", BLOBS) == blobs_digest()
        for name, value in before.items():
            found = await call(http, name, "read")
            assert value <= found <= load.asked[name]
            assert await call(http, name, "increment", key=keys[name]) == value, "a call was run twice"
            assert await call(http, name, "read") == found
        assert "has objects" in await refused(made, "restore", saved)

        # One object alone, into a cluster that lives on.
        now = {name: await call(http, name, "increment") for name in ("o1", "o2")}
        assert "--overwrite replaces it" in await refused(made, "restore", saved, "--object", "Counter/o1")
        assert "--overwrite replaces it" in await refused(made, "restore", saved, "--object", "Counter/large")
        assert await call(http, "o1", "read") == now["o1"]
        epochs = {slot.slot: slot.epoch for slot in (await made.view()).slots}
        assert (await done(made, "restore", saved, "--object", "Counter/o1", "--overwrite"))["objects"] == 1
        assert await call(http, "o1", "read") == now["o1"] - 1
        assert await call(http, "o1", "increment", key=keys["o1"]) == before["o1"]
        assert await call(http, "o2", "read") == now["o2"]
        assert {slot.slot: slot.epoch for slot in (await made.view()).slots} == epochs
        assert "does not hold" in await refused(made, "restore", saved, "--object", "Counter/absent")

        # And a backup of one.
        alone = str(place / "alone")
        assert (await done(made, "backup", alone, "--object", "Counter/large"))["objects"] == 1
        assert (await done(made, "restore", alone, "--overwrite"))["objects"] == 1
        assert await call(http, "large", "digest", BLOBS) == blobs_digest()
        assert "never existed" in await refused(made, "backup", str(place / "no"), "--object", "Counter/absent")
        assert "there is no manifest" in await refused(made, "restore", str(place / "no"))


async def test_a_restore_survives_nodes_that_are_killed_and_can_be_begun_anew(place: Path) -> None:
    saved = str(place / "saved")
    names = [f"o{number}" for number in range(60)]
    async with cluster(place) as (made, http):
        await asyncio.gather(*(fill(http, name, number, 500_000) for name in names for number in range(2)))
        for number in range(BLOBS):
            await fill(http, "large", number, BLOB_BYTES)
        digests = {name: await call(http, name, "digest", 2) for name in names}
        await done(made, "backup", saved)

    async with cluster(place) as (made, http):
        assert (await done(made, "restore", saved, "--object", "Counter/o1"))["objects"] == 1
        assert await call(http, "o1", "digest", 2) == digests["o1"]

        # The command is killed: what it left says so, or is whole; then it is begun anew.
        program = [str(made.program), "restore", saved, "--overwrite", "--url", made.url]
        process = await asyncio.create_subprocess_exec(*program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended = asyncio.ensure_future(process.wait())

        async def has_restored_10() -> bool:
            return len(await listed(http)) >= 10

        await until(has_restored_10, "ten objects", by=ended, pause_s=0.01)
        assert not ended.done(), "it was over too soon"
        process.kill()
        await ended
        assert len(await listed(http)) < 61, "it was over too soon"
        assert "--overwrite begins anew" in await refused(made, "restore", saved)

        # A node is killed, and comes back: the command goes on.
        again = asyncio.ensure_future(done(made, "restore", saved, "--overwrite"))
        await asyncio.sleep(1.0)
        assert not again.done()
        made.process((await made.view()).nodes[0].pid).send(signal.SIGKILL)
        assert (await again)["slots"] == SLOTS
        assert await call(http, "large", "digest", BLOBS) == blobs_digest()
        for name in names:
            assert await call(http, name, "digest", 2) == digests[name]
        assert made.running()


async def listed(http: httpx.AsyncClient) -> list[dict[str, object]]:
    with contextlib.suppress(httpx.HTTPError, KeyError):
        return (await http.get("", params={"limit": 1_000})).json()["objects"]
    return []
