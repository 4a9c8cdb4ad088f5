"""A grant that is open: its connections, its count, and what is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpcore

from homing_node import limits
from homing_node.broker import fields
from homing_node.broker.audit import HTTP, AuditRecord
from homing_node.broker.credentials import Credentials
from homing_node.broker.exchange import Exchange, OutboundAnswer, OutboundRequest, mapped
from homing_node.broker.judged import Judged
from homing_node.broker.network import Network
from homing_node.broker.opened import Opened
from homing_node.broker.policy import OutboundGrant, permit
from homing_node.broker.reflection import Mirror
from homing_node.broker.room import Room
from homing_node.broker.urls import Refusal, Target, read_url

_METHOD_CHARS_MAX = 32


class OpenGrant(Opened):
    """A grant of requests to the outside in somebody's hands. Made by `Egress.open`.

    Args:
        grant: what may be asked for.
        holder: who may.
        credentials: what is added.
        network: what requests go through.
        room, tenant: see `Opened`.
        audit: told of every request.
        on_end: told when it is over.
        on_rest: told when it has not been used for a while. After either its connections are to be closed.
    """

    def __init__(
        self,
        grant: OutboundGrant,
        holder: str,
        credentials: Credentials,
        *,
        network: Network,
        room: Room,
        tenant: str,
        audit: Callable[[AuditRecord], None],
        on_end: Callable[[OpenGrant], None],
        on_rest: Callable[[OpenGrant], None],
    ) -> None:
        super().__init__(grant.name, HTTP, holder, grant.limits, room, tenant, on_end)
        self._grant, self._credentials = grant, credentials
        self._audit, self._on_rest = audit, on_rest
        self._rest: asyncio.TimerHandle | None = None
        self._pool = httpcore.AsyncConnectionPool(  # of this grant alone: no other ever speaks on its connections
            ssl_context=network.trust,
            max_connections=max(1, grant.limits.calls_at_once_max),
            max_keepalive_connections=limits.grant_connections_kept_max,
            keepalive_expiry=limits.grant_kept_s,
            network_backend=Judged(network, grant.literals),
        )

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
        began_s = time.perf_counter()  # the clock of uvloop has whole milliseconds
        record = AuditRecord(
            at_ms=time.time_ns() // 1_000_000, holder=self.holder, grant_id=self.id, grant=self.name, kind=self.kind,
            method=request.method[:_METHOD_CHARS_MAX] if request.method.isprintable() else "",
        )  # fmt: skip
        exchange = Exchange(request, self._meter, record)
        try:
            with self._counted():
                target = self._permitted(request, record)
                async with self._in_time(request.timeout_s), AsyncExitStack() as stack:
                    yield await self._sent(exchange, target, stack)
        except Refusal as refusal:
            raise exchange.refused(refusal) from None
        finally:
            exchange.conclude()
            record.took_ms = (time.perf_counter() - began_s) * 1_000
            self._audit(record)

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
        if self._rest is not None:
            self._rest.cancel()
        super()._end(why)

    def _rests(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = self._loop.call_later(limits.grant_kept_s, self._on_rest, self)
