"""Calls through the gateway to stub nodes: what is answered, what is tried again, what nobody knows.

Each test runs twice: by the short way through the HTTP server, and through the ASGI application alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_process import Running, check_problem, running, slot_of, until
from homing.ids import ObjectId
from homing.observability.catalogue import STAGES
from homing.wire.v1 import call_pb2 as wire
from homing_placement.routing.limits import RETRY_S_MIN
from stub_node import StaticTable, StreamCut, StubNode, answer, failure


@pytest.fixture(params=[True, False], ids=["lane", "asgi"])
def lane(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def gate(lane: bool) -> AsyncIterator[Running]:
    async with running(lane=lane) as found:
        yield found


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


def sums_of(gate: Running) -> dict[str, float]:
    """Seconds of each stage, and of the successful calls as `total`."""
    metrics = gate.gateway.metrics.registry
    sums = {stage: metrics.histogram("homing_stage_seconds", stage).total for stage in STAGES}
    return {**sums, "total": metrics.histogram("homing_request_seconds", "rpc", "ok").total}


def check_sum(sums: dict[str, float]) -> None:
    """No stage is what the others leave over, so their sum is a little less than the whole, and never more."""
    stages = [sums[stage] for stage in STAGES]
    assert all(stage >= 0 for stage in stages)
    assert 0.9 * sums["total"] < sum(stages) < sums["total"]


async def test_the_stages_of_a_call_add_up(gate: Running) -> None:
    """Seen to fail with the gateway's stage taken as the total less the rest: the sum is the total itself."""
    for _ in range(20):
        await gate.rpc()
    check_sum(sums_of(gate))


async def test_the_stages_of_a_call_that_was_sent_twice_add_up(lane: bool) -> None:
    """Seen to fail without `lose_sending`: the time on the broken stream was the gateway's."""
    held_s = 0.2
    calls: list[str] = []
    node = cut_first(calls)
    on_call = node.on_call

    def hold_first(call: wire.Call) -> wire.Reply | None:
        if not calls:
            time.sleep(held_s)
        return on_call(call)

    node.on_call = hold_first
    async with running(lane=lane, node=node) as gate:
        assert (await gate.rpc(idempotency_key="k")).status_code == 200
        sums = sums_of(gate)
    check_sum(sums)
    assert sums["forward"] > held_s
    assert sums["gateway"] > RETRY_S_MIN


async def test_a_node_that_is_lost_while_it_is_asked_is_told_of_as_unreachable() -> None:
    """gRPC cancels what a closed connection owes. Seen to fail when that passes for a cancellation of ours: 500."""
    node = cut_first([])
    async with running(lane=False, node=node) as gate:
        node.asked.clear()
        node.inspect_held.set()
        asking = asyncio.ensure_future(gate.http.get("/_homing/v1/cluster"))
        await asyncio.wait_for(node.asked.wait(), 5)
        await gate.rpc(homing_timeout_ms="200")
        found = await asyncio.wait_for(asking, 5)
        assert found.status_code == 200
        assert [each["state"] for each in found.json()["nodes"]] == ["unreachable"]
