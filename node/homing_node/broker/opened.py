"""What all open grants have in common, whatever they grant: a name, a count, and an end that breaks off what runs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from homing_node.broker.meter import Meter
from homing_node.broker.outcomes import CLOSED, REVOKED
from homing_node.broker.policy import OutboundLimits
from homing_node.broker.room import Room
from homing_node.broker.urls import Refusal

_OVER = {REVOKED: "the grant was revoked", "life_s_max": "the grant has expired", CLOSED: "the grant is over"}


class GrantUse(NamedTuple):
    """An open grant, for lists. It names no secret.

    Attributes:
        id: of the open grant.
        name: what whoever holds it calls it.
        kind: what it grants: `http`, `stub`, `sql` or `kv`.
        holder: whose it is.
        calls, at_once: calls that have begun, and those that are under way.
        sent_bytes, received_bytes: of all of them.
        left_s: until it expires.
    """

    id: str
    name: str
    kind: str
    holder: str
    calls: int
    at_once: int
    sent_bytes: int
    received_bytes: int
    left_s: float


class Opened:
    """A grant in somebody's hands.

    Args:
        name: of the grant.
        kind: what it grants.
        holder: who may use it.
        limits: how much.
        room: of the node.
        tenant: whose call it is there.
        on_end: told when it is over.

    Attributes:
        id: names it on this node.
    """

    def __init__(
        self, name: str, kind: str, holder: str, limits: OutboundLimits, room: Room, tenant: str,
        on_end: Callable[[Any], None],
    ) -> None:  # fmt: skip
        self.id = secrets.token_hex(8)
        self.name, self.kind, self.holder = name, kind, holder
        self._room, self._tenant, self._on_end = room, tenant, on_end
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._meter = Meter(limits, self._loop.time())
        self._under_way: set[asyncio.Timeout] = set()
        self._expiry = self._loop.call_at(self._meter.ends_s, self._end, "life_s_max")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}, {self.name!r}, {self.holder!r})"

    def use(self) -> GrantUse:
        """What it has been used for."""
        m = self._meter
        left_s = max(0.0, m.ends_s - self._loop.time())
        return GrantUse(
            self.id, self.name, self.kind, self.holder, m.calls, m.at_once, m.sent_bytes, m.received_bytes, left_s
        )

    def revoke(self) -> None:
        """End it. What is under way breaks off now: whoever waits for it gets `GrantEnded`."""
        self._end(REVOKED)

    def close(self) -> None:
        """End it because nobody is there any more who could use it."""
        self._end(CLOSED)

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Count a call, whatever becomes of it.

        Raises:
            Refusal: there is no room for another.
        """
        self._meter.begin(self._loop.time())
        try:
            yield
        finally:
            self._meter.end()
            if not self._meter.at_once and not self._meter.ended:
                self._rests()

    @asynccontextmanager
    async def _in_time(self, timeout_s: float | None) -> AsyncGenerator[None]:
        """Wait for a place on this node, and break off what runs inside when its time is up; `_end` does so earlier.

        Raises:
            Refusal: it was; or too much of the tenant's waits already.
        """
        most_s = self._limits.call_s_max
        if timeout_s is not None:
            most_s = max(0.0, min(most_s, timeout_s))
        scope = asyncio.timeout(most_s)
        self._under_way.add(scope)
        try:
            async with scope, self._room.place(self._tenant):
                yield
        except TimeoutError:
            if not scope.expired():  # it is of whoever asked
                raise
            rule = self._meter.ended or "call_s_max"
            raise Refusal(rule, _OVER.get(rule, "the answer did not come in time")) from None
        finally:
            self._under_way.discard(scope)

    def _end(self, why: str) -> None:
        if self._meter.ended:
            return
        self._meter.ended = why
        self._expiry.cancel()
        for scope in self._under_way:
            if not scope.expired():
                scope.reschedule(self._loop.time())
        self._on_end(self)

    def _rests(self) -> None:
        """Nothing is under way any more, for now."""
