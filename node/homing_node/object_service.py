"""The gRPC service for what is done to one object from outside: it is deleted, queried, brought in, evicted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import grpc

from homing.errors import HomingError, NotOwner
from homing.wire.v1 import call_pb2 as wire
from homing_node.calls import read_out, unary
from homing_node.databases import Databases
from homing_node.deletions import Deletions
from homing_node.objects import replies
from homing_node.objects.host import ObjectHost


class ObjectService:
    """Serves `Delete`, `Query`, `Import` and `Evict` of `homing.wire.v1.Calls`.

    Args:
        deletions: deletes objects.
        databases: queries them, and brings them in.
        host: runs them.
    """

    def __init__(self, deletions: Deletions, databases: Databases, host: ObjectHost) -> None:
        self._deletions, self._databases, self._host = deletions, databases, host

    async def _delete(self, request: wire.DeleteRequest, _: object) -> wire.DeleteReply:
        try:
            return await self._deletions(request)
        except HomingError as error:
            return wire.DeleteReply(failure=replies.failure_of(error))

    async def _query(self, request: wire.QueryRequest, _: object) -> wire.QueryReply:
        try:
            return await self._databases.query(request)
        except HomingError as error:
            return wire.QueryReply(failure=replies.failure_of(error))

    async def _evict(self, request: wire.EvictRequest, _: object) -> wire.EvictReply:
        try:
            if request.slot not in self._host.gate.slots:
                raise NotOwner(f"slot {request.slot} is not served here")
            evicted = await self._host.evictions.evict(request.object, at_once=request.at_once)
        except HomingError as error:
            return wire.EvictReply(failure=replies.failure_of(error))
        return wire.EvictReply(evicted=evicted)

    async def _bring_in(self, requests: AsyncIterator[wire.ImportPart], _: object) -> wire.ImportReply:
        parts = aiter(requests)
        try:
            return await self._databases.bring_in(parts)
        except HomingError as error:
            await read_out(parts)
            return wire.ImportReply(failure=replies.failure_of(error))

    def handler(self) -> grpc.GenericRpcHandler:
        """What the node's gRPC server serves for gateways."""
        methods = {
            "Delete": unary(self._delete, wire.DeleteRequest, wire.DeleteReply),
            "Evict": unary(self._evict, wire.EvictRequest, wire.EvictReply),
            "Query": unary(self._query, wire.QueryRequest, wire.QueryReply),
            "Import": grpc.stream_unary_rpc_method_handler(
                cast(Any, self._bring_in),
                request_deserializer=wire.ImportPart.FromString,
                response_serializer=wire.ImportReply.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler("homing.wire.v1.Calls", methods)
