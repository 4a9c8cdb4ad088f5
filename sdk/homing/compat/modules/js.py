"""`import js`: what server code uses of JavaScript's globals.

Whatever else is imported from here can be, and raises `NotSupported` with its name when it is used.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import workers

import homing
from homing import levels
from homing.compat.dialing import dial
from homing.compat.membrane import JsArray, JsObject, faced, plain
from homing.compat.unsupported import Unsupported
from homing.errors import NotSupported


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


class TransformStream(homing.TransformStream):
    """As `homing.TransformStream`; made with `new`."""

    @classmethod
    def new(cls, *_: Any) -> TransformStream:
        """What is written comes out as it is: nothing is transformed."""
        if any(value is not None for value in _):
            raise NotSupported("a TransformStream that transforms is not supported; write what is to come out")
        return cls()


class Response(workers.Response):
    """As `workers.Response`; made with `new`."""

    @classmethod
    def new(cls, body: Any = None, options: Mapping[str, Any] | None = None, **more: Any) -> Response:
        """With the options of JavaScript: status, headers, webSocket."""
        given = {**(options or {}), **more}
        client = given.get("webSocket")
        return cls(body, given.get("status", 200), given.get("statusText", ""), given.get("headers"), client)

    @classmethod
    def json(  # pyright: ignore[reportIncompatibleMethodOverride] - JavaScript's options stand in the second place
        cls, value: Any, options: Mapping[str, Any] | None = None, **more: Any
    ) -> Response:
        """An answer whose body is the JSON of a value."""
        given = {**(options or {}), **more}
        headers = Headers(given.get("headers") or ())
        if "content-type" not in headers:
            headers["content-type"] = "application/json"
        return cls.new(JSON.stringify(value), {**given, "headers": headers})


class Headers(workers.Headers):
    """As `workers.Headers`; made with `new`."""

    @classmethod
    def new(cls, items: Any = ()) -> Headers:
        """With these fields."""
        return cls(items.raw() if isinstance(items, workers.Headers) else items or ())

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self

    def set(self, name: str, value: Any) -> None:
        """Give a field one value."""
        self[name] = str(value)

    def delete(self, name: str) -> None:
        """Take a field out."""
        self.pop(name, None)

    def getSetCookie(self) -> JsArray:
        """Every cookie that is set."""
        return JsArray(self.get_all("set-cookie"))

    def entries(self) -> JsArray:
        """Pairs."""
        return JsArray(JsArray(pair) for pair in self.items())


class Request(workers.Request):
    """As `workers.Request`; made with `new`."""

    @classmethod
    def new(cls, url: Any, options: Mapping[str, Any] | None = None, **more: Any) -> Request:
        """With the options of JavaScript: method, headers, body."""
        given: dict[str, Any] = {**(options or {}), **more}
        if isinstance(url, workers.Request):
            given = {"method": url.method, "headers": url.headers, "body": url.homing_body, **given}
            url = url.url
        return cls(str(url), **{key: given[key] for key in ("method", "headers", "body") if key in given})


async def fetch(resource: Any, options: Mapping[str, Any] | None = None, **more: Any) -> workers.FetchResponse:
    """Send a request to a host that the application's configuration names; see `homing.fetch`."""
    return await workers.fetch(resource, **dict(options or {}), **more)


class FormData(workers.FormData):
    """As `workers.FormData`; made with `new`."""

    @classmethod
    def new(cls) -> FormData:
        """An empty one."""
        return cls()


class Blob(workers.Blob):
    """As `workers.Blob`; made with `new`."""

    @classmethod
    def new(cls, parts: Iterable[Any] = (), options: Mapping[str, Any] | None = None, **more: Any) -> Blob:
        """Of texts, bytes and blobs, with the option of JavaScript: type."""
        return cls(parts, content_type=str({**(options or {}), **more}.get("type", "")))


# Few applications use these: each is imported when it is asked for.
_ELSEWHERE = {
    "homing.compat.globals.crypto": ("crypto",),
    "homing.compat.globals.data": (
        "ArrayBuffer", "TextDecoder", "TextEncoder", "Uint8Array", "atob", "btoa", "structuredClone",
    ),
    "homing.compat.globals.events": (
        "AbortController", "AbortSignal", "caches", "clearInterval", "clearTimeout", "performance", "queueMicrotask",
        "setInterval", "setTimeout",
    ),
    "homing.compat.globals.urls": ("URL", "URLSearchParams"),
    "homing.compat.html.transform": ("HTMLRewriter",),
    "homing.compat.globals.streams": ("ReadableStream",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _ELSEWHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    module = _MODULE_OF.get(name)
    return getattr(importlib.import_module(module), name) if module is not None else Unsupported(f"js.{name}")
