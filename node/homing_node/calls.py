"""The gRPC service that gateways call: one stream from each, frames that are ready together in one message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import grpc
from google.protobuf.message import Message

from homing.batches import holds_beyond
from homing.errors import ApplicationError, HomingError, TooLarge
from homing.flow import streams_per_value_max
from homing.pace import Pace
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.objects import replies
from homing_node.objects.ports import CallTarget
from homing_node.objects.socket_record import Said
from homing_node.workers.process import AppFailed


class BackupTarget(Protocol):
    """Who reads slots for backups, and restores them; see `Backups`."""

    async def read(self, asked: wire.ReadSlotRequest, write: Callable[[wire.SlotPart], Awaitable[None]]) -> None:
        """Write what a slot holds, in parts."""
        ...

    async def restore(self, parts: AsyncIterator[wire.SlotPart]) -> wire.RestoreReply:
        """Write the objects that come into a slot."""
        ...


Inspect = Callable[[wire.InspectRequest], Awaitable[wire.InspectReply]]
Test = Callable[[wire.TestRequest], Awaitable[wire.TestReply]]
Prepare = Callable[[str], Awaitable[None]]


class _Partial(NamedTuple):
    """A call of which pieces are to come, and how streams behind it have ended meanwhile."""

    call: wire.Call
    pieces: list[bytes]
    ends: list[wire.Flow]


class _Exchange:
    """One gateway's stream."""

    def __init__(self, target: CallTarget) -> None:
        self._target = target
        self._ready: list[wire.Reply] = []
        self._wake = asyncio.Event()
        self._pace = Pace(self._wake.set, limits.replies_gather_s)
        self._open: dict[int, wire.Call] = {}  # calls without an answer, by number
        self._partial: dict[int, _Partial] = {}
        self._partial_bytes = 0
        self.gone = False  # the gateway has hung up
        self._said: list[wire.ToSockets] = []
        self._flows: deque[wire.Flow] = deque()  # Invariant: of each body no more than its window holds
        self._handled: tuple[list[int], list[int]] = ([], [])
        self._pieces: list[bytes] = []  # of a long message on a socket; they come one right after the other
        self._pieces_of = 0  # its handle

    def reply(self, reply: wire.Reply) -> None:
        """Queue an answer; it leaves with all that are ready, at once when nothing else runs for this gateway."""
        self._ready.append(reply)
        self._open.pop(reply.id, None)
        self._pace.ready()
        if not self._open:
            self._pace.hurry()

    def on_batch(self, batch: wire.CallBatch) -> None:
        """Start what is complete, keep what is not."""
        start, reply = self._target.call, self.reply
        for call in batch.calls:
            self._open[call.id] = call
            if call.more:
                self._keep(call)
            else:
                start(call, reply, self)
        if holds_beyond(batch, wire.CallBatch.CALLS_FIELD_NUMBER):
            self._on_others(batch)

    def _on_others(self, batch: wire.CallBatch) -> None:
        """What there is beside calls."""
        for piece in batch.pieces:
            self._add(piece)
        for call_id in batch.cancels:
            self._give_up(call_id)
        for flow in batch.flows:
            if (partial := self._partial.get(flow.id)) is None:
                self._target.flows.from_gateway(self, flow)
            elif flow.end and len(partial.ends) < streams_per_value_max:
                partial.ends.append(flow)
        for m in batch.sockets:
            self._on_socket(m)
        for handle, seq in zip(batch.had_handles, batch.had_seqs, strict=True):
            self._target.sockets.had(self, handle, seq)

    def _give_up(self, call_id: int) -> None:
        """Nobody waits for a call any more."""
        if (kept := self._partial.get(call_id)) is not None:
            self._drop(call_id, kept.pieces)  # the rest of its body will not come
            self.reply(replies.given_up(call_id))
        elif (call := self._open.get(call_id)) is not None:
            self._target.give_up(call)

    def _on_socket(self, m: wire.FromSocket) -> None:
        if m.kind == wire.SOCKET_FRAME_ATTACH:
            self._pieces.clear()
            self._target.attach_socket(self, m)
            return
        if m.handle != self._pieces_of:
            self._pieces.clear()  # of a socket that was attached anew meanwhile
        self._pieces_of = m.handle
        if m.more or self._pieces:
            self._pieces.append(m.data)
        if m.more:
            return
        data = b"".join(self._pieces) if self._pieces else m.data
        self._pieces.clear()
        self._target.sockets.came(self, m, data)

    # -- what the node says on sockets: see `GatewayPort` -----------------------------------------------------------

    def say(self, handles: Sequence[int], said: Said) -> None:
        """See `GatewayPort`."""
        data, code, reason = said.data, 0, ""
        if said.kind == wire.SOCKET_FRAME_CLOSE:
            (code, reason), data = data, b""
        elif isinstance(data, str):
            data = data.encode()
        piece = limits.piece_bytes_max
        for at in range(0, len(data) or 1, piece):
            self._said.append(
                wire.ToSockets(
                    handles=handles,
                    kind=cast("wire.SocketFrame", said.kind),
                    seq=said.seq,
                    data=data[at : at + piece],
                    more=at + piece < len(data),
                    code=code,
                    reason=reason,
                )
            )
        self._pace.ready()

    def tell(self, handle: int, kind: wire.SocketFrame, code: int = 0, reason: str = "") -> None:
        """See `GatewayPort`."""
        self._said.append(wire.ToSockets(handles=(handle,), kind=kind, code=code, reason=reason))
        self._pace.ready()

    def flow(self, m: wire.Flow) -> None:
        """See `FlowPort`."""
        self._flows.append(m)
        self._pace.ready()
        if not self._open:
            self._pace.hurry()

    def handled(self, handle: int, seq: int) -> None:
        """See `GatewayPort`; like an answer, it leaves at once when nothing else runs."""
        self._handled[0].append(handle)
        self._handled[1].append(seq)
        self._pace.ready()
        if not self._open and not self._target.sockets.running:
            self._pace.hurry()

    def _keep(self, call: wire.Call) -> None:
        self._partial[call.id] = _Partial(call, [call.body], [])
        self._partial_bytes += len(call.body)

    def _add(self, piece: wire.Piece) -> None:
        known = self._partial.get(piece.id)
        if known is None:
            return  # refused before; the rest of it passes by
        call, parts, ends = known
        parts.append(piece.data)
        self._partial_bytes += len(piece.data)
        if self._partial_bytes > limits.partial_bodies_bytes_max:
            self._drop(piece.id, parts)
            self.reply(replies.of_error(piece.id, TooLarge("too many large bodies are on their way"), started=False))
        elif piece.last:
            self._drop(piece.id, parts)
            call.body, call.more = b"".join(parts), False
            self._target.call(call, self.reply, self)
            for flow in ends:
                self._target.flows.from_gateway(self, flow)

    def _drop(self, call_id: int, parts: list[bytes]) -> None:
        del self._partial[call_id]
        self._partial_bytes -= sum(map(len, parts))

    async def read(self, context: Any) -> None:
        """Take batches until the gateway hangs up."""
        while isinstance(batch := await context.read(), wire.CallBatch):
            self.on_batch(batch)

    def _next_said(self) -> list[wire.ToSockets]:
        """What is said next, up to the bound of a message; what is cut into pieces would not fit into one."""
        size = count = 0
        while count < len(self._said) and size < limits.said_bytes_max:
            size += len(self._said[count].data)
            count += 1
        said, self._said = self._said[:count], self._said[count:]
        return said

    def _next_flows(self) -> list[wire.Flow]:
        """What is sent next of bodies that flow, up to the bound of a message."""
        flows: list[wire.Flow] = []
        size = 0
        while self._flows and size < limits.said_bytes_max:
            flows.append(self._flows.popleft())
            size += len(flows[-1].data)
        return flows

    async def write(self, context: Any) -> None:
        """Send what is ready until cancelled; a large body goes in pieces, other answers between them."""
        large: list[tuple[int, bytes, int]] = []
        while True:
            if not (large or self._said or self._flows):
                await self._wake.wait()
            self._wake.clear()
            ready, self._ready = self._ready, []
            pieces: list[wire.Piece] = []
            for reply in ready:
                if len(reply.body) > limits.piece_bytes_max:
                    body, reply.body, reply.more = reply.body, reply.body[: limits.piece_bytes_max], True
                    large.append((reply.id, body, limits.piece_bytes_max))
            if large and not ready:
                call_id, body, at = large.pop(0)
                end = at + limits.piece_bytes_max
                pieces.append(wire.Piece(id=call_id, data=body[at:end], last=end >= len(body)))
                if end < len(body):
                    large.append((call_id, body, end))
            if ready or pieces or self._said or self._handled[0] or self._flows:
                self._pace.sent()
                await context.write(self._next_batch(ready, pieces))

    def _next_batch(self, ready: list[wire.Reply], pieces: list[wire.Piece]) -> wire.ReplyBatch:
        """Answers, and what else there is; to name what is empty would cost as much as an answer."""
        batch = wire.ReplyBatch(replies=ready)
        if pieces:
            batch.pieces.extend(pieces)
        if self._said:
            batch.sockets.extend(self._next_said())
        if self._handled[0]:
            (handles, seqs), self._handled = self._handled, ([], [])
            batch.handled_handles.extend(handles)
            batch.handled_seqs.extend(seqs)
        if self._flows:
            batch.flows.extend(self._next_flows())
        return batch


class CallService:
    """Serves `homing.wire.v1.Calls`.

    Args:
        target: runs calls.
        inspect: answers questions about objects and the node.
        drain: gives every slot away; with False, the node stays.
        move: (slot, node) gives one slot to that node, or raises a `HomingError`.
        verify: (slot) compares the pages of its replicas, or raises a `HomingError`.
        backups: reads slots, and restores them.
        test: does what a test asks for; see `HandOfTests`.
        prepare: (version) loads a version of the application, or raises a `HomingError`.
    """

    def __init__(
        self, target: CallTarget, inspect: Inspect, drain: Callable[[bool], None], move: Callable[[int, str], None],
        verify: Callable[[int], Awaitable[wire.VerifyReply]], backups: BackupTarget, test: Test,
        prepare: Prepare,
    ) -> None:  # fmt: skip
        self._target = target
        self._inspect = inspect
        self._drain = drain
        self._move = move
        self._verify = verify
        self._backups = backups
        self._test = test
        self._prepare = prepare

    async def _exchange(self, _: object, context: Any) -> None:
        exchange = _Exchange(self._target)
        writer = asyncio.ensure_future(exchange.write(context))
        try:
            await exchange.read(context)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            exchange.gone = True
            self._target.sockets.gateway_gone(exchange)
            self._target.flows.port_gone(exchange)

    async def _ask(self, request: wire.InspectRequest, _: object) -> wire.InspectReply:
        try:
            return await self._inspect(request)
        except HomingError as error:
            return wire.InspectReply(failure=replies.failure_of(error))

    async def _leave(self, request: wire.DrainRequest, _: object) -> wire.DrainReply:
        self._drain(not request.stay)
        return wire.DrainReply()

    async def _give(self, request: wire.MoveRequest, _: object) -> wire.MoveReply:
        try:
            self._move(request.slot, request.node)
        except HomingError as error:
            return wire.MoveReply(failure=replies.failure_of(error))
        return wire.MoveReply()

    async def _compare(self, request: wire.VerifyRequest, _: object) -> wire.VerifyReply:
        try:
            return await self._verify(request.slot)
        except HomingError as error:
            return wire.VerifyReply(failure=replies.failure_of(error))

    async def _do_for_test(self, request: wire.TestRequest, _: object) -> wire.TestReply:
        try:
            return await self._test(request)
        except HomingError as error:
            return wire.TestReply(failure=replies.failure_of(error))

    async def _load(self, request: wire.PrepareRequest, _: object) -> wire.PrepareReply:
        try:
            await self._prepare(request.version)
        except AppFailed as error:
            told = ApplicationError(f"{error.message}\n{error.traceback}", error_type="AppFailed")
            return wire.PrepareReply(failure=replies.failure_of(told))
        except HomingError as error:
            return wire.PrepareReply(failure=replies.failure_of(error))
        return wire.PrepareReply()

    async def _read_slot(self, request: wire.ReadSlotRequest, context: Any) -> None:
        try:
            await self._backups.read(request, context.write)
        except HomingError as error:
            await context.write(wire.SlotPart(failure=replies.failure_of(error)))

    async def _restore_slot(self, requests: AsyncIterator[wire.SlotPart], _: object) -> wire.RestoreReply:
        parts = aiter(requests)
        try:
            return await self._backups.restore(parts)
        except HomingError as error:
            await read_out(parts)
            return wire.RestoreReply(failure=replies.failure_of(error))

    def handler(self) -> grpc.GenericRpcHandler:
        """What the node's gRPC server serves for gateways."""
        methods = {
            "Exchange": grpc.stream_stream_rpc_method_handler(
                cast(Any, self._exchange),
                request_deserializer=wire.CallBatch.FromString,
                response_serializer=wire.ReplyBatch.SerializeToString,
            ),
            "Inspect": unary(self._ask, wire.InspectRequest, wire.InspectReply),
            "Drain": unary(self._leave, wire.DrainRequest, wire.DrainReply),
            "Move": unary(self._give, wire.MoveRequest, wire.MoveReply),
            "Verify": unary(self._compare, wire.VerifyRequest, wire.VerifyReply),
            "Prepare": unary(self._load, wire.PrepareRequest, wire.PrepareReply),
            "Test": unary(self._do_for_test, wire.TestRequest, wire.TestReply),
            "ReadSlot": grpc.unary_stream_rpc_method_handler(
                cast(Any, self._read_slot),
                request_deserializer=wire.ReadSlotRequest.FromString,
                response_serializer=wire.SlotPart.SerializeToString,
            ),
            "RestoreSlot": grpc.stream_unary_rpc_method_handler(
                cast(Any, self._restore_slot),
                request_deserializer=wire.SlotPart.FromString,
                response_serializer=wire.RestoreReply.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler("homing.wire.v1.Calls", methods)


async def read_out(parts: AsyncIterator[Message]) -> None:
    """Read what the other side still writes: gRPC loses an answer that comes meanwhile."""
    async for _ in parts:
        pass


def unary(serve: object, request: type[Message], reply: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    """A method of a gRPC service that takes one message and gives one."""
    return grpc.unary_unary_rpc_method_handler(
        cast(Any, serve), request_deserializer=request.FromString, response_serializer=reply.SerializeToString
    )
