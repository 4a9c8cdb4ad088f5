"""A process that writes to a store until it is killed, and says on stdout what was acknowledged.

Batch k: a record with lsn k in slot k % 5, the promise k in slot 9, and page 1 of one object, all in one write.
"""

from __future__ import annotations

import os
import random
import sys

from homing_node.log.rocks_store import RocksStore
from homing_node.log.store import Op, PutPages, PutRecord, SetPromise

OBJECT = bytes(32)
SLOTS = 5


def ops_of(batch: int, size: int) -> list[Op]:
    text = b"%d " % batch
    return [
        PutRecord(batch % SLOTS, batch // SLOTS + 1, text + os.urandom(size)),
        SetPromise(9, batch, str(batch)),
        PutPages(OBJECT, {1: text.ljust(1_024, b".")}, 1),
    ]


def main(path: str, first: int, seed: int, last: int) -> None:
    store = RocksStore.open(path, cluster="c", node="n1")
    rng = random.Random(seed)
    os.write(1, b"open\n")
    for batch in range(first, last):
        store.write(ops_of(batch, rng.choice([10, 300, 20_000])))
        os.write(1, b"%d\n" % batch)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
