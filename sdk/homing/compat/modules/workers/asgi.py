"""`from workers import asgi`: ASGI applications, such as FastAPI's, behind an entrypoint or an object.

An answer in several pieces flows as they are sent, and `send` waits while its client does not read. What the
application does after its answer goes on. A WebSocket lives as long as the instance that runs it: it is a live one
(docs/sockets.md). Names and meanings are those of
https://developers.cloudflare.com/workers/languages/python/packages/fastapi/, the protocol is that of
https://asgi.readthedocs.io/.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import unquote, urlsplit

from homing.compat import waiting
from homing.compat.conversation import Application, Conversation, Message
from homing.errors import HomingError
from homing.streams import ReadableStream
from homing.transform import TransformStream
from workers import Request, Response, WorkerEntrypoint

__all__ = ["entrypoint", "fetch", "websocket"]

_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
_lifespans_max = 16  # of as many applications; one that is made for each request would never end

_log = logging.getLogger("asgi")


async def fetch(app: Application, req: Request, env: Any, ctx: Any = None) -> Response:
    """Have an application answer a request.

    Args:
        app: the application; its lifespan begins before its first request.
        req: the request.
        env: the bindings; the application has them as `scope["env"]`.
        ctx: not used: a task that the application makes goes on by itself.

    Raises:
        BaseException: whatever the application raises before its answer has begun.
    """
    if req.headers.get("upgrade", "").lower() == "websocket":
        return await websocket(app, req, env)
    waiting.replace_threads()
    state = await _started(app)
    exchange = _Exchange(req.homing_body)
    task = exchange.task = asyncio.ensure_future(exchange.run(app, {**_scope(req, env), "state": dict(state)}))
    try:
        return await exchange.answer
    except asyncio.CancelledError:
        task.cancel()
        raise


async def websocket(app: Application, req: Request, env: Any = None) -> Response:
    """Have an application accept a request for a WebSocket, and talk on it from then on.

    Args:
        app, req, env: as for `fetch`.

    Raises:
        BaseException: whatever the application raises before it has accepted or refused.
    """
    waiting.replace_threads()
    state = await _started(app)
    talk = Conversation()
    offered = req.headers.get("sec-websocket-protocol", "")
    scope: dict[str, Any] = {
        **_scope(req, env),
        "type": "websocket",
        "scheme": "wss" if req.url.startswith("https:") else "ws",
        "subprotocols": [each.strip() for each in offered.split(",") if each.strip()],
        "extensions": {"websocket.http.response": {}},
        "state": dict(state),
    }
    del scope["method"]
    task = asyncio.ensure_future(talk.run(app, scope))
    try:
        found = await talk.answer
    except asyncio.CancelledError:
        task.cancel()
        raise
    return Response(found.homing_body or None, found.status, headers=found.headers, web_socket=found.web_socket)


def entrypoint(app: Application) -> type[WorkerEntrypoint]:
    """The entrypoint that answers with an application: `Default = asgi.entrypoint(app)`."""

    class Default(WorkerEntrypoint):
        """Has the application answer."""

        async def fetch(self, request: Any) -> Any:
            """See `WorkerEntrypoint`."""
            return await fetch(app, request, self.env, self.ctx)

    return Default


def _scope(req: Request, env: Any) -> dict[str, Any]:
    url = urlsplit(req.url)
    path = url.path or "/"
    return {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": "1.1",
        "method": req.method,
        "scheme": url.scheme,
        "path": unquote(path),
        "raw_path": path.encode("latin-1", "replace"),
        "query_string": url.query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in req.headers.raw()],
        "client": None,
        "server": (url.hostname or "localhost", url.port or (443 if url.scheme == "https" else 80)),
        "env": env,
    }


class _Exchange:
    """One request and its answer.

    Args:
        body: of the request.

    Attributes:
        answer: done when the answer is complete or flows, or the application has failed before.
        task: runs the application.
    """

    def __init__(self, body: bytes | ReadableStream) -> None:
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        self._unread: bytes | ReadableStream | None = body
        self._start: Message | None = None
        self._stream: TransformStream | None = None  # of an answer that flows
        self._over = asyncio.Event()

    async def run(self, app: Application, scope: dict[str, Any]) -> None:
        """Call the application, to its very end."""
        try:
            await app(scope, self._receive, self._send)
            if not self.answer.done():
                raise RuntimeError("the application ended without an answer")
        except Exception as error:
            if not self.answer.done():
                self.answer.set_exception(error)
            elif self._stream is None or self._over.is_set():
                _log.exception("the application failed after its answer")
            else:
                self._stream.homing_pipe.end(error)
        finally:
            self._over.set()
            if self._stream is not None:
                self._stream.homing_pipe.end(RuntimeError("the application ended before its answer did"))
            if not self.answer.done():
                self.answer.cancel()  # the application's task was cancelled: nobody will answer

    async def _receive(self) -> Message:
        body = self._unread
        if isinstance(body, ReadableStream):
            try:
                piece = await body.homing_next()
            except HomingError:  # its client has gone
                self._unread = None
                return {"type": "http.disconnect"}
            if piece is not None:
                return {"type": "http.request", "body": piece, "more_body": True}
            body = b""
        self._unread = None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._start = message
        elif kind == "http.response.body" and self._start is not None:
            await self._send_body(self._start, message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} cannot be sent now")

    async def _send_body(self, start: Message, piece: bytes, *, more: bool) -> None:
        if self._stream is None:
            if self.answer.done():
                return
            if not more:
                self.answer.set_result(_response(start, bytes(piece)))
                self._over.set()
                return
            self._stream = TransformStream()
            self._stream.homing_pipe.on_gone = self._gone
            self.answer.set_result(_response(start, self._stream.readable))
        try:
            await self._stream.homing_pipe.write(piece)
        except HomingError as error:
            raise OSError("the client has gone") from error
        if not more:
            self._over.set()
            self._stream.homing_pipe.end()

    def _gone(self) -> None:
        """Nobody reads the answer any more: if it has not ended, the application need not go on."""
        if not self._over.is_set():
            self._over.set()
            if self.task is not None:
                self.task.cancel()


def _response(start: Message, body: bytes | ReadableStream) -> Response:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start.get("headers", ())]
    return Response(body, start["status"], headers=headers)


class _Lifespan:
    """The life of an application in this process: it is started once. Its end is that of the process: nobody sees it.

    Args:
        app: the application.

    Attributes:
        state: what it gives to its requests.
        started: done when it is ready, or has no lifespan; failed when it says so.
    """

    def __init__(self, app: Application) -> None:
        loop = asyncio.get_running_loop()
        self.app = app
        self.state: dict[str, Any] = {}
        self.started: asyncio.Future[None] = loop.create_future()
        self._told = False
        # Not by `create_task`: it would be a task of the object that came first, and end with it or hold it in memory.
        self._task = asyncio.Task(self._run(), loop=loop)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSIONS, "state": self.state}
        try:
            await self.app(scope, self._receive, self._send)
        except Exception:
            if self.started.done():
                _log.exception("the lifespan of the application failed")
        if not self.started.done():
            self.started.set_result(None)  # it does not know of lifespans

    async def _receive(self) -> Message:
        if self._told:
            await asyncio.get_running_loop().create_future()
        self._told = True
        return {"type": "lifespan.startup"}

    async def _send(self, message: Message) -> None:
        if self.started.done():
            return
        if message["type"] == "lifespan.startup.failed":
            self.started.set_exception(RuntimeError(message.get("message") or "the application's startup failed"))
        elif message["type"] == "lifespan.startup.complete":
            self.started.set_result(None)

    def end(self) -> None:
        """Drop it."""
        self._task.cancel()


_lifespans: dict[int, _Lifespan] = {}


async def _started(app: Application) -> dict[str, Any]:
    """The state of an application that is ready. Whoever comes while it starts waits; one that failed is tried anew."""
    lifespan = _lifespans.get(id(app))
    if lifespan is None:
        lifespan = _lifespans[id(app)] = _Lifespan(app)
        if len(_lifespans) > _lifespans_max:
            _lifespans.pop(next(iter(_lifespans))).end()
    if not lifespan.started.done():
        await asyncio.wait([lifespan.started])
    if lifespan.started.exception() is not None and _lifespans.get(id(app)) is lifespan:
        del _lifespans[id(app)]
    lifespan.started.result()
    return lifespan.state
