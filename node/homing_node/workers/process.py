"""One jailed worker process: its start, its channel, its pulse, its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from homing.errors import ConfigurationError, HomingError, JailUnavailable, Unavailable
from homing_node.workers import limits
from homing_node.workers.inside.channel import (
    BEAT,
    FAILED,
    HELLO,
    LOG,
    PING,
    PONG,
    READY,
    BadFrame,
    Channel,
)
from homing_node.workers.inside.output import LEVELS
from homing_node.workers.jail import EXIT_NSJAIL_FAILED, Jail, JailSpec, explain_exit, spawn
from homing_node.workers.jail_system import cpu_s_of
from homing_node.workers.process_output import OutputPipe
from homing_node.workers.process_pulse import Pulse


class AppFailed(ConfigurationError):
    """The application's main module cannot be imported, or is no application.

    Attributes:
        error_type: of the exception that the import raised.
        traceback: its traceback, as text.
    """

    def __init__(self, message: str, error_type: str, traceback: str) -> None:
        super().__init__(f"the application cannot be imported: {error_type}: {message}")
        self.error_type = error_type
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker process runs, and how it is watched.

    Attributes:
        jail: how its jail is built.
        import_path: where imports start, as the worker sees it.
        main_module: the module to import.
        bindings: what it is given as `env`; see `app_bindings`.
        runtime_limits: limits of the worker-side runtime, by name; absent ones keep their defaults.
        turn_cpu_s_max: CPU that one turn may use, in seconds.
        silence_s_max: how long the worker may give no sign of life.
        hello_timeout_s: how long jail and import may take.
        ahead_ms: see `PoolConfig`.
        packages: where the packages of the application are, as the worker sees them; empty: there are none.
        version: of the application, as deployments name it.
    """

    jail: JailSpec
    import_path: str
    main_module: str
    bindings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    runtime_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    turn_cpu_s_max: float = limits.turn_cpu_s_max
    silence_s_max: float = limits.silence_s_max
    hello_timeout_s: float = limits.hello_timeout_s
    ahead_ms: Callable[[], int] | None = None
    packages: str = ""
    version: str = ""


class WorkerProcess:
    """A worker. `live` runs it from start to end; everything else may be used while that runs.

    Attributes:
        id: unique in this node's life.
        generation: of the application's code; a reload raises it.
        pid: of the worker on the host; 0 before it is known.
        classes: object classes and their public methods; empty until `ready`.
        has_default: whether the application answers paths of its own.
        ready: done when the application is imported; else raises AppFailed, JailUnavailable or Unavailable.
        usable: whether new activations may be put here.

    Args:
        id: see above.
        generation: see above.
        spec: what it runs.
        on_frame: gets this worker and each frame of it that is not for its supervision; lines that it wrote to its
            bare descriptors come as LOG frames of activation 0.
        on_writable: called with this worker when `writable` has become True again.
    """

    def __init__(
        self,
        id: int,  # noqa: A002 - the host's name for it
        generation: int,
        spec: WorkerSpec,
        on_frame: Callable[[WorkerProcess, list[Any]], None],
        on_writable: Callable[[WorkerProcess], None] | None = None,
    ) -> None:
        self.id = id
        self.generation = generation
        self.pid = 0
        self.classes: dict[str, list[str]] = {}
        self.has_default = False
        self.usable = False
        self.ready: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._spec = spec
        self._on_frame = on_frame
        self._channel = Channel(
            self._on_message,
            self._on_close,
            on_writable=(lambda: on_writable(self)) if on_writable is not None else None,
        )
        self._connected = False
        self._channel_ended = asyncio.Event()
        self._pulse: Pulse | None = None
        self._jail: Jail | None = None
        self._last_words: deque[str] = deque(maxlen=20)  # of stderr, before READY: nsjail says there what failed
        self._reason = ""

    def __repr__(self) -> str:
        state = "usable" if self.usable else "ready" if self.classes else "not ready"
        return f"<worker {self.id} pid={self.pid} generation={self.generation} {state}>"

    @property
    def fetch_hosts(self) -> Sequence[str]:
        """Where its code may send requests (`homing_node.broker.hosts`)."""
        return self._spec.bindings.get("fetch_hosts", ())

    @property
    def secrets(self) -> Sequence[str]:
        """The names of secrets that grants of its code may use; it has none of their values."""
        return self._spec.bindings.get("secrets", ())

    @property
    def grants(self) -> Mapping[str, Mapping[str, Any]]:
        """The grants that its configuration has, by name."""
        return self._spec.bindings.get("grants", {})

    @property
    def version(self) -> str:
        """The version of its code, as deployments name it."""
        return self._spec.version

    # -- for the host ------------------------------------------------------------------------------------------

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue one frame; nothing happens when the worker is gone, for its death is on its way to the host.

        Raises:
            MessageTooLarge: above `message_bytes_max`; nothing was queued.
        """
        self._channel.send(message)

    @property
    def writable(self) -> bool:
        """Whether the worker reads what is sent; else bound what you send."""
        return not self._channel.paused and not self._channel.closed

    @property
    def queued_bytes(self) -> int:
        """What was sent and is still in this process."""
        return self._channel.queued_bytes

    def kill(self, reason: str) -> None:
        """End the process at once; the first reason given is the one that its death is reported with."""
        self._reason = self._reason or reason
        self.usable = False
        if self._jail is not None:
            self._jail.kill()

    # -- the life ----------------------------------------------------------------------------------------------

    async def live(self) -> str:
        """Build the jail, import the application, watch the worker until every process of it is dead and reaped.

        Returns:
            Why it ended, as a phrase. When `ready` has failed, that says more.
        """
        try:
            return await self._live()
        except HomingError as error:
            self._fail_start(error)
            return error.message
        finally:
            self.usable = False
            self._fail_start(Unavailable("a worker ended before it was ready: its supervision ended"))

    async def _live(self) -> str:
        if self._reason:
            raise Unavailable(f"a worker was not started: {self._reason}")
        jail = self._jail = spawn(self._spec.jail)
        pipes = [OutputPipe(fd, self._on_line(name)) for fd, name in ((jail.stdout, "stdout"), (jail.stderr, "stderr"))]
        try:
            status = await self._live_in(jail)
        finally:
            for pipe in pipes:
                pipe.close()
        reason = self._reason or explain_exit(status)
        if not self.ready.done():
            raise self._start_error(status, reason)
        return reason

    async def _live_in(self, jail: Jail) -> int:
        talk: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                talk = group.create_task(self._talk(jail), name=f"worker {self.id}")
                await jail.find_inner()
                self.pid = jail.inner_pid
                if self._reason:
                    jail.kill()  # `kill` came while there was no program yet
                status = await jail.wait_dead()
                await self._hear_out()
                talk.cancel()
                return status
        except BaseException:
            jail.kill()  # this node ends, or a supervisor failed: no worker stays behind
            await jail.wait_dead()
            raise
        finally:
            self._channel.close("the worker is dead")
            if not self._connected:
                jail.channel.close()

    async def _hear_out(self) -> None:
        """What the worker sent before it died is still in the socket; it counts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.terminate_grace_s):
                await self._channel_ended.wait()

    async def _talk(self, jail: Jail) -> None:
        loop = asyncio.get_running_loop()
        self._connected = True  # from here on the transport closes the socket
        await loop.create_unix_connection(lambda: self._channel, sock=jail.channel)
        spec = self._spec
        hello = {
            "app": spec.import_path, "main": spec.main_module, "packages": spec.packages,
            "bindings": dict(spec.bindings),
            "limits": dict(spec.runtime_limits), "ahead_ms": spec.ahead_ms() if spec.ahead_ms is not None else None,
        }  # fmt: skip
        self._channel.send((HELLO, hello))
        try:
            async with asyncio.timeout(spec.hello_timeout_s):
                await asyncio.shield(self.ready)
        except TimeoutError:
            self.kill(f"the application was not imported after {spec.hello_timeout_s:g} s")
        except HomingError:
            self.kill("the application cannot be imported")
        else:
            if not self.pid:
                self.kill("its process cannot be found in /proc")
                return
            await self._watch(loop)

    async def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        pulse = self._pulse = Pulse(loop.time(), self._spec.turn_cpu_s_max, self._spec.silence_s_max)
        while True:
            cpu_s = cpu_s_of(self.pid)  # None: it died, and `live` is about to know
            wrong = pulse.tick(loop.time(), cpu_s) if cpu_s is not None else None
            if wrong is not None:
                self.kill(wrong)
                return
            number = pulse.ping(loop.time())
            if number is not None:
                self._channel.send((PING, number))
            await asyncio.sleep(limits.ping_interval_s)

    # -- frames and lines --------------------------------------------------------------------------------------

    def _on_message(self, message: list[Any]) -> None:
        kind = message[0]
        if self._pulse is None:
            self._on_start_message(kind, message)
        elif kind == PONG:
            self._pulse.pong(_number(message), asyncio.get_running_loop().time())
        elif kind == BEAT:
            self._pulse.beat(asyncio.get_running_loop().time())
        elif kind in (READY, FAILED):
            raise BadFrame("a worker starts once")
        else:
            self._on_frame(self, message)

    def _on_start_message(self, kind: int, message: list[Any]) -> None:
        if kind == READY and not self.ready.done():
            self.classes, self.has_default = _offer(message)
            self._last_words.clear()
            self.usable = not self._reason
            self.ready.set_result(self)
        elif kind == FAILED:
            words = [str(word) for word in message[1:4]] + [""] * 3
            self._fail_start(AppFailed(words[1], words[0], words[2]))
        elif kind == LOG or self.ready.done():
            self._on_frame(self, message)
        elif kind != BEAT:
            raise BadFrame(f"frame {kind} before READY")

    def _on_line(self, stream: str) -> Callable[[str], None]:
        def emit(line: str) -> None:
            if not self.ready.done():
                self._last_words.append(line)
            self._on_frame(self, [LOG, 0, "", stream, line, "", LEVELS[stream]])

        return emit

    def _on_close(self, reason: str) -> None:
        self._channel_ended.set()
        if reason.startswith("protocol error"):
            self.kill(f"it broke the protocol of its channel: {reason}")
        else:
            asyncio.get_running_loop().call_later(limits.channel_end_s, self._end_unless_dying)

    def _end_unless_dying(self) -> None:
        if self._jail is not None and self._jail.program_lives:
            self.kill("it closed its channel")

    # -- a start that failed -----------------------------------------------------------------------------------

    def _fail_start(self, error: HomingError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # whoever waits for it gets it; nobody may

    def _start_error(self, status: int, reason: str) -> HomingError:
        words = "\n".join(self._last_words)[-limits.nsjail_words_bytes_max :]
        spoke = status == EXIT_NSJAIL_FAILED and ("[E]" in words or "[F]" in words)
        if not self._reason and (spoke or not self.pid):
            return JailUnavailable(f"nsjail could not build the jail of a worker: {words or explain_exit(status)}")
        return Unavailable(f"a worker ended before it was ready: {reason}. {words}".rstrip(". "))


def _number(message: list[Any]) -> int:
    number = message[1] if len(message) > 1 else None
    if type(number) is not int:
        raise BadFrame("a PONG without its number")
    return number


def _offer(message: list[Any]) -> tuple[dict[str, list[str]], bool]:
    """What READY says: classes with their methods, and whether there is a default entrypoint."""
    try:
        offer = cast("dict[str, Any]", message[1])
        classes = {str(name): [str(method) for method in methods] for name, methods in offer["classes"].items()}
        has_default = bool(offer["default"])
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise BadFrame(f"READY is not as agreed: {error!r}") from error
    if len(classes) > limits.ready_classes_max:
        raise BadFrame(f"{len(classes)} classes; at most {limits.ready_classes_max}")
    return classes, has_default
