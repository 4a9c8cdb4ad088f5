"""The state of one object through a gateway: what a client sees where all goes well, and where a node goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_process import Running, check_problem, running
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_gateway import object_state

OBJECT = "/_homing/v1/objects/Counter/a"
A = ObjectId.from_name("Counter", "a")
HEAD = wire.SlotPart(head=wire.SlotHead(cluster="c", slot=A.slot(), slots=1_024, epoch=1))
END = wire.SlotPart(end=True)
NOT_OWNER = wire.Failure(code="not-owner", message="it moved")
NOT_FOUND = wire.Failure(code="not-found", message="there is none")


@pytest.fixture(params=[True, False], ids=["lane", "asgi"])
async def gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(object_state, "RETRY_S_MAX", 0.01)
    async with running(lane=request.param) as found:
        yield found


def page(number: int) -> bytes:
    return bytes([number]) * 1_024


def some(first: int, count: int, *, of: int, data: bytes = b"") -> wire.SlotPart:
    pages = [page(number) for number in range(first, first + count)]
    return wire.SlotPart(
        objects=[wire.StoredObject(object=A.raw, data=data, page_count=of, first_page=first, pages=pages)]
    )


def reads(gate: Running, *answers: list[wire.SlotPart]) -> list[wire.ReadSlotRequest]:
    """Each reading is answered with the next of these; a list without an end breaks the stream."""
    asked: list[wire.ReadSlotRequest] = []

    async def answer(request: wire.ReadSlotRequest) -> AsyncIterator[wire.SlotPart]:
        asked.append(request)
        parts = answers[min(len(asked), len(answers)) - 1]
        for part in parts:
            yield part
        if not parts[-1].end and not parts[-1].HasField("failure"):
            raise RuntimeError("the stub breaks its stream")

    gate.node.on_read = answer
    return asked


async def test_an_export_is_the_pages_and_nothing_else(gate: Running) -> None:
    only_data = wire.SlotPart(objects=[wire.StoredObject(object=A.raw, data=b"meta", page_count=5)])
    asked = reads(gate, [HEAD, only_data, some(1, 3, of=5), some(4, 2, of=5), END])
    answer = await gate.http.get(f"{OBJECT}/export")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "5120")
    assert answer.headers["content-type"] == "application/vnd.sqlite3"
    assert answer.content == b"".join(page(number) for number in range(1, 6))
    assert [(each.slot, each.object, each.whole) for each in asked] == [(A.slot(), A.raw, True)]
    reads(gate, [HEAD, wire.SlotPart(objects=[wire.StoredObject(object=A.raw, data=b"meta")]), END])
    answer = await gate.http.get(f"{OBJECT}/export")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_an_export_follows_the_slot_and_says_when_there_is_nothing(gate: Running) -> None:
    asked = reads(gate, [wire.SlotPart(failure=NOT_OWNER)], [HEAD], [HEAD, some(1, 1, of=1, data=b"m"), END])
    assert (await gate.http.get(f"{OBJECT}/export")).content == page(1)
    assert len(asked) == 3
    reads(gate, [HEAD, wire.SlotPart(failure=NOT_FOUND)])
    check_problem(await gate.http.get(f"{OBJECT}/export"), 404, "not-found")
    asked = reads(gate, [wire.SlotPart(failure=NOT_OWNER)])
    check_problem(await gate.http.get(f"{OBJECT}/export"), 503, "unavailable", retryable=True)
    assert len(asked) == object_state.SLOT_TRIES_MAX


@pytest.mark.parametrize("last", [wire.SlotPart(failure=NOT_OWNER), some(2, 1, of=5)], ids=["failure", "break"])
async def test_an_export_that_breaks_off_is_shorter_than_it_says(gate: Running, last: wire.SlotPart) -> None:
    """Seen to fail, with a client that takes half a database for a whole one, when all seems well."""
    reads(gate, [HEAD, some(1, 1, of=5, data=b"m"), last])
    with pytest.raises(httpx.RemoteProtocolError):
        await gate.http.get(f"{OBJECT}/export")


def deletes(gate: Running, *failures: wire.Failure | None) -> list[wire.DeleteRequest]:
    asked: list[wire.DeleteRequest] = []

    def answer(request: wire.DeleteRequest) -> wire.DeleteReply:
        asked.append(request)
        return wire.DeleteReply(failure=failures[len(asked) - 1])

    gate.node.on_delete = answer
    return asked


async def test_a_deletion_is_answered_once_it_is_done(gate: Running) -> None:
    asked = deletes(gate, None)
    answer = await gate.http.delete(OBJECT)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [(each.slot, each.object) for each in asked] == [(A.slot(), A.raw)]
    deletes(gate, NOT_FOUND)
    check_problem(await gate.http.delete(OBJECT), 404, "not-found")


async def test_a_deletion_that_an_owner_before_has_done_is_done(gate: Running) -> None:
    """That one was lost before it could say so."""
    asked = deletes(gate, NOT_OWNER, NOT_FOUND)
    assert (await gate.http.delete(OBJECT)).status_code == 204
    assert len(asked) == 2


async def test_a_query_is_passed_on_and_its_answer_comes_back(gate: Running) -> None:
    asked: list[wire.QueryRequest] = []

    def answer(request: wire.QueryRequest) -> wire.QueryReply:
        asked.append(request)
        if request.query == "wrong":
            return wire.QueryReply(failure=wire.Failure(code="bad-request", message="syntax error"))
        return wire.QueryReply(body=b'{"columns":[],"rows":[]}')

    gate.node.on_query = answer
    found = await gate.http.post(f"{OBJECT}/sql", json={"query": "SELECT 1"})
    assert (found.status_code, found.content) == (200, b'{"columns":[],"rows":[]}')
    assert (asked[0].slot, asked[0].object, asked[0].query) == (A.slot(), A.raw, "SELECT 1")
    check_problem(await gate.http.post(f"{OBJECT}/sql", json={"query": "wrong"}), 400, "bad-request")
    for body in ({}, {"query": 1}, {"query": "SELECT 1", "more": 1}, []):
        check_problem(await gate.http.post(f"{OBJECT}/sql", json=body), 400, "bad-request")
    check_problem(await gate.http.post(f"{OBJECT}/sql", json={"query": "x" * 100_001}), 413, "too-large")
    check_problem(await gate.http.post(f"{OBJECT}/sql", content=b"{}"), 415, "unsupported-media-type")
    assert len(asked) == 2


async def test_an_object_is_evicted(gate: Running) -> None:
    asked: list[wire.EvictRequest] = []

    def evict(request: wire.EvictRequest) -> wire.EvictReply:
        asked.append(request)
        if len(asked) == 3:
            return wire.EvictReply(failure=wire.Failure(code="unavailable", message="it does not go to sleep"))
        return wire.EvictReply(evicted=len(asked) == 1)

    gate.node.on_evict = evict
    first, second, third = [await gate.http.post(f"{OBJECT}/evict{query}") for query in ("?now=1", "", "?now=0")]
    assert (first.json(), second.json()) == ({"evicted": True}, {"evicted": False})
    check_problem(third, 503, "unavailable", retryable=True)
    assert [(each.slot, each.object, each.at_once) for each in asked] == [
        (A.slot(), A.raw, True), (A.slot(), A.raw, False), (A.slot(), A.raw, False),
    ]  # fmt: skip
    check_problem(await gate.http.get(f"{OBJECT}/evict"), 405, "method-not-allowed")


def imports(gate: Running, failure: wire.Failure | None = None, *, breaks: bool = False) -> list[wire.ImportPart]:
    taken: list[wire.ImportPart] = []

    async def answer(parts: AsyncIterator[wire.ImportPart]) -> wire.ImportReply:
        async for part in parts:
            taken.append(part)
            if breaks:
                raise RuntimeError("the stub breaks its stream")
        return wire.ImportReply(failure=failure)

    gate.node.on_import = answer
    return taken


async def test_a_file_is_passed_on_whole(gate: Running) -> None:
    taken = imports(gate)
    file = b"".join(page(number % 256) for number in range(600))
    answer = await gate.http.put(f"{OBJECT}/import?overwrite=1", content=file)
    assert (answer.status_code, answer.content) == (204, b"")
    target = taken[0].target
    assert (target.slot, target.object, target.class_name, target.name) == (A.slot(), A.raw, "Counter", "a")
    assert target.overwrite
    assert b"".join(part.data for part in taken) == file
    assert [part.end for part in taken] == [False] * (len(taken) - 1) + [True]
    taken = imports(gate)
    assert (await gate.http.put(f"{OBJECT}/import", content=b"")).status_code == 204
    assert not taken[0].target.overwrite


async def test_a_file_that_is_refused_or_lost(gate: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    imports(gate, wire.Failure(code="bad-request", message="it is damaged"))
    check_problem(await gate.http.put(f"{OBJECT}/import", content=page(1)), 400, "bad-request")
    imports(gate, NOT_OWNER)
    check_problem(await gate.http.put(f"{OBJECT}/import", content=page(1)), 503, "unavailable", retryable=True)
    imports(gate, breaks=True)
    check_problem(await gate.http.put(f"{OBJECT}/import", content=page(1)), 502, "outcome-unknown")
    check_problem(await gate.http.put(f"{OBJECT}/import?overwrite=yes", content=page(1)), 400, "bad-request")
    monkeypatch.setattr(object_state, "DATABASE_BYTES_MAX", 1_000)
    taken = imports(gate)
    check_problem(await gate.http.put(f"{OBJECT}/import", content=page(1)), 413, "too-large")
    assert not taken


@pytest.mark.parametrize(
    ("verb", "path"),
    [("GET", "/export"), ("DELETE", ""), ("POST", "/sql"), ("PUT", "/import"), ("GET", ""), ("POST", "/evict")],
)
async def test_each_needs_the_token(verb: str, path: str) -> None:
    async with running(lane=True, token="secret") as gate:
        check_problem(await gate.http.request(verb, OBJECT + path), 401, "unauthenticated")
