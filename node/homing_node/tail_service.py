"""The gRPC service for live logs: a stream for each who watches this node (docs/how-to/tail.md)."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from homing.errors import HomingError
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits, replies
from homing_node.objects.tails import Tail, Tails


class TailService:
    """Serves `Tail` of `homing.wire.v1.Calls`.

    Args:
        tails: of this node's objects.
    """

    def __init__(self, tails: Tails) -> None:
        self._tails = tails

    async def _watch(self, request: wire.TailRequest, context: Any) -> None:
        ready = asyncio.Event()
        try:
            tail = self._tails.watch(request, ready.set)
        except HomingError as error:
            await context.write(wire.TailBatch(failure=replies.failure_of(error)))
            return
        try:
            await context.write(wire.TailBatch())
            await self._tell(tail, ready, context)
        finally:
            self._tails.end(tail)

    async def _tell(self, tail: Tail, ready: asyncio.Event, context: Any) -> None:
        """Write what there is until cancelled; while the other side does not read, this waits and the tail drops."""
        while True:
            await ready.wait()
            await asyncio.sleep(limits.tail_gather_s)
            ready.clear()
            await context.write(tail.take())

    def handler(self) -> grpc.GenericRpcHandler:
        """What the node's gRPC server serves for gateways."""
        watch = grpc.unary_stream_rpc_method_handler(
            cast(Any, self._watch),
            request_deserializer=wire.TailRequest.FromString,
            response_serializer=wire.TailBatch.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("homing.wire.v1.Calls", {"Tail": watch})
