"""The real store in real processes: killed at any moment, on a full disk, and watched as it brings batches to disk."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from homing.errors import StoreFailed
from homing_node.log.rocks_store import RocksStore
from homing_node.log.store import PutRecord

CHILD = Path(__file__).with_name("store_crash_child.py")
OBJECT = bytes(32)
SLOTS = 5


def open_store(path: Path) -> RocksStore:
    return RocksStore.open(path, cluster="c", node="n1")


def killed_child(path: Path, first: int, seed: int, after_s: float) -> int:
    """Run the child, kill it some time after its first acknowledgement; returns the last batch it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(path), str(first), str(seed), "1000000000"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        ready, _, _ = select.select([child.stdout], [], [], 20)
        assert ready, "the child did not start"
        time.sleep(after_s)
    finally:
        child.kill()
        output = child.stdout.read().decode()
        child.wait()
        child.stdout.close()
    whole = output[: output.rfind("\n") + 1].split()
    assert whole
    assert whole[0] == "open"
    return int(whole[-1]) if len(whole) > 1 else first - 1


def last_batch(store: RocksStore) -> int:
    """The newest batch in the store, with every part of it and of all before it checked."""
    images = store.load()
    last = images[9].promised if 9 in images else -1
    assert not any(image.damaged for image in images.values())
    for slot in range(SLOTS):
        records = images[slot].records if slot in images else []
        batches = [int(data.split(b" ", 1)[0]) for data in records]
        assert batches == list(range(slot, last + 1, SLOTS))
    if last >= 0:
        page = store.page(OBJECT, 1)
        assert page is not None
        assert int(page.split(b" ")[0]) == last
        assert images[9].claimant == str(last)
    return last


def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path: Path) -> None:
    """A batch is whole or not there, those before it are there, and the store trusts itself after every kill.

    Seen to fail with the acknowledgement sent before the write, and with the mark written before its batch.
    """
    rng = random.Random(12)
    path = tmp_path / "data"
    first, disk_id, rounds = 0, "", 12
    for round_ in range(rounds):
        acknowledged = killed_child(path, first, round_, rng.choice([0, 0.005, 0.02, 0.1, 0.3]))
        store = open_store(path)
        assert store.trusted, store.lost
        assert store.disk_id == (disk_id or store.disk_id)
        disk_id = store.disk_id
        last = last_batch(store)
        assert acknowledged <= last <= acknowledged + 1
        first = last + 1
        store.close()
    assert first > 100 * rounds / 4, "the child hardly wrote anything: this proves little"


def test_a_kill_while_a_store_is_made(tmp_path: Path) -> None:
    """At any moment of its making a directory opens again as a new, trusted store."""
    rng = random.Random(3)
    for round_ in range(6):
        path = tmp_path / str(round_)
        child = subprocess.Popen([sys.executable, str(CHILD), str(path), "0", "0", "0"], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.02))
        child.kill()
        child.wait()
        store = open_store(path)
        assert store.trusted, store.lost
        store.write([PutRecord(0, 1, b"a")])
        store.close()


def test_many_readers_beside_a_writer(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                found = store.records(1, 1, 10_000)
                assert found == [b"%d" % lsn for lsn in range(1, len(found) + 1)]
                list(store.pages(OBJECT))
                store.objects(b"", 5, bytes(8))
                time.sleep(0.002)  # readers that never rest would leave the writer little of the interpreter
        except BaseException as error:  # what a thread raises is seen by nobody else
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for lsn in range(1, 301):
        store.write([PutRecord(1, lsn, b"%d" % lsn)])
    done.set()
    for reader in readers:
        reader.join(10)
    assert failures == []
    store.close()


def test_writers_in_several_threads_take_turns(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")

    def write(slot: int) -> None:
        for lsn in range(1, 101):
            store.write([PutRecord(slot, lsn, b"")])

    writers = [threading.Thread(target=write, args=(slot,)) for slot in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(20)
    store.close()
    store = open_store(tmp_path / "data")
    assert [len(image.records) for image in store.load().values()] == [100] * 4
    store.close()


def test_a_waiting_disk_does_not_stop_the_interpreter(tmp_path: Path) -> None:
    """Seen to fail with RocksDB's synced write, which holds the interpreter's lock while the disk works."""
    store = open_store(tmp_path / "data")
    turns = 0
    done = threading.Event()

    def work() -> None:
        nonlocal turns
        while not done.is_set():
            time.sleep(0)
            turns += 1

    other = threading.Thread(target=work)
    other.start()
    began = time.monotonic()
    batches = 0
    while time.monotonic() < began + 0.5:
        store.write([PutRecord(0, batches, bytes(300))])
        batches += 1
    done.set()
    other.join()
    assert turns > batches
    store.close()


def test_more_than_the_memory_holds(tmp_path: Path) -> None:
    """Faster than RocksDB flushes: a write that it is not ready for waits, and is applied once.

    Deletes are part of it, because what the store remembers for them must not be taken from a batch that failed.
    """
    store = open_store(tmp_path / "data")
    data = random.Random(1).randbytes(1 << 20)
    last = 0
    for _ in range(40):
        ops = [PutRecord(0, last + i, data) for i in range(1, 5)]
        store.write(ops)
        last += 4
    assert len(store.records(0, 1, 1_000)) == last
    store.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_batch_and_every_mark_is_brought_to_disk(tmp_path: Path) -> None:
    """Seen to fail without `sync`, and with a mark file that was opened without O_DSYNC."""
    trace = tmp_path / "trace"
    batches = 50
    command = ["strace", "-f", "-y", "-e", "trace=fdatasync,fsync,pwrite64,openat", "-o", str(trace), sys.executable]
    found = subprocess.run(
        [*command, str(CHILD), str(tmp_path / "data"), "0", "0", str(batches)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if found.returncode != 0 and b"ptrace" in found.stderr:
        pytest.skip("this machine does not allow tracing")
    assert found.returncode == 0, found.stderr.decode()
    text = trace.read_text()
    assert len(re.findall(r"(?:fdatasync|fsync)\(\d+<[^>]*\.log>", text)) >= batches
    assert len(re.findall(r"pwrite64\(\d+<[^>]*/mark>", text)) >= batches
    assert re.search(r"openat\([^)]*/mark\", [^)]*O_DSYNC", text)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow mounts")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_ends_the_store_and_loses_nothing(small_disk: Path) -> None:
    """Seen to fail with a store that forgets its failure, and with one that sets aside what it has no space to open."""
    path = small_disk / "data"
    store = open_store(path)
    noise = random.Random(1)
    acknowledged = 0
    free = store.disk_free_bytes()
    with pytest.raises(StoreFailed, match="No space left"):  # noqa: PT012 (which write fails is not known)
        while True:
            store.write([PutRecord(3, acknowledged + 1, noise.randbytes(100_000))])
            acknowledged += 1
            assert acknowledged < 1_000
    assert acknowledged > 100
    assert store.disk_free_bytes() < free
    for _ in range(2):
        with pytest.raises(StoreFailed, match="No space left"):
            store.write([PutRecord(4, 1, b"small")])
    assert len(store.records(3, 1, 10_000)) >= acknowledged
    disk_id = store.disk_id
    store.close()

    (path / "ballast").write_bytes(b"")
    with contextlib.suppress(OSError), (path / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4_096)):
            pass
    with contextlib.suppress(StoreFailed):  # refused, or opened with what little there is: never set aside
        open_store(path).close()
    assert not list(path.glob("rocksdb.set-aside-*"))
    (path / "ballast").unlink()

    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    store = open_store(path)
    assert (store.trusted, store.disk_id) == (True, disk_id), store.lost
    assert len(store.records(3, 1, 10_000)) in (acknowledged, acknowledged + 1)
    assert 4 not in store.load()
    store.write([PutRecord(4, 1, b"small")])
    store.close()
