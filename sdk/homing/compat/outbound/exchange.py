"""One request and its answer, as the libraries' places need them; and what each failure is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import Enum, auto
from http import HTTPStatus

from homing.errors import ApplicationError, BadRequest, DeadlineExceeded, HomingError, TooLarge
from homing.http import Request, Response, fetch

Pairs = Iterable[tuple[str, str]]


class Failure(Enum):
    """What went wrong, in the terms in which every library has an error of its own."""

    UNREACHED = auto()  # no connection: refused by the broker, or by the network
    LATE = auto()  # no answer in time
    BROKEN = auto()  # of the exchange itself: more than may be sent or received
    WRONG = auto()  # not a request


def failure_of(error: Exception) -> Failure | None:
    """What an error of `exchange` is; None: it is an error of the program."""
    if isinstance(error, (DeadlineExceeded, TimeoutError)):
        return Failure.LATE
    if isinstance(error, (ApplicationError, TooLarge)):
        return Failure.BROKEN
    if isinstance(error, (BadRequest, ValueError)):
        return Failure.WRONG
    return Failure.UNREACHED if isinstance(error, HomingError) else None


async def exchange(method: str, url: str, headers: Pairs, body: bytes, timeout_s: float | None) -> Response:
    """Send a request through the broker; a redirect is an answer, which the library follows or not.

    Args:
        method, url, headers, body: of the request.
        timeout_s: until the whole answer is there; None: as long as the broker waits.

    Raises:
        Exception: one that `failure_of` knows.
    """
    request = Request(url, method=method, headers=headers, body=body)
    async with asyncio.timeout(timeout_s):
        return await fetch(request, redirect="manual")


def words_of(error: Exception, timeout_s: float | None) -> str:
    """What an error says."""
    if isinstance(error, HomingError):
        return error.message
    return f"no answer within {timeout_s:g} s" if timeout_s is not None and not str(error) else str(error)


def phrase_of(status: int) -> str:
    """The phrase of a status, which is not told."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
