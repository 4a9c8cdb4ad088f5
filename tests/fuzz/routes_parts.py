"""The pure parts of a request: its path, its headers, who may come in, its query, the digest of a call, and frames."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.fuzz.mutators import behind, changed_bytes, changed_text, either
from tests.fuzz.target import Check

from homing.errors import HomingError
from homing.ids import ADDRESS_BY_ID, OBJECT_ID_BYTES, OBJECT_NAME_BYTES_MAX
from homing.listing import LIST_OBJECTS_MAX
from homing.observability import trace
from homing_gateway import admin, fingerprints, limits, streams
from homing_gateway.asked import Asked, Doorkeeper
from homing_gateway.problems import problem
from homing_gateway.routes import HEALTHZ, OBJECTS, Kind, Route, Router

SLOTS = 1_024
TOKEN = "secret"
_router = Router(SLOTS)
_testing = Router(SLOTS, testing=True)
_LOCATED = (Kind.RPC, Kind.FETCH, Kind.OBJECT, Kind.EXPORT)
_VERBS = ("GET", "HEAD", "POST", "DELETE", "PUT")


def refused(error: HomingError) -> None:
    """A refusal says whose fault it is, and can be told."""
    assert 400 <= error.http_status < 500, f"{error!r} is no refusal"
    status, headers, body = problem(error, "r1")
    assert status == error.http_status
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    assert json.loads(body)["detail"] == error.message


# -- paths --------------------------------------------------------------------------------------------------------


def check_path(data: bytes) -> None:
    """A path names something of which everything is within its bounds, or it is refused."""
    path = b"/" + data
    for router in (_router, _testing):
        try:
            route = router._parse(path)
        except HomingError as error:
            refused(error)
            with contextlib.suppress(HomingError):
                router.parse(path)
                raise AssertionError("a path is taken the second time") from None
            continue
        _check_route(route, path)
        assert _shown(router.parse(path)) == _shown(route)
        assert _shown(router.parse(path)) == _shown(route)


def _shown(route: Route) -> list[Any]:
    return [getattr(route, name) for name in Route.__slots__]


def _check_route(route: Route, path: bytes) -> None:
    assert route.guarded == (path.startswith(b"/_homing/v1/") or path == b"/_homing/v1/objects")
    assert 0 <= route.slot < max(SLOTS, 10**limits.SLOT_DIGITS_MAX)
    assert not any("\ud800" <= char <= "\udfff" for char in route.class_name + route.name + route.method)
    if route.kind in _LOCATED:
        class_name, text = map(_unescaped, path[len(OBJECTS) :].split(b"/")[:2])
        assert path.startswith(OBJECTS)
        assert route.class_name == class_name != ""
        assert len(route.object_id) == OBJECT_ID_BYTES
        assert route.slot == int.from_bytes(route.object_id[:2], "big") * SLOTS >> 16
        assert len(route.name.encode()) <= OBJECT_NAME_BYTES_MAX
        assert route.object_id[2:10] == hashlib.sha256(b"homing class\0" + route.class_name.encode()).digest()[:8]
        if text.startswith(ADDRESS_BY_ID):
            assert route.name == ""
            assert route.object_id == bytes.fromhex(text[len(ADDRESS_BY_ID) :])
        else:
            assert route.name == text
            digest = hashlib.sha256(b"homing object\0" + route.object_id[2:10] + text.encode()).digest()
            assert route.object_id == digest[:2] + route.object_id[2:10] + digest[2:24]
        by_text = _router.address(route.class_name, text)
        assert (by_text.object_id, by_text.slot, by_text.name) == (route.object_id, route.slot, route.name)
    if route.kind is Kind.RPC:
        assert route.method
    if route.kind is Kind.FETCH:
        assert route.rest.startswith("/")
    if route.kind is Kind.DEFAULT:
        assert path != b"/_homing"
        assert not path.startswith(b"/_homing/")


def _unescaped(segment: bytes) -> str:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), segment).decode()


# -- headers ------------------------------------------------------------------------------------------------------


def parsed_headers(data: bytes) -> list[tuple[bytes, bytes]]:
    """Lines as headers, their names in lower case as the server gives them."""
    lines = (line.partition(b":") for line in data.split(b"\n") if line)
    return [(name.lower(), value.strip(b" \t\r")) for name, _, value in lines]


def check_headers(data: bytes) -> None:
    """Headers give what they say, or a refusal; who is let in may come in. The first byte: route and verb."""
    choice, headers = (data[0], parsed_headers(data[1:])) if data else (0, [])
    asked = Asked(headers)
    taken = asked.take_request_id()
    assert taken.isascii()
    assert taken.isprintable()
    assert 0 < len(taken) <= limits.REQUEST_ID_CHARS_MAX
    for read in (_timeout, _key, _trace, Asked.check_json):
        try:
            read(asked)
        except HomingError as error:
            refused(error)
    paths = (b"/", HEALTHZ, OBJECTS + b"C/a/rpc/m", b"/_homing/v1/nope", OBJECTS + b"C/a")
    route, verb = _router.parse(paths[choice % len(paths)]), _VERBS[choice // 8 % len(_VERBS)]
    for keeper in (Doorkeeper(), Doorkeeper(TOKEN)):
        try:
            keeper.admit(route, verb, asked)
        except HomingError as error:
            refused(error)
            continue
        _check_admitted(keeper, route, verb, headers)


def _timeout(asked: Asked) -> None:
    assert 1 <= asked.timeout_ms() <= limits.TIMEOUT_MS_MAX


def _key(asked: Asked) -> None:
    key = asked.idempotency_key()
    assert len(key) <= limits.KEY_CHARS_MAX
    assert all("!" <= char <= "~" for char in key)
    assert bool(key) == (asked.key is not None)


def _trace(asked: Asked) -> None:
    found = asked.trace()
    assert bool(found) == bool(asked.trace_id())
    if found:
        context = trace.parse(found)
        assert context is not None
        assert trace.parse(context.child().header()) is not None


def _check_admitted(keeper: Doorkeeper, route: Route, verb: str, headers: list[tuple[bytes, bytes]]) -> None:
    said = dict(headers)
    assert route.kind is not Kind.UNKNOWN
    assert route.verbs is None or verb in route.verbs
    if keeper.has_token:
        if route.guarded:
            scheme, _, token = said[b"authorization"].partition(b" ")
            assert (scheme.lower(), token.strip()) == (b"bearer", TOKEN.encode())
        return
    host = said[b"host"].lower()
    assert re.sub(rb":\d{1,5}\Z", b"", host) in (b"localhost", b"127.0.0.1", b"[::1]")
    assert said.get(b"origin", b"http://" + host).lower().partition(b"://")[2] == host


# -- queries, bodies ----------------------------------------------------------------------------------------------


def check_query(data: bytes) -> None:
    """A query gives numbers and ids within their bounds, or a refusal."""

    def page() -> None:
        limit, after = admin._page(data)
        assert 1 <= limit <= LIST_OBJECTS_MAX
        assert len(after) in (0, OBJECT_ID_BYTES)

    def number() -> None:
        assert 0 <= streams.number_in(data, "above") < 1 << 64

    def run() -> None:
        assert 0 < len(streams._hex(data, "run", None, None)) <= limits.RESTORE_ID_BYTES_MAX

    def wanted() -> None:
        assert len(streams._hex(data, "object", OBJECT_ID_BYTES, b"")) in (0, OBJECT_ID_BYTES)

    checks: tuple[Callable[[], None], ...] = (page, number, run, wanted)
    for check in checks:
        try:
            check()
        except HomingError as error:
            refused(error)


def check_fingerprint(data: bytes) -> None:
    """A body has a digest that its spelling does not change, or it is refused."""
    route = _router.parse(OBJECTS + b"C/a/rpc/m")
    try:
        digest = fingerprints.of_rpc(route, data)
    except HomingError as error:
        refused(error)
        return
    assert len(digest) == fingerprints.FINGERPRINT_BYTES
    if data:
        with contextlib.suppress(ValueError, RecursionError):  # what Python's own JSON does not take
            spelled = json.dumps(json.loads(data), indent=1, sort_keys=True).encode()
            assert fingerprints.of_rpc(route, spelled) == digest, "another spelling is another call"
    assert fingerprints.of_fetch(route, "GET", "http://h/", data) != digest


def check_cut(data: bytes) -> None:
    """Frames of a restore come out the same however the body is cut, or it is refused."""
    step, data = (data[0] + 1, data[1:]) if data else (1, b"")
    whole, cut = asyncio.run(_cut(data, max(1, len(data)))), asyncio.run(_cut(data, step))
    assert whole == cut


async def _cut(data: bytes, step: int) -> tuple[list[bytes], str]:
    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(data), step):
            yield data[at : at + step]

    found: list[bytes] = []
    try:
        async for part in streams._cut(body()):
            found.append(part)
    except HomingError as error:
        refused(error)
        return found, error.code
    return found, ""


_ID = "0000" + hashlib.sha256(b"homing class\0C").hexdigest()[:16] + "00" * 22
_PATH_WORDS = (
    "/", "//", "%", "%2F", "%zz", "%C3%BC", "%FF", "id:", "_homing/v1/objects/", "_homing/v1/slots/",
    "_homing/v1/nodes/",
    "_homing/v1/tests/", "rpc", "fetch", "export", "move", "verify", "backup", "drain", "run", "clock", "..", "?",
    "ü", "a",
)  # fmt: skip
PATHS = [
    *(
        path.encode()
        for path in (
            "", "x/y", "_homing", "_homing/healthz", "_homing/readyz", "_homing/v1/cluster", "_homing/v1/objects",
            "_homing/v1/nope", "_homing/v1/objects/C", "_homing/v1/objects/C/a", "_homing/v1/objects/C/a%2Fb/rpc/m",
            f"_homing/v1/objects/C/id:{_ID}/rpc/m", "_homing/v1/objects/C/a/fetch/x%20/y",
            "_homing/v1/objects/C/a/export",
            "_homing/v1/objects/C/a/other", "_homing/v1/objects/", "_homing/v1/objects/%C3%BC/%FF",
            "_homing/v1/objects/C/%z",
            "_homing/v1/objects/C/" + "x" * 1_024, "_homing/v1/objects/C/" + "x" * 1_025, "_homing/v1/objects/C//rpc/m",
            "_homing/v1/slots/7/move/n%31", "_homing/v1/slots/7/verify", "_homing/v1/slots/7/backup",
            "_homing/v1/slots/x/backup", "_homing/v1/slots/7/stop", "_homing/v1/nodes/n1/drain",
            "_homing/v1/nodes//drain",
            "_homing/v1/tests/clock", "_homing/v1/tests/C/a/run", "_homing/v1/tests/C/a/walk",
        )
    )
]  # fmt: skip
_HEADER_WORDS = (
    "host: localhost:8787\n", "host: 127.0.0.1\n", "host: [::1]:1\n", "origin: http://localhost:8787\n",
    "origin: null\n",
    "authorization: Bearer secret\n", "authorization: bearer  secret \n", "idempotency-key: k\n",
    "homing-timeout-ms: 600000\n",
    "x-request-id: r\n", "content-type: application/json; charset=utf-8\n", "content-length: 5\n",
    f"traceparent: 00-{'a' * 32}-{'b' * 16}-01\n", "\n", ":", ";", " ", "\t", "0", "9", "²",
)  # fmt: skip
_TRACE = b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\n"
HEADERS = [
    b"\x00host: localhost:8787\norigin: http://localhost:8787\nx-request-id: r1\n" + _TRACE,
    b"\x12host: LOCALHOST\nidempotency-key: k\nhoming-timeout-ms: 5\ncontent-type: Application/JSON; x\n",
    b"\x12authorization: Bearer secret\ncontent-type: application/json\n",
    b"\x12authorization: Basic secret\nhost: example.org\n",
    b"\x02host: localhost\norigin: null\n",
    b"\x03host: localhost\nauthorization: Bearer secret\n",
    b"\x0ahost: localhost\nhost: localhost\n",
    b"\x02host: localhost\nauthorization: Bearer secret\nidempotency-key: \xff\nhoming-timeout-ms: x\n",
    b"\x00host: localhost\nx-request-id: a b\ntraceparent: 00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01\n",
    b"\x00host: localhost\ntraceparent: x\n",
    b"\x00",
]
QUERIES = [
    b"limit=5&cursor=" + b"ab" * 32,
    b"limit=0",
    b"limit=x",
    b"cursor=abc",
    b"cursor=ab",
    b"above=7&run=" + b"ab" * 16 + b"&overwrite=1",
    b"above=" + b"9" * 19 + b"&run=",
    b"object=" + b"00" * 32,
    b"object=zz&run=zz",
    b"\xff",
    b"&".join(b"a=1" for _ in range(12)),
]
BODIES = [
    b'{"args": [1, 2.0, "x"], "kwargs": {"b": 1, "a": {"d": null, "c": true}}}',
    b'{"args": [], "more": 1}',
    b"{}",
    b"",
    b"[]",
    b"{",
    b'{"a": "\xff"}',
    b'{"args": [' + b"1" * 30 + b"]}",
    b'{"args": [' + b"9" * 4_001 + b"]}",
    b'{"args": ' + b"[" * 3_000,
]
CUTS = [
    b"\x00" + b"\0\0\0\2ab\0\0\0\0\0\0\0\1c",
    b"\x02" + b"\0\0\0\2a",
    b"\x05" + b"\0\x10\0\1",
    b"\x00" + b"\0\0",
]
_BODY_WORDS = (
    '"args"',
    '"kwargs"',
    "[",
    "]",
    "{",
    "}",
    '"a": ',
    ",",
    "1",
    "1.0",
    "-0.0",
    "1e300",
    "null",
    '"\\u00fc"',
    "9" * 20,
)

CHECKS = (
    Check("path", check_path, PATHS, either(changed_text(_PATH_WORDS), changed_bytes)),
    Check("headers", check_headers, HEADERS, behind(1, either(changed_text(_HEADER_WORDS), changed_bytes))),
    Check(
        "query",
        check_query,
        QUERIES,
        either(changed_text(("limit=", "cursor=", "&", "=", "%", "+", "9", "ab")), changed_bytes),
    ),
    Check("fingerprint", check_fingerprint, BODIES, either(changed_text(_BODY_WORDS), changed_bytes)),
    Check("cut", check_cut, CUTS, behind(1, changed_bytes)),
)
