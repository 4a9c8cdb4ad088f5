"""What the host says to a worker, and the numbers of what a worker says (docs/gates.md, `workers.inside`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.activation import Activation, PendingCall
from homing_node.objects.images import Image

OPEN, PAGES, EVENT, CLOSE, ABORT = 1, 2, 3, 4, 5
TURN, CLOSED, LOG, RESET = 2, 3, 5, 7


def event(act: int, call: PendingCall) -> tuple[Any, ...]:
    """A call, for an activation; 0 is none."""
    m = call.m
    http = [m.url, [[h.name, h.value] for h in m.headers]] if m.kind != wire.CALL_KIND_RPC else None
    return (EVENT, act, call.id, m.kind, m.method, m.body, m.timeout_ms, m.request_id, m.traceparent, http)


def opening(act: Activation, found: Image) -> Iterator[tuple[Any, ...]]:
    """An activation's start: its pages in pieces, so that a large database does not hold up the others."""
    piece = limits.pages_inline_bytes_max
    yield OPEN, act.id, act.class_name, act.object, act.name, found.page_count, found.pages[:piece]
    for at in range(piece, len(found.pages), piece):
        yield PAGES, act.id, found.pages[at : at + piece]
