"""Room for calls under grants: a node has so much, each tenant a share of it and a bounded line before its share.

Lines are served in turn, so that a tenant who asks for much waits for itself alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from homing_node import limits
from homing_node.broker.urls import Refusal


@dataclass(slots=True)
class _Tenant:
    """Attributes: calls that are under way; line, who waits for that, in order."""

    calls: int = 0
    line: deque[asyncio.Future[None]] = field(default_factory=deque[asyncio.Future[None]])


class Room:
    """The calls of all grants of a node.

    Args:
        calls_max: that are under way at the same time.
        share_max: of these, of one tenant.
        waiting_max: calls of one tenant that wait for either. By default each is what `homing_node.limits` has.

    Attributes:
        calls: that are under way. Invariant: the sum over all tenants, not more than `calls_max`.

    Example:
        async with room.place("ada"):
            await call()
    """

    def __init__(
        self, calls_max: int | None = None, share_max: int | None = None, waiting_max: int | None = None
    ) -> None:
        self._calls_max = limits.grant_calls_at_once_max if calls_max is None else calls_max
        self._share_max = limits.grant_calls_share_max if share_max is None else share_max
        self._waiting_max = limits.grant_calls_waiting_max if waiting_max is None else waiting_max
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()  # those that have calls, or wait; whose turn is first
        self.calls = 0

    @asynccontextmanager
    async def place(self, name: str) -> AsyncGenerator[None]:
        """Wait until a tenant may make a call, and count it for as long as the block lasts.

        Raises:
            Refusal: too many of this tenant's wait already.
        """
        tenant = self._tenants.setdefault(name, _Tenant())
        try:
            await self._enter(tenant)
            try:
                yield
            finally:
                tenant.calls -= 1
                self.calls -= 1
        finally:
            if not tenant.calls and not tenant.line:
                self._tenants.pop(name, None)
            self._serve()

    async def _enter(self, tenant: _Tenant) -> None:
        if not tenant.line and self._has_room(tenant):
            self._begin(tenant)
            return
        if len(tenant.line) >= self._waiting_max:
            raise Refusal("node", "too many calls under grants of this tenant wait on this node")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tenant.line.append(turn)
        try:
            await turn
        except BaseException:
            if turn in tenant.line:
                tenant.line.remove(turn)
            elif not turn.cancelled():  # it was let in meanwhile, and does not come
                tenant.calls -= 1
                self.calls -= 1
            raise

    def _has_room(self, tenant: _Tenant) -> bool:
        return tenant.calls < self._share_max and self.calls < self._calls_max

    def _begin(self, tenant: _Tenant) -> None:
        tenant.calls += 1
        self.calls += 1

    def _serve(self) -> None:
        """Let in who may begin now."""
        while True:
            found = next((name for name, t in self._tenants.items() if t.line and self._has_room(t)), None)
            if found is None:
                return
            tenant = self._tenants[found]
            turn = tenant.line.popleft()
            if not turn.done():  # else whoever waited has given up, and is about to say so
                self._begin(tenant)
                turn.set_result(None)
                self._tenants.move_to_end(found)

    def check(self) -> None:
        """Assert the invariants."""
        assert self.calls == sum(tenant.calls for tenant in self._tenants.values()) <= self._calls_max
        for tenant in self._tenants.values():
            assert 0 <= tenant.calls <= self._share_max
            assert len(tenant.line) <= self._waiting_max
            assert tenant.calls or tenant.line
