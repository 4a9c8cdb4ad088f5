"""Carries out requests that object code makes to hosts outside the cluster.

The name of a host is looked up here, its addresses are checked, and the connection goes to the one that was checked.
Each redirect is a request of its own, checked like the first. A request's body is sent as it comes, and a long answer
passed on as it comes (docs/bodies.md).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import cast
from urllib.parse import urljoin

import httpcore

from homing.errors import BadRequest, DeadlineExceeded, HomingError, Overloaded, Unavailable
from homing.flow import piece_bytes_max
from homing_node import limits
from homing_node.broker.addresses import look_up
from homing_node.broker.backend import Backend
from homing_node.broker.bodies import OutsideBodies
from homing_node.broker.hosts import Destination, destination
from homing_node.broker.running import Running
from homing_placement.routing.pending import Pending

FOLLOW, MANUAL, ERROR = "follow", "manual", "error"
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_AS_GET = frozenset((301, 302, 303))
_OF_ORIGIN = frozenset(("authorization", "cookie", "proxy-authorization"))
_OF_CONNECTION = frozenset(("host", "content-length", "connection", "transfer-encoding", "keep-alive", "te", "upgrade"))
_OF_BODY = frozenset(("content-type", "content-encoding", "content-language", "content-location", "content-length"))
_BODILESS = frozenset((204, 304))
_LENGTH_DIGITS_MAX = 15

Headers = list[tuple[str, str]]


class Outbound:
    """The requests of a node's objects to the outside."""

    def __init__(self) -> None:
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._by_address: httpcore.AsyncConnectionPool | None = None
        self._running = Running()
        self._flowing = 0  # answers that flow

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
        left_s = max(0.0, min(limits.outbound_s_max, pending.deadline_s - time.monotonic()))
        task = asyncio.current_task()
        assert task is not None, "a coroutine that runs has one"
        bodies = OutsideBodies(pending, task.cancel)
        whole = False
        try:
            async with asyncio.timeout(left_s) as deadline:
                asked = _Asked(pending, hosts, bodies, lambda: deadline.reschedule(_after(left_s)))
                await self._follow(asked, bodies, deadline)
                whole = True
        except HomingError as error:
            pending.error = error
        except TimeoutError:
            pending.error = DeadlineExceeded(f"{pending.url[:200]} did not answer in time")
        except ValueError as error:  # of a header or a method that cannot be sent
            pending.error = BadRequest(f"the request cannot be sent: {error}")
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            pending.error = Unavailable(f"{pending.url[:200]} cannot be reached: {error}")
        finally:
            if bodies.answered:
                bodies.end(whole=whole)
        if not bodies.answered:
            pending.on_done(pending)

    async def _follow(self, asked: _Asked, bodies: OutsideBodies, deadline: asyncio.Timeout) -> None:
        """Send the request, and again to where it is redirected, until there is an answer to pass on."""
        for _ in range(limits.outbound_redirects_max + 1):
            async with self._ask(asked) as response:
                answered = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
                location = next((value for name, value in answered if name.lower() == "location"), None)
                if response.status not in _REDIRECTS or location is None or asked.redirect == MANUAL:
                    asked.pending.status, asked.pending.answer_headers = response.status, answered
                    await self._pass_on(asked, response, bodies, deadline)
                    return
            asked.redirected(response.status, location)
        raise BadRequest(f"{asked.pending.url[:200]} redirects more than {limits.outbound_redirects_max} times")

    def _ask(self, asked: _Asked) -> AbstractAsyncContextManager[httpcore.Response]:
        given = {name.lower() for name, _ in asked.headers}
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in asked.headers]
        if "accept-encoding" not in given:
            sent.append((b"accept-encoding", b"identity"))  # what comes is passed on as it is
        to = asked.target
        return self._pool_for(to).stream(asked.method, to.url, headers=sent, content=asked.body or None)

    async def _pass_on(
        self, asked: _Asked, response: httpcore.Response, bodies: OutsideBodies, deadline: asyncio.Timeout
    ) -> None:
        """Pass the answer's body on: a short one as a whole, another as it comes, for which it has all the time."""
        if _is_short(asked, response):
            asked.pending.answer = await response.aread()
            return
        if self._flowing >= limits.outbound_flowing_max:
            raise Overloaded("too many answers of the outside flow through this node")
        self._flowing += 1
        try:
            deadline.reschedule(None)
            bodies.answer()
            async for part in response.aiter_stream():
                await bodies.put(part)
        finally:
            self._flowing -= 1

    def _pool_for(self, to: Destination) -> httpcore.AsyncConnectionPool:
        if to.by_address:
            self._by_address = self._by_address or _pool(_connector())
            return self._by_address
        self._pool = self._pool or _pool(_Checked())
        return self._pool


class _Asked:
    """What is asked, as redirects change it.

    Args:
        pending: the request, as object code made it.
        hosts: to which the application may send requests.
        bodies: its body, if that flows.
        on_progress: told of each piece of that.
    """

    def __init__(
        self, pending: Pending, hosts: Sequence[str], bodies: OutsideBodies, on_progress: Callable[[], object]
    ) -> None:  # fmt: skip
        self.pending, self._hosts = pending, hosts
        self.method, self.redirect = pending.method, pending.name or FOLLOW
        self.headers = [(name, value) for name, value in pending.headers if name.lower() not in _OF_CONNECTION]
        self.body: bytes | AsyncIterator[bytes] = pending.body
        if pending.uploads:
            said = next((value for name, value in pending.headers if name.lower() == "content-length"), "")
            length = int(said) if said.isdecimal() and len(said) <= _LENGTH_DIGITS_MAX else None
            if length is not None:
                self.headers.append(("content-length", said))  # without one it goes in chunks
            self.body = bodies.request(length, on_progress)
        self.target = destination(pending.url, hosts)

    def redirected(self, status: int, location: str) -> None:
        """Ask elsewhere.

        Raises:
            BadRequest: the request does not allow it, or its body has gone already; or it leads to no URL.
            Forbidden: the application may not send requests there.
        """
        url = self.target.url[:200]
        if self.redirect == ERROR:
            raise BadRequest(f"{url} redirects, which the request does not allow")
        before, self.target = self.target, destination(urljoin(self.target.url, location), self._hosts)
        if (status in _AS_GET and self.method not in ("GET", "HEAD")) or status == 303:
            self.method, self.body = ("HEAD" if self.method == "HEAD" else "GET"), b""
            self.headers = _without(self.headers, _OF_BODY)
        elif not isinstance(self.body, bytes):
            raise BadRequest(f"{url} redirects with status {status}: a body that flows cannot be sent again")
        if (before.host, before.port) != (self.target.host, self.target.port):
            self.headers = _without(self.headers, _OF_ORIGIN)


def _is_short(asked: _Asked, response: httpcore.Response) -> bool:
    """Whether an answer is passed on as a whole: it has no body, or says that this is not long."""
    if asked.method == "HEAD" or response.status in _BODILESS:
        return True
    said = next((value for name, value in response.headers if name.lower() == b"content-length"), b"")
    return said.isdigit() and len(said) <= _LENGTH_DIGITS_MAX and int(said) <= piece_bytes_max


def _after(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


class _Checked(Backend):
    """Connects to addresses of the open internet only."""

    def __init__(self) -> None:
        self._inner = _connector()

    async def connect(self, host: str, port: int, timeout_s: float | None) -> httpcore.AsyncNetworkStream:
        """Look the host up, check what it stands for, and connect to that."""
        address = await look_up(host, port)
        return await self._inner.connect_tcp(address, port, timeout_s)


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
