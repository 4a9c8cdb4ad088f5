"""The crash model of the simulator's store."""

from __future__ import annotations

import pytest

from homing.errors import StoreFailed
from homing_node.log.memory_store import MemoryStore
from homing_node.log.store import PutRecord, SetPromise


def filled(batches: int) -> MemoryStore:
    store = MemoryStore("d1")
    for lsn in range(1, batches + 1):
        store.write_unsynced([PutRecord(0, lsn, b"%d" % lsn), SetPromise(0, lsn, "")])
    return store


def found(store: MemoryStore) -> int:
    """How many batches are on disk, each of them whole."""
    images = store.load()
    if not images:
        return 0
    assert len(images[0].records) == images[0].promised
    return images[0].promised


def test_what_was_not_synced_is_not_seen_and_is_lost_by_a_crash() -> None:
    store = filled(3)
    assert (found(store), store.unsynced) == (0, 3)
    store.crash()
    assert (found(store), store.unsynced) == (0, 0)


@pytest.mark.parametrize("kept", range(5))
def test_a_crash_keeps_the_oldest_batches_whole(kept: int) -> None:
    store = filled(3)
    store.crash(kept)
    assert found(store) == min(kept, 3)


def test_syncing_brings_the_oldest_first() -> None:
    store = filled(5)
    store.sync(2)
    assert (found(store), store.unsynced) == (2, 3)
    store.sync()
    assert (found(store), store.unsynced) == (5, 0)
    store.crash()
    assert found(store) == 5


def test_a_write_brings_what_was_queued_before_it() -> None:
    store = filled(2)
    store.write([PutRecord(0, 3, b""), SetPromise(0, 3, "")])
    assert found(store) == 3


def test_a_failed_store_refuses_every_write_until_a_crash() -> None:
    store = filled(2)
    store.fail("disk full")
    for _ in range(2):
        with pytest.raises(StoreFailed, match="disk full"):
            store.write([])
        with pytest.raises(StoreFailed):
            store.write_unsynced([])
        with pytest.raises(StoreFailed):
            store.sync()
    store.crash(1)
    assert found(store) == 1
    store.write([])


def test_what_it_says_of_itself() -> None:
    store = MemoryStore("d2", trusted=False, free_bytes=5)
    assert (store.disk_id, store.trusted, store.disk_free_bytes()) == ("d2", False, 5)
