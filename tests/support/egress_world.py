"""A world for the egress suite: real servers on loopback, a resolver under a test's control, a forbidden listener.

The broker's rules are the ones that serve. What a test replaces is the network
(`homing_node.broker.network.Network`): a name gets the answers that the test wrote down, and a connection to an
address goes to a server on loopback that plays whoever lives there. Whatever has no such server goes, really, to the
forbidden listener, which counts.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpcore

from homing.errors import HomingError
from homing_node.broker.audit import AuditRecord
from homing_node.broker.egress import Egress
from homing_node.broker.exchange import OutboundRequest
from homing_node.broker.open_grant import OpenGrant
from homing_node.broker.policy import Credential, OutboundGrant, OutboundLimits
from tls_files import Authority

SECRET = "sk-live/9f+Q2x7Kd=81mZp0TqLw"
PUBLIC, SECOND = "93.184.215.14", "93.184.215.15"
HOSTS = ("api.example.com", "*.example.org")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BEARER = Credential(name="authorization", secret="TOKEN", form="Bearer {secret}")


@dataclass
class Heard:
    """A request as a server heard it."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes
    connection: int
    sni: str | None

    def get(self, name: str) -> list[str]:
        return [value for own, value in self.fields if own == name]


Serve = Callable[[Heard, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Got:
    """What the jail's side got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    error: HomingError | None = None

    @property
    def code(self) -> str:
        return self.error.code if self.error is not None else ""

    def everything(self) -> bytes:
        said = repr((self.status, self.headers, self.error, str(self.error or "")))
        return said.encode() + b"\n" + self.body


async def serve_ok(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def answering(data: bytes) -> Serve:
    """Answers with these bytes, and closes."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return serve


def echoing(make: Callable[[Heard], bytes], head: bytes = b"") -> Serve:
    """Answers with what is made of the request."""

    async def serve(heard: Heard, writer: asyncio.StreamWriter) -> None:
        body = make(heard)
        writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))

    return serve


class Loopback:
    """The network of a test; see `homing_node.broker.network.Network`."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._trust = trust
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        self.answers: dict[str, list[list[str]]] = {}  # by name; the last is given again and again
        self.routes: dict[tuple[str, int], int] = {}
        self.lookups: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.own: set[str] = set()
        self.forbidden_port = 0
        self.slow: asyncio.Event | None = None

    @property
    def trust(self) -> ssl.SSLContext:
        return self._trust

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        if self.slow is not None:
            await self.slow.wait()
        answers = self.answers.get(host)
        if not answers:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def is_own(self, address: str) -> bool:
        return address in self.own

    async def connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        self.connected.append((address, port))
        return await self._inner.connect_tcp("127.0.0.1", self.routes.get((address, port), self.forbidden_port))

    def close(self) -> None:
        pass


class World:
    """All of it. `serve` may be replaced by what the servers are to do."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder)
        self._folder = folder
        self.network = Loopback(ssl.create_default_context(cafile=str(self._authority.path)))
        self.audit: list[AuditRecord] = []
        self.egress = Egress(self.audit.append, self.network)
        self.serve: Serve = serve_ok
        self.heard: list[Heard] = []
        self.connections = 0
        self.closed = 0
        self.forbidden = 0
        self.given: list[Got] = []
        self.changed = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[Any]] = set()
        self._sni: dict[int, str | None] = {}

    async def start(self) -> None:
        forbidden = await asyncio.start_server(self._reach, "127.0.0.1", 0)
        self.network.forbidden_port = forbidden.sockets[0].getsockname()[1]
        self._servers.append(forbidden)
        tls, plain = await self.listen(HOSTS), await self.listen(None)
        for address in (PUBLIC, SECOND):
            self.network.routes |= {(address, 443): tls, (address, 8443): tls, (address, 80): plain}
        self.network.answers["api.example.com"] = [[PUBLIC]]
        self.network.answers["a.example.org"] = [[PUBLIC]]

    async def listen(
        self, hosts: Sequence[str] | None, *, authority: Authority | None = None, expired: bool = False
    ) -> int:
        """A server, with TLS for some hosts or without; its port."""
        context = None
        if hosts is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            name = f"s{len(self._servers)}"
            context.load_cert_chain(*(authority or self._authority).issue(name, hosts, expired=expired))
            context.sni_callback = lambda sock, name, _: self._sni.__setitem__(id(sock), name)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context, limit=1 << 20)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    def other_authority(self) -> Authority:
        return Authority(self._folder / "other", "other")

    async def stop(self) -> None:
        await self.egress.close()
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def check(self) -> None:
        """What holds in every case: nothing forbidden was reached, and the secret has not come in."""
        assert self.forbidden == 0, "a forbidden address was reached"
        digits = [base64.b64encode(b"x" * n + SECRET.encode())[4:-4] for n in range(3)]
        forms = [SECRET.encode(), quote(SECRET, safe="").encode(), SECRET.encode().hex().encode(), *digits]
        for got in self.given:
            for form in forms:
                assert form.lower() not in got.everything().lower(), "the secret came in"
        for record in self.audit:
            assert SECRET not in repr(record)

    # -- servers --------------------------------------------------------------------------------------------------

    async def _reach(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.forbidden += 1
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        number = self.connections
        sni = self._sni.get(id(writer.get_extra_info("ssl_object")))
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            while not writer.is_closing():
                self.heard.append(await _heard(reader, number, sni))
                self.changed.set()
                await self.serve(self.heard[-1], writer)
        writer.transport.abort()
        self.closed += 1
        self._serving.discard(task)

    # -- the jail's side ------------------------------------------------------------------------------------------

    def grant(self, **changes: Any) -> OutboundGrant:
        bounds = {name: changes.pop(name) for name in list(changes) if name in OutboundLimits.__struct_fields__}
        plain: dict[str, Any] = {"name": "test", "hosts": HOSTS, "methods": ("GET", "POST", "HEAD"), "paths": ("/**",)}
        return OutboundGrant(**(plain | changes), limits=OutboundLimits(**bounds))

    def open(self, fetch_hosts: Sequence[str] = (), **changes: Any) -> OpenGrant:
        named = [*HOSTS, "api.example.com:8443", "api.example.com:80", *fetch_hosts]
        return self.egress.open(self.grant(**changes), holder="box", fetch_hosts=named, secrets={"TOKEN": SECRET})

    async def ask(
        self,
        url: str = "https://api.example.com/",
        *,
        opened: OpenGrant | None = None,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | AsyncIterable[bytes] = b"",
        length: int | None = None,
        **changes: Any,
    ) -> Got:
        """Ask for something under a grant, and note what came in."""
        got = Got()
        self.given.append(got)
        granted = opened or self.open(**changes)
        try:
            async with granted.fetch(OutboundRequest(method, url, headers, body, length)) as answer:
                got.status, got.headers = answer.status, dict(answer.headers)
                async for piece in answer:
                    got.body += piece
        except HomingError as error:
            got.error = error
        return got


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(10.0):
        while not holds():
            await asyncio.sleep(0.002)


async def _heard(reader: asyncio.StreamReader, connection: int, sni: str | None) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in rest)]
    heard = Heard(line, fields, b"", connection, sni)
    if "chunked" in heard.get("transfer-encoding"):
        while size := int(await reader.readline(), 16):
            heard.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    elif length := heard.get("content-length"):
        heard.body = await reader.readexactly(int(length[0]))
    return heard
