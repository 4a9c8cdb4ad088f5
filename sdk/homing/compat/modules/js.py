"""`import js`: what server code uses of JavaScript's globals.

Whatever else is imported from here can be, and raises `NotSupported` with its name when it is used.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import workers

import homing
from homing import levels
from homing.compat.dialing import dial
from homing.compat.membrane import JsArray, JsObject, faced, plain
from homing.compat.unsupported import Unsupported


class Object:
    """Functions over objects."""

    @staticmethod
    def fromEntries(pairs: Iterable[Any]) -> JsObject:
        """An object with these entries."""
        return JsObject(cast("Any", pairs))

    @staticmethod
    def keys(value: Mapping[str, Any]) -> JsArray:
        """Names."""
        return JsArray(value)

    @staticmethod
    def values(value: Mapping[str, Any]) -> JsArray:
        """Values."""
        return JsArray(value.values())

    @staticmethod
    def entries(value: Mapping[str, Any]) -> JsArray:
        """Pairs."""
        return JsArray(JsArray(pair) for pair in value.items())

    @staticmethod
    def assign(target: dict[str, Any], *sources: Mapping[str, Any]) -> dict[str, Any]:
        """Copy entries into an object."""
        for source in sources:
            target.update(source)
        return target

    @staticmethod
    def new() -> JsObject:
        """An empty one."""
        return JsObject()


class JSON:
    """Text and values."""

    @staticmethod
    def stringify(value: Any, *_: Any) -> str:
        """The text of a value, as JavaScript writes it: no spaces."""
        return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def parse(text: str) -> Any:
        """The value of a text."""
        return faced(json.loads(text))


class Date:
    """A moment, in milliseconds since 1970."""

    def __init__(self, ms: float) -> None:
        self._ms = ms

    @staticmethod
    def now() -> int:
        """The time."""
        return int(time.time() * 1_000)

    @classmethod
    def new(cls, when: float | str | None = None) -> Date:
        """A moment: now, milliseconds, or ISO 8601."""
        if when is None:
            return cls(cls.now())
        return cls(datetime.fromisoformat(when).timestamp() * 1_000 if isinstance(when, str) else when)

    def getTime(self) -> int:
        """In milliseconds since 1970."""
        return int(self._ms)

    valueOf = getTime

    def toISOString(self) -> str:
        """In UTC."""
        return datetime.fromtimestamp(self._ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Console:
    """Lines of the log, each at its level."""

    @staticmethod
    def debug(*values: Any) -> None:
        """Print at the level `debug`."""
        _print(levels.DEBUG, values)

    @staticmethod
    def log(*values: Any) -> None:
        """Print at the level `info`."""
        _print(levels.INFO, values)

    info = log

    @staticmethod
    def warn(*values: Any) -> None:
        """Print at the level `warning`."""
        _print(levels.WARNING, values)

    @staticmethod
    def error(*values: Any) -> None:
        """Print at the level `error`."""
        _print(levels.ERROR, values)


def _print(level: int, values: tuple[Any, ...]) -> None:
    text = " ".join(value if isinstance(value, str) else JSON.stringify(value) for value in values)
    with levels.printing_at(level):
        sys.stdout.write(f"{text}\n")


console = _Console()


class URLSearchParams:
    """The query of a URL."""

    def __init__(self, query: str = "") -> None:
        self._pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)

    @classmethod
    def new(cls, query: str = "") -> URLSearchParams:
        """Of a query."""
        return cls(query)

    def get(self, name: str) -> str | None:
        """The first value of a name."""
        return next((value for own, value in self._pairs if own == name), None)

    def getAll(self, name: str) -> JsArray:
        """Every value of a name."""
        return JsArray(value for own, value in self._pairs if own == name)

    def has(self, name: str) -> bool:
        """Whether a name stands there."""
        return any(own == name for own, _ in self._pairs)

    def set(self, name: str, value: str) -> None:
        """Give a name one value."""
        self._pairs = [pair for pair in self._pairs if pair[0] != name] + [(name, value)]

    def toString(self) -> str:
        """The query."""
        return urlencode(self._pairs)

    def __str__(self) -> str:
        return self.toString()


class URL:
    """A URL and its parts."""

    def __init__(self, url: str, base: str | None = None) -> None:
        parts = urlsplit(urljoin(base, url) if base is not None else url)
        if not parts.scheme:
            raise ValueError(f"Invalid URL: {url}")
        self.protocol = f"{parts.scheme}:"
        self.hostname = parts.hostname or ""
        self.port = str(parts.port or "")
        self.host = f"{self.hostname}:{self.port}" if self.port else self.hostname
        self.origin = f"{self.protocol}//{self.host}"
        self.pathname = parts.path or "/"
        self.hash = f"#{parts.fragment}" if parts.fragment else ""
        self.searchParams = URLSearchParams(parts.query)

    @classmethod
    def new(cls, url: Any, base: str | None = None) -> URL:
        """Of a text, against a base if it is relative."""
        return cls(str(url), base)

    @property
    def search(self) -> str:
        """The query with its question mark, or nothing."""
        query = str(self.searchParams)
        return f"?{query}" if query else ""

    @property
    def href(self) -> str:
        """The whole."""
        return f"{self.origin}{self.pathname}{self.search}{self.hash}"

    def toString(self) -> str:
        """The whole."""
        return self.href

    def __str__(self) -> str:
        return self.href


class _Crypto:
    """Random identifiers."""

    @staticmethod
    def randomUUID() -> str:
        """A new one."""
        return str(uuid.uuid4())


crypto = _Crypto()


class WebSocket:
    """A socket to a server whose host the application's configuration names; made with `new`, it opens by itself."""

    CONNECTING, OPEN, CLOSING, CLOSED = range(4)

    @classmethod
    def new(cls, url: Any, protocols: str | Iterable[str] = ()) -> Any:
        """To a URL, with subprotocols to choose from."""
        return faced(dial(str(url), [protocols] if isinstance(protocols, str) else list(protocols)))


class WebSocketPair:
    """The two ends of a new socket: the client's and the server's; made with `new`."""

    @classmethod
    def new(cls) -> JsObject:
        """The ends, under the names 0 and 1."""
        pair = homing.WebSocketPair()
        return JsObject({"0": faced(pair.client), "1": faced(pair.server)})


class WebSocketRequestResponsePair:
    """A message that is answered without waking the object, and its answer; made with `new`."""

    @classmethod
    def new(cls, request: str, response: str) -> Any:
        """Of two texts."""
        return faced(homing.WebSocketRequestResponsePair(request, response))


class Response(workers.Response):
    """As `workers.Response`; made with `new`."""

    @classmethod
    def new(cls, body: Any = None, options: Mapping[str, Any] | None = None, **more: Any) -> Response:
        """With the options of JavaScript: status, headers, webSocket."""
        given = {**(options or {}), **more}
        client = given.get("webSocket")
        return cls(body, given.get("status", 200), given.get("statusText", ""), given.get("headers"), client)


class Headers(workers.Headers):
    """As `workers.Headers`; made with `new`."""

    @classmethod
    def new(cls, items: Any = ()) -> Headers:
        """With these fields."""
        return cls(items)


class Request(workers.Request):
    """As `workers.Request`; made with `new`."""

    @classmethod
    def new(cls, url: Any, options: Mapping[str, Any] | None = None, **more: Any) -> Request:
        """With the options of JavaScript: method, headers, body."""
        given: dict[str, Any] = {**(options or {}), **more}
        if isinstance(url, workers.Request):
            given = {"method": url.method, "headers": url.headers, "body": url.body, **given}
            url = url.url
        return cls(str(url), **{key: given[key] for key in ("method", "headers", "body") if key in given})


async def fetch(resource: Any, options: Mapping[str, Any] | None = None, **more: Any) -> workers.FetchResponse:
    """Send a request to a host that the application's configuration names; see `homing.fetch`."""
    return await workers.fetch(resource, **dict(options or {}), **more)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return Unsupported(f"js.{name}")
