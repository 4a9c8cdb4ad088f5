"""`assets`: files of the application that are served under their paths, as Cloudflare's Workers static assets are.

Names, rules and headers are those of https://developers.cloudflare.com/workers/static-assets/. There is no cache in
front of the files, so `CF-Cache-Status` is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from homing.bindings import asset_paths
from homing.bindings.asset_paths import NONE, Url, read_url
from homing.bindings.asset_rules import REWRITE, Globs, HeaderRules, Redirect, RedirectRules
from homing.bindings.asset_types import content_type
from homing.http import Request, Response, as_request

CACHE_CONTROL = "public, max-age=0, must-revalidate"


class File(NamedTuple):
    """What is known of a file without reading it."""

    etag: str
    size_bytes: int


class Site:
    """The files of an application, and what it says of them.

    Args:
        settings: of the application's `assets`, as `workers.app_assets` makes them.
        read: gives the content of one of the files, by its path.
        has_worker: whether the application has code that answers requests.

    Example:
        >>> settings = {"files": {"/a.txt": ("x1", 2)}, "html_handling": "none", "not_found_handling": "none"}
        >>> Site(settings, lambda path: b"hi", has_worker=False).fetch(Request("http://x.example/a.txt")).body
        b'hi'
    """

    def __init__(self, settings: Mapping[str, Any], read: Callable[[str], bytes], *, has_worker: bool) -> None:
        self._files = {path: File(*known) for path, known in settings["files"].items()}
        self._read = read
        self._html: str = settings["html_handling"]
        self._not_found: str = settings["not_found_handling"]
        self._headers = HeaderRules(settings.get("headers", ""))
        self._redirects = RedirectRules(settings.get("redirects", ""), self._html)
        self._has_worker = has_worker
        first: bool | list[str] = settings.get("worker_first", False)
        rules = first if isinstance(first, list) else []
        self._worker_first = first is True
        self._for_worker = Globs(rule for rule in rules if not rule.startswith("!"))
        self._for_assets = Globs(rule[1:] for rule in rules if rule.startswith("!"))
        self._navigates: bool = settings.get("navigation", False)

    @classmethod
    def in_folder(cls, settings: Mapping[str, Any], *, has_worker: bool) -> Site:
        """The files of the folder that the settings name; a file is read whenever it is asked for."""
        folder: str = settings["folder"]
        return cls(settings, lambda path: Path(f"{folder}{path}").read_bytes(), has_worker=has_worker)

    def before(self, request: Request) -> Response | None:
        """The answer to a request for which the application's code does not run; None: it runs.

        Raises:
            ValueError: the request's URL is none.
        """
        if not self._has_worker:
            return self.fetch(request)
        url = read_url(request.url)
        if self._for_assets.match(url.path):
            return self.fetch(request)
        if self._worker_first or self._for_worker.match(url.path):
            return None
        # A browser that goes to a page wants a page, where there is one for paths that mean none.
        to_page = self._navigates and request.headers.get("sec-fetch-mode") == "navigate"
        answer = self._answer(request, url, self._not_found if to_page else NONE)
        return self._finished(answer, url) if answer is not None else None

    def fetch(self, request: Request) -> Response:
        """The answer of the files alone.

        Raises:
            ValueError: the request's URL is none.
        """
        url = read_url(request.url)
        return self._finished(self._answer(request, url, self._not_found) or Response(None, status=404), url)

    def _finished(self, answer: Response, url: Url) -> Response:
        self._headers.apply(url, answer.headers)
        return answer

    def _answer(self, request: Request, url: Url, not_found: str) -> Response | None:
        """The answer before `_headers` has its say; None: the path means nothing here."""
        path = url.path
        redirect = self._redirects.find(url)
        if redirect is not None:
            if redirect.status != REWRITE:
                return Response(None, status=redirect.status, headers={"location": _location(redirect, url)})
            path = asset_paths.normal_path(redirect.to.partition("?")[0].partition("#")[0])
        named = asset_paths.decoded(path)
        found = asset_paths.resolve(named, self._files, self._html)
        file, served_at, status = (*found, 200) if found is not None else ("", named, 404)
        if found is None:
            other = asset_paths.instead(named, self._files, not_found)
            if other is None:
                return Response(None, status=404) if redirect is not None else None
            file, status = other
        if request.method not in ("GET", "HEAD"):
            return Response(None, status=405, headers={"allow": "GET, HEAD"})
        location = asset_paths.encoded(served_at)
        if location != path:
            return Response(None, status=307, headers={"location": location + url.query})
        return self._content(request, file, status)

    def _content(self, request: Request, path: str, status: int) -> Response:
        file = self._files[path]
        answer = Response(None, status=status, headers={"etag": f'"{file.etag}"'})
        kind = content_type(path)
        if kind is not None:
            answer.headers["content-type"] = kind
        if "authorization" not in request.headers and "range" not in request.headers:
            answer.headers["cache-control"] = CACHE_CONTROL
        if _is_known(request.headers.get("if-none-match", ""), file.etag):
            answer.status = 304
        elif request.method == "HEAD":
            answer.headers["content-length"] = str(file.size_bytes)
        else:
            answer.body = self._read(path)
        return answer


def _is_known(if_none_match: str, etag: str) -> bool:
    """Whether who asks has this very content (RFC 9110, 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return f'"{etag}"' in known or known == ["*"]


def _location(redirect: Redirect, url: Url) -> str:
    """What `Location` says: the query goes along, unless the rule has its own."""
    rest, mark, fragment = redirect.to.partition("#")
    target, question, query = rest.partition("?")
    if target.startswith(f"{url.origin}/"):
        target = target.removeprefix(url.origin)
    return f"{target}{question + query if query else url.query}{mark if fragment else ''}{fragment}"


class Assets:
    """The files, for the application's code: `env.ASSETS`.

    Args:
        site: the files.

    Example:
        >>> await self.env.ASSETS.fetch("https://assets.example/logo.png")  # doctest: +SKIP
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    async def fetch(self, request: Request | str, **options: Any) -> Response:
        """The answer to a request, or to a URL, as if no code of the application had to answer it.

        Args:
            request: a request, or its URL; of which host does not matter, but to rules that name one.
            options: with a URL, what `Request` takes: `method`, `headers`.

        Raises:
            TypeError: there are options for what is a request already.
            ValueError: the URL is not absolute.
        """
        return self._site.fetch(as_request(request, options))
