"""Calls that objects make: they leave with the turn that made them, and their answers are turns of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Protocol, cast

from homing.errors import ApplicationError, Overloaded, TooLarge
from homing.http import Request, Response
from homing.ids import OBJECT_ID_BYTES, ObjectId
from homing.listing import ObjectList, in_bounds
from homing.listing import decode as decode_list
from homing.objects import Runtime
from homing.sandbox_news import Item, News
from homing.sandboxes import Asked, Ran, decode_end
from homing.sent import Sender
from homing.sockets import PassedSocket, WebSocket
from homing.streams import ReadableStream
from homing.stubs import Reference, RpcTarget
from homing_node.workers.inside import limits
from homing_node.workers.inside.answered import error_of, response_of
from homing_node.workers.inside.channel import (
    FAILURE,
    FETCH,
    FOLLOW,
    LIST,
    LOADER,
    METHOD,
    OF_CALL,
    OUTBOUND,
    REVOKE,
    SANDBOX,
)
from homing_node.workers.inside.flows import Flows
from homing_node.workers.inside.sockets import ObjectSockets

NOWHERE = Reference("", ObjectId(bytes(OBJECT_ID_BYTES), ""), 0, 0)  # of what is for no object

Made = tuple[Any, ...]
"""A call as the node gets it: number, kind, class, id, name, method, body, URL, headers, activation, target; and, where
streams flow behind it, how many."""

Read = Callable[[Any, Sequence[ReadableStream]], Any]
"""Makes the result of a call of what came back, and of the streams that flow behind that."""


@dataclass(slots=True)
class _Waiting:
    """A call without an answer: who awaits it, how it is read, and what its arguments passed by reference."""

    future: asyncio.Future[Any]
    read: Read
    passed: list[int]


class Outgoing:
    """The calls of one activation that have no answer yet, and what it passed by reference.

    Args:
        loop: where their futures belong.
    """

    __slots__ = ("_exported", "_fresh", "_loop", "_number", "_returned", "_waiting", "unsent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        self._exported: dict[int, Any] = {}
        self._fresh: list[int] = []  # exported by the value that is being encoded
        self._returned: deque[int] = deque()  # exported by results, the oldest first
        self.unsent: list[Made] = []  # made in this turn

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def begin(
        self,
        kind: int,
        to: Reference,
        method: str,
        body: bytes,
        read: Read,
        url: str = "",
        headers: Sequence[tuple[str, str]] = (),
        *,
        flowing: int = 0,
    ) -> asyncio.Future[Any]:
        """Make a call; it leaves when the turn ends.

        Args:
            kind: of the event that it will be.
            to: whom it calls.
            method: of the object, or the verb.
            body: its arguments, or what a request carries. What they passed by reference lives until the answer.
            read: makes the result of what comes back.
            url, headers: of a request.
            flowing: so many streams follow, as those of the call with the number `newest`.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        passed, self._fresh = self._fresh, []
        if len(self._waiting) >= limits.outgoing_calls_max:
            self.take_back(passed)
            future.set_exception(Overloaded(f"an object waits for at most {limits.outgoing_calls_max} calls at once"))
            return future
        self._number += 1
        self._waiting[self._number] = _Waiting(future, read, passed)
        object_id = to.object_id
        address = (to.class_key, object_id.raw, object_id.name or "")
        made = (self._number, kind, *address, method, body, url, headers, to.activation, to.target)
        self.unsent.append((*made, flowing) if flowing else made)
        return future

    @property
    def newest(self) -> int:
        """The number of the call that was made last."""
        return self._number

    # What is passed by reference

    def export(self, value: Any) -> int:
        """Give something a number by which others can call it."""
        if len(self._exported) >= limits.exported_max:
            self.take_back(self._fresh)
            raise Overloaded(f"an object passes at most {limits.exported_max} things by reference at once")
        self._number += 1
        self._exported[self._number] = value
        self._fresh.append(self._number)
        return self._number

    def returned(self) -> None:
        """A result was encoded: what it passed lives on, until so much else was returned after it."""
        self._returned.extend(self._fresh)
        self._fresh = []
        while len(self._returned) > limits.returned_max:
            self.take_back([self._returned.popleft()])

    def exported(self, number: int) -> Any:
        """What has a number, or None."""
        return self._exported.get(number)

    def lend(self) -> list[int]:
        """What the value that was encoded passes to a facet, until it is taken back."""
        passed, self._fresh = self._fresh, []
        return passed

    def take_back(self, numbers: list[int]) -> None:
        """What was passed is not there any more."""
        for number in numbers:
            self._exported.pop(number, None)

    def take(self) -> list[Made]:
        """What this turn made, to be sent."""
        unsent, self.unsent = self.unsent, []
        return unsent

    def undo(self, error: BaseException) -> None:
        """The turn failed: what it made does not leave."""
        for made in self.take():
            self._settle(made[0], error=error)

    def answered(self, number: int, status: int, payload: Any, streams: Sequence[ReadableStream] = ()) -> None:
        """The node has an answer. The code that awaits it goes on in a turn of its own."""
        if status == FAILURE:
            self._settle(number, error=error_of(*payload))
        else:
            self._settle(number, payload, streams)

    def _settle(
        self,
        number: int,
        payload: Any = None,
        streams: Sequence[ReadableStream] = (),
        *,
        error: BaseException | None = None,
    ) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        self.take_back(waiting.passed)
        future = waiting.future
        if future.done():
            return
        if error is None:
            try:
                future.set_result(waiting.read(payload, streams))
            except (TypeError, ValueError) as broken:
                future.set_exception(ApplicationError(f"the answer cannot be read: {broken}", error_type="ValueError"))
        else:
            future.set_exception(error)

    def end(self) -> None:
        """The activation is over: nobody waits any more."""
        for waiting in self._waiting.values():
            waiting.future.cancel()
        self._waiting.clear()
        self._exported.clear()
        self.unsent.clear()


class Caller(Runtime, Protocol):
    """An activation, to those who call from it."""

    number: int

    def outgoing(self) -> Outgoing:
        """Where its calls are made; a turn is under way from now on."""
        ...

    def flows(self) -> Flows:
        """Its streams that flow."""
        ...

    def address(self) -> tuple[str, ObjectId]:
        """Its class and id; raises `TypeError` where it has none."""
        ...

    def sockets(self) -> ObjectSockets:
        """Its sockets."""
        ...


class Stubs:
    """`homing.stubs.Caller`, and how values are sent.

    Args:
        current: the activation whose code runs.
    """

    def __init__(self, current: Callable[[], Caller | None]) -> None:
        self._current = current
        self._exporter: Outgoing | None = None  # of what is being encoded
        self._sender = Sender(self, self._export)
        self.decode_arguments = self._sender.decode_arguments
        self.decode_result = self._sender.decode

    def runtime(self) -> Runtime:
        """See `homing.stubs.Caller`."""
        return self._caller()

    def call_method(
        self, class_key: str, object_id: ObjectId, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> asyncio.Future[Any]:
        """See `homing.stubs.Caller`."""
        return self.call_target(Reference(class_key, object_id, 0, 0), method, args, kwargs)

    def call_target(
        self, reference: Reference, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> asyncio.Future[Any]:
        """See `homing.stubs.Caller`."""
        caller = self._caller()
        outgoing = caller.outgoing()
        streams: list[ReadableStream] = []
        body = b""
        if args or kwargs:
            body = self._sender.encode([args, kwargs], streams)
        self._exporter = None
        _bound(body)
        future = outgoing.begin(METHOD, reference, method, body, self._sender.decode, flowing=len(streams))
        return _with(caller, future, streams)

    def call_fetch(self, class_key: str, object_id: ObjectId, request: Request) -> asyncio.Future[Response]:
        """See `homing.stubs.Caller`."""
        return self._request(FETCH, Reference(class_key, object_id, 0, 0), request, response_of)

    def call_outbound(self, request: Request, redirect: str) -> asyncio.Future[Response]:
        """Begin a request to the outside; see `homing.http.fetch`."""
        nowhere = ObjectId(bytes(OBJECT_ID_BYTES), redirect)  # no object: what the node reads is the name
        read = partial(_of_outside, self._caller())
        return self._request(OUTBOUND, Reference("", nowhere, 0, 0), request, read)

    def call_sandbox(self, asked: Asked) -> tuple[asyncio.Future[tuple[Ran, Sequence[Item]]], int]:
        """See `homing.sandbox_runner.Runner`."""
        body = asked.encode()
        _bound(body)
        outgoing = self._caller().outgoing()
        return outgoing.begin(SANDBOX, NOWHERE, "", body, lambda answer, _: decode_end(answer)), outgoing.newest

    def follow_sandbox(self, number: int) -> asyncio.Future[News]:
        """See `homing.sandbox_runner.Runner`."""
        which = number.to_bytes(8, "big")
        return self._caller().outgoing().begin(SANDBOX, NOWHERE, FOLLOW, which, lambda news, _: News.decode(news))

    def revoke_grant(self, key: bytes) -> asyncio.Future[None]:
        """See `homing.sandbox_runner.Runner`."""
        return self._caller().outgoing().begin(SANDBOX, NOWHERE, REVOKE, key, no_result)

    def own_address(self) -> tuple[str, ObjectId]:
        """See `homing.sandbox_runner.Runner`."""
        return self._caller().address()

    def call_loader(self, what: str, body: bytes) -> asyncio.Future[bytes]:
        """Send a part of a dynamic worker's code, or a call of it, to the node; see `homing.loading_frames`."""
        _bound(body)
        return self._caller().outgoing().begin(LOADER, NOWHERE, what, body, lambda answer, _: answer)

    def _request(self, kind: int, to: Reference, request: Request, read: Read) -> asyncio.Future[Response]:
        caller, body, headers = self._caller(), request.homing_body, request.headers.raw()
        streams, whole = ([body], b"") if isinstance(body, ReadableStream) else ([], body)
        _bound(whole)
        future = caller.outgoing().begin(
            kind, to, request.method, whole, read, request.url, headers, flowing=len(streams)
        )  # fmt: skip
        return _with(caller, future, streams)

    def accept_socket(self, ws: WebSocket) -> None:
        """See `WebSocket.accept`."""
        self._caller().sockets().accept_live(ws)

    def list_objects(
        self, class_key: str, above: ObjectId, limit: int, bound: int | None
    ) -> asyncio.Future[ObjectList]:
        """See `homing.stubs.Caller`."""
        to, asked = Reference(class_key, above, 0, 0), limit.to_bytes(4, "big")
        return self._caller().outgoing().begin(LIST, to, "", asked, lambda page, _: in_bounds(decode_list(page), bound))

    def encode_result(self, result: Any, streams: list[ReadableStream]) -> bytes:
        """The bytes of what a method returned to another object, without what is added to `streams`; see `Sender`."""
        data = self._sender.encode(result, streams)
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.returned()
        return data

    def encode_whole(self, value: Any) -> bytes:
        """The bytes of what is sent to a facet: it may hold no streams."""
        data = self._sender.encode(value)
        self._exporter = None
        return data

    def _export(self, value: Any) -> Reference:
        caller = self._caller()
        self._exporter = caller.outgoing()
        return Reference(*caller.address(), caller.number, self._exporter.export(value))

    def _caller(self) -> Caller:
        caller = self._current()
        if caller is None:
            raise RuntimeError("a stub can be called by a handler, and by what a handler started")
        return caller


def target_of(outgoing: Outgoing | None, number: int, method: str) -> Callable[..., Any] | None:
    """What a call of something that was passed by reference calls; None if there is no such thing (any more)."""
    found = outgoing.exported(number) if outgoing is not None else None
    if found is None or (isinstance(found, RpcTarget) != bool(method)) or method.startswith("_"):
        return None
    if not method:
        return found
    function = getattr(cast("type[Any]", type(found)), method, None)
    return MethodType(function, found) if isinstance(function, FunctionType) else None


def no_result(_payload: Any, _streams: Sequence[ReadableStream]) -> None:
    """The result of what has none."""


def _failed(future: asyncio.Future[Any]) -> bool:
    """Whether a call was not made, not answered, or is awaited by nobody."""
    return future.cancelled() or future.exception() is not None


def _with(caller: Caller, future: asyncio.Future[Any], streams: list[ReadableStream]) -> asyncio.Future[Any]:
    """Send streams behind the call that was made last; they are of no use where it fails."""
    if streams and not future.done():
        flows, number, count = caller.flows(), caller.outgoing().newest, len(streams)
        flows.send(OF_CALL, number, streams)
        future.add_done_callback(lambda future: flows.drop(OF_CALL, number, count) if _failed(future) else None)
    return future


def _of_outside(caller: Caller, payload: Any, streams: Sequence[ReadableStream]) -> Response:
    """An answer of the outside; the socket that it may have is the caller's own."""
    response = response_of(payload, streams)
    if isinstance(response.web_socket, PassedSocket):
        response.web_socket = caller.sockets().outside(response.web_socket.reference[3])
    return response


def _bound(body: bytes) -> None:
    if len(body) > limits.answer_bytes_max:
        raise TooLarge(f"a call of {len(body)} bytes; at most {limits.answer_bytes_max}")
