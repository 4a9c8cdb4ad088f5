"""`homing.testing` as an application's own tests use it: a real cluster, and hands inside it (acceptance 19)."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from homing.errors import ApplicationError, NotFound, Unavailable
from homing.testing import Cluster, ClusterProcess

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "testing"
HOUR_S = 3_600.0
WAIT_S = 15.0


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP, 3) as running:
        yield running


def look(thing: Any, key: str) -> Any:
    return [thing.calls, thing.ctx.storage.kv.get(key)]


async def add(thing: Any, *, number: int) -> int:
    await thing.ctx.storage.get("n")
    thing.ctx.storage.kv.put("n", number)
    return number


def fail(thing: Any) -> None:
    raise KeyError("no such thing")


def until(done: Any, patience_s: float = 10.0) -> None:
    deadline = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_19_code_runs_in_an_object(cluster: Cluster) -> None:
    thing = cluster.get("Thing", "run")
    assert thing.count() == [1, 1]
    assert cluster.run_in_object("Thing", "run", look, "n") == [1, 1]
    assert cluster.run_in_object("Thing", "run", add, number=41) == 41
    assert thing.count() == [2, 42], "what it wrote is stored"
    with pytest.raises(ApplicationError, match="no such thing"):
        cluster.run_in_object("Thing", "run", fail)
    with pytest.raises(TypeError, match="nothing from around it"):
        cluster.run_in_object("Thing", "run", lambda _: None)


def test_19_an_object_is_taken_out_of_memory(cluster: Cluster) -> None:
    thing = cluster.get("Thing", "evict")
    assert [thing.count(), thing.count()] == [[1, 1], [2, 2]]
    cluster.evict("Thing", "evict")
    assert thing.count() == [1, 3]
    cluster.evict("Thing", "who never was")
    thing.keep_busy()
    with pytest.raises(Unavailable, match="wait_until or a live socket"):
        cluster.evict("Thing", "evict")


@pytest.mark.parametrize("web_sockets", ["hibernate", "close"])
def test_19_its_sockets_outlive_it_or_not(cluster: Cluster, web_sockets: Any) -> None:
    address = cluster.url.replace("http", "ws") + f"/_homing/v1/objects/Thing/{web_sockets}/fetch/"
    with connect(address) as socket:
        socket.send("a")
        assert socket.recv(WAIT_S) == "a 1"
        cluster.evict("Thing", web_sockets, web_sockets=web_sockets)
        if web_sockets == "hibernate":
            socket.send("b")
            assert socket.recv(WAIT_S) == "b 1", "a new instance"
        else:
            with pytest.raises(ConnectionClosed):
                socket.recv(WAIT_S)
            assert (socket.close_code, socket.close_reason) == (1000, "evicted")


def test_19_alarms_ring_when_they_are_told_to(cluster: Cluster) -> None:
    thing = cluster.get("Thing", "alarm")
    assert cluster.run_alarm("Thing", "who never was") is False
    thing.remind(HOUR_S)
    assert cluster.run_alarm("Thing", "alarm") is True
    assert len(thing.rang()) == 1
    thing.remind(HOUR_S, "boom")
    with pytest.raises(ApplicationError, match="boom"):
        cluster.run_alarm("Thing", "alarm")
    assert cluster.run_alarm("Thing", "calm") is False


def test_19_the_ids_of_a_class_are_listed(cluster: Cluster) -> None:
    names = {f"listed {number}" for number in range(5)}
    for name in names:
        cluster.get("Thing", name).count()
    found = cluster.list_ids("Thing")
    assert names <= {each.name for each in found}
    assert found == sorted(found, key=lambda each: each.raw)
    with pytest.raises(NotFound):
        cluster.list_ids("Nothing")


def test_the_clock_is_set_ahead(cluster: Cluster) -> None:
    """Alarms and the clocks of object code follow; an alarm that sets the next does not ring for ever.

    Seen to fail when workers keep the machine's time: the second alarm would ring at once, and the third.
    """
    thing = cluster.get("Thing", "clock")
    thing.remind(HOUR_S)
    ahead_s = cluster.clock.ahead_s
    for number in (1, 2):
        cluster.clock.advance(HOUR_S + 1)
        until(lambda number=number: len(thing.rang()) == number)
        time.sleep(0.5)
        assert len(thing.rang()) == number
    ahead_s += 2 * (HOUR_S + 1)
    assert cluster.clock.ahead_s == ahead_s
    for name in ("clock", "another object"):
        for at in cluster.get("Thing", name).now()[:2]:
            assert at == pytest.approx(time.time() + ahead_s, abs=30.0)
        assert cluster.get("Thing", name).now()[2] is True
    assert thing.rang()[1] - thing.rang()[0] >= HOUR_S
    with pytest.raises(ValueError, match="does not go back"):
        cluster.clock.advance(-1)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("clock", b"{}", 400),
        ("clock", b'{"ahead_ms": 99999999999999999999}', 400),
        ("Thing/a/run", b"{}", 400),
        ("Thing/a/run", b"[", 400),
        ("Thing/a/run", b'{"args": ["x = (", "x"]}', 500),
        ("Thing/a/nap", b"{}", 404),
        ("Thing", b"", 404),
    ],
)
def test_what_is_no_request_of_a_test(cluster: Cluster, path: str, body: bytes, status: int) -> None:
    answer = httpx.post(f"{cluster.url}/_homing/v1/tests/{path}", content=body)
    assert answer.status_code == status, answer.text


def test_no_other_cluster_has_such_hands() -> None:
    """A node refuses what comes to it, too: tests/unit/test_node_testing.py."""
    with ClusterProcess(APP) as ordinary:
        answer = httpx.post(f"{ordinary.url}/_homing/v1/tests/clock", json={"ahead_ms": 1})
        assert answer.status_code == 404
