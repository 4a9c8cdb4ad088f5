"""The short way of a message on a WebSocket: no task, no queue, one write for each; as `lane` is for calls.

The request for a socket is a matter of ASGI (`socket_app`). Once the client's connection is a socket that this gateway
holds, the protocol carries it alone: what comes is passed on as it is parsed, what is said is written as it arrives,
and nothing of the request stays in memory.

The HTTP server's protocol class is extended at three points: who answers the request, where a whole message has come,
and the queue by which it tells its application what happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import structlog
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from homing_gateway.limits import SOCKET_CLOSE_S_MAX
from homing_gateway.sockets import ABNORMAL, BINARY, CLOSE, TEXT, Outgoing

if TYPE_CHECKING:
    from homing_gateway.sockets import HeldSocket

CONNECTION = "homing.connection"  # among the extensions of an ASGI scope: whoever carries the socket that comes of it
NO_CODE = 1005  # never in a close frame (RFC 6455, 7.4.1)
NO_TEXT = 1007  # a text that is not UTF-8

_log = structlog.get_logger("homing.gateway")


def end_of(message: dict[str, Any]) -> tuple[int, str]:
    """Code and reason of a connection's end. The server tells one that just broke off by saying no reason."""
    code = message.get("code") or NO_CODE
    return (ABNORMAL if code == NO_CODE and "reason" not in message else code), message.get("reason") or ""


class _Ends:
    """In the place of the server's queue, where only the end of a connection is still told; the first one counts."""

    __slots__ = ("_held",)

    def __init__(self, held: HeldSocket) -> None:
        self._held = held

    def put_nowait(self, message: dict[str, Any]) -> None:
        """The connection ends."""
        self._held.closed(*end_of(message))


class SocketProtocol(WebSocketsSansIOProtocol):
    """The HTTP server's protocol for WebSockets, with the short way; see `carry`."""

    _held: HeldSocket | None = None

    async def run_asgi(self) -> None:
        """Have the application answer the request. What has not become a socket ends with the answer."""
        scope = cast("Any", self.scope)
        scope["extensions"][CONNECTION] = self
        try:
            await cast("Any", self).app(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception:  # a fault in one request ends that request only
            _log.exception("a request for a socket failed")
            self.send_500_response()
        finally:
            del scope["extensions"][CONNECTION]  # the two know each other: they would lie in memory for a while
        if self._held is None:
            self.transport.close()

    def carry(self, held: HeldSocket) -> None:
        """From now on the connection is this socket. What the client has sent meanwhile is passed on."""
        self._held = held
        queue, self.queue = self.queue, cast("Any", _Ends(held))
        self.scope = self.request = self.response = cast("Any", None)  # most sockets are quiet, and there are many
        held.on_out, held.on_room = self._say, self._read_on
        while not queue.empty():
            message = cast("dict[str, Any]", queue.get_nowait())
            if message["type"] != "websocket.receive":
                held.closed(*end_of(message))
            elif (text := message.get("text")) is not None:
                held.came(TEXT, text.encode())
            else:
                held.came(BINARY, message["bytes"])
        self._read_on()
        self._say()

    # -- from the client ------------------------------------------------------------------------------------------

    def send_receive_event_to_app(self) -> None:
        """A whole message has come: pass it on, and read no further while there is no room for more."""
        held = self._held
        if held is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data, self.frames = b"".join(self.frames), []
        kind = BINARY
        if self.curr_msg_data_type == "text":
            kind = TEXT
            try:
                data.decode()
            except UnicodeDecodeError:
                self.conn.send_close(NO_TEXT)
                self.handle_parser_exception()
                return
        if not held.came(kind, data) and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        """There is room for more."""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    # -- to the client --------------------------------------------------------------------------------------------

    def _say(self) -> None:
        """Write what there is, as long as the client takes it; one that is to be closed has not for ever."""
        held = self._held
        if held is None:
            return
        while self.writable.is_set() and not self.close_sent and (what := held.take()) is not None:
            try:
                self._write(what)
            except InvalidState:  # its end is on the way; whoever reads is told
                return
        if (held.over or self.close_sent) and self.close_timer is None:
            self.close_timer = self.loop.call_later(SOCKET_CLOSE_S_MAX, self.transport.abort)

    def _write(self, what: Outgoing) -> None:
        if what.kind == TEXT:
            self.conn.send_text(what.data)
        elif what.kind == BINARY:
            self.conn.send_binary(what.data)
        elif what.kind == CLOSE:
            self.conn.send_close(what.code, what.reason)
            self.close_sent = True
            self._read_on()  # for the client's answer
            self.queue.put_nowait({"type": "websocket.disconnect", "code": what.code, "reason": what.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))

    def resume_writing(self) -> None:
        """The client takes more."""
        super().resume_writing()
        self._say()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; the two know each other no more."""
        super().connection_lost(exc)
        held, self._held = self._held, None
        if held is not None:
            held.on_out = held.on_room = None
