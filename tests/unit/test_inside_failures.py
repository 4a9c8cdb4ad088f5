"""Calls that fail, activations that end, and commits that are refused, as the node sees them."""

import gc
import json
import time
from collections.abc import Callable

import pytest

from homing_node.workers.inside import channel
from homing_node.workers.inside.activation import Activation
from worker_harness import Failed, WorkerHarness

# Failures


@pytest.mark.parametrize(
    "method", ["nothing", "_private", "fetch", "alarm", "constant", "static", "__init__", "ctx", ""]
)
def test_what_is_not_a_public_method_is_not_found(worker: WorkerHarness, method: str):
    assert worker.failure(worker.open("Broken" if not method else "Counter"), method).code == "not-found"


def test_wrong_arguments_are_the_callers_fault(worker: WorkerHarness):
    act = worker.open("Counter")
    error = worker.failure(act, "increment", 1, 2, 3)
    assert error.code == "bad-request"
    assert "increment" in error.message
    assert worker.failure(act, "arun").code == "bad-request"
    inside = worker.failure(act, "run", "len(1, 2)")
    assert (inside.code, inside.error_type) == ("application-error", "TypeError")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"1", b"null", b'{"args": 1}', b'{"kwargs": []}', b'{"name": "x"}', b'{"args": [NaN]}',
        b'{"args": [{"$bytes": 5}]}', b'{"args": [{"$set": [[{"a": 1}]]}]}', b'{"args": [{"$datetime": "no"}]}',
        b'{"args":' + b"[" * 5_000, b'{"args":' + b"[" * 900 + b"]" * 900 + b', "x": 1}', b'{"args": ["\xff"]}',
        b'{"args": [{"\\u0024bytes": 1}]}', b'{"args": [1e999]}',
    ],
)  # fmt: skip
def test_bad_bodies_are_refused_before_the_constructor_runs(worker: WorkerHarness, body: bytes):
    """Broken by: constructing first (Broken's constructor raises, which would be the answer)."""
    act = worker.open("Broken")
    with pytest.raises(Failed) as caught:
        worker.answer(worker.event(act, "hello", body=body))
    assert caught.value.code == "bad-request"


def test_values_travel_both_ways(worker: WorkerHarness):
    act = worker.open("Counter")
    big = 2**200
    body = json.dumps({"args": [big, {"$bytes": "aGk="}, {"$set": [1]}, 1.5, None, "é"], "kwargs": {"k": [True]}})
    args, kwargs = worker.answer(worker.event(act, "echo", body=body.encode()))
    assert args == [big, {"$bytes": "aGk="}, {"$set": [1]}, 1.5, None, "é"]
    assert kwargs == {"k": [True]}
    for what in ("0", "-1", "2**63 - 1", "-2**63", "2**63", "True", "None", "'a\\n\"'", "[]", "{'a': (1, 2)}"):
        result = worker.call(act, "give", what)
        assert result == json.loads(json.dumps(eval(what)))
        assert type(result) is type(json.loads(json.dumps(eval(what))))
    assert worker.answer(worker.event(act, "increment", body=b"{}")) == 1


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("object()", "object"),
        ("{1: 2}", "int"),
        ("[lambda: 1]", "function"),
        ("float('nan')", "nan"),
        ("[1e999]", "inf"),
    ],
)
def test_a_result_that_cannot_be_sent_is_an_application_error_that_names_it(
    worker: WorkerHarness, what: str, named: str
):
    error = worker.failure(worker.open("Counter"), "give", what)
    assert error.code == "application-error"
    assert named in error.message


def test_an_exception_is_answered_and_its_traceback_logged(worker: WorkerHarness):
    act = worker.open("Counter")
    for method in ("run", "arun"):
        call = worker.event(act, method, "raise KeyError('nope')")
        with pytest.raises(Failed) as caught:
            worker.answer(call)
        assert (caught.value.code, caught.value.error_type) == ("application-error", "KeyError")
        log = worker.logs("traceback")[-1]
        assert log[1:3] == [act, f"req-{call}"]
        assert "KeyError: 'nope'" in log[4]


def test_writes_before_a_raise_stay_and_those_in_a_transaction_do_not(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.failure(act, "run", "self.ctx.storage.kv.put('a', 1); raise ValueError")
    code = """
kv = self.ctx.storage.kv
kv.put('b', 1)
def body():
    kv.put('c', 1)
    raise ValueError
self.ctx.storage.transaction_sync(body)"""
    worker.failure(act, "run", code)
    assert worker.call(act, "give", "self.ctx.storage.kv.list()") == [["a", 1], ["b", 1]]


@pytest.mark.parametrize(
    "code", ["raise SystemExit(1)", "sys.exit()", "raise KeyboardInterrupt", "raise GeneratorExit"]
)
def test_code_that_wants_to_end_the_process_ends_its_call_only(worker: WorkerHarness, code: str):
    act = worker.open("Counter")
    assert worker.failure(act, "run", code).code == "application-error"
    if "Generator" not in code:
        assert worker.failure(act, "arun", code).code == "application-error"
        assert worker.failure(act, "arun", f"async def f():\n    {code}\nawait asyncio.create_task(f())").code
    worker.call(act, "arun", "asyncio.get_running_loop().call_soon(sys.exit)\nawait asyncio.sleep(0)")
    worker.call(act, "arun", "asyncio.get_running_loop().call_later(0, sys.exit)\nawait asyncio.sleep(0.01)")
    assert worker.call(act, "increment") == 1


def test_no_memory_resets_that_activation_only(worker: WorkerHarness):
    act, other = worker.open("Counter"), worker.open("Counter")
    worker.call(other, "increment")
    for method in ("run", "arun"):
        worker.event(act, method, "self.ctx.storage.kv.put('x', 1)\nraise MemoryError")
        reset = worker.wait(lambda frame: frame[0] == channel.RESET)
        assert reset[1:3] == [act, "object-reset"]
        assert act not in worker.commits, "what the turn wrote is dropped"
        act = worker.open("Counter")
    assert worker.call(other, "increment") == 2


def test_a_constructor_that_raises_is_met_by_every_waiting_call(worker: WorkerHarness):
    act = worker.open("Broken")
    error = worker.failure(act, "hello")
    assert (error.code, error.error_type, error.message) == ("application-error", "LookupError", "cannot be built")
    assert worker.wait(lambda frame: frame[0] == channel.RESET)[1:3] == [act, "object-reset"]
    assert act not in worker.commits


def test_a_deadline_that_passed_before_the_start_is_said_without_running(worker: WorkerHarness):
    act = worker.open("Migrating")
    first = worker.event(act, "order")
    late = worker.event(act, "order", _timeout_ms=1)
    assert worker.answer(first) == ["init", "begin", "end", "call"]
    with pytest.raises(Failed) as caught:
        worker.answer(late)
    assert caught.value.code == "deadline-exceeded"
    assert worker.call(act, "order") == ["init", "begin", "end", "call", "call"]


# The end of an activation


def test_an_abort_ends_everything_at_once(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
self.ctx.storage.kv.put('a', 1)
while True:
    try:
        await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        pass
    self.ctx.storage.kv.put('a', self.ctx.storage.kv.get('a') + 1)"""
    worker.event(act, "arun", code)
    worker.wait(lambda frame: frame[0] == channel.TURN and frame[2] >= 2)
    worker.abort(act)
    sent = len(worker.turns(act))
    time.sleep(0.05)
    worker.settle()
    assert len(worker.turns(act)) == sent


def test_code_of_an_ended_activation_runs_no_further_whatever_it_catches(worker: WorkerHarness):
    """Broken by: stepping coroutines of an ended activation."""
    act, other = worker.open("Counter"), worker.open("Counter")
    code = """
while True:
    try:
        await asyncio.sleep(0.002)
    except asyncio.CancelledError:
        pass
    built.append(1)"""
    worker.event(act, "arun", code)
    time.sleep(0.02)
    worker.abort(act)
    ticks = worker.call(other, "give", "len(built)")
    assert ticks > 0
    time.sleep(0.03)
    assert worker.call(other, "give", "len(built)") == ticks


def test_close_is_refused_while_something_is_to_happen(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.event(act, "arun", "await asyncio.sleep(0.05)")
    assert worker.close(act) is False
    time.sleep(0.1)
    assert worker.close(act) is True
    assert worker.close(act) is True
    act = worker.open("Counter")
    worker.call(act, "run", "self.ctx.wait_until(asyncio.sleep(0.05))")
    assert worker.close(act) is False
    time.sleep(0.1)
    assert worker.close(act) is True
    act = worker.open("Counter")
    worker.call(act, "run", "asyncio.get_running_loop().call_later(100, print).cancel()")
    assert worker.close(act) is True, "a cancelled timer does not count"


def test_ctx_abort_resets_the_object(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.call(act, "increment")
    for code in ("self.ctx.storage.kv.put('n', 9)\nself.ctx.abort('enough')",):
        worker.event(act, "arun", code)
    assert worker.wait(lambda frame: frame[0] == channel.RESET)[1:] == [act, "object-reset", "enough"]
    worker.settle()
    assert worker.commits[act] == 1
    act = worker.reopen(act, "Counter")
    worker.event(act, "run", "try:\n    self.ctx.abort()\nexcept Exception:\n    pass")
    assert worker.wait(lambda frame: frame[0] == channel.RESET)[1:3] == [act, "object-reset"]


def test_an_evicted_activation_is_freed_without_a_collection(worker: WorkerHarness):
    """Broken by: any circle of references (memory of evicted objects would wait for the collector)."""
    gc.collect()
    gc.disable()
    try:
        act = worker.open("Counter")
        worker.call(act, "increment")
        code = "async def body(txn): await txn.put('a', 1)\nawait self.ctx.storage.transaction(body)"
        worker.call(act, "arun", code)
        assert worker.close(act) is True
        worker.settle()
        assert not [found for found in gc.get_objects() if isinstance(found, Activation) and found.number == act]
    finally:
        gc.enable()


def test_an_event_for_an_activation_that_is_gone_is_passed_over(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.close(act)
    worker.event(act, "increment")
    worker.settle()
    assert not worker.turns(act)


def test_wait_until_may_write_after_the_answer_and_its_error_is_logged(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
async def later():
    await asyncio.sleep(0.01)
    self.ctx.storage.kv.put('later', 1)
    raise ValueError('after the answer')
self.ctx.wait_until(later())
result = 1"""
    assert worker.call(act, "run", code) == 1
    worker.wait(lambda frame: frame[0] == channel.LOG and "after the answer" in frame[4])
    assert worker.call(act, "give", "self.ctx.storage.kv.get('later')") == 1


def test_a_commit_over_its_limit_fails_the_call_and_undoes_its_writes(start: Callable[..., WorkerHarness]):
    worker = start(limits={"commit_bytes_max": 64 * 1024})
    act = worker.open("Counter")
    worker.call(act, "increment")
    for method in ("run", "arun"):
        error = worker.failure(act, method, "self.ctx.storage.kv.put('big', os.urandom(70_000))")
        assert error.code == "commit-too-large"
    code = """
try:
    self.ctx.storage.kv.put('big', os.urandom(70_000))
    await asyncio.sleep(0)
except StorageError as error:
    return error.code"""
    assert worker.call(act, "arun", code) == "commit-too-large"
    assert worker.call(act, "give", "self.ctx.storage.kv.list()") == [["n", 1]]
    assert worker.call(act, "run", "self.ctx.storage.kv.put('fits', os.urandom(50_000))") is None
    assert worker.call(act, "increment") == 2


def test_a_full_database_is_said(start: Callable[..., WorkerHarness]):
    worker = start(limits={"database_bytes_max": 128 * 1024})
    act = worker.open("Counter")
    worker.call(act, "increment")
    error = worker.failure(act, "run", "self.ctx.storage.kv.put('big', os.urandom(200_000))")
    assert error.code == "database-full"
    assert worker.call(act, "increment") == 2
