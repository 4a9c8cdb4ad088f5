"""The sockets of one activation: handles on what the gateways hold, and what a turn says on them.

What is said leaves with the turn (`turn_keeper.py`), in one frame with what the turn wrote. A message to many sockets
in a row is one item of it. Live sockets are those that have listeners (`listeners.py`): the node forgets them with the
activation.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from homing.errors import BadRequest, NotSupported, Overloaded, TooLarge
from homing.sockets import (
    READY_STATE_CLOSED,
    READY_STATE_CLOSING,
    READY_STATE_CONNECTING,
    ClientEnd,
    PassedSocket,
    WebSocket,
    WebSocketRequestResponsePair,
)
from homing_node.workers.inside import limits

# What is said; the first element of an item.
ACCEPT = 1  # number, tags
TEXT = 2  # numbers, text
BINARY = 3  # numbers, bytes
CLOSE = 4  # numbers, code, reason
ATTACH = 5  # numbers, bytes
AUTO = 6  # request, response; None: no more
LIVE = 7  # number: of a new socket, or of one to the outside that is there

Known = tuple[int, Sequence[str], bytes | None, int, bool]
"""A socket as the node tells of it: number, tags, attachment, when it was last answered automatically, closing."""


class ObjectSockets:
    """Implements `homing.sockets.Sockets` and `SocketPort`.

    Args:
        begin: called before anything is said: a turn is under way from then on, or it raises.
    """

    __slots__ = ("_answered", "_auto", "_begin", "_live", "_said", "_sockets")

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._sockets: dict[int, WebSocket] = {}
        self._live: dict[int, WebSocket] = {}
        self._answered: dict[int, int] = {}
        self._auto: WebSocketRequestResponsePair | None = None
        self._said: list[list[Any]] = []

    # -- for the object -------------------------------------------------------------------------------------------

    def accept(self, ws: WebSocket, tags: tuple[str, ...]) -> None:
        """See `homing.sockets.Sockets`."""
        if ws.ready_state != READY_STATE_CONNECTING or ws.homing_number or isinstance(ws, ClientEnd | PassedSocket):
            raise BadRequest("what is accepted is the server's end of a new WebSocketPair, and once")
        self._begin_one_more()
        number = secrets.randbits(63) | 1
        ws.homing_bind(self, number, tags, None)
        self._sockets[number] = ws
        self._said.append([ACCEPT, number, tags])

    def accept_live(self, ws: WebSocket) -> None:
        """See `WebSocket.accept`."""
        if ws.homing_live:
            return
        if isinstance(ws, PassedSocket):
            raise NotSupported(
                "being the client of another object's socket is not supported yet; it can only be answered with"
            )
        if isinstance(ws, ClientEnd):
            raise NotSupported(
                "accepting the client's end of a WebSocketPair is not supported yet; it goes into a response"
            )
        if ws.ready_state != READY_STATE_CONNECTING:
            raise BadRequest("ctx.accept_websocket has the socket, or it is closed: it takes no listeners")
        self._begin_one_more()
        ws.homing_bind(self, ws.homing_number or secrets.randbits(63) | 1, (), None)
        ws.homing_live = True
        self._live[ws.homing_number] = ws
        self._said.append([LIVE, ws.homing_number])

    def outside(self, number: int) -> WebSocket:
        """A socket to the outside that the node has opened; nothing comes on it before it is accepted."""
        ws = WebSocket()
        ws.homing_number = number
        return ws

    def _begin_one_more(self) -> None:
        if len(self._sockets) + len(self._live) >= limits.sockets_max:
            raise Overloaded(f"an object has at most {limits.sockets_max} sockets")
        self._begin()

    def all(self, tag: str | None) -> list[WebSocket]:
        """See `homing.sockets.Sockets`."""
        if tag is None:
            return list(self._sockets.values())
        return [ws for ws in self._sockets.values() if tag in ws.homing_tags]

    def tags(self, ws: WebSocket) -> list[str]:
        """See `homing.sockets.Sockets`."""
        if self._sockets.get(ws.homing_number) is not ws:
            raise BadRequest("this object did not accept that socket, or it is closed")
        return list(ws.homing_tags)

    def set_auto_response(self, pair: WebSocketRequestResponsePair | None) -> None:
        """See `homing.sockets.Sockets`."""
        self._begin()
        self._auto = pair
        self._said.append([AUTO, pair and pair.request, pair and pair.response])

    def auto_response(self) -> WebSocketRequestResponsePair | None:
        """See `homing.sockets.Sockets`."""
        return self._auto

    def answered_at_ms(self, ws: WebSocket) -> int:
        """See `homing.sockets.Sockets`."""
        return self._answered.get(ws.homing_number, 0)

    # -- for its handles ------------------------------------------------------------------------------------------

    def send(self, ws: WebSocket, message: str | bytes) -> None:
        """See `homing.sockets.SocketPort`."""
        if ws.ready_state == READY_STATE_CLOSING:
            return  # as in a browser: the other side is not to get it
        size = len(message) if isinstance(message, bytes) else len(message.encode())
        if size > limits.socket_message_bytes_max:
            raise TooLarge(f"a message of {size} bytes; at most {limits.socket_message_bytes_max}")
        self._begin()
        kind = TEXT if isinstance(message, str) else BINARY
        last = self._said[-1] if self._said else None
        if last is not None and last[0] == kind and last[2] is message:
            last[1].append(ws.homing_number)
        else:
            self._said.append([kind, [ws.homing_number], message])

    def close(self, ws: WebSocket, code: int, reason: str) -> None:
        """See `homing.sockets.SocketPort`."""
        self._begin()
        self._said.append([CLOSE, [ws.homing_number], code, reason])

    def attach(self, ws: WebSocket, data: bytes) -> None:
        """See `homing.sockets.SocketPort`."""
        if not ws.homing_live:  # else it stays on the handle, which lives as long
            self._begin()
            self._said.append([ATTACH, [ws.homing_number], data])

    # -- for the runtime ------------------------------------------------------------------------------------------

    def know(self, sockets: Sequence[Known], auto: Sequence[str] | None) -> None:
        """What the node says of the object's sockets, all of them or some that have changed."""
        for number, tags, attachment, answered_ms, closing in sockets:
            if number not in self._sockets:
                ws = self._sockets[number] = WebSocket()
                ws.homing_bind(self, number, tuple(tags), attachment)
                if closing:
                    ws.ready_state = READY_STATE_CLOSING
            if answered_ms:
                self._answered[number] = answered_ms
        if auto is not None:
            self._auto = WebSocketRequestResponsePair(*auto)

    def find(self, number: int) -> WebSocket | None:
        """The socket of a number."""
        return self._sockets.get(number) or self._live.get(number)

    def closed(self, number: int) -> WebSocket | None:
        """A socket is closed: it is the object's no more."""
        ws = self._sockets.pop(number, None) or self._live.pop(number, None)
        self._answered.pop(number, None)
        if ws is not None:
            ws.ready_state = READY_STATE_CLOSED
        return ws

    def of_client(self, client: WebSocket) -> tuple[int, bool]:
        """The number of the socket whose client's end goes into a response, and whether it is live.

        Raises:
            BadRequest: its server's end was not accepted here.
            NotSupported: it is a socket to the outside.
        """
        server = client.pair.server if isinstance(client, ClientEnd) else None
        number = server.homing_number if server is not None else 0
        if number and self.find(number) is server:
            return number, number in self._live
        if server is None and client.homing_number:
            raise NotSupported("a socket to the outside cannot be answered with: accept it, and pass on what comes")
        raise BadRequest("web_socket is the client's end of a WebSocketPair whose server's end was accepted")

    @property
    def live(self) -> bool:
        """Whether a socket is open that ends with the activation."""
        return bool(self._live)

    @property
    def unsent(self) -> bool:
        """Whether the turn has said something."""
        return bool(self._said)

    def take(self) -> list[list[Any]]:
        """What the turn says, to be sent."""
        said, self._said = self._said, []
        return said

    def undo(self) -> None:
        """The turn failed: nothing of what it said leaves, and what it accepted is not accepted."""
        for item in self.take():
            if item[0] in (ACCEPT, LIVE):
                self.closed(item[1])

    def end(self) -> None:
        """The activation is over. Whoever still has a handle finds it closed."""
        for ws in (*self._sockets.values(), *self._live.values()):
            ws.ready_state = READY_STATE_CLOSED
        self._sockets.clear()
        self._live.clear()
        self._said.clear()
