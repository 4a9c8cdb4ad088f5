"""The streams between nodes: one for each pair, all slots on it, in batches. The node with the smaller id dials.

A link is up when both have said Hello. What cannot be sent because a link is down is dropped: the log core sends it
again when the link is back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from homing.pace import Pace
from homing.wire.v1 import peer_pb2 as wire
from homing_node.log import limits
from homing_node.log.effects import Message
from homing_node.log.pieces import Incoming, Outgoing, TooMuch

LINK = "/homing.wire.v1.Peers/Link"
PROBE = "/homing.wire.v1.Peers/Probe"
GRPC_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", limits.link_message_bytes_max),
    ("grpc.max_send_message_length", limits.link_message_bytes_max),
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.ping_timeout_ms", 2_000),  # else a ping that a paused peer does not answer may take a minute
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.optimization_target", 0),
]
_log = structlog.stdlib.get_logger("homing.links")


class Stream(Protocol):
    """One end of a bidirectional stream of batches; grpc's call and servicer context both are one."""

    async def read(self) -> Any:
        """The next batch of the peer."""
        ...

    async def write(self, message: wire.PeerBatch, /) -> None:
        """Send a batch."""
        ...


class Link:
    """What goes to and comes from one peer.

    Args:
        hello: what this node says of itself.
        on_up: called with (peer's Hello, link) when both have said Hello.
        on_batch: called with (node id, batch) for each batch that came.
        on_down: called with (node id, link) once after `on_up`.
    """

    def __init__(
        self,
        hello: wire.Hello,
        on_up: Callable[[wire.Hello, Link], bool],
        on_batch: Callable[[str, wire.PeerBatch], None],
        on_down: Callable[[str, Link], None],
    ) -> None:
        self._hello = hello
        self._on_up, self._on_batch, self._on_down = on_up, on_batch, on_down
        self._outgoing = Outgoing()
        self._incoming = Incoming()
        self._wake = asyncio.Event()
        self._pace = Pace(self._wake.set, limits.link_gather_s)
        self._overrun = False
        self.node = ""
        self.incarnation = ""
        self.heard_at = 0.0  # when the last batch came

    def send(self, m: Message) -> None:
        """Queue a message; it leaves with everything else that is ready when the stream takes the next batch."""
        self._outgoing.put(m)
        if self._outgoing.bytes > limits.link_waiting_bytes_max:
            self._overrun = True
        self._pace.ready(len(m.slots) if type(m) is wire.Confirm else 1)  # a round asks for many slots
        if type(m) is wire.Confirmed:
            self._pace.hurry()  # the peer has one round on its way, and the next waits for this

    async def run(self, stream: Stream) -> None:
        """Speak until the stream ends; never raises for a stream that broke."""
        try:
            await stream.write(wire.PeerBatch(hello=self._hello))
            first = await stream.read()
            if not isinstance(first, wire.PeerBatch) or not first.HasField("hello"):
                return
            if not self._on_up(first.hello, self):
                return
            self.node, self.incarnation = first.hello.node, first.hello.incarnation
            writer = asyncio.ensure_future(self._write(stream))
            reader = asyncio.ensure_future(self._read(stream))
            try:
                done, _ = await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                await _cancel(writer, reader)
        except (TooMuch, DecodeError) as error:
            _log.error("a peer broke the protocol of its link", peer=self.node, error=str(error))
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError, ConnectionError) as error:
            _log.debug("link broke", peer=self.node, error=str(error))
        finally:
            if self.node:
                self._on_down(self.node, self)

    async def _read(self, stream: Stream) -> None:
        while isinstance(batch := await stream.read(), wire.PeerBatch):
            self.heard_at = time.monotonic()
            if batch.pieces:
                self._incoming.join(batch)
            self._on_batch(self.node, batch)

    async def _write(self, stream: Stream) -> None:
        while not self._overrun:
            if not self._outgoing.has_long:
                await self._wake.wait()
            self._wake.clear()
            if self._outgoing:
                self._pace.sent()
                await stream.write(self._outgoing.take())
        _log.warning("a peer takes too little; its link is closed", peer=self.node)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Links:
    """All links of a node: dials those with a larger id, answers those with a smaller one.

    Args:
        hello: what this node says of itself; a peer of another cluster is refused.
        on_batch: (node id, batch) for each batch that came.
        on_up: (node id, disk id) when a link is there.
        on_down: (node id) when it is gone.
        credentials: for mutual TLS, or None for plain text.
    """

    def __init__(
        self,
        hello: wire.Hello,
        *,
        on_batch: Callable[[str, wire.PeerBatch], None],
        on_up: Callable[[str, str], None],
        on_down: Callable[[str], None],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._hello = hello
        self._on_batch, self._up, self._down = on_batch, on_up, on_down
        self._credentials = credentials
        self._links: dict[str, Link] = {}
        self._dialers: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._channels: dict[str, tuple[str, grpc.aio.Channel]] = {}

    def up(self) -> set[str]:
        """Ids of the peers whose link is there."""
        return set(self._links)

    def send(self, node: str, m: Message) -> None:
        """Send to a peer, or drop it if its link is down."""
        link = self._links.get(node)
        if link is not None:
            link.send(m)

    def _link_up(self, hello: wire.Hello, link: Link) -> bool:
        if hello.cluster != self._hello.cluster:
            _log.error("a node of another cluster dialled", peer=hello.node, cluster=hello.cluster)
            return False
        if hello.node in self._links:
            self._down(hello.node)
        self._links[hello.node] = link
        self._up(hello.node, hello.disk)
        _log.info("link up", peer=hello.node)
        return True

    def _link_down(self, node: str, link: Link) -> None:
        if self._links.get(node) is link:
            del self._links[node]
            self._down(node)
            _log.info("link down", peer=node)

    def _new_link(self) -> Link:
        return Link(self._hello, self._link_up, self._on_batch, self._link_down)

    def _channel(self, node: str, address: str) -> grpc.aio.Channel:
        """One channel for each peer: for the link that is dialled, and for probes."""
        known = self._channels.get(node)
        if known is not None and known[0] == address:
            return known[1]
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(address, options=GRPC_OPTIONS)
        else:
            channel = grpc.aio.secure_channel(address, self._credentials, options=GRPC_OPTIONS)
        self._channels[node] = (address, channel)
        return channel

    # -- dialling ---------------------------------------------------------------------------------------------

    def dial(self, node: str, address: str) -> None:
        """Keep a link to a peer with a larger id; a changed address replaces the old one."""
        if node <= self._hello.node:
            return
        known = self._dialers.get(node)
        if known is not None:
            if known[0] == address:
                return
            known[1].cancel()
        task = asyncio.ensure_future(self._keep(node, address))
        self._dialers[node] = (address, task)

    async def _keep(self, node: str, address: str) -> None:
        while True:
            call = cast(
                Any,
                self._channel(node, address).stream_stream(
                    LINK,
                    request_serializer=wire.PeerBatch.SerializeToString,
                    response_deserializer=wire.PeerBatch.FromString,
                ),
            )()
            try:
                await self._new_link().run(cast(Stream, call))
            finally:
                call.cancel()
            await asyncio.sleep(limits.redial_s)

    async def probe(self, node: str, address: str) -> str | None:
        """The incarnation that answers at a peer's address, or None within `probe_s`.

        A peer that did not answer in time, but whose link brought something meanwhile, lives: one of the two was busy.
        On starved machines nodes took slots from living owners, and each takeover made it worse.
        """
        asked_at = time.monotonic()
        ask = self._channel(node, address).unary_unary(
            PROBE,
            request_serializer=wire.ProbeRequest.SerializeToString,
            response_deserializer=wire.ProbeReply.FromString,
        )
        try:
            request = wire.ProbeRequest(cluster=self._hello.cluster, node=self._hello.node)
            reply = await cast(Any, ask)(request, timeout=limits.probe_s)
        except grpc.aio.AioRpcError:
            link = self._links.get(node)
            return link.incarnation if link is not None and link.heard_at >= asked_at else None
        return reply.incarnation if reply.node == node else None

    # -- answering --------------------------------------------------------------------------------------------

    def handler(self) -> grpc.GenericRpcHandler:
        """What the node's gRPC server serves for its peers."""

        async def serve(_: AsyncIterator[wire.PeerBatch], context: Any) -> None:
            await self._new_link().run(cast(Stream, context))

        async def answer(_: wire.ProbeRequest, __: Any) -> wire.ProbeReply:
            return wire.ProbeReply(node=self._hello.node, incarnation=self._hello.incarnation)

        methods = {
            "Link": grpc.stream_stream_rpc_method_handler(
                cast(Any, serve),
                request_deserializer=wire.PeerBatch.FromString,
                response_serializer=wire.PeerBatch.SerializeToString,
            ),
            "Probe": grpc.unary_unary_rpc_method_handler(
                cast(Any, answer),
                request_deserializer=wire.ProbeRequest.FromString,
                response_serializer=wire.ProbeReply.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler("homing.wire.v1.Peers", methods)

    async def close(self) -> None:
        """Hang up everywhere."""
        tasks = [task for _, task in self._dialers.values()]
        await _cancel(*tasks)
        for _, channel in self._channels.values():
            await channel.close()
