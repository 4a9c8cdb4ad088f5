"""The clients of a chaos run: they increment and read counters, repeat each key until it is answered, and note it all.

An increment carries an idempotency key and is sent again, after any answer that is not final and after any lost
connection, until it has its one answer. Its operation lasts from the first sending to that answer. A read carries no
key: one that fails is forgotten, and the next is another operation.
"""

from __future__ import annotations

import asyncio
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
            for number in range(self.clients):
                group.create_task(self._client(number))
        await self._read_all()
        return self.history

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        connection = self.connect()
        calls = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            name = self.objects[int(len(self.objects) * rng.random() ** 2)]
            if rng.random() < READ_SHARE:
                await self._read(connection, name, rng)
            else:
                calls += 1
                await self._increment(connection, name, f"{self._seed}-{number}-{calls}", rng)
            if (rest := self._pause_s - (time.monotonic() - started)) > 0:
                await asyncio.sleep(rest)
        connection.close()

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
                await asyncio.sleep(rng.uniform(BACKOFF_MIN_S, BACKOFF_MAX_S))
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
        """A last read of every counter that was called, after all other calls."""
        rng = random.Random(self._seed)
        connection = self.connect()
        for name in list(self.history.operations):
            deadline = time.monotonic() + DRAIN_S
            while not await self._read(connection, name, rng):
                if time.monotonic() > deadline:
                    self.history.failures.append(f"{name} could not be read at the end")
                    break
        connection.close()
