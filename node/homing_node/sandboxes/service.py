"""What a node's objects and gateways ask for when code is to run: quotas, a sandbox, its end."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from homing.errors import BadRequest, NotFound, Overloaded, TooLarge, Unavailable
from homing.observability.catalogue import SOURCES
from homing.sandbox_news import News
from homing.sandboxes import Asked, Outcome, encode_outcome
from homing_node.broker.grants import Giver, Grants, Hand, OnUse
from homing_node.broker.object_grant import Origin
from homing_node.broker.running import Running
from homing_node.metrics import NodeMetrics
from homing_node.objects.ports import WorkerPort
from homing_node.sandboxes import limits
from homing_node.sandboxes.admission import Admission, Quotas
from homing_node.sandboxes.answering import settle
from homing_node.sandboxes.fleet import Fleet
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.news import Unheard
from homing_node.sandboxes.runs import OnOutput, Run
from homing_node.sandboxes.sandbox import Sandbox
from homing_node.sandboxes.strict import StrictSandboxes
from homing_placement.routing.pending import Pending

_log = structlog.stdlib.get_logger("homing.sandboxes")


@dataclass(frozen=True, slots=True)
class SandboxFacts:
    """One run that goes on; times in seconds; memory is its own, without its zygote's."""

    number: int
    tenant: str
    pid: int
    age_s: float
    cpu_s: float
    memory_bytes: int


class Residents(Protocol):
    """Sandboxes that stay: `loader.Loader`."""

    @property
    def alive(self) -> int:
        """How many live."""
        ...

    def facts(self, now_s: float) -> list[SandboxFacts]:
        """Those that live."""
        ...

    def kill(self, number: int) -> None:
        """End one; raises `NotFound` where there is none of that number."""
        ...

    def make_room(self, tenant: str | None) -> None:
        """Somebody of this tenant waits for a sandbox; None: of any, as the node has no more."""
        ...


_NOBODY = Giver("nobody")


class _Waiting(NamedTuple):
    tenant: str
    go: asyncio.Future[None]


class _Submitted(NamedTuple):
    task: asyncio.Task[None]
    unheard: Unheard


class Sandboxes:
    """Runs code.

    Args:
        jails: makes them, when the first is needed.
        metrics: of the node.
        quotas: of tenants.
        spares: sandboxes that wait, of each tenant.
        grants: of the node; None: those that stand on nothing.

    Attributes:
        residents: sandboxes that stay; None: there are none.
    """

    def __init__(
        self, jails: SandboxJails, metrics: NodeMetrics, quotas: Quotas | None = None,
        spares: int = limits.spares, grants: Grants | None = None,
    ) -> None:  # fmt: skip
        self._metrics = metrics
        self.grants = grants or Grants()
        self._admission = Admission(quotas or Quotas())
        starts = {source: metrics.registry.counter("homing_sandbox_starts_total", source) for source in SOURCES}
        self.fleet = Fleet(jails.zygote, spares, starts, lambda: not self._admission.waiting)
        self.strict = StrictSandboxes(jails.strict, starts["strict"])
        self._policy = jails.policy
        self._tickets: dict[int, _Waiting] = {}
        self._numbers = itertools.count(1)
        self._runs: dict[int, Run] = {}
        self._running = Running()
        self._submitted: dict[int, _Submitted] = {}  # by the identity of the call that asks for it
        self._due: asyncio.TimerHandle | None = None
        self.residents: Residents | None = None
        for state, read in (
            ("running", lambda: float(len(self._runs))),
            ("loaded", lambda: float(self.residents.alive if self.residents is not None else 0)),
            ("spare", lambda: float(self.fleet.spare_count)),
            ("waiting", lambda: float(self._admission.waiting)),
        ):
            metrics.registry.gauge("homing_sandboxes", state).read = read

    async def serve(self) -> None:
        """Look after zygotes and jails until `close`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.strict.serve())
            await self.fleet.serve()

    async def close(self) -> None:
        """End every run, and begin no other; `serve` returns when all processes are dead."""
        for run in list(self._runs.values()):
            run.fail(Unavailable("the node stops"))
        await self._running.end()
        await self.grants.close()
        self.fleet.close()
        self.strict.close()

    # -- running --------------------------------------------------------------------------------------------------

    def submit(self, pending: Pending, worker: WorkerPort, holder: str, classes: Collection[str]) -> None:
        """See `homing_node.objects.ports.SandboxPort`."""
        unheard = Unheard()
        task = self._running.start(self._answer(pending, giver_of(pending, worker, holder, classes), unheard))
        self._submitted[id(pending)] = _Submitted(task, unheard)
        task.add_done_callback(lambda _: self._submitted.pop(id(pending)))

    def revoke(self, pending: Pending) -> None:
        """See `homing_node.objects.ports.SandboxPort`."""
        self.grants.revoke_all(pending.body)
        pending.on_done(pending)

    def follow(self, pending: Pending, run: Pending | None) -> None:
        """See `homing_node.objects.ports.SandboxPort`."""

        def answer(news: News) -> None:
            pending.answer = news.encode()
            pending.on_done(pending)

        found = self._submitted.get(id(run))
        if found is None:
            answer(News(False, []))
        else:
            found.unheard.ask(answer)

    def give_up(self, pending: Pending) -> None:
        """See `homing_node.objects.ports.SandboxPort`."""
        found = self._submitted.get(id(pending))
        if found is not None:
            found.task.cancel()

    async def _answer(self, pending: Pending, giver: Giver, unheard: Unheard) -> None:
        cancelled = "the node stops, or nobody waits for the run any more"
        await settle(pending, self._run_of(pending, giver, unheard), "run", cancelled)
        unheard.end()
        pending.on_done(pending)

    async def _run_of(self, pending: Pending, giver: Giver, unheard: Unheard) -> bytes:
        left_s = pending.deadline_s - time.monotonic()
        asked = Asked.decode(pending.body)
        on_output = unheard.printed if asked.streamed else None
        outcome = await self.run(asked, giver, left_s, on_output, unheard.used if asked.followed else None)
        return encode_outcome(outcome, unheard.end())

    async def run(
        self, asked: Asked, giver: Giver = _NOBODY, left_s: float = math.inf, on_output: OnOutput | None = None,
        on_use: OnUse | None = None,
    ) -> Outcome:  # fmt: skip
        """Run code in a sandbox.

        Args:
            asked: the code, and what it may use.
            giver: whose grants it gets.
            left_s: how long anybody waits for it, in seconds.
            on_output: see `Run`.
            on_use: see `Grants.open`.

        Raises:
            TooLarge, BadRequest: it asks for what cannot be.
            Forbidden, NotFound: it is to be granted what the giver does not have.
            Overloaded: the tenant, or the node, runs too much already.
            Unavailable: no sandbox could be had.
        """
        _check(asked)
        number = next(self._numbers)
        # Opened before anything is awaited: what is revoked while the run waits for its turn is found among them.
        hand = self.grants.open(asked.grants, giver, f"run {number}", on_use, asked.tenant)
        try:
            return await self._run(number, asked, hand, left_s, on_output)
        finally:
            hand.close()

    async def _run(
        self, number: int, asked: Asked, hand: Hand, left_s: float, on_output: OnOutput | None
    ) -> Outcome:  # fmt: skip
        sandbox = await self.take(asked.tenant, asked.limits.memory_bytes, math.ceil(asked.limits.cpu_s) + 1)
        wall_s = max(0.0, min(asked.limits.wall_s, left_s))
        run = Run(number, asked, sandbox, wall_s, hand, on_output)
        self._runs[run.number] = run
        sandbox.on_end = lambda status: self._ended(run, status)
        if sandbox.ended:
            self._ended(run, 0)
        else:
            run.begin()
        try:
            return await asyncio.shield(run.outcome)  # its end is the run's, whoever stops waiting
        finally:
            run.stop("nobody waits for it any more")

    def next_number(self) -> int:
        """A number that names a sandbox to operators."""
        return next(self._numbers)

    async def take(self, tenant: str, memory_bytes: int, cpu_s: int) -> Sandbox:
        """A sandbox, when the quotas allow it; when it is dead `leave` is to be called.

        Raises:
            Overloaded: the tenant, or the node, runs too much already.
            Unavailable: no sandbox could be had.
        """
        asked_s = time.perf_counter()
        await self._admit(tenant)
        try:
            found = await self._sandbox(tenant, memory_bytes, cpu_s)
            self._metrics.sandbox_start.observe(time.perf_counter() - asked_s)
            return found
        except BaseException:
            self.leave(tenant)
            raise

    async def _sandbox(self, tenant: str, memory: int, cpu: int) -> Sandbox:
        if self._policy.is_strict(tenant):
            return await self.strict.take(memory, cpu)
        found = self.fleet.take_now(tenant, memory, cpu)
        if found is not None:
            return found
        try:
            return await self.fleet.take(tenant, memory, cpu)
        except Unavailable as error:
            _log.warning("no zygote can be had; a sandbox gets a jail of its own", reason=error.message)
            return await self.strict.take(memory, cpu)

    def _ended(self, run: Run, status: int) -> None:
        self._runs.pop(run.number, None)
        run.died(status)
        self.leave(run.asked.tenant)

    # -- quotas ---------------------------------------------------------------------------------------------------

    async def _admit(self, tenant: str) -> None:
        loop = asyncio.get_running_loop()
        ticket = next(self._numbers)
        if self._admission.ask(tenant, ticket, loop.time()):
            return
        waiting = self._tickets[ticket] = _Waiting(tenant, loop.create_future())
        if self.residents is not None:
            self.residents.make_room(None if self._admission.is_full else tenant)
        self._look_soon()
        try:
            async with asyncio.timeout(limits.wait_s_max):
                await waiting.go
        except BaseException as error:
            if waiting.go.done() and not waiting.go.cancelled():
                self.leave(tenant)  # it was let in meanwhile, and does not come
            self._admission.withdraw(tenant, ticket)
            if isinstance(error, TimeoutError):
                raise Overloaded("no sandbox was free in time", cause="sandboxes", retry_after_s=1.0) from error
            raise
        finally:
            self._tickets.pop(ticket, None)

    def leave(self, tenant: str) -> None:
        """A sandbox of a tenant is dead."""
        self._admission.ended(tenant)
        if self._tickets:
            self._let_in()

    def _let_in(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for ticket in self._admission.due(now_s):
            waiting = self._tickets.pop(ticket)
            if waiting.go.done():
                self._admission.ended(waiting.tenant)  # whoever waited has given up, and is about to say so
            else:
                waiting.go.set_result(None)
        self._admission.forget_idle(now_s)

    def _look_soon(self) -> None:
        """Buckets fill with time, which tells nobody."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(limits.cpu_look_s_min, self._look)

    def _look(self) -> None:
        self._due = None
        self._let_in()
        if self._tickets:
            self._look_soon()

    # -- looking --------------------------------------------------------------------------------------------------

    def list(self) -> list[SandboxFacts]:
        """The runs that go on, and sandboxes that stay. Each is some looks at /proc, so many are for a thread."""
        now_s = time.perf_counter()
        found = self.residents.facts(now_s) if self.residents is not None else []
        for run in list(self._runs.values()):
            pid, age_s = run.sandbox.pid, now_s - run.began_s
            found.append(SandboxFacts(run.number, run.asked.tenant, pid, age_s, run.cpu_s, run.memory_bytes))
        return found

    def kill(self, number: int) -> None:
        """End a run.

        Raises:
            NotFound: there is none of that number.
        """
        run = self._runs.get(number)
        if run is not None:
            run.stop("an operator ended it")
        elif self.residents is not None:
            self.residents.kill(number)
        else:
            raise NotFound(f"no run {number} goes on here")


def giver_of(pending: Pending, worker: WorkerPort, holder: str, classes: Collection[str]) -> Giver:
    """Whose grants are given; see `homing_node.objects.ports.SandboxPort.submit`."""
    origin = Origin(pending.chain, pending.request_id, pending.traceparent)
    return Giver(holder, worker.fetch_hosts, worker.secrets, worker.grants, classes, origin)


def _check(asked: Asked) -> None:
    for what, size, most in (
        ("code", len(asked.code), limits.code_bytes_max),
        ("arguments", len(asked.arguments), limits.arguments_bytes_max),
        ("stdin", len(asked.stdin), limits.stdin_bytes_max),
    ):
        if size > most:
            raise TooLarge(f"{what} of {size} bytes; at most {most}")
    if len(asked.tenant) > limits.tenant_chars_max:
        raise BadRequest(f"the name of a tenant has at most {limits.tenant_chars_max} characters")
