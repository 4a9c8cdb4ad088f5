"""How many batches a store brings to disk per second, and what a record costs in CPU.

    .venv/bin/python benchmarks/store_batches.py [--seconds 3] [--directory DIR] [--busy] [--node]

`--busy` adds a thread that uses most of the interpreter, as a node's event loop does. `--node` writes what a node
writes (records, pages, trims) for longer, and says what the store takes of CPU, memory and disk in all.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homing_node.log.mark import MarkWriter
from homing_node.log.rocks_store import RocksStore
from homing_node.log.store import Op, PutObject, PutPages, PutRecord, SetApplied, TrimRecords

RECORD_BYTES = 300
SIZES = (1, 8, 64)
ROUNDS = 7
NODE_SLOTS = 128


class NoMarks(MarkWriter):
    """To see what the marks cost."""

    def __init__(self) -> None:
        pass

    def begin(self, batch: int) -> None:
        pass

    def settle(self) -> None:
        pass


@contextmanager
def busy_thread(wanted: bool) -> Iterator[list[int]]:
    """A thread that works 0.6 ms in pieces, rests 0.3 ms, and counts its rounds."""
    rounds = [0]
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            for _ in range(10):
                until = time.perf_counter() + 60e-6
                while time.perf_counter() < until:
                    pass
                time.sleep(0)
            time.sleep(300e-6)
            rounds[0] += 1

    thread = threading.Thread(target=work)
    if wanted:
        thread.start()
    yield rounds
    done.set()
    if wanted:
        thread.join()


def python_cost(store: RocksStore, ops: list[Op]) -> float:
    """Seconds of CPU to build a batch, without writing it."""
    builder = store.builder
    count = max(20, 20_000 // len(ops))
    began = time.thread_time()
    for number in range(count):
        builder.build(ops, number)
    return (time.thread_time() - began) / count


class Row:
    """One size of batch, with or without marks; what was measured in each round."""

    def __init__(self, records: int, *, marked: bool) -> None:
        self.records, self.marked = records, marked
        self.rounds: list[tuple[float, ...]] = []

    def measure(self, store: RocksStore, first: int, seconds: float, turns: list[int]) -> int:
        data = random.Random(first).randbytes(RECORD_BYTES)
        lsn, slowest = first, 0.0
        turns_before, cpu, own, began = turns[0], time.process_time(), time.thread_time(), time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            store.write([PutRecord(slot, lsn, data) for slot in range(self.records)])
            slowest = max(slowest, time.perf_counter() - now)
            lsn += 1
        count, took = lsn - first, time.perf_counter() - began
        own, cpu = time.thread_time() - own, time.process_time() - cpu
        self.rounds.append((count / took, own / count * 1e6, cpu / count * 1e6, slowest * 1e3,
                            (turns[0] - turns_before) / took))  # fmt: skip
        return lsn

    def __str__(self) -> str:
        rate, own, cpu, slowest, turns = (statistics.median(column) for column in zip(*self.rounds, strict=True))
        return (
            f"{self.records:>7} {'yes' if self.marked else 'no':>6} {rate:>10.0f} {rate * self.records:>10.0f} "
            f"{own:>13.0f} {own / self.records:>14.1f} {cpu:>13.0f} {slowest:>9.1f} {turns:>9.0f}"
        )


def batches(path: Path, seconds: float, busy: bool) -> None:
    store = RocksStore.open(path / "data", cluster="bench", node="n1")
    for count in SIZES:
        cost = python_cost(store, [PutRecord(i, 1, bytes(RECORD_BYTES)) for i in range(count)])
        print(f"building a batch of {count:>2}: {cost * 1e6:5.1f} µs, {cost / count * 1e6:.2f} µs per record")
    rows = [Row(count, marked=marked) for count in SIZES for marked in (True, False)]
    marks, none, lsn = store.marks, NoMarks(), 1
    with busy_thread(busy) as turns:
        for _ in range(ROUNDS):
            for row in rows:
                store.marks = marks if row.marked else none
                lsn = row.measure(store, lsn, seconds / ROUNDS, turns)
    store.marks = marks
    store.close()
    print(f"\n{ROUNDS} rounds, medians; times in µs of CPU, of the writing thread (own) and of the process")
    print("records  marks  batches/s  records/s  own per batch  own per record  process/batch  worst ms  others/s")
    for row in rows:
        print(row)


def node_batches() -> Iterator[tuple[int, list[Op]]]:
    """Nine records each; a slot with 64 new records is applied, and trimmed below the 64 before."""
    rng = random.Random(1)
    objects = [bytes((i & 255, i >> 8)) + bytes(30) for i in range(10_000)]
    last, applied = [0] * NODE_SLOTS, [0] * NODE_SLOTS
    while True:
        ops: list[Op] = []
        for _ in range(9):
            slot = rng.randrange(NODE_SLOTS)
            last[slot] += 1
            ops.append(PutRecord(slot, last[slot], rng.randbytes(RECORD_BYTES)))
            if last[slot] - applied[slot] < 64:
                continue
            for object_id in rng.sample(objects, 10):
                ops.append(PutPages(object_id, {rng.randrange(1, 5): rng.randbytes(1_024)}, 4))
                ops.append(PutObject(object_id, rng.randbytes(100)))
            ops.append(SetApplied(slot, last[slot], 1, bytes(16)))
            ops.append(TrimRecords(slot, applied[slot]))
            applied[slot] = last[slot]
        yield 9, ops


def node(path: Path, seconds: float) -> None:
    """9,000 records a second in 1,000 batches, pages applied and records trimmed as a node does."""
    store = RocksStore.open(path / "data", cluster="bench", node="n1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = node_batches()
    records, ticks, slowest, making = 0, 0, 0.0, 0.0
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        made = time.thread_time()
        count, ops = next(source)
        making += time.thread_time() - made
        wrote = time.perf_counter()
        store.write(ops)
        slowest = max(slowest, time.perf_counter() - wrote)
        records, ticks = records + count, ticks + 1
        time.sleep(max(0.0, began + ticks * 0.001 - time.perf_counter()))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu - making
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = sum(file.stat().st_size for file in (path / "data").rglob("*") if file.is_file())
    print(f"{records / took:.0f} records/s in {ticks / took:.0f} batches/s: {cpu / took * 100:.0f} % of a core")
    print(f"memory +{rss / 1024:.0f} MiB at most, {size >> 20} MiB on disk, slowest write {slowest * 1e3:.1f} ms")
    times = [time.perf_counter()]
    store.close()
    times.append(time.perf_counter())
    store = RocksStore.open(path / "data", cluster="bench", node="n1")
    times.append(time.perf_counter())
    loaded = sum(len(image.records) for image in store.load().values())
    times.append(time.perf_counter())
    close, opened, load = (b - a for a, b in itertools.pairwise(times))
    print(f"close {close:.2f} s, open {opened:.2f} s, load {loaded} records {load:.2f} s")
    cpu = time.process_time()
    time.sleep(1)
    print(f"idle: {(time.process_time() - cpu) * 100:.2f} % of a core")
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    parser.add_argument("--directory", help="a place on the disk to measure; by default the current directory")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--node", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory or os.getcwd(), prefix=".store-bench-") as directory:
        if args.node:
            node(Path(directory), args.seconds)
        else:
            batches(Path(directory), args.seconds, args.busy)


if __name__ == "__main__":
    main()
