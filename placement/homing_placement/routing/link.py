"""One node's stream: frames out in batches, answers in, and what becomes of calls when it breaks.

Reading and writing are separate tasks, and neither waits for a call: a slow caller never holds up its neighbours.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from homing import cancellation
from homing.batches import holds_beyond
from homing.errors import Unavailable
from homing.pace import Pace
from homing.wire.v1 import call_pb2
from homing_placement.records import NodeRecord
from homing_placement.routing.channels import open_channel
from homing_placement.routing.flows import LinkFlows
from homing_placement.routing.limits import (
    BATCH_BYTES_MAX,
    CALLS_GATHER_S,
    CONNECT_S_MAX,
    INSPECT_S_MAX,
    PENDING_PER_NODE_MAX,
    PIECE_BYTES_MAX,
    RECONNECT_S_MAX,
    RECONNECT_S_MIN,
)
from homing_placement.routing.pending import Pending
from homing_placement.routing.receipts import Receipts
from homing_placement.routing.sides import LinkOwner

EXCHANGE = "/homing.wire.v1.Calls/Exchange"
INSPECT = "/homing.wire.v1.Calls/Inspect"

_Reply = TypeVar("_Reply", bound=Message)

_Stream = grpc.aio.StreamStreamCall[call_pb2.CallBatch, call_pb2.ReplyBatch]


class StreamBroken(Exception):
    """The stream to a node ended; the link starts another."""


def _broken(error: BaseException) -> BaseException:
    """What a failure means."""
    return error if cancellation.is_own(error) else StreamBroken(str(error))


class NodeLink:
    """The link to one incarnation of one node.

    Invariant: a call is in exactly one of `_queue` and `_pending` from `send` until it is answered, dropped or handed
    back.
    """

    def __init__(self, node: NodeRecord, owner: LinkOwner, credentials: grpc.ChannelCredentials | None = None) -> None:
        self.node = node
        self.up = False
        self._owner = owner
        self._credentials = credentials
        self._queue: deque[Pending] = deque()
        self._pending: dict[int, Pending] = {}
        self._cancels: list[int] = []
        self._pieces: deque[tuple[Pending, int, int]] = deque()  # call, its id when queued, offset of the next piece
        self._from_sockets: deque[call_pb2.FromSocket] = deque()
        self._flows = LinkFlows(self._flow_ready)
        self._wake = asyncio.Event()
        self._pace = Pace(self._wake.set, CALLS_GATHER_S)
        self._receipts = Receipts(self._wake.set)
        self._next_id = 0
        self._before_newest_id = 0  # calls above it went in the newest batch
        self._channel: grpc.aio.Channel | None = None

    def __repr__(self) -> str:
        state = "up" if self.up else "down"
        return (
            f"NodeLink({self.node.id} {self.node.address} {state} queue={len(self._queue)} open={len(self._pending)})"
        )

    def send(self, pending: Pending) -> bool:
        """Queue a call for the next batch; False when this node has too many already."""
        if len(self._queue) + len(self._pending) >= PENDING_PER_NODE_MAX:
            return False
        self._next_id += 1
        pending.id = self._next_id
        pending.link = self
        pending.written = False
        pending.in_pieces = len(pending.body) > PIECE_BYTES_MAX
        self._queue.append(pending)
        self._pace.ready()
        self._hurry_if_free()
        return True

    def _flow_ready(self) -> None:
        self._pace.ready()
        self._hurry_if_free()

    def _hurry_if_free(self) -> None:
        """While the node works on a batch the next gathers; when it has answered that, waiting only costs time."""
        if next(reversed(self._pending), 0) <= self._before_newest_id:  # ids grow: the last is the newest
            self._pace.hurry()

    def drop(self, pending: Pending) -> None:
        """Nobody waits for this call any more; the node is told if it has it."""
        if pending.written:
            if self._pending.pop(pending.id, None) is not None:
                for download in pending.downloads:
                    download.stop()
                self._cancels.append(pending.id)
                self._wake.set()
        elif pending in self._queue:
            self._queue.remove(pending)
        pending.link = None

    def send_socket(self, frame: call_pb2.FromSocket) -> None:
        """Queue what came on a socket."""
        self._from_sockets.append(frame)
        self._pace.ready()
        self._hurry_if_free()

    def had(self, handle: int, seq: int, size: int) -> None:
        """What was said on a socket up to a number is here, `size` bytes more; see `Receipts`."""
        self._receipts.add(handle, seq, size)

    async def inspect(self, request: call_pb2.InspectRequest) -> call_pb2.InspectReply:
        """Ask the node for facts.

        Raises:
            Unavailable: it did not answer in time.
        """
        return await self.ask(INSPECT, request, call_pb2.InspectReply)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection to the node.

        Raises:
            Unavailable: there is none.
        """
        if self._channel is None:
            raise Unavailable(f"node {self.node.id} cannot be reached")
        return self._channel

    async def ask(self, method: str, request: Message, kind: type[_Reply], timeout_s: float = INSPECT_S_MAX) -> _Reply:
        """Put one question to the node, or tell it to do something.

        Args:
            method: path of a unary method.
            request: of that method.
            kind: of the answer.
            timeout_s: how long to wait for it.

        Raises:
            Unavailable: it cannot be reached, or did not answer in time.
        """
        ask = self.channel.unary_unary(method, type(request).SerializeToString, kind.FromString)
        try:
            return await ask(request, timeout=timeout_s)
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            if _broken(error) is error:
                raise
            raise Unavailable(f"node {self.node.id} did not answer") from error

    async def run(self) -> None:
        """Keep a stream to the node until cancelled."""
        delay_s = RECONNECT_S_MIN
        while True:
            try:
                await self._serve()
            except StreamBroken:
                delay_s = RECONNECT_S_MIN if self.up else min(RECONNECT_S_MAX, delay_s * 2)
            finally:
                self._break()
            await asyncio.sleep(delay_s)

    async def _serve(self) -> None:
        """Connect and exchange until the stream breaks; always raises."""
        channel = open_channel(self.node.address, self._credentials)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await channel.channel_ready()
            exchange = channel.stream_stream(
                EXCHANGE, call_pb2.CallBatch.SerializeToString, call_pb2.ReplyBatch.FromString
            )
            stream = exchange()
            self._channel = channel
            try:
                await self._exchange(stream)
            finally:
                stream.cancel()
        except TimeoutError as error:
            raise StreamBroken(f"{self.node.address} does not answer") from error
        finally:
            self._channel = None
            await channel.close()

    async def _exchange(self, stream: _Stream) -> None:
        # Not a TaskGroup: Python 3.11's forgets whether it was cancelled from outside when a task fails meanwhile.
        reading = asyncio.ensure_future(self._read(stream))
        writing = asyncio.ensure_future(self._write(stream))
        self.up = True
        self._owner.link_up(self)
        try:
            done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(self, stream: _Stream) -> None:
        while True:
            try:
                batch = await stream.read()
            except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
                raise _broken(error) from error
            if not isinstance(batch, call_pb2.ReplyBatch):
                raise StreamBroken("the node ended the stream")
            self._take_replies(batch)

    def _take_replies(self, batch: call_pb2.ReplyBatch) -> None:
        arrived_ns = time.monotonic_ns()
        calls = self._pending
        answered = self._owner.answered
        for reply in batch.replies:
            if reply.flows or reply.more:
                self._begin_answer(reply)
                if reply.more:
                    continue
            pending = calls.pop(reply.id, None)
            if pending is None:
                continue  # given up here; the node did not know yet
            pending.arrived_ns = arrived_ns
            pending.answer = reply.body
            answered(pending, reply)
        if holds_beyond(batch, call_pb2.ReplyBatch.REPLIES_FIELD_NUMBER):
            for piece in batch.pieces:
                self._add_piece(piece, arrived_ns)
            if batch.sockets or batch.handled_handles:
                self._owner.on_sockets(self, batch)
            self._flows.take(batch.flows)
        self._hurry_if_free()

    def _begin_answer(self, reply: call_pb2.Reply) -> None:
        """Something is to follow an answer: pieces of it, or streams, which may come between those."""
        pending = self._pending.get(reply.id)
        if pending is None:
            self._flows.refuse_all(reply.id, reply.flows)
            return
        pending.downloads = self._flows.open_downloads(reply.id, reply.flows)
        if reply.more:
            pending.begin_answer(reply)

    def _add_piece(self, piece: call_pb2.Piece, arrived_ns: int) -> None:
        pending = self._pending.get(piece.id)
        if pending is None:
            return
        reply = pending.add_piece(piece)
        if reply is not None:
            del self._pending[piece.id]
            pending.arrived_ns = arrived_ns
            self._owner.answered(pending, reply)

    async def _write(self, stream: _Stream) -> None:
        wake = self._wake
        more = False  # than fitted into the last message
        while True:
            if not more:
                await wake.wait()
            wake.clear()
            if (
                self._queue
                or self._cancels
                or self._pieces
                or self._from_sockets
                or self._receipts.due
                or self._flows.queued
            ):
                batch = self._next_batch()
                more = bool(self._queue or self._pieces or self._from_sockets or self._flows.queued)
                self._pace.sent()
                try:
                    await stream.write(batch)
                except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
                    raise _broken(error) from error

    def _next_batch(self) -> call_pb2.CallBatch:
        """All that is ready, up to the bound of a message; long bodies take turns, a piece each."""
        batch = call_pb2.CallBatch()
        size = 0
        sent_ns = time.monotonic_ns()
        now_s = sent_ns * 1e-9
        queue = self._queue
        if queue:
            self._before_newest_id = queue[0].id - 1
        while queue and size < BATCH_BYTES_MAX:
            size += self._add_call(batch, queue.popleft(), sent_ns, now_s)
        if self._cancels:
            batch.cancels.extend(self._cancels)
            self._cancels.clear()
        for _ in range(len(self._pieces)):
            if size >= BATCH_BYTES_MAX:
                break
            size += self._send_piece(batch, *self._pieces.popleft())
        while self._from_sockets and size < BATCH_BYTES_MAX:
            frame = self._from_sockets.popleft()
            batch.sockets.append(frame)
            size += 64 + len(frame.data)
        if self._flows.queued:
            self._flows.fill(batch, size, BATCH_BYTES_MAX)
        self._receipts.fill(batch)
        return batch

    def _add_call(self, batch: call_pb2.CallBatch, pending: Pending, sent_ns: int, now_s: float) -> int:
        body = pending.body
        more = pending.in_pieces
        call = batch.calls.add(
            id=pending.id,
            slot=pending.slot,
            epoch=pending.epoch,
            object=pending.object_id,
            class_name=pending.class_name,
            name=pending.name,
            kind=cast("call_pb2.CallKind", pending.kind),
            method=pending.method,
            body=body[:PIECE_BYTES_MAX] if more else body,
            timeout_ms=max(1, int((pending.deadline_s - now_s) * 1_000)),
            request_id=pending.request_id,
            sent_ns=sent_ns,
        )
        if more:
            call.more = True
            self._pieces.append((pending, pending.id, PIECE_BYTES_MAX))
        if pending.key:
            call.key = pending.key
            call.fingerprint = pending.fingerprint
        if pending.traceparent:
            call.traceparent = pending.traceparent
        if pending.chain:
            call.chain = pending.chain
        if pending.target:
            call.activation, call.target = pending.activation, pending.target
        if (lane := pending.lane) is not None:
            call.lane, call.order, call.before = lane.id, pending.order, pending.before
            call.oldest = next(iter(lane.calls), pending.order)
        if pending.url:
            call.url = pending.url
            for name, value in pending.headers:
                call.headers.add(name=name, value=value)
        if pending.uploads:
            call.flows = len(pending.uploads)
            for at, upload in enumerate(pending.uploads):
                self._flows.open_upload((pending.id, at), upload, pending.first_piece(at))
        pending.sent_ns = sent_ns
        pending.written = True
        self._pending[pending.id] = pending
        return 256 + min(len(body), PIECE_BYTES_MAX)

    def _send_piece(self, batch: call_pb2.CallBatch, pending: Pending, call_id: int, offset: int) -> int:
        if self._pending.get(call_id) is not pending:
            return 0  # answered or given up before its body was through
        data = pending.body[offset : offset + PIECE_BYTES_MAX]
        offset += len(data)
        last = offset >= len(pending.body)
        batch.pieces.add(id=call_id, data=data, last=last)
        if last:
            pending.in_pieces = False
        else:
            self._pieces.append((pending, call_id, offset))
        return len(data)

    def _break(self) -> None:
        """Hand back every call; what was written may have run."""
        self.up = False
        queued, written = list(self._queue), list(self._pending.values())
        self._queue.clear()
        self._pending.clear()
        self._pieces.clear()
        self._cancels.clear()
        self._from_sockets.clear()
        self._receipts.clear()
        self._flows.break_off()
        self._owner.link_down(self)
        for pending in queued:
            pending.link = None
            self._owner.never_sent(pending)
        for pending in written:
            pending.link = None
            pending.written = False
            pending.forget_answer()
            self._owner.maybe_sent(pending)
