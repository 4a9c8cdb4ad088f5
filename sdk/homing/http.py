"""Requests and responses as an application meets them."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from homing.errors import NotSupported
from homing.streams import Pieces, ReadableStream, WholeBody
from homing.transform import TransformStream, streamed

if TYPE_CHECKING:
    from homing.sockets import WebSocket

BodyLike = bytes | bytearray | memoryview | str | ReadableStream | TransformStream | Pieces | None
HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]

_json_decode = msgspec.json.Decoder().decode
_json_encode = msgspec.json.Encoder().encode


class Headers(MutableMapping[str, str]):
    """Header fields, a mapping; names are case-insensitive. A field with several values has them joined with a comma.

    Example:
        >>> headers = Headers({"Content-Type": "text/plain"})
        >>> headers["content-type"]
        'text/plain'
    """

    __slots__ = ("_items",)

    def __init__(self, items: HeadersLike = ()) -> None:
        pairs = cast("Iterable[tuple[str, str]]", items.items() if isinstance(items, Mapping) else items)
        self._items: list[tuple[str, str]] = [_checked(name, value) for name, value in pairs]

    def __getitem__(self, name: str) -> str:
        """All values of a field, joined with a comma."""
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        lowered = name.lower()
        self._items = [item for item in self._items if item[0].lower() != lowered]
        self.append(name, value)

    def __delitem__(self, name: str) -> None:
        lowered = name.lower()
        kept = [item for item in self._items if item[0].lower() != lowered]
        if len(kept) == len(self._items):
            raise KeyError(name)
        self._items = kept

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._items))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._items})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def get_all(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        lowered = name.lower()
        return [value for own, value in self._items if own.lower() == lowered]

    def append(self, name: str, value: str) -> None:
        """Add a value to a field, beside those that it has."""
        self._items.append(_checked(name, value))

    def raw(self) -> list[tuple[str, str]]:
        """The fields as they were given, in order."""
        return list(self._items)

    def __repr__(self) -> str:
        return f"Headers({self._items!r})"


def _checked(name: str, value: str) -> tuple[str, str]:
    # A line break would let a value become a header of its own.
    if not name or any(c in name for c in "\r\n\0: ") or any(c in value for c in "\r\n\0"):
        raise ValueError(f"not a header field: {name!r}")
    return name, value


class _Bodied:
    """What a request and a response have in common.

    Attributes:
        headers: the fields.
        homing_body: the body, for the runtime: its bytes, or the stream that it comes as.
    """

    headers: Headers
    homing_body: builtins.bytes | ReadableStream

    def _take(self, body: BodyLike) -> None:
        if body is None or body.__class__ is bytes:
            self.homing_body = cast("builtins.bytes", body or b"")
        elif isinstance(body, str):
            self.homing_body = body.encode()
        elif isinstance(body, (bytes, bytearray, memoryview)):
            self.homing_body = bytes(body)
        else:
            stream = streamed(body)
            if stream is None:
                raise TypeError(f"a body is bytes, text or a stream of these, not {type(body).__qualname__}")
            self.homing_body = stream

    @property
    def body(self) -> WholeBody | ReadableStream:
        """The body: bytes where it is there as a whole, else a stream; `async for` and `get_reader` read either."""
        body = self.homing_body
        return body if isinstance(body, ReadableStream) else WholeBody(body)

    @body.setter
    def body(self, body: BodyLike) -> None:
        self._take(body)

    @property
    def body_used(self) -> bool:
        """Whether it is a stream and somebody has read from it."""
        return isinstance(self.homing_body, ReadableStream) and self.homing_body.used

    async def bytes(self) -> builtins.bytes:
        """The whole body; a stream is read to its end, which can be done once.

        Raises:
            TooLarge: it is a stream of more than 32 MiB.
            BadRequest: it is a stream that was read before; or it broke off.
        """
        body = self.homing_body
        return await body.collect() if isinstance(body, ReadableStream) else body

    async def array_buffer(self) -> builtins.bytes:
        """As `bytes`."""
        return await self.bytes()

    async def text(self) -> str:
        """The body as UTF-8 text; what is not UTF-8 is replaced. Raises what `bytes` raises."""
        return (await self.bytes()).decode(errors="replace")


class Request(_Bodied):
    """A request to an object or an entrypoint.

    Args:
        url: the whole URL.
        method: the verb.
        headers: its fields.
        body: bytes, text, None, or a stream of pieces: a `ReadableStream`, or anything that can be iterated.

    Attributes:
        method: the verb, in capitals.
        url, headers: as they were given.
        body: its bytes, empty where there are none; a `ReadableStream` where it is long, or of unknown length.

    Example:
        >>> async def fetch(self, request):
        ...     data = await request.json()
        ...     return Response.json({"hello": data["name"]})
    """

    def __init__(self, url: str, *, method: str = "GET", headers: HeadersLike = (), body: BodyLike = None) -> None:
        self.url = url
        self.method = method.upper()
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self._take(body)

    async def json(self) -> Any:
        """The value of the body's JSON. Raises what `bytes` raises, too.

        Raises:
            ValueError: the body is not JSON.
        """
        return _json_decode(await self.bytes())

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url})"


def as_request(request: Request | str, options: Mapping[str, Any]) -> Request:
    """A request as it was given, or for a URL that was.

    Args:
        request: a request, or its URL.
        options: with a URL, what `Request` takes: `method`, `headers`, `body`.

    Raises:
        TypeError: there are options for what is a request already.
    """
    if isinstance(request, str):
        return Request(request, **options)
    if options:
        raise TypeError("options go with a URL, not with a Request")
    return request


class Response(_Bodied):
    """An answer.

    Args:
        body: bytes, or text, which is sent as UTF-8; None for no body. Or a stream of these, which is sent as it comes
            and no faster than it is read: an asynchronous generator, a `ReadableStream`, the `readable` of a
            `TransformStream`. It is closed when the client goes away.
        status: the status code, 101 or 200 to 599.
        headers: its fields. Text without a content type is sent as `text/plain; charset=utf-8`.
        web_socket: the client's end of a `WebSocketPair`, with status 101.

    Raises:
        ValueError: the status is out of range, or a field is not one.

    Attributes:
        status, headers, web_socket: as they were given.
        body: its bytes.

    Example:
        >>> Response("not here", status=404).status
        404
    """

    def __init__(
        self,
        body: BodyLike = None,
        *,
        status: int = 200,
        headers: HeadersLike = (),
        web_socket: WebSocket | None = None,
    ) -> None:
        if status != 101 and not 200 <= status <= 599:
            raise ValueError(f"a status is 101 or 200 to 599, not {status}")
        self.status = status
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.web_socket = web_socket
        self._take(body)
        if isinstance(body, str) and "content-type" not in self.headers:
            self.headers["content-type"] = "text/plain; charset=utf-8"

    @classmethod
    def json(cls, value: Any, *, status: int = 200, headers: HeadersLike = ()) -> Response:
        """An answer whose body is the JSON of a value.

        Example:
            >>> Response.json({"n": 1}).body
            b'{"n":1}'
        """
        response = cls(_json_encode(value), status=status, headers=headers)
        if "content-type" not in response.headers:
            response.headers["content-type"] = "application/json"
        return response

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status < 300

    def __repr__(self) -> str:
        body = self.homing_body
        return f"Response({self.status}, {'a stream' if isinstance(body, ReadableStream) else f'{len(body)} bytes'})"


Redirect = Literal["follow", "manual", "error"]
Fetcher = Callable[[Request, Redirect], Awaitable[Response]]


class _State:
    """Of this process.

    Attributes:
        fetcher: carries out `fetch`; None: this is no worker.
    """

    fetcher: Fetcher | None = None


_state = _State()


def let_fetch(fetcher: Fetcher | None) -> None:
    """Say who carries out `fetch`, None: nobody; the runtime of a worker does."""
    _state.fetcher = fetcher


async def fetch(request: Request | str, *, redirect: Redirect = "follow", **options: Any) -> Response:
    """Send a request to a host outside the cluster, one of those that the application's configuration names.

    It leaves the node when what the object has written is safe, as a call to another object does. A body that is a
    stream is sent as it comes, and an answer that is long, or of unknown length, has a stream as its body. With the
    field `upgrade: websocket` it asks for a WebSocket: an answer of status 101 has that as `web_socket`, to be
    accepted.

    Args:
        request: a request, or its URL.
        redirect: "follow": each is checked like the first; "manual": it is the answer; "error": it is an error.
        options: with a URL, what `Request` takes: `method`, `headers`, `body`.

    Raises:
        Forbidden: the configuration does not name the host in `fetch_hosts`, or it stands for a private address.
        BadRequest: no URL that can be fetched, or too many redirects, or one that asks once more for a body that was a
            stream; or that stream broke off.
        Unavailable: the host cannot be reached.
        NotSupported: this code does not run in a worker.

    Example:
        >>> answer = await homing.fetch("https://api.example.com/", headers={"accept": "text/plain"})  # doctest: +SKIP
    """
    request = as_request(request, options)
    if redirect not in ("follow", "manual", "error"):
        raise ValueError(f"redirect is follow, manual or error, not {redirect!r}")
    if _state.fetcher is None:
        raise NotSupported("fetch is for the code of an application, in a worker")
    return await _state.fetcher(request, redirect)
