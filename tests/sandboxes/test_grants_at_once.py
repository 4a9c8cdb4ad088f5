"""Asks of sandboxes that are many, given up, or forged: what they cost is bounded, and theirs alone."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from tests.sandboxes import test_grants as grants

from homing import SyncClient
from homing.testing import Cluster

ITEMS, result, run = grants.ITEMS, grants.result, grants.run
server, cluster, http = grants.server, grants.cluster, grants.http


def test_many_are_asked_at_once(cluster: Cluster) -> None:
    wanted = {
        "hits": {
            "kind": "stub",
            "of": "many",
            "methods": ["add"],
            "limits": {"calls_at_once_max": 100, "calls_per_s_max": 1e4},
        }
    }
    code = "import asyncio\nsorted(await asyncio.gather(*(env.hits.add() for _ in range(100))))"
    assert result(cluster, code, wanted) == list(range(1, 101))


def test_a_call_that_the_code_gives_up_ends_at_the_node(cluster: Cluster, http: httpx.Client) -> None:
    """By `wait_for`, which cancels it. The run goes on, and the grant, which is for one call at once, is free again.

    Broken by: `Asker._left` that tells the node nothing.
    """
    limits = {"calls_at_once_max": 1}
    wanted = {
        "hits": {"kind": "stub", "of": "left", "methods": ["add", "slow"], "limits": limits},
        "api": {"kind": "http", "limits": limits},
    }
    code = f"""
import asyncio
seen = []
for call in (lambda: env.hits.slow(20), lambda: env.api.fetch('{ITEMS}/slow')):
    try:
        await asyncio.wait_for(call(), 0.3)
    except TimeoutError:
        seen.append("gave up")
[*seen, await env.hits.add(), (await env.api.fetch('{ITEMS}/1')).status]
"""
    assert result(cluster, code, wanted) == ["gave up", "gave up", 1, 200]
    records = http.get("/_homing/v1/grants/audit?limit=4").json()["records"]
    assert [(record["kind"], record["outcome"]) for record in records] == [
        ("stub", "left"), ("http", "left"), ("stub", "ok"), ("http", "ok"),
    ]  # fmt: skip
    assert all(200 < record["took_ms"] < 3_000 for record in records[:2]), "not as long as the call would have taken"


def test_a_tenant_that_asks_for_much_waits_for_itself_alone(cluster: Cluster) -> None:
    """Fourteen sandboxes of one tenant ask for 16 calls each that do not end, more than a node does at once.

    Broken by: one bound for all tenants, above which everybody is refused.
    """
    limits = {"calls_at_once_max": 100, "calls_per_s_max": 1e4}
    wanted = {"hits": {"kind": "stub", "of": "busy", "methods": ["held"], "limits": limits}}
    code = """
import asyncio
found = await asyncio.gather(*(env.hits.held() for _ in range(16)), return_exceptions=True)
sorted({each if isinstance(each, str) else type(each).__name__ for each in found})
"""
    seen: list[list[str]] = []

    def ask() -> None:
        with SyncClient(cluster.url) as client:  # one of them has ten connections
            giver: Any = client.get("Giver", "greedy")
            seen.append(giver.run(code, wanted, tenant="greedy", limits={"wall_s": 30})["result"])

    threads = [threading.Thread(target=ask) for _ in range(14)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while not seen:  # one of which every call was refused
        assert time.monotonic() < deadline
        time.sleep(0.05)
    modest = {"hits": {"kind": "stub", "of": "modest", "methods": ["add"]}}
    assert result(cluster, "await env.hits.add()", modest, "greedy", tenant="modest") == 1
    cluster.get("Counter", "busy").release()
    for thread in threads:
        thread.join(60)
    assert len(seen) == 14
    assert {told for each in seen for told in each} == {"late", "Overloaded"}, "its own line is bounded, too"


FORGED = {
    "a number twice": "say((4, 1, 0, 'add', b'')); say((4, 1, 0, 'add', b''))",
    "a number below": "say((4, 7, 0, 'add', b'')); say((4, 3, 0, 'add', b''))",
    "number zero": "say((4, 0, 0, 'add', b''))",
    "a grant that is not its own": "say((4, 1, 1, 'add', b''))",
    "a grant below": "say((4, 1, -1, 'add', b''))",
    "a place that is no number": "say((4, 1, True, 'add', b''))",
    "an operation that is no text": "say((4, 1, 0, 7, b''))",
    "an operation without end": "say((4, 1, 0, 'x' * 200, b''))",
    "arguments that are no bytes": "say((4, 1, 0, 'add', [1]))",
    "too few parts": "say((4, 1))",
    "too many parts": "say((4, 1, 0, 'add', b'', 1))",
    "more at once than is asked": "[say((4, n + 1, 0, 'slow', b'\\x92\\x91\\x05\\x80')) for n in range(20)]",
    "an unknown kind": "say((9, 1))",
    "giving up what was never asked": "say((5, 1))",
    "giving up what is no number": "say((4, 1, 0, 'add', b'')); say((5, 'x'))",
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_asks_end_the_sandbox(cluster: Cluster, what: str) -> None:
    """The grant takes more at once than a sandbox asks: what it refuses is answered, and then is no longer at once."""
    limits = {"calls_at_once_max": 100, "calls_per_s_max": 1e4}
    wanted = {"hits": {"kind": "stub", "of": "forged", "methods": ["add", "slow"], "limits": limits}}
    code = f"""
import sys, time
say = sys.stdout.buffer.raw._send
{FORGED[what]}
time.sleep(5)
"""
    told = run(cluster, code, wanted)["error"]
    assert told[0] == "sandbox-died", told
    assert "broke the protocol" in told[2]
    assert result(cluster, "await env.hits.add(0)", wanted) == cluster.get("Counter", "forged").total()
