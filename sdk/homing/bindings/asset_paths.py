"""Which file a path of a URL comes to: pure functions over the list of the files that there are.

A path is only ever looked up in that list. It never becomes a path of a file system: there is nothing to climb out of.
The tables that these functions follow are those of
https://developers.cloudflare.com/workers/static-assets/routing/advanced/html-handling/.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote

AUTO, FORCE, DROP, NONE = "auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"
HTML_HANDLING = (AUTO, FORCE, DROP, NONE)
PAGE_404, SINGLE_PAGE = "404-page", "single-page-application"
NOT_FOUND_HANDLING = (NONE, PAGE_404, SINGLE_PAGE)

_URL = re.compile(r"(https?)://([^/?#\\]*)([^?#]*)(\?[^#]*)?", re.IGNORECASE | re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASHES = re.compile(r"/+")
# What a URL's path may hold as it is, by the URL standard of the WHATWG; the rest is escaped.
_PATH_SAFE = "!$%&'()*+,-./:;=@[]^_|~"
_COMPONENT_SAFE = "!*'()~"  # and what JavaScript's encodeURIComponent leaves alone


class Url(NamedTuple):
    """The parts of a URL that matter here.

    Attributes:
        origin: scheme and host, with the port.
        host: without it.
        path: as a browser would send it: escaped, and without segments of dots.
        query: with its question mark, or empty.
    """

    origin: str
    host: str
    path: str
    query: str


def read_url(url: str) -> Url:
    """The parts of an absolute URL.

    Raises:
        ValueError: it is none.

    Example:
        >>> read_url("http://localhost:8787/a/../b c?x=1")
        Url(origin='http://localhost:8787', host='localhost', path='/b%20c', query='?x=1')
    """
    match = _URL.match(url)
    if match is None:
        raise ValueError(f"Invalid URL: {url}")
    origin = f"{match[1]}://{match[2]}".lower()
    host = re.sub(r":\d*$", "", match[2].rpartition("@")[2]).lower()
    return Url(origin, host, normal_path(match[3]), match[4] or "")


def normal_path(path: str) -> str:
    """A URL's path as a browser would send it.

    Example:
        >>> normal_path("/a/./%2E%2e/ä b\\\\c")
        '/%C3%A4%20b/c'
    """
    segments: list[str] = []
    given = path.replace("\\", "/").removeprefix("/").split("/")
    for number, segment in enumerate(given):
        dots = segment.lower().replace("%2e", ".")
        if dots == ".." and segments:
            segments.pop()
        if dots not in (".", ".."):
            segments.append(quote(segment, safe=_PATH_SAFE))
        elif number == len(given) - 1:
            segments.append("")
    return "/" + "/".join(segments)


def decoded(path: str) -> str:
    """A path as files are named: each segment without its escapes, unless they are broken; no slash twice."""
    return _SLASHES.sub("/", "/".join(map(_decoded, path.split("/"))))


def _decoded(segment: str) -> str:
    if _BAD_ESCAPE.search(segment):
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return segment


def encoded(path: str) -> str:
    """The one escaped form of a path of files, under which it is served.

    Example:
        >>> encoded("/[a]/ü.html")
        '/%5Ba%5D/%C3%BC.html'
    """
    return quote(path, safe=f"/{_COMPONENT_SAFE}")


def resolve(path: str, files: Container[str], html: str) -> tuple[str, str] | None:
    """The file that a path means, and the path under which that file is served; None: it means none.

    Where the two paths differ, whoever asks is sent to the other.

    Args:
        path: decoded.
        files: the paths of all files, each with its leading slash.
        html: one of `HTML_HANDLING`.

    Example:
        >>> resolve("/blog/index", {"/blog/index.html"}, "auto-trailing-slash")
        ('/blog/index.html', '/blog/')
    """
    if html == NONE:
        return (path, path) if path in files else None
    if path in files:
        return path, _home(path, files, html)
    implied = _implied(path, files, html)
    if implied is not None and _canonical(implied, html) == path:
        return implied, path
    for file in _meant(path):
        if file in files and (home := _home(file, files, html)) != file:
            return file, home
    return (implied, path) if implied is not None else None


def _home(file: str, files: Container[str], html: str) -> str:
    """Where a file is served: at its canonical path, or under its own name if something else is there."""
    home = _canonical(file, html)
    return file if home in files or _implied(home, files, html) != file else home


def _canonical(file: str, html: str) -> str:
    """The path without `.html` and `index.html`."""
    if not file.endswith(".html"):
        return file
    if file.endswith("/index.html"):
        folder = file.removesuffix("index.html")
        return folder.removesuffix("/") or "/" if html == DROP else folder
    stem = file.removesuffix(".html")
    return f"{stem}/" if html == FORCE else stem


def _implied(path: str, files: Container[str], html: str) -> str | None:
    """The page that is served at a path that names no file."""
    if html == DROP:
        candidates = ("/index.html" if path == "/" else f"{path}.html", f"{path}/index.html")
    elif not path.endswith("/"):
        candidates = (f"{path}.html",) if html == AUTO else ()
    else:
        candidates = (f"{path}index.html", f"{path}.html" if html == AUTO else f"{path.removesuffix('/')}.html")
    return next((file for file in candidates if file in files), None)


def _meant(path: str) -> Iterator[str]:
    """The pages that a path may mean that is not where they are served."""
    stems = [path.removesuffix(end) for end in ("/index.html", "/index", ".html", "/") if path.endswith(end)][:1]
    for stem in (*stems, path):
        yield f"{stem}/index.html"
        yield f"{stem}.html"


def instead(path: str, files: Collection[str], not_found: str) -> tuple[str, int] | None:
    """The page that is served for a path that means no file, and its status; None: there is none.

    Args:
        path: decoded.
        files: as for `resolve`.
        not_found: one of `NOT_FOUND_HANDLING`.

    Example:
        >>> instead("/blog/x", {"/404.html", "/blog/404.html"}, "404-page")
        ('/blog/404.html', 404)
    """
    if not_found == SINGLE_PAGE:
        return ("/index.html", 200) if "/index.html" in files else None
    if not_found == PAGE_404:
        pages = (
            file for file in files if file.endswith("/404.html") and path.startswith(file.removesuffix("404.html"))
        )
        nearest = max(pages, key=len, default=None)
        return (nearest, 404) if nearest is not None else None
    return None
