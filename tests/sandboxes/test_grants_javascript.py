"""Grants in the hands of JavaScript: each kind, what it refuses, many at once, and their end while they are used."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "grants"
PORT = 18941
ITEMS = f"http://127.0.0.1:{PORT}/items"
API = {"api": {"kind": "http", "ports": [PORT]}}


class Server(BaseHTTPRequestHandler):
    """What code in sandboxes may reach: it answers with what it was sent."""

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = f"{self.command} {self.path} {self.headers.get('x-y')} ".encode() + self.rfile.read(length)
        self.send_response(200)
        self.send_header("x-seen", "yes")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    serving = ThreadingHTTPServer(("127.0.0.1", PORT), Server)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    with Cluster(APP) as running:
        yield running
    serving.shutdown()
    serving.server_close()


def run(cluster: Cluster, code: str, wanted: dict[str, Any], language: str = "javascript") -> dict[str, Any]:
    ran: dict[str, Any] = cluster.get("Giver", "a").run(code, wanted, language=language)
    return ran


def result(cluster: Cluster, code: str, wanted: dict[str, Any], language: str = "javascript") -> Any:
    ran = run(cluster, code, wanted, language)
    assert ran["error"] is None, ran
    return ran["result"]


def test_a_stub_has_the_methods_that_are_named_and_no_other(cluster: Cluster) -> None:
    wanted = {"hits": {"kind": "stub", "of": "js", "methods": ["add", "fails"]}}
    code = "[await env.hits.add(2), await env.hits.add(3n), Object.keys(env.hits), Object.keys(env)]"
    assert result(cluster, code, wanted) == [2, 5, ["add", "fails"], ["hits"]]
    assert cluster.get("Counter", "js").total() == 5
    assert run(cluster, "await env.hits.secret()", wanted)["error"][1] == "TypeError"
    told = run(cluster, "await env.hits.fails()", wanted)["error"]
    assert told[:2] == ["sandbox-error", "ApplicationError"]
    caught = "try { await env.hits.fails() } catch (e) { [e instanceof Error, e.code, e.errorType] }"
    assert result(cluster, f"let found; {caught.replace('[', 'found = [', 1)}; found", wanted) == [
        True, "application-error", "KeyError",
    ]  # fmt: skip
    assert run(cluster, "await env.hits.add(() => 1)", wanted)["error"][1] == "TypeError"


def test_props_are_of_the_grant(cluster: Cluster) -> None:
    wanted = {"my": {"kind": "stub", "methods": ["search"], "props": {"user": "ada"}}}
    code = "const found: [string, string] = await env.my.search('x');\nfound"
    assert result(cluster, code, wanted, "typescript") == ["x", "ada"]


def test_requests_go_where_the_grant_says(cluster: Cluster) -> None:
    code = f"const r = await env.api.fetch('{ITEMS}/7', {{ headers: {{ 'X-Y': 'z' }} }});"
    assert result(cluster, f"{code} [r.status, r.ok, r.headers.get('X-Seen'), await r.text()]", API) == [
        200, True, "yes", "GET /items/7 z ",
    ]  # fmt: skip
    code = f"const r = await env.api.fetch('{ITEMS}/7', {{ method: 'post', body: 'é', headers: [['x-y', 'w']] }});"
    assert result(cluster, f"{code} await r.bytes()", API) == "POST /items/7 w é".encode()
    for url in (f"http://127.0.0.1:{PORT}/other", "http://169.254.169.254/items/1", "http://127.1/items/1"):
        assert run(cluster, f"await env.api.fetch('{url}')", API)["error"][1] == "Forbidden", url
    assert result(cluster, "typeof fetch", API) == "undefined"


def test_sql_and_pairs(cluster: Cluster) -> None:
    wanted = {"table": {"kind": "sql"}, "pairs": {"kind": "kv", "read_only": False}}
    code = """
        const rows = await env.table.exec("SELECT name FROM sales WHERE amount > ? ORDER BY name", 1);
        await env.pairs.put("k", new Map([[1, new Uint8Array(2)]]));
        [rows, await env.pairs.get("color"), [...await env.pairs.get("k")], await env.pairs.list({ prefix: "col" }),
         await env.pairs.delete("k"), await env.pairs.get("k")]
    """
    assert result(cluster, code, wanted) == [
        [{"name": "b"}, {"name": "c"}], "red", [[1, b"\0\0"]], {"color": "red"}, True, None,
    ]  # fmt: skip
    assert run(cluster, "await env.table.exec('DELETE FROM sales')", wanted)["error"][0] == "sandbox-error"


def test_many_are_asked_at_once_beside_timers(cluster: Cluster) -> None:
    """Broken by: more asks at once than the node takes, which ends the sandbox."""
    limits = {"calls_at_once_max": 100, "calls_per_s_max": 1e4}
    wanted = {"hits": {"kind": "stub", "of": "js-many", "methods": ["add"], "limits": limits}}
    code = """
        let ticks = 0;
        const ticking = setInterval(() => ticks++, 1);
        const found = await Promise.all(Array.from({ length: 100 }, () => env.hits.add()));
        clearInterval(ticking);
        [found.sort((a, b) => a - b), ticks > 0]
    """
    assert result(cluster, code, wanted) == [list(range(1, 101)), True]


def test_an_ask_that_nobody_awaits_does_not_keep_the_run(cluster: Cluster) -> None:
    wanted = {"hits": {"kind": "stub", "of": "js-slow", "methods": ["slow"]}}
    began = time.monotonic()
    assert result(cluster, "env.hits.slow(20); 1", wanted) == 1
    assert time.monotonic() - began < 5


def test_a_grant_that_is_revoked_ends_what_waits(cluster: Cluster) -> None:
    wanted = {"hits": {"kind": "stub", "of": "js-slow", "methods": ["slow"]}}
    told: list[Any] = []
    code = "await env.hits.slow(20)"
    giver = threading.Thread(target=lambda: told.append(cluster.get("Giver", "revoked").run(
        code, wanted, language="javascript")))  # fmt: skip
    giver.start()
    time.sleep(1)
    cluster.get("Giver", "revoked").revoke("hits")
    giver.join(10)
    assert told[0]["error"][:2] == ["sandbox-error", "GrantEnded"]


def test_without_grants_there_is_no_env(cluster: Cluster) -> None:
    assert result(cluster, "typeof env", {}) == "undefined"
