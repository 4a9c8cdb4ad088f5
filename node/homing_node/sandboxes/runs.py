"""One run: what its sandbox says becomes an outcome, and what it uses too much of becomes its end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from homing.errors import HomingError, Unavailable
from homing.sandboxes import Asked, Outcome
from homing_node.broker.grants import Hand
from homing_node.sandboxes import limits
from homing_node.sandboxes.asks import Asks
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.child import EXIT_NOT_SEALED
from homing_node.sandboxes.sandbox import Conversation, Sandbox, frames_max_for
from homing_node.workers.inside.framing import BadFrame
from homing_node.workers.jail import explain_exit
from homing_node.workers.jail_system import anonymous_bytes_of

_CPU_CLOCK = 2  # CPUCLOCK_SCHED of a process, in the clock ids of the kernel (include/linux/posix-timers.h)
CODES = {
    talk.RAISED: "sandbox-error",
    talk.SYNTAX: "sandbox-syntax",
    talk.MEMORY: "sandbox-limit",
    talk.NO_VALUE: "sandbox-no-value",
    talk.RESULT_BYTES: "sandbox-limit",
}
LIMITS = {talk.MEMORY: "memory_bytes", talk.RESULT_BYTES: "result_bytes"}
_STATUS_OF_SIGNALS = 128
_CORES = os.cpu_count() or 1

OnOutput = Callable[[int, bytes], None]


def cpu_s_of(pid: int) -> float:
    """CPU time of a process, in seconds.

    Raises:
        OSError: it is gone.
    """
    return time.clock_gettime(~pid << 3 | _CPU_CLOCK)


class Run:
    """A run, from the moment that it has a sandbox.

    Args:
        number: names it on this node.
        asked: what is run.
        sandbox: where.
        wall_s: how long it may take.
        hand: its grants, which end with it.
        on_output: is given what it prints, and which of its streams that is, as it comes; else it is in the outcome.

    Attributes:
        outcome: its end; a `HomingError` where the sandbox could not be had.
    """

    def __init__(
        self, number: int, asked: Asked, sandbox: Sandbox, wall_s: float, hand: Hand,
        on_output: OnOutput | None = None,
    ) -> None:  # fmt: skip
        self.number, self.asked, self.sandbox, self._hand = number, asked, sandbox, hand
        self._asks: Asks | None = None
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self.began_s = time.perf_counter()
        self._output: dict[int, list[bytes]] = {talk.STDOUT: [], talk.STDERR: []}
        self._on_output = on_output or self._keep
        self._output_left = asked.limits.output_bytes
        self._wall = self._loop.call_later(wall_s, self._limit, "wall_s", f"it took more than {wall_s:g} s")
        self._cpu = self._loop.call_later(self._cpu_pause(asked.limits.cpu_s), self._look_at_cpu)

    def begin(self) -> None:
        """Send the code."""
        asked, given = self.asked, self.asked.limits
        sandbox = self.sandbox
        bytes_max = partial_max = given.output_bytes + given.result_bytes + limits.frame_overhead_bytes
        frames_max = frames_max_for(given.output_bytes)
        if self._hand.offers:
            bytes_max += limits.grant_bytes_max
            partial_max += talk.asks_bytes_at_once_max
            frames_max += limits.grant_frames_max
        conversation = Conversation(sandbox, bytes_max, frames_max, self._on_message, self._on_close, partial_max)
        if self._hand.offers:
            self._asks = Asks(self._hand, conversation.send, lambda: conversation.queued_bytes)
        sandbox.run = conversation
        conversation.begin(
            (
                talk.RUN, asked.code, asked.arguments, asked.stdin, given.result_bytes, asked.streamed,
                self._hand.offers, asked.language, given.memory_bytes,
            )
        )  # fmt: skip

    # -- what it says ---------------------------------------------------------------------------------------------

    def _on_message(self, message: list[Any]) -> None:
        try:
            self._take(*message)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise BadFrame(f"no message of a sandbox: {error!r}") from error

    def _take(self, kind: int, *parts: Any) -> None:
        if kind == talk.OUTPUT:
            stream, data = parts
            self._print(stream, data)
        elif kind == talk.RESULT:
            (data,) = parts
            self._result(data)
        elif kind == talk.FAILURE:
            cause, error_type, message, trace = map(_text, parts)
            if cause == talk.MEMORY:
                message = f"it wanted more than {self.asked.limits.memory_bytes} bytes of memory"
            self._end([CODES[cause], message, LIMITS.get(cause, error_type), trace])
        elif kind == talk.ASK and self._asks is not None:
            self._asks.take(*parts)
        elif kind == talk.LEAVE and self._asks is not None:
            self._asks.leave(*parts)
        else:
            raise ValueError("an unknown kind")

    def _print(self, stream: Any, data: Any) -> None:
        if type(data) is not bytes or stream not in self._output:
            raise TypeError("output that is no bytes, or of no stream")
        self._on_output(stream, data[: self._output_left])
        self._output_left -= len(data)
        if self._output_left < 0:
            most = self.asked.limits.output_bytes
            self._limit("output_bytes", f"it printed more than {most} bytes")

    def _keep(self, stream: int, data: bytes) -> None:
        self._output[stream].append(data)

    def _result(self, data: Any) -> None:
        if type(data) is not bytes:
            raise TypeError("a result that is no bytes")
        most = self.asked.limits.result_bytes
        if len(data) > most:
            self._limit("result_bytes", f"a result of {len(data)} bytes; at most {most}")
        else:
            self._end(None, data)

    # -- what ends it ---------------------------------------------------------------------------------------------

    def _on_close(self, reason: str) -> None:
        if reason == "it said more than it may":
            self._limit("output_bytes", reason)
        elif reason.startswith("it broke"):
            self._end(["sandbox-died", reason, "", ""])
        else:
            self.sandbox.kill()  # why it has closed its channel shows when it is dead

    def died(self, status: int) -> None:
        """Its process is dead and reaped, or was never there; nothing more comes of it."""
        if self.outcome.done():
            return
        if status < 0:
            self.fail(Unavailable("the sandbox was lost: its zygote has ended"))
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == EXIT_NOT_SEALED:
            self.fail(Unavailable("the sandbox could not be sealed, and was not used"))
        elif self.sandbox.cpu_us >= self.asked.limits.cpu_s * 1e6:
            self._limit("cpu_s", f"it used more than {self.asked.limits.cpu_s:g} s of CPU")
        else:
            ended = os.WTERMSIG(status) + _STATUS_OF_SIGNALS if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            told = "it ended its own process" if ended == 0 else explain_exit(ended)
            if ended == _STATUS_OF_SIGNALS + signal.SIGKILL:
                told = "it closed its channel, or was killed for the memory of its tenant"
            self._end(["sandbox-died", told, "", ""])

    def _limit(self, name: str, message: str) -> None:
        self._end(["sandbox-limit", message, name, ""])

    def stop(self, reason: str) -> None:
        """End it: somebody wants it to, or nobody waits any more."""
        self._end(["sandbox-died", reason, "", ""])

    def fail(self, error: HomingError) -> None:
        """It came to nothing, through no fault of its code."""
        if not self.outcome.done():
            self._close()
            self.outcome.set_exception(error)
            self.outcome.exception()  # whoever awaits it gets it; nobody may

    def _end(self, error: list[str] | None, result: bytes | None = None) -> None:
        if self.outcome.done():
            return
        self._close()  # whatever comes of it, the process ends here
        stdout, stderr = (b"".join(self._output[stream]) for stream in (talk.STDOUT, talk.STDERR))
        took_ms = (time.perf_counter() - self.began_s) * 1e3
        self.outcome.set_result((result, stdout, stderr, error, took_ms))

    def _close(self) -> None:
        self._wall.cancel()
        self._cpu.cancel()
        if self.sandbox.run is not None:
            self.sandbox.run.stop()
        if self._asks is not None:
            self._asks.close()
        self._hand.close()
        self.sandbox.kill()

    @property
    def cpu_s(self) -> float:
        """CPU that it has used, in seconds, as far as that can be seen."""
        try:
            return self._cpu_s()
        except OSError:
            return 0.0

    @property
    def memory_bytes(self) -> int:
        """Memory that it has beyond what it came with."""
        pid = self.sandbox.pid
        return max(0, anonymous_bytes_of(pid) - self.sandbox.memory_before_bytes) if pid else 0

    def _cpu_s(self) -> float:
        pid = self.sandbox.pid
        return cpu_s_of(pid) - self.sandbox.cpu_before_s if pid else 0.0

    # -- CPU ------------------------------------------------------------------------------------------------------

    def _cpu_pause(self, left_s: float) -> float:
        return max(limits.cpu_look_s_min, left_s / _CORES)  # all cores may work for it

    def _look_at_cpu(self) -> None:
        most = self.asked.limits.cpu_s
        try:
            used = self._cpu_s()
        except OSError:
            return  # it is gone, and that is on its way here
        if used >= most:
            self._limit("cpu_s", f"it used more than {most:g} s of CPU")
        else:
            self._cpu = self._loop.call_later(self._cpu_pause(most - used), self._look_at_cpu)


def _text(part: Any) -> str:
    if type(part) is not str or len(part) > limits.frame_overhead_bytes:
        raise TypeError("no text")
    return part
