"""Carries out requests that object code makes to hosts outside the cluster.

The name of a host is looked up here, its addresses are checked, and the connection goes to the one that was checked.
Each redirect is a request of its own, checked like the first.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import urljoin

import httpcore

from homing.errors import ApplicationError, BadRequest, DeadlineExceeded, HomingError, Unavailable
from homing_node import limits
from homing_node.broker.addresses import look_up
from homing_node.broker.hosts import Destination, destination
from homing_node.broker.running import Running
from homing_placement.routing.limits import RESPONSE_BYTES_MAX
from homing_placement.routing.pending import Pending

FOLLOW, MANUAL, ERROR = "follow", "manual", "error"
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_AS_GET = frozenset((301, 302, 303))
_OF_ORIGIN = frozenset(("authorization", "cookie", "proxy-authorization"))
_OF_CONNECTION = frozenset(("host", "content-length", "connection", "transfer-encoding", "keep-alive", "te", "upgrade"))
_OF_BODY = frozenset(("content-type", "content-encoding", "content-language", "content-location"))

Headers = list[tuple[str, str]]


class Outbound:
    """The requests of a node's objects to the outside."""

    def __init__(self) -> None:
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._by_address: httpcore.AsyncConnectionPool | None = None
        self._running = Running()

    def submit(self, pending: Pending, hosts: Sequence[str]) -> None:
        """Take a request; its `on_done` is called once.

        Args:
            pending: method, URL, headers and body; its `name` says what becomes of redirects.
            hosts: to which the application may send requests.
        """
        self._running.start(self._run(pending, hosts))

    async def close(self) -> None:
        """End what runs, and every connection."""
        await self._running.end()
        for pool in (self._pool, self._by_address):
            if pool is not None:
                await pool.aclose()

    async def _run(self, pending: Pending, hosts: Sequence[str]) -> None:
        left_s = min(limits.outbound_s_max, pending.deadline_s - time.monotonic())
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self._follow(pending, hosts)
        except HomingError as error:
            pending.error = error
        except TimeoutError:
            pending.error = DeadlineExceeded(f"{pending.url[:200]} did not answer in time")
        except ValueError as error:  # of a header or a method that cannot be sent
            pending.error = BadRequest(f"the request cannot be sent: {error}")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            pending.error = Unavailable(f"{pending.url[:200]} cannot be reached: {error}")
        pending.on_done(pending)

    async def _follow(self, pending: Pending, hosts: Sequence[str]) -> None:
        method, body, redirect = pending.method, pending.body, pending.name or FOLLOW
        headers = [(name, value) for name, value in pending.headers if name.lower() not in _OF_CONNECTION]
        target = destination(pending.url, hosts)
        for _ in range(limits.outbound_redirects_max + 1):
            status, answered, answer = await self._ask(target, method, headers, body)
            location = next((value for name, value in answered if name.lower() == "location"), None)
            if status not in _REDIRECTS or location is None or redirect == MANUAL:
                pending.status, pending.answer_headers, pending.answer = status, answered, answer
                return
            if redirect == ERROR:
                raise BadRequest(f"{target.url[:200]} redirects, which the request does not allow")
            before, target = target, destination(urljoin(target.url, location), hosts)
            if (status in _AS_GET and method not in ("GET", "HEAD")) or status == 303:
                method, body = ("HEAD" if method == "HEAD" else "GET"), b""
                headers = _without(headers, _OF_BODY)
            if (before.host, before.port) != (target.host, target.port):
                headers = _without(headers, _OF_ORIGIN)
        raise BadRequest(f"{pending.url[:200]} redirects more than {limits.outbound_redirects_max} times")

    async def _ask(self, to: Destination, method: str, headers: Headers, body: bytes) -> tuple[int, Headers, bytes]:
        given = {name.lower() for name, _ in headers}
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if "accept-encoding" not in given:
            sent.append((b"accept-encoding", b"identity"))  # what comes is passed on as it is
        parts: list[bytes] = []
        size = 0
        async with self._pool_for(to).stream(method, to.url, headers=sent, content=body or None) as response:
            async for part in response.aiter_stream():
                size += len(part)
                if size > RESPONSE_BYTES_MAX:
                    raise ApplicationError(
                        f"{to.host} answered with more than {RESPONSE_BYTES_MAX} bytes", error_type="TooLarge"
                    )
                parts.append(part)
            answered = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
            return response.status, answered, b"".join(parts)

    def _pool_for(self, to: Destination) -> httpcore.AsyncConnectionPool:
        if to.by_address:
            self._by_address = self._by_address or _pool(_connector())
            return self._by_address
        self._pool = self._pool or _pool(_Checked())
        return self._pool


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses of the open internet only."""

    def __init__(self) -> None:
        self._inner = _connector()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the host up, check what it stands for, and connect to that."""
        address = await look_up(host, port)
        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _connector() -> httpcore.AsyncNetworkBackend:
    return cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())  # its type is of where anyio is missing


def _pool(backend: httpcore.AsyncNetworkBackend) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(),
        max_connections=limits.outbound_connections_max,
        max_keepalive_connections=limits.outbound_connections_kept_max,
        keepalive_expiry=limits.outbound_kept_s,
        network_backend=backend,
    )


def _without(headers: Headers, names: frozenset[str]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in names]
