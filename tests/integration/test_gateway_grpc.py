"""The gRPC face: the same meaning as the HTTP route, with health and reflection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway_process import Running, running
from homing.ids import ObjectId
from homing.v1 import objects_pb2 as api
from homing_gateway.rpc import RpcServer
from stub_node import StubNode, failure


@contextlib.asynccontextmanager
async def serving(gate: Running) -> AsyncIterator[grpc.aio.Channel]:
    server = RpcServer(gate.gateway)
    port = await server.start("127.0.0.1:0")
    health = asyncio.create_task(server.watch_health())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        health.cancel()
        await asyncio.gather(health, return_exceptions=True)
        await server.stop(0)


def caller(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[api.CallRequest, api.CallResponse]:
    return channel.unary_unary(
        "/homing.v1.Objects/Call", api.CallRequest.SerializeToString, api.CallResponse.FromString
    )


async def test_a_call_and_its_answer() -> None:
    async with running(lane=True) as gate, serving(gate) as channel:
        request = api.CallRequest(
            class_name="Counter", name="a/ü", method="add", arguments_json=b'{"args":[1]}', idempotency_key="k",
            request_id="r-1", timeout_ms=5_000,
        )  # fmt: skip
        reply = await caller(channel)(request)
        assert (reply.result_json, reply.request_id) == (b'{"result":1}', "r-1")
        (call,) = gate.node.calls
        assert (call.name, call.method, call.body, call.key, call.request_id) == (
            "a/ü",
            "add",
            b'{"args":[1]}',
            "k",
            "r-1",
        )
        assert call.object == ObjectId.from_name("Counter", "a/ü").raw
        assert 4_000 < call.timeout_ms <= 5_000
        over_http = await gate.rpc("add", name="a%2F%C3%BC", body=b'{"kwargs":{},"args":[1]}', idempotency_key="k")
        assert over_http.status_code == 200
        assert gate.node.calls[1].fingerprint == call.fingerprint


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        ("not-found", grpc.StatusCode.NOT_FOUND, "false"),
        ("application-error", grpc.StatusCode.UNKNOWN, "false"),
        ("overloaded", grpc.StatusCode.RESOURCE_EXHAUSTED, "true"),
        ("outcome-unknown", grpc.StatusCode.UNAVAILABLE, "false"),
        ("key-reused", grpc.StatusCode.ALREADY_EXISTS, "false"),
    ],
)
async def test_errors_keep_their_names(code: str, status: grpc.StatusCode, retryable: str) -> None:
    node = StubNode(on_call=lambda _call: failure(code, "because", started=True))
    async with running(lane=True, node=node) as gate, serving(gate) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await caller(channel)(api.CallRequest(class_name="Counter", name="a", method="x"))
        assert failed.value.code() is status
        assert failed.value.details() == "because"
        trailing = dict(failed.value.trailing_metadata() or ())
        assert (trailing["homing-code"], trailing["homing-retryable"]) == (code, retryable)
        assert trailing["x-request-id"]


async def test_bad_requests() -> None:
    async with running(lane=True) as gate, serving(gate) as channel:
        for request in (
            api.CallRequest(class_name="Counter", name="", method="x"),
            api.CallRequest(class_name="Counter", name="id:1", method="x"),
            api.CallRequest(class_name="Counter", name="a", method="x", timeout_ms=600_001),
            api.CallRequest(class_name="Counter", name="a", method="x", arguments_json=b"{", idempotency_key="k"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await caller(channel)(request)
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await caller(channel)(api.CallRequest(class_name="Nope", name="a", method="x"))
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
        assert gate.node.calls == []


async def test_the_token() -> None:
    async with running(lane=True, token="t0ken") as gate, serving(gate) as channel:
        request = api.CallRequest(class_name="Counter", name="a", method="x")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await caller(channel)(request)
        assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await caller(channel)(request, metadata=(("authorization", "Bearer t0ken"),))).result_json


async def test_a_caller_that_goes_cancels_its_call() -> None:
    node = StubNode(on_call=lambda _call: None)
    async with running(lane=True, node=node) as gate, serving(gate) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await caller(channel)(api.CallRequest(class_name="Counter", name="a", method="x"), timeout=0.3)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            while not node.cancels:
                await asyncio.sleep(0.01)
        assert gate.gateway.forwarder.in_flight == 0


async def test_health_and_reflection() -> None:
    async with running(lane=True) as gate, serving(gate) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        async with asyncio.timeout(5):
            while (await check(health_pb2.HealthCheckRequest())).status != health_pb2.HealthCheckResponse.SERVING:
                await asyncio.sleep(0.01)
        gate.gateway.draining = True
        async with asyncio.timeout(5):
            while (await check(health_pb2.HealthCheckRequest())).status != health_pb2.HealthCheckResponse.NOT_SERVING:
                await asyncio.sleep(0.01)
        info = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await info.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await info.read()
        info.cancel()
        assert "homing.v1.Objects" in {service.name for service in listed.list_services_response.service}
