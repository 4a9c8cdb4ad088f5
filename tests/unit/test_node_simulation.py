"""The simulator of whole nodes: a seed is a history, its etcd is one, and its judge sees what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.simulation.ledger import Violation
from tests.simulation.mutants import ROOT
from tests.simulation.node.clients import Call, Clients, Thing
from tests.simulation.node.etcd import Store
from tests.simulation.node.loop import Clock, Loop
from tests.simulation.node.run import Tally, too_easy
from tests.simulation.node.workers import PASSED, READ, WRITE, decode_alarms, decode_list, encode_list, to_pages

from homing.errors import OutcomeUnknown, Unavailable
from homing_placement.etcd import Compare, Put
from homing_placement.etcd import api_pb2 as api
from homing_placement.etcd.model import txn_request

SEED = 7


def replay(hash_seed: str, seed: int) -> str:
    return subprocess.run(
        [sys.executable, "tests/simulation/node/run.py", "--seed", str(seed), "-v"],
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def test_a_seed_is_the_same_history_in_another_process() -> None:
    """Seen to fail when a fault takes the names of processes from a set: its order changes from process to process."""
    first = replay("1", SEED)
    assert first.count("\n") > 500
    assert first == replay("2", SEED)


def test_runs_that_are_too_easy_do_not_pass() -> None:
    assert len(list(too_easy(Tally(runs=100, acknowledged=100)))) > 20


# -- loops --------------------------------------------------------------------------------------------------------


def test_a_process_that_is_stopped_goes_on_later_and_one_that_has_ended_does_not() -> None:
    """Seen to fail when `_step` does not look whether the loop is paused, and whether it is alive."""
    clock, said = Clock(pytest.fail), list[str]()
    one, two = Loop(clock, "one"), Loop(clock, "two")
    one.call_later(1.0, said.append, "one")
    two.call_later(2.0, said.append, "two")
    one.pause()
    clock.run_until(3.0)
    assert said == ["two"]
    one.resume()
    two.call_later(1.0, said.append, "never")
    two.end()
    clock.run_until(5.0)
    assert said == ["two", "one"]


# -- etcd ---------------------------------------------------------------------------------------------------------


class Watch:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.replies: list[api.WatchResponse] = []

    def told(self, reply: api.WatchResponse) -> None:
        self.replies.append(reply)

    def keys(self) -> list[bytes]:
        return [event.kv.key for reply in self.replies for event in reply.events]


def store() -> Store:
    return Store(lambda: now[0], lambda key, value, revision: None)


now = [0.0]


def put(one: Store, key: bytes, value: bytes, expected: int | None = None, lease: int = 0) -> api.TxnResponse:
    compares = [] if expected is None else [Compare.mod(key, expected)]
    return one.txn(txn_request(compares, [Put(key, value, lease)], [], [key] if compares else []))


def test_a_transaction_compares_revisions_and_reads_what_is_there_otherwise() -> None:
    """Seen to fail when `_holds` compares nothing."""
    one = store()
    first = put(one, b"/a", b"1", expected=0)
    assert first.succeeded
    refused = put(one, b"/a", b"2", expected=0)
    assert not refused.succeeded
    assert refused.responses[0].response_range.kvs[0].value == b"1"
    assert put(one, b"/a", b"2", expected=first.header.revision).succeeded
    assert [kv.version for kv in one.range(api.RangeRequest(key=b"/", range_end=b"0")).kvs] == [2]


def test_a_lease_that_is_kept_alive_lives_and_its_keys_go_with_it() -> None:
    """Seen to fail when `keep_alive` prolongs nothing, and when a lease leaves its keys behind."""
    one = store()
    lease = one.grant(api.LeaseGrantRequest(TTL=6)).ID
    put(one, b"/n", b"1", lease=lease)
    now[0] = 5.0
    assert one.keep_alive(api.LeaseKeepAliveRequest(ID=lease)).TTL == 6
    now[0] = 10.0
    one.expire()
    assert b"/n" in one.keys
    now[0] = 11.0
    one.expire()
    assert b"/n" not in one.keys
    assert one.keep_alive(api.LeaseKeepAliveRequest(ID=lease)).TTL == 0
    with pytest.raises(grpc.aio.AioRpcError):
        put(one, b"/n", b"2", lease=lease)


def test_a_watch_is_told_what_it_missed_unless_that_is_compacted() -> None:
    """Seen to fail when `watch` looks at no history, and when it looks at no compaction."""
    one = store()
    revision = put(one, b"/a", b"1").header.revision
    put(one, b"/b", b"1")
    late: Any = Watch()
    one.watch(late, api.WatchCreateRequest(key=b"/", range_end=b"0", start_revision=revision + 1))
    put(one, b"/c", b"1")
    assert late.keys() == [b"/b", b"/c"]
    one.compact()
    too_late: Any = Watch()
    one.watch(too_late, api.WatchCreateRequest(key=b"/", range_end=b"0", start_revision=revision + 1))
    assert [reply.compact_revision > 0 for reply in too_late.replies] == [True]


# -- the judge ----------------------------------------------------------------------------------------------------


def judge() -> tuple[Clients, Thing]:
    """A judge without a world that runs."""
    clients = object.__new__(Clients)
    world: Any = SimpleNamespace(tracing=False, fired=Counter(), rough=False)
    clients.world = world
    clients.open, clients.acknowledged, clients.reads, clients.unknown, clients.refused = {}, 0, 0, 0, 0
    clients.passes, clients._passed = 0, []
    thing = Thing("o", 0, b"")
    clients.things = [thing]
    return clients, thing


def call(clients: Clients, thing: Thing, number: int, what: bytes = WRITE, key: str = "") -> Call:
    client: Any = SimpleNamespace(ended=lambda: None)
    one = Call(number, thing, what, key, 0.0, 0.0, len(thing.truth), client)
    one.sendings = 1
    clients.open[one] = None
    return one


def test_the_judge_sees_what_is_lost_and_what_ran_twice() -> None:
    """Seen to fail when `answered` does not look for the number, or for the floor, or `_take` for doubles."""
    clients, thing = judge()
    clients.answered(call(clients, thing, 1), encode_list([1]))
    with pytest.raises(Violation, match="is not in the list"):
        clients.answered(call(clients, thing, 2), encode_list([1]))
    with pytest.raises(Violation, match="were told before"):
        clients.answered(call(clients, thing, 3, READ), encode_list([]))
    with pytest.raises(Violation, match="two histories"):
        clients.answered(call(clients, thing, 4), encode_list([4]))
    with pytest.raises(Violation, match="ran twice"):
        clients.answered(call(clients, thing, 5), encode_list([1, 5, 5]))
    thing.acknowledged.add(9)
    clients.things = [thing]
    with pytest.raises(Violation, match="are lost"):
        clients.check_all()


def test_the_judge_sees_a_call_that_was_refused_and_ran() -> None:
    """Seen to fail when `failed` takes every error for an unknown outcome, or `_take` forgets what was refused."""
    clients, thing = judge()
    clients.failed(call(clients, thing, 1), Unavailable())
    with pytest.raises(Violation, match="were refused as not run"):
        clients.answered(call(clients, thing, 2, READ), encode_list([1]))
    clients, thing = judge()
    clients.failed(call(clients, thing, 1), OutcomeUnknown())
    clients.answered(call(clients, thing, 2, READ), encode_list([1]))


def test_a_list_is_the_same_out_of_its_pages() -> None:
    numbers = list(range(1, 600))
    pages = b"".join(to_pages(numbers, {7: 1 << 40, 9: 3}))
    assert list(decode_list(pages)) == numbers
    assert decode_alarms(pages) == {7: 1 << 40, 9: 3}


def test_the_judge_sees_calls_of_objects_that_overtake_are_refused_and_run_or_act_on_what_is_lost() -> None:
    first, second = PASSED
    clients, thing = judge()
    with pytest.raises(Violation, match="overtook"):
        clients.answered(call(clients, thing, 9, READ), encode_list([1 | second, 1 | first]))
    clients, thing = judge()
    clients.passed("o", 1 | first, done=False, refused=True)
    with pytest.raises(Violation, match="refused"):
        clients.answered(call(clients, thing, 9, READ), encode_list([1 | first]))
    clients, thing = judge()
    clients.passed("o", 1 | first, done=True, refused=False)
    with pytest.raises(Violation, match="acknowledged"):
        clients.check_all()
    clients, thing = judge()
    clients._passed = [(Thing("p", 0, b""), thing, 1)]
    clients.answered(call(clients, thing, 9, READ), encode_list([1 | first]))
    with pytest.raises(Violation, match="is lost"):
        clients.check_all()
