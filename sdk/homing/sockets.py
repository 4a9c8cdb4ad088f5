"""WebSockets of objects. They can be imported; using one raises `NotSupported` until they are built."""

from __future__ import annotations

from typing import Any

from homing.errors import NotSupported


def _refuse() -> NotSupported:
    return NotSupported("WebSockets are not supported yet")


class WebSocket:
    """A handle on a socket that the gateway holds."""

    def send(self, message: str | bytes) -> None:
        """Not built yet."""
        raise _refuse()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Not built yet."""
        raise _refuse()

    def serialize_attachment(self, value: Any) -> None:
        """Not built yet."""
        raise _refuse()

    def deserialize_attachment(self) -> Any:
        """Not built yet."""
        raise _refuse()


class WebSocketPair:
    """The two ends of a new socket: `client` goes into the response, `server` is accepted by the object."""

    client: WebSocket
    server: WebSocket

    def __init__(self) -> None:
        raise _refuse()


class WebSocketRequestResponsePair:
    """A request that is answered without waking the object, and its answer."""

    def __init__(self, request: str, response: str) -> None:
        raise _refuse()
