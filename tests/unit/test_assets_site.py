"""Static assets: the answers, their headers, and whether the application's code is asked."""

from __future__ import annotations

from typing import Any

import pytest

from homing.bindings.asset_types import content_type
from homing.bindings.assets import Assets, Site
from homing.http import Request, Response

CONTENT = {
    "/index.html": b"<p>home",
    "/about.html": b"<p>about",
    "/404.html": b"<p>not here",
    "/app.js": b"let a;",
    "/data": b"\x00\x01",
    "/[x].txt": b"x",
}
CACHE_CONTROL = "public, max-age=0, must-revalidate"
PLAIN: dict[str, Any] = {
    "files": {path: (f"etag{number}", len(content)) for number, (path, content) in enumerate(CONTENT.items())},
    "html_handling": "auto-trailing-slash",
    "not_found_handling": "none",
}


def site(*, has_worker: bool = True, **settings: Any) -> Site:
    return Site({**PLAIN, **settings}, CONTENT.__getitem__, has_worker=has_worker)


def ask(path: str, method: str = "GET", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(f"http://x.example{path}", method=method, headers=named)


def of(answer: Response) -> tuple[int, dict[str, str], bytes]:
    return answer.status, dict(answer.headers), answer.body


def test_a_file_with_its_headers() -> None:
    kind = "text/html; charset=utf-8"
    expected = {"etag": '"etag0"', "content-type": kind, "cache-control": CACHE_CONTROL}
    assert of(site().fetch(ask("/?x=1"))) == (200, expected, b"<p>home")
    assert of(site().fetch(ask("/data"))) == (200, {"etag": '"etag4"', "cache-control": CACHE_CONTROL}, b"\x00\x01")


@pytest.mark.parametrize("header", ["authorization", "range"])
def test_what_asks_in_its_own_way_is_not_told_to_cache(header: str) -> None:
    answer = site().fetch(ask("/app.js", **{header: "bytes=0-1"}))
    assert of(answer) == (200, {"etag": '"etag3"', "content-type": "text/javascript; charset=utf-8"}, b"let a;")


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        ('"etag3"', 304),
        ('W/"etag3"', 304),
        ('"other", W/"etag3"', 304),
        ("*", 304),
        ('"etag4"', 200),
        ("etag3", 200),
        ("", 200),
    ],
)
def test_who_has_it_is_told_so(if_none_match: str, status: int) -> None:
    for method in ("GET", "HEAD"):
        answer = site().fetch(ask("/app.js", method, if_none_match=if_none_match))
        assert (answer.status, answer.headers["etag"]) == (status, '"etag3"')
        assert answer.headers["cache-control"] == CACHE_CONTROL
        assert answer.body == (b"let a;" if (status, method) == (200, "GET") else b"")


def test_head_says_how_long_it_is() -> None:
    status, headers, body = of(site().fetch(ask("/app.js", "HEAD")))
    assert (status, headers["content-length"], body) == (200, "6", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_file_takes_no_other_method(method: str) -> None:
    """Also where there is code: the path is that of a file."""
    for has_worker in (True, False):
        answer = site(has_worker=has_worker).before(ask("/app.js", method))
        assert answer is not None
        assert of(answer) == (405, {"allow": "GET, HEAD"}, b"")
    assert site().before(ask("/nothing", method)) is None
    assert site().fetch(ask("/nothing", method)).status == 404


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/about.html?a=b", "/about?a=b"),
        ("/index", "/"),
        ("//app.js", "/app.js"),
        ("/[x].txt", "/%5Bx%5D.txt"),
        ("/x/../about/", "/about"),
        ("//about.html", "/about"),
    ],
)
def test_a_page_has_one_address(path: str, location: str) -> None:
    assert of(site().fetch(ask(path))) == (307, {"location": location}, b"")


def test_a_path_that_means_nothing() -> None:
    assert of(site().fetch(ask("/nothing"))) == (404, {}, b"")
    status, headers, body = of(site(not_found_handling="404-page").fetch(ask("/a/b/nothing")))
    assert (status, headers["etag"], headers["content-type"], body) == (
        404, '"etag2"', "text/html; charset=utf-8", b"<p>not here",
    )  # fmt: skip
    status, headers, body = of(site(not_found_handling="single-page-application").fetch(ask("/a/b/nothing")))
    assert (status, headers["etag"], body) == (200, '"etag0"', b"<p>home")


def test_code_is_asked_for_what_is_no_file() -> None:
    """Even where another page is served for paths that mean none, unless a browser goes to a page."""
    for not_found in ("none", "404-page", "single-page-application"):
        of_site = site(not_found_handling=not_found)
        assert of_site.before(ask("/api")) is None
        assert of_site.before(ask("/api", sec_fetch_mode="navigate")) is None
        answer = of_site.before(ask("/about"))
        assert answer is not None
        assert answer.status == 200
    going = site(not_found_handling="single-page-application", navigation=True)
    answer = going.before(ask("/api", sec_fetch_mode="navigate"))
    assert answer is not None
    assert answer.body == b"<p>home"
    assert going.before(ask("/api", sec_fetch_mode="cors")) is None
    assert site(navigation=True).before(ask("/api", sec_fetch_mode="navigate")) is None, "there is no such page"


@pytest.mark.parametrize(
    ("first", "path", "by_code"),
    [
        (True, "/app.js", True),
        (False, "/app.js", False),
        (["/app*"], "/app.js", True),
        (["/*", "!/app.js"], "/app.js", False),
        (["/*", "!/app.js"], "/about", True),
        (["/*", "!/a*"], "/api", False),
        (["/api/*"], "/about", False),
        (["/api/*"], "/nothing", True),
    ],
)
def test_code_runs_first(first: bool | list[str], path: str, by_code: bool) -> None:
    assert (site(worker_first=first).before(ask(path)) is None) == by_code
    assert site(worker_first=first, has_worker=False).before(ask(path)) is not None, "there is no code to run"


def test_redirects_come_first_and_headers_last() -> None:
    rules = site(
        redirects="/app.js /about 301\n/go/* https://y.example/:splat 308\n/own http://x\n/me https://x.example/a\n"
        "/imprint /about 200\n/none /nothing 200",
        headers="/*\n  x-a: 1\n/app.js\n  ! location\n",
    )
    assert of(rules.fetch(ask("/app.js"))) == (301, {"x-a": "1"}, b"")
    assert of(rules.fetch(ask("/go/a?q=1"))) == (308, {"location": "https://y.example/a?q=1", "x-a": "1"}, b"")
    assert of(rules.fetch(Request("https://x.example/me?q"))) == (302, {"location": "/a?q", "x-a": "1"}, b"")
    assert rules.fetch(ask("/imprint")).body == b"<p>about"
    assert of(rules.fetch(ask("/nothing"))) == (404, {"x-a": "1"}, b"")
    moved, gone = rules.before(ask("/go/a", "POST")), rules.before(ask("/none"))
    assert moved is not None
    assert moved.status == 308, "a redirect is one for every method"
    assert gone is not None
    assert gone.status == 404, "a rule said what is there, so code is not asked"


def test_nothing_but_the_files_is_read() -> None:
    """A path of a request is looked up in the list, and it is the listed path that is read."""
    read: list[str] = []

    def reading(path: str) -> bytes:
        read.append(path)
        return b""

    of_site = Site({**PLAIN, "html_handling": "none"}, reading, has_worker=False)
    for path in ("/../src/entry.py", "/%2e%2e/src", "/..%2f..%2fsrc", "/a/%2E./../x", "\\..\\x", "/_headers", "/%00"):
        assert of_site.fetch(ask(path)).status == 404
    assert read == []
    assert of_site.fetch(ask("/x/../data")).status == 200
    assert read == ["/data"]


async def test_the_binding_takes_a_request_or_a_url() -> None:
    assets = Assets(site(not_found_handling="404-page", worker_first=True))
    assert (await assets.fetch("https://any.example/app.js")).body == b"let a;"
    assert (await assets.fetch("https://any.example/app.js", method="HEAD")).body == b""
    assert (await assets.fetch(ask("/nothing"))).status == 404
    with pytest.raises(ValueError, match="Invalid URL"):
        await assets.fetch("/app.js")
    with pytest.raises(TypeError, match="options"):
        await assets.fetch(ask("/app.js"), method="HEAD")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/a.css", "text/css; charset=utf-8"),
        ("/a.tar.gz", "application/gzip"),
        ("/a.JSON", "application/json"),
        ("/a.woff2", "font/woff2"),
        ("/a.svg", "image/svg+xml"),
        ("/favicon.ico", "image/vnd.microsoft.icon"),
        ("/a.wasm", "application/wasm"),
        ("/a.webmanifest", "application/manifest+json"),
        ("/a.mjs", "text/javascript; charset=utf-8"),
        ("/css", None),
        ("/a.b/css", None),
        ("/a.unknown", None),
        ("/.html", "text/html; charset=utf-8"),
        ("/a.", None),
    ],
)
def test_content_types(file: str, kind: str | None) -> None:
    assert content_type(file) == kind
