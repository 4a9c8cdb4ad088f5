"""Grants while slots move: that of the object that gave them, and that of the object that they are for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from homing.testing import Cluster
from jailed import exists

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "grants"
WANTED = {
    "my": {"kind": "stub", "methods": ["search"], "props": {"user": "ada"}},
    "hits": {"kind": "stub", "of": "moving", "methods": ["add"]},
}
CODE = """
import asyncio, time
until = time.monotonic() + seconds
asked, failed = 0, []
while time.monotonic() < until:
    for call in (lambda: env.my.search("x"), lambda: env.hits.add()):
        try:
            await call()
            asked += 1
        except Exception as error:
            failed.append(type(error).__name__)
    await asyncio.sleep(0.05)
[asked, failed]
"""
TYPED = {"object-reset", "outcome-unknown", "unavailable"}


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP, nodes=3) as running:
        yield running


@pytest.fixture
def http(cluster: Cluster) -> Generator[httpx.Client]:
    with httpx.Client(base_url=cluster.url, timeout=60) as client:
        yield client
        rest(client)


def rest(http: httpx.Client) -> None:
    """Nothing is left over on any node: no grant is open, no sandbox runs."""
    deadline = time.monotonic() + 20
    while True:
        found = http.get("/_homing/v1/sandbox"), http.get("/_homing/v1/grants")
        if all(each.status_code == 200 and not any(each.json().values()) for each in found):
            return
        assert time.monotonic() < deadline, [each.text for each in found]
        time.sleep(0.1)


class Running:
    """A run that goes on, and what comes of it."""

    def __init__(self, cluster: Cluster, of: str, seconds: float) -> None:
        self.came: Any = None
        self._thread = threading.Thread(target=self._run, args=(cluster, of, seconds))
        before = cluster.get("Counter", "moving").total()
        self._thread.start()
        deadline = time.monotonic() + 20
        while cluster.get("Counter", "moving").total() < before + 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _run(self, cluster: Cluster, of: str, seconds: float) -> None:
        """Over HTTP: a client of ours would try again what may be tried again, and so begin another run."""
        limits = {"wall_s": 110, "cpu_s": 30}
        asked = {"args": [CODE, WANTED], "kwargs": {"args": {"seconds": seconds}, "limits": limits}}
        answer = httpx.post(
            f"{cluster.url}/_homing/v1/objects/Giver/{of}/rpc/run",
            json=asked, headers={"homing-timeout-ms": "110000"}, timeout=120,
        )  # fmt: skip
        told = answer.json()
        self.came = told["result"] if answer.status_code == 200 else told["type"].rpartition("/")[2]

    def end(self) -> Any:
        self._thread.join(120)
        assert not self._thread.is_alive()
        return self.came


def owner(http: httpx.Client, path: str) -> str:
    return http.get(f"/_homing/v1/objects/{path}").json()["owner"]


def command(cluster: Cluster, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "homing.cli", *words, "--url", cluster.url],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def other(http: httpx.Client, path: str) -> str:
    nodes = [node["id"] for node in http.get("/_homing/v1/cluster").json()["nodes"]]
    return next(node for node in nodes if node != owner(http, path))


def test_the_slot_of_the_giver_waits_for_the_end_of_its_run(cluster: Cluster, http: httpx.Client) -> None:
    """No ask fails meanwhile, not even of the giver's own methods, though its slot takes no other event."""
    running, to = Running(cluster, "patient", 5), other(http, "Giver/patient")
    command(cluster, "move", "Giver/patient", to)
    asked, failed = running.end()["result"]
    assert (asked > 20, failed) == (True, [])
    assert owner(http, "Giver/patient") == to
    again = Running(cluster, "patient", 0.5).end()
    assert again["result"][1] == [], "and there it may give again"


def test_the_slot_of_an_object_moves_while_a_sandbox_calls_it(cluster: Cluster, http: httpx.Client) -> None:
    running, to = Running(cluster, "caller", 6), other(http, "Counter/moving")
    command(cluster, "move", "Counter/moving", to)
    assert owner(http, "Counter/moving") == to
    asked, failed = running.end()["result"]
    assert (asked > 20, failed) == (True, [])


def test_a_node_that_leaves_ends_a_run_that_goes_on_for_too_long(cluster: Cluster, http: httpx.Client) -> None:
    """After `drain_grace_s`: whoever asked for the run is told so, and the run ends with its grants."""
    running, leaves = Running(cluster, "endless", 90), owner(http, "Giver/endless")
    command(cluster, "drain", leaves)
    assert running.end() in TYPED
    rest(http)
    assert owner(http, "Giver/endless") != leaves
    command(cluster, "drain", leaves, "--stay")


def test_a_node_that_is_killed_takes_run_and_grants_with_it(cluster: Cluster, http: httpx.Client) -> None:
    running, loses = Running(cluster, "doomed", 60), owner(http, "Giver/doomed")
    pids = [run["pid"] for run in http.get("/_homing/v1/sandbox").json()["runs"]]
    assert pids
    node = next(each for each in http.get("/_homing/v1/cluster").json()["nodes"] if each["id"] == loses)
    os.kill(node["pid"], signal.SIGKILL)
    assert running.end() in TYPED
    deadline = time.monotonic() + 10
    while any(exists(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert Running(cluster, "doomed", 0.5).end()["result"][1] == []
