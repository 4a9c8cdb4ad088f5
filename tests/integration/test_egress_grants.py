"""Egress suite: grants while they live. Revocation on the way, limits, connections of their own, the audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from egress_world import BEARER, OK, PUBLIC, SECRET, Heard, World, answering, echoing, until
from homing.errors import BadRequest, DeadlineExceeded, Forbidden, GrantEnded
from homing_node import limits
from homing_node.broker.audit import AuditRecord
from homing_node.broker.egress import Egress
from homing_node.broker.exchange import OutboundRequest
from homing_node.broker.network import System
from homing_node.broker.open_grant import OpenGrant
from homing_node.broker.policy import OutboundGrant, read_grant

URL = "https://api.example.com/"
HEAD = b"HTTP/1.1 200 OK\r\n"
CUT_S_MAX = 0.1


async def drip(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b"drop")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(heard: Heard, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def ended_in(work: asyncio.Task[object], end: object) -> float:
    """Seconds until work ended with `GrantEnded`."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert callable(end)
    end()
    with pytest.raises(GrantEnded):
        await asyncio.wait_for(work, 5.0)
    return loop.time() - began_s


async def read_all(opened: OpenGrant, request: OutboundRequest, began: asyncio.Event | None = None) -> None:
    async with opened.fetch(request) as answer:
        if began is not None:
            began.set()
        async for _ in answer:
            pass


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"a" * 1_000
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("when", ["looked up", "before the answer", "in the answer", "in the request", "not read"])
async def test_revocation_cuts_what_runs(world: World, when: str) -> None:
    """Within 100 ms, wherever it is. Seen to fail when only new requests are refused (mutant egress-revoked)."""
    world.serve = drip if when in ("in the answer", "not read") else silent
    opened, began = world.open(), asyncio.Event()
    if when == "looked up":
        world.network.slow = asyncio.Event()
    method, body = ("POST", endless()) if when == "in the request" else ("GET", b"")
    asking = _hold if when == "not read" else read_all
    work = asyncio.ensure_future(asking(opened, OutboundRequest(method, URL, body=body), began))
    await until({
        "looked up": lambda: world.network.lookups,
        "before the answer": lambda: world.heard,
        "in the answer": began.is_set,
        "in the request": lambda: opened.use().sent_bytes > 5_000,
        "not read": began.is_set,
    }[when])  # fmt: skip
    assert await ended_in(work, opened.revoke) < CUT_S_MAX
    assert (world.audit[-1].outcome, world.audit[-1].rule) == ("cut", "revoked")
    assert (await world.ask(opened=opened)).code == "grant-ended"
    assert world.egress.uses() == []
    if world.network.slow is not None:
        world.network.slow.set()


async def test_revocation_cuts_all_that_runs_and_nothing_else(world: World) -> None:
    world.serve = drip
    opened, other = world.open(), world.open()
    running = [asyncio.ensure_future(read_all(opened, OutboundRequest("GET", URL))) for _ in range(8)]
    neighbour = asyncio.ensure_future(read_all(other, OutboundRequest("GET", URL)))
    await until(lambda: len(world.heard) == 9)
    opened.revoke()
    done, _ = await asyncio.wait(running, timeout=CUT_S_MAX)
    assert len(done) == 8
    assert all(isinstance(task.exception(), GrantEnded) for task in done)
    await until(lambda: world.closed == 8)  # their connections are closed, too
    assert not neighbour.done()
    other.close()
    with pytest.raises(GrantEnded):
        await neighbour


async def test_revocation_closes_connections_that_rest(world: World) -> None:
    """Seen to fail when connections outlive their grant (mutant egress-rest)."""
    opened = world.open()
    assert (await world.ask(opened=opened)).status == 200
    assert world.closed == 0
    opened.revoke()
    await until(lambda: world.closed == 1)
    opened.revoke()
    opened.close()
    assert (await world.ask(opened=opened)).code == "grant-ended"
    assert world.audit[-1].rule == "revoked", "the first reason stays"


async def test_revocation_closes_a_connection_before_it_has_tls(world: World) -> None:
    """Seen to fail when httpcore alone is trusted with it (mutant egress-handshake)."""
    heard: list[bytes] = []

    async def dumb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(b"connected")
        while data := await reader.read(65_536):
            heard.append(data)
        heard.append(b"closed")
        writer.close()

    server = await asyncio.start_server(dumb, "127.0.0.1", 0)
    world.network.routes[PUBLIC, 443] = server.sockets[0].getsockname()[1]
    opened = world.open()
    work = asyncio.ensure_future(read_all(opened, OutboundRequest("GET", URL)))
    await until(lambda: len(heard) == 2)
    assert await ended_in(work, opened.revoke) < CUT_S_MAX
    await until(lambda: heard[-1] == b"closed")
    server.close()


async def test_connections_that_nobody_uses_are_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "grant_kept_s", 0.05)
    opened = world.open()
    assert (await world.ask(opened=opened)).status == 200
    await until(lambda: world.closed == 1)
    assert (await world.ask(opened=opened)).status == 200


async def test_a_grant_expires_with_what_runs(world: World) -> None:
    """Seen to fail when only new requests are held against its life (mutant egress-life)."""
    world.serve = drip
    opened = world.open(life_s_max=0.2)
    with pytest.raises(GrantEnded, match="expired"):
        await asyncio.wait_for(read_all(opened, OutboundRequest("GET", URL)), 2.0)
    assert (world.audit[0].outcome, world.audit[0].rule) == ("cut", "life_s_max")
    assert (await world.ask(opened=opened)).code == "grant-ended"
    await until(lambda: world.closed == 1)
    assert world.egress.uses() == []


# -- how much ---------------------------------------------------------------------------------------------------------


async def test_so_many_calls_and_no_more(world: World) -> None:
    """What was refused counts, too. Seen to fail without the bound (mutant egress-calls)."""
    opened = world.open(calls_max=3)
    assert (await world.ask(opened=opened)).status == 200
    assert (await world.ask("https://evil.net/", opened=opened)).code == "forbidden"
    assert (await world.ask(opened=opened)).status == 200
    assert (await world.ask(opened=opened)).code == "grant-ended"
    assert len(world.heard) == 2


async def test_so_many_in_a_second(world: World) -> None:
    """Seen to fail without the bound (mutant egress-rate)."""
    loop = asyncio.get_running_loop()
    opened, began_s = world.open(calls_per_s_max=5.0), loop.time()
    asked = [await world.ask(opened=opened) for _ in range(30)]
    passed = sum(got.status == 200 for got in asked)
    assert 5 <= passed <= 5 + (loop.time() - began_s) * 5
    assert [got.status for got in asked[:5]] == [200] * 5
    error = next(got.error for got in asked if got.error is not None)
    assert (error.code, error.retryable) == ("overloaded", True)
    assert 0.0 < (error.retry_after_s or 0.0) <= 0.2
    await asyncio.sleep(0.25)
    assert (await world.ask(opened=opened)).status == 200


async def test_so_many_at_once(world: World) -> None:
    """Seen to fail without the bound (mutant egress-at-once)."""
    world.serve = silent
    opened = world.open(calls_at_once_max=2)
    running = [asyncio.ensure_future(world.ask(opened=opened)) for _ in range(2)]
    await until(lambda: opened.use().at_once == 2)
    assert (await world.ask(opened=opened)).code == "overloaded"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    world.serve = answering(OK)
    assert (await world.ask(opened=opened)).status == 200
    assert opened.use().at_once == 0


async def test_so_many_of_all_grants(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "grant_calls_at_once_max", 1)
    monkeypatch.setattr(limits, "grant_calls_waiting_max", 0)
    egress = Egress(world.audit.append, world.network)
    opened = [egress.open(world.grant(), holder="box", fetch_hosts=world.grant().hosts, secrets={}) for _ in range(2)]
    async with opened[0].fetch(OutboundRequest("GET", URL)):
        assert (await world.ask(opened=opened[1])).code == "overloaded"
    assert (await world.ask(opened=opened[1])).status == 200
    await egress.close()


async def test_a_tenant_waits_for_its_own_and_for_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has its share under way, and one more in line. Broken by: one line for all of a node."""
    monkeypatch.setattr(limits, "grant_calls_share_max", 1)
    egress = Egress(world.audit.append, world.network)
    hosts = world.grant().hosts
    first, second, other = (
        egress.open(world.grant(), holder="box", fetch_hosts=hosts, secrets={}, tenant=tenant)
        for tenant in ("ada", "ada", "bob")
    )
    async with first.fetch(OutboundRequest("GET", URL)):
        waiting = asyncio.ensure_future(world.ask(opened=second))
        assert (await world.ask(opened=other)).status == 200
        with pytest.raises(DeadlineExceeded):
            async with second.fetch(OutboundRequest("GET", URL, timeout_s=0.05)):
                pass
        assert world.audit[-1].outcome == "refused", "nothing was sent"
        assert not waiting.done()
    assert (await waiting).status == 200
    await egress.close()


async def test_a_request_that_is_too_long(world: World) -> None:
    """Seen to fail without the bound (mutant egress-request)."""
    for body, length in ((b"a" * 1_001, None), (_of(b"a" * 1_001), 1_001), (_of(b"a" * 600, b"a" * 600), None)):
        got = await world.ask(method="POST", body=body, length=length, request_bytes_max=1_000)
        assert got.code == "too-large"
    assert world.heard == []
    assert (await world.ask(method="POST", body=b"a" * 1_000, request_bytes_max=1_000)).status == 200


async def test_so_many_bytes_out(world: World) -> None:
    """Seen to fail without the bound (mutant egress-sent): what a sandbox knows leaves in requests."""
    opened = world.open(sent_bytes_max=2_000)
    assert (await world.ask(opened=opened, method="POST", body=b"a" * 1_000)).status == 200
    assert (await world.ask(opened=opened, method="POST", body=b"a" * 1_000)).code == "grant-ended"
    assert (await world.ask(URL + "?" + "a" * 1_000, opened=opened)).code == "grant-ended"
    assert (await world.ask(opened=opened, headers=[("x-a", "a" * 1_000)])).code == "grant-ended"
    assert len(world.heard) == 1


async def test_so_many_bytes_in(world: World) -> None:
    """Fields count, too. Seen to fail without the bound (mutant egress-received)."""
    world.serve = echoing(lambda heard: b"a" * 1_000)
    opened = world.open(received_bytes_max=2_000)
    assert (await world.ask(opened=opened)).status == 200
    got = await world.ask(opened=opened)
    assert (got.code, got.body) == ("grant-ended", b"")
    world.serve = echoing(lambda heard: b"", b"x-a: %b\r\n" % (b"a" * 3_000))
    assert (await world.ask(received_bytes_max=2_000)).code == "grant-ended"


async def test_nothing_is_granted_by_a_limit_of_nothing(world: World) -> None:
    for name in ("calls_max", "calls_at_once_max", "calls_per_s_max", "sent_bytes_max", "call_s_max", "life_s_max"):
        assert (await world.ask(**{name: 0})).error is not None, name
    assert world.heard == []


async def test_whoever_asks_may_wait_for_less(world: World) -> None:
    world.serve = silent
    with pytest.raises(DeadlineExceeded):
        await read_all(world.open(), OutboundRequest("GET", URL, timeout_s=0.05))


async def test_the_time_of_whoever_asks_is_their_own(world: World) -> None:
    """An error of theirs comes out as it went in."""
    with pytest.raises(TimeoutError):
        async with world.open().fetch(OutboundRequest("GET", URL)), asyncio.timeout(0.01):
            await asyncio.sleep(1)
    with pytest.raises(ConnectionResetError):
        async with world.open().fetch(OutboundRequest("GET", URL)):
            raise ConnectionResetError
    assert [record.outcome for record in world.audit] == ["left", "left"]


# -- connections ------------------------------------------------------------------------------------------------------


async def test_a_grant_speaks_on_its_own_connection_again(world: World) -> None:
    opened = world.open()
    for _ in range(3):
        assert (await world.ask(opened=opened)).status == 200
    assert [heard.connection for heard in world.heard] == [1, 1, 1]


@pytest.mark.parametrize("other", ["the same grant", "other credentials", "no credentials", "another holder"])
async def test_no_two_grants_share_a_connection(world: World, other: str) -> None:
    """Also not one after the other. Seen to fail when open grants share a pool (mutant egress-pool)."""
    first = world.open(credentials=(BEARER,))
    second = world.open(credentials=() if other == "no credentials" else (BEARER,))
    for opened in (first, second, first, second):
        assert (await world.ask(opened=opened)).status == 200
    assert [heard.connection for heard in world.heard] == [1, 2, 1, 2]
    assert world.heard[1].get("authorization") == ([] if other == "no credentials" else [f"Bearer {SECRET}"])


async def test_an_answer_for_one_never_comes_to_another(world: World) -> None:
    """A server that answers twice poisons its own connection only."""
    world.serve = answering(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
    first, second = world.open(), world.open()
    assert (await world.ask(opened=first)).body == b"ok"
    world.serve = echoing(lambda heard: b"mine")
    assert (await world.ask(opened=second)).body == b"mine"


# -- the audit --------------------------------------------------------------------------------------------------------


async def test_the_audit_says_who_what_when_and_how_much(world: World) -> None:
    opened = world.open(credentials=(BEARER,))
    await world.ask(
        URL + "items?q=private", opened=opened, method="POST", body=b"private", headers=[("x-a", "private")]
    )
    (record,) = world.audit
    assert (record.holder, record.grant, record.grant_id) == ("box", "test", opened.id)
    assert (record.method, record.host, record.port, record.path) == ("POST", "api.example.com", 443, "/items")
    assert (record.outcome, record.rule, record.status) == ("ok", "", 200)
    assert record.at_ms > 1_700_000_000_000
    assert 0.0 < record.took_ms < 5_000.0
    assert 7 < record.sent_bytes < 400
    assert 2 < record.received_bytes < 100
    assert "private" not in repr(record)
    use = opened.use()
    assert (use.calls, use.at_once) == (1, 0)
    assert (use.sent_bytes, use.received_bytes) == (record.sent_bytes, record.received_bytes)
    (listed,) = world.egress.uses()
    assert listed._replace(left_s=use.left_s) == use
    assert world.egress.find(opened.id) is opened


async def test_every_decision_is_in_the_audit(world: World) -> None:
    """Seen to fail when refusals are not told (mutant egress-audit)."""
    opened = world.open(calls_max=4)
    for url in (URL, "https://evil.net/a", "no url", "https://gone.example.org/", URL):
        await world.ask(url, opened=opened)
    told = [(record.outcome, record.rule, record.host, record.path) for record in world.audit]
    assert told == [
        ("ok", "", "api.example.com", "/"),
        ("refused", "host", "evil.net", "/a"),
        ("refused", "url", "", ""),
        ("failed", "lookup", "gone.example.org", "/"),
        ("refused", "calls_max", "", ""),
    ]


async def test_what_the_audit_keeps_is_bounded(world: World) -> None:
    await world.ask("https://api.example.com/" + "a" * 5_000)
    await world.ask(method="A" * 5_000)
    assert len(world.audit[0].path) == limits.grant_audit_path_chars_max
    assert len(world.audit[1].method) <= 64
    await world.ask(method="GET\r\n2026-12-01 root allowed")
    assert world.audit[2].method == "", "nothing that could pass for another line of a log"


async def test_a_node_that_stops_ends_its_grants(world: World) -> None:
    world.serve = drip
    work = asyncio.ensure_future(read_all(world.open(), OutboundRequest("GET", URL)))
    await world.changed.wait()
    closing: list[asyncio.Future[None]] = []
    assert await ended_in(work, lambda: closing.append(asyncio.ensure_future(world.egress.close()))) < CUT_S_MAX
    await closing[0]


# -- what can be granted ----------------------------------------------------------------------------------------------

NO_GRANTS = {
    "a host with a scheme": {"hosts": ["https://api.example.com"]},
    "a host with a port": {"hosts": ["api.example.com:443"]},
    "every host": {"hosts": ["*"]},
    "a star in the middle": {"hosts": ["api.*.com"]},
    "every host of a domain of all": {"hosts": ["*.com"]},
    "capital letters": {"hosts": ["API.example.com"]},
    "a dot at the end": {"hosts": ["api.example.com."]},
    "letters of other scripts": {"hosts": ["\u0430pi.example.com"]},
    "this machine": {"hosts": ["localhost"]},
    "a name of a network": {"hosts": ["metadata.google.internal"]},
    "a printer": {"hosts": ["printer.local"]},
    "a name without a dot": {"hosts": ["metadata"]},
    "a metadata service": {"hosts": ["169.254.169.254"]},
    "metadata of Azure": {"hosts": ["168.63.129.16"]},
    "the unspecified address": {"hosts": ["0.0.0.0"]},
    "multicast": {"hosts": ["224.0.0.1"]},
    "link-local": {"hosts": ["[fe80::1]"]},
    "a mapped metadata service": {"hosts": ["[::ffff:169.254.169.254]"]},
    "a short address": {"hosts": ["127.1"]},
    "a star before an address": {"hosts": ["*.127.0.0.1"]},
    "CONNECT": {"methods": ["CONNECT"]},
    "TRACE": {"methods": ["TRACE"]},
    "a small method": {"methods": ["get"]},
    "any method": {"methods": ["*"]},
    "a path without a slash": {"paths": ["v1"]},
    "a path with dots": {"paths": ["/v1/../**"]},
    "a star in a part": {"paths": ["/v1/a*"]},
    "stars in the middle": {"paths": ["/**/a"]},
    "a query in a path": {"paths": ["/a?b"]},
    "another scheme": {"schemes": ["ftp"]},
    "port 0": {"ports": [0]},
    "too many hosts": {"hosts": [f"a{n}.example.com" for n in range(101)]},
    "a limit below nothing": {"limits": {"calls_max": -1}},
    "a limit that is no number": {"limits": {"call_s_max": float("nan")}},
    "no end": {"limits": {"life_s_max": float("inf")}},
    "an unknown limit": {"limits": {"cals_max": 1}},
    "an unknown field": {"path": ["/**"]},
    "a credential over http": {"schemes": ["http"], "credentials": [{"name": "authorization", "secret": "T"}]},
    "a credential as Host": {"credentials": [{"name": "Host", "secret": "T"}]},
    "a credential as length": {"credentials": [{"name": "content-length", "secret": "T"}]},
    "a credential with a line break": {"credentials": [{"name": "a\r\nb", "secret": "T"}]},
    "a form with a line break": {"credentials": [{"name": "a", "secret": "T", "form": "{secret}\r\nb: c"}]},
    "a form without a secret": {"credentials": [{"name": "a", "secret": "T", "form": "Bearer"}]},
    "two credentials in one place": {"credentials": [{"name": "a", "secret": "T"}, {"name": "A", "secret": "U"}]},
}
PLAIN = {"name": "test", "hosts": ["api.example.com"], "methods": ["GET"], "paths": ["/**"]}


@pytest.mark.parametrize("changes", NO_GRANTS.values(), ids=NO_GRANTS)
def test_what_cannot_be_granted(changes: dict[str, object]) -> None:
    assert read_grant(PLAIN).schemes == ("https",)
    with pytest.raises(BadRequest, match="cannot be granted"):
        read_grant(PLAIN | changes)


@pytest.mark.parametrize("absent", ["hosts", "methods", "paths"])
async def test_what_is_absent_is_not_granted(world: World, absent: str) -> None:
    with pytest.raises(BadRequest, match=absent):
        read_grant({name: value for name, value in PLAIN.items() if name != absent})
    assert (await world.ask(**{absent: ()})).code == "forbidden"


# -- the network of the machine ---------------------------------------------------------------------------------------


async def test_the_network_of_the_machine(tmp_path: Path) -> None:
    """The real one, and a server that must not be reached: by its name, nor by one that stands for it."""
    reached: list[object] = []
    server = await asyncio.start_server(lambda reader, writer: reached.append(writer.close()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    records: list[AuditRecord] = []
    egress = Egress(records.append)
    hosts = ("localtest.example.com", "*.example.org")
    grant = OutboundGrant(name="t", hosts=hosts, methods=("GET",), paths=("/**",), ports=(port,), schemes=("http",))
    named = [f"{host}:{port}" for host in hosts]
    opened = egress.open(grant, holder="box", fetch_hosts=named, secrets={})
    for url in (
        "http://localhost",
        "http://127.0.0.1",
        "http://127.1",
        "http://0.0.0.0",
        "http://localtest.example.com",
    ):
        with pytest.raises(Exception, match=r".") as refused:
            await read_all(opened, OutboundRequest("GET", f"{url}:{port}/"))
        assert isinstance(refused.value, Forbidden) or "looked up" in str(refused.value) or url == "http://127.1"
    await egress.close()
    server.close()
    assert reached == []


async def test_an_own_address_is_known() -> None:
    system = System()
    assert system.is_own("127.0.0.1")
    assert not system.is_own(PUBLIC)
    assert system.trust.verify_mode.name == "CERT_REQUIRED"
    assert system.trust.check_hostname
    assert system.trust.keylog_filename is None
    system.close()


async def _hold(opened: OpenGrant, request: OutboundRequest, began: asyncio.Event) -> None:
    async with opened.fetch(request):
        began.set()
        await asyncio.sleep(60)


async def _of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
