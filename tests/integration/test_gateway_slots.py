"""Slots through a gateway: what a backup reads, what a restore writes, at their limits and where a node goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_process import Running, check_problem, running, until
from homing.cli.archive import Parts
from homing.slot_frames import frame, frame_bytes_max
from homing.wire.v1 import call_pb2 as wire
from homing_gateway import streams

HEAD = wire.SlotPart(head=wire.SlotHead(cluster="c", slot=7, slots=1_024, epoch=1))
SOME = wire.SlotPart(objects=[wire.StoredObject(object=bytes(32), pages=[bytes(1_024)] * 200)])
END = wire.SlotPart(end=True)
QUERY = "run=0102&above=5&overwrite=1"


@pytest.fixture
async def gate() -> AsyncIterator[Running]:
    async with running(lane=True) as found:
        yield found


def reads(gate: Running, *parts: wire.SlotPart, breaks: bool = False) -> list[wire.ReadSlotRequest]:
    """Let the stub answer so; returns what it will have been asked."""
    asked: list[wire.ReadSlotRequest] = []

    async def answer(request: wire.ReadSlotRequest) -> AsyncIterator[wire.SlotPart]:
        asked.append(request)
        for part in parts:
            yield part
        if breaks:
            raise RuntimeError("the stub breaks its stream")

    gate.node.on_read = answer
    return asked


def frames(answer: httpx.Response) -> list[wire.SlotPart]:
    assert answer.status_code == 200, answer.text
    return [part.part for part in Parts().feed(answer.content)]


async def test_a_slot_passes_through_in_frames(gate: Running) -> None:
    asked = reads(gate, HEAD, *[SOME] * 50, END)
    answer = await gate.http.get("/_homing/v1/slots/7/backup")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert frames(answer) == [HEAD, *[SOME] * 50, END]
    assert frames(await gate.http.get(f"/_homing/v1/slots/7/backup?object={'ab' * 32}")) == [HEAD, *[SOME] * 50, END]
    assert [(each.slot, each.object) for each in asked] == [(7, b""), (7, b"\xab" * 32)]


async def test_a_failure_at_the_start_is_a_problem_and_later_a_frame(gate: Running) -> None:
    failed = wire.SlotPart(failure=wire.Failure(code="bad-request", message="no"))
    reads(gate, failed)
    check_problem(await gate.http.get("/_homing/v1/slots/7/backup"), 400, "bad-request")
    reads(gate, HEAD, failed)
    assert frames(await gate.http.get("/_homing/v1/slots/7/backup")) == [HEAD, failed]
    reads(gate, HEAD, SOME, breaks=True)
    *_, last = frames(await gate.http.get("/_homing/v1/slots/7/backup"))
    assert last.failure.code == "unavailable"


async def test_a_node_that_does_not_own_it_is_not_asked_for_ever(
    gate: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RETRY_S_MAX", 0.01)
    asked = reads(gate, wire.SlotPart(failure=wire.Failure(code="not-owner", message="no")))
    check_problem(await gate.http.get("/_homing/v1/slots/7/backup"), 503, "unavailable", retryable=True)
    assert len(asked) == streams.SLOT_TRIES_MAX


async def test_a_client_that_goes_ends_the_stream(gate: Running) -> None:
    """Seen to fail when the gateway reads on for nobody."""
    ended = asyncio.Event()

    async def endless(_: wire.ReadSlotRequest) -> AsyncIterator[wire.SlotPart]:
        try:
            yield HEAD
            while True:
                yield SOME
                await asyncio.sleep(0)
        finally:
            ended.set()

    gate.node.on_read = endless
    async with gate.http.stream("GET", "/_homing/v1/slots/7/backup") as answer:
        await anext(answer.aiter_bytes())
    await asyncio.wait_for(ended.wait(), 10)


async def test_a_client_that_reads_slowly_holds_the_node_back(gate: Running) -> None:
    """What lies between them is bounded, however much the node could send. Seen to fail without back-pressure."""
    sent = 0

    async def endless(_: wire.ReadSlotRequest) -> AsyncIterator[wire.SlotPart]:
        nonlocal sent
        yield HEAD
        for _number in range(1_000):
            sent += 1
            yield SOME
        yield END

    gate.node.on_read = endless
    async with gate.http.stream("GET", "/_homing/v1/slots/7/backup") as answer:
        stream = answer.aiter_bytes()
        await anext(stream)
        await asyncio.sleep(1.0)
        assert sent < 200, "some megabytes lie in buffers of the system and of gRPC"
        async for _ in stream:
            pass
    assert sent == 1_000


async def test_a_restore_passes_through(gate: Running) -> None:
    came: list[wire.SlotPart] = []

    async def take(parts: AsyncIterator[wire.SlotPart]) -> wire.RestoreReply:
        came.extend([part async for part in parts])
        return wire.RestoreReply(epoch=6, objects=1)

    gate.node.on_restore = take
    whole = b"".join(frame(part.SerializeToString()) for part in [SOME, SOME, END])

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 70_001):
            yield whole[at : at + 70_001]

    answer = await gate.http.post(f"/_homing/v1/slots/7/restore?{QUERY}", content=body())
    assert (answer.status_code, answer.json()) == (200, {"slot": 7, "epoch": 6, "objects": 1})
    target = wire.RestoreTarget(slot=7, above=5, restore=b"\1\2", overwrite=True)
    assert came == [wire.SlotPart(target=target), SOME, SOME, END]


async def test_a_refusal_reaches_the_client(gate: Running) -> None:
    async def refuse(parts: AsyncIterator[wire.SlotPart]) -> wire.RestoreReply:
        async for _ in parts:  # as a node does
            pass
        return wire.RestoreReply(failure=wire.Failure(code="bad-request", message="it exists"))

    gate.node.on_restore = refuse

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield frame(SOME.SerializeToString())
            await asyncio.sleep(0.001)
        yield frame(END.SerializeToString())

    found = check_problem(
        await gate.http.post(f"/_homing/v1/slots/7/restore?{QUERY}", content=body()), 400, "bad-request"
    )
    assert found["detail"] == "it exists"


async def test_a_client_that_goes_ends_a_restore(gate: Running) -> None:
    """What came of it has no end, so it does not count as the whole."""
    outcome: list[str] = []

    async def take(parts: AsyncIterator[wire.SlotPart]) -> wire.RestoreReply:
        try:
            async for part in parts:
                outcome.append("end" if part.end else "part")
        finally:
            outcome.append("over")
        return wire.RestoreReply()

    gate.node.on_restore = take

    async def body() -> AsyncIterator[bytes]:
        yield frame(SOME.SerializeToString())
        await until(lambda: outcome.count("part") == 2)
        raise OSError("the client goes")

    with pytest.raises(OSError, match="the client goes"):
        await gate.http.post(f"/_homing/v1/slots/7/restore?{QUERY}", content=body())
    await until(lambda: outcome[-1] == "over")
    assert outcome == ["part", "part", "over"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ((frame_bytes_max + 1).to_bytes(4, "big"), 413, "too-large"),
        (b"\0\0\0\x10half", 400, "bad-request"),
    ],
)
async def test_frames_are_bounded_and_whole(gate: Running, body: bytes, status: int, code: str) -> None:
    async def take(parts: AsyncIterator[wire.SlotPart]) -> wire.RestoreReply:
        async for _ in parts:
            pass
        return wire.RestoreReply()

    gate.node.on_restore = take
    check_problem(await gate.http.post(f"/_homing/v1/slots/7/restore?{QUERY}", content=body), status, code)


@pytest.mark.parametrize(
    ("verb", "path", "status", "code"),
    [
        ("GET", "slots/5000/backup", 404, "not-found"),
        ("POST", f"slots/5000/restore?{QUERY}", 404, "not-found"),
        ("GET", "slots/7/backup?object=12", 400, "bad-request"),
        ("GET", "slots/7/backup?object=" + "zz" * 32, 400, "bad-request"),
        ("POST", "slots/7/restore?above=5", 400, "bad-request"),
        ("POST", "slots/7/restore?run=" + "00" * 17, 400, "bad-request"),
        ("POST", "slots/7/restore?run=00&above=-1", 400, "bad-request"),
        ("POST", "slots/7/restore?run=00&above=" + "9" * 19, 400, "bad-request"),
        ("POST", "slots/7/backup", 405, "method-not-allowed"),
        ("GET", f"slots/7/restore?{QUERY}", 405, "method-not-allowed"),
    ],
)
async def test_what_cannot_be_meant_is_refused(gate: Running, verb: str, path: str, status: int, code: str) -> None:
    check_problem(await gate.http.request(verb, f"/_homing/v1/{path}"), status, code)


async def test_they_need_the_token() -> None:
    async with running(lane=True, token="secret") as gate:
        reads(gate, HEAD, END)
        for verb, path in (("GET", "slots/7/backup"), ("POST", f"slots/7/restore?{QUERY}"), ("GET", "objects")):
            check_problem(await gate.http.request(verb, f"/_homing/v1/{path}"), 401, "unauthenticated")
        headers = {"authorization": "Bearer secret"}
        assert (await gate.http.get("/_homing/v1/slots/7/backup", headers=headers)).status_code == 200


async def test_one_object_stands_for_all(gate: Running) -> None:
    assert (await gate.http.get("/_homing/v1/objects")).json() == {"objects": []}
    facts = wire.ObjectFacts(object=bytes(32), class_name="Counter", name="a", database_bytes=1_024)
    plain = gate.node.on_inspect
    gate.node.on_inspect = lambda asked: (
        wire.InspectReply(objects=[facts]) if asked.WhichOneof("what") == "any" else plain(asked)
    )
    found = (await gate.http.get("/_homing/v1/objects")).json()["objects"]
    assert [(each["class"], each["name"]) for each in found] == [("Counter", "a")]
