"""Sandboxes in jails of their own: an exec for each run, so that it shares nothing with another but the kernel.

No zygote has forked them: layout of memory, seed of hashes, cgroup and user namespace are the run's alone. They cost a
start of Python each. They are for tenants whom the operator names, and where no zygote can be had.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from homing.errors import HomingError, JailUnavailable, Overloaded, Unavailable
from homing.observability.metrics import Counter
from homing_node.sandboxes import limits
from homing_node.sandboxes.inside.orders import NOW, UP, Order
from homing_node.sandboxes.runs import cpu_s_of
from homing_node.sandboxes.sandbox import Sandbox
from homing_node.workers.jail import EXIT_NSJAIL_FAILED, Jail, JailSpec, explain_exit, readable, spawn
from homing_node.workers.jail_system import anonymous_bytes_of
from homing_node.workers.process_output import OutputPipe

_log = structlog.stdlib.get_logger("homing.sandboxes")

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATUS_OF_SIGNALS = 128
_KEEPS_UID = 0  # the jail has one


class StrictSandbox:
    """A jail with one sandbox in it.

    Args:
        spec: of the jail.
        memory_bytes: address space that its code may take.
        cpu_s: CPU after which the kernel kills it.

    Attributes:
        ready: the sandbox, once it waits for its code; or why there is none.
    """

    def __init__(self, spec: JailSpec, memory_bytes: int, cpu_s: int) -> None:
        self._spec = spec
        self._memory_bytes, self._cpu_s = memory_bytes, cpu_s
        self._jail: Jail | None = None
        self._killed = False
        self._words: deque[str] = deque(maxlen=20)
        self.ready: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()

    async def live(self) -> None:
        """Build the jail, and return when every process in it is dead and reaped."""
        try:
            await self._live()
        except HomingError as error:
            self._fail(error)
        except OSError as error:  # this node has no descriptors left, say
            self._fail(Unavailable(f"a sandbox without a zygote could not be started: {error}"))
        finally:
            self._fail(Unavailable("a sandbox without a zygote ended before it was ready"))

    def kill(self) -> None:
        """End it. Idempotent."""
        self._killed = True
        if self._jail is not None:
            self._jail.kill()

    def _fail(self, error: HomingError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # whoever waits for it gets it; nobody may

    async def _live(self) -> None:
        if self._killed:
            return
        jail = self._jail = spawn(self._spec)
        jail.channel.setblocking(False)
        pipes = [OutputPipe(fd, self._words.append) for fd in (jail.stdout, jail.stderr)]
        try:
            status = await self._live_in(jail)
        finally:
            for pipe in pipes:
                pipe.close()
        if self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None:
            self.ready.result().end(_wait_status(status))
            return
        jail.channel.close()
        words = " ".join(self._words)
        if status == EXIT_NSJAIL_FAILED:
            raise JailUnavailable(f"nsjail could not build the jail of a sandbox: {words or explain_exit(status)}")
        raise Unavailable(f"a sandbox ended before it was ready: {explain_exit(status)} {words}".strip())

    async def _live_in(self, jail: Jail) -> int:
        await jail.find_inner()
        dead = asyncio.ensure_future(jail.wait_dead())
        up = asyncio.ensure_future(readable(jail.channel.fileno()))
        try:
            await asyncio.wait({dead, up}, timeout=limits.zygote_start_s, return_when=asyncio.FIRST_COMPLETED)
            up.cancel()
            if self._killed or not self._begin(jail):
                jail.kill()
            return await asyncio.shield(dead)
        except BaseException:
            jail.kill()  # this node ends, or a supervisor failed: nothing of it stays behind
            await dead
            raise
        finally:
            up.cancel()

    def _begin(self, jail: Jail) -> bool:
        """Give it its order, if it is up and somebody still waits; returns whether it has one."""
        with contextlib.suppress(OSError):
            if jail.channel.recv(len(UP)) != UP or self.ready.done():
                return False
            own_bytes = int(Path(f"/proc/{jail.inner_pid}/statm").read_text().split()[0]) * _PAGE_BYTES
            sandbox = Sandbox(0, _KEEPS_UID, jail.channel)
            sandbox.cpu_before_s = cpu_s_of(jail.inner_pid)
            sandbox.memory_before_bytes = anonymous_bytes_of(jail.inner_pid)
            cpu_s = self._cpu_s + math.ceil(sandbox.cpu_before_s)
            jail.channel.send(Order(0, _KEEPS_UID, own_bytes + self._memory_bytes, cpu_s, NOW).pack())
            sandbox.forked(jail.program_pidfd())
            self.ready.set_result(sandbox)
            return True
        return False


def _wait_status(status: int) -> int:
    """An exit status as a shell shows it, as `wait` gives it."""
    return status - _STATUS_OF_SIGNALS if status > _STATUS_OF_SIGNALS else status << 8


class StrictSandboxes:
    """Starts sandboxes in jails of their own.

    Args:
        spec: of a jail whose program may take so much memory; called in a thread.
        started: counts them.
    """

    def __init__(self, spec: Callable[[int], JailSpec], started: Counter) -> None:
        self._spec, self._started = spec, started
        self._living: set[StrictSandbox] = set()
        self._places = asyncio.Semaphore(limits.strict_starting_max)
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()

    async def serve(self) -> None:
        """Own all of them until `close`."""
        async with asyncio.TaskGroup() as self._group:
            await self._closing.wait()
            for each in list(self._living):
                each.kill()

    def close(self) -> None:
        """End everything; `serve` returns when all of it is dead."""
        self._closing.set()

    async def take(self, memory_bytes: int, cpu_s: int) -> Sandbox:
        """A sandbox for one run.

        Raises:
            Unavailable: it could not be started.
            Overloaded: there are too many.
            JailUnavailable: this machine cannot build the jail, or lacks a layer of it.
        """
        if len(self._living) >= limits.strict_max:
            raise Overloaded(
                f"{len(self._living)} sandboxes have jails of their own", cause="sandboxes", retry_after_s=1.0
            )
        async with self._places:
            spec = await asyncio.to_thread(self._spec, memory_bytes)
            if self._group is None or self._closing.is_set():
                raise Unavailable("this node starts no sandboxes just now")
            started = StrictSandbox(spec, memory_bytes, cpu_s)
            self._started.add()
            self._living.add(started)
            self._group.create_task(self._keep(started), name="a sandbox in a jail of its own")
            try:
                return await asyncio.shield(started.ready)
            except asyncio.CancelledError:
                started.kill()
                raise

    async def _keep(self, started: StrictSandbox) -> None:
        try:
            await started.live()
        finally:
            self._living.discard(started)
