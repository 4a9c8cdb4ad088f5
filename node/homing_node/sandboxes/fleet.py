"""The zygotes of a node: one for each tenant that runs code, with spares, and one that is nobody's yet.

A zygote that belongs to nobody has seen no tenant, so whoever comes next can have it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from homing.errors import HomingError, Overloaded, Unavailable
from homing.observability.metrics import Counter
from homing_node.sandboxes import limits
from homing_node.sandboxes.inside.orders import LOADS, RUNS
from homing_node.sandboxes.sandbox import Sandbox
from homing_node.sandboxes.zygote import Zygote
from homing_node.workers.jail import JailSpec

_log = structlog.stdlib.get_logger("homing.sandboxes")

SPARE_MEMORY_BYTES = 64 * 1024 * 1024
SPARE_CPU_S = 60
_TRIES = 3


class _Tenant:
    """One whose code runs.

    Attributes:
        zygote: that forks for it; None: there is none yet, or it died.
        spares: forked and not used.
        used_s: when it last asked.
        coming: done when `zygote` is there.
        refill: the next spare's time.
        rehearsal: what its spares are made ready for.
        demanded: the last one that was forked for a run that had no spare, and when.
    """

    __slots__ = ("coming", "demanded", "name", "refill", "rehearsal", "spares", "used_s", "zygote")

    def __init__(self, name: str) -> None:
        self.name = name
        self.zygote: Zygote | None = None
        self.spares: deque[Sandbox] = deque()
        self.used_s = 0.0
        self.coming: asyncio.Task[Zygote] | None = None
        self.refill: asyncio.TimerHandle | None = None
        self.rehearsal = RUNS
        self.demanded: tuple[Sandbox, float] | None = None


class Fleet:
    """The zygotes of a node.

    Args:
        spec: of the jail; asked for when the first one is needed.
        spares: how many sandboxes wait, of each tenant.
        starts: counts where sandboxes came from (`homing.observability.catalogue.SOURCES`).
        spare_wanted: whether now is a time to fork one.
    """

    def __init__(
        self, spec: Callable[[], JailSpec], spares: int, starts: Mapping[str, Counter], spare_wanted: Callable[[], bool]
    ) -> None:
        self._spec, self._spares, self._starts, self._spare_wanted = spec, spares, starts, spare_wanted
        self._tenants: dict[str, _Tenant] = {}
        self._blank: Zygote | None = None
        self._blank_begun = False
        self._all: set[Zygote] = set()
        self._retired: dict[Zygote, float] = {}
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    @property
    def zygotes(self) -> list[Zygote]:
        """Those that have a process."""
        return [zygote for zygote in self._all if zygote.pid]

    @property
    def spare_count(self) -> int:
        """Sandboxes that wait for a run."""
        return sum(len(tenant.spares) for tenant in self._tenants.values())

    async def serve(self) -> None:
        """Own every zygote until `close`, and look after them."""
        async with asyncio.TaskGroup() as self._group:
            while not self._closing.is_set():
                self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limits.look_s):
                        await self._closing.wait()
            for zygote in list(self._all):
                zygote.kill("the node stops")

    def close(self) -> None:
        """End everything; `serve` returns when all of it is dead."""
        self._closing.set()

    # -- taking ---------------------------------------------------------------------------------------------------

    async def take(self, name: str, memory_bytes: int, cpu_s: int) -> Sandbox:
        """A sandbox for one run.

        Raises:
            Unavailable: no zygote could be started, or too many tenants have one.
            Overloaded: it forks as fast as it can.
            JailUnavailable: this machine cannot build the jail.
        """
        tenant = self._tenant(name)
        zygotes = 0
        for _ in range(int(limits.order_wait_s / limits.order_look_s)):
            sandbox = self._take_now(tenant, memory_bytes, cpu_s)
            if sandbox is not None:
                return sandbox
            if tenant.zygote is not None and not tenant.zygote.retired:
                await asyncio.sleep(limits.order_look_s)  # it has enough to do
            elif zygotes < _TRIES:
                zygotes += 1
                await self._have_zygote(tenant)
        raise Overloaded("sandboxes do not start as fast as they are asked for", cause="sandboxes", retry_after_s=1.0)

    def take_now(self, name: str, memory_bytes: int, cpu_s: int) -> Sandbox | None:
        """The same, if that needs no waiting; else None."""
        tenant = self._tenants.get(name)
        return self._take_now(tenant, memory_bytes, cpu_s) if tenant is not None else None

    def _take_now(self, tenant: _Tenant, memory_bytes: int, cpu_s: int) -> Sandbox | None:
        tenant.used_s = asyncio.get_running_loop().time()
        zygote = tenant.zygote
        if zygote is None or zygote.retired or not zygote.ready.done():
            return None
        self._refill_soon(tenant)
        while memory_bytes == SPARE_MEMORY_BYTES and tenant.spares:
            spare = tenant.spares.popleft()
            if not spare.ended:
                self._starts["spare"].add()
                return spare
        if not zygote.takes_orders:
            return None
        self._starts["forked"].add()
        sandbox = zygote.fork(memory_bytes, cpu_s)
        tenant.demanded = sandbox, tenant.used_s
        return sandbox

    def _tenant(self, name: str) -> _Tenant:
        tenant = self._tenants.get(name)
        if tenant is not None:
            return tenant
        if len(self._tenants) >= limits.tenants_max:
            idle = [each for each in self._tenants.values() if self._is_idle(each)]
            if not idle:
                raise Unavailable(f"{len(self._tenants)} tenants have zygotes on this node")
            self._drop(min(idle, key=lambda each: each.used_s))
        tenant = self._tenants[name] = _Tenant(name)
        return tenant

    def drop_spares(self, name: str) -> None:
        """End a tenant's spares: what it runs next is forked when it is asked for."""
        tenant = self._tenants.get(name)
        while tenant is not None and tenant.spares:
            tenant.spares.pop().kill()

    def will_load(self, name: str) -> None:
        """A tenant loads dynamic workers: its spares are to be ready for that, which a run is not worth."""
        tenant = self._tenants.get(name)
        if tenant is not None:
            tenant.rehearsal = LOADS

    # -- zygotes --------------------------------------------------------------------------------------------------

    async def _have_zygote(self, tenant: _Tenant) -> None:
        """Wait until a tenant has a zygote."""
        if tenant.coming is None or tenant.coming.done():
            if self._group is None or self._closing.is_set():
                raise Unavailable("this node starts no sandboxes just now")
            tenant.coming = asyncio.ensure_future(self._give_zygote(tenant))
        await asyncio.shield(tenant.coming)

    async def _give_zygote(self, tenant: _Tenant) -> Zygote:
        zygote = self._blank
        if zygote is not None and not zygote.retired and zygote.ready.done():
            self._blank = None
        else:
            self._starts["cold"].add()
            zygote = await self._start()
        await zygote.ready
        self._retire(tenant)
        tenant.zygote = zygote
        self._refill_soon(tenant)
        return zygote

    async def _start(self) -> Zygote:
        spec = await asyncio.to_thread(self._spec)
        if self._closing.is_set():  # else nobody would end it
            raise Unavailable("the node stops")
        return self._start_now(spec)

    def _start_now(self, spec: JailSpec) -> Zygote:
        assert self._group is not None
        zygote = Zygote(spec, self._on_death)
        self._all.add(zygote)
        self._group.create_task(zygote.live(), name="a zygote")
        return zygote

    def _on_death(self, zygote: Zygote, reason: str) -> None:
        self._all.discard(zygote)
        expected = self._retired.pop(zygote, None) is not None or self._closing.is_set()
        if not expected:
            _log.error("a zygote ended", pid=zygote.pid, reason=reason)
        if self._blank is zygote:
            self._blank = None
        for tenant in self._tenants.values():
            if tenant.zygote is zygote:
                tenant.zygote = None
                tenant.spares.clear()

    def _retire(self, tenant: _Tenant) -> None:
        """Give a tenant's zygote no more orders; what runs in it comes to its end."""
        zygote, tenant.zygote = tenant.zygote, None
        self.drop_spares(tenant.name)
        if zygote is not None and zygote in self._all:
            zygote.retired = True
            self._retired[zygote] = asyncio.get_running_loop().time()

    # -- looking after them ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for tenant in list(self._tenants.values()):
            if self._is_idle(tenant) and now_s - tenant.used_s > limits.tenant_idle_s:
                self._drop(tenant)
            elif tenant.zygote is not None and self._is_worn(tenant.zygote, now_s) and self._blank_is_ready:
                tenant.coming = asyncio.ensure_future(self._give_zygote(tenant))
        for zygote, since_s in list(self._retired.items()):
            if not zygote.sandboxes or now_s - since_s > limits.zygote_retire_s:
                zygote.kill("its time is over")
        if self._blank is not None and self._is_worn(self._blank, now_s):
            self._blank.kill("its time is over")
        if self._tenants and self._blank is None and not self._blank_begun and self._group is not None:
            self._blank_begun = True
            self._group.create_task(self._make_blank(), name="a zygote for whoever comes next")
        elif not self._tenants and self._blank is not None:
            self._blank.kill("nobody runs code")

    async def _make_blank(self) -> None:
        """One at a time: a start takes longer than a look, and a second one would be nobody's for good."""
        try:
            self._blank = await self._start()  # the first one waits until the runtime has been copied
            await self._blank.ready
        except HomingError as error:
            _log.error("no zygote could be started", error=str(error))
        finally:
            self._blank_begun = False

    @property
    def _blank_is_ready(self) -> bool:
        return self._blank is not None and self._blank.ready.done() and not self._blank.retired

    @staticmethod
    def _is_worn(zygote: Zygote, now_s: float) -> bool:
        return zygote.ready.done() and (
            zygote.forks >= limits.zygote_forks_max or now_s - zygote.started_s > limits.zygote_age_s_max
        )

    @staticmethod
    def _is_idle(tenant: _Tenant) -> bool:
        zygote = tenant.zygote
        coming = tenant.coming is not None and not tenant.coming.done()
        return not coming and (zygote is None or len(zygote.sandboxes) <= len(tenant.spares))

    def _drop(self, tenant: _Tenant) -> None:
        if tenant.refill is not None:
            tenant.refill.cancel()
        self._retire(tenant)
        del self._tenants[tenant.name]

    # -- spares ---------------------------------------------------------------------------------------------------

    def _refill_soon(self, tenant: _Tenant) -> None:
        if tenant.refill is None and len(tenant.spares) <= self._spares:
            tenant.refill = asyncio.get_running_loop().call_later(limits.spare_delay_s, self._refill, tenant)

    def _refill(self, tenant: _Tenant) -> None:
        tenant.refill = None
        zygote = tenant.zygote
        if zygote is None or self._closing.is_set() or len(tenant.spares) >= self._spares:
            return
        if zygote.takes_orders and self._spare_wanted() and not self._is_in_the_way(tenant):
            with contextlib.suppress(Unavailable):  # whoever needs one is told
                tenant.spares.append(zygote.fork(SPARE_MEMORY_BYTES, SPARE_CPU_S, tenant.rehearsal))
        self._refill_soon(tenant)

    @staticmethod
    def _is_in_the_way(tenant: _Tenant) -> bool:
        """Whether a fork would take its time from a run that is forked for, or has just begun."""
        if tenant.demanded is None:
            return False
        sandbox, since_s = tenant.demanded
        if sandbox.ended or asyncio.get_running_loop().time() - since_s > limits.spare_waits_s:
            tenant.demanded = None
        return tenant.demanded is not None
