"""The workers of one node for one application: one a core for each version that serves, each replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from homing.errors import ConfigurationError
from homing_node.workers import app_packages, limits
from homing_node.workers.app_bundle import AppBundle, bundle_app
from homing_node.workers.generation import Generation
from homing_node.workers.jail import JailSpec, nsjail_binary
from homing_node.workers.jail_cache import cache_folder
from homing_node.workers.jail_cgroups import Cgroups, prepare_cgroups
from homing_node.workers.jail_config import JailLimits
from homing_node.workers.process import WorkerProcess, WorkerSpec
from homing_node.workers.runtime_root import RuntimeRoot, runtime_root
from homing_placement.deployments import STARTED_WITH, chosen

_REPLACED = "its code was replaced"

_log = structlog.stdlib.get_logger("homing.workers")


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Settings of a pool.

    Attributes:
        workers: how many; 0 is one for each core that this process may use.
        cache_dir: where trees for jails are kept; None is `HOMING_CACHE_DIR`, else the default of `cache_folder`.
        nsjail: another nsjail than the one homing brings (`HOMING_NSJAIL`), an absolute path.
        jail_limits: what one worker may use.
        runtime_limits: limits of the worker-side runtime, sent with HELLO.
        turn_cpu_s_max: CPU that one turn may use, in seconds (`HOMING_TURN_CPU_S`).
        silence_s_max: how long a worker may give no sign of life.
        hello_timeout_s: how long building a jail and importing the application may take.
        retire_grace_s: how long workers of old code may go on with their activations.
        program: Python source that a worker runs; the worker-side runtime by default.
        apply_migrations: whether databases apply the migrations of the application before their first statement.
        jurisdictions: names of the cluster's, by number.
        ahead_ms: how far ahead of the machine's the clock of object code is; None: it is the machine's, for good.
    """

    workers: int = 0
    cache_dir: str | None = None
    nsjail: str | None = None
    jail_limits: JailLimits = field(default_factory=JailLimits)
    runtime_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    turn_cpu_s_max: float = limits.turn_cpu_s_max
    silence_s_max: float = limits.silence_s_max
    hello_timeout_s: float = limits.hello_timeout_s
    retire_grace_s: float = limits.retire_grace_s
    program: str = "from homing_node.workers.inside.main import main; main()"
    apply_migrations: bool = False
    jurisdictions: Sequence[str] = ()
    ahead_ms: Callable[[], int] | None = None

    @property
    def count(self) -> int:
        """How many workers there are.

        Raises:
            ConfigurationError: more than `workers_max`, or fewer than none.
        """
        if not 0 <= self.workers <= limits.workers_max:
            raise ConfigurationError(f"{self.workers} workers; write 1 to {limits.workers_max}, or 0 for one a core")
        return self.workers or min(len(os.sched_getaffinity(0)), limits.workers_max)


class WorkerPool:
    """The workers of one node.

    Args:
        config: settings.
        on_frame: gets a worker and a frame of it: TURN, CLOSED, LOG or RESET.
        on_death: gets a worker that was ready and why it ended, once every process of it is dead: its activations are
            gone, and a successor may start (rule 25).
        on_retire: gets a worker of which other versions take objects over, and whether it keeps an object, by id:
            move the activations of the others.
        on_writable: gets a worker that reads again after `writable` was False.

    Attributes:
        restarts: workers that died and were replaced, or will be.

    Example:
        >>> pool = WorkerPool(PoolConfig(), host.on_frame, host.on_worker_death, host.retire)
        >>> await pool.start(await pool.bundle(Path("examples/hello")))
        >>> pool.pick(object_id).send((OPEN, …))
    """

    def __init__(
        self,
        config: PoolConfig,
        on_frame: Callable[[WorkerProcess, list[Any]], None],
        on_death: Callable[[WorkerProcess, str], None],
        on_retire: Callable[[WorkerProcess, Callable[[bytes], bool]], None] | None = None,
        on_writable: Callable[[WorkerProcess], None] | None = None,
    ) -> None:
        self._config = config
        self._on_frame, self._on_death = on_frame, on_death
        self._on_retire, self._on_writable = on_retire, on_writable
        self._ids = itertools.count(1)
        self._cache: Path | None = None
        self._nsjail = Path()
        self._runtime: RuntimeRoot | None = None
        self._cgroups = Cgroups(0)
        self._numbers = itertools.count(1)
        self._serving: list[tuple[int, Generation]] = []  # for how many of a hundred objects; the newest first
        self._started: dict[str, Generation] = {}  # by version: those that serve, and those that are ready to
        self._generations: list[Generation] = []  # every one that has processes
        self._supervisor: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._reloading = asyncio.Lock()
        self._closing = asyncio.Event()
        self.restarts = 0

    # -- start, reload, end ------------------------------------------------------------------------------------

    async def bundle(self, app: Path) -> AppBundle:
        """Take a snapshot of an application for `start` or `reload`.

        Raises:
            ConfigurationError: see `bundle_app`.
        """
        return await asyncio.to_thread(lambda: bundle_app(app, self._cache_folder()))

    def _cache_folder(self) -> Path:
        if self._cache is None:
            self._cache = cache_folder(self._config.cache_dir)
        return self._cache

    async def start(self, bundle: AppBundle, version: str = STARTED_WITH) -> None:
        """Start every worker of a version, and return when all have imported the application; it serves every object.

        Raises:
            JailUnavailable: this machine cannot build the jail; there is no way without one.
            AppFailed: the application cannot be imported.
            ConfigurationError: a setting or the cache folder is wrong.
        """
        assert self._supervisor is None, "a pool starts once"
        self._nsjail = nsjail_binary(self._config.nsjail)
        self._runtime = await asyncio.to_thread(lambda: runtime_root(self._cache_folder()))
        self._cgroups = prepare_cgroups()
        if self._cgroups.reason:
            _log.warning("workers are limited by rlimits alone", reason=self._cgroups.reason)
        started = asyncio.Event()
        self._supervisor = asyncio.create_task(self._supervise(started), name="worker pool")
        await started.wait()
        try:
            await self.prepare(bundle, version)
        except BaseException:
            await self.close()
            raise
        self.serve([(100, version)])

    async def _supervise(self, started: asyncio.Event) -> None:
        """Own the task of every worker; fails if one of them does, which `wait` shows."""
        async with asyncio.TaskGroup() as self._group:
            started.set()
            await self._closing.wait()

    async def wait(self) -> None:
        """Wait until the pool is closed; the node awaits this beside its work.

        Raises:
            ExceptionGroup: the supervision of a worker failed, which is an error in this program.
        """
        if self._supervisor is not None:
            await asyncio.shield(self._supervisor)

    async def prepare(self, bundle: AppBundle, version: str) -> None:
        """Start workers of another version, without an object yet; nothing happens if it is there.

        Raises:
            AppFailed: the code cannot be imported; everything stays as it was.
            JailUnavailable: a jail could not be built; everything stays as it was.
        """
        async with self._reloading:
            if version in self._started:
                return
            serving = [generation for _, generation in self._serving]
            spare = [one for one in self._started.values() if one not in serving]
            for old in spare[:-1]:  # two versions serve at most, so the newest may be about to
                old.end("it was never told to serve")
                del self._started[old.version]
            self._started[version] = await self._start_generation(version, bundle)

    async def reload(self, bundle: AppBundle) -> None:
        """Give the version that the node was started with other code, and its objects to workers that have it.

        Raises:
            ConfigurationError: that version does not serve any more.
            AppFailed, JailUnavailable: as `prepare`.
        """
        async with self._reloading:
            old = self._started.get(STARTED_WITH)
            if old is None:
                raise ConfigurationError("a deployed version serves; the files that this node was started with do not")
            if bundle.digest == old.bundle.digest:
                return
            self._started[STARTED_WITH] = await self._start_generation(STARTED_WITH, bundle)
            self.serve(self.serving)

    def serve(self, serving: Sequence[tuple[int, str]]) -> None:
        """Say which versions serve, each prepared before, and for how many of a hundred objects. Others are retired."""
        before = [generation for _, generation in self._serving]
        self._serving = [(percent, self._started[version]) for percent, version in serving]
        kept = [generation for _, generation in self._serving]
        self._started = {generation.version: generation for generation in kept}
        for generation in list(self._generations):
            if generation.started and generation not in kept and not generation.over.is_set():
                generation.over.set()
                self._spawn(self._end_after_grace(generation), f"end of generation {generation.number}")
                for worker in generation.processes:
                    worker.usable = False
        if self._on_retire is not None:
            for generation in before:
                for worker in list(generation.processes):
                    self._on_retire(worker, lambda key, one=generation: chosen(self._serving, key) is one)

    async def _start_generation(self, version: str, bundle: AppBundle) -> Generation:
        count = self._config.count
        generation = Generation(next(self._numbers), version, bundle, self._spec(bundle, version), count)
        self._generations.append(generation)
        first = [self._new_worker(generation) for _ in range(count)]
        for place, worker in enumerate(first):
            self._spawn(self._keep(generation, place, worker), f"place {place} of generation {generation.number}")
        try:
            await asyncio.gather(*(worker.ready for worker in first))
        except BaseException:
            generation.end("another worker of its generation could not start")
            raise
        generation.started = True
        generation.classes, generation.has_default = set(first[0].classes), first[0].has_default
        return generation

    def _spec(self, bundle: AppBundle, version: str) -> WorkerSpec:
        assert self._runtime is not None
        config = self._config
        program = f"import sys; sys.path.append({self._runtime.site_packages!r}); {config.program}"
        command = (self._runtime.python, "-I", "-S", "-B", "-X", "utf8", "-c", program)
        packages = bundle.packages
        jail = JailSpec(
            self._runtime, bundle.path, command, self._nsjail, self._cgroups, config.jail_limits,
            packages=packages.path if packages is not None else None,
        )  # fmt: skip
        return WorkerSpec(
            jail,
            bundle.import_path,
            bundle.main_module,
            {
                **bundle.bindings,
                "apply_migrations": config.apply_migrations,
                "jurisdictions": list(config.jurisdictions),
            },
            config.runtime_limits,
            config.turn_cpu_s_max,
            config.silence_s_max,
            config.hello_timeout_s,
            config.ahead_ms,
            app_packages.MOUNTED_AT if packages is not None else "",
            version,
        )

    async def _end_after_grace(self, old: Generation) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.retire_grace_s):
                await self._closing.wait()
        old.end(_REPLACED)

    def release(self, worker: WorkerProcess) -> None:
        """A retired worker has no activation left: end it."""
        worker.kill(_REPLACED)

    async def close(self) -> None:
        """Kill every worker and wait until all are dead and reaped. Idempotent."""
        self._closing.set()
        for generation in list(self._generations):
            generation.end("the node stops")
        if self._supervisor is not None:
            await asyncio.gather(self._supervisor, return_exceptions=True)  # `wait` is where its failure is seen
        self._cgroups.remove()

    # -- one place ---------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        assert self._group is not None
        self._group.create_task(work, name=name)

    def _new_worker(self, generation: Generation) -> WorkerProcess:
        worker = WorkerProcess(next(self._ids), generation.number, generation.spec, self._on_frame, self._on_writable)
        generation.processes.append(worker)
        return worker

    async def _keep(self, generation: Generation, place: int, worker: WorkerProcess) -> None:
        """Keep one place filled until its generation is over."""
        backoff_s = 0.0  # whoever ends after a good while has a successor at once: its objects wait for that
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            reason = await self._live(generation, place, worker)
            never_ready = worker.ready.exception() is not None
            if generation.over.is_set() or (never_ready and not generation.started):
                return
            self.restarts += 1
            if loop.time() - began_s > limits.restart_settled_s:
                backoff_s = 0.0
            _log.error("a worker ended", worker=worker.id, pid=worker.pid, reason=reason, restart_in_s=backoff_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await generation.over.wait()
                    return
            backoff_s = min(max(2 * backoff_s, limits.restart_backoff_first_s), limits.restart_backoff_s_max)
            worker = self._new_worker(generation)

    async def _live(self, generation: Generation, place: int, worker: WorkerProcess) -> str:
        """Run one worker; it has its place from READY until it is dead."""

        def take_place(ready: asyncio.Future[WorkerProcess]) -> None:
            if not ready.cancelled() and ready.exception() is None:
                generation.workers[place] = worker

        worker.ready.add_done_callback(take_place)
        reason = await worker.live()
        generation.workers[place] = None
        generation.processes.remove(worker)
        if not generation.processes and generation.over.is_set():
            self._generations.remove(generation)
        error = worker.ready.exception()
        if error is not None:
            return str(error)
        self._on_death(worker, reason)
        return reason

    # -- for the host ------------------------------------------------------------------------------------------

    def pick(self, object_id: bytes) -> WorkerProcess | None:
        """The worker for a new activation: of the version that serves the object; None while none is usable."""
        return chosen(self._serving, object_id).pick(object_id) if self._serving else None

    @property
    def workers(self) -> list[WorkerProcess]:
        """Every worker that is ready, of every generation."""
        return [worker for generation in self._generations for worker in generation.workers if worker is not None]

    @property
    def versions(self) -> list[str]:
        """The versions that serve, or are ready to."""
        return list(self._started)

    @property
    def serving(self) -> list[tuple[int, str]]:
        """For how many of a hundred objects, and which version; the newest first."""
        return [(percent, generation.version) for percent, generation in self._serving]

    @property
    def bindings(self) -> Mapping[str, Any]:
        """What the configuration of the application says that serves first."""
        return self._serving[0][1].bundle.bindings if self._serving else {}

    @property
    def crons(self) -> list[str]:
        """The schedules of the newest version's cron triggers."""
        return self._serving[0][1].bundle.bindings["crons"] if self._serving else []

    def classes(self) -> set[str]:
        """The object classes of the code that serves."""
        return {name for _, generation in self._serving for name in generation.classes}

    @property
    def has_default(self) -> bool:
        """Whether the code that serves answers paths of its own."""
        return any(generation.has_default for _, generation in self._serving)

    @property
    def cgroups(self) -> Cgroups:
        """How workers are limited beside rlimits."""
        return self._cgroups
