"""Fetches, the Default entrypoint, requests for sockets, and the routes that only look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from gateway_process import Running, running
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from stub_node import StaticTable, StubNode, answer, failure

OBJECT = "/_homing/v1/objects/Counter/a"


@pytest.fixture
async def gate() -> AsyncIterator[Running]:
    async with running(lane=True) as found:
        yield found


def facts(name: str, *, active: bool = False) -> wire.ObjectFacts:
    raw = ObjectId.from_name("Counter", name).raw
    return wire.ObjectFacts(object=raw, class_name="Counter", name=name, active=active, database_bytes=2_048)


async def test_a_fetch_arrives_as_it_was_sent(gate: Running) -> None:
    gate.node.on_call = lambda _call: answer(b"made", status=201, headers=[("X-Thing", "1"), ("x-thing", "2")])
    found = await gate.http.request(
        "PATCH", OBJECT + "/fetch/x%2Fy/z?q=1&r=%20", content=b"\x00\xff", headers={"x-mine": "m", "te": "trailers"}
    )
    assert (found.status_code, found.content) == (201, b"made")
    assert found.headers.get_list("x-thing") == ["1", "2"]
    assert found.headers["x-request-id"]
    (call,) = gate.node.calls
    assert (call.kind, call.method, call.body) == (wire.CALL_KIND_FETCH, "PATCH", b"\x00\xff")
    assert call.url == f"http://127.0.0.1:{gate.port}/x%2Fy/z?q=1&r=%20"
    passed = {header.name: header.value for header in call.headers}
    assert passed["x-mine"] == "m"
    assert "te" not in passed
    assert "connection" not in passed


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_a_fetch_takes_every_verb(gate: Running, method: str) -> None:
    gate.node.on_call = lambda call: answer(call.method.encode(), status=200)
    found = await gate.http.request(method, OBJECT + "/fetch/")
    assert found.status_code == 200
    assert found.content == (b"" if method == "HEAD" else method.encode())


@pytest.mark.parametrize(
    ("said", "body", "length"), [("12345", b"", "12345"), ("-1", b"", "0"), ("9" * 16, b"", "0"), ("7", b"made", "4")]
)
async def test_the_answer_to_head_says_how_long_the_body_would_be(
    gate: Running, said: str, body: bytes, length: str
) -> None:
    gate.node.on_call = lambda _call: answer(body, status=200, headers=[("Content-Length", said)])
    for _ in range(2):  # the connection is still in order
        found = await gate.http.head(OBJECT + "/fetch/")
        assert (found.status_code, found.headers.get_list("content-length"), found.content) == (200, [length], b"")
    found = await gate.http.get(OBJECT + "/fetch/")
    assert (found.headers["content-length"], found.content) == (str(len(body)), body), "only to HEAD"


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_answers_without_a_body(gate: Running, status: int) -> None:
    gate.node.on_call = lambda _call: answer(b"not sent", status=status)
    for _ in range(2):  # the connection is still in order
        found = await gate.http.get(OBJECT + "/fetch/")
        assert (found.status_code, found.content) == (status, b"")


@pytest.mark.parametrize(
    "made",
    [
        answer(status=0),
        answer(status=101),
        answer(status=600),
        answer(status=200, headers=[("x", "a\r\nset-cookie: b")]),
        answer(status=200, headers=[("bad name", "a")]),
        answer(status=200, headers=[("", "a")]),
        answer(status=200, headers=[("x", "\u2028")]),
    ],
)
async def test_an_answer_that_would_break_http_is_the_objects_fault(gate: Running, made: wire.Reply) -> None:
    gate.node.on_call = lambda _call: made
    found = await gate.http.get(OBJECT + "/fetch/")
    assert found.status_code == 500
    assert found.json()["type"].endswith("/application-error")
    assert "set-cookie" not in found.headers


async def test_an_object_cannot_frame_its_own_answer(gate: Running) -> None:
    headers = [
        ("Content-Length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("x-request-id", "no"),
    ]
    gate.node.on_call = lambda _call: answer(b"12345", status=200, headers=headers)
    found = await gate.http.get(OBJECT + "/fetch/", headers={"x-request-id": "mine"})
    assert found.content == b"12345"
    assert found.headers["content-length"] == "5"
    assert found.headers["x-request-id"] == "mine"
    assert "transfer-encoding" not in found.headers


async def test_a_fetch_body_at_its_limit_and_over_it(gate: Running) -> None:
    """Under a key a body is kept as a whole; without one there is no limit to what flows."""
    gate.node.on_call = lambda call: answer(b"%d" % len(call.body), status=200)
    keyed = {"idempotency-key": "k"}
    assert (await gate.http.post(OBJECT + "/fetch/", content=b"x" * 2_000_000, headers=keyed)).content == b"2000000"
    found = await gate.http.post(OBJECT + "/fetch/", content=b"x" * 2_000_001, headers=keyed)
    assert found.status_code == 413
    assert len(gate.node.calls) == 1


async def test_a_client_that_goes_cancels_its_fetch(gate: Running) -> None:
    gate.node.on_call = lambda _call: None
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(f"GET {OBJECT}/fetch/ HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(5):
        while not gate.node.calls:
            await asyncio.sleep(0.01)
        writer.close()
        while not gate.node.cancels:
            await asyncio.sleep(0.01)
    assert gate.gateway.forwarder.in_flight == 0


async def test_the_gateways_token_is_not_shown_to_objects() -> None:
    async with running(lane=True, token="t0ken") as gate:
        gate.node.on_call = lambda _call: answer(status=200)
        bearer = {"authorization": "Bearer t0ken"}
        assert (await gate.http.get(OBJECT + "/fetch/")).status_code == 401
        assert (await gate.http.get(OBJECT + "/fetch/", headers=bearer)).status_code == 200
        assert (await gate.http.get("/site", headers={"authorization": "Basic eDp5"})).status_code == 200
        fetched, default = gate.node.calls
        assert "authorization" not in {header.name for header in fetched.headers}
        assert "authorization" in {header.name for header in default.headers}


async def test_any_other_path_is_the_applications_own(gate: Running) -> None:
    gate.node.on_call = lambda _call: answer(b"home", status=200)
    found = await gate.http.get("/a%20b?x=1")
    assert (found.status_code, found.content) == (200, b"home")
    (call,) = gate.node.calls
    assert (call.kind, call.object, call.class_name) == (wire.CALL_KIND_DEFAULT, b"", "")
    assert call.url == f"http://127.0.0.1:{gate.port}/a%20b?x=1"


async def test_without_a_default_entrypoint_other_paths_are_404() -> None:
    node = StubNode()
    node.has_default = False
    async with running(lane=True, node=node) as gate:
        assert (await gate.http.get("/")).status_code == 404
        assert (await gate.http.get("/", headers={"host": "evil.example"})).status_code == 403


@pytest.mark.parametrize("path", [OBJECT + "/fetch/ws", "/ws"])
@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"status": 403}, 403, b"not for you"),
        ({"status": 101}, 500, b"status 101"),
        ({"status": 200, "headers": [("a b", "c")]}, 500, b"header that is not valid"),
    ],
)
async def test_who_asks_for_a_socket_and_gets_an_answer(
    gate: Running, path: str, given: dict[str, Any], status: int, said: bytes
) -> None:
    gate.node.on_call = lambda _call: answer(b"not for you", **given)
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{gate.port}{path}")
    assert refused.value.response.status_code == status
    assert said in refused.value.response.body
    (call,) = gate.node.calls
    assert ("upgrade", "websocket") in [(header.name, header.value) for header in call.headers]


async def test_a_request_for_a_socket_takes_no_key(gate: Running) -> None:
    """The answer under a key is given again: two connections would be one socket."""
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{gate.port}/ws", additional_headers={"idempotency-key": "k"})
    assert refused.value.response.status_code == 400
    assert gate.node.calls == []


async def test_routes_that_answer_http_only(gate: Running) -> None:
    for path in ("/_homing/v1/cluster", OBJECT + "/rpc/x", "/_homing/nope"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{gate.port}{path}")
        assert refused.value.response.status_code in (400, 404, 405)


@pytest.mark.parametrize(
    ("verb", "path", "status", "allow"),
    [
        ("PUT", OBJECT + "/export", 405, "GET"),
        ("POST", OBJECT + "/import", 405, "PUT"),
        ("GET", OBJECT + "/sql", 405, "POST"),
        ("POST", OBJECT + "/sql", 415, None),
        ("PUT", OBJECT, 405, "GET, HEAD, DELETE"),
        ("POST", "/_homing/v1/cluster", 405, "GET, HEAD"),
        ("POST", "/_homing/healthz", 405, "GET, HEAD"),
        ("GET", "/_homing/v1/nope", 404, None),
        ("GET", "/_homing/nope", 404, None),
        ("GET", OBJECT + "/rpc/x/y", 404, None),
    ],
)
async def test_routes_and_verbs_that_are_not_there(
    gate: Running, verb: str, path: str, status: int, allow: str | None
) -> None:
    found = await gate.http.request(verb, path)
    assert found.status_code == status
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers.get("allow") == allow


async def test_health_and_readiness(gate: Running) -> None:
    assert (await gate.http.get("/_homing/healthz")).json() == {"status": "ok"}
    assert (await gate.http.get("/_homing/readyz")).json() == {"status": "ready"}
    gate.gateway.draining = True
    found = await gate.http.get("/_homing/readyz")
    assert (found.status_code, found.headers["retry-after"]) == (503, "1")
    gate.gateway.draining = False
    gate.table.ready.clear()
    assert (await gate.http.get("/_homing/readyz")).status_code == 503
    assert (await gate.http.get("/_homing/healthz")).status_code == 200


async def test_where_an_object_lives(gate: Running) -> None:
    gate.node.on_inspect = lambda request: (
        wire.InspectReply(objects=[facts("a", active=True)]) if request.HasField("object") else None
    )
    found = (await gate.http.get(OBJECT)).json()
    object_id = ObjectId.from_name("Counter", "a")
    assert found == {
        "class": "Counter", "name": "a", "id": str(object_id), "slot": object_id.slot(), "owner": "n1", "epoch": 1,
        "replicas": ["n1"], "active": True, "database_bytes": 2_048, "alarm": None, "sockets": 0,
    }  # fmt: skip
    assert gate.node.calls == []


@pytest.mark.parametrize("said", [wire.InspectReply(), wire.InspectReply(failure=failure("not-found").failure)])
async def test_an_object_that_never_was_is_404(gate: Running, said: wire.InspectReply) -> None:
    gate.node.on_inspect = lambda request: said if request.HasField("object") else None
    assert (await gate.http.get(OBJECT)).status_code == 404


async def test_where_an_object_lives_is_asked_of_the_new_owner(gate: Running) -> None:
    slot = ObjectId.from_name("Counter", "a").slot()
    gate.table.fresh[slot] = StaticTable.owned_by(gate.node, 5)

    def inspect(request: wire.InspectRequest) -> wire.InspectReply | None:
        if not request.HasField("object"):
            return None
        if request.object.epoch != 5:
            return wire.InspectReply(failure=failure("not-owner").failure)
        return wire.InspectReply(objects=[facts("a")])

    gate.node.on_inspect = inspect
    assert (await gate.http.get(OBJECT)).json()["epoch"] == 5


async def test_objects_of_all_nodes_come_in_pages(gate: Running) -> None:
    names = [f"o{n}" for n in range(25)]
    rows = sorted((facts(name) for name in names), key=lambda row: row.object)

    def lister(mine: list[wire.ObjectFacts]) -> object:
        def inspect(request: wire.InspectRequest) -> wire.InspectReply | None:
            if not request.HasField("list"):
                return None
            found = [row for row in mine if row.object > request.list.after][: request.list.limit]
            more = len(found) == request.list.limit
            return wire.InspectReply(objects=found, next=found[-1].object if more else b"")

        return inspect

    async with StubNode("n2") as other:
        gate.table.add(other, slots=())
        async with asyncio.timeout(5):
            while not gate.gateway.forwarder.links["n2"].up:
                await asyncio.sleep(0.01)
        gate.node.on_inspect, other.on_inspect = lister(rows[::2]), lister(rows[1::2])
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await gate.http.get(f"/_homing/v1/objects/Counter?limit=10&cursor={cursor}")).json()
            assert len(page["objects"]) <= 10
            seen += [row["name"] for row in page["objects"]]
            cursor = page["cursor"]
        assert seen == [row.name for row in rows]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=zz", "cursor=abcd", "limit=%FF"])
async def test_bad_pages_are_refused(gate: Running, query: str) -> None:
    assert (await gate.http.get(f"/_homing/v1/objects/Counter?{query}")).status_code == 400


async def test_a_list_with_holes_is_not_given(gate: Running) -> None:
    gone = StubNode("n9")
    gone.address = "127.0.0.1:1"
    gate.table.add(gone, slots=())
    assert (await gate.http.get("/_homing/v1/objects/Counter")).status_code == 503
    assert (await gate.http.get("/_homing/v1/objects/Nope")).status_code == 404


async def test_the_cluster(gate: Running) -> None:
    found = (await gate.http.get("/_homing/v1/cluster")).json()
    (node,) = found["nodes"]
    assert (node["id"], node["state"], node["slots"], node["host"], node["pid"]) == ("n1", "up", 1_024, "here", 1)
    assert set(node) == {"id", "address", "zone", "state", "slots", "host", "pid", "metrics", "version"}
    assert found["gateways"] == [{"pid": 7, "metrics": "127.0.0.1:9464"}]
    assert found["workers"] == [{"pid": 11, "node": "n1"}, {"pid": 12, "node": "n1"}]
    assert len(found["slots"]) == 1_024
    assert found["slots"][3] == {"slot": 3, "state": "ACTIVE", "owner": "n1", "epoch": 1, "replicas": ["n1"]}
