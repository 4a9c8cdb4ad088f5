"""Cron triggers and schedules of objects, on a cluster whose clock a test sets ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[2] / "examples" / "cloudflare" / "cron"
MINUTE_S = 60.0
MONTH_S = 32 * 24 * 3_600.0
EVERY_MINUTE, MONTHLY = "* * * * *", "0 18 LW * *"


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP, 3) as running:
        yield running


def until(found: Callable[[], Any], patience_s: float = 15.0) -> Any:
    deadline = time.monotonic() + patience_s
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return value


def reports(cluster: Cluster, cron: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{cluster.url}/reports", timeout=10.0)
    assert answer.headers["content-type"] == "application/json"
    return [report for report in answer.json() if report["cron"] == cron]


def test_a_cron_trigger_runs_at_its_times_once_in_the_cluster(cluster: Cluster) -> None:
    """The eighth application in Cloudflare's style; seen to fail when each node keeps times of its own."""
    triggers = until(lambda: (ids := cluster.list_ids("homing.cron")) and len(ids) == 2 and ids)
    assert sorted(each.name for each in triggers) == sorted((EVERY_MINUTE, MONTHLY))
    assert httpx.get(f"{cluster.url}/a").text == "seen"
    assert httpx.get(f"{cluster.url}/b").text == "seen"
    cluster.clock.advance(MINUTE_S)
    # Each visit is counted in one report; a minute of the wall clock may have ended between them.
    first = until(lambda: (found := reports(cluster, EVERY_MINUTE)) and sum(r["visits"] for r in found) == 2 and found)
    assert all(report["at"] % 60_000 == 0 for report in first)
    cluster.clock.advance(10 * MINUTE_S)
    after = until(lambda: (found := reports(cluster, EVERY_MINUTE)) and len(found) > len(first) and found)
    assert len({report["at"] for report in after}) == len(after), "never twice for one time"
    assert after[-1]["at"] - first[-1]["at"] <= 2 * 60_000, "what was missed is not made up for"
    assert reports(cluster, MONTHLY) == []
    cluster.clock.advance(MONTH_S)
    assert until(lambda: reports(cluster, MONTHLY))[0]["at"] % 3_600_000 == 0
