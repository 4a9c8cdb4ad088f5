"""One zygote, as its node sees it: a jail that forks sandboxes on order, and says when they are dead."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from homing.errors import HomingError, JailUnavailable, Unavailable
from homing_node.sandboxes import limits
from homing_node.sandboxes.inside.orders import ENDED, FAILED, FORKED, NOTICE_BYTES, NOW, READY, Notice, Order
from homing_node.sandboxes.sandbox import Sandbox
from homing_node.workers.jail import EXIT_NSJAIL_FAILED, Jail, JailSpec, explain_exit, spawn
from homing_node.workers.jail_system import anonymous_bytes_of
from homing_node.workers.process_output import OutputPipe

_log = structlog.stdlib.get_logger("homing.sandboxes")

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
NEVER_FORKED = -1


class Zygote:
    """A zygote and its sandboxes.

    Args:
        spec: see `jails`.
        on_death: called once, when it and all of its sandboxes are dead, with why.

    Attributes:
        pid: of its process on the host; 0 before it is ready.
        forks: orders that it was given.
        started_s: when it was ready, by the loop's clock.
        sandboxes: those that were ordered and are not dead, by number.
        retired: it is given no more orders.
    """

    def __init__(self, spec: JailSpec, on_death: Callable[[Zygote, str], None]) -> None:
        self._spec = spec
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._jail: Jail | None = None
        self._numbers = itertools.count(1)
        self._uids: deque[int] = deque()
        self._own_bytes = self._own_anonymous_bytes = 0
        self._reason = ""
        self._words: deque[str] = deque(maxlen=20)
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.pid = 0
        self.forks = 0
        self.started_s = 0.0
        self.sandboxes: dict[int, Sandbox] = {}
        self.unanswered = 0
        self.retired = False

    async def live(self) -> None:
        """Build the jail and serve until every process in it is dead and reaped; `ready` tells of a failed start."""
        reason = "its supervision ended"
        try:
            reason = await self._live()
        except HomingError as error:
            reason = error.message
            self._fail(error)
        except OSError as error:  # this node has no descriptors left, say
            reason = str(error)
        finally:
            self.retired = True
            self._fail(Unavailable(f"a zygote ended before it was ready: {reason}"))
            for sandbox in list(self.sandboxes.values()):
                self._ended(sandbox, NEVER_FORKED)
            self._on_death(self, reason)

    async def _live(self) -> str:
        if self._reason:
            return self._reason
        jail = self._jail = spawn(self._spec)
        pipes = [OutputPipe(fd, self._on_line) for fd in (jail.stdout, jail.stderr)]
        jail.channel.setblocking(False)
        control = jail.channel.fileno()
        self._loop.add_reader(control, self._readable, jail)
        try:
            status = await self._live_in(jail)
        finally:
            self._loop.remove_reader(control)
            jail.channel.close()
            for pipe in pipes:
                pipe.close()
        if status == EXIT_NSJAIL_FAILED and not self.ready.done():
            words = "\n".join(self._words)
            raise JailUnavailable(f"nsjail could not build the jail of a zygote: {words or explain_exit(status)}")
        return ": ".join(filter(None, (self._reason or explain_exit(status), " ".join(self._words))))

    async def _live_in(self, jail: Jail) -> int:
        await jail.find_inner()
        self.pid = jail.inner_pid
        dead = asyncio.ensure_future(jail.wait_dead())
        try:
            await asyncio.wait(
                [dead, self.ready], timeout=limits.zygote_start_s, return_when=asyncio.FIRST_COMPLETED
            )  # fmt: skip
            if not self.ready.done() or self._reason:
                self.kill(f"it was not ready after {limits.zygote_start_s:g} s")
            return await asyncio.shield(dead)
        except BaseException:
            jail.kill()  # this node ends, or a supervisor failed: nothing of it stays behind
            await dead
            raise

    def _on_line(self, line: str) -> None:
        self._words.append(line)
        _log.warning("a zygote says", line=line, zygote=self.pid)

    def _fail(self, error: HomingError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # whoever waits for it gets it; nobody may

    # -- orders ---------------------------------------------------------------------------------------------------

    @property
    def takes_orders(self) -> bool:
        """Whether `fork` would do something now."""
        return (
            self.ready.done() and not self.retired and bool(self._uids) and self.unanswered < limits.zygote_orders_max
        )

    def fork(self, memory_bytes: int, cpu_s: int, rehearsal: int = NOW) -> Sandbox:
        """Order a sandbox; what is sent on its channel it reads when it is sealed.

        Args:
            memory_bytes: address space that its code may take.
            cpu_s: CPU after which the kernel kills it.
            rehearsal: what it does while nothing is sent on its channel yet (`orders`).

        Raises:
            Unavailable: this zygote takes no orders.
        """
        if not self.takes_orders or self._jail is None:
            raise Unavailable("this zygote takes no orders")
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise Unavailable(f"this node cannot make another sandbox: {error}") from error
        uid = self._uids.popleft()
        sandbox = Sandbox(next(self._numbers), uid, ours)
        sandbox.is_leaving = lambda: self.retired
        sandbox.memory_before_bytes = self._own_anonymous_bytes
        own_uid = uid if self._spec_has_uids else 0
        order = Order(sandbox.number, own_uid, self._own_bytes + memory_bytes, cpu_s, rehearsal)
        try:
            ours.setblocking(False)
            socket.send_fds(self._jail.channel, [order.pack()], [theirs.fileno()])
        except OSError as error:
            ours.close()
            self._uids.append(uid)
            self.kill(f"it takes no orders: {error}")
            raise Unavailable("this zygote takes no orders") from error
        finally:
            theirs.close()
        self.forks += 1
        self.unanswered += 1
        self.sandboxes[sandbox.number] = sandbox
        return sandbox

    @property
    def _spec_has_uids(self) -> bool:
        return self._jail is not None and self._jail.uid.own

    def kill(self, reason: str) -> None:
        """End it, and all of its sandboxes with it."""
        self._reason = self._reason or reason
        self.retired = True
        if self._jail is not None:
            self._jail.kill()

    # -- notices --------------------------------------------------------------------------------------------------

    def _readable(self, jail: Jail) -> None:
        for _ in range(limits.zygote_orders_max):
            try:
                packet, descriptors, _, _ = socket.recv_fds(jail.channel, NOTICE_BYTES, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                self._loop.remove_reader(jail.channel.fileno())
                self.kill("its channel was closed")
                return
            try:
                self._take(Notice.unpack(packet), descriptors)
            except (struct.error, LookupError) as error:
                self.kill(f"it broke the protocol: {error!r}")

    def _take(self, notice: Notice, descriptors: list[int]) -> None:
        if notice.kind == READY:
            self._is_ready()
        elif notice.kind == FORKED:
            self.unanswered -= 1
            self.sandboxes[notice.number].forked(descriptors.pop())
        elif notice.kind == FAILED:
            self.unanswered -= 1
            _log.error("a sandbox was not forked", error=os.strerror(notice.value), zygote=self.pid)
            self._ended(self.sandboxes[notice.number], NEVER_FORKED)
        elif notice.kind == ENDED:
            sandbox = self.sandboxes[notice.number]
            sandbox.cpu_us, sandbox.memory_kib = notice.cpu_us, notice.memory_kib
            self._ended(sandbox, notice.value)
        for descriptor in descriptors:
            os.close(descriptor)

    def _is_ready(self) -> None:
        count = self._jail.uid.count if self._jail is not None else 1
        # As an ordinary user all have the same; what is counted then is only how many there are.
        self._uids.extend(range(1, count) if count > 1 else range(1, limits.running_max))
        with contextlib.suppress(OSError):
            self._own_bytes = int(Path(f"/proc/{self.pid}/statm").read_text().split()[0]) * _PAGE_BYTES
        self._own_anonymous_bytes = anonymous_bytes_of(self.pid)
        self.started_s = self._loop.time()
        if not self.ready.done():
            self.ready.set_result(None)

    def _ended(self, sandbox: Sandbox, status: int) -> None:
        if self.sandboxes.pop(sandbox.number, None) is not None:
            self._uids.append(sandbox.uid)
            sandbox.end(status)
