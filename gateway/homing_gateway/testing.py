"""Passes on what a test does to its own cluster (`homing.testing`); the nodes of any other refuse it."""

from __future__ import annotations

import asyncio

import msgspec

from homing.errors import BadRequest, Unavailable
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.limits import TEST_S_MAX
from homing_gateway.routes import Route
from homing_placement.routing.forward import Forwarder

TEST = "/homing.wire.v1.Calls/Test"
NOTHING = b'{"result":null}'


class _Clock(msgspec.Struct):
    ahead_ms: int


async def do_for_test(forwarder: Forwarder, route: Route, body: bytes) -> bytes:
    """Do what a test asks for; returns the JSON of the answer.

    Raises:
        BadRequest: the body is none that belongs to it.
        Unavailable: the owner of the object does not answer.
        HomingError: what the object's code raised, or why the node refused.
    """
    if route.method == "clock":
        return await _set_clock(forwarder, body)
    what = call_pb2.TestObject(
        slot=route.slot, object=route.object_id, class_name=route.class_name, name=route.name, body=body
    )
    if route.method == "run":
        request = call_pb2.TestRequest(run=what)
    elif route.method == "ring":
        request = call_pb2.TestRequest(ring=what)
    else:
        request = call_pb2.TestRequest(evict=what)
    link, _ = forwarder.owner(route.slot)
    if link is None:
        raise forwarder.unavailable(route.slot)
    return _checked(await link.ask(TEST, request, call_pb2.TestReply, TEST_S_MAX)) or NOTHING


async def _set_clock(forwarder: Forwarder, body: bytes) -> bytes:
    try:
        ahead_ms = msgspec.json.decode(body, type=_Clock).ahead_ms
        request = call_pb2.TestRequest(clock=call_pb2.TestClock(ahead_ms=ahead_ms))
    except ValueError as error:
        raise BadRequest(f'the clock is set with {{"ahead_ms": milliseconds}}: {error}') from error
    links = [forwarder.links.get(node_id) for node_id in forwarder.table.nodes]
    if not links or None in links:
        raise Unavailable("a node cannot be reached, and would keep another time", retry_after_s=1.0)
    replies = await asyncio.gather(
        *(link.ask(TEST, request, call_pb2.TestReply, TEST_S_MAX) for link in links if link is not None)
    )
    for reply in replies:
        _checked(reply)
    return NOTHING


def _checked(reply: call_pb2.TestReply) -> bytes:
    if reply.HasField("failure"):
        raise as_error(reply.failure)
    return reply.body
