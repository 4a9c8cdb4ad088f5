"""Static assets under `homing dev`: the example with a KV cache, and an application that is files alone and changes."""

from __future__ import annotations

import http.client
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from homing.testing import ClusterProcess

APP = Path(__file__).resolve().parents[2] / "examples" / "cloudflare" / "primes"
PUBLIC = APP / "public"
CACHE_CONTROL = "public, max-age=0, must-revalidate"
HTML = "text/html; charset=utf-8"
LARGE_BYTES = 16 << 20
WAIT_S = 30.0


@pytest.fixture(scope="module")
def client() -> Generator[httpx.Client]:
    with ClusterProcess(APP, 1) as cluster, httpx.Client(base_url=cluster.url, timeout=20.0) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "file", "kind", "cache_control"),
    [
        ("/", "index.html", HTML, CACHE_CONTROL),
        ("/about", "about.html", HTML, CACHE_CONTROL),
        ("/help/", "help/index.html", HTML, CACHE_CONTROL),
        ("/imprint", "about.html", HTML, CACHE_CONTROL),
        ("/style.css?v=2", "style.css", "text/css; charset=utf-8", CACHE_CONTROL),
        ("/.well-known/security.txt", ".well-known/security.txt", "text/plain; charset=utf-8", CACHE_CONTROL),
        (
            "/static/ask.4f1c.js",
            "static/ask.4f1c.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31556952, immutable",
        ),
    ],
)
def test_a_file(client: httpx.Client, path: str, file: str, kind: str, cache_control: str) -> None:
    answer = client.get(path)
    content = (PUBLIC / file).read_bytes()
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == cache_control
    assert answer.headers["x-content-type-options"] == "nosniff"
    etag = answer.headers["etag"]
    assert etag.startswith('"')
    assert etag.endswith('"')
    for tag in (etag, f"W/{etag}"):
        again = client.get(path, headers={"if-none-match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == cache_control
    head = client.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
    assert head.headers["content-length"] == str(len(content))
    assert client.post(path).status_code == 405
    private = client.get(path, headers={"authorization": "Basic x"}).headers.get("cache-control")
    assert private == (None if cache_control == CACHE_CONTROL else cache_control), "nobody else may keep it"


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/index.html", 307, "/"),
        ("/about.html?x=1", 307, "/about?x=1"),
        ("/about/", 307, "/about"),
        ("/help", 307, "/help/"),
        ("/home", 301, "/"),
        ("/below/100", 302, "/api/primes?below=100"),
    ],
)
def test_a_redirect(client: httpx.Client, path: str, status: int, location: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"], answer.content) == (status, location, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/plans.draft",
        "/_headers",
        "/_redirects",
        "/.assetsignore",
        "/src/entry.py",
        "/wrangler.jsonc",
        "/../src/entry.py",
        "/%2e%2e/src/entry.py",
        "/..%2fsrc%2fentry.py",
        "/static/..\\..\\src\\entry.py",
        "/%00",
    ],
)
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    """The page for what is not there, which the application's code asks `env.ASSETS` for."""
    with closing(http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=20.0)) as connection:
        connection.request("GET", path)  # as it is: other clients would tidy it up
        answer = connection.getresponse()
        found = answer.read()
        if answer.status == 307:  # to the one way in which such a path is escaped
            connection.request("GET", answer.headers["location"])
            answer = connection.getresponse()
            found = answer.read()
    assert (answer.status, answer.headers["content-type"]) == (404, HTML)
    assert found == (PUBLIC / "404.html").read_bytes()


def test_an_api_that_keeps_what_it_computed(client: httpx.Client) -> None:
    first = client.get("/api/primes", params={"below": 1_000})
    assert (first.status_code, first.json(), first.headers["x-cache"]) == (200, {"below": 1_000, "count": 168}, "miss")
    second = client.get("/api/primes", params={"below": 1_000})
    assert (second.json(), second.headers["x-cache"], second.headers["x-count"]) == (first.json(), "hit", "168")
    (kept,) = client.get("/api/kept").json()
    assert (kept["name"], kept["count"]) == ("below/1000", 168)
    assert 3_500 < kept["until"] - time.time() <= 3_600
    for below in ("2", "3", "1", "0"):
        assert client.get("/api/primes", params={"below": below}).json()["count"] == {"3": 1}.get(below, 0)
    assert client.get("/api/primes", params={"below": "many"}).status_code == 400
    assert client.get("/api/primes", params={"below": 100_001}).text == "that is too many"
    assert client.get("/api/nothing").content == (PUBLIC / "404.html").read_bytes()
    assert "x-content-type-options" not in first.headers, "_headers are for files"


def test_files_alone_that_change(tmp_path: Path) -> None:
    """An application without code: a file as large as can be, and one that is served anew once it has been changed."""
    (tmp_path / "site").mkdir()
    settings = '{"name": "files", "assets": {"directory": "site", "not_found_handling": "single-page-application"}}'
    (tmp_path / "wrangler.jsonc").write_text(settings)
    (tmp_path / "site" / "index.html").write_text("<p>first")
    large = bytes(range(256)) * (LARGE_BYTES // 256)
    (tmp_path / "site" / "large.bin").write_bytes(large)
    with ClusterProcess(tmp_path, 1) as cluster, httpx.Client(base_url=cluster.url, timeout=20.0) as client:
        answer = client.get("/any/path")
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "<p>first", HTML)
        etag = answer.headers["etag"]
        answer = client.get("/large.bin")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
        assert answer.content == large
        (tmp_path / "site" / "index.html").write_text("<p>second")
        deadline = time.monotonic() + WAIT_S
        while (answer := client.get("/", headers={"if-none-match": etag})).status_code == 304:
            assert time.monotonic() < deadline, "it was not loaded again"
            time.sleep(0.1)
        assert (answer.status_code, answer.text) == (200, "<p>second")
