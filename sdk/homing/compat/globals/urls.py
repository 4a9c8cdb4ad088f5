"""`URL` and `URLSearchParams`, as far as https://url.spec.whatwg.org/ and Python's `urllib.parse` agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from homing.compat.membrane import JsArray

_PORTS = {"http:": "80", "https:": "443", "ws:": "80", "wss:": "443"}


class URLSearchParams:
    """The query of a URL: names and values, in order."""

    def __init__(self, given: Any = "") -> None:
        if isinstance(given, str):
            self._pairs = parse_qsl(given.removeprefix("?"), keep_blank_values=True)
        else:
            items = cast("Iterable[Any]", given.items() if isinstance(given, Mapping) else given)
            self._pairs = [(str(name), str(value)) for name, value in items]

    @classmethod
    def new(cls, given: Any = "") -> URLSearchParams:
        """Of a query, an object, or pairs."""
        return cls(given)

    @property
    def size(self) -> int:
        """How many pairs there are."""
        return len(self._pairs)

    def get(self, name: str) -> str | None:
        """The first value of a name."""
        return next((value for own, value in self._pairs if own == name), None)

    def getAll(self, name: str) -> JsArray:
        """Every value of a name."""
        return JsArray(value for own, value in self._pairs if own == name)

    def has(self, name: str) -> bool:
        """Whether a name stands there."""
        return any(own == name for own, _ in self._pairs)

    def set(self, name: str, value: Any) -> None:
        """Give a name one value, in the place of its first."""
        at = next((at for at, (own, _) in enumerate(self._pairs) if own == name), len(self._pairs))
        kept = [pair for pair in self._pairs[at:] if pair[0] != name]
        self._pairs[at:] = [(name, str(value)), *kept]

    def append(self, name: str, value: Any) -> None:
        """Give a name one more value."""
        self._pairs.append((name, str(value)))

    def delete(self, name: str) -> None:
        """Take a name out."""
        self._pairs = [pair for pair in self._pairs if pair[0] != name]

    def sort(self) -> None:
        """Order by names."""
        self._pairs.sort(key=lambda pair: pair[0])

    def keys(self) -> JsArray:
        """Names."""
        return JsArray(name for name, _ in self._pairs)

    def values(self) -> JsArray:
        """Values."""
        return JsArray(value for _, value in self._pairs)

    def entries(self) -> JsArray:
        """Pairs."""
        return JsArray(JsArray(pair) for pair in self._pairs)

    def __iter__(self) -> Iterator[JsArray]:
        return iter(self.entries())

    def toString(self) -> str:
        """The query."""
        return urlencode(self._pairs)

    def __str__(self) -> str:
        return self.toString()


class URL:
    """A URL and its parts; each can be set, and `href` follows.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, url: str, base: str | None = None) -> None:
        parts = urlsplit(urljoin(base, url) if base is not None else url)
        if not parts.scheme:
            raise ValueError(f"Invalid URL: {url}")
        self.protocol = f"{parts.scheme}:"
        self.username, self.password = parts.username or "", parts.password or ""
        self.hostname = parts.hostname or ""
        port = str(parts.port or "")
        self.port = port if port != _PORTS.get(self.protocol) else ""
        self.pathname = parts.path or "/"
        self.hash = f"#{parts.fragment}" if parts.fragment else ""
        self.searchParams = URLSearchParams(parts.query)

    @classmethod
    def new(cls, url: Any, base: Any = None) -> URL:
        """Of a text, against a base if it is relative."""
        return cls(str(url), None if base is None else str(base))

    @classmethod
    def canParse(cls, url: Any, base: Any = None) -> bool:
        """Whether it is one."""
        return cls.parse(url, base) is not None

    @classmethod
    def parse(cls, url: Any, base: Any = None) -> URL | None:
        """As `new`; None where it is none."""
        try:
            return cls.new(url, base)
        except ValueError:
            return None

    @property
    def host(self) -> str:
        """Name and port; without the port where it is that of the protocol."""
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{name}:{self.port}" if self.port else name

    @property
    def origin(self) -> str:
        """Protocol and host."""
        return f"{self.protocol}//{self.host}"

    @property
    def search(self) -> str:
        """The query with its question mark, or nothing."""
        query = str(self.searchParams)
        return f"?{query}" if query else ""

    @search.setter
    def search(self, query: str) -> None:
        self.searchParams = URLSearchParams(query)

    @property
    def href(self) -> str:
        """The whole."""
        user = self.username + (f":{self.password}" if self.password else "")
        path = self.pathname if self.pathname.startswith("/") else f"/{self.pathname}"
        return f"{self.protocol}//{f'{user}@' if user else ''}{self.host}{path}{self.search}{self.hash}"

    def toString(self) -> str:
        """The whole."""
        return self.href

    def toJSON(self) -> str:
        """The whole."""
        return self.href

    def __str__(self) -> str:
        return self.href
