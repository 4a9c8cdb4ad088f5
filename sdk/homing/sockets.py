"""WebSockets of objects: the gateway holds the socket, the object has a handle.

The handle stays when the object leaves memory, and when its node dies or another takes over: the next message finds
the object again, with the tags and the attachment that the socket has. A live socket, one with listeners, belongs to
the running instance instead, and ends with it (docs/sockets.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from homing.errors import BadRequest, NotSupported
from homing.values import from_stored, to_stored

READY_STATE_CONNECTING = 0
READY_STATE_OPEN = 1
READY_STATE_CLOSING = 2
READY_STATE_CLOSED = 3

ATTACHMENT_BYTES_MAX = 16_384
AUTO_RESPONSE_CHARS_MAX = 2_048
TAGS_MAX = 10
TAG_CHARS_MAX = 256
REASON_BYTES_MAX = 123  # of a close frame (RFC 6455, 5.5)
CODES = frozenset((*range(1_000, 1_004), *range(1_007, 1_015), *range(3_000, 5_000)))  # RFC 6455, 7.4, its registry
EVENTS = frozenset(("open", "message", "close", "error"))
LISTENERS_MAX = 100  # of one socket


class SocketPort(Protocol):
    """Who carries what is said on a socket; the worker's runtime implements it."""

    def send(self, ws: WebSocket, message: str | bytes) -> None:
        """Say something when the turn ends."""
        ...

    def close(self, ws: WebSocket, code: int, reason: str) -> None:
        """Close it when the turn ends."""
        ...

    def attach(self, ws: WebSocket, data: bytes) -> None:
        """Keep an attachment."""
        ...


class SocketEvent:
    """What a listener of a live socket hears.

    Attributes:
        type: `"open"`, `"message"`, `"close"` or `"error"`.
        target: the socket.
        data: of a message: text or bytes.
        code, reason, was_clean: of a close; 1006 where the other side sent none.
        message: of an error: what happened.
    """

    __slots__ = ("code", "data", "message", "reason", "target", "type", "was_clean")

    def __init__(
        self,
        kind: str,
        target: WebSocket,
        *,
        data: str | bytes | None = None,
        code: int = 0,
        reason: str = "",
        was_clean: bool = False,
        message: str = "",
    ) -> None:
        self.type, self.target, self.data = kind, target, data
        self.code, self.reason, self.was_clean = code, reason, was_clean
        self.message = message

    def __repr__(self) -> str:
        return f"SocketEvent({self.type})"


Listener = Callable[[Any], Any]


class WebSocket:
    """A handle on a socket that the gateway holds, one end of a new pair, or a socket to the outside.

    Attributes:
        ready_state: 0 it is not accepted yet, 1 open, 2 closing, 3 closed.

    What begins with `homing_` is the runtime's.

    Example:
        >>> async def websocket_message(self, ws, message):
        ...     ws.send(f"you said {message}")
    """

    __slots__ = (
        "homing_attachment",
        "homing_listeners",
        "homing_live",
        "homing_number",
        "homing_port",
        "homing_tags",
        "ready_state",
    )

    def __init__(self) -> None:
        self.ready_state = READY_STATE_CONNECTING
        self.homing_port: SocketPort | None = None
        self.homing_number = 0
        self.homing_tags: tuple[str, ...] = ()
        self.homing_attachment: bytes | None = None
        self.homing_live = False
        self.homing_listeners: dict[str, list[Listener]] | None = None

    def accept(self) -> None:
        """Have listeners hear what comes on the server's end of a `WebSocketPair`, or on the socket of an answer to
        `fetch`. It is live from then on: it belongs to the instance that runs, keeps that in memory, and ends with it.
        Nothing happens where that was done before.

        Raises:
            BadRequest: it is no such socket, or `ctx.accept_websocket` has it.
            NotSupported: it is the client's end; or this code does not run in a worker.
            Overloaded: the object has 32,768 sockets.

        Example:
            >>> def fetch(self, request):
            ...     pair = WebSocketPair()
            ...     pair.server.accept()
            ...     pair.server.add_event_listener("message", lambda event: pair.server.send(event.data))
            ...     return Response(None, status=101, web_socket=pair.client)
        """
        if _state.accept is None:
            raise NotSupported("sockets are for the code of an application, in a worker")
        _state.accept(self)

    def add_event_listener(self, kind: str, listener: Listener) -> None:
        """Have a function called with each `SocketEvent` of a kind; an async one is awaited. A listener is there once.

        Args:
            kind: `"message"`, `"close"`, `"error"`, or `"open"` of a socket to the outside that is not open yet.
            listener: is given the event.

        Raises:
            BadRequest: no such kind, or the socket has 100 listeners.
        """
        if kind not in EVENTS:
            raise BadRequest(f"a socket has the events open, message, close and error, not {kind!r}")
        found = self.homing_listeners = self.homing_listeners or {}
        if listener in found.setdefault(kind, []):
            return
        if sum(map(len, found.values())) >= LISTENERS_MAX:
            raise BadRequest(f"a socket has at most {LISTENERS_MAX} listeners")
        found[kind].append(listener)

    def remove_event_listener(self, kind: str, listener: Listener) -> None:
        """Have a listener called no more. Nothing happens where it is none."""
        found = (self.homing_listeners or {}).get(kind, [])
        if listener in found:
            found.remove(listener)

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a text or a binary message. It leaves when what the turn wrote is committed.

        Raises:
            BadRequest: the socket is not accepted, or closed.
            TypeError: neither text nor bytes.
        """
        port = self._open()
        if isinstance(message, (bytearray, memoryview)):
            message = bytes(message)
        if type(message) is not str and type(message) is not bytes:
            raise TypeError(f"a message is text or bytes, not {type(message).__qualname__}")
        port.send(self, message)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket. Nothing happens where it is closed already.

        Args:
            code: one that may be in a close frame: 1000 to 1003, 1007 to 1014, 3000 to 4999.
            reason: at most 123 bytes of UTF-8.

        Raises:
            BadRequest: another code, or a longer reason, or the socket is not accepted.
        """
        if self.ready_state in (READY_STATE_CLOSING, READY_STATE_CLOSED):
            return
        if code not in CODES:
            raise BadRequest(f"a socket is closed with 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {code}")
        if len(reason.encode()) > REASON_BYTES_MAX:
            raise BadRequest(f"the reason of a close has at most {REASON_BYTES_MAX} bytes")
        port = self._open()
        self.ready_state = READY_STATE_CLOSING
        port.close(self, code, reason)

    def serialize_attachment(self, value: Any) -> None:
        """Keep a value with the socket, in the place of the one before; it is committed as what is written.

        Raises:
            BadRequest: the socket is not accepted, or closed; or the value takes more than 16,384 bytes.
            TypeError: a value that cannot be stored.
        """
        data = to_stored(value)
        if len(data) > ATTACHMENT_BYTES_MAX:
            raise BadRequest(f"an attachment has at most {ATTACHMENT_BYTES_MAX} bytes")
        port = self._open()
        self.homing_attachment = data
        port.attach(self, data)

    def deserialize_attachment(self) -> Any:
        """The value that was kept last, or None."""
        return from_stored(self.homing_attachment) if self.homing_attachment is not None else None

    def homing_bind(self, port: SocketPort, number: int, tags: tuple[str, ...], attachment: bytes | None) -> None:
        """It is the handle of an open socket from now on."""
        self.homing_port, self.homing_number = port, number
        self.homing_tags, self.homing_attachment = tags, attachment
        self.ready_state = READY_STATE_OPEN

    def _open(self) -> SocketPort:
        if self.homing_port is None:
            raise BadRequest("the socket is not accepted: call its accept(), or give it to ctx.accept_websocket")
        if self.ready_state == READY_STATE_CLOSED:
            raise BadRequest("the socket is closed")
        return self.homing_port

    def __repr__(self) -> str:
        return f"WebSocket({self.homing_number:x}, ready_state={self.ready_state})"


Accept = Callable[[WebSocket], None]


class _State:
    """Of this process.

    Attributes:
        accept: makes a socket live; None: this is no worker.
    """

    accept: Accept | None = None


_state = _State()


def let_accept(accept: Accept) -> None:
    """Say who makes sockets live; the runtime of a worker does."""
    _state.accept = accept


class WebSocketPair:
    """The two ends of a new socket: `client` goes into the response, `server` is accepted by the object.

    Example:
        >>> async def fetch(self, request):
        ...     pair = WebSocketPair()
        ...     self.ctx.accept_websocket(pair.server, tags=["room"])
        ...     return Response(None, status=101, web_socket=pair.client)
    """

    def __init__(self) -> None:
        self.client: WebSocket = ClientEnd(self)
        self.server = WebSocket()


class ClientEnd(WebSocket):
    """The end that goes to the client."""

    __slots__ = ("pair",)

    def __init__(self, pair: WebSocketPair) -> None:
        super().__init__()
        self.pair = pair


class PassedSocket(WebSocket):
    """The client's end of a socket that another object accepted: all that can be done with it is to answer with it."""

    __slots__ = ("reference",)

    def __init__(self, reference: Any) -> None:
        super().__init__()
        self.reference = reference


class WebSocketRequestResponsePair:
    """A message that is answered without waking the object, and its answer; each of at most 2,048 characters.

    Example:
        >>> ctx.set_websocket_auto_response(WebSocketRequestResponsePair("ping", "pong"))
    """

    __slots__ = ("request", "response")

    def __init__(self, request: str, response: str) -> None:
        for text in cast("tuple[Any, Any]", (request, response)):
            if not isinstance(text, str) or len(text) > AUTO_RESPONSE_CHARS_MAX:
                raise BadRequest(
                    f"an automatic response and its request are texts of at most {AUTO_RESPONSE_CHARS_MAX}"
                )
        self.request = request
        self.response = response


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags of a socket, each once.

    Raises:
        BadRequest: too many, too long, or not texts.
    """
    if isinstance(tags, str):
        raise BadRequest("the tags of a socket are a list of texts, not one text")
    found = tuple(dict.fromkeys(tags))
    if len(found) > TAGS_MAX:
        raise BadRequest(f"a socket has at most {TAGS_MAX} tags")
    if not all(isinstance(tag, cast("Any", str)) and len(tag) <= TAG_CHARS_MAX for tag in found):
        raise BadRequest(f"a tag is a text of at most {TAG_CHARS_MAX} characters")
    return found


class Sockets(Protocol):
    """The sockets of one object; the worker's runtime implements it."""

    def accept(self, ws: WebSocket, tags: tuple[str, ...]) -> None:
        """Take a socket in."""
        ...

    def all(self, tag: str | None) -> list[WebSocket]:
        """Those that are open, or those of a tag, in the order in which they were accepted."""
        ...

    def tags(self, ws: WebSocket) -> list[str]:
        """The tags of one; raises `BadRequest` where the object has no such socket."""
        ...

    def set_auto_response(self, pair: WebSocketRequestResponsePair | None) -> None:
        """What is answered without waking the object."""
        ...

    def auto_response(self) -> WebSocketRequestResponsePair | None:
        """What was set."""
        ...

    def answered_at_ms(self, ws: WebSocket) -> int:
        """When an automatic response was last sent on it, in milliseconds since 1970; 0: never."""
        ...
