"""A WebSocket of an ASGI application, over a live socket (https://asgi.readthedocs.io/en/latest/specs/www.html).

What comes waits for the application: an event of the socket ends when the application has taken its message, so that a
client that sends more than is read is not read either.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from homing.http import Headers, Response
from homing.sockets import READY_STATE_OPEN, WebSocketPair

INTERNAL = 1011  # RFC 6455, 7.4.1

Message = MutableMapping[str, Any]
Application = Callable[[dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Any]

_log = logging.getLogger("asgi")


class Conversation:
    """One socket, from the request for it to its end.

    Attributes:
        answer: done when the application has accepted it, or answered with something else, or has failed before.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Response] = self._loop.create_future()
        self._pair = WebSocketPair()
        self._inbox: deque[tuple[Message, asyncio.Future[None]]] = deque()
        self._news = asyncio.Event()
        self._began = False
        self._end: Message | None = None  # what the application hears from then on
        self._over = False  # the application has ended
        self._refusal: Message | None = None
        self._body: list[bytes] = []

    async def run(self, app: Application, scope: dict[str, Any]) -> None:
        """Call the application, to its very end."""
        server = self._pair.server
        try:
            await app(scope, self._receive, self._send)
            if not self.answer.done():
                raise RuntimeError("the application ended without an answer")
            if server.ready_state == READY_STATE_OPEN:
                server.close()
        except Exception as error:
            if not self.answer.done():
                self.answer.set_exception(error)
                return
            _log.exception("the application failed on a WebSocket")
            if server.ready_state == READY_STATE_OPEN:
                server.close(INTERNAL)
        finally:
            self._over = True
            for _, taken in self._inbox:
                _settle(taken)
            if not self.answer.done():
                self.answer.cancel()  # the application's task was cancelled: nobody will answer

    # -- what comes -----------------------------------------------------------------------------------------------

    def _on_message(self, event: Any) -> Awaitable[None] | None:
        text = isinstance(event.data, str)
        data = {"text": event.data} if text else {"bytes": event.data}
        return self._came({"type": "websocket.receive", **data})

    def _on_close(self, event: Any) -> Awaitable[None] | None:
        return self._came({"type": "websocket.disconnect", "code": event.code, "reason": event.reason})

    def _came(self, message: Message) -> Awaitable[None] | None:
        if self._over:
            return None
        taken: asyncio.Future[None] = self._loop.create_future()
        self._inbox.append((message, taken))
        self._news.set()
        return taken

    async def _receive(self) -> Message:
        if not self._began:
            self._began = True
            return {"type": "websocket.connect"}
        if self._end is not None:
            return self._end
        while not self._inbox:
            self._news.clear()
            await self._news.wait()
        message, taken = self._inbox.popleft()
        _settle(taken)
        if message["type"] == "websocket.disconnect":
            self._end = message
        return message

    # -- what the application says --------------------------------------------------------------------------------

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self.answer.done():
            self._say(kind, message)
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self.answer.set_result(Response(None, status=403))
        elif kind == "websocket.http.response.start" and self._refusal is None:
            self._refusal = message
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            self._body.append(message.get("body", b""))
            if not message.get("more_body", False):
                fields = _decoded(self._refusal.get("headers", ()))
                self.answer.set_result(Response(b"".join(self._body), status=self._refusal["status"], headers=fields))
        else:
            raise RuntimeError(f"{kind} cannot be sent now")

    def _accept(self, message: Message) -> None:
        server = self._pair.server
        server.accept()
        server.add_event_listener("message", self._on_message)
        server.add_event_listener("close", self._on_close)
        headers = Headers(_decoded(message.get("headers", ())))
        if message.get("subprotocol"):
            headers["sec-websocket-protocol"] = message["subprotocol"]
        self.answer.set_result(Response(None, status=101, headers=headers, web_socket=self._pair.client))

    def _say(self, kind: str, message: Message) -> None:
        server = self._pair.server
        if kind not in ("websocket.send", "websocket.close"):
            raise RuntimeError(f"{kind} cannot be sent now")
        if server.ready_state != READY_STATE_OPEN:
            raise OSError("the WebSocket is closed")
        if kind == "websocket.close":
            server.close(message.get("code", 1000), message.get("reason") or "")
        else:
            text = message.get("text")
            server.send(text if text is not None else message["bytes"])


def _settle(taken: asyncio.Future[None]) -> None:
    if not taken.done():
        taken.set_result(None)


def _decoded(fields: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
