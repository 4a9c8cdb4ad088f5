"""Which runs may begin: quotas of each tenant, and bounded queues before them. Pure.

A tenant's starts are counted by a bucket that fills at `starts_per_s` and holds a second's worth. Queues are served in
turn, so that a tenant who asks for much waits for itself alone.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from homing.errors import Overloaded
from homing_node.sandboxes import limits


@dataclass(frozen=True, slots=True)
class Quotas:
    """What each tenant may have, and the node.

    Attributes:
        running: sandboxes of a tenant at one time.
        starts_per_s: of a tenant.
        waiting: runs of a tenant that wait for either.
        all_running: of all tenants.
    """

    running: int = limits.running_per_tenant_max
    starts_per_s: float = limits.starts_per_s_max
    waiting: int = limits.waiting_per_tenant_max
    all_running: int = limits.running_max


class _Tenant:
    """Attributes: running; tokens as of `at_s`; waiting, the tickets in order."""

    __slots__ = ("at_s", "running", "tokens", "waiting")

    def __init__(self, tokens: float, now_s: float) -> None:
        self.running = 0
        self.tokens = tokens
        self.at_s = now_s
        self.waiting: deque[int] = deque()


class Admission:
    """Decides who begins.

    Args:
        quotas: of every tenant.

    Example:
        >>> admission = Admission(Quotas(running=1))
        >>> admission.ask("ada", 1, 0.0), admission.ask("ada", 2, 0.0)
        (True, False)
        >>> admission.ended("ada")
        >>> admission.due(0.0)
        [2]
    """

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self.running = 0  # Invariant: the sum over all tenants

    @property
    def waiting(self) -> int:
        """Runs that wait."""
        return sum(len(tenant.waiting) for tenant in self._tenants.values())

    @property
    def is_full(self) -> bool:
        """Whether no tenant can begin, whatever it has."""
        return self.running >= self._quotas.all_running

    def ask(self, name: str, ticket: int, now_s: float) -> bool:
        """A run wants to begin.

        Returns:
            Whether it may at once; else it waits until `due` names its ticket.

        Raises:
            Overloaded: too many of this tenant's wait already.
        """
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(self._bucket, now_s)
        if not tenant.waiting and self._begin(tenant, now_s):
            return True
        if len(tenant.waiting) >= self._quotas.waiting:
            raise Overloaded(
                f"{len(tenant.waiting)} runs of this tenant wait for a sandbox", cause="sandboxes", retry_after_s=1.0
            )
        tenant.waiting.append(ticket)
        return False

    def withdraw(self, name: str, ticket: int) -> None:
        """A run that waits does not want to begin any more."""
        tenant = self._tenants.get(name)
        if tenant is not None and ticket in tenant.waiting:
            tenant.waiting.remove(ticket)

    def ended(self, name: str) -> None:
        """A sandbox that had begun is dead."""
        tenant = self._tenants[name]
        tenant.running -= 1
        self.running -= 1
        assert tenant.running >= 0, "more ended than began"

    def due(self, now_s: float) -> list[int]:
        """The tickets that may begin now, and have."""
        found: list[int] = []
        blocked: set[str] = set()
        while True:
            name = next((each for each, t in self._tenants.items() if t.waiting and each not in blocked), None)
            if name is None:
                return found
            tenant = self._tenants[name]
            if self._begin(tenant, now_s):
                found.append(tenant.waiting.popleft())
                self._tenants.move_to_end(name)
            else:
                blocked.add(name)

    def forget_idle(self, now_s: float) -> None:
        """Drop what is known of tenants who have nothing, and whose buckets are full."""
        for name, tenant in list(self._tenants.items()):
            if not tenant.running and not tenant.waiting and now_s - tenant.at_s > 1.0:
                del self._tenants[name]

    @property
    def _bucket(self) -> float:
        return max(1.0, self._quotas.starts_per_s)

    def _begin(self, tenant: _Tenant, now_s: float) -> bool:
        tenant.tokens = min(self._bucket, tenant.tokens + (now_s - tenant.at_s) * self._quotas.starts_per_s)
        tenant.at_s = now_s
        if tenant.tokens < 1.0 or tenant.running >= self._quotas.running or self.running >= self._quotas.all_running:
            return False
        tenant.tokens -= 1.0
        tenant.running += 1
        self.running += 1
        return True
