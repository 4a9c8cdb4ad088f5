"""Egress suite: what leaves. Methods, header fields, credentials, TLS: the server hears what the grant lets it hear."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from egress_world import BEARER, OK, PUBLIC, SECOND, SECRET, World
from homing.errors import Forbidden
from homing_node import limits
from homing_node.broker.policy import Credential

KEY = Credential(name="api_key", secret="TOKEN", place="query")


@pytest.mark.parametrize(
    "method",
    ["DELETE", "PUT", "get", "CONNECT", "TRACE", "OPTIONS", "", "GET /x HTTP/1.1\r\nx: y\r\n\r\nGET", "G\u0045T "],
)
async def test_a_method_that_is_not_named_is_refused(world: World, method: str) -> None:
    """Seen to fail when methods are not compared (mutant egress-method)."""
    assert (await world.ask(method=method)).code == "forbidden"
    assert (world.network.lookups, world.audit[0].rule) == ([], "method")


REFUSED_FIELDS = {
    "a line break in a value": ("x-a", "1\r\nhost: evil.net"),
    "a bare line feed": ("x-a", "1\nhost: evil.net"),
    "a bare return": ("x-a", "1\rhost: evil.net"),
    "a folded value": ("x-a", "1\r\n 2"),
    "a zero in a value": ("x-a", "1\x00"),
    "a letter that is no byte": ("x-a", "\u010d\u010a"),
    "a line break in a name": ("x-a\r\nhost", "evil.net"),
    "a colon in a name": ("x-a:host", "evil.net"),
    "a space behind a name": ("host ", "evil.net"),
    "no name": ("", "1"),
    "another host": ("host", "evil.net"),
    "another host with the right one": ("host", "api.example.com, evil.net"),
    "another port of the host": ("Host", "api.example.com:8443"),
    "another method": ("x-http-method-override", "DELETE"),
    "another method, 2": ("X-Method-Override", "DELETE"),
    "another method, with underscores": ("x_http_method", "DELETE"),
    "another path": ("x-original-url", "/admin"),
    "another path, 2": ("x-rewrite-url", "/admin"),
    "another host of proxies": ("x-forwarded-host", "evil.net"),
    "another address": ("x-forwarded-for", "127.0.0.1"),
    "another address, 2": ("forwarded", "for=127.0.0.1"),
    "another address, 3": ("x-real-ip", "127.0.0.1"),
    "an upgrade": ("upgrade", "websocket"),
    "an upgrade to HTTP/2": ("http2-settings", "AAMAAABkAAQAAP__"),
    "a field that a proxy would take off": ("connection", "close, authorization"),
}
LEFT_OUT_FIELDS = {
    "a length": ("content-length", "0"),
    "a shorter length": ("content-length", "1"),
    "chunks": ("transfer-encoding", "chunked"),
    "chunks, disguised": ("Transfer-Encoding", "\tchunked, identity"),
    "te": ("te", "trailers"),
    "a trailer": ("trailer", "authorization"),
    "expectations": ("expect", "100-continue"),
    "keeping alive": ("keep-alive", "timeout=1000"),
    "a proxy's credentials": ("proxy-authorization", "Basic YTpi"),
    "another coding": ("accept-encoding", "br, zstd"),
}


@pytest.mark.parametrize("field", REFUSED_FIELDS.values(), ids=REFUSED_FIELDS)
async def test_a_field_that_makes_another_request_is_refused(world: World, field: tuple[str, str]) -> None:
    """Seen to fail for each kind with mutants egress-line-breaks, egress-other-host, egress-other-request,
    egress-of-proxies, egress-upgrade and egress-hop-by-hop."""
    got = await world.ask(headers=[field])
    assert got.code in ("bad-request", "forbidden")
    assert (world.heard, world.network.connected, world.audit[0].outcome) == ([], [], "refused")


@pytest.mark.parametrize("field", LEFT_OUT_FIELDS.values(), ids=LEFT_OUT_FIELDS)
async def test_what_is_the_connections_is_left_out(world: World, field: tuple[str, str]) -> None:
    """The body is heard once and whole: nothing can be smuggled. Seen to fail with mutant egress-of-connection."""
    smuggled = b"0\r\n\r\nGET /admin HTTP/1.1\r\nhost: api.example.com\r\n\r\n"
    got = await world.ask(method="POST", headers=[("x-a", "1"), field], body=smuggled)
    assert got.status == 200
    (heard,) = world.heard
    assert heard.body == smuggled
    assert heard.get("content-length") == [str(len(smuggled))]
    assert heard.get("transfer-encoding") == []
    assert heard.get("x-a") == ["1"]
    assert heard.get(field[0].lower()) in ([], [str(len(smuggled))], ["gzip, deflate"])


async def test_a_body_that_flows_goes_in_chunks_of_ours(world: World) -> None:
    assert (await world.ask(method="POST", body=_pieces(b"0\r\n\r\n", b"two"))).status == 200
    assert world.heard[0].body == b"0\r\n\r\ntwo"
    assert (await world.ask(method="POST", body=_pieces(b"one", b"two"), length=6)).status == 200
    assert (world.heard[1].body, world.heard[1].get("content-length")) == (b"onetwo", ["6"])


@pytest.mark.parametrize("length", [5, 7])
async def test_a_body_is_as_long_as_was_said(world: World, length: int) -> None:
    """Else the rest would be a request of its own, or the next answer be lost. Seen to fail with egress-length."""
    got = await world.ask(method="POST", body=_pieces(b"one", b"two"), length=length)
    assert got.code == "bad-request"
    assert world.heard == []


async def test_many_or_long_fields_are_refused(world: World) -> None:
    many = [(f"x-{n}", "") for n in range(limits.grant_fields_max + 1)]
    assert (await world.ask(headers=many)).code == "bad-request"
    assert (await world.ask(headers=many[1:])).status == 200
    assert (await world.ask(headers=[("x-a", "a" * limits.grant_head_bytes_max)])).code == "bad-request"
    assert len(world.heard) == 1


async def test_the_environment_leads_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{world.network.forbidden_port}")
    assert (await world.ask()).status == 200
    assert world.network.connected == [(PUBLIC, 443)]


# -- credentials ------------------------------------------------------------------------------------------------------


async def test_credentials_are_added_outside(world: World) -> None:
    basic = Credential(name="x-basic", secret="TOKEN", form="Basic {base64}")
    assert (await world.ask("https://api.example.com/a?b=c", credentials=(BEARER, basic, KEY))).status == 200
    (heard,) = world.heard
    assert heard.get("authorization") == [f"Bearer {SECRET}"]
    assert heard.get("x-basic") == ["Basic " + base64.b64encode(SECRET.encode()).decode()]
    assert heard.line == "GET /a?b=c&api_key=sk-live%2F9f%2BQ2x7Kd%3D81mZp0TqLw HTTP/1.1"
    assert (world.audit[0].path, world.audit[0].outcome) == ("/a", "ok")


@pytest.mark.parametrize(
    "field",
    [("authorization", "Bearer mine"), ("AUTHORIZATION", ""), ("cookie", "session=mine"), ("x-api-key", "mine"),
     ("x_api_key", "mine"), ("proxy-authorization", "Basic bWluZQ=="), ("private-token", "mine"),
     ("Authorization ", "x")],
    ids=lambda field: field[0],
)  # fmt: skip
async def test_a_request_with_credentials_carries_no_others(world: World, field: tuple[str, str]) -> None:
    """Else whoever asks could send what it knows to an account of its own at the same host. Seen to fail with mutant
    egress-identity; of the very field, with egress-overridden."""
    got = await world.ask(credentials=(BEARER,), headers=[field])
    assert got.code in ("forbidden", "bad-request")
    assert world.heard == []


@pytest.mark.parametrize("name", ["x-own", "X-Own", "x_own"])
async def test_the_field_of_a_credential_cannot_be_given(world: World, name: str) -> None:
    own = Credential(name="x-own", secret="TOKEN")
    assert (await world.ask(credentials=(own,), headers=[(name, "mine")])).code == "forbidden"
    assert world.heard == []


@pytest.mark.parametrize(
    "query",
    ["api_key=mine", "a=b&API_KEY=mine", "api%5Fkey=mine", "a;api_key=mine", "api_key", "api_key[]=mine",
     "api%255fkey=mine", "+api_key=mine", "%61pi_key=mine"],
)  # fmt: skip
async def test_the_parameter_of_a_credential_cannot_be_given(world: World, query: str) -> None:
    """Servers differ in which of two they take. Seen to fail with mutant egress-parameter."""
    assert (await world.ask(f"https://api.example.com/?{query}", credentials=(KEY,))).code == "forbidden"
    assert world.heard == []


async def test_without_credentials_a_request_may_carry_its_own(world: World) -> None:
    assert (await world.ask(headers=[("authorization", "Bearer mine")])).status == 200
    assert world.heard[0].get("authorization") == ["Bearer mine"]


async def test_no_part_of_an_answer_is_asked_for_with_credentials(world: World) -> None:
    """Parts could hold a secret in parts. Seen to fail with mutant egress-range."""
    assert (await world.ask(credentials=(BEARER,), headers=[("range", "bytes=0-5"), ("If-Range", "x")])).status == 200
    assert (world.heard[0].get("range"), world.heard[0].get("if-range")) == ([], [])
    assert (await world.ask(headers=[("range", "bytes=0-5")])).status == 200
    assert world.heard[1].get("range") == ["bytes=0-5"]


@pytest.mark.parametrize(
    ("secrets", "says"),
    [({}, "no secret"), ({"TOKEN": "a" * 11}, "12 to"), ({"TOKEN": "a" * 2_049}, "12 to"),
     ({"TOKEN": "line\r\nbreak: 1"}, "cannot be sent"), ({"TOKEN": "not in ascii \u00e9"}, "cannot be sent"),
     ({"TOKEN": " spaces around "}, "cannot be sent")],
)  # fmt: skip
async def test_a_secret_that_cannot_be_sent_opens_nothing(world: World, secrets: dict[str, str], says: str) -> None:
    with pytest.raises(Forbidden, match=says) as refused:
        world.egress.open(
            world.grant(credentials=(BEARER,)),
            holder="box",
            fetch_hosts=["api.example.com", "*.example.org"],
            secrets=secrets,
        )
    assert not any(value in str(refused.value) for value in secrets.values())
    assert world.egress.uses() == []


async def test_nothing_that_is_shown_has_the_secret(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an open grant nor its list, nor the audit, nor the log at its lowest level."""
    with caplog.at_level(1):
        opened = world.open(credentials=(BEARER, KEY))
        assert (await world.ask(opened=opened)).status == 200
        assert (await world.ask("https://gone.example.org/", opened=opened)).code == "unavailable"
    assert SECRET not in repr((opened, opened.use(), world.egress.uses(), vars(opened)["_credentials"], world.audit))
    assert not any(SECRET in text or "sk-live%2F" in text for text in caplog.messages)


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["another name", "expired", "unknown authority", "no TLS at all"])
async def test_who_cannot_prove_to_be_the_host_hears_nothing(world: World, kind: str) -> None:
    """Seen to fail when certificates are not checked (mutant egress-tls): the request was heard, with its secret."""
    hosts = ["evil.net"] if kind == "another name" else ["api.example.com"]
    authority = world.other_authority() if kind == "unknown authority" else None
    port = await world.listen(hosts, authority=authority, expired=kind == "expired")
    plain = await asyncio.start_server(_say_and_close, "127.0.0.1", 0)
    if kind == "no TLS at all":
        port = plain.sockets[0].getsockname()[1]
    world.network.routes[SECOND, 443] = port
    world.network.answers["api.example.com"] = [[SECOND]]
    got = await world.ask(credentials=(BEARER,))
    plain.close()
    assert (got.code, world.heard) == ("unavailable", [])
    assert world.audit[0].outcome == "failed"
    assert world.audit[0].rule == "certificate"


async def test_a_wildcard_of_one_level_is_not_believed_for_two(world: World) -> None:
    world.network.answers["a.b.example.org"] = [[PUBLIC]]
    assert (await world.ask("https://a.example.org/")).status == 200
    assert world.heard[0].sni == "a.example.org"
    assert (await world.ask("https://a.b.example.org/")).code == "unavailable"


async def test_plain_http_only_where_it_is_named(world: World) -> None:
    assert (await world.ask("http://api.example.com/")).code == "forbidden"
    assert (await world.ask("http://api.example.com/", schemes=("http",), hosts=("api.example.com",))).status == 200
    assert world.heard[0].sni is None


async def _say_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    writer.close()


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
