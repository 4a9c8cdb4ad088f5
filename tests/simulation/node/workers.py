"""The workers of a node, and the one class of their application: a list of numbers that only grows (`lists.py`).

An object answers each call with its whole list, so that every answer can be judged by all others. A call may also set an
alarm; when it rings, the call's number is added once more, with a mark. A call may add its number and then
have its object call another one twice, one call right behind the other; each adds the number with a mark of its own.
And a call may open a socket: what is added from then on is said on it, and messages on it add numbers, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.simulation.node.lists import (
    ACCEPT,
    ENDS,
    PASS,
    PASSED,
    QUIT,
    READ,
    RINGS,
    SET,
    SLOW,
    TWICE,
    WRITE,
    Act,
    Passing,
    decode_call,
    encode_call,
    encode_list,
)

from homing_node.broker.grants import Giver
from homing_node.objects.frames import ABORT, CALL, CLOSE, CLOSED, EVENT, OPEN, PAGES, REPLY, SOCKETS, TURN
from homing_node.workers.inside.channel import ALARM, ANSWER, FAILURE, MESSAGE, METHOD, RESULT, SOCKET_CLOSE
from homing_node.workers.looks import Looks

if TYPE_CHECKING:
    from homing_node.objects.host import ObjectHost

CLASS = "List"
WALL_S = 1_700_000_000.0  # the wall clock when a run begins
ADDS = (WRITE, SLOW, SET, RINGS, ACCEPT, QUIT)


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
        self.fetch_hosts = self.secrets = ()
        self.grants: dict[str, Any] = {}
        self.version = ""
        self._loop: Any = asyncio.get_running_loop()
        self._acts: dict[int, Act] = {}
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
            self._acts[frame[1]] = Act(frame[1], frame[5], frame[6], self._loop.machine.sim.new_life)
        elif kind == PAGES:
            self._acts[frame[1]].data += frame[2]
        elif kind == SOCKETS:
            if (act := self._acts.get(frame[1])) is not None:
                act.sockets.know(*frame[2:4])
        elif kind == EVENT:
            self._event(*frame[1:4], frame[5], frame[9])
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

    def _event(self, act_id: int, call_id: int, kind: int, body: bytes, details: Any) -> None:
        act = self._acts.get(act_id)
        if act is None:
            return
        act.open()
        act.running += 1
        socket = details[0] if kind in (MESSAGE, SOCKET_CLOSE) else 0
        if kind == ALARM:
            body = encode_call(RINGS, 0, 0.0)
        elif kind == SOCKET_CLOSE:
            body = encode_call(ENDS, details[1], 0.0)
        what, number, seconds, rest = decode_call(body)
        if what == PASS:
            self._loop.call_later(0.001, self._pass, act, call_id, number, rest)
            return
        if what == TWICE:
            self._loop.call_later(0.001, self._first_turn, act, call_id, number, socket)
        runs_s = seconds if what != SET else 0.0
        self._loop.call_later(0.001 + runs_s, self._last_turn, act, call_id, what, number, seconds, socket)

    def _first_turn(self, act: Act, call_id: int, number: int, socket: int = 0) -> None:
        if self._runs(act) and (not socket or act.sockets.find(socket) is not None):
            commit = act.add(number)
            self._emit((TURN, act.id, act.commits, commit, call_id, [], None, act.sockets.take()))

    def _last_turn(self, act: Act, call_id: int, what: bytes, number: int, seconds: float, socket: int = 0) -> None:
        if not self._runs(act):
            return
        act.running -= 1
        if what == RINGS:
            number = self._ring(act)
        elif what == SET:
            act.alarms[number] = int((WALL_S + seconds) * 1_000)
        elif what == ENDS:
            self._loop.machine.sim.connections.heard_of_end(socket, code=number)
            act.sockets.closed(socket)
        if socket and what != ENDS:
            what = self._message(act, what, number, socket)
        n, commit, wake_ms = 0, None, None
        if number and what in ADDS:
            n, commit = act.commits + 1, act.add(number)
        if commit is not None and what in (SET, RINGS):
            wake_ms = min(act.alarms.values(), default=0)
        now_ns = int(self._loop.time() * 1e9)
        answer: tuple[int, Any] = (RESULT, encode_list(act.numbers))
        if what == ACCEPT:
            answer = (ANSWER, [101, [], encode_list(act.numbers), act.accept(number)])
        elif what == QUIT and (ws := act.sockets.find(socket)) is not None:
            ws.close(1_000, "bye")
        effect = [call_id, *answer, now_ns, now_ns]
        self._emit((TURN, act.id, n, commit, call_id, [effect], wake_ms, act.sockets.take()))

    def _message(self, act: Act, what: bytes, number: int, socket: int) -> bytes:
        """What is to be done for what came on a socket: of one that the object has not it hears nothing."""
        ws = act.sockets.find(socket)
        if ws is None:
            return b""
        self._loop.machine.sim.connections.has_attachment(socket, ws.deserialize_attachment())
        if what == READ:
            act.answer(socket, number)
        return what

    def _ring(self, act: Act) -> int:
        """The number of what is due. An object is woken for nothing only if its clock was put back on the way."""
        sim = self._loop.machine.sim
        number = act.ring(int((WALL_S + self._loop.time() + self._loop.wall_offset_s) * 1_000))
        if not number:
            late_ms = int((WALL_S + self._loop.time() + self._loop.wall_highest_s) * 1_000)
            if not act.alarms:
                sim.broke(f"{self._loop.name}: an alarm rings in an object that has set none: {act.numbers[-4:]}")
            elif min(act.alarms.values()) > late_ms:
                sim.broke(f"{self._loop.name}: an alarm rings {min(act.alarms.values()) - late_ms} ms early")
        return number

    def _pass(self, act: Act, call_id: int, number: int, target: bytes) -> None:
        if not self._runs(act):
            return
        raw, name = target[:32], target[32:].decode()
        self._first_turn(act, call_id, number)
        passing = Passing(call_id, name)
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

    def _runs(self, act: Act) -> bool:
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

    def giver(self) -> Giver:
        return Giver("the gateway")

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
