"""The clients of a chaos run: they increment and read counters, repeat each key until it is answered, and note it all.

An increment carries an idempotency key and is sent again, after any answer that is not final and after any lost
connection, until it has its one answer. Its operation lasts from the first sending to that answer. A read carries no
key: one that fails is forgotten, and the next is another operation.

A client whose call takes longer than half a second is replaced by another, and ends with that call: objects out of
reach must not silence the clients. An object that keeps a few calls waiting is left alone.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.checker import Kind, Operation
from tests.chaos.client import Answer, Connection, rpc_request

CLASS = "Counter"
SEND_TIMEOUT_S = 4.0
DEADLINE_HEADER = "Homing-Timeout-Ms: 3000\r\n"
BACKOFF_MIN_S = 0.020
BACKOFF_MAX_S = 0.200
AGAIN = frozenset({429, 502, 503, 504})
READ_SHARE = 0.3
DRAIN_S = 40.0
BACKOFF_LATE_S = 0.600  # of calls that wait for long
PATIENCE_S = 0.5
PARKED_PER_OBJECT_MAX = 2
PARKED_MAX = 192  # of all objects together; then clients wait for their own calls


@dataclass
class History:
    """All that the clients saw.

    Attributes:
        operations: per object, what was sent and answered.
        unanswered: keys that had no answer when the run ended.
        failures: final answers that no call should get, as sentences.
        retries: why calls were sent again, counted.
        answered_s: when each answer came (monotonic), and how long its call took, in two arrays of equal length.
        in_flight: calls that wait for an answer at this moment.
    """

    operations: dict[str, list[Operation]] = field(default_factory=dict[str, list[Operation]])
    unanswered: int = 0
    failures: list[str] = field(default_factory=list[str])
    retries: Counter[str] = field(default_factory=Counter[str])
    answered_s: array[float] = field(default_factory=lambda: array("d"))
    took_s: array[float] = field(default_factory=lambda: array("d"))
    in_flight: int = 0

    @property
    def acknowledged(self) -> int:
        """How many calls were answered."""
        return len(self.answered_s)

    def note(self, name: str, operation: Operation) -> None:
        """An operation ended, or will never be answered."""
        self.operations.setdefault(name, []).append(operation)
        if operation.answered_s is None:
            self.unanswered += 1
        else:
            self.answered_s.append(operation.answered_s)
            self.took_s.append(operation.answered_s - operation.invoked_s)

    def replies(self, name: str) -> list[int]:
        """The answers to the increments of an object."""
        return [op.value for op in self.operations[name] if op.kind is Kind.INCREMENT and op.value is not None]


class _Patience:
    """Watches one call: when it takes too long, its client is replaced, and its object counts one more that waits."""

    def __init__(self, parked: Counter[str], name: str, replace: Callable[[], bool]) -> None:
        self._parked, self._name, self._replace = parked, name, replace
        self._over = False
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._on_time)

    def _on_time(self) -> None:
        self._over = self._replace()
        self._parked[self._name] += self._over

    def end(self) -> bool:
        """The call is over; returns whether its client was replaced meanwhile."""
        self._timer.cancel()
        self._parked[self._name] -= self._over
        return self._over


class Load:
    """Clients that call counters until they are told to stop.

    Args:
        connect: makes a new connection to the gateway.
        clients: how many calls may be in flight.
        objects: how many counters; the first are called more often than the last.
        seed: of the choice of objects and methods; the order in which calls meet is not repeatable.
        calls_per_second_max: the clients together call no faster than this.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        clients: int,
        objects: int,
        seed: int,
        calls_per_second_max: float = float("inf"),
    ) -> None:
        self.connect = connect
        self.clients = clients
        self.history = History()
        self.objects = [f"chaos-{seed}-{number}" for number in range(objects)]
        self._seed = seed
        self._pause_s = clients / calls_per_second_max
        self._stopping = asyncio.Event()
        self._drain_until = float("inf")
        self._parked: Counter[str] = Counter()
        self._numbers = itertools.count()

    @property
    def busiest(self) -> str:
        """The object that is called most."""
        return self.objects[0]

    def stop(self) -> None:
        """No new calls; keys that are open are still repeated, for 40 s."""
        self._drain_until = time.monotonic() + DRAIN_S
        self._stopping.set()

    async def run(self) -> History:
        """Call until stopped, then read every counter once more."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._client(group))
        await self._read_all()
        return self.history

    async def _client(self, group: asyncio.TaskGroup) -> None:
        """Call one object after the other, until stopped or replaced."""
        number = next(self._numbers)
        rng = random.Random(f"{self._seed} {number}")
        connection = self.connect()
        calls, replaced = 0, False
        while not self._stopping.is_set() and not replaced:
            started = time.monotonic()
            name = self._choose(rng)
            patience = _Patience(self._parked, name, lambda: self._replace(group))
            try:
                if rng.random() < READ_SHARE:
                    await self._read(connection, name, rng)
                else:
                    calls += 1
                    await self._increment(connection, name, f"{self._seed}-{number}-{calls}", rng)
            finally:
                replaced = patience.end()
            if (rest := self._pause_s - (time.monotonic() - started)) > 0:
                await asyncio.sleep(rest)
        connection.close()

    def _replace(self, group: asyncio.TaskGroup) -> bool:
        """A client waits: start another in its place, unless many wait."""
        if self._stopping.is_set() or self._parked.total() >= PARKED_MAX:
            return False
        group.create_task(self._client(group))
        return True

    def _choose(self, rng: random.Random) -> str:
        """An object; one that keeps calls waiting is left alone."""
        while True:
            name = self.objects[int(len(self.objects) * rng.random() ** 2)]
            if self._parked[name] < PARKED_PER_OBJECT_MAX or rng.random() < 0.01:
                return name

    async def _increment(self, connection: Connection, name: str, key: str, rng: random.Random) -> None:
        request = rpc_request(
            connection.host, connection.port, CLASS, name, "increment", key=key, headers=DEADLINE_HEADER
        )
        invoked = time.monotonic()
        self.history.in_flight += 1
        try:
            while time.monotonic() < self._drain_until:
                answer = await self._send(connection, request)
                if answer is not None:
                    answered = time.monotonic()
                    value = self._value(answer, f"increment of {name}")
                    if value is not None:
                        self.history.note(name, Operation(Kind.INCREMENT, invoked, answered, value))
                        return
                    break
                late = time.monotonic() - invoked > PATIENCE_S
                await asyncio.sleep(rng.uniform(BACKOFF_MIN_S, BACKOFF_LATE_S if late else BACKOFF_MAX_S))
            self.history.note(name, Operation(Kind.INCREMENT, invoked, None))
        finally:
            self.history.in_flight -= 1

    async def _read(self, connection: Connection, name: str, rng: random.Random) -> bool:
        """One read; false when it has to be tried again."""
        request = rpc_request(connection.host, connection.port, CLASS, name, "read", headers=DEADLINE_HEADER)
        invoked = time.monotonic()
        self.history.in_flight += 1
        try:
            answer = await self._send(connection, request)
        finally:
            self.history.in_flight -= 1
        if answer is None:
            await asyncio.sleep(rng.uniform(BACKOFF_MIN_S, BACKOFF_MAX_S))
            return False
        answered = time.monotonic()
        value = self._value(answer, f"read of {name}")
        if value is not None:
            self.history.note(name, Operation(Kind.READ, invoked, answered, value))
        return True

    async def _send(self, connection: Connection, request: bytes) -> Answer | None:
        """An answer that is final, or `None`: send it again."""
        try:
            answer = await connection.send(request, SEND_TIMEOUT_S)
        except TimeoutError:
            self.history.retries["no answer in time"] += 1
            return None
        except OSError:
            self.history.retries["connection lost or refused"] += 1
            return None
        if answer.status in AGAIN:
            self.history.retries[f"status {answer.status}"] += 1
            return None
        return answer

    def _value(self, answer: Answer, what: str) -> int | None:
        """The number that a call returned; anything else is a failure of the run."""
        if answer.status == 200:
            value = answer.result()
            if isinstance(value, int):
                return value
        self.history.failures.append(f"{what}: {answer.status} {answer.body[:200]!r}")
        return None

    async def _read_all(self) -> None:
        """A last read of every counter that was called, after all other calls; all of them have 40 s."""
        rng = random.Random(self._seed)
        connection = self.connect()
        deadline = time.monotonic() + DRAIN_S
        for name in list(self.history.operations):
            while time.monotonic() < deadline and not await self._read(connection, name, rng):
                pass
            if time.monotonic() >= deadline:
                self.history.failures.append(f"{name} could not be read at the end")
        connection.close()
