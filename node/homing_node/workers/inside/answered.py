"""What the code that awaits a call is given: the answer of a request, or the error that a call failed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homing.errors import ApplicationError, HomingError, NotSupported, StorageError, from_wire
from homing.http import Headers, Response
from homing.sockets import PassedSocket
from homing.streams import ReadableStream


def error_of(
    code: str, message: str, error_type: str, overloaded: bool, retryable: bool, retry_after_ms: int
) -> HomingError:
    """What the code that awaits a call is told of its failure."""
    error = from_wire(code, message, error_type=error_type)
    error.remote = isinstance(error, (ApplicationError, StorageError, NotSupported))
    error.overloaded, error.retryable = overloaded, retryable
    error.retry_after_s = retry_after_ms / 1_000 if retry_after_ms else None
    return error


def failure_of(said: Sequence[Any]) -> HomingError:
    """What the code that awaits a call in this process is told of its failure; `said` in an effect of `failures`."""
    code, message, error_type, *more = said
    overloaded, retryable = more if len(more) == 2 else (False, False)
    return error_of(code, message, error_type, overloaded, retryable, 0)


def response_of(payload: Any, streams: Sequence[ReadableStream] = ()) -> Response:
    """An answer, out of what the effect of a `fetch` says, and the body that flows behind it."""
    status, headers, body, *socket = payload
    client = PassedSocket(socket[0]) if socket else None
    body = streams[0] if streams else body
    return Response(body, status=status, headers=Headers((name, value) for name, value in headers), web_socket=client)
