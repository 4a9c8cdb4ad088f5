"""What a probe makes of a peer that does not answer in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.links import Links


class Peer:
    """The end of a stream at a peer: it says Hello, then what it is told to say."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[wire.PeerBatch | None] = asyncio.Queue()
        self.says.put_nowait(wire.PeerBatch(hello=wire.Hello(cluster="c", node="n2", incarnation="i2", disk="d2")))

    async def read(self) -> Any:
        return await self.says.get()

    async def write(self, message: wire.PeerBatch, /) -> None:
        del message


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of somebody who takes questions and answers none."""

    async def wait(_: object, __: object) -> wire.ProbeReply:
        await asyncio.sleep(10)
        return wire.ProbeReply()

    handler = grpc.unary_unary_rpc_method_handler(
        cast(Any, wait),
        request_deserializer=wire.ProbeRequest.FromString,
        response_serializer=wire.ProbeReply.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("homing.wire.v1.Peers", {"Probe": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def linked() -> tuple[Links, Peer, asyncio.Task[None]]:
    up = asyncio.Event()
    links = Links(
        wire.Hello(cluster="c", node="n1", incarnation="i1", disk="d1"),
        on_batch=lambda node, batch: None,
        on_up=lambda node, disk: up.set(),
        on_down=lambda node: None,
    )
    peer = Peer()
    running = asyncio.create_task(links._new_link().run(peer))  # pyright: ignore[reportPrivateUsage] - no server here
    await up.wait()
    return links, peer, running


async def test_a_peer_that_does_not_answer_but_sends_is_alive(silent: str) -> None:
    """Seen to fail without: on starved machines nodes took slots from owners that lived."""
    links, peer, running = await linked()
    asking = asyncio.create_task(links.probe("n2", silent))
    await asyncio.sleep(limits.probe_s / 2)
    peer.says.put_nowait(wire.PeerBatch())
    assert await asking == "i2"
    peer.says.put_nowait(None)
    await running
    await links.close()


async def test_what_a_peer_sent_before_says_nothing(silent: str) -> None:
    """Seen to fail when any batch counts: a stopped process would live for ever."""
    links, peer, running = await linked()
    peer.says.put_nowait(wire.PeerBatch())
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert await links.probe("n2", silent) is None
    assert time.monotonic() - began < 1.0
    peer.says.put_nowait(None)
    await running
    await links.close()


async def test_a_peer_whose_link_is_down_is_not_there(silent: str) -> None:
    links, peer, running = await linked()
    peer.says.put_nowait(None)
    await running
    assert await links.probe("n2", silent) is None
    await links.close()
