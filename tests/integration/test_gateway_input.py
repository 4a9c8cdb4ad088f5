"""What a gateway refuses, and what it bears: limits at their edges, bad input, wrong callers, odd connections.

Each test runs twice: by the short way through the HTTP server, and through the ASGI application alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator

import pytest

from gateway_process import Running, check_problem, running, until
from homing_gateway.limits import RPC_BYTES_MAX
from homing_placement.routing.pending import Pending
from stub_node import StubNode, answer


@pytest.fixture(params=[True, False], ids=["lane", "asgi"])
def lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def gate(lane: bool) -> AsyncIterator[Running]:
    async with running(lane=lane) as found:
        yield found


async def test_a_body_at_its_limit_and_over_it(gate: Running) -> None:
    edge = b'{"args":["' + b"x" * (RPC_BYTES_MAX - 14) + b'"]}'
    assert len(edge) == RPC_BYTES_MAX - 1
    assert (await gate.rpc(body=edge + b" ")).status_code == 200
    check_problem(await gate.rpc(body=edge + b"  "), 413, "too-large")
    assert len(gate.node.calls) == 1


async def test_a_chunked_body_is_counted_as_it_comes(gate: Running) -> None:
    async def body(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 65_536):
            yield b" " * 65_536
        yield b"{}"

    path = "/_homing/v1/objects/Counter/a/rpc/x"
    json_type = {"content-type": "application/json"}
    assert (await gate.http.post(path, content=body(65_536), headers=json_type)).status_code == 200
    assert gate.node.calls[0].body == b" " * 65_536 + b"{}"
    check_problem(await gate.http.post(path, content=body(RPC_BYTES_MAX), headers=json_type), 413, "too-large")
    assert len(gate.node.calls) == 1


async def test_too_many_in_flight_are_refused(lane: bool) -> None:
    node = StubNode(on_call=lambda call: None if call.method == "wait" else answer())
    async with running(lane=lane, node=node, in_flight_max=2) as gate:
        waiting = [asyncio.create_task(gate.rpc("wait", homing_timeout_ms="600")) for _ in range(2)]
        await until(lambda: len(node.calls) == 2)
        check_problem(await gate.rpc(), 429, "overloaded", retryable=True)
        await asyncio.gather(*waiting)
        assert (await gate.rpc()).status_code == 200


@pytest.mark.parametrize(
    ("name", "headers", "status", "code"),
    [
        ("%FF", {}, 400, "bad-request"),
        ("%zz", {}, 400, "bad-request"),
        ("x" * 1_025, {}, 400, "bad-request"),
        ("id:123", {}, 400, "bad-request"),
        ("a", {"content_type": ""}, 415, "unsupported-media-type"),
        ("a", {"content_type": "text/plain"}, 415, "unsupported-media-type"),
        ("a", {"homing_timeout_ms": "0"}, 400, "bad-request"),
        ("a", {"homing_timeout_ms": "600001"}, 400, "bad-request"),
        ("a", {"idempotency_key": "k" * 257}, 400, "bad-request"),
        ("a", {"host": "evil.example"}, 403, "forbidden"),
        ("a", {"origin": "http://evil.example"}, 403, "forbidden"),
        ("a", {"origin": "null"}, 403, "forbidden"),
    ],
)
async def test_bad_input_never_reaches_a_node(
    gate: Running, name: str, headers: dict[str, str], status: int, code: str
) -> None:
    check_problem(await gate.rpc(name=name, **headers), status, code)
    assert gate.node.calls == []


async def test_a_page_of_the_gateway_itself_may_call(gate: Running) -> None:
    assert (await gate.rpc(origin=f"http://127.0.0.1:{gate.port}")).status_code == 200


async def test_a_key_needs_a_body_that_can_be_read(gate: Running) -> None:
    check_problem(await gate.rpc(body=b"{", idempotency_key="k"), 400, "bad-request")
    assert (await gate.rpc(body=b"{")).status_code == 200  # the worker is who reads it


async def test_an_unknown_class_is_asked_for_once_more(gate: Running) -> None:
    check_problem(await gate.rpc(class_name="Nope"), 404, "not-found")
    gate.node.classes = ["Counter", "Later"]
    await asyncio.sleep(0.3)
    assert (await gate.rpc(class_name="Later")).status_code == 200


async def test_a_wrong_verb_names_the_right_one(gate: Running) -> None:
    found = await gate.http.get("/_homing/v1/objects/Counter/a/rpc/x")
    check_problem(found, 405, "method-not-allowed")
    assert found.headers["allow"] == "POST"


async def test_the_token_opens_everything_under_v1(lane: bool) -> None:
    async with running(lane=lane, token="t0ken") as gate:
        found = await gate.rpc()
        check_problem(found, 401, "unauthenticated")
        assert found.headers["www-authenticate"] == "Bearer"
        check_problem(await gate.rpc(authorization="Bearer wrong"), 401, "unauthenticated")
        assert (await gate.rpc(authorization="Bearer t0ken", host="any.example")).status_code == 200
        assert (await gate.http.get("/_homing/readyz")).status_code == 200
        assert len(gate.node.calls) == 1


async def test_pipelined_requests_are_answered_in_order(gate: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    gate.node.on_call = lambda call: answer(b'{"result":"%s"}' % call.name.encode())
    head = "POST /_homing/v1/objects/Counter/%s/rpc/x HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    requests = "".join(head % name + "content-length: 2\r\n\r\n{}" for name in ("p1", "p2", "p3"))
    writer.write(requests.encode() + b"GET /_homing/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    text = (await asyncio.wait_for(reader.read(), 5)).decode()
    writer.close()
    places = [text.index(f'"{name}"') for name in ("p1", "p2", "p3")]
    assert places == sorted(places)
    assert text.index('"status":"ok"') > places[-1]


async def test_bytes_that_are_not_http_leave_the_rest_alone(gate: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(b"\x16\x03\x01\x02\x00\x01\xff" * 20)
    assert b" 400 " in await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert (await gate.rpc()).status_code == 200


async def test_an_idle_connection_is_closed(lane: bool) -> None:
    async with running(lane=lane) as gate:
        gate.server.config.timeout_keep_alive = 1
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(
            b"POST /_homing/v1/objects/Counter/a/rpc/x HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )
        text = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert text.startswith(b"HTTP/1.1 200 ")


async def test_a_head_that_never_ends_is_cut_off() -> None:
    async with running(lane=True) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n")
        for number in range(200):
            writer.write(b"x-%d: %b\r\n" % (number, b"y" * 1_000))
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            assert b" 400 " in await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert (await gate.rpc()).status_code == 200


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homing_gateway.lane.HEAD_WAIT_S_MAX", 0.2)
    async with running(lane=True) as gate:
        for said in (b"", b"GET / HTTP/1.1\r\nhost: loc"):
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            writer.write(said)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()


async def test_a_health_check_is_answered_like_any_request(gate: Running) -> None:
    found = await gate.http.get("/_homing/healthz", headers={"x-request-id": "h1"})
    assert (found.status_code, found.json(), found.headers["x-request-id"]) == (200, {"status": "ok"}, "h1")
    assert found.headers["content-type"] == "application/json"
    assert (await gate.http.head("/_homing/healthz")).status_code == 200
    check_problem(await gate.http.get("/_homing/healthz", headers={"host": "evil.example"}), 403, "forbidden")
    with_body = await gate.http.request("GET", "/_homing/healthz", content=b"{}")
    assert with_body.json() == {"status": "ok"}
    assert (await gate.rpc()).status_code == 200


async def test_an_answered_call_leaves_nothing_for_the_collector() -> None:
    """Without the line of `_RpcCycle._finish` that lets the call go, each call leaves its cycle and itself behind."""
    async with running(lane=True) as gate:
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                assert (await gate.rpc()).status_code == 200
            left = sum(type(thing) is Pending for thing in gc.get_objects())
        finally:
            gc.enable()
    assert left <= 1
