"""`js.WebSocket.new(url)`: a socket to the outside that opens by itself (https://websockets.spec.whatwg.org/)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from homing import http
from homing.compat.membrane import faced
from homing.errors import BadRequest, HomingError
from homing.listeners import ABNORMAL, hear
from homing.sockets import READY_STATE_CLOSED, READY_STATE_CONNECTING, SocketEvent, WebSocket

_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}

_opening: set[asyncio.Task[None]] = set()


class DialedSocket(WebSocket):
    """A socket that becomes open, or is closed with an error, some time after it was made."""

    __slots__ = ()

    def accept(self) -> None:
        """It accepts itself.

        Raises:
            BadRequest: the application asks for it.
        """
        if not self.homing_number:
            raise BadRequest("a WebSocket that was made for a URL opens by itself; it cannot be accepted")
        super().accept()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """See `WebSocket.close`; one that is not open yet will not open."""
        if self.homing_port is None and self.ready_state == READY_STATE_CONNECTING:
            self.ready_state = READY_STATE_CLOSED
        else:
            super().close(code, reason)


def dial(url: str, protocols: Sequence[str]) -> WebSocket:
    """A socket to a server; listeners hear when it is open.

    Args:
        url: ws or wss, of a host that the application's configuration names; see `homing.fetch`.
        protocols: subprotocols to choose from, the preferred first.

    Raises:
        ValueError: the URL has another scheme.
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in _SCHEMES:
        raise ValueError(f"the URL of a WebSocket begins with ws:// or wss://, not {url[:200]!r}")
    fields = [("upgrade", "websocket")]
    if protocols:
        fields.append(("sec-websocket-protocol", ", ".join(protocols)))
    ws = DialedSocket()
    task = asyncio.ensure_future(_open(ws, http.Request(f"{_SCHEMES[scheme.lower()]}://{rest}", headers=fields)))
    _opening.add(task)
    task.add_done_callback(_opening.discard)
    return ws


async def _open(ws: DialedSocket, request: http.Request) -> None:
    try:
        answer = await http.fetch(request)
        found, why = answer.web_socket, f"the server answered with {answer.status}"
    except HomingError as error:
        found, why = None, str(error)
    given_up = ws.ready_state == READY_STATE_CLOSED
    if found is None:
        ws.ready_state = READY_STATE_CLOSED
        events = [SocketEvent("error", ws, message=why), SocketEvent("close", ws, code=ABNORMAL)]
    else:
        ws.homing_number, ws.ready_state = found.homing_number, READY_STATE_CONNECTING
        ws.accept()
        events = [] if given_up else [SocketEvent("open", ws)]
        if given_up:
            ws.close()
    heard = hear(events, faced)
    if heard is not None:
        await heard
