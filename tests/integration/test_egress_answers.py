"""Egress suite: what comes back. Secrets that are given back, bombs, endless answers, redirects, odd framing."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html
import json
import zlib
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from egress_world import BEARER, SECRET, Heard, World, answering, echoing
from homing.errors import AnswerRefused
from homing_node.broker.exchange import OutboundRequest
from homing_node.broker.policy import Credential

HEAD = b"HTTP/1.1 200 OK\r\n"
KEY = Credential(name="api_key", secret="TOKEN", place="query")
BASIC = Credential(name="authorization", secret="TOKEN", form="Basic {base64}")


def bearer(heard: Heard) -> str:
    return heard.get("authorization")[0].removeprefix("Bearer ")


REFLECTIONS: dict[str, Callable[[Heard], bytes]] = {
    "as it is": lambda heard: bearer(heard).encode(),
    "in the middle": lambda heard: b"x" * 70_000 + bearer(heard).encode() + b"y" * 70_000,
    "in capital letters": lambda heard: bearer(heard).upper().encode(),
    "the first half": lambda heard: bearer(heard)[:14].encode(),
    "the second half": lambda heard: b"..." + bearer(heard)[14:].encode(),
    "the middle": lambda heard: bearer(heard)[3:26].encode(),
    "backwards": lambda heard: bearer(heard)[::-1].encode(),
    "all fields as JSON": lambda heard: json.dumps(dict(heard.fields)).encode(),
    "JSON with escaped slashes": lambda heard: json.dumps(bearer(heard)).replace("/", "\\/").encode(),
    "JSON with all escaped": lambda heard: "".join(f"\\u{ord(char):04X}" for char in bearer(heard)).encode(),
    "percent-encoded": lambda heard: quote(bearer(heard), safe="").encode(),
    "percent-encoded in small letters": lambda heard: quote(bearer(heard), safe="").lower().encode(),
    "percent-encoded altogether": lambda heard: "".join(f"%{ord(char):02X}" for char in bearer(heard)).encode(),
    "as a form": lambda heard: quote_plus(bearer(heard)).encode(),
    "as HTML": lambda heard: html.escape(bearer(heard)).encode(),
    "as HTML, numbered": lambda heard: "".join(f"&#{ord(char)};" for char in bearer(heard)).encode(),
    "JSON, escaped as some do": lambda heard: (
        json.dumps(bearer(heard)).replace("+", "\\u002B").replace("=", "\\u003d").encode()
    ),
    "HTML with a name": lambda heard: bearer(heard).replace("/", "&#x2F;").replace("=", "&#061;").encode(),
    "percent-encoded in part": lambda heard: bearer(heard).replace("k", "%6B").encode(),
    "twelve of it": lambda heard: b"12345" + bearer(heard)[9:21].encode() + b"!",
    "in hex": lambda heard: bearer(heard).encode().hex().encode(),
    "in hex, in capitals": lambda heard: bearer(heard).encode().hex().upper().encode(),
    "in UTF-16": lambda heard: bearer(heard).encode("utf-16-le"),
    "in UTF-16, turned": lambda heard: bearer(heard).encode("utf-16-be"),
    "in base64": lambda heard: base64.b64encode(bearer(heard).encode()),
    "in base64, one further": lambda heard: base64.b64encode(b"x" + bearer(heard).encode() + b"yz"),
    "in base64, two further": lambda heard: base64.b64encode(b"xy" + bearer(heard).encode()),
    "in base64 for URLs": lambda heard: base64.urlsafe_b64encode(b"Bearer " + bearer(heard).encode()),
}


@pytest.mark.parametrize("make", REFLECTIONS.values(), ids=REFLECTIONS)
async def test_a_secret_that_is_given_back_does_not_come_in(world: World, make: Callable[[Heard], bytes]) -> None:
    """Seen to fail when answers are not looked through (mutant egress-mirror), when only whole secrets are looked for
    (egress-fragments), when base64 is not (egress-base64), or what
    was escaped (egress-escaped)."""
    world.serve = echoing(make)
    got = await world.ask(credentials=(BEARER,))
    assert got.code == "answer-refused"
    assert (world.audit[0].outcome, world.audit[0].rule) == ("cut", "reflection")
    assert bearer(world.heard[0])[:8].encode() not in got.body


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_secret_inside_a_compressed_answer(world: World, coding: str) -> None:
    """Seen to fail when the mirror looks at what travels instead of what is inside."""
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]
    world.serve = echoing(
        lambda heard: pack(bearer(heard).encode() * 50), b"content-encoding: %b\r\n" % coding.encode()
    )
    assert (await world.ask(credentials=(BEARER,))).code == "answer-refused"


async def test_a_secret_that_comes_byte_by_byte(world: World) -> None:
    """Not even its beginning comes in. Seen to fail when nothing is held back (mutant egress-held)."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n6\r\nbefore\r\n")
        for char in bearer(heard):
            writer.write(f"1\r\n{char}\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(b"0\r\n\r\n")

    world.serve = serve
    got = await world.ask(credentials=(BEARER,))
    assert (got.code, got.body) == ("answer-refused", b"")


@pytest.mark.parametrize(
    "field",
    [
        lambda heard: f"x-echo: {bearer(heard)}",
        lambda heard: f"location: https://api.example.com/?token={quote(bearer(heard), safe='')}",
        lambda heard: f"set-cookie: token={bearer(heard)}",
        lambda heard: f"www-authenticate: Bearer error=\"{bearer(heard)}\"",
        lambda heard: f"x-a: {bearer(heard)[-14:]}",
        lambda heard: f"content-encoding: {bearer(heard)}",
    ],
    ids=["as it is", "in a redirect", "in a cookie", "in a challenge", "a part of it", "as a coding"],
)  # fmt: skip
async def test_a_secret_in_a_field_of_the_answer(world: World, field: Callable[[Heard], str]) -> None:
    """Seen to fail when fields are not looked through (mutant egress-mirror-fields)."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + f"{field(heard)}\r\ncontent-length: 2\r\n\r\nok".encode())

    world.serve = serve
    got = await world.ask(credentials=(BEARER,))
    assert (got.code, got.status, got.headers) == ("answer-refused", 0, {})


async def test_a_secret_in_the_reason_in_trailers_and_before_the_answer(world: World) -> None:
    """None of these is passed on at all."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        said = bearer(heard).encode()
        writer.write(b"HTTP/1.1 103 %b\r\nlink: <%b>\r\n\r\n" % (said, said))
        writer.write(
            b"HTTP/1.1 200 %b\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: %b\r\n\r\n" % (said, said)
        )

    world.serve = serve
    got = await world.ask(credentials=(BEARER,))
    assert (got.status, got.headers, got.body) == (200, {}, b"ok")


async def test_the_secret_of_a_query_given_back_by_a_redirect(world: World) -> None:
    """The most usual of all: to the same address with a slash, query and all."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        path = heard.line.split()[1].replace("?", "/?")
        writer.write(f"HTTP/1.1 301 Moved\r\nlocation: {path}\r\ncontent-length: 0\r\n\r\n".encode())

    world.serve = serve
    assert (await world.ask("https://api.example.com/a", credentials=(KEY,))).code == "answer-refused"


async def test_the_secret_of_basic_given_back(world: World) -> None:
    world.serve = echoing(lambda heard: heard.get("authorization")[0].encode())
    assert (await world.ask(credentials=(BASIC,))).code == "answer-refused"


async def test_errors_say_nothing_of_what_was_sent(world: World) -> None:
    """What answers is no HTTP, and quotes the request: neither that nor what the library says of it comes in."""
    world.serve = echoing(lambda heard: b"")

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(f"BAD {bearer(heard)} {heard.line}\r\n\r\n".encode())

    world.serve = serve
    got = await world.ask(credentials=(BEARER,))
    assert (got.code, world.audit[0].rule) == ("unavailable", "protocol")


async def test_an_answer_without_the_secret_comes_in_whole(world: World) -> None:
    body = json.dumps({"token": "sk-live/", "n": list(range(40_000))}).encode()
    world.serve = echoing(lambda heard: body)
    got = await world.ask(credentials=(BEARER,))
    assert (got.status, got.body) == (200, body)
    assert world.audit[0].outcome == "ok"


async def test_sessions_of_credentials_stay_outside(world: World) -> None:
    """A cookie stands for the secret. Seen to fail with mutant egress-sessions."""
    world.serve = echoing(lambda heard: b"ok", b"Set-Cookie: a=b\r\nset-cookie: c=d\r\nx-a: 1\r\n")
    assert (await world.ask(credentials=(BEARER,))).headers == {"x-a": "1", "content-length": "2"}
    assert (await world.ask()).headers["set-cookie"] in ("a=b", "c=d")


# -- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to",
    ["http://169.254.169.254/latest/meta-data/", "https://127.0.0.1/", "//evil.net/", "/elsewhere", "file:///etc/passwd",
     "https://api.example.com:8443/"],
)  # fmt: skip
async def test_a_redirect_is_an_answer(world: World, status: int, to: str) -> None:
    """Whoever asked may ask there, too, under the same grant. Seen to fail when redirects are followed."""
    world.serve = answering(b"HTTP/1.1 %d Moved\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, to.encode()))
    got = await world.ask()
    assert (got.status, got.headers["location"], len(world.heard)) == (status, to, 1)
    assert len(world.network.connected) == 1
    assert (await world.ask(to)).code in ("forbidden", "bad-request")


# -- how much ---------------------------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(pack.compress(bytes(1 << 20)) for _ in range(size >> 20)), pack.flush()])


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate"])
async def test_a_bomb_is_not_unpacked(world: World, coding: str) -> None:
    """64 MiB in 64 KiB: no more comes in than the grant lets. Seen to fail without it (mutant egress-decoded)."""
    data = zlib.compress(bytes(64 << 20), 9) if coding == "deflate" else bomb(64 << 20)
    world.serve = answering(
        HEAD + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(data)) + data
    )
    got = await world.ask(decoded_bytes_max=1 << 20)
    assert (got.code, world.audit[0].rule) == ("answer-refused", "decoded_bytes_max")
    assert len(got.body) <= 1 << 20


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, identity", "gzip\r\ncontent-encoding: gzip"]
)
async def test_a_coding_that_was_not_asked_for_is_refused(world: World, coding: str) -> None:
    """A secret could be inside, and a bomb in a bomb."""
    world.serve = answering(HEAD + b"content-encoding: %b\r\ncontent-length: 2\r\n\r\nok" % coding.encode())
    assert (await world.ask()).code == "answer-refused"
    assert world.heard[0].get("accept-encoding") == ["gzip, deflate"]


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(b"a" * 200_000)),
        ("gzip", gzip.compress(b"a" * 100_000) + gzip.compress(b"a" * 100_000)),
        ("deflate", zlib.compress(b"a" * 200_000)),
        ("deflate", zlib.compress(b"a" * 200_000)[2:-4]),
        ("identity", b"a" * 200_000),
    ],
    ids=["gzip", "two members", "deflate", "deflate without a head", "identity"],
)
async def test_compression_is_undone(world: World, coding: str, data: bytes) -> None:
    world.serve = echoing(lambda heard: data, b"content-encoding: %b\r\n" % coding.encode())
    got = await world.ask()
    assert got.body == b"a" * 200_000
    assert "content-encoding" not in got.headers
    assert ("content-length" in got.headers) == (coding == "identity")


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(b"a" * 9_000)[:-9], gzip.compress(b"a") + b"rest"])
async def test_compression_that_is_none_is_refused(world: World, data: bytes) -> None:
    world.serve = echoing(lambda heard: data, b"content-encoding: gzip\r\n")
    assert (await world.ask()).code == "answer-refused"


@pytest.mark.parametrize("framing", ["length", "chunks", "until it closes"])
async def test_an_answer_that_is_too_long_is_cut(world: World, framing: str) -> None:
    """Seen to fail without that bound (mutant egress-response)."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        said = {"length": b"content-length: 1000000000\r\n", "chunks": b"transfer-encoding: chunked\r\n"}.get(
            framing, b""
        )
        writer.write(HEAD + said + b"\r\n")
        while True:
            writer.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n" if framing == "chunks" else b"a" * 65_536)
            await writer.drain()

    world.serve = serve
    got = await world.ask(response_bytes_max=1 << 20)
    assert (got.code, world.audit[0].rule) == ("answer-refused", "response_bytes_max")
    assert len(got.body) <= 1 << 20


@pytest.mark.parametrize("kind", ["head", "fields", "body", "before it"])
async def test_an_answer_that_does_not_end_is_cut(world: World, kind: str) -> None:
    """Seen to fail without a deadline (mutant egress-call-time)."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write({"head": b"HTTP", "fields": HEAD, "body": HEAD + b"\r\n", "before it": b""}[kind])
        while True:
            drop = {"fields": b"x-a: 1\r\n", "body": b"a", "before it": b"HTTP/1.1 103 Early\r\n\r\n"}.get(kind, b"")
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)

    world.serve = serve
    began = asyncio.get_running_loop().time()
    got = await world.ask(call_s_max=0.2)
    assert (got.code, world.audit[0].rule) == ("deadline-exceeded", "call_s_max")
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_fields_of_an_answer_that_are_too_long_are_refused(world: World) -> None:
    world.serve = answering(HEAD + b"x-a: %b\r\ncontent-length: 2\r\n\r\nok" % (b"a" * (70 << 10)))
    assert (await world.ask()).code == "answer-refused"
    world.serve = answering(HEAD + b"x-a: %b\r\ncontent-length: 2\r\n\r\nok" % (b"a" * (200 << 10)))
    assert (await world.ask()).code == "unavailable"


async def test_an_answer_that_breaks_off_is_not_whole(world: World) -> None:
    world.serve = answering(HEAD + b"content-length: 10\r\n\r\nok")
    got = await world.ask()
    assert (got.code, world.audit[0].outcome, world.audit[0].rule) == ("unavailable", "failed", "protocol")


# -- smuggling on the way back ----------------------------------------------------------------------------------------

RESPONSES = {
    "length and chunks": b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 2\r\ncontent-length: 3\r\n\r\nok!",
    "a negative length": b"content-length: -1\r\n\r\nok",
    "a length with a sign": b"content-length: +2\r\n\r\nok",
    "an unknown framing": b"transfer-encoding: gzip\r\n\r\nok",
    "chunks in disguise": b"transfer-encoding: xchunked\r\n\r\nok",
    "a chunk that is none": b"transfer-encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "a chunk too large": b"transfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nok",
    "a space before a colon": b"content-length : 2\r\n\r\nok",
    "a zero in a field": b"x-a: \x00\r\ncontent-length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("rest", RESPONSES.values(), ids=RESPONSES)
async def test_an_answer_that_can_be_read_in_two_ways(world: World, rest: bytes) -> None:
    """Refused, or read in one way with the connection closed after it: the next answer is the next one's."""
    world.serve = answering(HEAD + rest)
    opened = world.open()
    got = await world.ask(opened=opened)
    assert got.code in ("unavailable", "")
    assert got.body in (b"", b"ok")
    world.serve = echoing(lambda heard: b"second")
    assert (await world.ask(opened=opened)).body == b"second"
    assert [heard.connection for heard in world.heard] == [1, 2]


async def test_the_connections_fields_are_not_passed_on(world: World) -> None:
    said = b'connection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nalt-svc: h3=":443"\r\nx-a: 1\r\n'
    world.serve = echoing(
        lambda heard: b"ok", said + b"proxy-authenticate: Basic\r\nte: a\r\nstrict-transport-security: a\r\n"
    )
    assert (await world.ask()).headers == {"x-a": "1", "content-length": "2"}


async def test_another_protocol_is_not_spoken(world: World) -> None:
    world.serve = answering(b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello")
    assert (await world.ask()).code == "unavailable"
    assert (world.audit[0].rule, world.audit[0].status) == ("protocol", 0)


async def test_answers_without_a_body(world: World) -> None:
    for line in (b"204 No Content", b"304 Not Modified"):
        world.serve = answering(b"HTTP/1.1 %b\r\ncontent-encoding: br\r\n\r\n" % line)
        got = await world.ask()
        assert (got.status, got.body, got.code) == (int(line[:3]), b"", "")
    world.serve = answering(HEAD + b"content-encoding: br\r\ncontent-length: 1000000000\r\n\r\n")
    assert (await world.ask(method="HEAD")).status == 200
    assert {record.outcome for record in world.audit} == {"ok"}


async def test_whoever_leaves_an_answer_closes_its_connection(world: World) -> None:
    world.serve = echoing(lambda heard: b"a" * (4 << 20))
    opened = world.open()
    async with opened.fetch(OutboundRequest("GET", "https://api.example.com/")) as answer:
        async for piece in answer:
            assert piece
            break
    assert world.audit[0].outcome == "left"
    assert (await world.ask(opened=opened)).status == 200
    assert [heard.connection for heard in world.heard] == [1, 2]


async def test_what_was_refused_is_told_where_it_is_read(world: World) -> None:
    world.serve = echoing(lambda heard: b"a" * 300_000 + bearer(heard).encode())
    async with world.open(credentials=(BEARER,)).fetch(OutboundRequest("GET", "https://api.example.com/")) as answer:
        with pytest.raises(AnswerRefused):
            await answer.whole()
    assert world.audit[0].rule == "reflection"
    assert SECRET not in repr(vars(answer))
