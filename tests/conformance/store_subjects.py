"""The stores that must behave alike, each with the way to stop and start it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from homing.ids import class_tag
from homing_node.log.memory_store import MemoryStore
from homing_node.log.rocks_store import RocksStore
from homing_node.log.store import Op, PutRecord, Store

TAG = class_tag("Counter")


def object_id(hash_bytes: int, rest: int = 0, tag: bytes = TAG) -> bytes:
    return hash_bytes.to_bytes(2, "big") + tag + rest.to_bytes(22, "big")


def page(text: str) -> bytes:
    return text.encode().ljust(1_024, b".")


def put(slot: int, *lsns: int) -> list[Op]:
    return [PutRecord(slot, lsn, b"r%d" % lsn) for lsn in lsns]


class Subject:
    """A store, and how to stop and start it."""

    def __init__(self, make: Callable[[], Store], again: Callable[[Store], Store]) -> None:
        self.store = make()
        self._again = again

    def before_and_after_a_restart(self) -> Iterator[Store]:
        yield self.store
        yield self.restart()

    def restart(self) -> Store:
        self.store = self._again(self.store)
        return self.store


def rocks_subject(path: Path) -> Subject:
    def make() -> Store:
        return RocksStore.open(path, cluster="c", node="n1")

    def again(store: Store) -> Store:
        store.close()
        return make()

    return Subject(make, again)


def memory_subject(path: Path) -> Subject:
    def again(store: Store) -> Store:
        assert isinstance(store, MemoryStore)
        store.crash()
        return store

    return Subject(MemoryStore, again)
