"""What the host says to a worker, and the numbers of what a worker says (docs/gates.md, `workers.inside`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homing.flow import BROKEN, GOES_ON
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.activation import Activation, PendingCall
from homing_node.objects.images import Image

OPEN, PAGES, EVENT, CLOSE, ABORT, REPLY, SOCKETS = 1, 2, 3, 4, 5, 7, 8
TURN, CLOSED, LOG, RESET, CALL = 2, 3, 5, 7, 8
BY_HTTP = frozenset((wire.CALL_KIND_FETCH, wire.CALL_KIND_DEFAULT))
OUTBOUND = 11  # the kind of a call: a request to the outside
SANDBOX = 12  # code is to run in a sandbox
LOADER = 15  # the code of a dynamic worker, or a call of one
FACET = 16  # to a worker: what a facet in a sandbox wrote
REVOKE = "revoke"  # the method of a SANDBOX that takes back what a run was granted
FOLLOW = "follow"  # and of one that waits for what there is to be heard of a run
FLOW, TAKEN = 12, 13  # both ways: a piece of a stream that flows, and how much of one was taken
GIVE_UP = 14  # both ways: nobody waits for a call any more; and it had not begun, and does not
OF_EVENT, OF_CALL = 0, 1  # with what it flows: an event or its answer, or a call that an activation made or its answer
STOP = 0  # taken: no more is wanted


def check_piece(data: Any, end: Any) -> None:
    """Raises `ValueError` unless a worker's frame says a piece of a stream, or its end."""
    if type(data) is not bytes or type(end) is not int or not GOES_ON <= end <= BROKEN or bool(data) == bool(end):
        raise ValueError("a piece that is none")


def event(act: int, call: PendingCall, *, awaited: bool = False) -> tuple[Any, ...]:
    """A call, for an activation; 0 is none. `awaited`: by a call that runs there, through others."""
    m = call.m
    kind = m.kind
    http = [m.url, [[h.name, h.value] for h in m.headers], bool(m.key)] if kind in BY_HTTP else None
    if call.socket is not None:
        http = call.socket.details
    return (
        EVENT, act, call.id, kind, m.method, m.body, m.timeout_ms, m.request_id, m.traceparent, http, awaited,
        m.target, m.flows,
    )  # fmt: skip


def opening(act: Activation, found: Image, sockets: list[Any] | None) -> Iterator[tuple[Any, ...]]:
    """An activation's start: its pages in pieces, so that a large database does not hold up the others; its sockets."""
    piece = limits.pages_inline_bytes_max
    yield OPEN, act.id, act.class_name, act.object, act.name, found.page_count, found.pages[:piece]
    for at in range(piece, len(found.pages), piece):
        yield PAGES, act.id, found.pages[at : at + piece]
    if sockets is not None:
        yield SOCKETS, act.id, *sockets
