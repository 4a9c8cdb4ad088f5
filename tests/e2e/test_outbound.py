"""`fetch` out of objects, to a server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import DevCluster

APP = """
from js import fetch as js_fetch
from pyodide.ffi import to_js
from workers import DurableObject, Response, WorkerEntrypoint, fetch


class Thing(DurableObject):
    async def ask(self, url, options):
        try:
            answer = await fetch(url, **options)
        except Exception as error:
            return [type(error).__name__, str(error)]
        return [answer.status, await answer.text(), answer.headers.get("x-said")]

    async def ask_as_javascript(self, url):
        answer = await js_fetch(url, to_js({"method": "POST", "body": "data"}))
        return [answer.status, answer.ok, answer.headers.get("x-said")]

    async def write_then_ask(self, url):
        await self.ctx.storage.put("n", 1)
        return (await fetch(url)).status


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        answer = await fetch(self.env.SERVER + "/hello")
        return Response(await answer.text(), status=answer.status)
"""


Seen = list[tuple[str, str, dict[str, str], bytes]]


@pytest.fixture(scope="module")
def server() -> Generator[tuple[str, Seen]]:
    """A server that answers with the path it was asked for, or redirects to what follows `/to?`."""
    seen: Seen = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        seen.append((handler.command, handler.path, dict(handler.headers), body))
        redirects = handler.path.startswith("/to?")
        said = b"" if redirects else b"x" * (41 << 20) if handler.path == "/long" else handler.path.encode()
        handler.send_response(302 if redirects else 201 if handler.command == "POST" else 200)
        if redirects:
            handler.send_header("location", handler.path.partition("?")[2])
        handler.send_header("x-said", "yes")
        handler.send_header("content-length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    methods = {"do_GET": answer, "do_POST": answer, "log_message": lambda *_: None}
    handler = type("Handler", (BaseHTTPRequestHandler,), methods)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", seen
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def client(server: tuple[str, Seen], tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    app = tmp_path_factory.mktemp("app")
    (app / "main.py").write_text(APP)
    url = server[0]
    config = {"main": "main.py", "vars": {"SERVER": url}, "homing": {"fetch_hosts": [url.removeprefix("http://")]}}
    (app / "wrangler.jsonc").write_text(json.dumps(config))
    with DevCluster(app, 1) as cluster, httpx.Client(base_url=cluster.url, timeout=30.0) as running:
        yield running


def ask(client: httpx.Client, url: str, **options: Any) -> list[Any]:
    answer = client.post("/_homing/v1/objects/Thing/a/rpc/ask", json={"args": [url, options]})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_a_named_host_is_reached(client: httpx.Client, server: tuple[str, Seen]) -> None:
    url, seen = server
    assert ask(client, f"{url}/a?b=c") == [200, "/a?b=c", "yes"]
    assert ask(client, f"{url}/p", method="POST", body="data", headers={"x-mine": "1"}) == [201, "/p", "yes"]
    verb, path, headers, body = seen[-1]
    assert (verb, path, headers["x-mine"], body) == ("POST", "/p", "1", b"data")
    assert headers["Host"] == url.removeprefix("http://")
    answer = client.post("/_homing/v1/objects/Thing/a/rpc/ask_as_javascript", json={"args": [f"{url}/js"]})
    assert answer.json() == {"result": [201, True, "yes"]}
    assert client.get("/anything").text == "/hello", "the entrypoint reaches it, too"
    answer = client.post("/_homing/v1/objects/Thing/a/rpc/write_then_ask", json={"args": [url]})
    assert answer.json() == {"result": 200}


def test_redirects_are_followed_and_checked(client: httpx.Client, server: tuple[str, Seen]) -> None:
    url, seen = server
    assert ask(client, f"{url}/to?/b", method="POST", body="data") == [200, "/b", "yes"]
    assert seen[-1][0] == "GET"
    assert seen[-1][3] == b""
    assert ask(client, f"{url}/to?/b", redirect="manual")[0] == 302
    assert ask(client, f"{url}/to?/b", redirect="error")[0] == "BadRequest"
    for elsewhere in ("http://127.0.0.1:1/", "http://169.254.169.254/", "file:///etc/passwd", "//example.com/"):
        assert ask(client, f"{url}/to?{elsewhere}")[0] in ("Forbidden", "BadRequest"), elsewhere
    assert ask(client, f"{url}/to?/to?/to?/to?/b") == [200, "/b", "yes"]
    loop = ask(client, f"{url}/to?{url}/to?" + "/to?" * 30)
    assert loop[0] == "BadRequest"
    assert "redirects more than" in loop[1]


def test_everything_else_is_refused(client: httpx.Client, server: tuple[str, Seen]) -> None:
    """Seen to fail when the broker looks at no list: the request goes out."""
    url, seen = server
    before = len(seen)
    port = url.rpartition(":")[2]
    for other in (
        f"http://localhost:{port}/",
        f"http://127.1:{port}/",
        f"http://[::1]:{port}/",
        "https://example.com/",
    ):
        kind, said = ask(client, other)
        assert kind == "Forbidden"
        assert "fetch_hosts" in said
    assert ask(client, "nonsense")[0] == "BadRequest"
    assert ask(client, f"{url}/a", headers={"x": "a\r\nhost: evil"})[0] in ("BadRequest", "ValueError", "Unavailable")
    assert ask(client, f"{url}/a", method="GET / HTTP/1.1\r\nx: y\r\n\r\nGET")[0] in (
        "BadRequest",
        "ValueError",
        "Unavailable",
    )
    assert len(seen) == before
    kind, said = ask(client, f"{url}/long")
    assert kind == "ApplicationError"
    assert "answered with more than" in said
