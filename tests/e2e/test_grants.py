"""Grants in a real cluster: each kind, what it refuses, and its end while it is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "grants"
SECRET = "sk-test-0123456789abcdef"
PORT = 18931
ITEMS = f"http://127.0.0.1:{PORT}/items"


class Server(BaseHTTPRequestHandler):
    """What code in sandboxes may reach."""

    heard: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self.heard.append((self.command, self.path, self.headers.get("authorization", "")))
        if self.path == "/items/slow":
            time.sleep(3)
        body = b'{"path": "%b"}' % self.path.encode()
        if self.path == "/items/echo":
            body = self.headers.get("authorization", "").encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Generator[type[Server]]:
    serving = ThreadingHTTPServer(("127.0.0.1", PORT), Server)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield Server
    serving.shutdown()
    serving.server_close()


@pytest.fixture(scope="module")
def cluster(server: type[Server]) -> Generator[Cluster]:
    with Cluster(APP, environment={"HOMING_SECRET_TOKEN": SECRET}) as running:
        yield running


def run(cluster: Cluster, code: str, wanted: dict[str, Any], of: str = "a", **options: Any) -> dict[str, Any]:
    ran: dict[str, Any] = cluster.get("Giver", of).run(code, wanted, **options)
    return ran


def result(cluster: Cluster, code: str, wanted: dict[str, Any], of: str = "a", **options: Any) -> Any:
    ran = run(cluster, code, wanted, of, **options)
    assert ran["error"] is None, ran
    return ran["result"]


def error(cluster: Cluster, code: str, wanted: dict[str, Any], of: str = "a", **options: Any) -> str:
    told = run(cluster, code, wanted, of, **options)["error"]
    assert told is not None
    return told[1] or told[0]


def test_a_stub_has_the_methods_that_are_named_and_no_other(cluster: Cluster) -> None:
    wanted = {"hits": {"kind": "stub", "of": "stub", "methods": ["add", "stub", "fails"]}}
    ran = run(cluster, "[await env.hits.add(2), await env.hits.add(n=3), dir(env.hits), list(env)]", wanted)
    assert ran == {"result": [2, 5, ["add", "fails", "stub"], ["hits"]], "stdout": "", "error": None}
    assert cluster.get("Counter", "stub").total() == 5
    assert run(cluster, "await env.hits.secret()", wanted)["error"][1] == "AttributeError"
    forged = "await env.hits._call('secret')"
    assert run(cluster, forged, wanted)["error"][1] == "Forbidden"
    assert run(cluster, "await env.hits.stub()", wanted)["error"][1] == "ApplicationError"
    assert (
        "KeyError"
        in run(cluster, "try:\n    await env.hits.fails()\nexcept Exception as e:\n    print(e.error_type)", wanted)[
            "stdout"
        ]
    )


def test_a_method_of_the_givers_own_gets_props_that_the_sandbox_does_not_see(cluster: Cluster) -> None:
    wanted = {"my": {"kind": "stub", "methods": ["search"], "props": {"user": "ada-the-hidden"}}}
    assert run(cluster, "await env.my.search('x')", wanted)["result"] == ["x", "ada-the-hidden"]
    told = run(cluster, "await env.my.search('x', props={'user': 'eve'})", wanted)["error"]
    assert told[1] == "BadRequest"
    assert run(cluster, "await env.my.search('x', {'user': 'eve'})", wanted)["error"][1] == "BadRequest"


def test_an_exclusive_object_answers_the_run_that_it_waits_for(cluster: Cluster) -> None:
    assert cluster.get("Queue", "a").run("await env.me.answer(21)") == 42


def test_requests_go_where_the_grant_says(cluster: Cluster, server: type[Server]) -> None:
    wanted = {"api": {"kind": "http"}}
    code = f"r = await env.api.fetch('{ITEMS}/7')\n[r.status, await r.json(), r.headers['content-type']]"
    assert result(cluster, code, wanted) == [200, {"path": "/items/7"}, "application/json"]
    for bad, name in (
        (f"await env.api.fetch('http://127.0.0.1:{PORT}/other')", "Forbidden"),
        (f"await env.api.fetch('{ITEMS}/1', method='DELETE')", "Forbidden"),
        ("await env.api.fetch('http://169.254.169.254/items/1')", "Forbidden"),
        ("await env.api.fetch('http://127.1/items/1')", "Forbidden"),
        ("await env.api._asker.ask(0, 'fetch', b'x')", "BadRequest"),
        ("await env.api._asker.ask(0, 'other', b'x')", "Forbidden"),
    ):
        assert run(cluster, bad, wanted)["error"][1] == name, bad


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
