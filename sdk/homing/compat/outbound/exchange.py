"""One request and its answer, as the libraries' places need them; and what each failure is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import Enum, auto
from http import HTTPStatus

from homing.errors import ApplicationError, BadRequest, DeadlineExceeded, HomingError, TooLarge, Unavailable
from homing.http import Request, Response, fetch
from homing.streams import ReadableStream

ANSWER_BYTES_MAX = 40 * 1024 * 1024
Pairs = Iterable[tuple[str, str]]


class _TooLong(TooLarge):
    """An answer is longer than what a library is given."""

    def __init__(self, _: str) -> None:
        super().__init__(f"the server answered with more than {ANSWER_BYTES_MAX} bytes")


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
        answer = await fetch(request, redirect="manual")
        if isinstance(answer.homing_body, ReadableStream):
            answer.body = await _whole(answer.homing_body)
        return answer


async def _whole(body: ReadableStream) -> bytes:
    body.homing_too_large = _TooLong
    try:
        return await body.collect(ANSWER_BYTES_MAX)
    except Unavailable as error:
        raise ApplicationError(error.message, error_type="BrokenOff") from error


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
