"""A gateway in the test's own process, on the real HTTP server, with stub nodes behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import uvicorn

from homing_gateway.admin import Admin
from homing_gateway.asgi import App
from homing_gateway.asked import Doorkeeper
from homing_gateway.deploys import Deploys
from homing_gateway.gateway import Gateway
from homing_gateway.lane import lane_protocol
from homing_gateway.limits import SOCKET_MESSAGE_BYTES_MAX
from homing_gateway.metrics import GatewayMetrics
from homing_gateway.routes import Router
from homing_gateway.socket_app import SocketApp
from homing_gateway.socket_lane import SocketProtocol
from homing_gateway.sockets import SocketHub
from homing_gateway.streams import SlotStreams
from homing_placement.routing.forward import Forwarder
from stub_node import StaticTable, StubNode


@dataclass
class Running:
    """What a test talks to."""

    gateway: Gateway
    table: StaticTable
    node: StubNode
    http: httpx.AsyncClient
    server: uvicorn.Server
    port: int

    async def rpc(
        self,
        method: str = "increment",
        *,
        name: str = "a",
        body: bytes = b"{}",
        class_name: str = "Counter",
        **headers: str,
    ) -> httpx.Response:
        """One call; header names with underscores for dashes, an empty value leaves the header out."""
        wanted = {"content-type": "application/json"}
        wanted.update({key.replace("_", "-"): value for key, value in headers.items()})
        path = f"/_homing/v1/objects/{class_name}/{name}/rpc/{method}"
        return await self.http.post(path, content=body, headers={k: v for k, v in wanted.items() if v})


@contextlib.asynccontextmanager
async def running(
    *, lane: bool, token: str = "", node: StubNode | None = None, table: StaticTable | None = None, **forwarder: Any
) -> AsyncIterator[Running]:
    """Start a stub node and a gateway in front of it; `lane` chooses the short way or the ASGI application alone."""
    async with node or StubNode() as stub, contextlib.AsyncExitStack() as stack:
        known = table or StaticTable()
        known.add(stub)
        gateway = Gateway(
            Router(known.slots),
            Forwarder(known, **forwarder),
            Doorkeeper(token),
            GatewayMetrics(),
            fetch_bytes_max=2_000_000,
        )
        config = uvicorn.Config(
            App(
                gateway,
                Admin(gateway.forwarder, known.slots),
                SlotStreams(gateway.forwarder, known.slots),
                SocketApp(gateway, SocketHub(gateway.forwarder)),
                Deploys(gateway.forwarder, cast("Any", None)),
            ),
            port=0, lifespan="off", log_config=None, access_log=False,
            http=lane_protocol(gateway) if lane else "httptools", ws=SocketProtocol, server_header=False,
            ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # pytest keeps its own
        tasks = [asyncio.create_task(gateway.forwarder.run()), asyncio.create_task(server.serve())]
        try:
            await until(lambda: server.started and gateway.ready and bool(gateway.forwarder.classes.known))
            port = server.servers[0].sockets[0].getsockname()[1]
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20))
            yield Running(gateway, known, stub, http, server, port)
        finally:
            tasks[0].cancel()
            server.force_exit = server.should_exit = True
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any, *, limit_s: float = 10.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)


def slot_of(name: str) -> int:
    return Router().address("Counter", name).slot


def check_problem(response: httpx.Response, status: int, code: str, *, retryable: bool = False) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = json.loads(response.content)
    assert document["type"].endswith("/" + code)
    assert document["status"] == status
    assert document["retryable"] is retryable
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["title"]
    assert document["detail"]
    if status in (429, 503):
        assert int(response.headers["retry-after"]) >= 1
    return document
