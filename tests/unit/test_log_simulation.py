"""The simulator itself: a seed is a history, and its judge sees what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.mutants import ROOT
from tests.simulation.run import Tally, too_easy
from tests.simulation.world import World

from homing_node.log import record
from homing_node.log.memory_store import MemoryStore
from homing_node.log.store import PutRecord

SEED = 17


def history(seed: int) -> list[str]:
    lines: list[str] = []
    World(seed, trace=lines.append).run()
    return lines


def test_a_seed_is_a_history() -> None:
    first = history(SEED)
    assert len(first) > 100
    assert first == history(SEED)
    assert first != history(SEED + 1)


def test_a_seed_is_the_same_history_in_another_process() -> None:
    """The order of sets of strings changes from process to process; nothing may depend on it."""
    told = [
        subprocess.run(
            [sys.executable, "tests/simulation/run.py", "--seed", str(SEED), "-v"],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": number}, check=True, capture_output=True, text=True,
        ).stdout.split("\n", 1)[1]
        for number in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]


@pytest.mark.parametrize("replicas", [1, 3, 5])
def test_clusters_of_every_size_come_through(replicas: int) -> None:
    for seed in range(3):
        World(seed, replicas).run()


def test_runs_that_are_too_easy_do_not_pass() -> None:
    tally = Tally(runs=1_000, answers=100, takeovers=100)
    assert len(list(too_easy(tally, None))) > 10


def test_the_judge_counts_disks() -> None:
    """A record that is on one disk of three is not committed, whoever says so."""
    ledger = Ledger(1)
    stores = [MemoryStore(f"d{i}") for i in range(3)]
    ledger.disks = {store.disk_id: [store] for store in stores}
    data = record.encode(record.TURN, 1, 1, 0, record.NO_HASH, record.NO_OBJECT, b"")
    ledger.slots[0].hashes.append(record.hash_of(data))
    members = [(f"n{i}", f"d{i}") for i in range(3)]
    stores[0].write([PutRecord(0, 1, data)])
    with pytest.raises(Violation, match="durable on 1 of 3"):
        ledger.on_majority(0, 1, members)
    stores[1].write([PutRecord(0, 1, data)])
    ledger.on_majority(0, 1, members)
    ledger.spoiled.add((id(stores[1]), 0))
    with pytest.raises(Violation):
        ledger.on_majority(0, 1, members)
