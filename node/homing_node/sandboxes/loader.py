"""The dynamic workers of a node's objects and entrypoints: who has which, and how long. See docs/dynamic-workers.md.

A worker belongs to the activation that loaded it, or to the worker process whose entrypoint did, and ends with that.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from homing.errors import BadRequest, NotFound, Overloaded, TooLarge, Unavailable
from homing.facets import FACET_PROPS_BYTES_MAX
from homing.ids import OBJECT_ID_BYTES
from homing.loading import CODE_BYTES_MAX, ENV_BYTES_MAX, ID_CHARS_MAX, TENANT_CHARS_MAX, CallLimits
from homing.loading_frames import (
    NEEDED,
    VALUE,
    Answer,
    Call,
    FacetPart,
    Part,
    decode_call,
    decode_facet_part,
    decode_facet_word,
    decode_part,
    encode,
)
from homing_node.broker.grants import Hand
from homing_node.broker.running import Running
from homing_node.objects.ports import Loading
from homing_node.sandboxes import limits
from homing_node.sandboxes.answering import settle
from homing_node.sandboxes.bounds import Bounds, Group
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.limits import loaded_memory_bytes_of
from homing_node.sandboxes.loaded import LoadedWorker
from homing_node.sandboxes.sandbox import Sandbox
from homing_node.sandboxes.service import Sandboxes, SandboxFacts, giver_of
from homing_placement.routing.pending import Pending

OnLine = Callable[[str, int, str], None]
"""Gets what a worker prints: the id of the request, or empty; level; text."""

_OVERHEAD_BYTES = 1024 * 1024  # of the encoding of a thousand modules
PART, CALL, DROP = "part", "call", "drop"
FACET, KEEP, CLOSE = "facet", "keep", "close"
_Key = tuple[int, str]


@dataclass(slots=True, eq=False)
class _Entry:
    """A worker, or the place of one.

    Attributes:
        once: it was loaded without an id.
        worker: None: its code is on the way.
        have: bytes of code that have come.
        ready: done when calls may go to it, or when it has come to nothing.
        idle: ends it, or the wait for its code.
    """

    key: _Key
    once: bool
    ready: asyncio.Future[None]
    worker: LoadedWorker | None = None
    size: int = 0
    have: int = 0
    idle: asyncio.TimerHandle | None = None
    over: bool = field(default=False)

    @property
    def is_idle(self) -> bool:
        """Whether it can be ended with nobody the worse for it."""
        return self.worker is not None and self.ready.done() and not self.worker.busy


class Loader:
    """Loads dynamic workers and takes calls to them.

    Args:
        sandboxes: where they live.
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes
        sandboxes.residents = self
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()  # the one that was called last is last
        self._bounds = Bounds()
        self._alive: dict[int, LoadedWorker] = {}  # by number, those that only end their calls included
        self._facets: dict[tuple[int, int], LoadedWorker] = {}  # by owner and number: where they run
        self._running = Running()

    def submit(self, pending: Pending, loading: Loading) -> None:
        """See `homing_node.objects.ports.LoaderPort`."""
        self._running.start(self._answer(pending, loading))

    async def _answer(self, pending: Pending, loading: Loading) -> None:
        await settle(pending, self._do(pending, loading), "call", "the node stops")
        pending.on_done(pending)

    async def _do(self, pending: Pending, loading: Loading) -> bytes | None:
        group = Group(loading.owner, loading.request)
        if pending.method == CALL:
            return encode(await self._call(decode_call(pending.body), pending, group, loading.on_line))
        if pending.method == PART:
            await self._part(decode_part(pending.body), pending, loading)
        elif pending.method == FACET:
            return encode(await self._open_facet(decode_facet_part(pending.body), loading))
        elif pending.method in (KEEP, CLOSE):
            self._tell_facet(group.owner, pending.method, *decode_facet_word(pending.body))
        elif pending.method == DROP:
            self._drop(self._entries.get((group.owner, pending.body.decode(errors="replace"))), "its code failed")
        else:
            raise BadRequest("this asks for nothing that a loader does")
        return None

    # -- code -----------------------------------------------------------------------------------------------------

    async def _part(self, part: Part, pending: Pending, loading: Loading) -> None:
        key = (loading.owner, part.key)
        try:
            entry = await self._begun(part, key, pending, loading) if part.at == 0 else self._entries.get(key)
            if entry is None or entry.worker is None or entry.ready.done() or part.at != entry.have:
                raise BadRequest("a part of the code of a worker that is not on its way")
            entry.have += len(part.data)
            last = entry.have >= entry.size
            if entry.have > entry.size or not (part.data or last):
                raise BadRequest("code of another length than was said")
            await entry.worker.add(part.data, first=part.at == 0, last=last)
        except BaseException:
            if (found := self._entries.get(key)) is not None and not found.ready.done():
                self._drop(found, "its code did not come")
            raise
        if last and not entry.over:
            entry.ready.set_result(None)
        self._rest(entry)

    async def _begun(self, part: Part, key: _Key, pending: Pending, loading: Loading) -> _Entry:
        """The place of a worker whose code comes, with a sandbox in it."""
        if len(part.key) > ID_CHARS_MAX + 8 or len(part.tenant) > TENANT_CHARS_MAX:
            raise BadRequest(f"an id has at most {ID_CHARS_MAX} characters, a tenant's name {TENANT_CHARS_MAX}")
        if part.size > CODE_BYTES_MAX + ENV_BYTES_MAX + _OVERHEAD_BYTES:
            raise TooLarge(f"the code of a dynamic worker has {part.size} bytes; at most {CODE_BYTES_MAX}")
        entry = self._entries.get(key) or self._expect(key)
        if entry.worker is not None:
            raise BadRequest("this worker is loaded already")
        entry.size = part.size
        memory = loaded_memory_bytes_of(part.size)
        number = self._sandboxes.next_number()
        giver = giver_of(pending, loading.worker, loading.holder, loading.classes)
        # Opened before anything is awaited: what is revoked meanwhile is found among them.
        hand = self._sandboxes.grants.open(part.grants, giver, f"worker {number}", tenant=part.tenant)
        try:
            sandbox = await self._sandboxes.take(part.tenant, memory, limits.loaded_cpu_s)
            self._sandboxes.fleet.will_load(part.tenant)
            if entry.over or sandbox.ended:
                self._give_back(sandbox, part.tenant)
                raise Unavailable("the sandbox was lost, or nobody waits for this worker any more")
        except BaseException:
            hand.close()
            raise
        self._settle_in(entry, number, part, sandbox, hand, loading.on_line)
        return entry

    def _give_back(self, sandbox: Sandbox, tenant: str) -> None:
        """A sandbox that nobody needs any more."""
        if sandbox.ended:
            self._sandboxes.leave(tenant)
        sandbox.on_end = lambda _: self._sandboxes.leave(tenant)
        sandbox.kill()

    def _settle_in(
        self, entry: _Entry, number: int, part: Part, sandbox: Sandbox, hand: Hand, on_line: OnLine
    ) -> None:  # fmt: skip
        worker = entry.worker = LoadedWorker(
            number, part.tenant, sandbox, hand, lambda: self._drop(entry, "it has ended"),
            lambda level, text: on_line("", level, text), CallLimits(part.cpu_ms, part.sub_requests),
            tailed=part.tailed,
        )  # fmt: skip
        self._alive[worker.number] = worker

        def ended(status: int) -> None:
            worker.died(status)
            del self._alive[worker.number]
            self._facets = {place: other for place, other in self._facets.items() if other is not worker}
            self._sandboxes.leave(part.tenant)

        sandbox.on_end = ended

    def _expect(self, key: _Key) -> _Entry:
        """A place for a worker; another of the same owner makes room for it.

        Raises:
            Overloaded: all of them are busy.
        """
        owner = key[0]
        most = limits.loaded_per_object_max if owner > 0 else limits.loaded_per_entrypoint_max
        mine = [entry for entry in self._entries.values() if entry.key[0] == owner]
        if len(mine) >= most:
            idle = next((entry for entry in mine if entry.is_idle), None)
            if idle is None:
                raise Overloaded(f"{most} dynamic workers are busy; no more fit", cause="workers", retry_after_s=1.0)
            self._drop(idle, "another needed its place")
        loop = asyncio.get_running_loop()
        entry = self._entries[key] = _Entry(key, key[1].startswith("#"), loop.create_future())
        self._rest(entry)
        return entry

    # -- calls ----------------------------------------------------------------------------------------------------

    async def _call(self, asked: Call, pending: Pending, group: Group, on_line: OnLine) -> Answer:
        key = asked.key
        worker = (
            self._with_facet(group.owner, key, asked.facet) if asked.facet else await self._ready((group.owner, key))
        )
        if worker is None:
            return Answer(NEEDED)
        entry = self._entries[group.owner, key]
        self._bounds.begin(group, key)
        try:
            if entry.idle is not None:
                entry.idle.cancel()
            left_s = pending.deadline_s - asyncio.get_running_loop().time()
            printed = pending.request_id
            answer = worker.call(asked, left_s, lambda level, text: on_line(printed, level, text))
            return await asyncio.shield(answer)
        finally:
            self._bounds.end(group, key)
            if not entry.over:
                self._rest(entry)

    async def _ready(self, key: _Key) -> LoadedWorker | None:
        """A worker that takes calls; None: there is none, and whoever asks is to send its code."""
        while True:
            entry = self._entries.get(key)
            if entry is not None and entry.worker is not None and entry.ready.done() and entry.worker.is_worn:
                self._part_with(entry)
                entry = None
            if entry is None:
                self._expect(key)
                return None
            if entry.ready.done():
                self._entries.move_to_end(key)
                return entry.worker
            await asyncio.shield(entry.ready)

    # -- facets ---------------------------------------------------------------------------------------------------

    async def _open_facet(self, part: FacetPart, loading: Loading) -> Answer:
        """Take a part of a facet's pages."""
        if loading.owner <= 0 or len(part.object_id) != OBJECT_ID_BYTES or part.facet <= 0:
            raise BadRequest("this is no facet of an object")
        if len(part.props) + len(part.class_name) + len(part.name) > FACET_PROPS_BYTES_MAX:
            raise TooLarge(f"the props of a facet have at most {FACET_PROPS_BYTES_MAX} bytes")
        worker = await self._ready((loading.owner, part.key))
        if worker is None:
            return Answer(NEEDED)
        if part.at == 0:
            if len(worker.facets) >= limits.facets_per_worker_max:
                raise Overloaded(f"a dynamic worker has at most {limits.facets_per_worker_max} facets", cause="facets")
            worker.facets.begin(part.facet, loading)
            self._facets[loading.owner, part.facet] = worker
        elif part.facet not in worker.facets:
            return Answer(NEEDED)
        await worker.open_facet(part)
        return Answer(VALUE)

    def _with_facet(self, owner: int, key: str, facet: int) -> LoadedWorker | None:
        """The worker in which a facet runs; None: it is to start anew."""
        entry, worker = self._entries.get((owner, key)), self._facets.get((owner, facet))
        if entry is None or worker is None or entry.worker is not worker or facet not in worker.facets:
            return None
        if worker.is_worn and not worker.busy:
            self._part_with(entry)
            return None
        return worker

    def _tell_facet(self, owner: int, what: str, facet: int, commit: int) -> None:
        """What an object says of a facet that runs in one of its workers."""
        worker = self._facets.get((owner, facet))
        if worker is None:
            return  # it has ended meanwhile
        if what == KEEP:
            worker.facets.keep(facet, commit)
            worker.tell_facet(talk.KEPT, facet, commit)
        else:
            del self._facets[owner, facet]
            worker.facets.close(facet)
            worker.tell_facet(talk.CLOSE, facet)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _rest(self, entry: _Entry) -> None:
        """Nothing goes on with it; that may last so long."""
        if entry.idle is not None:
            entry.idle.cancel()
        if entry.worker is not None and entry.worker.busy:
            return
        idle_s = limits.loaded_once_idle_s if entry.once else limits.loaded_idle_s
        why, after_s = ("nobody called it", idle_s) if entry.ready.done() else (
            "its code did not come", limits.loaded_load_s_max,
        )  # fmt: skip
        entry.idle = asyncio.get_running_loop().call_later(after_s, self._drop, entry, why)

    def _part_with(self, entry: _Entry) -> None:
        """Give a worker no more calls; those that it has come to their end."""
        if entry.worker is not None:
            entry.worker.retire()
            entry.worker = None
        self._drop(entry, "another took its place")

    def _drop(self, entry: _Entry | None, reason: str) -> None:
        """It is not there any more. Idempotent."""
        if entry is None or entry.over:
            return
        entry.over = True
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        if entry.idle is not None:
            entry.idle.cancel()
        if not entry.ready.done():
            entry.ready.set_result(None)
        if entry.worker is not None:
            entry.worker.end("sandbox-died", reason)

    def owner_gone(self, owner: int) -> None:
        """An activation, or the process of an entrypoint, has ended; what it loaded ends with it."""
        for key, entry in list(self._entries.items()):
            if key[0] == owner:
                self._drop(entry, "whoever loaded it has ended")

    def make_room(self, tenant: str | None) -> None:
        """Somebody waits for a sandbox: of that tenant's workers the one that was idle the longest gives its own.

        Args:
            tenant: None: any tenant's worker makes room.
        """
        for entry in self._entries.values():
            if entry.is_idle and entry.worker is not None and tenant in (None, entry.worker.tenant):
                self._drop(entry, "another needed its place")
                return

    async def close(self) -> None:
        """End everything; the node stops."""
        for entry in list(self._entries.values()):
            self._drop(entry, "the node stops")
        await self._running.end()

    # -- looking --------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> int:
        """How many live."""
        return len(self._alive)

    def facts(self, now_s: float) -> list[SandboxFacts]:
        """Those that live."""
        found: list[SandboxFacts] = []
        for each in list(self._alive.values()):
            pid, age_s = each.sandbox.pid, now_s - each.began_s
            found.append(SandboxFacts(each.number, each.tenant, pid, age_s, each.cpu_s, each.memory_bytes))
        return found

    def kill(self, number: int) -> None:
        """End one.

        Raises:
            NotFound: there is none of that number.
        """
        worker = self._alive.get(number)
        if worker is None:
            raise NotFound(f"no run {number} goes on here")
        worker.end("sandbox-died", "an operator ended it")
