"""The workers of a node, and the one class of their application: a list of numbers that only grows.

An object answers each call with its whole list, so that every answer can be judged by all others.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from homing_node.objects.frames import ABORT, CLOSE, CLOSED, EVENT, OPEN, PAGES, TURN
from homing_node.workers.inside import pages
from homing_node.workers.inside.limits import page_bytes

if TYPE_CHECKING:
    from homing_node.objects.host import ObjectHost

CLASS = "List"
READ, WRITE, SLOW, TWICE = b"r", b"w", b"s", b"t"
_head = struct.Struct("<cIf")
_u32 = struct.Struct("<I")


def encode_call(what: bytes, number: int, seconds: float) -> bytes:
    """The arguments of a call: what to do, the number to add, and how long it runs."""
    return _head.pack(what, number, seconds)


def decode_list(data: bytes) -> tuple[int, ...]:
    """A list out of an answer or out of pages."""
    if not data:
        return ()
    count = _u32.unpack_from(data)[0]
    return struct.unpack_from(f"<{count}I", data, 4)


def encode_list(numbers: list[int]) -> bytes:
    """A list as an answer."""
    return _u32.pack(len(numbers)) + struct.pack(f"<{len(numbers)}I", *numbers)


def to_pages(numbers: list[int]) -> list[bytes]:
    """A list as pages."""
    data = encode_list(numbers)
    count = -(-len(data) // page_bytes)
    return [data[i * page_bytes : (i + 1) * page_bytes].ljust(page_bytes, b"\0") for i in range(count)]


@dataclass(slots=True)
class _Act:
    id: int
    page_count: int
    data: bytes
    numbers: list[int] = field(default_factory=list[int])
    pages: list[bytes] = field(default_factory=list[bytes])
    opened: bool = False
    commits: int = 0
    running: int = 0

    def open(self) -> None:
        if not self.opened:
            self.opened = True
            self.numbers = list(decode_list(self.data))
            self.pages = to_pages(self.numbers) if self.page_count else []

    def add(self, number: int) -> bytes:
        """One transaction: its pages."""
        self.numbers.append(number)
        after = to_pages(self.numbers)
        old = [*self.pages, *[None] * (len(after) - len(self.pages))]
        commit = pages.encode(len(after), [(i + 1, old[i], after[i]) for i in range(len(after))])
        self.pages = after
        self.commits += 1
        return commit


class Worker:
    """One worker process: frames come in order, and turns take their time.

    Args:
        number: its id.
        force: whose it is.
    """

    def __init__(self, number: int, force: Workforce) -> None:
        self.id = number
        self.pid = number
        self._force = force
        self._loop: Any = asyncio.get_running_loop()
        self._acts: dict[int, _Act] = {}
        self._last_at = 0.0
        self.dead = False

    def send(self, frame: tuple[Any, ...]) -> None:
        self._after(0.0002, self._take, frame)

    def kill(self, reason: str) -> None:
        self._force.die(self, reason)

    def _after(self, delay: float, call: Any, *args: Any) -> None:
        """In the order of sending, as on a pipe."""
        self._last_at = max(self._last_at + 1e-7, self._loop.time() + delay)
        self._loop.call_at(self._last_at, call, *args)

    def _take(self, frame: tuple[Any, ...]) -> None:
        if self.dead:
            return
        kind = frame[0]
        if kind == OPEN:
            self._acts[frame[1]] = _Act(frame[1], frame[5], frame[6])
        elif kind == PAGES:
            self._acts[frame[1]].data += frame[2]
        elif kind == EVENT:
            self._event(frame[1], frame[2], frame[5])
        elif kind == CLOSE:
            act = self._acts.get(frame[1])
            done = act is None or not act.running
            if done:
                self._acts.pop(frame[1], None)
            self._emit((CLOSED, frame[1], done))
        elif kind == ABORT:
            self._acts.pop(frame[1], None)
            self._emit((CLOSED, frame[1], True))

    def _event(self, act_id: int, call_id: int, body: bytes) -> None:
        act = self._acts.get(act_id)
        if act is None:
            return
        act.open()
        act.running += 1
        what, number, seconds = _head.unpack(body)
        if what == TWICE:
            self._loop.call_later(0.001, self._first_turn, act, call_id, number)
        self._loop.call_later(0.001 + seconds, self._last_turn, act, call_id, what, number)

    def _first_turn(self, act: _Act, call_id: int, number: int) -> None:
        if self._runs(act):
            self._emit((TURN, act.id, act.commits + 1, act.add(number), call_id, []))

    def _last_turn(self, act: _Act, call_id: int, what: bytes, number: int) -> None:
        if not self._runs(act):
            return
        act.running -= 1
        n, commit = 0, None
        if what in (WRITE, SLOW):
            n, commit = act.commits + 1, act.add(number)
        now_ns = int(self._loop.time() * 1e9)
        self._emit((TURN, act.id, n, commit, call_id, [[call_id, 0, encode_list(act.numbers), now_ns, now_ns]]))

    def _runs(self, act: _Act) -> bool:
        return not self.dead and self._acts.get(act.id) is act

    def _emit(self, frame: tuple[Any, ...]) -> None:
        self._loop.call_later(0.0002, self._arrive, frame)

    def _arrive(self, frame: tuple[Any, ...]) -> None:
        if not self.dead:
            self._force.host.on_frame(self, list(frame))


class Workforce:
    """As `homing_node.workforce.Workforce`, with one worker."""

    def __init__(self, *_: Any) -> None:
        self._loop: Any = asyncio.get_running_loop()
        self._loop.workforce = self
        self._count = 0
        self._worker = self._new()
        self.host: ObjectHost

    def _new(self) -> Worker:
        self._count += 1
        return Worker(self._count, self)

    async def start(self, host: ObjectHost) -> None:
        self.host = host

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self._worker.dead = True

    def reload_soon(self) -> None: ...

    def pick(self, _: bytes) -> Worker:
        return self._worker

    def classes(self) -> set[str]:
        return {CLASS}

    def facts(self) -> tuple[list[int], set[str], bool]:
        return [self._worker.pid], self.classes(), False

    def die(self, worker: Worker, reason: str) -> None:
        """A worker dies; another takes its place."""
        if worker.dead:
            return
        worker.dead = True
        if worker is self._worker:
            self._worker = self._new()
        self._loop.call_soon(self.host.on_worker_death, worker, reason)

    def kill_one(self) -> None:
        """The worker is killed."""
        self.die(self._worker, "killed")
