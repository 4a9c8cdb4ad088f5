"""Calls that objects make: out of the output gate to the owner of another object, and the answer back to the worker."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from homing.errors import ApplicationError, BadRequest, HomingError, NotFound, Overloaded, Unavailable
from homing.flow import streams_per_value_max
from homing.ids import ObjectId
from homing_node.clock import Clock
from homing_node.objects import limits, replies
from homing_node.objects.activation import Activation, PendingCall, drop
from homing_node.objects.call_streams import CallStreams
from homing_node.objects.frames import FOLLOW, LOADER, OUTBOUND, REPLY, REVOKE, SANDBOX
from homing_node.objects.ports import (
    CallPort,
    DialerPort,
    LoaderPort,
    Loading,
    OutboundPort,
    PoolPort,
    SandboxPort,
    WorkerPort,
)
from homing_placement.routing.pending import KIND_FETCH, KIND_LIST, KIND_METHOD, Lane, Pending
from homing_placement.routing.policy import retryable


class Maker(NamedTuple):
    """Who makes a call.

    Attributes:
        worker: whose frame says so.
        act_id: the activation; 0: the entrypoint.
        caller: tells it from those of other workers.
        sockets: under which its sockets are known: its object's id, or the key of an entrypoint.
        of: the activation; None: the entrypoint.
    """

    worker: WorkerPort
    act_id: int
    caller: int
    sockets: bytes
    of: Activation | None = None


class _Caller:
    """An activation that calls others.

    Attributes:
        calls: those without an answer, by number.
        streams: of those with which some flow, also behind the answer.
        newest: the highest number that it used.
        size: bytes in their bodies.
    """

    __slots__ = ("_clock", "_id", "_lanes", "calls", "newest", "size", "streams")

    def __init__(self, here: bytes, number: int, clock: Clock) -> None:
        self._id = here + number.to_bytes(8, "big", signed=True)
        self._clock = clock
        self._lanes: dict[bytes, Lane] = {}
        self.calls: dict[int, Pending] = {}
        self.streams: dict[int, CallStreams] = {}
        self.newest = 0
        self.size = 0

    def add(self, number: int, pending: Pending) -> None:
        """A call, the newest.

        Raises:
            ValueError: its number is not, or there are too many.
        """
        if type(number) is not int or number <= self.newest or len(self.calls) >= limits.outgoing_calls_max:
            raise ValueError("a call too many")
        self.newest = number
        self.calls[number] = pending
        self.size += len(pending.body)
        target = pending.object_id
        lane = self._lanes.get(target) or self._lanes.setdefault(target, Lane(self._id + target))
        lane.calls[number] = pending
        pending.lane, pending.order = lane, number

    def flows(self, maker: Maker, pending: Pending) -> CallStreams:
        """The streams of a call with which, or with whose answer, some flow."""
        number = pending.order
        found = self.streams.get(number)
        if found is None:
            over = partial(self.streams.pop, number, None)
            found = self.streams[number] = CallStreams(maker.worker, maker.act_id, pending, self._clock, over)
        return found

    def forget(self, pending: Pending, lane: Lane) -> None:
        """A call has its answer."""
        del self.calls[pending.order]
        self.size -= len(pending.body)
        if not lane.calls:
            drop(self._lanes, pending.object_id)


class OutgoingCalls:
    """The calls of a node's activations that have no answer yet.

    Args:
        pool: knows the classes of the application.
        clock: for deadlines.
    """

    def __init__(self, pool: PoolPort, clock: Clock) -> None:
        self.port: CallPort | None = None  # set when the node knows where slots live
        self.slots = 0  # of the cluster
        self.outbound: OutboundPort | None = None
        self.dialer: DialerPort | None = None
        self.sandboxes: SandboxPort | None = None
        self.loader: LoaderPort | None = None
        self.on_line: Callable[[Maker, str, int, str], None] = _nobody_reads
        self._pool, self._clock = pool, clock
        self._callers: dict[int, _Caller] = {}
        self._here = secrets.token_bytes(8)  # chains and lanes that begin here are told from others by it

    def made(self, maker: Maker, runner: PendingCall | None, call: list[Any]) -> Callable[[], None]:
        """Take a call out of a worker's frame. It is not sent before what is returned is called.

        Args:
            maker: who made it.
            runner: the call on whose behalf it was made, while that has no answer.
            call: what the frame says of it (`workers.inside.outgoing.Made`).

        Raises:
            ValueError: it is not one, or one too many.
        """
        number, kind, class_name, raw, name, method, body, url, headers, activation, target, *flowing = call
        if {type(number) for number in (kind, activation, target)} != {int} or min(activation, target) < 0:
            raise ValueError("a call of nobody")
        if kind not in (KIND_FETCH, KIND_METHOD, KIND_LIST, OUTBOUND, SANDBOX, LOADER) or type(body) is not bytes:
            raise ValueError("a call of an unknown kind")
        if {type(text) for text in (class_name, name, method, url)} != {str}:
            raise ValueError("a call of something else")
        now_ns = self._clock.monotonic_ns()
        slot = 0 if kind >= OUTBOUND else _target(class_name, raw, name).slot(self.slots)
        pending = Pending(
            kind, class_name, name, raw, slot, method, body, "",
            now_ns * 1e-9 + limits.outgoing_s_max, now_ns, partial(self._done, maker),
        )  # fmt: skip
        pending.activation, pending.target = activation, target
        pending.url, pending.headers = url, [(str(field), str(value)) for field, value in headers]
        if runner is not None:
            self._inherit(pending, runner)
        caller = maker.caller
        mine = self._callers.get(caller) or self._callers.setdefault(caller, _Caller(self._here, caller, self._clock))
        mine.add(number, pending)
        if flowing:
            mine.flows(maker, pending).send(_count(kind, *flowing))
        if mine.size > limits.calls_bytes_per_object_max:
            return partial(self._refuse, pending, Overloaded("too many bytes are in the calls of this object"))
        if kind == LOADER and self.loader is not None:
            request = runner.id if runner is not None and maker.act_id == 0 else 0
            loading = Loading(
                maker.caller, request, maker.worker, _holder(maker.of), self._pool.classes(),
                partial(self.on_line, maker),
            )  # fmt: skip
            return partial(self._load, self.loader, pending, loading)
        return partial(self._send, maker, pending)

    def _inherit(self, pending: Pending, runner: PendingCall) -> None:
        m = runner.m
        if m.timeout_ms and not m.flows:  # what reads as it comes has no end that is known
            pending.deadline_s = (runner.received_ns + m.timeout_ms * 1_000_000) * 1e-9
        m.chain = m.chain or self._here + runner.id.to_bytes(8, "big")
        pending.chain, pending.request_id, pending.traceparent = m.chain, m.request_id, m.traceparent

    def _send(self, maker: Maker, pending: Pending) -> None:
        if pending.kind == OUTBOUND and self.dialer is not None and asks_for_socket(pending.headers):
            self.dialer.submit(pending, maker.worker.fetch_hosts, maker.sockets)
        elif pending.kind == OUTBOUND and self.outbound is not None:
            self.outbound.submit(pending, maker.worker.fetch_hosts)
        elif pending.kind == SANDBOX and self.sandboxes is not None:
            self._to_sandboxes(self.sandboxes, maker, pending)
        elif self.port is None or pending.kind >= OUTBOUND:
            self._refuse(pending, Unavailable("this node does not know yet where objects are"))
        elif pending.class_name not in self._pool.classes():
            self._refuse(pending, NotFound(f"there is no class {pending.class_name[:100]}"))
        elif pending.kind == KIND_LIST:
            self.port.list(pending)
        else:
            self.port.submit(pending)

    def _load(self, loader: LoaderPort, pending: Pending, loading: Loading) -> None:
        if loading.owner not in self._callers:
            self._refuse(pending, Unavailable("who asked for this has ended"))
        else:
            loader.submit(pending, loading)

    def _to_sandboxes(self, sandboxes: SandboxPort, maker: Maker, pending: Pending) -> None:
        mine = self._callers.get(maker.caller)
        if mine is None:
            self._refuse(pending, Unavailable("who asked for this run has ended"))
        elif pending.method == REVOKE:
            sandboxes.revoke(pending)
        elif pending.method == FOLLOW:  # by the number of a call of its own: nobody follows another's run
            sandboxes.follow(pending, mine.calls.get(int.from_bytes(pending.body[:8], "big")))
        else:
            sandboxes.submit(pending, maker.worker, _holder(maker.of), self._pool.classes())

    def _refuse(self, pending: Pending, error: HomingError) -> None:
        pending.error = error
        pending.on_done(pending)

    def _done(self, maker: Maker, pending: Pending) -> None:
        """A call has come to its end: tell the code that awaits it, if it still does."""
        lane = pending.lane
        if lane is None or lane.calls.pop(pending.order, None) is None:
            return  # it had an end before
        mine = self._callers.get(maker.caller)
        if mine is None:
            for download in pending.downloads:
                download.stop()
            return
        mine.forget(pending, lane)
        maker.worker.send((REPLY, maker.act_id, pending.order, *_answer(pending)))
        if pending.uploads or pending.downloads:
            mine.flows(maker, pending).answered()

    def piece(self, caller: int, number: int, at: int, data: bytes, end: int) -> Callable[[], None]:
        """A piece of a stream of a call, from its worker; it is sent when what is returned is called."""
        streams = self._streams(caller, number)
        return streams.piece(at, data, end) if streams is not None else _nothing

    def taken(self, caller: int, number: int, at: int, cost: int) -> None:
        """A worker has taken so much of a stream of an answer."""
        if (streams := self._streams(caller, number)) is not None:
            streams.taken(at, cost)

    def _streams(self, caller: int, number: int) -> CallStreams | None:
        mine = self._callers.get(caller)
        return mine.streams.get(number) if mine is not None else None

    def end(self, caller: int) -> None:
        """An activation is gone: nobody waits for its calls. What waits at the gate, or is on its way, goes on."""
        mine = self._callers.get(caller)
        for streams in mine.streams.values() if mine is not None else ():
            streams.end()
        drop(self._callers, caller)
        if self.loader is not None:
            self.loader.owner_gone(caller)
        sandboxes = self.sandboxes
        for pending in mine.calls.values() if mine is not None and sandboxes is not None else ():
            if pending.kind == SANDBOX and sandboxes is not None:
                sandboxes.give_up(pending)  # nobody is there any more who could take back what it was granted


def _holder(act: Activation | None) -> str:
    return f"{act.class_name}/{act.name or act.object.hex()}" if act is not None else "the entrypoint"


def asks_for_socket(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether a request asks to become a WebSocket (RFC 6455, 4.1)."""
    return any(name.lower() == "upgrade" and value.lower() == "websocket" for name, value in headers)


def _count(kind: int, flowing: object) -> int:
    """How many streams flow behind a call; raises `ValueError` where so many cannot."""
    most = {KIND_METHOD: streams_per_value_max, KIND_FETCH: 1, OUTBOUND: 1}.get(kind, 0)
    if type(flowing) is not int or not 0 < flowing <= most:
        raise ValueError("a call that flows where it cannot")
    return flowing


def _nobody_reads(_maker: Maker, _request_id: str, _level: int, _text: str) -> None:
    """Takes what a dynamic worker prints where nobody reads it."""


def _nothing() -> None:
    """Sends a piece that nobody wants any more."""


def _target(class_name: str, raw: bytes, name: str) -> ObjectId:
    """Whom a call is for: an object of that class, and of that name if it has one."""
    try:
        object_id = ObjectId(raw, name)
        object_id.check_class(class_name)
        named = not name or object_id.is_of(class_name, name)
    except BadRequest as error:
        raise ValueError(error.message) from error
    if not named:
        raise ValueError("a call to a name that is not the object's")
    return object_id


def _answer(pending: Pending) -> tuple[Any, ...]:
    error = pending.error
    if error is not None:
        told = replies.failure_of(error)
        own = isinstance(error, ApplicationError)  # then it says itself whether to try again
        again = (error.retryable if own else retryable(error, has_key=False)) and not error.overloaded
        return replies.FAILURE, (
            told.code, told.message, told.error_type, error.overloaded, again, told.retry_after_ms,
        )  # fmt: skip
    flowing = (len(pending.downloads),) if pending.downloads else ()
    if pending.kind in (KIND_FETCH, OUTBOUND):
        ref = pending.socket
        socket = [] if ref is None else [(ref.class_name, ref.object, ref.name, ref.number, ref.live)]
        return replies.HTTP, (pending.status, pending.answer_headers, pending.answer, *socket), *flowing
    return replies.ANSWER, pending.answer, *flowing
