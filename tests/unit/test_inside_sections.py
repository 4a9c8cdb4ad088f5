"""The input gate, block_concurrency_while and async transactions, seen from the node and in the gate itself."""

import contextvars
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homing_node.workers.inside import channel
from homing_node.workers.inside.gates import InputGate, Section, current_section
from worker_harness import Failed, WorkerHarness

# The gate itself


def run_in(section: Section | None, function: Callable[[], Any]) -> Any:
    context = contextvars.copy_context()
    context.run(current_section.set, section)
    return context.run(function)


def test_a_section_admits_itself_only_and_siblings_follow_in_order():
    gate = InputGate()
    started: list[str] = []
    assert gate.is_open
    first = gate.begin(lambda: started.append("first"))
    second = gate.begin(lambda: started.append("second"))
    third = gate.begin(lambda: started.append("third"))
    assert started == ["first"]
    assert not gate.is_open
    assert not gate.admits()
    assert run_in(first, gate.admits)
    assert not run_in(second, gate.admits)
    gate.end(second)  # gave up waiting
    gate.end(first)
    assert started == ["first", "third"]
    assert not gate.is_open
    gate.end(third)
    assert gate.is_open


def test_siblings_start_in_the_order_in_which_they_came():
    """Broken by: starting the one that came last."""
    gate = InputGate()
    started: list[int] = []
    sections = [gate.begin(lambda n=n: started.append(n)) for n in range(4)]
    for section in sections:
        gate.end(section)
    assert started == [0, 1, 2, 3]
    assert gate.is_open


def test_sections_nest_and_the_innermost_holds():
    gate = InputGate()
    outer = gate.begin(lambda: None)
    inner = run_in(outer, lambda: gate.begin(lambda: None))
    assert inner.active
    assert not run_in(outer, gate.admits)
    assert run_in(inner, gate.admits)
    gate.end(inner)
    assert run_in(outer, gate.admits)
    assert run_in(inner, gate.admits), "what the inner section left running goes on as part of the outer"
    gate.end(outer)
    assert gate.is_open


def test_a_section_of_another_gate_counts_for_nothing():
    one, other = InputGate(), InputGate()
    section = one.begin(lambda: None)
    other_section = run_in(section, lambda: other.begin(lambda: None))
    assert other_section.active
    assert not run_in(section, other.admits)


# block_concurrency_while


def test_events_wait_for_the_constructors_block(worker: WorkerHarness):
    act = worker.open("Migrating")
    calls = [worker.event(act, "order") for _ in range(3)]
    assert [worker.answer(call)[-1] for call in calls] == ["call"] * 3
    assert worker.answer(calls[2]) == ["init", "begin", "end", "call", "call", "call"]


def test_events_wait_for_a_block_and_then_run_in_order(worker: WorkerHarness, tmp_path: Path):
    """The block goes on until every event has come. Broken by: delivering while the gate is held."""
    act = worker.open("Counter")
    over = tmp_path / "over"
    code = f"""
self.seen = []
async def block():
    self.ctx.storage.kv.put('begun', 1)
    while not os.path.exists({str(over)!r}):
        await asyncio.sleep(0.001)
    self.seen.append('block')
    return 'done'
return await self.ctx.block_concurrency_while(block)"""
    blocked = worker.event(act, "arun", code)
    worker.wait(lambda frame: frame[0] == channel.TURN and frame[2] == 1)
    calls = [worker.event(act, "run", f"self.seen.append({n}); result = self.seen") for n in range(3)]
    worker.settle()
    over.touch()
    assert worker.answer(calls[2]) == ["block", 0, 1, 2]
    assert worker.answer(blocked) == "done"


def test_other_handlers_and_timers_pause_while_the_gate_is_held(worker: WorkerHarness):
    """Broken by: stepping tasks without asking the gate."""
    act = worker.open("Counter")
    ticking = """
self.seen = []
asyncio.get_running_loop().call_later(0.03, self.seen.append, 'timer')
for _ in range(8):
    await asyncio.sleep(0.01)
    self.seen.append('tick')
return self.seen"""
    tick = worker.event(act, "arun", ticking)
    code = """
await asyncio.sleep(0.005)
async def block():
    self.seen.append('begin')
    await asyncio.sleep(0.06)
    self.seen.append('end')
await self.ctx.block_concurrency_while(block)"""
    worker.call(act, "arun", code)
    seen = worker.answer(tick)
    at = seen.index("begin")
    assert seen[at + 1] == "end"
    assert sorted(seen) == sorted(["begin", "end", "timer", *["tick"] * 8])


def test_a_timer_that_waits_for_the_gate_can_still_be_cancelled(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
self.fired = []
timer = asyncio.get_running_loop().call_later(0.005, self.fired.append, 1)
async def block():
    await asyncio.sleep(0.03)
    timer.cancel()
await self.ctx.block_concurrency_while(block)
await asyncio.sleep(0.01)
return [self.fired, timer.cancelled()]"""
    assert worker.call(act, "arun", code) == [[], True]
    assert worker.close(act) is True


def test_blocks_nest_and_siblings_take_turns(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
seen = []
def block(name, inner=None):
    async def body():
        seen.append(name + '(')
        await asyncio.sleep(0.005)
        if inner:
            await self.ctx.block_concurrency_while(inner)
        await asyncio.sleep(0.005)
        seen.append(')' + name)
    return body
await asyncio.gather(
    self.ctx.block_concurrency_while(block('a', block('b'))),
    self.ctx.block_concurrency_while(block('c')),
)
return ' '.join(seen)"""
    assert worker.call(act, "arun", code) == "a( b( )b )a c( )c"
    assert worker.close(act) is True


def test_a_block_that_raises_resets_the_object(worker: WorkerHarness):
    act = worker.open("Counter")
    worker.call(act, "increment")
    code = """
async def block():
    self.ctx.storage.kv.put('n', 100)
    raise ValueError('bad migration')
self.ctx.block_concurrency_while(block)"""
    worker.event(act, "run", code)
    reset = worker.wait(lambda frame: frame[0] == channel.RESET)
    assert reset[1:3] == [act, "object-reset"]
    assert "ValueError: bad migration" in reset[3]
    worker.settle()
    assert worker.commits[act] == 1
    assert worker.call(worker.reopen(act, "Counter"), "read") == 1


def test_a_block_that_takes_too_long_resets_the_object(start: Callable[..., WorkerHarness]):
    """Broken by: a timer of the object's own for the limit (it waits behind the very gate that it should break)."""
    worker = start(limits={"block_concurrency_s_max": 0.05})
    act = worker.open("Counter")
    worker.event(act, "run", "self.ctx.block_concurrency_while(lambda: asyncio.sleep(60))")
    reset = worker.wait(lambda frame: frame[0] == channel.RESET, 2)
    assert "too long" in reset[3]
    act = worker.open("Counter")
    worker.event(act, "arun", "await self.ctx.storage.transaction(lambda txn: asyncio.sleep(60))")
    assert worker.wait(lambda frame: frame[0] == channel.RESET, 2)[1] == act


# Async transactions


def test_a_transaction_is_one_commit_and_effects_wait_for_it(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
async def body(txn):
    await txn.put('a', 1)
    await asyncio.sleep(0.02)
    self.ctx.storage.kv.put('b', 2)
    await asyncio.sleep(0.02)
    return await txn.get('a')
return await self.ctx.storage.transaction(body)"""
    call = worker.event(act, "arun", code)
    read = worker.event(act, "give", "self.ctx.storage.kv.list()")
    assert worker.answer(call) == 1
    assert worker.answer(read) == [["a", 1], ["b", 2]]
    frames = [frame for frame in worker.frames if frame[0] == channel.TURN and frame[1] == act]
    assert [frame[2] for frame in frames if frame[3] is not None] == [1]
    assert frames[0][4] == call


def test_a_transaction_that_raises_is_undone_and_what_came_before_stays(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
kv = self.ctx.storage.kv
kv.put('before', 1)
async def body(txn):
    kv.put('inside', 1)
    await asyncio.sleep(0.01)
    kv.put('inside2', 1)
    raise KeyError('no')
try:
    await self.ctx.storage.transaction(body)
except KeyError:
    kv.put('after', 1)
return [key for key, _ in kv.list()]"""
    assert worker.call(act, "arun", code) == ["after", "before"]
    assert [key for key, _ in worker.call(worker.reopen(act, "Counter"), "give", "self.ctx.storage.kv.list()")] == [
        "after", "before",
    ]  # fmt: skip


def test_rollback_inside_a_transaction_and_nested_ones(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
storage = self.ctx.storage
async def inner(txn):
    storage.kv.put('inner', 1)
    await asyncio.sleep(0)
    raise ValueError
async def body(txn):
    storage.kv.put('a', 1)
    txn.rollback()
    storage.kv.put('b', 1)
    try:
        await storage.transaction(inner)
    except ValueError:
        pass
    storage.transaction_sync(lambda: storage.kv.put('c', 1))
await storage.transaction(body)
return [key for key, _ in storage.kv.list()]"""
    assert worker.call(act, "arun", code) == ["b", "c"]


def test_transactions_of_one_object_do_not_mix(worker: WorkerHarness):
    """Broken by: stepping tasks without asking the gate (one task's rollback takes the other's writes)."""
    act = worker.open("Counter")
    code = """
storage = self.ctx.storage
def body(name, fails):
    async def inside(txn):
        storage.kv.put(name, 1)
        await asyncio.sleep(0.01)
        if fails:
            raise ValueError
    return inside
async def plain():
    for _ in range(3):
        await asyncio.sleep(0)
    storage.kv.put('plain', 1)
await asyncio.gather(
    storage.transaction(body('a', True)), storage.transaction(body('b', False)), plain(), return_exceptions=True)
return [key for key, _ in storage.kv.list()]"""
    assert worker.call(act, "arun", code) == ["b", "plain"]


def test_a_transaction_too_large_fails_where_it_ends(start: Callable[..., WorkerHarness]):
    worker = start(limits={"commit_bytes_max": 64 * 1024})
    act = worker.open("Counter")
    code = """
async def body(txn):
    for i in range(10):
        self.ctx.storage.kv.put(f'k{i}', os.urandom(10_000))
        await asyncio.sleep(0)
try:
    await self.ctx.storage.transaction(body)
except StorageError as error:
    self.ctx.storage.kv.put('told', error.code)
return self.ctx.storage.kv.list()"""
    assert worker.call(act, "arun", code) == [["told", "commit-too-large"]]


def test_an_abort_in_a_transaction_drops_it(worker: WorkerHarness):
    act = worker.open("Counter")
    code = """
async def body(txn):
    self.ctx.storage.kv.put('a', 1)
    await asyncio.sleep(60)
await self.ctx.storage.transaction(body)"""
    worker.event(act, "arun", code)
    worker.settle()
    assert worker.close(act) is False
    worker.abort(act)
    time.sleep(0.02)
    worker.settle()
    assert act not in worker.commits


def test_sync_ends_the_transaction_there(worker: WorkerHarness):
    act = worker.open("Counter")
    code = "kv = self.ctx.storage.kv\nkv.put('a', 1)\nawait self.ctx.storage.sync()\nkv.put('b', 1)\nreturn 1"
    call = worker.event(act, "arun", code)
    assert worker.answer(call) == 1
    commits = [frame for frame in worker.frames if frame[0] == channel.TURN and frame[2]]
    assert [(frame[2], frame[4]) for frame in commits] == [(1, call), (2, call)]


def test_a_deferred_foreign_key_fails_the_call_at_its_commit(worker: WorkerHarness):
    act = worker.open("Counter")
    sql = "self.ctx.storage.sql.exec"
    worker.call(act, "run", f"{sql}('CREATE TABLE p(id INTEGER PRIMARY KEY)')")
    worker.call(act, "run", f"{sql}('CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED)')")
    with pytest.raises(Failed) as caught:
        worker.call(act, "run", f"{sql}('INSERT INTO c VALUES (1)')")
    assert caught.value.code == "storage-error"
    assert "FOREIGN KEY" in caught.value.message
    assert worker.call(act, "give", "self.ctx.storage.sql.exec('SELECT count(*) AS n FROM c').one()['n']") == 0
