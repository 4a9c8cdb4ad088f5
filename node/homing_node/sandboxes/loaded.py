"""One dynamic worker, as its node sees it: a sandbox that stays, and calls of it that have numbers."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from homing.errors import Overloaded, SandboxLimit
from homing.levels import CRITICAL
from homing.loading import CallLimits
from homing.loading_frames import FAILED, RESPONSE, VALUE, Answer, Call, Event, FacetPart, FailureParts, pieces_of
from homing_node.broker.grants import Hand
from homing_node.sandboxes import limits
from homing_node.sandboxes.asks import Asks
from homing_node.sandboxes.facet_lines import FacetLines
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.runs import CODES, LIMITS, cpu_s_of
from homing_node.sandboxes.sandbox import Conversation, Sandbox
from homing_node.workers.inside.framing import BadFrame, MessageTooLarge
from homing_node.workers.inside.output import LineBudget
from homing_node.workers.jail import explain_exit
from homing_node.workers.jail_system import anonymous_bytes_of

_CODES = {
    **CODES, talk.NOT_FOUND: "not-found", talk.MISFIT: "bad-request", talk.CANCELLED: "sandbox-error",
    talk.NOT_SUPPORTED: "not-supported",
}  # fmt: skip
_OUTCOMES = {"cpu_ms": "exceededCpu", "memory_bytes": "exceededMemory"}
OnLine = Callable[[int, str], None]


class CountedHand(Hand):
    """What was granted, of which only so many uses are left.

    Attributes:
        left: asks that may still be made; none before there is a call.
    """

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self.offers = hand.offers
        self.left = 0
        self._hand = hand

    def has(self, place: int) -> bool:
        """See `Hand`."""
        return self._hand.has(place)

    def ask(self, place: int, operation: str, arguments: bytes) -> Awaitable[bytes]:
        """See `Hand`.

        Raises:
            SandboxLimit: none is left.
        """
        if self.left <= 0:
            raise SandboxLimit("more requests and calls than this call may make", error_type="sub_requests")
        self.left -= 1
        return self._hand.ask(place, operation, arguments)

    def close(self) -> None:
        """See `Hand`."""
        self._hand.close()


class _Call:
    """Attributes: asked; answer, its end; cpu_s, of the worker when it began; logs and log_bytes, for its event."""

    __slots__ = ("answer", "asked", "began_s", "cpu_s", "log_bytes", "logs", "on_line", "wall")

    def __init__(self, asked: Call, cpu_s: float, on_line: OnLine) -> None:
        self.asked, self.cpu_s, self.on_line = asked, cpu_s, on_line
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.began_s = time.perf_counter()
        self.logs: list[tuple[int, int, str]] = []
        self.log_bytes = 0
        self.wall: asyncio.TimerHandle | None = None


class LoadedWorker:
    """A dynamic worker.

    Args:
        number: names it on this node.
        tenant: whose it is.
        sandbox: where it lives.
        hand: what it was granted, which ends with it.
        on_end: called once, when it takes no more calls.
        on_line: gets a line that no call printed: level and text.
        most: what each call may use.
        tailed: whether answers tell what became of their calls.

    Attributes:
        facets: that run in it.
        ended: it takes no more calls.
        began_s: when it was begun, by `time.perf_counter`.
    """

    def __init__(
        self, number: int, tenant: str, sandbox: Sandbox, hand: Hand, on_end: Callable[[], None], on_line: OnLine,
        most: CallLimits, *, tailed: bool,
    ) -> None:  # fmt: skip
        self.number, self.tenant, self.sandbox = number, tenant, sandbox
        self._on_end, self._on_line = on_end, on_line
        self._most, self._tailed = most, tailed
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._given_up: dict[int, asyncio.TimerHandle] = {}
        self._pid = 0
        self._cpu_max_s = limits.loaded_idle_cpu_s  # Invariant: of its whole life so far; above it is killed
        self._cores = os.cpu_count() or 1
        self._lines = LineBudget(time.monotonic)
        self._retired = False
        self.facets = FacetLines()
        self.ended = False
        self.began_s = time.perf_counter()
        self._conversation = sandbox.run = Conversation(
            sandbox, limits.loaded_message_bytes_max, 0, self._on_message, self._on_close, self._partial_max(hand)
        )  # fmt: skip
        self._hand = CountedHand(hand)
        self._asks = Asks(self._hand, self._conversation.send, lambda: self._conversation.queued_bytes)
        self._look = self._loop.call_later(limits.cpu_look_s_min, self._look_at_cpu)

    # -- its code -------------------------------------------------------------------------------------------------

    async def add(self, data: bytes, *, first: bool, last: bool) -> None:
        """Send a part of its code, and wait until it is there."""
        for at in range(0, max(1, len(data)), limits.code_message_bytes):
            piece = data[at : at + limits.code_message_bytes]
            message = (talk.CODE, piece, last and at + len(piece) >= len(data), self._hand.offers)
            if first:
                self._conversation.begin(message)
                first = False
            else:
                self._conversation.send(message)
        await self._conversation.drained()

    async def open_facet(self, part: FacetPart) -> None:
        """Send a part of the pages of a facet, and wait until it is there."""
        head = (talk.FACET, part.facet, part.class_name, part.props, part.object_id, part.name, part.depth)
        for _, piece in pieces_of(part.data, limits.code_message_bytes):
            self._conversation.send((*head, piece))
        await self._conversation.drained()

    def tell_facet(self, kind: int, *said: int) -> None:
        """Tell the sandbox something of a facet."""
        self._conversation.send((kind, *said))
        self._allow()

    # -- calls ----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether calls are in flight."""
        return bool(self._calls)

    @property
    def is_worn(self) -> bool:
        """Whether another should take its place: the kernel bounds the CPU of a process's life; zygotes go, too."""
        return self.sandbox.is_leaving() or self.cpu_s > limits.loaded_worn_cpu_s

    @property
    def cpu_s(self) -> float:
        """CPU that it has used, in seconds, as far as that can be seen."""
        if not self._pid:
            self._pid = self.sandbox.pid
        try:
            return cpu_s_of(self._pid) - self.sandbox.cpu_before_s if self._pid else 0.0
        except OSError:
            return self.sandbox.cpu_us / 1e6

    @property
    def memory_bytes(self) -> int:
        """Memory of its own, as far as that can be seen."""
        pid = self.sandbox.pid
        return max(0, anonymous_bytes_of(pid) - self.sandbox.memory_before_bytes) if pid else 0

    def call(self, asked: Call, left_s: float, on_line: OnLine) -> asyncio.Future[Answer]:
        """Begin a call.

        Args:
            asked: the call.
            left_s: how long anybody waits for it, in seconds.
            on_line: gets what its code prints: level and text.

        Raises:
            BadRequest: limits that cannot be.
            Overloaded: it does not read what it was sent before.
        """
        if self._conversation.queued_bytes > limits.loaded_unsent_bytes_max:
            raise Overloaded("the dynamic worker does not take its calls", cause="calls", retry_after_s=1.0)
        lower = CallLimits(asked.cpu_ms, asked.sub_requests).lower(self._most)
        asked = asked._replace(cpu_ms=lower.cpu_ms, sub_requests=lower.sub_requests)
        number, used_s = next(self._numbers), self.cpu_s
        call = _Call(asked, used_s, on_line)
        message = (
            talk.CALL, number, asked.entrypoint, asked.props, asked.method, asked.body, limits.loaded_result_bytes_max,
            asked.facet,
        )  # fmt: skip
        try:
            self._conversation.send(message)
        except MessageTooLarge as error:
            raise Overloaded(str(error), cause="calls") from error
        self._hand.left = asked.sub_requests + (self._hand.left if self.busy else 0)
        self._cpu_max_s = max(self._cpu_max_s if self.busy else 0.0, used_s + asked.cpu_ms / 1e3)
        self._calls[number] = call
        wall_s = max(0.0, min(left_s, limits.loaded_call_s_max))
        call.wall = self._loop.call_later(wall_s, self._late, number, wall_s)
        self._allow()
        self._look.cancel()
        self._look = self._loop.call_later(self._pause(asked.cpu_ms / 1e3), self._look_at_cpu)
        return call.answer

    def _allow(self) -> None:
        """Bound what may come: of each call what it may return and print, and something for what goes on beside."""
        count = len(self._calls) + len(self._given_up) + 1
        each = limits.loaded_message_bytes_max + limits.log_bytes_max * 2
        more = limits.grant_bytes_max if self._hand.offers else 0
        frames = count * limits.loaded_frames_max
        if self.facets:
            more += limits.facet_unkept_bytes_max
            frames += limits.facet_frames_max
        self._conversation.allow(count * each + more, frames)

    @staticmethod
    def _partial_max(hand: Hand) -> int:
        return limits.loaded_message_bytes_max + (talk.asks_bytes_at_once_max if hand.offers else 0)

    def _settle(self, number: int, answer: Answer, outcome: str = "ok") -> None:
        call = self._calls.pop(number)
        if call.wall is not None:
            call.wall.cancel()
        if self._tailed:
            failure = answer.failure
            error = [] if failure is None else [failure[2] or failure[0], failure[1], failure[3]]
            cpu_ms, wall_ms = (self.cpu_s - call.cpu_s) * 1e3, (time.perf_counter() - call.began_s) * 1e3
            answer = answer._replace(event=Event(outcome, call.logs, error, round(cpu_ms, 3), round(wall_ms, 3)))
        if not call.answer.done():
            call.answer.set_result(answer)
        if self._retired:
            self.retire()

    def retire(self) -> None:
        """It gets no more calls: end it when those that it has are over."""
        self._retired = True
        if not self._calls:
            self._loop.call_soon(self.end, "sandbox-died", "another took its place")

    def _late(self, number: int, wall_s: float) -> None:
        """Nobody waits any more: the worker is told, and has a moment to stop."""
        failed = ("deadline-exceeded", f"the call took more than {wall_s:g} s", "", "")
        self._settle(number, Answer(FAILED, failure=failed), "deadlineExceeded")
        hung = "it did not stop a call that nobody waits for"
        self._given_up[number] = self._loop.call_later(limits.loaded_cancel_s, self.end, "sandbox-died", hung)
        self._conversation.send((talk.CANCEL, number))

    # -- what it says ---------------------------------------------------------------------------------------------

    def _on_message(self, message: list[Any]) -> None:
        try:
            self._take(*message)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise BadFrame(f"no message of a dynamic worker: {error!r}") from error

    def _take(self, kind: int, number: int, *parts: Any) -> None:
        if type(number) is not int:
            raise TypeError("no number")
        if kind == talk.ASK:
            self._asks.take(number, *parts)
        elif kind == talk.LINE:
            self._line(number, *parts)
        elif kind in (talk.COMMIT, talk.LOST):
            self.facets.take(kind, number, *parts)
        elif kind not in (talk.RETURN, talk.RESPOND, talk.FAIL):
            raise ValueError("an unknown kind")
        elif (stopped := self._given_up.pop(number, None)) is not None:
            stopped.cancel()
        elif kind == talk.RETURN:
            self._returned(number, *parts)
        elif kind == talk.RESPOND:
            self._responded(number, *parts)
        else:
            self._failed(number, *map(_text, parts))

    def _returned(self, number: int, data: Any) -> None:
        if type(data) is not bytes or not self._calls[number].asked.method:
            raise TypeError("a result that is none")
        _bound(data)
        self._settle(number, Answer(VALUE, value=data))

    def _responded(self, number: int, status: Any, headers: Any, body: Any) -> None:
        if type(status) is not int or type(body) is not bytes or self._calls[number].asked.method:
            raise TypeError("a response that is none")
        if not 200 <= status <= 599 or len(headers) > limits.loaded_headers_max:
            raise ValueError("a response that cannot be")
        _bound(body)
        fields: list[tuple[str, str]] = [(_text(name), _text(value)) for name, value in headers]
        self._settle(number, Answer(RESPONSE, response=(status, fields, body)))

    def _failed(self, number: int, cause: str, error_type: str, message: str, trace: str) -> None:
        start, cause = cause.startswith(talk.START), cause.removeprefix(talk.START)
        if cause == talk.MEMORY:
            message = f"it wanted more memory than a dynamic worker has: {message}".removesuffix(": ")
        failed = (_CODES[cause], message, LIMITS.get(cause, error_type), trace)
        if start:
            self._calls[number]
            self._end(failed)
        else:
            self._settle(number, Answer(FAILED, failure=failed), _OUTCOMES.get(failed[2], "exception"))

    def _line(self, number: int, level: Any, text: Any) -> None:
        if type(level) is not int or not 0 <= level <= CRITICAL:
            raise ValueError("a line of no level")
        line, call = _text(text), self._calls.get(number)
        if call is not None and call.log_bytes < limits.log_bytes_max and len(call.logs) < limits.log_lines_max:
            call.log_bytes += len(line)
            if self._tailed:
                call.logs.append((int(time.time() * 1e3), level, line))
        allowed, _ = self._lines.take()
        if allowed:
            (self._on_line if call is None else call.on_line)(level, line)

    # -- its end --------------------------------------------------------------------------------------------------

    def _on_close(self, reason: str) -> None:
        if reason.startswith(("it broke", "it said")):
            self.end("sandbox-died", reason)
        else:
            self.sandbox.kill()  # why it has closed its channel shows when it is dead

    def died(self, status: int) -> None:
        """Its process is dead and reaped, or was never there."""
        if status < 0:
            self.end("unavailable", "the sandbox was lost: its zygote has ended")
        elif self.sandbox.cpu_us >= self._cpu_max_s * 1e6:
            self._over_cpu()
        else:
            ended = os.WTERMSIG(status) + 128 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            told = "it ended its own process" if ended == 0 else explain_exit(ended)
            self.end("sandbox-died", told)

    def end(self, code: str, reason: str) -> None:
        """End it, and its calls with this error. Idempotent."""
        self._end((code, reason, "", ""))

    def _over_cpu(self) -> None:
        asked = [call.asked.cpu_ms for call in self._calls.values()]
        told = f"it used more than {max(asked)} ms of CPU" if asked else "it used CPU while nobody called it"
        self._end(("sandbox-limit", told, "cpu_ms", ""))

    def _end(self, failed: FailureParts) -> None:
        if self.ended:
            return
        self.ended = True
        self._look.cancel()
        for timer in self._given_up.values():
            timer.cancel()
        self._conversation.stop()
        self._asks.close()
        self._hand.close()
        outcome = _OUTCOMES.get(failed[2], "exception" if failed[0] != "sandbox-died" else "died")
        for number in list(self._calls):
            self._settle(number, Answer(FAILED, failure=failed), outcome)
        self.sandbox.kill()
        self._on_end()

    # -- CPU ------------------------------------------------------------------------------------------------------

    def _pause(self, left_s: float) -> float:
        return max(limits.cpu_look_s_min, left_s / self._cores)  # all cores may work for it

    def _look_at_cpu(self) -> None:
        used_s = self.cpu_s
        if used_s >= self._cpu_max_s:
            self._over_cpu()
        else:
            self._look = self._loop.call_later(self._pause(self._cpu_max_s - used_s), self._look_at_cpu)


def _text(part: Any) -> str:
    if type(part) is not str or len(part) > limits.frame_overhead_bytes:
        raise TypeError("no text")
    return part


def _bound(data: bytes) -> None:
    if len(data) > limits.loaded_result_bytes_max:
        raise ValueError("a result that is too long")
