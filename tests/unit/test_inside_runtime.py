"""The worker-side runtime as its node sees it: events in, TURN frames out, over a real socketpair."""

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from homing.levels import CRITICAL, DEBUG, ERROR, INFO, WARNING
from homing_node.workers.inside import channel, limits
from worker_harness import Failed, WorkerHarness

# Start


def test_ready_names_classes_and_their_public_methods(worker: WorkerHarness):
    kind, summary = worker.hello
    assert kind == channel.READY
    assert summary["classes"]["Counter"] == [
        "arun", "echo", "give", "increment", "inherited", "read", "rewrite", "run",
    ]  # fmt: skip
    assert summary["default"] is True


def test_an_application_that_cannot_be_imported_is_said_with_its_traceback(start: Callable[..., WorkerHarness]):
    kind, error_type, message, trace = start("import nothing_of_that_name").hello
    assert (kind, error_type) == (channel.FAILED, "ModuleNotFoundError")
    assert "nothing_of_that_name" in message
    assert "app_" in trace
    kind, error_type, *_ = start("raise SystemExit(3)").hello
    assert (kind, error_type) == (channel.FAILED, "SystemExit")


def test_an_operation_that_nobody_awaits_happens_all_the_same(worker: WorkerHarness):
    """As in the reference system. Seen to fail when the operations are coroutines."""
    act = worker.open("Counter")
    code = "self.ctx.storage.put('x', 5)\nself.ctx.storage.set_alarm(4_000_000_000_000)\n"
    code += "return await asyncio.gather(self.ctx.storage.get('x'), self.ctx.storage.get_alarm())"
    assert worker.call(act, "arun", code) == [5, 4_000_000_000_000]


def test_bindings_are_upper_snake_case(worker: WorkerHarness):
    assert worker.call(worker.open("Plain"), "env_names") == ["BROKEN", "COUNTER", "MIGRATING", "PLAIN"]


# Turns and commits


def test_a_call_is_one_frame_with_its_commit_and_answer(worker: WorkerHarness):
    act = worker.open("Counter")
    assert [worker.call(act, "increment") for _ in range(3)] == [1, 2, 3]
    worker.settle()
    frames = worker.turns(act)
    assert [frame[2] for frame in frames] == [1, 2, 3]
    assert [frame[4] for frame in frames] == [frame[5][0][0] for frame in frames], "the call that ran is named"
    assert len(frames[2][3]) < 60, "a small update is a small commit"


def test_reads_and_rewrites_of_the_same_value_commit_nothing(worker: WorkerHarness):
    """Broken by: REPLACE instead of an upsert, or no comparison of pages in `take`."""
    act = worker.open("Counter")
    worker.call(act, "increment")
    worker.call(act, "read")
    worker.call(act, "rewrite")
    assert [frame[2] for frame in worker.turns(act)] == [1, 0, 0]


def test_a_successor_starts_from_the_pages_of_a_replica(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.call(act, "increment", 5)
    assert worker.close(act) is True
    successor = worker.reopen(act, "Counter")
    assert worker.call(successor, "increment") == 6
    assert worker.commits[successor] == 1


def test_pages_may_come_in_pieces_and_events_before_them(worker: WorkerHarness):
    first = worker.open("Counter")
    worker.call(first, "run", "for i in range(40): self.ctx.storage.kv.put(f'k{i}', 'x' * 100)")
    content = worker.replicas[first].content()
    assert len(content) > 4
    act = worker.open("Counter")
    worker.abort(act)
    act = 77
    worker.replicas[act] = worker.replicas[first]
    worker.send(channel.OPEN, act, "Counter", bytes(32), None, len(content), b"".join(content[:2]))
    early = worker.event(act, "give", "len(self.ctx.storage.kv.list())")
    worker.settle()
    assert not worker.turns(act)
    worker.send(channel.PAGES, act, content[2])
    worker.send(channel.PAGES, act, b"".join(content[3:]))
    assert worker.answer(early) == 40


def test_each_step_between_awaits_is_a_commit_of_its_own(worker: WorkerHarness):
    act = worker.open("Counter")
    code = (
        "kv = self.ctx.storage.kv\nkv.put('a', 1)\nkv.put('b', 2)\nawait asyncio.sleep(0)\nkv.put('c', 3)\nreturn 'end'"
    )
    call = worker.event(act, "arun", code)
    assert worker.answer(call) == "end"
    frames = worker.turns(act)
    assert [(frame[2], frame[4], len(frame[5])) for frame in frames] == [(1, call, 0), (2, call, 1)]


def test_tasks_and_timers_of_the_object_are_turns_too(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
kv = self.ctx.storage.kv
async def put(key):
    await asyncio.sleep(0.01)
    kv.put(key, 1)
await asyncio.gather(put('a'), put('b'))
asyncio.get_running_loop().call_later(0.02, kv.put, 'late', 1)
asyncio.get_running_loop().call_soon(kv.put, 'soon', 1)
return 1"""
    worker.call(act, "arun", code)
    assert worker.close(act) is False, "a timer is pending"
    time.sleep(0.1)
    assert sorted(key for key, _ in worker.call(act, "run", "result = self.ctx.storage.kv.list()")) == [
        "a", "b", "late", "soon",
    ]  # fmt: skip
    assert worker.close(act) is True


def test_a_write_in_a_callback_of_the_loop_is_committed_by_itself(worker: WorkerHarness):
    """Broken by: waiting for the next event (an idle object would never commit it)."""
    act = worker.open("Counter")
    worker.call(act, "run", "asyncio.get_running_loop().call_soon(self.ctx.storage.kv.put, 'soon', 1)")
    worker.wait(lambda frame: frame[0] == channel.TURN and frame[2] == 1, 2)


def test_a_subtask_writes_on_behalf_of_its_call(worker: WorkerHarness):
    """Broken by: call 0 for tasks (the node would take a broken-off call for one that never wrote)."""
    act = worker.open("Counter")
    code = """
async def put():
    await asyncio.sleep(0)
    self.ctx.storage.kv.put('a', 1)
await asyncio.create_task(put())
return 1"""
    call = worker.event(act, "arun", code)
    worker.answer(call)
    assert [frame[4] for frame in worker.turns(act) if frame[2]] == [call]


def test_async_and_sync_calls_start_in_the_order_they_came(worker: WorkerHarness):
    """Broken by: delivering while a handler has not had its first step."""
    act = worker.open("Counter")
    worker.call(act, "run", "self.seen = []")
    worker.corked = True
    calls = [
        worker.event(act, "arun", "self.seen.append('first')\nreturn 1"),
        worker.event(act, "run", "self.seen.append('second')"),
        worker.event(act, "arun", "self.seen.append('third')"),
        worker.event(act, "run", "result = self.seen"),
    ]
    worker.flush()
    assert worker.answer(calls[3]) == ["first", "second", "third"]


# HTTP


def test_fetch_of_an_object(worker: WorkerHarness):
    act = worker.open("Counter")
    status, headers, body = worker.http(act, "POST", "http://h/p?q=1", b"data", [("x-a", "1"), ("X-A", "2")])
    assert status == 201
    assert headers == [["set-cookie", "a=1"], ["set-cookie", "b=2"], ["content-type", "text/plain; charset=utf-8"]]
    assert body == b"POST http://h/p?q=1 1, 2 data"
    with pytest.raises(Failed, match="not-found"):
        worker.http(worker.open("Plain"), "GET", "http://h/")


def test_the_default_entrypoint(worker: WorkerHarness):
    status, _, body = worker.http(0, "GET", "http://h/x")
    assert (status, json.loads(body)["url"]) == (200, "http://h/x")
    with pytest.raises(Failed, match="boom"):
        worker.http(0, "GET", "http://h/boom")
    assert worker.http(0, "GET", "http://h/again")[0] == 200


# What is not built yet


def test_what_is_not_built_says_so(worker: WorkerHarness):
    error = worker.failure(worker.open("Counter"), "arun", "await self.ctx.storage.get_current_bookmark()")
    assert error.code == "not-supported"
    assert "bookmarks" in error.message


# Output


def test_what_objects_print_is_logged_with_its_call_and_bounded(start: Callable[..., WorkerHarness]):
    stdout, stderr = sys.stdout, sys.stderr
    try:
        worker = start(output=True)
        act = worker.open("Counter")
        call = worker.event(act, "run", "print('hello', end=' '); print('world'); print('err', file=sys.stderr)")
        worker.answer(call)
        worker.settle()
        assert [frame[1:] for frame in worker.logs()] == [
            [act, f"req-{call}", "stdout", "hello world", f"trace-{call}", INFO],
            [act, f"req-{call}", "stderr", "err", f"trace-{call}", WARNING],
        ]
        worker.call(act, "run", "print('x' * 100_000)")
        worker.settle()
        assert len(worker.logs()[-1][4]) < limits.log_line_bytes_max + 50
        assert worker.logs()[-1][4].endswith("(cut)")
        worker.call(act, "run", "for i in range(5000): print('line', i)")
        time.sleep(1.05)
        worker.call(act, "run", "t = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()")
        worker.settle()
        texts = [frame[4] for frame in worker.logs()]
        assert len(texts) <= 4 * limits.log_lines_per_s_max
        assert any("lines of output were dropped" in text for text in texts)
        assert "from a thread" in texts
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def test_what_objects_log_has_its_level(start: Callable[..., WorkerHarness]):
    """Seen to fail without `logging_at_levels`, and without `printing_at` in `console`."""
    stdout, stderr, plain = sys.stdout, sys.stderr, logging.Logger.callHandlers
    try:
        worker = start(output=True)
        act = worker.open("Counter")
        worker.call(
            act,
            "run",
            """
import logging, sys
log = logging.getLogger("shop")
log.propagate = False
log.setLevel(logging.DEBUG)
log.handlers[:] = [logging.StreamHandler(sys.stderr)]
print("half", end="", file=sys.stderr)
log.debug("one")
log.warning("two\\nlines")
log.log(1_000, "loud")
logging.Logger("alone").error("without a handler")
from js import console
console.debug("d"); console.log("l"); console.info("i"); console.warn("w", {"n": 1}); console.error("e")
print("plain")
""",
        )
        worker.settle()
        assert [(frame[6], frame[4]) for frame in worker.logs()] == [
            (WARNING, "half"), (DEBUG, "one"), (WARNING, "two"), (WARNING, "lines"), (CRITICAL, "loud"),
            (ERROR, "without a handler"), (DEBUG, "d"), (INFO, "l"), (INFO, "i"), (WARNING, 'w {"n":1}'), (ERROR, "e"),
            (INFO, "plain"),
        ]  # fmt: skip
        worker.stop()
        assert logging.Logger.callHandlers is plain, "it is undone at the end"
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def test_beats_come_while_the_loop_is_busy_and_pings_do_not_pass_it(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.event(act, "run", "import time; time.sleep(1.2)")
    worker.send(channel.PING, 7)
    worker.wait(lambda frame: frame[0] == channel.BEAT, 1.0)
    worker.wait(lambda frame: frame[0] == channel.BEAT, 1.0)
    assert [channel.PONG, 7] not in worker.frames
    worker.wait(lambda frame: frame == [channel.PONG, 7])


# The node's protocol


@pytest.mark.parametrize(
    "message",
    [
        (99,),
        (channel.HELLO, 5),
        (channel.OPEN, 5),
        (channel.OPEN, 5, "Nothing", bytes(32), None, 0, b""),
        (channel.OPEN, 5, "Counter", bytes(31), None, 0, b""),
        (channel.OPEN, 5, "Counter", bytes(32), None, 1, bytes(9)),
        (channel.OPEN, 5, "Counter", bytes(32), None, 1, bytes(2048)),
        (channel.OPEN, 0, "Counter", bytes(32), None, 0, b""),
    ],
)
def test_a_node_that_breaks_the_protocol_loses_its_worker(worker: WorkerHarness, message: tuple[Any, ...]):
    worker.send(*message)
    with pytest.raises(AssertionError, match="closed"):
        worker.wait(lambda frame: False, 5)


def test_a_large_commit_travels_in_pieces_between_other_frames(worker: WorkerHarness):
    act, other = worker.open("Counter"), worker.open("Counter")
    code = "for i in range(4): self.ctx.storage.kv.put(f'k{i}', os.urandom(1_000_000))"
    call = worker.event(act, "run", code)
    small = worker.event(other, "increment")
    assert worker.answer(small) == 1
    worker.answer(call)
    worker.settle()
    order = [frame[1] for frame in worker.frames if frame[0] == channel.TURN]
    assert order == [other, act], "the small one passed between the pieces"
    assert worker.replicas[act].commits == 1
