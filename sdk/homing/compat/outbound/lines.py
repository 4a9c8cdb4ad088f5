"""`http.client` and urllib3: their connections get an end of a line that leads to the broker instead of a socket.

Such a library writes a request of HTTP/1.1 to a socket and reads the answer from it (RFC 9112). A `Line` takes what it
writes, sends it as one request, and has the answer ready to be read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

from homing.compat import waiting
from homing.compat.outbound.exchange import Failure, exchange, failure_of, phrase_of, words_of
from homing.http import Response

_NO_PROXY = "requests go out through the node's broker: there can be no proxy"
_FRAMING = frozenset(("connection", "content-length", "transfer-encoding"))
_WITHOUT_BODY = frozenset((204, 304))


def change(module: Any) -> None:
    """Change the connections of a module: `http.client`, or `urllib3.connection`."""
    if module.__name__ == "http.client":
        plain = _connecting("http", lambda _: ConnectionError, at_once=True)
        secure = _connecting("https", lambda _: ConnectionError, at_once=True)
    else:
        unreached = module.NewConnectionError

        def refusing(connection: Any) -> Callable[[str], Exception]:
            return lambda words: unreached(connection, words)

        plain, secure = _connecting("http", refusing), _connecting("https", refusing)
    module.HTTPConnection.connect = plain
    module.HTTPSConnection.connect = secure


def _connecting(
    scheme: str, refusing: Callable[[Any], Callable[[str], Exception]], *, at_once: bool = False
) -> Callable[[Any], None]:
    """The method `connect` of a class of connections.

    Args:
        scheme: of their URLs.
        refusing: the error of a connection that cannot be made.
        at_once: a request is sent when it is complete, not when its answer is read: that is when the standard library
            expects errors of a connection. A timeout for reading is known later, and is what urllib3 has.
    """

    def connect(self: Any) -> None:
        if getattr(self, "proxy", None) or self._tunnel_host:
            raise OSError(_NO_PROXY)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port != self.default_port else ""
        self.sock = Line(f"{scheme}://{host}{port}", self.timeout, refusing(self), at_once=at_once)
        self.is_verified = scheme == "https"  # the broker has looked at the certificate

    return connect


class Asked(NamedTuple):
    """What was written to a line."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


class Line:
    """As much of a socket as clients of HTTP use.

    Args:
        origin: scheme, host and port.
        timeout: in seconds; what is no number stands for none.
        refused: makes the error of a connection that cannot be made.
        at_once: see `_connecting`.
    """

    def __init__(self, origin: str, timeout: Any, refused: Callable[[str], Exception], *, at_once: bool) -> None:
        self._origin = origin
        self._refused = refused
        self._at_once = at_once
        self._written = bytearray()
        self._answer: bytes | None = None
        self._late: TimeoutError | None = None
        self.settimeout(timeout)

    def settimeout(self, timeout: Any) -> None:
        """Until the whole answer is there, in seconds."""
        self._timeout_s = float(timeout) if isinstance(timeout, (int, float)) else None

    def sendall(self, data: Any) -> None:
        """Write a part of the request."""
        self._written += data
        if self._at_once and self._answer is None:
            asked = read_request(self._written)
            if asked is not None:
                self._exchange(asked)

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        """What the answer is read from.

        Raises:
            TimeoutError: it was not there in time.
            OSError: it could not be had.
        """
        if self._answer is None and self._late is None:
            asked = read_request(self._written)
            if asked is None:
                raise ConnectionError("the request is not complete")
            self._exchange(asked)
        if self._late is not None:
            raise self._late
        return io.BytesIO(self._answer or b"")

    def close(self) -> None:
        """Nothing is open."""

    def shutdown(self, how: int = 0) -> None:
        """Nothing is open."""

    def _exchange(self, asked: Asked) -> None:
        if not asked.target.startswith("/"):
            raise OSError(_NO_PROXY)
        url, timeout_s = f"{self._origin}{asked.target}", self._timeout_s
        try:
            found = waiting.wait(exchange(asked.method, url, asked.headers, asked.body, timeout_s))
        except Exception as error:
            failure, words = failure_of(error), words_of(error, timeout_s)
            if failure is None:
                raise
            if failure is not Failure.LATE:
                raise (ConnectionError if failure is Failure.BROKEN else self._refused)(words) from error
            self._late = TimeoutError(words)
        else:
            self._answer = written(found, asked.method)


def read_request(data: bytes | bytearray) -> Asked | None:
    """A request of HTTP/1.1; None: not all of it was written yet.

    Example:
        >>> read_request(b"POST /a HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 2\\r\\n\\r\\nhi").body
        b'hi'
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    fields = {name.lower(): value for name, value in headers}
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = _dechunked(data, end + 4)
    else:
        length = int(fields.get("content-length") or 0)
        body = bytes(data[end + 4 : end + 4 + length]) if len(data) - end - 4 >= length else None
    return None if body is None else Asked(method, target, headers, body)


def _dechunked(data: bytes | bytearray, at: int) -> bytes | None:
    """The body that was written in chunks from a place on; None: its end is missing."""
    if not data.endswith(b"0\r\n\r\n"):
        return None
    chunks: list[bytes] = []
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(bytes(data[at:end]).partition(b";")[0], 16)
        if size == 0:
            return b"".join(chunks)
        at = end + 2 + size + 2
        chunks.append(bytes(data[end + 2 : at - 2]))
    return None


def written(answer: Response, method: str) -> bytes:
    """An answer as a server writes it; the connection ends with it."""
    whole = method == "HEAD" or answer.status in _WITHOUT_BODY  # what it says of its length is not of its body
    kept = [
        f"{name}: {value}\r\n"
        for name, value in answer.headers.raw()
        if name.lower() not in _FRAMING or (whole and name.lower() == "content-length")
    ]
    body = answer.homing_body
    assert isinstance(body, bytes), "the broker's answers are whole"
    length = "" if whole else f"content-length: {len(body)}\r\n"
    head = f"HTTP/1.1 {answer.status} {phrase_of(answer.status)}\r\n{''.join(kept)}{length}connection: close\r\n\r\n"
    return head.encode("latin-1") + (b"" if whole else body)
