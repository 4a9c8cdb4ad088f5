"""The pool of workers beside the object host: which versions of the code run in it, and facts for those who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from homing.errors import HomingError, Unavailable
from homing_node import limits
from homing_node.broker.grants import Giver
from homing_node.code import Code, Serving
from homing_node.metrics import NodeMetrics
from homing_node.objects import limits as object_limits
from homing_node.objects.host import ObjectHost
from homing_node.settings import NodeSettings
from homing_node.workers.inside.channel import CLOCK, SEEN
from homing_node.workers.looks import Looks
from homing_node.workers.pool import PoolConfig, WorkerPool
from homing_node.workers.process import AppFailed, WorkerProcess

if TYPE_CHECKING:
    from homing_node.objects.ports import WorkerPort

_log = structlog.stdlib.get_logger("homing.workers")


class Workforce:
    """A node's workers.

    Args:
        settings: of the node.
        metrics: counts restarts.
        code: the versions of the application.
        ahead_ms: how far ahead the clock of object code is; None: it is the machine's.

    Attributes:
        looks: questions to databases.
    """

    def __init__(
        self, settings: NodeSettings, metrics: NodeMetrics, code: Code, ahead_ms: Callable[[], int] | None = None
    ) -> None:
        self._settings = settings
        self._code = code
        self._metrics = metrics
        self._ahead_ms = ahead_ms
        self._pool: WorkerPool | None = None
        self._host: ObjectHost | None = None
        self._reload_asked = asyncio.Event()
        self._wanted: Serving = ()
        self._wanted_changed = asyncio.Event()
        self.on_loaded: Callable[[], None] = lambda: None  # told when other code serves
        self.looks = Looks(self.pick)

    async def start(self, host: ObjectHost) -> None:
        """Start every worker and return when the application is imported in all.

        Raises:
            JailUnavailable: this machine cannot build jails.
            ConfigurationError: there is no application, or it cannot be imported.
            EtcdUnavailable: nobody knows which version is to serve.
        """
        self._host = host
        settings = self._settings
        runtime_limits = {
            "commit_bytes_max": object_limits.commit_bytes_max,
            "database_bytes_max": object_limits.database_bytes_max,
        }
        config = PoolConfig(
            workers=settings.workers, cache_dir=settings.cache_dir, nsjail=settings.nsjail,
            turn_cpu_s_max=settings.turn_cpu_s, runtime_limits=runtime_limits, ahead_ms=self._ahead_ms,
            apply_migrations=settings.apply_migrations, jurisdictions=settings.layout.names,
        )  # fmt: skip
        pool = WorkerPool(config, self._frames_to(host), self._on_death, self._on_retire)
        serving = await self._code.serving()
        newest = serving[0][1]
        await pool.start(await self._code.bundle(newest, pool), newest)
        self._pool = pool
        await self._serve(pool, serving)
        _log.info("workers are ready", workers=[w.pid for w in pool.workers], classes=sorted(pool.classes()))

    def _frames_to(self, host: ObjectHost) -> Callable[[WorkerProcess, list[Any]], None]:
        on_frame = host.on_frame

        def take(worker: WorkerProcess, frame: list[Any]) -> None:
            if frame[0] == SEEN and len(frame) == 4:
                self.looks.seen(worker, *frame[1:])
            else:
                on_frame(worker, frame)

        return take

    def _on_death(self, worker: WorkerProcess, reason: str) -> None:
        if self._host is not None:
            self._metrics.restarts.add()
            self._host.on_worker_death(worker, reason)
        self.looks.on_death(worker, reason)

    def _on_retire(self, worker: WorkerProcess, keeps: Callable[[bytes], bool]) -> None:
        if self._host is not None:
            self._host.retire(worker, keeps)

    # -- for the host -----------------------------------------------------------------------------------------

    def pick(self, object_id: bytes) -> WorkerPort | None:
        """The worker for a new activation of this object."""
        return self._pool.pick(object_id) if self._pool is not None else None

    def classes(self) -> set[str]:
        """The application's object classes."""
        return self._pool.classes() if self._pool is not None else set()

    def facts(self) -> tuple[list[int], set[str], bool]:
        """Pids of the workers, the application's classes, and whether it answers paths of its own."""
        if self._pool is None:
            return [], set(), False
        return [worker.pid for worker in self._pool.workers], self._pool.classes(), self._pool.has_default

    def serving(self) -> Serving:
        """The versions of the application that serve here."""
        return self._pool.serving if self._pool is not None else ()

    def crons(self) -> Sequence[str]:
        """The schedules of the application's cron triggers."""
        return self._pool.crons if self._pool is not None else ()

    def giver(self) -> Giver:
        """What the application has to give to runs that come from outside: grants that its configuration names."""
        bindings = self._pool.bindings if self._pool is not None else dict[str, Any]()
        return Giver(
            "the gateway", bindings.get("fetch_hosts", ()), bindings.get("secrets", ()), bindings.get("grants", {}),
            self.classes(), named_only=True,
        )  # fmt: skip

    def set_clock(self, ahead_ms: int) -> None:
        """Tell the workers how far ahead their clock is now; those that start later ask."""
        for worker in self._pool.workers if self._pool is not None else ():
            worker.send((CLOCK, ahead_ms))

    # -- versions ---------------------------------------------------------------------------------------------

    async def prepare(self, version_id: str) -> None:
        """Load a version, so that it can serve at once when it is told to.

        Raises:
            AppFailed: it cannot be imported.
            HomingError: it cannot be had.
        """
        assert self._pool is not None, "start comes first"
        if version_id not in self._pool.versions:
            await self._pool.prepare(await self._code.bundle(version_id, self._pool), version_id)

    async def _serve(self, pool: WorkerPool, serving: Serving) -> None:
        for _, version_id in serving:
            if version_id not in pool.versions:
                await pool.prepare(await self._code.bundle(version_id, pool), version_id)
        if not {version_id for _, version_id in serving} <= set(pool.versions):
            raise Unavailable("other versions were loaded meanwhile")
        pool.serve(serving)

    def _want(self, serving: Serving) -> None:
        self._wanted = serving
        self._wanted_changed.set()

    async def _follow(self, pool: WorkerPool) -> None:
        """Let serve what is deployed; what cannot be loaded is tried again, and the old code goes on meanwhile."""
        wait_s = limits.version_retry_first_s
        serving: Serving = pool.serving
        while True:
            await self._wanted_changed.wait()
            self._wanted_changed.clear()
            if list(self._wanted) == list(serving):
                continue
            try:
                await self._serve(pool, self._wanted)
            except HomingError as error:
                _log.error("a version cannot be loaded; the old code goes on", error=str(error), again_in_s=wait_s)
                asyncio.get_running_loop().call_later(wait_s, self._wanted_changed.set)
                wait_s = min(2 * wait_s, limits.version_retry_s_max)
            else:
                serving, wait_s = self._wanted, limits.version_retry_first_s
                _log.info("versions serve", versions={version: percent for percent, version in serving})
                self.on_loaded()

    # -- reload -----------------------------------------------------------------------------------------------

    def reload_soon(self) -> None:
        """The application's files may have changed."""
        self._reload_asked.set()

    async def run(self) -> None:
        """Reload when asked, follow deployments, and fail if the supervision of the workers does; until cancelled."""
        assert self._pool is not None, "start comes first"
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pool.wait())
            group.create_task(self._reload_when_asked(self._pool))
            group.create_task(self._code.watch(self._want))
            group.create_task(self._follow(self._pool))

    async def _reload_when_asked(self, pool: WorkerPool) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            try:
                await pool.reload(await pool.bundle(self._settings.app))
            except AppFailed as error:
                _log.error(
                    "the new code cannot be imported; the old goes on", error=str(error), traceback=error.traceback
                )
            except HomingError as error:
                _log.error("the application was not reloaded; the old code goes on", error=str(error))
            else:
                _log.info("the application was reloaded", classes=sorted(pool.classes()))
                self.on_loaded()

    async def close(self) -> None:
        """End every worker and wait until all are dead."""
        if self._pool is not None:
            await self._pool.close()
