"""`_headers` and `_redirects`: what each line means, and lines that mean nothing."""

from __future__ import annotations

import time

import pytest

from homing.bindings.asset_paths import AUTO, NONE, read_url
from homing.bindings.asset_rules import Globs, HeaderRules, Pattern, RedirectRules, filled
from homing.http import Headers

HEADERS = """
# The example of the reference's documentation.
/secure/page
\tX-Frame-Options: DENY
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer

/static/*
  Access-Control-Allow-Origin: *
  X-Robots-Tag: nosnippet

https://myworker.mysubdomain.workers.dev/*
  X-Robots-Tag: noindex

/movies/:title
  x-movie-name: You are watching ":title"

/*.jpg
  ! X-Robots-Tag
  ! etag
"""
HERE, THERE = "https://custom.domain", "http://myworker.mysubdomain.workers.dev:8080"
SECURE = {"x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{HERE}/secure/page", SECURE),
        (f"{HERE}/static/image.png", {"access-control-allow-origin": "*", "x-robots-tag": "nosnippet"}),
        (f"{THERE}/home", {"x-robots-tag": "noindex"}),
        (f"{THERE}/secure/page", {**SECURE, "x-robots-tag": "noindex"}),
        (f"{THERE}/static/s.css", {"access-control-allow-origin": "*", "x-robots-tag": "nosnippet, noindex"}),
        (f"{HERE}/movies/alien?x=1", {"x-movie-name": 'You are watching "alien"'}),
        (f"{HERE}/movies/alien/2", {}),
        (f"{HERE}/secure/page/", {}),
        (f"{HERE}/", {}),
    ],
)
def test_headers_of_a_path(url: str, expected: dict[str, str]) -> None:
    headers = Headers({"etag": '"x"'})
    HeaderRules(HEADERS).apply(read_url(url), headers)
    assert dict(headers) == {"etag": '"x"', **expected}


def test_a_rule_takes_away_what_a_wider_one_gave() -> None:
    headers = Headers({"ETag": '"x"'})
    HeaderRules(HEADERS).apply(read_url(f"{HERE}/static/a.jpg"), headers)
    assert dict(headers) == {"access-control-allow-origin": "*"}


def test_a_rule_replaces_what_was_there() -> None:
    headers = Headers({"Cache-Control": "public, max-age=0, must-revalidate"})
    rules = HeaderRules("/a\n  cache-control: a\n  Cache-Control: b\n/*\n  cache-control: c\n  set-cookie: x=1")
    rules.apply(read_url(f"{HERE}/a"), headers)
    assert dict(headers) == {"cache-control": "a, b, c", "set-cookie": "x=1"}


@pytest.mark.parametrize(
    "text",
    [
        "X-A: b",  # before any path
        "/a\n",  # a path without headers
        "/a\n  no colon",
        "/a\n  X A: b",
        "/a\n  : b",
        "/a\n  X-A:",
        "/a\n  X-A: \u2028",
        "/b\n  X-A: b",
        "http://custom.domain/a\n  X-A: b",
        "https://custom.domain:443/a\n  X-A: b",
        "/:x/:x\n  X-A: b",
        "/*/*\n  X-A: b",
        "/:x:y\n  X-A: b",
        "/a\n  X-A: " + "b" * 2_000,
    ],
)
def test_lines_that_are_passed_over(text: str) -> None:
    headers = Headers()
    HeaderRules(text).apply(read_url(f"{HERE}/a"), headers)
    assert not headers


def test_at_most_100_header_rules() -> None:
    rules = HeaderRules("".join(f"/{number}\n  x-n: {number}\n" for number in range(101)))
    for number, said in ((0, "0"), (99, "99"), (100, None)):
        headers = Headers()
        rules.apply(read_url(f"{HERE}/{number}"), headers)
        assert headers.get("x-n") == said


REDIRECTS = """
/home301 / 301
/home302 /
/querystrings /?query=string 301
/twitch https://twitch.tv
/trailing /trailing/ 301
/notrailing/ /nottrailing 301
/page/ /page2/#fragment 301   # why it is so
/blog/* https://blog.my.domain/:splat
/products/:code/:name /products?code=:code&name=:name 308
/seen/* /news/:splat 303
/late /static-behind-dynamic 307
/proxy/:id /items/:id.html 200
/home301 /never
no-slash /found
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home301", ("/", 301)),
        ("/home302", ("/", 302)),
        ("/querystrings?x=1", ("/?query=string", 301)),
        ("/twitch", ("https://twitch.tv/", 302)),
        ("/trailing", ("/trailing/", 301)),
        ("/trailing/", None),
        ("/notrailing/", ("/nottrailing", 301)),
        ("/page/", ("/page2/#fragment", 301)),
        ("/blog/a/b", ("https://blog.my.domain/a/b", 302)),
        ("/blog/", ("https://blog.my.domain/", 302)),
        ("/products/1/pen", ("/products?code=1&name=pen", 308)),
        ("/products/1/pen/x", None),
        ("/seen//evil.example", ("/news/evil.example", 303)),
        ("/late", ("/static-behind-dynamic", 307)),
        ("/proxy/7", ("/items/7.html", 200)),
        ("/no-slash", ("/found", 302)),
        ("/", None),
    ],
)
def test_where_a_path_leads(path: str, expected: tuple[str, int] | None) -> None:
    assert RedirectRules(REDIRECTS, AUTO).find(read_url(f"{HERE}{path}")) == expected


@pytest.mark.parametrize(
    "line",
    [
        "/a",
        "/a /b 301 x",
        "/a /b 302.0",
        "/a /b 404",
        "/a /b \u00b2",
        "/a b",
        "/a http://b",
        "https://custom.domain/a /b",
        "/a https://b.example 200",
        "# /a /b",
        "/a /" + "b" * 2_000,
    ],
)
def test_redirects_that_are_passed_over(line: str) -> None:
    assert RedirectRules(line, AUTO).find(read_url(f"{HERE}/a")) is None


@pytest.mark.parametrize(
    ("line", "html", "path", "counts"),
    [
        ("/* /index.html", NONE, "/a", False),
        ("/* /index.html 200", AUTO, "/a", False),
        ("/x/* /x/index", AUTO, "/x/a", False),
        ("/ /index.html", AUTO, "/", False),
        ("/ /index.html", NONE, "/", True),
        ("/* https://b.example/index.html", AUTO, "/a", True),
        ("/a /index.html", AUTO, "/a", True),
    ],
)
def test_redirects_that_would_never_end(line: str, html: str, path: str, counts: bool) -> None:
    assert (RedirectRules(line, html).find(read_url(f"{HERE}{path}")) is not None) == counts


def test_a_redirect_of_everything_does_not_lead_to_another_site() -> None:
    """`//evil.example` and `/\\evil.example` would be taken for another host. Seen to fail without joining slashes."""
    rules = RedirectRules("/* /:splat")
    for path in ("//evil.example", "/\\evil.example", "///evil.example"):
        assert rules.find(read_url(f"{HERE}{path}")) == ("/evil.example", 302)


def test_limits_of_redirects() -> None:
    static = "".join(f"/s{number} /t\n" for number in range(2_001))
    dynamic = "".join(f"/d{number}/* /t\n" for number in range(101))
    rules = RedirectRules(static + dynamic)
    found = [rules.find(read_url(f"{HERE}{path}")) is not None for path in ("/s1999", "/s2000", "/d99/x", "/d100/x")]
    assert found == [True, False, True, False]


def test_names_in_a_host_end_at_dots() -> None:
    pattern = Pattern("https://:version.:name.workers.dev/*")
    assert pattern.match(read_url("http://a1.shop.workers.dev:80/x/y")) == {
        "version": "a1",
        "name": "shop",
        "splat": "x/y",
    }
    assert pattern.match(read_url("http://a.b.shop.workers.dev/")) is None


def test_names_within_a_segment_end_at_what_follows_them() -> None:
    pattern = Pattern("/blog/:year-:month-:day.html")
    found = pattern.match(read_url(f"{HERE}/blog/2026-11-30.html"))
    assert found == {"year": "2026", "month": "11", "day": "30"}
    assert pattern.match(read_url(f"{HERE}/blog/2026-11.html")) is None
    with pytest.raises(ValueError, match="side by side"):
        Pattern("/:a:b")


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/:a-:b-:c-:d-:e.x", "/" + "-a" * 30_000),
        ("/*.jpg", "/" + "/a" * 30_000),
        ("/*/:a/x", "/" + "/a" * 30_000),
        ("/a/:b/*/c", "/a" * 30_000),
    ],
)
def test_no_path_takes_long(rule: str, path: str) -> None:
    """A path comes from anybody. Seen to take hours with expressions that look back."""
    began = time.process_time()
    assert Pattern(rule).match(read_url(f"{HERE}{path}")) is None
    assert not Globs(["/*a*a*a*a*a*a*b", "/*/*/*/*/*/*/*b"]).match(path)
    assert time.process_time() - began < 1.0


def test_a_longer_name_is_not_its_beginning() -> None:
    assert filled("/:id/:id_2/:other", {"id": "1", "id_2": "2"}) == "/1/2/:other"


def test_globs_match_the_whole_path() -> None:
    globs = Globs(["/api/*", "/a.c", "/*/x"])
    matched = [globs.match(path) for path in ("/api/", "/api/a/b", "/api", "/a.c", "/abc", "/q/r/x", "/q/x/r")]
    assert matched == [True, True, False, True, False, True, False]
    assert not Globs([]).match("/")
