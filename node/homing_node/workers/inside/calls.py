"""From an event to a function and its arguments, and from what it returned to the effect that answers the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from homing import listeners
from homing.bindings.assets import Site
from homing.http import Headers, Request, Response
from homing.sockets import PassedSocket, SocketEvent
from homing.streams import ReadableStream, RequestTooLarge
from homing.values import decode_arguments, encode_result
from homing_node.workers.inside import failures, granted, limits, testing
from homing_node.workers.inside.channel import (
    ALARM,
    ANSWER,
    DEFAULT,
    FETCH,
    GRANTED,
    METHOD,
    RESULT,
    RPC,
    RUN,
    SOCKET_CLOSE,
    SOCKET_ERROR,
)
from homing_node.workers.inside.coding import Coding
from homing_node.workers.inside.failures import Effect
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.outgoing import Outgoing, target_of
from homing_node.workers.inside.sockets import ObjectSockets

Event = list[Any]
_now_ns = time.monotonic_ns
_PLAIN = frozenset((RPC, ALARM, RUN))  # whose results are values without references
_METHODS = frozenset((RPC, METHOD, RUN))  # events that call a function by its name
_MISFITS = _METHODS | {GRANTED}  # and those whose arguments may not fit what they call


class ConstructorFailed(Exception):
    """The object's constructor raised; the cause is its error."""


class NotAResponse(TypeError):
    """`fetch` returned something else than a Response."""


def prepare(
    kind: ObjectClass, event: Event, stubs: Coding, outgoing: Outgoing | None
) -> tuple[Callable[..., Any] | None, Any]:
    """The function that an event calls and its arguments (positional, keyword), decoded. It can be prepared again.

    Args:
        kind: of the object.
        event: as it came; in the place of their number (12) it has the streams that flow behind it, if any do.
        stubs: decodes what objects send.
        outgoing: has what the object passed by reference.

    Returns:
        Or None and (code, message, error type) where the event cannot be run. Nothing of the object was touched.
    """
    if event[3] in _METHODS:
        function = testing.run if event[3] == RUN else kind.methods.get(event[4])
        if event[11]:
            function = _passed(outgoing, event)
        if function is None:
            what = "what was passed by reference is gone, or" if event[11] else kind.name
            return None, ("not-found", f"{what} has no method {event[4]}", "")
        try:
            if event[3] == METHOD:
                return function, stubs.decode_arguments(event[5], event[12] or ())
            return function, decode_arguments(event[5])
        except ValueError as error:
            return None, ("bad-request", failures.message_of(error), "")
    if kind.fetch is None:
        return None, ("not-found", f"{kind.name} has no fetch handler", "")
    try:
        request = _request_of(event, _body_of(event))
    except (TypeError, ValueError) as error:
        return None, ("bad-request", failures.message_of(error), "")
    return kind.fetch, ((kind.adapt(request),), {})


def prepare_granted(kind: ObjectClass, event: Event, database: granted.Open) -> tuple[Callable[..., Any] | None, Any]:
    """As `prepare`, for what code in a sandbox has the object do under a grant."""
    try:
        return granted.prepare(
            kind.methods, (kind.fetch, kind.adapt) if kind.fetch else None, event[4], event[5], database
        )
    except LookupError:
        return None, ("not-found", f"{kind.name} has no method {event[4]}", "")
    except ValueError as error:
        return None, ("bad-request", failures.message_of(error), "")


def _request_of(event: Event, body: bytes | ReadableStream) -> Request:
    url, headers = event[9][:2]
    return Request(url, method=event[4], headers=Headers((name, value) for name, value in headers), body=body)


def _body_of(event: Event) -> bytes | ReadableStream:
    if not event[12]:
        return event[5]
    body: ReadableStream = event[12][0]
    body.homing_too_large = RequestTooLarge
    return body


def must_be_whole(event: Event, result: Any) -> bool:
    """Whether an answer is a stream and may not be one: under an idempotency key it is kept."""
    if event[3] not in (FETCH, DEFAULT) or not event[9][2]:
        return False
    return isinstance(result, Response) and isinstance(result.homing_body, ReadableStream)


async def whole(response: Response) -> Response:
    """An answer whose body is there as a whole.

    Raises:
        TooLarge: it is longer than an answer may be.
    """
    body = response.homing_body
    if isinstance(body, ReadableStream):
        response.body = await body.collect(limits.answer_bytes_max)
    return response


def prepare_socket(kind: ObjectClass, event: Event, sockets: ObjectSockets) -> tuple[Callable[..., Any], Any]:
    """As `prepare`, for what came on a socket. Nobody is called where there is no handler, or the socket is gone."""
    number, *rest = event[9]
    closes = event[3] == SOCKET_CLOSE
    ws = sockets.closed(number) if closes else sockets.find(number)
    if ws is not None and ws.homing_live:
        come = listeners.of_close(ws, *rest) if closes else listeners.of_message(ws, event[5], text=rest[0])
        return _heard, ((come, kind.adapt), {})
    handler = kind.sockets[event[3]]
    if ws is None or handler is None:
        return _nobody, ((), {})
    given: tuple[Any, ...]
    if closes:
        given = (*rest,)
    elif event[3] == SOCKET_ERROR:
        given = (ConnectionError(event[5].decode(errors="replace")),)
    else:
        given = (event[5].decode(errors="replace") if rest[0] else event[5],)
    return handler, ((kind.adapt(ws), *map(kind.adapt, given)), {})


def _heard(_: Any, come: list[SocketEvent], adapt: Callable[[Any], Any]) -> Any:
    """Has the listeners of a live socket called; they need no instance, they have theirs."""
    return listeners.hear(come, adapt)


def _nobody(*_: Any) -> None:
    """Hears of an event that has no handler."""


def _passed(outgoing: Outgoing | None, event: Event) -> Callable[..., Any] | None:
    """The function of something that was passed by reference; it has no need of the object's instance."""
    function = target_of(outgoing, event[11], event[4])
    if function is None:
        return None

    def call(_: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def effect_of(
    event: Event, result: Any, started_ns: int, stubs: Coding, sockets: Callable[[], ObjectSockets]
) -> tuple[Effect, Sequence[ReadableStream]]:
    """The effect that answers an event with what its handler returned, and the streams that flow behind it.

    Raises:
        TypeError, ValueError: the result cannot be sent, or is too large.
        HomingError: a stream in it cannot.
    """
    kind = event[3]
    if kind in _PLAIN:
        return (event[2], RESULT, _bounded(encode_result(result)), started_ns, _now_ns()), ()
    streams: list[ReadableStream] = []
    if kind == GRANTED:
        status, payload = RESULT, _bounded(granted.result(result))
    elif kind == METHOD:
        status, payload = RESULT, _bounded(stubs.encode_result(result, streams))
    elif kind in (FETCH, DEFAULT):
        status, payload = ANSWER, _answer_of(result, streams, sockets)
    else:
        status, payload = RESULT, b""
    if streams:
        return (event[2], status, payload, started_ns, _now_ns(), len(streams)), streams
    return (event[2], status, payload, started_ns, _now_ns()), streams


def _answer_of(result: Any, streams: list[ReadableStream], sockets: Callable[[], ObjectSockets]) -> list[Any]:
    if not isinstance(result, Response):
        raise NotAResponse(f"fetch must return a Response, not {type(result).__qualname__}")
    body = result.homing_body
    if isinstance(body, ReadableStream):
        if result.web_socket is not None:
            raise ValueError("a response with a web_socket has no body")
        streams.append(body)
        return _answer(result, b"")
    answer = _answer(result, body)
    if result.web_socket is not None:
        answer.append(_socket_of(result, sockets))
    return answer


def effect_of_site(event: Event, site: Site, started_ns: int) -> Effect | None:
    """The effect that answers an event with a static asset; None: the application's code is to answer."""
    if event[3] != DEFAULT:
        return None
    try:
        answer = site.before(_request_of(event, b""))
    except (TypeError, ValueError) as error:
        return failures.failure(event[2], "bad-request", failures.message_of(error), "", started_ns, _now_ns())
    except OSError as error:
        return failures.of_error(event[2], error, started_ns, _now_ns())
    if answer is None or isinstance(answer.homing_body, ReadableStream):
        return None
    return (event[2], ANSWER, _answer(answer, answer.homing_body), started_ns, _now_ns())


def _answer(response: Response, body: bytes) -> list[Any]:
    return [response.status, _headers_of(response), _bounded(body)]


def _headers_of(response: Response) -> list[list[str]]:
    return [[name, value] for name, value in response.headers.raw()]


def _socket_of(response: Response, sockets: Callable[[], ObjectSockets]) -> tuple[int, bool] | list[Any]:
    """What the client's connection becomes: a socket that was accepted here, or one of another object."""
    client = response.web_socket
    if response.status != 101:
        raise ValueError(f"a response with a web_socket has status 101, not {response.status}")
    if isinstance(client, PassedSocket):
        return client.reference
    assert client is not None, "the caller has looked"
    return sockets().of_client(client)


def _bounded(data: bytes) -> bytes:
    if len(data) > limits.answer_bytes_max:
        raise ValueError(f"an answer of {len(data)} bytes; at most {limits.answer_bytes_max}")
    return data


def failure_of(event: Event, error: BaseException, started_ns: int, *, may_misfit: bool = True) -> Effect:
    """The effect that answers an event whose code raised; `may_misfit`: it may be that the arguments did not fit."""
    if may_misfit and event[3] in _MISFITS and failures.is_misfit(error):
        return failures.failure(event[2], "bad-request", failures.message_of(error), "", started_ns, _now_ns())
    return failures.of_error(event[2], error, started_ns, _now_ns())


def seen(task: asyncio.Future[Any]) -> None:
    """A handler's error was answered, or nobody needs it; asyncio need not complain that nobody asked for it."""
    if not task.cancelled():
        task.exception()
