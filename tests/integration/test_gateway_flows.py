"""Bodies that flow through a gateway: between a real HTTP client and a stub node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_process import Running, check_problem, running, until
from homing import flow
from homing.flow import cost_of
from homing.wire.v1 import call_pb2 as wire
from homing_gateway import asgi, bodies
from stub_node import failure

FETCH = "/_homing/v1/objects/Counter/a/fetch/x"
PIECE = b"x" * flow.piece_bytes_max


@pytest.fixture
async def gate() -> AsyncIterator[Running]:
    async with running(lane=True) as found:
        yield found


def head(*headers: tuple[str, str], status: int = 200) -> wire.Reply:
    """The beginning of an answer whose body flows."""
    fields = [wire.Header(name=name, value=value) for name, value in headers]
    return wire.Reply(status=status, headers=fields, flows=1)


def whole(call_id: int) -> wire.Flow:
    return wire.Flow(id=call_id, end=wire.FLOW_END_WHOLE)


async def first_call(gate: Running) -> int:
    await until(lambda: gate.node.calls)
    return gate.node.calls[0].id


async def test_pieces_reach_the_client_as_they_are_made(gate: Running) -> None:
    """Broken by: an answer that is collected before it is sent."""
    gate.node.on_call = lambda _: head(("content-type", "text/event-stream"), status=203)
    async with gate.http.stream("GET", FETCH) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (203, "text/event-stream")
        assert "content-length" not in answer.headers
        call = await first_call(gate)
        read = answer.aiter_raw()
        for text in (b"data: 1\n\n", b"data: 2\n\n"):
            gate.node.flow(wire.Flow(id=call, data=text))
            async with asyncio.timeout(5):
                assert await anext(read) == text
        gate.node.flow(whole(call))
        assert [piece async for piece in read] == []
    assert gate.gateway.flowing == 0
    assert gate.node.flows[-1] == wire.Flow(id=call, taken=cost_of(b"data: 2\n\n"))


async def test_a_client_that_does_not_read_stops_the_flow(gate: Running) -> None:
    """What a gateway takes beyond what it can pass on is its window. Broken by: credit for what waits to be sent."""
    gate.node.on_call = lambda _: head()
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1)
    writer.write(f"GET {FETCH} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    call = await first_call(gate)
    sent = stalled = 0
    while stalled < 20:
        if sent - sum(m.taken for m in gate.node.flows) < flow.window_bytes:
            gate.node.flow(wire.Flow(id=call, data=PIECE))
            sent += cost_of(PIECE)
            stalled = 0
        else:
            stalled += 1
        await asyncio.sleep(0.02)
        assert sent < 64 << 20, "it never stops"
    writer.close()
    await until(lambda: any(m.stop for m in gate.node.flows))


@pytest.mark.parametrize("how", ["broken", "cut", "longer", "shorter", "full"])
async def test_a_body_that_breaks_off_does_not_end_as_if_it_were_whole(gate: Running, how: str) -> None:
    """Broken by: an end of the chunks, or of the connection's answer, where the node said none."""
    said = {"longer": "3", "shorter": "9"}.get(how)
    gate.node.on_call = lambda _: head(*([("content-length", said)] if said else []))

    async def read() -> None:
        async with gate.http.stream("GET", FETCH) as answer:
            call = await first_call(gate)
            gate.node.flow(wire.Flow(id=call, data=b"half"))
            if how == "broken":
                gate.node.flow(wire.Flow(id=call, end=wire.FLOW_END_BROKEN))
            elif how == "cut":
                gate.node.cut()
            elif how == "full":
                gate.node.flow(*(wire.Flow(id=call, data=PIECE) for _ in range(100)))
            else:
                gate.node.flow(whole(call))
            await answer.aread()

    with pytest.raises(httpx.RemoteProtocolError):
        await read()
    assert gate.gateway.flowing == 0


async def test_a_length_that_the_object_says_is_passed_on(gate: Running) -> None:
    gate.node.on_call = lambda _: head(("Content-Length", "4"))
    async with gate.http.stream("GET", FETCH) as answer:
        assert answer.headers["content-length"] == "4"
        call = await first_call(gate)
        gate.node.flow(wire.Flow(id=call, data=b"four"), whole(call))
        assert await answer.aread() == b"four"


@pytest.mark.parametrize(("verb", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_an_answer_without_a_body_stops_what_flows(gate: Running, verb: str, status: int) -> None:
    """Broken by: a producer that nobody reads, and nobody stops."""
    gate.node.on_call = lambda _: head(status=status)
    found = await gate.http.request(verb, FETCH)
    assert (found.status_code, found.content) == (status, b"")
    await until(lambda: any(m.stop for m in gate.node.flows))


async def test_a_client_that_goes_away_stops_its_producer(gate: Running) -> None:
    """Also while nothing is sent. Broken by: a wait for the next piece that nothing ends."""
    gate.node.on_call = lambda _: head()
    async with gate.http.stream("GET", FETCH):
        call = await first_call(gate)
    await until(lambda: wire.Flow(id=call, stop=True) in gate.node.flows)
    assert gate.gateway.flowing == 0


async def test_an_answer_that_comes_when_the_client_has_gone_is_stopped(gate: Running) -> None:
    """Broken by: a head for a call that is forgotten, whose body would be sent to nobody."""
    gate.node.on_call = lambda _: None
    with pytest.raises(httpx.ReadTimeout):
        await gate.http.get(FETCH, timeout=0.2)
    call = await first_call(gate)
    await until(lambda: call in gate.node.cancels)
    reply = head()
    reply.id = call
    gate.node.push(reply)
    await until(lambda: wire.Flow(id=call, stop=True) in gate.node.flows)


async def test_a_client_that_takes_nothing_for_too_long_is_gone(gate: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by: a write without a bound in time; an idle stream is another matter, and is left alone."""
    monkeypatch.setattr(asgi, "ANSWER_STALLED_S", 0.3)
    gate.node.on_call = lambda _: head()
    async with gate.http.stream("GET", FETCH) as answer:
        call = await first_call(gate)
        await asyncio.sleep(0.6)  # idle
        gate.node.flow(wire.Flow(id=call, data=b"on"))
        assert await anext(answer.aiter_raw()) == b"on"
        sent = cost_of(b"on")
        while not any(m.stop for m in gate.node.flows):
            if sent - sum(m.taken for m in gate.node.flows) < flow.window_bytes:
                gate.node.flow(wire.Flow(id=call, data=PIECE))
                sent += cost_of(PIECE)
            await asyncio.sleep(0.005)


async def test_too_many_answers_are_refused(gate: Running) -> None:
    gate.gateway.flowing = 1 << 20
    gate.node.on_call = lambda _: head()
    check_problem(await gate.http.get(FETCH), 429, "overloaded", retryable=True)
    await until(lambda: any(m.stop for m in gate.node.flows))


# -- requests -----------------------------------------------------------------------------------------------------


async def slow(*parts: bytes, hold: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if hold is not None:
        await hold.wait()


async def test_a_long_body_and_one_of_unknown_length_flow(gate: Running) -> None:
    gate.node.on_call = lambda call: wire.Reply(status=200, body=b"%d" % len(call.body))
    for content in (b"x" * 3_000_000, slow(b"x" * 1_000_000, b"y" * 2_000_000)):
        assert (await gate.http.post(FETCH, content=content)).content == b"3000000"
    assert all(call.flows for call in gate.node.calls)
    assert len(gate.node.flows) > 90


async def test_a_short_body_goes_with_its_call(gate: Running) -> None:
    """Broken by: every body in pieces."""
    gate.node.on_call = lambda call: wire.Reply(status=200, body=call.body)
    assert (await gate.http.post(FETCH, content=b"short")).content == b"short"
    assert not gate.node.calls[0].flows
    assert gate.node.flows == []


async def test_a_body_is_handed_on_as_it_comes_and_no_faster_than_it_is_taken(gate: Running) -> None:
    """Nothing goes before the code took the first piece; then a window. Broken by: a gateway that reads on."""
    gate.node.on_call, gate.node.collects = lambda _: None, False
    asks = asyncio.ensure_future(gate.http.post(FETCH, content=slow(*[PIECE] * 400)))
    call = await first_call(gate)
    await asyncio.sleep(0.2)
    assert gate.node.flows == []
    first = gate.node.calls[0].body
    assert first
    gate.node.flow(wire.Flow(id=call, taken=cost_of(first)))
    await until(lambda: sum(cost_of(m.data) for m in gate.node.flows) >= flow.window_bytes)
    await asyncio.sleep(0.2)
    assert sum(cost_of(m.data) for m in gate.node.flows) < flow.window_bytes + cost_of(PIECE)
    reply = wire.Reply(id=call, status=200, body=b"enough")
    gate.node.push(reply)
    assert (await asks).content == b"enough"


async def test_a_client_that_breaks_its_body_off_is_told_of(gate: Running) -> None:
    """Broken by: an end that says the body is whole."""
    gate.node.on_call, gate.node.collects = lambda _: None, False
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(f"POST {FETCH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".encode())
    call = await first_call(gate)
    gate.node.flow(wire.Flow(id=call, taken=cost_of(b"abc")))
    await asyncio.sleep(0.1)
    writer.close()
    await until(lambda: wire.Flow(id=call, end=wire.FLOW_END_BROKEN) in gate.node.flows)


async def test_the_deadline_is_as_far_away_as_long_as_the_body_is_taken(gate: Running) -> None:
    """Broken by: a deadline that counts from the beginning of a body that takes its time."""
    gate.node.on_call = lambda call: wire.Reply(status=200, body=b"%d" % len(call.body))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b"x"
            await asyncio.sleep(0.15)

    found = await gate.http.post(FETCH, content=body(), headers={"homing-timeout-ms": "500"})
    assert found.content == b"6"
    gate.node.on_call = lambda _: None
    found = await gate.http.post(FETCH, content=slow(b"x"), headers={"homing-timeout-ms": "200"})
    check_problem(found, 504, "deadline-exceeded")


async def test_a_call_is_sent_again_only_while_its_body_is_here(gate: Running) -> None:
    """Broken by: a call that is repeated when pieces of its body have gone."""
    tries: list[int] = []

    def refuse(call: wire.Call) -> wire.Reply:
        tries.append(call.id)
        if len(tries) == 1:
            return failure("unavailable")
        return wire.Reply(status=200, body=b"%d" % len(call.body))

    gate.node.on_call, gate.node.collects = refuse, False
    hold = asyncio.Event()
    asks = asyncio.ensure_future(gate.http.post(FETCH, content=slow(b"abc", hold=hold)))
    await until(lambda: len(tries) == 2)
    hold.set()
    assert (await asks).content == b"3"
    tries.clear()
    gate.node.collects = True
    found = await gate.http.post(FETCH, content=slow(b"abc", b"def"))
    check_problem(found, 502, "outcome-unknown")
    assert len(tries) == 1


async def test_both_bodies_flow_at_once(gate: Running) -> None:
    """An answer begins before the request has ended. Broken by: a request that is given up at the answer's head."""
    gate.node.on_call, gate.node.collects = lambda _: head(), False
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(f"POST {FETCH} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    call = await first_call(gate)
    gate.node.flow(wire.Flow(id=call, taken=cost_of(b"a")), wire.Flow(id=call, data=b"b"))
    assert await reader.readexactly(6) == b"1\r\nb\r\n"
    writer.write(b"1\r\nc\r\n0\r\n\r\n")
    await until(lambda: wire.Flow(id=call, end=wire.FLOW_END_WHOLE) in gate.node.flows)
    assert [m.data for m in gate.node.flows if m.data] == [b"c"]
    gate.node.flow(whole(call))
    assert await reader.readexactly(5) == b"0\r\n\r\n"
    writer.close()


async def test_code_that_answers_and_reads_no_more_is_left_alone(
    gate: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken by: a client's end that is never seen, behind a body that nobody takes."""
    monkeypatch.setattr(bodies, "BODY_WAIT_S_MAX", 0.2)
    gate.node.on_call, gate.node.collects = lambda _: head(), False
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(
        f"POST {FETCH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500000\r\n\r\n".encode() + bytes(300_000)
    )
    assert b" 200 " in await reader.readline()
    call = await first_call(gate)
    await until(lambda: wire.Flow(id=call, end=wire.FLOW_END_BROKEN) in gate.node.flows)
    writer.close()
    await until(lambda: wire.Flow(id=call, stop=True) in gate.node.flows)
