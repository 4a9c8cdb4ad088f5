"""Calls through the gateway to stub nodes: what is answered, what is tried again, what nobody knows.

Each test runs twice: by the short way through the HTTP server, and through the ASGI application alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_process import Running, running, until
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.limits import RPC_BYTES_MAX
from homing_gateway.routes import Router
from stub_node import StaticTable, StreamCut, StubNode, answer, failure


@pytest.fixture(params=[True, False], ids=["lane", "asgi"])
def lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def gate(lane: bool) -> AsyncIterator[Running]:
    async with running(lane=lane) as found:
        yield found


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


async def test_a_call_arrives_as_it_was_sent(gate: Running) -> None:
    body = b'{"args": [1, 12345678901234567890123],  "kwargs":{"x":"\\u00fc"}}'
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    found = await gate.rpc(
        "add", name="a%2Fb", body=body, x_request_id="r-77", homing_timeout_ms="5000", traceparent=trace
    )
    assert (found.status_code, found.content) == (200, b'{"result":1}')
    assert found.headers["x-request-id"] == "r-77"
    assert found.headers["content-type"] == "application/json"
    (call,) = gate.node.calls
    assert (call.class_name, call.name, call.method, call.body) == ("Counter", "a/b", "add", body)
    assert call.object == ObjectId.from_name("Counter", "a/b").raw
    assert (call.slot, call.epoch, call.kind) == (slot_of("a/b"), 1, wire.CALL_KIND_RPC)
    assert (call.request_id, call.traceparent, call.key, call.fingerprint) == ("r-77", trace, "", b"")
    assert 4_000 < call.timeout_ms <= 5_000
    assert call.sent_ns > 0


async def test_an_object_may_be_addressed_by_id(gate: Running) -> None:
    object_id = ObjectId.from_name("Counter", "a")
    assert (await gate.rpc(name=f"id:{object_id}")).status_code == 200
    assert gate.node.calls[0].object == object_id.raw
    assert gate.node.calls[0].name == ""


async def test_calls_that_are_ready_together_travel_together(gate: Running) -> None:
    answers = await asyncio.gather(*(gate.rpc(name=f"o{n}") for n in range(60)))
    assert {found.status_code for found in answers} == {200}
    assert len(gate.node.calls) == 60
    assert gate.node.batches < 60


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [
        ("bad-request", 400, False),
        ("not-found", 404, False),
        ("key-reused", 422, False),
        ("overloaded", 429, True),
        ("application-error", 500, False),
        ("storage-error", 500, False),
        ("never-heard-of", 500, False),
        ("not-supported", 501, False),
        ("deadline-exceeded", 504, False),
        ("outcome-unknown", 502, False),
        ("object-reset", 503, True),
        ("too-large", 413, False),
    ],
)
async def test_what_a_node_says_becomes_a_problem(lane: bool, code: str, status: int, retryable: bool) -> None:
    node = StubNode(on_call=lambda _call: failure(code, "because", started=True, error_type="KeyError"))
    async with running(lane=lane, node=node) as gate:
        document = check_problem(
            await gate.rpc(), status, "internal" if code == "never-heard-of" else code, retryable=retryable
        )
        assert document["detail"] == "because"
        assert document.get("error_type") == ("KeyError" if code == "application-error" else None)
        assert len(gate.node.calls) == 1


async def test_a_call_that_broke_off_under_its_key_is_never_sent_again(lane: bool) -> None:
    node = StubNode(on_call=lambda _call: failure("outcome-unknown", started=True, error_type="BrokenOff"))
    async with running(lane=lane, node=node) as gate:
        check_problem(await gate.rpc(idempotency_key="k"), 409, "outcome-unknown")
        assert len(gate.node.calls) == 1


async def test_not_owner_refreshes_the_slot_and_follows(lane: bool) -> None:
    async with StubNode("n2") as other:
        table = StaticTable()
        table.add(other, slots=())
        node = StubNode(on_call=lambda _call: failure("not-owner", epoch=2, owner="n2"))
        async with running(lane=lane, node=node, table=table) as gate:
            table.fresh[slot_of("a")] = StaticTable.owned_by(other, 2)
            assert (await gate.rpc()).status_code == 200
            assert table.refreshed == [slot_of("a")]
            assert other.calls[0].epoch == 2


async def test_a_call_that_never_started_waits_for_its_owner(gate: Running) -> None:
    """Seen to fail when a parked call is not tried again on a change of the table."""
    gate.table.give(slot_of("a"), None, 2)
    waiting = asyncio.create_task(gate.rpc())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert (await gate.rpc(name="other")).status_code == 200
    gate.table.give(slot_of("a"), gate.node, 3)
    assert (await waiting).status_code == 200
    assert gate.node.calls[-1].epoch == 3


async def test_without_an_owner_the_answer_is_503_after_a_while(lane: bool) -> None:
    async with running(lane=lane, owner_wait_s_max=0.3) as gate:
        gate.table.give(slot_of("a"), None, 2)
        check_problem(await gate.rpc(), 503, "unavailable", retryable=True)


async def test_without_a_majority_the_answer_is_503_after_a_while(lane: bool) -> None:
    node = StubNode(on_call=lambda _call: failure("unavailable", "no majority", started=False))
    async with running(lane=lane, node=node, owner_wait_s_max=0.3) as gate:
        document = check_problem(await gate.rpc(), 503, "unavailable", retryable=True)
        assert document["detail"] == "no majority"
        assert len(node.calls) > 1


async def test_a_started_call_without_a_key_is_sent_once(lane: bool) -> None:
    """Seen to fail with `repeatable` always true in the policy."""
    node = StubNode(on_call=lambda _call: failure("unavailable", started=True))
    async with running(lane=lane, node=node) as gate:
        check_problem(await gate.rpc(), 502, "outcome-unknown")
        assert len(node.calls) == 1


def cut_first(calls: list[str]) -> StubNode:
    """A node whose stream ends at the first call."""

    def on_call(call: wire.Call) -> wire.Reply:
        calls.append(call.key)
        if len(calls) == 1:
            raise StreamCut
        return answer(b'{"result":2}')

    return StubNode(on_call=on_call)


async def test_a_broken_stream_leaves_the_outcome_unknown(lane: bool) -> None:
    """Seen to fail when `maybe_sent` parks every call."""
    calls: list[str] = []
    async with running(lane=lane, node=cut_first(calls)) as gate:
        check_problem(await gate.rpc(), 502, "outcome-unknown")
        assert calls == [""]
        assert (await gate.rpc()).status_code == 200


async def test_with_a_key_a_broken_stream_is_followed_by_the_answer(lane: bool) -> None:
    calls: list[str] = []
    async with running(lane=lane, node=cut_first(calls)) as gate:
        found = await gate.rpc(idempotency_key="k1", body=b'{"args": [1]}')
        assert found.content == b'{"result":2}'
        assert calls == ["k1", "k1"]
        first, second = gate.node.calls
        assert first.fingerprint == second.fingerprint
        assert len(first.fingerprint) == 16


async def test_an_unknown_outcome_with_a_key_may_be_repeated(lane: bool) -> None:
    node = StubNode(on_call=lambda _call: failure("outcome-unknown", started=True))
    async with running(lane=lane, node=node, owner_wait_s_max=0.2) as gate:
        check_problem(await gate.rpc(idempotency_key="k"), 502, "outcome-unknown", retryable=True)
        assert len(node.calls) > 1


async def test_a_node_that_comes_back_is_found(gate: Running) -> None:
    address = gate.node.address
    await gate.node.stop()
    await until(lambda: not gate.gateway.ready)
    waiting = asyncio.create_task(gate.rpc())
    await asyncio.sleep(0.1)
    await gate.node.start(address)
    assert (await waiting).status_code == 200


async def test_a_new_incarnation_gets_a_link_of_its_own(gate: Running) -> None:
    old = gate.gateway.forwarder.links["n1"]
    gate.node.incarnation = "i2"
    gate.table.add(gate.node, epoch=2)
    assert (await gate.rpc()).status_code == 200
    assert gate.gateway.forwarder.links["n1"] is not old


async def test_the_deadline_ends_a_call_and_the_node_is_told(lane: bool) -> None:
    node = StubNode(on_call=lambda _call: None)
    async with running(lane=lane, node=node) as gate:
        check_problem(await gate.rpc(homing_timeout_ms="50"), 504, "deadline-exceeded")
        await until(lambda: bool(node.cancels))
        assert node.cancels == [node.calls[0].id]
        assert gate.gateway.forwarder.in_flight == 0


async def test_a_client_that_goes_cancels_its_call_once(lane: bool) -> None:
    """Seen to fail without `begun` in the short way: the end of the connection made the call a second time."""
    node = StubNode(on_call=lambda _call: None)
    async with running(lane=lane, node=node) as gate:
        with pytest.raises(httpx.ReadTimeout):
            await gate.http.post(
                "/_homing/v1/objects/Counter/a/rpc/x",
                headers={"content-type": "application/json"},
                content=b"{}",
                timeout=0.2,
            )
        await until(lambda: bool(node.cancels))
        assert node.cancels == [node.calls[0].id]
        assert len(node.calls) == 1
        assert gate.gateway.forwarder.in_flight == 0


async def test_a_connection_that_ends_after_its_answer_makes_no_call(lane: bool) -> None:
    async with running(lane=lane) as gate:
        async with httpx.AsyncClient(base_url=gate.http.base_url) as once:
            found = await once.post(
                "/_homing/v1/objects/Counter/a/rpc/x", headers={"content-type": "application/json"}, content=b"{}"
            )
            assert found.status_code == 200
        await asyncio.sleep(0.1)
        assert len(gate.node.calls) == 1


async def test_a_late_answer_hurts_nobody(lane: bool) -> None:
    node = StubNode(on_call=lambda call: None if call.method == "slow" else answer())
    async with running(lane=lane, node=node) as gate:
        await gate.rpc("slow", homing_timeout_ms="50")
        node.push(wire.Reply(id=node.calls[0].id, body=b"late"))
        node.push(wire.Reply(id=9_999, body=b"never asked"))
        assert (await gate.rpc()).content == b'{"result":1}'


async def test_long_bodies_travel_in_pieces_both_ways(lane: bool) -> None:
    long = b'{"result":"' + b"y" * 3_000_000 + b'"}'
    node = StubNode(on_call=lambda call: answer(long if call.method == "long" else b'{"result":0}'))
    async with running(lane=lane, node=node) as gate:
        body = b'{"args":["' + b"x" * 900_000 + b'"]}'
        many = await asyncio.gather(*(gate.rpc("long", name=f"o{n}", body=body) for n in range(4)), gate.rpc("short"))
        assert [found.content for found in many] == [long] * 4 + [b'{"result":0}']
        assert [call.body for call in node.calls if call.method == "long"] == [body] * 4


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


async def test_the_stages_of_a_call_add_up(gate: Running) -> None:
    for _ in range(20):
        await gate.rpc()
    text = gate.gateway.metrics.registry.exposition().decode()
    sums = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if "_sum" in line}
    stages = [
        sums[f'homing_stage_seconds_sum{{stage="{name}"}}']
        for name in ("gateway", "forward", "queue", "execute", "commit")
    ]
    assert all(stage >= 0 for stage in stages)
    assert sum(stages) == pytest.approx(sums['homing_request_seconds_sum{outcome="ok",route="rpc"}'], rel=1e-6)
