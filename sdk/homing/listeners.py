"""What comes on a live socket: an event for each listener (https://dom.spec.whatwg.org/#dispatching-events)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any

from homing.sockets import SocketEvent, WebSocket

ABNORMAL = 1006  # there was no close frame (RFC 6455, 7.1.5)


def of_message(ws: WebSocket, data: bytes, *, text: bool) -> list[SocketEvent]:
    """A message came."""
    return [SocketEvent("message", ws, data=data.decode(errors="replace") if text else data)]


def of_close(ws: WebSocket, code: int, reason: str, was_clean: bool) -> list[SocketEvent]:
    """The socket has ended; where that was an error, and it is known which, that is heard first."""
    closed = SocketEvent("close", ws, code=code, reason=reason, was_clean=was_clean)
    return [SocketEvent("error", ws, message=reason), closed] if code == ABNORMAL and reason else [closed]


def hear(events: Sequence[SocketEvent], adapt: Callable[[Any], Any]) -> Awaitable[Any] | None:
    """Call the listeners of some events, in order.

    Args:
        events: what is heard.
        adapt: gives an event the face that the application knows.

    Returns:
        What is to be awaited, where listeners are async; they go on side by side.

    Raises:
        Exception: what the first listener raised that did; the others were called, too.
    """
    going_on: list[Awaitable[Any]] = []
    failed: Exception | None = None
    for event in events:
        for listener in tuple((event.target.homing_listeners or {}).get(event.type, ())):
            try:
                result = listener(adapt(event))
            except Exception as error:
                failed = failed or error
            else:
                if isawaitable(result):
                    going_on.append(result)
    if failed is not None and not going_on:
        raise failed
    if len(going_on) == 1 and failed is None:
        return going_on[0]
    return _all(going_on, failed) if going_on else None


async def _all(going_on: Sequence[Awaitable[Any]], failed: Exception | None) -> None:
    await asyncio.gather(*going_on)
    if failed is not None:
        raise failed
