"""What must not stay in memory once activations have ended. Figures of a whole cluster are in benchmarks/rss.py."""

import socket
import threading
import time
import tracemalloc
from pathlib import Path

from homing_node.objects.activation import drop
from homing_node.workers.inside import channel, pages
from homing_node.workers.inside.framing import Inbox, Outbox
from homing_node.workers.inside.main import serve

WAIT_S = 10.0


def test_encoding_commits_leaves_nothing_behind() -> None:
    """Seen to fail with `finditer`: hundreds of strings stayed in the interpreter's cache of methods."""
    tracemalloc.start()
    try:
        for number in range(1, 2_000):
            pages.encode(1, [(1, None, number.to_bytes(1_024, "little"))])
        kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, pages.__file__)])
    finally:
        tracemalloc.stop()
    assert len(kept.traces) < 50


def test_an_emptied_table_is_small_again() -> None:
    """Seen to fail with deletions alone."""
    table = {number: number for number in range(1_000)}
    for number in range(1_000):
        drop(table, number)
    drop(table, 1)
    assert table.__sizeof__() == {}.__sizeof__()


def test_a_worker_gives_memory_back_after_the_last_activations_too(tmp_path: Path) -> None:
    """Seen to fail where it waited for 256 to have ended."""
    (tmp_path / "app_given_back.py").write_text(
        "from homing import DurableObject\n\nclass Empty(DurableObject):\n    pass\n"
    )
    ours, theirs = socket.socketpair()
    trimmed = threading.Event()
    thread = threading.Thread(target=serve, args=(theirs, trimmed.set), kwargs={"take_output": False}, daemon=True)
    thread.start()
    inbox, outbox = Inbox(), Outbox()
    outbox.put((channel.HELLO, {"app": str(tmp_path), "main": "app_given_back", "limits": {}}))
    outbox.put((channel.OPEN, 1, "Empty", bytes(32), None, 0, b""))
    outbox.put((channel.CLOSE, 1, False))
    ours.sendall(outbox.take())
    ours.settimeout(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    closed = False
    while not closed and time.monotonic() < deadline:
        closed = any(frame[0] == channel.CLOSED for frame in inbox.feed(memoryview(ours.recv(1 << 16))))
    assert closed
    assert trimmed.wait(WAIT_S)
    ours.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()
