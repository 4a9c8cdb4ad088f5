"""The gRPC service for code that comes through gateways, and for those who look at what runs (docs/sandboxes.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc

from homing.errors import HomingError
from homing.sandboxes import Asked, encode_outcome
from homing.wire.v1 import call_pb2 as wire
from homing_node.broker.grants import Giver
from homing_node.calls import unary
from homing_node.objects import replies
from homing_node.sandboxes.service import Sandboxes


class SandboxService:
    """Serves `RunCode` and `Runs` of `homing.wire.v1.Calls`.

    Args:
        sandboxes: of this node.
        giver: what the application has to give to runs that nobody of it asks for.
    """

    def __init__(self, sandboxes: Sandboxes, giver: Callable[[], Giver]) -> None:
        self._sandboxes, self._giver = sandboxes, giver

    async def _run(self, request: wire.RunCodeRequest, context: Any) -> None:
        printed: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()  # at most what the run may print

        def on_output(stream: int, data: bytes) -> None:
            printed.put_nowait((stream, data))

        try:
            asked = Asked.decode(request.asked)
            live = on_output if asked.streamed else None
            running = asyncio.ensure_future(self._sandboxes.run(asked, self._giver(), on_output=live))
            running.add_done_callback(lambda _: printed.put_nowait(None))
            try:
                while (piece := await printed.get()) is not None:
                    await context.write(wire.RunCodeReply(output_stream=piece[0], output=piece[1]))
                outcome = await running
            finally:
                running.cancel()  # whoever asked has gone
        except HomingError as error:
            await context.write(wire.RunCodeReply(failure=replies.failure_of(error)))
        else:
            await context.write(wire.RunCodeReply(outcome=encode_outcome(outcome)))

    async def _runs(self, request: wire.RunsRequest, _: object) -> wire.RunsReply:
        try:
            if request.end:
                self._sandboxes.kill(request.end)
        except HomingError as error:
            return wire.RunsReply(failure=replies.failure_of(error))
        return wire.RunsReply(
            runs=[
                wire.RunFacts(
                    number=each.number, tenant=each.tenant, pid=each.pid, age_ms=int(each.age_s * 1e3),
                    cpu_ms=int(each.cpu_s * 1e3), memory_bytes=each.memory_bytes,
                )
                for each in await asyncio.to_thread(self._sandboxes.list)
            ]
        )  # fmt: skip

    def handler(self) -> grpc.GenericRpcHandler:
        """What the node's gRPC server serves for gateways."""
        run = grpc.unary_stream_rpc_method_handler(
            cast(Any, self._run),
            request_deserializer=wire.RunCodeRequest.FromString,
            response_serializer=wire.RunCodeReply.SerializeToString,
        )
        methods = {
            "RunCode": run,
            "Runs": unary(self._runs, wire.RunsRequest, wire.RunsReply),
        }
        return grpc.method_handlers_generic_handler("homing.wire.v1.Calls", methods)
