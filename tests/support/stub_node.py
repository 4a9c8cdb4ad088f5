"""A node in a few lines, for tests of the gateway alone: the real wire service, and a script instead of objects.

Each call is handed to `on_call`, which returns a `Reply`, None (never answer), or raises `StreamCut` to end the stream.
`StaticTable` is a placement table that a test writes by hand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from homing.flow import cost_of
from homing.ids import SLOTS_DEFAULT
from homing.wire.v1 import call_pb2 as wire
from homing_placement.events import NodeFact, SlotFact, TableSeen
from homing_placement.records import GatewayRecord, NodeRecord, Owner, Replica, SlotRecord, SlotState

PIECE = 262_144


class StreamCut(Exception):
    """The stub ends its stream here, as a node that is killed does."""


def answer(body: bytes = b'{"result":1}', *, status: int = 0, headers: Iterable[tuple[str, str]] = ()) -> wire.Reply:
    return wire.Reply(body=body, status=status, headers=[wire.Header(name=n, value=v) for n, v in headers])


def failure(code: str, message: str = "because", **fields: object) -> wire.Reply:
    return wire.Reply(failure=wire.Failure(code=code, message=message, **fields))


OnCall = Callable[[wire.Call], wire.Reply | None]


class StubNode:
    """One stub node on a free port of loopback; use it as a context manager."""

    def __init__(self, node_id: str = "n1", *, on_call: OnCall | None = None, incarnation: str = "i1") -> None:
        self.id = node_id
        self.incarnation = incarnation
        self.on_call: OnCall = on_call or (lambda _call: answer())
        self.on_inspect: Callable[[wire.InspectRequest], wire.InspectReply | None] = lambda _request: None
        self.inspect_held = asyncio.Event()  # set: nobody gets an answer to a question
        self.asked = asyncio.Event()
        self.on_read: Callable[[wire.ReadSlotRequest], AsyncIterator[wire.SlotPart]] | None = None
        self.on_restore: Callable[[AsyncIterator[wire.SlotPart]], Awaitable[wire.RestoreReply]] | None = None
        self.on_delete: Callable[[wire.DeleteRequest], wire.DeleteReply] | None = None
        self.on_evict: Callable[[wire.EvictRequest], wire.EvictReply] | None = None
        self.on_query: Callable[[wire.QueryRequest], wire.QueryReply] | None = None
        self.on_import: Callable[[AsyncIterator[wire.ImportPart]], Awaitable[wire.ImportReply]] | None = None
        self.tails: list[tuple[wire.TailRequest, asyncio.Queue[wire.TailBatch | None]]] = []  # that are open
        self.classes = ["Counter"]
        self.has_default = True
        self.calls: list[wire.Call] = []
        self.cancels: list[int] = []
        self.sockets: list[wire.FromSocket] = []
        self.flows: list[wire.Flow] = []
        self.collects = True  # a request that flows is read to its end, and then handed to `on_call` as a whole
        self.batches = 0
        self.address = ""
        self._server: grpc.aio.Server | None = None
        self._writers: set[asyncio.Queue[wire.ReplyBatch | None]] = set()

    async def __aenter__(self) -> StubNode:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, address: str = "127.0.0.1:0") -> None:
        options = [
            ("grpc.http2.min_ping_interval_without_data_ms", 500),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.max_receive_message_length", 16_777_216),
            ("grpc.max_send_message_length", 16_777_216),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.aio.server(options=options)
        handlers = {
            "Exchange": grpc.stream_stream_rpc_method_handler(
                self._exchange, wire.CallBatch.FromString, wire.ReplyBatch.SerializeToString
            ),
            "Inspect": grpc.unary_unary_rpc_method_handler(
                self._inspect, wire.InspectRequest.FromString, wire.InspectReply.SerializeToString
            ),
            "ReadSlot": grpc.unary_stream_rpc_method_handler(
                self._read_slot, wire.ReadSlotRequest.FromString, wire.SlotPart.SerializeToString
            ),
            "RestoreSlot": grpc.stream_unary_rpc_method_handler(
                self._restore_slot, wire.SlotPart.FromString, wire.RestoreReply.SerializeToString
            ),
            "Delete": grpc.unary_unary_rpc_method_handler(
                self._delete, wire.DeleteRequest.FromString, wire.DeleteReply.SerializeToString
            ),
            "Evict": grpc.unary_unary_rpc_method_handler(
                self._evict, wire.EvictRequest.FromString, wire.EvictReply.SerializeToString
            ),
            "Query": grpc.unary_unary_rpc_method_handler(
                self._query, wire.QueryRequest.FromString, wire.QueryReply.SerializeToString
            ),
            "Import": grpc.stream_unary_rpc_method_handler(
                self._import, wire.ImportPart.FromString, wire.ImportReply.SerializeToString
            ),
            "Tail": grpc.unary_stream_rpc_method_handler(
                self._tail, wire.TailRequest.FromString, wire.TailBatch.SerializeToString
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("homing.wire.v1.Calls", handlers),))
        port = self._server.add_insecure_port(address)
        await self._server.start()
        self.address = f"127.0.0.1:{port}"

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def record(self) -> NodeRecord:
        return NodeRecord(
            id=self.id, address=self.address, disk=f"d-{self.id}", incarnation=self.incarnation, zone="z", pid=1,
            host="here", metrics="127.0.0.1:1", version="0.1.0",
        )  # fmt: skip

    def push(self, reply: wire.Reply) -> None:
        """Send an answer later, on every stream."""
        for queue in self._writers:
            queue.put_nowait(wire.ReplyBatch(replies=[reply]))

    def flow(self, *flows: wire.Flow) -> None:
        """Say something of bodies that flow, on every stream."""
        for queue in self._writers:
            queue.put_nowait(wire.ReplyBatch(flows=flows))

    def cut(self) -> None:
        """End every stream, as a node that is killed does."""
        for queue in self._writers:
            queue.put_nowait(None)

    def say(self, **fields: Any) -> None:
        """Say something on sockets, on every stream."""
        for queue in self._writers:
            queue.put_nowait(wire.ReplyBatch(sockets=[wire.ToSockets(**fields)]))

    def handled(self, handle: int, seq: int) -> None:
        """Say that what came on a socket with that number was handled, on every stream."""
        for queue in self._writers:
            queue.put_nowait(wire.ReplyBatch(handled_handles=[handle], handled_seqs=[seq]))

    def tell(self, batch: wire.TailBatch | None) -> None:
        """Tell every tail something; None ends them."""
        for _, queue in self.tails:
            queue.put_nowait(batch)

    async def _tail(self, request: wire.TailRequest, _: object) -> AsyncIterator[wire.TailBatch]:
        queue: asyncio.Queue[wire.TailBatch | None] = asyncio.Queue()
        self.tails.append((request, queue))
        try:
            yield wire.TailBatch()
            while (batch := await queue.get()) is not None:
                yield batch
        finally:
            self.tails.remove((request, queue))

    async def _read_slot(self, request: wire.ReadSlotRequest, _: object) -> AsyncIterator[wire.SlotPart]:
        assert self.on_read is not None
        async for part in self.on_read(request):
            yield part

    async def _restore_slot(self, requests: AsyncIterator[wire.SlotPart], _: object) -> wire.RestoreReply:
        assert self.on_restore is not None
        return await self.on_restore(requests)

    async def _delete(self, request: wire.DeleteRequest, _: object) -> wire.DeleteReply:
        assert self.on_delete is not None
        return self.on_delete(request)

    async def _evict(self, request: wire.EvictRequest, _: object) -> wire.EvictReply:
        assert self.on_evict is not None
        return self.on_evict(request)

    async def _query(self, request: wire.QueryRequest, _: object) -> wire.QueryReply:
        assert self.on_query is not None
        return self.on_query(request)

    async def _import(self, requests: AsyncIterator[wire.ImportPart], _: object) -> wire.ImportReply:
        assert self.on_import is not None
        return await self.on_import(requests)

    async def _exchange(self, requests: AsyncIterator[wire.CallBatch], context: grpc.aio.ServicerContext) -> None:
        queue: asyncio.Queue[wire.ReplyBatch | None] = asyncio.Queue()
        self._writers.add(queue)
        reader = asyncio.ensure_future(self._read(requests, queue))
        try:
            while (batch := await queue.get()) is not None:
                await context.write(batch)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        finally:
            reader.cancel()
            self._writers.discard(queue)

    async def _read(
        self, requests: AsyncIterator[wire.CallBatch], queue: asyncio.Queue[wire.ReplyBatch | None]
    ) -> None:
        partial: dict[int, tuple[wire.Call, list[bytes]]] = {}
        async for batch in requests:
            self.batches += 1
            self.cancels.extend(batch.cancels)
            self.sockets.extend(batch.sockets)
            self.flows.extend(batch.flows)
            out = wire.ReplyBatch()
            whole: list[wire.Call] = []
            for call in batch.calls:
                if call.more:
                    partial[call.id] = (call, [call.body])
                elif call.flows and self.collects:
                    partial[call.id] = (call, [call.body])
                    out.flows.add(id=call.id, taken=cost_of(call.body))
                else:
                    whole.append(call)
            for piece in batch.pieces:
                call, parts = partial[piece.id]
                parts.append(piece.data)
                if piece.last:
                    call.body = b"".join(parts)
                    whole.append(call)
            for flow in batch.flows:
                if flow.id in partial:
                    call, parts = partial[flow.id]
                    parts.append(flow.data)
                    if flow.data:
                        out.flows.add(id=flow.id, taken=cost_of(flow.data))
                    if flow.end == wire.FLOW_END_WHOLE:
                        call.body = b"".join(parts)
                        whole.append(call)
            for call in whole:
                if not self._answer(call, out):
                    queue.put_nowait(None)
                    return
            if out.replies or out.flows:
                queue.put_nowait(out)

    def _answer(self, call: wire.Call, out: wire.ReplyBatch) -> bool:
        received = time.monotonic_ns()
        self.calls.append(call)
        try:
            reply = self.on_call(call)
        except StreamCut:
            return False
        if reply is None:
            return True
        now = time.monotonic_ns()
        reply.id = call.id
        started = 0 if reply.HasField("failure") and not reply.failure.started else received
        reply.timing.CopyFrom(
            wire.Timing(received_ns=received, started_ns=started, ended_ns=now if started else 0, released_ns=now)
        )
        body = reply.body
        if len(body) > PIECE:
            reply.body, reply.more = body[:PIECE], True
            for at in range(PIECE, len(body), PIECE):
                out.pieces.add(id=call.id, data=body[at : at + PIECE], last=at + PIECE >= len(body))
        out.replies.append(reply)
        return True

    async def _inspect(self, request: wire.InspectRequest, _context: object) -> wire.InspectReply:
        self.asked.set()
        if self.inspect_held.is_set():
            await asyncio.Event().wait()
        found = self.on_inspect(request)
        if found is not None:
            return found
        if request.WhichOneof("what") == "node":
            facts = wire.NodeFacts(
                id=self.id, host="here", pid=1, worker_pids=[11, 12], classes=self.classes, has_default=self.has_default
            )
            return wire.InspectReply(node=facts)
        return wire.InspectReply()


class StaticTable:
    """A placement table that the test sets; `refresh` counts, and takes what `fresh` holds."""

    def __init__(self, slots: int = SLOTS_DEFAULT) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.nodes: dict[str, NodeRecord] = {}
        self.gateways: dict[str, GatewayRecord] = {"g1": GatewayRecord(id="g1", pid=7, metrics="127.0.0.1:9464")}
        self.records: dict[int, SlotRecord] = {}
        self.refreshed: list[int] = []
        self.fresh: dict[int, SlotRecord] = {}
        self.slots = slots
        self._listeners: list[Callable[[TableSeen], None]] = []

    def add(self, node: StubNode, *, slots: Iterable[int] | None = None, epoch: int = 1) -> None:
        """Register a node, and make it the owner of slots (all of them by default)."""
        self.nodes[node.id] = node.record()
        for slot in range(self.slots) if slots is None else slots:
            self.records[slot] = self.owned_by(node, epoch)
        self._tell(nodes=(NodeFact(node.id, node.record(), 1),))

    @staticmethod
    def owned_by(node: StubNode, epoch: int = 1) -> SlotRecord:
        replicas = (Replica(node.id, f"d-{node.id}"),)
        return SlotRecord(epoch, SlotState.ACTIVE, Owner(node.id, node.incarnation), replicas)

    def give(self, slot: int, node: StubNode | None, epoch: int) -> None:
        """Change one slot's owner and tell those who watch."""
        if node is None:
            self.records[slot] = SlotRecord(epoch, SlotState.RECOVERING, None, ())
        else:
            self.records[slot] = self.owned_by(node, epoch)
        self._tell(slots=(SlotFact(slot, self.records[slot], 1),))

    def remove(self, node_id: str) -> None:
        del self.nodes[node_id]
        self._tell(nodes=(NodeFact(node_id, None, 1),))

    def route(self, slot: int) -> tuple[NodeRecord | None, SlotRecord | None]:
        record = self.records.get(slot)
        if record is None or record.owner is None:
            return None, record
        node = self.nodes.get(record.owner.node)
        return (node if node is not None and node.incarnation == record.owner.incarnation else None), record

    async def refresh(self, slot: int) -> None:
        self.refreshed.append(slot)
        if slot in self.fresh:
            self.records[slot] = self.fresh[slot]

    def on_change(self, listener: Callable[[TableSeen], None]) -> None:
        self._listeners.append(listener)

    def _tell(self, *, nodes: tuple[NodeFact, ...] = (), slots: tuple[SlotFact, ...] = ()) -> None:
        for listener in self._listeners:
            listener(TableSeen(nodes, slots))


async def serve_forever(address: str) -> None:
    """Be a stub node in a process of its own, for tests that pause or kill it."""
    node = StubNode()
    await node.start(address)
    await asyncio.Event().wait()
