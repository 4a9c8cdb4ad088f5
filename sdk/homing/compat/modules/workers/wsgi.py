"""`from workers import wsgi`: applications of PEP 3333, such as those of Django and Flask, behind an entrypoint.

They have no `async`, and may wait all the same: with `pyodide.ffi.run_sync`. An answer whose length is not known flows
as the application makes it. Names and meanings are those of
https://developers.cloudflare.com/workers/languages/python/packages/flask/.
"""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from homing.compat import waiting
from homing.compat.answers import Body
from workers import Request, Response, WorkerEntrypoint

__all__ = ["entrypoint", "fetch"]

whole_bytes_max = 1024 * 1024  # an answer that is not known to be shorter flows
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
    made = iter(pieces)
    try:
        first = next(made, b"")  # an application may call start_response as late as here
        if not begun:
            raise AssertionError("the application has not called start_response")
        body.add(first)
        if not _is_whole(pieces, begun[1]):
            return _response(begun, _rest([body.whole()], made, pieces))
        for piece in made:
            body.add(piece)
    except BaseException:
        _close(pieces)
        raise
    _close(pieces)
    return _response(begun, body.whole())


def _is_whole(pieces: Iterable[bytes], headers: list[tuple[str, str]]) -> bool:
    """Whether an answer is there as a whole, or says that it is short."""
    length = next((value for name, value in headers if name.lower() == "content-length"), "")
    short = length.isdecimal() and int(length) <= whole_bytes_max
    return short or (isinstance(pieces, (list, tuple)) and sum(map(len, pieces)) <= whole_bytes_max)


async def _rest(first: list[bytes], made: Iterator[bytes], pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The pieces of an answer, each made when those before it are on their way."""
    try:
        for piece in first:
            yield piece
        while (piece := await waiting.run(next, made, None)) is not None:
            yield piece
    finally:
        _close(pieces)


def _close(pieces: Iterable[bytes]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


def _response(begun: list[Any], body: bytes | AsyncIterator[bytes]) -> Response:
    return Response(body, int(begun[0].split(" ", 1)[0]), headers=begun[1])
