"""`from workers import wsgi`: applications of PEP 3333, such as those of Django and Flask, behind an entrypoint.

They have no `async`, and may wait all the same: with `pyodide.ffi.run_sync`. Names and meanings are those of
https://developers.cloudflare.com/workers/languages/python/packages/flask/.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from homing.compat import waiting
from homing.compat.answers import Body
from workers import Request, Response, WorkerEntrypoint

__all__ = ["entrypoint", "fetch"]

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


async def fetch(app: Application, req: Request, env: Any, ctx: Any = None) -> Response:
    """Have an application answer a request.

    Args:
        app: the application.
        req: the request.
        env: the bindings; the application has them as `environ["workers.env"]`.
        ctx: not used.

    Raises:
        BaseException: whatever the application raises.
    """
    return await waiting.run(_answer, app, environ_of(req, env, await req.bytes()))


def entrypoint(app: Application) -> type[WorkerEntrypoint]:
    """The entrypoint that answers with an application: `Default = wsgi.entrypoint(app)`."""

    class Default(WorkerEntrypoint):
        """Has the application answer."""

        async def fetch(self, request: Any) -> Any:
            """See `WorkerEntrypoint`."""
            return await fetch(app, request, self.env, self.ctx)

    return Default


def environ_of(req: Request, env: Any, body: bytes) -> dict[str, Any]:
    """What an application is told of a request, as PEP 3333 has it."""
    url = urlsplit(req.url)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": req.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path or "/").decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "localhost",
        "SERVER_PORT": str(url.port or (443 if url.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "workers.env": env,
    }
    for name, value in req.headers.raw():
        if "_" in name:
            continue  # it would be taken for the one with a hyphen, past whoever filtered that
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    environ.pop("HTTP_CONTENT_LENGTH", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def _answer(app: Application, environ: dict[str, Any]) -> Response:
    begun: list[Any] = []  # status and headers
    body = Body()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if begun and exc_info is None:
            raise AssertionError("start_response was called twice")
        if body and exc_info is not None:
            raise exc_info[1]  # too late for another answer
        begun[:] = [status, headers]
        return body.add

    pieces = app(environ, start_response)
    try:
        for piece in pieces:
            body.add(piece)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    if not begun:
        raise AssertionError("the application has not called start_response")
    return Response(body.whole(), int(begun[0].split(" ", 1)[0]), headers=begun[1])
