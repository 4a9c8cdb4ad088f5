"""What a call costs inside a worker, in µs of CPU: from the bytes of its EVENT to the bytes of its TURN.

    .venv/bin/python benchmarks/worker_turn.py [--calls 30000] [--profile]

Nothing else runs: no socket, no node. Each figure is the best of several rounds: other work on the machine only adds.
`--memory N` opens N activations instead, each with one key, and says what they cost before and after they are evicted.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homing.tuning import allocator_trim
from homing.values import from_stored, to_stored
from homing_node.workers.inside import channel, pages, vfs
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.framing import Inbox, Outbox
from homing_node.workers.inside.loops import WorkerLoop
from homing_node.workers.inside.worker import Worker

APP = """
from homing import DurableObject

class Counter(DurableObject):
    def increment(self):
        kv = self.ctx.storage.kv
        n = (kv.get("n") or 0) + 1
        kv.put("n", n)
        return n

    def read(self):
        return self.ctx.storage.kv.get("n") or 0

    def nothing(self):
        return 0

    async def increment_async(self):
        return self.increment()

    def increment_sql(self):
        sql = self.ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS c(id INTEGER PRIMARY KEY, n)")
        sql.exec("INSERT INTO c VALUES (1, 1) ON CONFLICT DO UPDATE SET n = n + 1")
        return sql.exec("SELECT n FROM c").one()["n"]
"""
ROUNDS = 5
BATCH = 32  # events that come in one read, as under load


class Sink:
    """Takes the place of the wire: encodes what the worker says and throws it away."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.sent = 0

    def send(self, message: tuple[Any, ...]) -> None:
        self.outbox.put(message)
        self.sent += 1


def start() -> tuple[Worker, Sink]:
    loop = WorkerLoop()
    worker = Worker(loop, allocator_trim())
    worker.wire = sink = Sink()  # type: ignore[assignment] - a stand-in
    folder = tempfile.mkdtemp()
    Path(folder, "bench_app.py").write_text(textwrap.dedent(APP))
    worker.on_message([channel.HELLO, {"app": folder, "main": "bench_app"}])
    return worker, sink


def event(act: int, call: int, method: str) -> tuple[Any, ...]:
    return (channel.EVENT, act, call, channel.RPC, method, b"{}", 5_000, "0123456789abcdef", "", None, False, 0, 0)


def frames(messages: list[tuple[Any, ...]]) -> list[bytes]:
    """The bytes of messages, in reads of `BATCH` each."""
    outbox = Outbox()
    reads: list[bytes] = []
    for at in range(0, len(messages), BATCH):
        for message in messages[at : at + BATCH]:
            outbox.put(message)
        reads.append(outbox.take())
    return reads


def best(round_of: Callable[[], int]) -> float:
    """µs per call of the quickest round."""
    figures: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        calls = round_of()
        figures.append((time.process_time() - began) / calls * 1e6)
    return min(figures)


def whole(worker: Worker, sink: Sink, reads: list[bytes]) -> int:
    inbox = Inbox()
    sink.sent = 0
    for data in reads:
        for message in inbox.feed(data):
            worker.on_message(message)
        worker.loop.call_soon(worker.loop.stop)  # what the handlers started has its turns
        worker.loop.run_forever()
        sink.outbox.take()
    return sink.sent


def calls(worker: Worker, sink: Sink, method: str, count: int, objects: int = 100) -> float:
    base = 10_000 * (1 + sum(method.encode()))
    for act in range(base, base + objects):
        worker.on_message([channel.OPEN, act, "Counter", bytes(32), "a", 0, b""])
        worker.on_message(list(event(act, 1, "increment")))  # each has a database
    reads = frames([event(base + n % objects, n + 1, method) for n in range(count)])
    whole(worker, sink, reads[: 2 * objects // BATCH + 1])
    return best(lambda: whole(worker, sink, reads))


def stages(count: int) -> dict[str, float]:
    database = Database([], lambda: None)
    database.kv_put("n", to_stored(0))
    database.commit()
    reads = frames([event(1, n, "increment") for n in range(count)])
    inbox, outbox = Inbox(), Outbox()
    old = database.file.pages[1]
    new = old[:700] + b"\x01\x02" + old[702:]
    commit = pages.encode(2, [(2, old, new)])
    stored = [to_stored(n) for n in range(1, 100)]

    def put() -> int:
        for n in range(count):
            database.kv_put("n", stored[n % 99])
            if n % 50 == 0:
                database.rollback()
        return count

    def put_commit() -> int:
        for n in range(count):
            database.kv_put("n", stored[n % 99])
            database.commit()
        return count

    def repeat(function: Callable[[], Any]) -> Callable[[], int]:
        def run() -> int:
            for _ in range(count):
                function()
            return count

        return run

    def turn() -> int:
        for n in range(count):
            outbox.put((channel.TURN, 1, n, commit, n, [(n, 0, b'{"result": 5}', n, n)]))
            if n % BATCH == 0:
                outbox.take()
        return count

    return {
        "decode an EVENT": best(lambda: sum(len(inbox.feed(data)) for data in reads)),
        "kv.get with its value": best(repeat(lambda: from_stored(database.kv_get("n") or b""))),
        "begin, put and commit, captured": best(put_commit),
        "  of that: commit bytes of a page": best(repeat(lambda: pages.encode(2, [(2, old, new)]))),
        "encode a TURN": best(turn),
    }


def memory(count: int) -> None:
    def rss_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096

    worker, sink = start()
    for data in frames([event(1, 1, "increment")]):
        worker.on_message([channel.OPEN, 1, "Counter", bytes(32), "a", 0, b""])
        worker.on_message(Inbox().feed(data)[0])
    gc.collect()
    before = rss_bytes()
    for act in range(2, count + 2):
        worker.on_message([channel.OPEN, act, "Counter", act.to_bytes(32, "big"), f"name-{act}", 0, b""])
        for call in (1, 2, 3):
            worker.on_message(list(event(act, call, "increment")))
        sink.outbox.take()
    print(f"{count} activations: {(rss_bytes() - before) / count / 1024:.1f} KiB each")
    for act in range(2, count + 2):
        worker.on_message([channel.CLOSE, act])
        sink.outbox.take()
    worker._give_back()
    print(f"evicted: {(rss_bytes() - before) / count / 1024:.1f} KiB each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--memory", type=int, default=0)
    options = parser.parse_args()
    vfs.configure_process()
    gc.set_threshold(20_000)
    if options.memory:
        memory(options.memory)
        return
    worker, sink = start()
    if options.profile:
        profile = cProfile.Profile()
        profile.enable()
        calls(worker, sink, "increment", options.calls)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    for method in ("nothing", "read", "increment", "increment_async", "increment_sql"):
        print(f"{method:34} {calls(worker, sink, method, options.calls):7.2f} µs")
    for name, figure in stages(options.calls).items():
        print(f"{name:34} {figure:7.2f} µs")


if __name__ == "__main__":
    main()
