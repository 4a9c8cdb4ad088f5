"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

from homing.errors import ApplicationError, HomingError, Overloaded, Unauthenticated
from homing_placement.routing.limits import RETRY_AFTER_S_DEFAULT
from homing_placement.routing.policy import retryable

TYPE_PREFIX = "https://homing.dev/problems/"

HeaderList = list[tuple[bytes, bytes]]


def problem(
    error: HomingError, request_id: str, *, has_key: bool = False, allow: tuple[str, ...] | None = None
) -> tuple[int, HeaderList, bytes]:
    """The answer that an error makes: status, headers, body.

    Args:
        error: what went wrong.
        request_id: echoed in the document and as a header.
        has_key: the call carried an idempotency key, so that a lost call may be repeated.
        allow: for a wrong verb, the right ones.

    Example:
        >>> status, headers, body = problem(HomingError("oops"), "r1")
        >>> status
        500
    """
    document: dict[str, object] = {
        "type": TYPE_PREFIX + error.code,
        "title": _title(type(error)),
        "status": error.http_status,
        "detail": error.message,
        "retryable": retryable(error, has_key=has_key),
        "request_id": request_id,
    }
    if error.hint:
        document["hint"] = error.hint
    if isinstance(error, ApplicationError):
        document["error_type"] = error.error_type
    if isinstance(error, Overloaded) and error.cause:
        document["cause"] = error.cause
    body = msgspec.json.encode(document)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode("ascii")),
    ]
    wait_s = wait_of(error)
    if wait_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(wait_s))))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if allow is not None:
        headers.append((b"allow", ", ".join(allow).encode("ascii")))
    return error.http_status, headers, body


def wait_of(error: HomingError) -> float | None:
    """After how many seconds a client may try again, where an error is of the kind that says so."""
    if error.http_status not in (429, 503):
        return None
    return RETRY_AFTER_S_DEFAULT if error.retry_after_s is None else error.retry_after_s


@lru_cache(maxsize=64)
def _title(kind: type[HomingError]) -> str:
    return (kind.__doc__ or kind.__name__).split("\n", 1)[0].split("; ", 1)[0].rstrip(".")
