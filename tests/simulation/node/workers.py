"""The workers of a node, and the one class of their application: a list of numbers that only grows.

An object answers each call with its whole list, so that every answer can be judged by all others. A call may also set an
alarm; when it rings, the call's number is added once more, with a mark. And a call may add its number and then
have its object call another one twice, one call right behind the other; each adds the number with a mark of its own.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from homing_node.objects.frames import ABORT, CALL, CLOSE, CLOSED, EVENT, OPEN, PAGES, REPLY, TURN
from homing_node.workers.inside import pages
from homing_node.workers.inside.channel import ALARM, FAILURE, METHOD
from homing_node.workers.inside.limits import page_bytes
from homing_node.workers.looks import Looks

if TYPE_CHECKING:
    from homing_node.objects.host import ObjectHost

CLASS = "List"
WALL_S = 1_700_000_000.0  # the wall clock when a run begins
READ, WRITE, SLOW, TWICE, SET, PASS = b"r", b"w", b"s", b"t", b"a", b"p"
RANG = 1 << 31  # the mark of an alarm
PASSED = (1 << 29, 1 << 30)  # the marks of what an object has another add, in order
RINGS = b"!"  # an ALARM event
_head = struct.Struct("<cIf")
_u32 = struct.Struct("<I")
_alarm = struct.Struct("<IQ")


def encode_call(what: bytes, number: int, seconds: float) -> bytes:
    """The arguments of a call: what to do, the number to add, and how long it runs; of SET when the alarm rings."""
    return _head.pack(what, number, seconds)


def encode_pass(number: int, raw: bytes, name: str) -> bytes:
    """The arguments of a call that has its object call another."""
    return encode_call(PASS, number, 0.0) + raw + name.encode()


def decode_list(data: bytes) -> tuple[int, ...]:
    """A list out of an answer or out of pages."""
    if not data:
        return ()
    count = _u32.unpack_from(data)[0]
    return struct.unpack_from(f"<{count}I", data, 4)


def encode_list(numbers: list[int]) -> bytes:
    """A list as an answer."""
    return _u32.pack(len(numbers)) + struct.pack(f"<{len(numbers)}I", *numbers)


def decode_alarms(data: bytes) -> dict[int, int]:
    """The alarms in pages: the number of the call that set it, and when it rings."""
    if not data:
        return {}
    at = 4 + 4 * len(decode_list(data))
    count = _u32.unpack_from(data, at)[0]
    return dict(_alarm.unpack_from(data, at + 4 + _alarm.size * i) for i in range(count))


def to_pages(numbers: list[int], alarms: dict[int, int]) -> list[bytes]:
    """A list and its alarms as pages."""
    data = encode_list(numbers) + _u32.pack(len(alarms)) + b"".join(_alarm.pack(*each) for each in alarms.items())
    count = -(-len(data) // page_bytes)
    return [data[i * page_bytes : (i + 1) * page_bytes].ljust(page_bytes, b"\0") for i in range(count)]


@dataclass(slots=True)
class _Act:
    id: int
    page_count: int
    data: bytes
    numbers: list[int] = field(default_factory=list[int])
    alarms: dict[int, int] = field(default_factory=dict[int, int])
    pages: list[bytes] = field(default_factory=list[bytes])
    opened: bool = False
    commits: int = 0
    running: int = 0
    made: int = 0  # calls to other objects
    passing: dict[int, _Passing] = field(default_factory=dict[int, "_Passing"])  # by the number of such a call

    def open(self) -> None:
        if not self.opened:
            self.opened = True
            self.numbers = list(decode_list(self.data))
            self.alarms = decode_alarms(self.data)
            self.pages = to_pages(self.numbers, self.alarms) if self.page_count else []

    def ring(self, wall_ms: int) -> int:
        """The number of the call whose alarm is due, marked; 0 if none is."""
        due = min(self.alarms, key=lambda number: (self.alarms[number], number), default=0)
        if not due or self.alarms[due] > wall_ms:
            return 0
        del self.alarms[due]
        return due | RANG

    def add(self, number: int) -> bytes:
        """One transaction: its pages."""
        self.numbers.append(number)
        after = to_pages(self.numbers, self.alarms)
        old = [*self.pages, *[None] * (len(after) - len(self.pages))]
        commit = pages.encode(len(after), [(i + 1, old[i], after[i]) for i in range(len(after))])
        self.pages = after
        self.commits += 1
        return commit


@dataclass(slots=True)
class _Passing:
    """A call whose object waits for what it has another one add."""

    call_id: int
    target: str
    waits_for: dict[int, int] = field(default_factory=dict[int, int])  # the number of a call to what it adds


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
        self.classes = force.classes()
        self.fetch_hosts = ()
        self.version = ""
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
            self._event(frame[1], frame[2], frame[5] if frame[3] != ALARM else encode_call(RINGS, 0, 0.0))
        elif kind == REPLY:
            self._replied(*frame[1:5])
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
        what, number, seconds = _head.unpack_from(body)
        if what == PASS:
            self._loop.call_later(0.001, self._pass, act, call_id, number, body[_head.size :])
            return
        if what == TWICE:
            self._loop.call_later(0.001, self._first_turn, act, call_id, number)
        runs_s = seconds if what != SET else 0.0
        self._loop.call_later(0.001 + runs_s, self._last_turn, act, call_id, what, number, seconds)

    def _first_turn(self, act: _Act, call_id: int, number: int) -> None:
        if self._runs(act):
            self._emit((TURN, act.id, act.commits + 1, act.add(number), call_id, []))

    def _last_turn(self, act: _Act, call_id: int, what: bytes, number: int, seconds: float) -> None:
        if not self._runs(act):
            return
        act.running -= 1
        n, commit, told = 0, None, []
        if what == RINGS:
            number = act.ring(int((WALL_S + self._loop.time() + self._loop.wall_offset_s) * 1_000))
        elif what == SET:
            act.alarms[number] = int((WALL_S + seconds) * 1_000)
        if number and what in (WRITE, SLOW, SET, RINGS):
            n, commit = act.commits + 1, act.add(number)
        if commit is not None and what in (SET, RINGS):
            told = [min(act.alarms.values(), default=0)]
        now_ns = int(self._loop.time() * 1e9)
        self._emit((TURN, act.id, n, commit, call_id, [[call_id, 0, encode_list(act.numbers), now_ns, now_ns]], *told))

    def _pass(self, act: _Act, call_id: int, number: int, target: bytes) -> None:
        if not self._runs(act):
            return
        raw, name = target[:32], target[32:].decode()
        self._first_turn(act, call_id, number)
        passing = _Passing(call_id, name)
        for mark in PASSED:
            act.made += 1
            act.passing[act.made] = passing
            passing.waits_for[act.made] = number | mark
            body = encode_call(WRITE, number | mark, 0.0)
            self._emit((CALL, act.id, call_id, act.made, METHOD, CLASS, raw, name, "m", body, "", [], 0, 0))

    def _replied(self, act_id: int, made: int, status: int, payload: Any) -> None:
        """A call to another object came to its end: the judge hears of it, and at last the one who had it made."""
        act = self._acts.get(act_id)
        if act is None:
            return
        passing = act.passing.pop(made)
        self._loop.machine.sim.clients.passed(
            passing.target,
            passing.waits_for.pop(made),
            done=status != FAILURE,
            refused=status == FAILURE and payload[4],
        )
        if not passing.waits_for:
            self._last_turn(act, passing.call_id, PASS, 0, 0.0)

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
        self.looks = Looks(self.pick)
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

    def set_clock(self, _: int) -> None: ...

    def pick(self, _: bytes) -> Worker:
        return self._worker

    def classes(self) -> set[str]:
        return {CLASS}

    def crons(self) -> list[str]:
        return []

    def serving(self) -> list[tuple[int, str]]:
        return []

    async def prepare(self, _: str) -> None: ...

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
