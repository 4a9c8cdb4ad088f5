"""The simulator of whole nodes: a seed is a history, its etcd is one, and its judge sees what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.simulation.ledger import Violation
from tests.simulation.mutants import ROOT
from tests.simulation.node.clients import Call, Clients
from tests.simulation.node.connections import Connection, Connections
from tests.simulation.node.etcd import Store
from tests.simulation.node.lists import (
    ACCEPT,
    ADDED,
    DELETE,
    LIFE,
    PASSED,
    QUIT,
    RANG,
    READ,
    WRITE,
    decode_alarms,
    decode_list,
    encode_list,
    encode_said,
    to_pages,
)
from tests.simulation.node.lives import Thing
from tests.simulation.node.loop import Clock, Loop
from tests.simulation.node.run import Tally, too_easy

from homing.errors import HomingError, NotFound, OutcomeUnknown, Unavailable
from homing_gateway.sockets import BINARY, CLOSE, Outgoing
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

FIRST = 1 | LIFE
SECOND = 2 | LIFE


class Judge:
    """A judge without a world that runs: a test says what clients are told, one moment after the other."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clients = object.__new__(Clients)
        self.world: Any = SimpleNamespace(
            tracing=False, fired=Counter(), rough=False, clock=self, clients=self.clients, served_at={0: 0.0},
            plan=SimpleNamespace(visitors=0), random=Random(1), after=lambda *_: None,
        )  # fmt: skip
        self.world.connections = self.connections = Connections(self.world)
        clients = self.clients
        clients.world = self.world
        clients.open, clients.acknowledged, clients.reads, clients.unknown, clients.refused = {}, 0, 0, 0, 0
        clients.passes, clients.deletions, clients._number, clients._passed = 0, 0, 100, []
        self.thing = Thing("o", 0, b"")
        clients.things = [self.thing]

    def after(self, *_: Any) -> None:
        """Nothing happens by itself."""

    def later(self) -> float:
        self.now = self.world.now = self.now + 1.0
        return self.now

    def call(self, number: int, what: bytes = WRITE, key: str = "") -> Call:
        client: Any = SimpleNamespace(ended=lambda: None)
        one = Call(number, self.thing, what, key, 0.0, self.thing.asked(self.later()), client)
        one.sendings = 1
        if what == DELETE:
            one.deletion = self.thing.deletion(self.now)
        self.clients.open[one] = None
        return one

    def told(self, call: Call, *numbers: int, life: int = FIRST) -> None:
        self.later()
        self.clients.answered(call, encode_list([life, *numbers] if numbers else []))

    def reads(self, *numbers: int, life: int = FIRST) -> None:
        self.told(self.call(99, READ), *numbers, life=life)

    def deletes(self, error: HomingError | None = None) -> None:
        call = self.call(98, DELETE)
        self.later()
        self.clients.deleted(call, error)

    def connects(self, number: int = 1) -> Connection:
        """A connection to the object, whose list is as it is told then."""
        call = self.call(number, ACCEPT)
        gateway: Any = SimpleNamespace(id="g1", loop=None, hub=None)
        connection = self.connections.opens(gateway, number * 10, call)
        self.told(call, number)
        return connection


def adds(connection: Connection, place: int, number: int) -> None:
    connection._told(Outgoing(BINARY, encode_said(ADDED, place, number)))


def closes(connection: Connection, code: int) -> None:
    connection._told(Outgoing(CLOSE, b"", code))


@pytest.fixture
def judge() -> Judge:
    return Judge()


def test_the_judge_sees_what_is_lost_and_what_ran_twice(judge: Judge) -> None:
    """Seen to fail when `answered` does not look for the number, or `told` for the floor, or `grow` for doubles."""
    judge.told(judge.call(1), 1)
    with pytest.raises(Violation, match="is not in the list"):
        judge.told(judge.call(2), 1)
    judge.told(judge.call(3), 1, 3)
    with pytest.raises(Violation, match="were told before"):
        judge.reads(1)
    with pytest.raises(Violation, match="are lost"):
        judge.reads()
    with pytest.raises(Violation, match="two histories"):
        judge.told(judge.call(4), 1, 4)
    with pytest.raises(Violation, match="ran twice"):
        judge.told(judge.call(5), 1, 3, 5, 5)
    judge.thing.acknowledged.add(9)
    with pytest.raises(Violation, match="are lost"):
        judge.clients.check_all()


def test_the_judge_sees_a_call_that_was_refused_and_ran(judge: Judge) -> None:
    """Seen to fail when `failed` takes every error for an unknown outcome, or `grow` forgets what was refused."""
    judge.clients.failed(judge.call(1), Unavailable())
    with pytest.raises(Violation, match="refused as not run"):
        judge.reads(1)
    unknown = Judge()
    unknown.clients.failed(unknown.call(1), OutcomeUnknown())
    unknown.reads(1)


def test_a_list_is_the_same_out_of_its_pages() -> None:
    numbers = list(range(1, 600))
    pages = b"".join(to_pages(numbers, {7: 1 << 40, 9: 3}))
    assert decode_list(pages) == numbers
    assert decode_alarms(pages) == {7: 1 << 40, 9: 3}


def test_the_judge_sees_calls_of_objects_that_overtake_are_refused_and_run_or_act_on_what_is_lost() -> None:
    first, second = PASSED
    with pytest.raises(Violation, match="overtook"):
        Judge().reads(1 | second, 1 | first)
    judge = Judge()
    judge.clients.passed("o", 1 | first, done=False, refused=True)
    with pytest.raises(Violation, match="refused"):
        judge.reads(1 | first)
    judge = Judge()
    judge.clients.passed("o", 1 | first, done=True, refused=False)
    with pytest.raises(Violation, match="acknowledged"):
        judge.clients.check_all()
    judge = Judge()
    judge.clients._passed = [(Thing("p", 0, b""), judge.thing, 1)]
    judge.reads(1 | first)
    with pytest.raises(Violation, match="is lost"):
        judge.clients.check_all()


def test_what_is_deleted_is_gone_and_what_follows_begins_anew(judge: Judge) -> None:
    judge.told(judge.call(1), 1)
    judge.deletes()
    judge.reads()
    judge.told(judge.call(2), 2, life=SECOND)
    judge.deletes()
    judge.reads()
    judge.deletes(NotFound())


def test_the_judge_sees_what_comes_back_after_its_deletion(judge: Judge) -> None:
    """Seen to fail when `deleted` notes nothing, or `told` does not look whether a life is over."""
    judge.told(judge.call(1), 1)
    late = judge.call(50, READ)
    judge.deletes()
    judge.told(late, 1)  # it was asked before
    with pytest.raises(Violation, match="deleted before"):
        judge.reads(1)


def test_the_judge_sees_an_object_that_is_gone_though_nobody_deleted_it(judge: Judge) -> None:
    """Seen to fail when `ended` asks nobody, and when any deletion will do, however long ago."""
    judge.told(judge.call(1), 1)
    with pytest.raises(Violation, match="nobody deleted"):
        judge.told(judge.call(2), 2, life=SECOND)
    judge = Judge()
    judge.deletes(NotFound())
    judge.told(judge.call(1), 1)
    with pytest.raises(Violation, match="nobody deleted"):
        judge.deletes(NotFound())
    judge = Judge()
    judge.told(judge.call(1), 1)
    judge.deletes(Unavailable())  # it may come about later
    judge.reads(1)
    judge.reads()
    with pytest.raises(Violation, match="deleted before"):
        judge.reads(1)


def test_the_judge_sees_a_call_without_a_key_that_ran_before_a_deletion_and_after_it(judge: Judge) -> None:
    judge.thing.keyed.add(1)
    judge.told(judge.call(1, key="k"), 1)
    judge.told(judge.call(2), 1, 2)
    judge.deletes()
    judge.reads(1, life=SECOND)
    with pytest.raises(Violation, match="ran twice"):
        judge.reads(1, 2, life=SECOND)


def test_the_judge_sees_an_alarm_of_what_was_deleted(judge: Judge) -> None:
    judge.told(judge.call(1), 1)
    judge.deletes()
    with pytest.raises(Violation, match="was not set"):
        judge.reads(2, 1 | RANG, life=SECOND)


def test_the_judge_sees_what_is_said_twice_left_out_or_of_another_list(judge: Judge) -> None:
    """Seen to fail when `_told` does not look at places, and when `told_one` compares nothing."""
    connection = judge.connects()
    adds(connection, 2, 7)
    for place in (2, 4):
        with pytest.raises(Violation, match="comes next"):
            adds(connection, place, 8)
    judge.reads(1, 7, 9)
    with pytest.raises(Violation, match="two histories"):
        adds(connection, 3, 8)
    assert connection.waits()


def test_the_judge_sees_messages_that_overtake_or_get_lost(judge: Judge) -> None:
    """Seen to fail when `handled` does not compare with what was sent."""
    connection = judge.connects()
    for _ in range(2):
        connection.says(WRITE)
    first, second = connection._sent
    assert connection.waits()
    with pytest.raises(Violation, match="comes before it"):
        judge.reads(1, second)
    judge = Judge()
    connection = judge.connects()
    for _ in range(2):
        connection.says(WRITE)
    adds(connection, 2, first)
    adds(connection, 3, second)
    assert not connection.waits()
    judge.deletes()
    with pytest.raises(Violation, match="ran twice"):
        judge.reads(first, life=SECOND)


def test_the_judge_sees_a_socket_that_is_closed_for_no_reason(judge: Judge) -> None:
    """Seen to fail when any code will do; also when 1011 does, once its object was deleted."""
    for code in (1000, 1001, 1006, 1011, 1012, 1013):
        judge = Judge()
        connection = judge.connects()
        judge.connections.held(10)
        with pytest.raises(Violation):
            closes(connection, code)
    judge = Judge()
    connection = judge.connects()
    connection.says(QUIT)
    adds(connection, 2, connection._sent[0])
    closes(connection, 1000)
    assert not connection.open
    judge = Judge()
    connection = judge.connects()
    judge.deletes()
    assert connection.waits(), "it is to be closed"
    with pytest.raises(Violation):
        closes(connection, 1011)
    closes(connection, 1001)
    assert not connection.waits()


def test_the_judge_sees_a_socket_that_is_given_up_too_early(judge: Judge) -> None:
    """Seen to fail when `gives_up` does not look when it was held."""
    connection = judge.connects()
    judge.connections.held(10)
    with pytest.raises(Violation, match="its object hears"):
        judge.connections.heard_of_end(10, code=1006)
    judge.now += 10.0
    judge.later()
    with pytest.raises(Violation, match="given up"):
        judge.connections.gives_up(10)
    judge.now += 10.0
    judge.later()
    judge.connections.gives_up(10)
    judge.connections.heard_of_end(10, code=1006)
    closes(connection, 1001)
    assert not connection.open
