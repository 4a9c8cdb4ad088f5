"""A grant that is open: its connections, its count, and what is under way."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple

import httpcore

from homing_node import limits
from homing_node.broker import fields
from homing_node.broker.audit import AuditRecord
from homing_node.broker.credentials import Credentials
from homing_node.broker.exchange import Exchange, OutboundAnswer, OutboundRequest, mapped
from homing_node.broker.judged import Judged
from homing_node.broker.meter import Meter, Room
from homing_node.broker.network import Network
from homing_node.broker.outcomes import CLOSED, REVOKED
from homing_node.broker.policy import OutboundGrant, permit
from homing_node.broker.reflection import Mirror
from homing_node.broker.urls import Refusal, Target, read_url

_METHOD_CHARS_MAX = 32
_OVER = {REVOKED: "the grant was revoked", "life_s_max": "the grant has expired", CLOSED: "the grant is over"}


class GrantUse(NamedTuple):
    """An open grant, for lists.

    Attributes:
        id: of the open grant.
        holder: whose it is.
        grant: what it says; it names secrets, and has none.
        calls, at_once: requests that have begun, and those that are under way.
        sent_bytes, received_bytes: of all of them.
        left_s: until it expires.
    """

    id: str
    holder: str
    grant: OutboundGrant
    calls: int
    at_once: int
    sent_bytes: int
    received_bytes: int
    left_s: float


class OpenGrant:
    """One grant in somebody's hands. Made by `Egress.open`.

    Args:
        grant: what may be asked for.
        holder: who may.
        credentials: what is added.
        network: what requests go through.
        room: of the node.
        audit: told of every request.
        on_end: told when it is over.
        on_rest: told when it has not been used for a while. After either its connections are to be closed.

    Attributes:
        id: names it on this node.
    """

    def __init__(
        self,
        grant: OutboundGrant,
        holder: str,
        credentials: Credentials,
        *,
        network: Network,
        room: Room,
        audit: Callable[[AuditRecord], None],
        on_end: Callable[[OpenGrant], None],
        on_rest: Callable[[OpenGrant], None],
    ) -> None:
        self.id = secrets.token_hex(8)
        self._grant, self._holder, self._credentials = grant, holder, credentials
        self._room, self._audit, self._on_end, self._on_rest = room, audit, on_end, on_rest
        self._loop = asyncio.get_running_loop()
        self._meter = Meter(grant.limits, self._loop.time())
        self._under_way: set[asyncio.Timeout] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._expiry = self._loop.call_at(self._meter.ends_s, self._end, "life_s_max")
        self._pool = httpcore.AsyncConnectionPool(  # of this grant alone: no other ever speaks on its connections
            ssl_context=network.trust,
            max_connections=max(1, grant.limits.calls_at_once_max),
            max_keepalive_connections=limits.grant_connections_kept_max,
            keepalive_expiry=limits.grant_kept_s,
            network_backend=Judged(network, grant.literals),
        )

    def __repr__(self) -> str:
        return f"OpenGrant({self.id}, {self._grant.name!r}, {self._holder!r})"

    def use(self) -> GrantUse:
        """What it has been used for."""
        m = self._meter
        left_s = max(0.0, m.ends_s - self._loop.time())
        return GrantUse(
            self.id, self._holder, self._grant, m.calls, m.at_once, m.sent_bytes, m.received_bytes, left_s
        )  # fmt: skip

    def revoke(self) -> None:
        """End it. What is under way breaks off now: whoever waits for it gets `GrantEnded`."""
        self._end(REVOKED)

    def close(self) -> None:
        """End it because nobody is there any more who could use it."""
        self._end(CLOSED)

    async def close_connections(self) -> None:
        """Close its connections, unless something is under way again."""
        if self._meter.ended or not self._meter.at_once:
            await self._pool.aclose()

    @asynccontextmanager
    async def fetch(self, request: OutboundRequest) -> AsyncGenerator[OutboundAnswer]:
        """Send a request, if the grant has it, and give its answer, which lasts as long as the block.

        Whatever is awaited in the block breaks off when the time is up, or the grant ends.

        Raises:
            BadRequest: it cannot be understood, or could be in two ways.
            Forbidden: it is not granted.
            GrantEnded: the grant was revoked, has expired, or is used up; also on the way.
            Overloaded: too many at once, or in a second.
            TooLarge: the body is too long.
            AnswerRefused: the answer may not be passed on.
            DeadlineExceeded: it took too long.
            Unavailable: the host cannot be reached, is not who it should be, or breaks off.

        Example:
            async with opened.fetch(OutboundRequest("GET", "https://api.example.com/items")) as answer:
                body = await answer.whole()
        """
        began_s = self._loop.time()
        record = AuditRecord(
            at_ms=time.time_ns() // 1_000_000, holder=self._holder, grant_id=self.id, grant=self._grant.name,
            method=request.method[:_METHOD_CHARS_MAX] if request.method.isprintable() else "",
        )  # fmt: skip
        exchange = Exchange(request, self._meter, record)
        try:
            with self._counted(began_s):
                target = self._permitted(request, record)
                async with self._in_time(request), AsyncExitStack() as stack:
                    yield await self._sent(exchange, target, stack)
        except Refusal as refusal:
            raise exchange.refused(refusal) from None
        finally:
            exchange.conclude()
            record.took_ms = (self._loop.time() - began_s) * 1_000
            self._audit(record)

    @contextmanager
    def _counted(self, now_s: float) -> Generator[None]:
        """Count a request, whatever becomes of it.

        Raises:
            Refusal: there is no room for another.
        """
        self._meter.begin(now_s)
        try:
            self._room.begin()
            try:
                yield
            finally:
                self._room.end()
        finally:
            self._meter.end()
            if not self._meter.at_once and not self._meter.ended:
                self._rest_later()

    def _permitted(self, request: OutboundRequest, record: AuditRecord) -> Target:
        """Where a request goes.

        Raises:
            Refusal: it is not granted.
        """
        target = read_url(request.url)
        record.host, record.port = target.host, target.port
        record.path = target.path[: limits.grant_audit_path_chars_max]
        permit(self._grant, request.method, target)
        return target

    @asynccontextmanager
    async def _in_time(self, request: OutboundRequest) -> AsyncGenerator[None]:
        """Break off what runs inside when its time is up; `_end` does so earlier.

        Raises:
            Refusal: it was.
        """
        most_s = self._grant.limits.call_s_max
        if request.timeout_s is not None:
            most_s = max(0.0, min(most_s, request.timeout_s))
        scope = asyncio.timeout(most_s)
        self._under_way.add(scope)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():  # it is of whoever asked
                raise
            rule = self._meter.ended or "call_s_max"
            raise Refusal(rule, _OVER.get(rule, "the answer did not come in time")) from None
        finally:
            self._under_way.discard(scope)

    async def _sent(self, exchange: Exchange, target: Target, stack: AsyncExitStack) -> OutboundAnswer:
        """Send a request, and wait for the head of its answer.

        Raises:
            Refusal: it may not be sent, or cannot be; or the answer may not be passed on.
        """
        request = exchange.request
        head = fields.outgoing(target, request.headers, self._credentials)
        resource = fields.with_credentials(target, self._credentials)
        of_body, body = exchange.body()
        head += of_body
        exchange.sends(len(request.method) + len(resource) + sum(len(name) + len(value) + 4 for name, value in head))
        answering = self._pool.stream(
            request.method,
            httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=resource),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in head],
            content=body,
        )
        exchange.begun = True
        response = await mapped(stack.enter_async_context(answering))
        answer = OutboundAnswer(exchange, response, Mirror(self._credentials.traces()))
        stack.push_async_callback(answer.aclose)
        return answer

    def _end(self, why: str) -> None:
        if self._meter.ended:
            return
        self._meter.ended = why
        self._expiry.cancel()
        if self._rest is not None:
            self._rest.cancel()
        for scope in self._under_way:
            if not scope.expired():
                scope.reschedule(self._loop.time())
        self._on_end(self)

    def _rest_later(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = self._loop.call_later(limits.grant_kept_s, self._on_rest, self)
