"""From an event to a function and its arguments, and from what it returned to the effect that answers the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from homing.http import Headers, Request, Response
from homing.values import decode_arguments, encode_result
from homing_node.workers.inside import failures, limits
from homing_node.workers.inside.application import ObjectClass
from homing_node.workers.inside.channel import ANSWER, RESULT, RPC
from homing_node.workers.inside.failures import Effect

Event = list[Any]
_now_ns = time.monotonic_ns


class ConstructorFailed(Exception):
    """The object's constructor raised; the cause is its error."""


class NotAResponse(TypeError):
    """`fetch` returned something else than a Response."""


def prepare(kind: ObjectClass, event: Event) -> tuple[Callable[..., Any] | None, Any]:
    """The function that an event calls and its arguments (positional, keyword), decoded.

    Returns:
        Or None and (code, message, error type) where the event cannot be run. Nothing of the object was touched.
    """
    if event[3] == RPC:
        function = kind.methods.get(event[4])
        if function is None:
            return None, ("not-found", f"{kind.name} has no method {event[4]}", "")
        try:
            return function, decode_arguments(event[5])
        except ValueError as error:
            return None, ("bad-request", failures.message_of(error), "")
    if kind.fetch is None:
        return None, ("not-found", f"{kind.name} has no fetch handler", "")
    try:
        url, headers = event[9]
        request = Request(
            url, method=event[4], headers=Headers((name, value) for name, value in headers), body=event[5]
        )
    except (TypeError, ValueError) as error:
        return None, ("bad-request", failures.message_of(error), "")
    return kind.fetch, ((request,), {})


def effect_of(event: Event, result: Any, started_ns: int) -> Effect:
    """The effect that answers an event with what its handler returned.

    Raises:
        TypeError, ValueError: the result cannot be sent, or is too large.
    """
    if event[3] == RPC:
        return (event[2], RESULT, _bounded(encode_result(result)), started_ns, _now_ns())
    if not isinstance(result, Response):
        raise NotAResponse(f"fetch must return a Response, not {type(result).__qualname__}")
    headers = [[name, value] for name, value in result.headers.raw()]
    return (event[2], ANSWER, [result.status, headers, _bounded(result.body)], started_ns, _now_ns())


def _bounded(data: bytes) -> bytes:
    if len(data) > limits.answer_bytes_max:
        raise ValueError(f"an answer of {len(data)} bytes; at most {limits.answer_bytes_max}")
    return data


def failure_of(event: Event, error: BaseException, started_ns: int, *, may_misfit: bool = True) -> Effect:
    """The effect that answers an event whose code raised; `may_misfit`: it may be that the arguments did not fit."""
    if may_misfit and event[3] == RPC and failures.is_misfit(error):
        return failures.failure(event[2], "bad-request", failures.message_of(error), "", started_ns, _now_ns())
    return failures.of_error(event[2], error, started_ns, _now_ns())


def seen(task: asyncio.Task[Any]) -> None:
    """A handler's error was answered; asyncio need not complain that nobody asked for it."""
    if not task.cancelled():
        task.exception()
