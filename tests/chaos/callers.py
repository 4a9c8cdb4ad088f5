"""Clients without idempotency keys: they increment counters one after the other, and note what each call came to.

For such a client a call that failed is over, so a single error counts. An object's answers must be 1, 2, 3 and so on:
one that is missing was lost, one that comes twice was done twice.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.client import Connection, rpc_request

CLASS = "Counter"
METHOD = "increment"
ANSWER_TIMEOUT_S = 30.0  # longer than any hold: a call that waits is slow, not failed
FAILURE_PAUSE_S = 0.05  # refused at once, a client must not spin


@dataclass
class Calls:
    """When each call began and when it was over, by the monotonic clock, in two arrays of equal length."""

    began_s: array[float] = field(default_factory=lambda: array("d"))
    ended_s: array[float] = field(default_factory=lambda: array("d"))
    failed_s: array[float] = field(default_factory=lambda: array("d"))
    failures: list[str] = field(default_factory=list[str])

    def answered(self, began_s: float, ended_s: float) -> None:
        """Note a call that was answered."""
        self.began_s.append(began_s)
        self.ended_s.append(ended_s)

    def failed(self, at_s: float, why: str) -> None:
        """Note a call that will never be answered, or with an error."""
        self.failed_s.append(at_s)
        self.failures.append(why)


class Callers:
    """Clients that call until they are stopped; made within a running event loop.

    Args:
        connect: makes a new connection to the gateway.
        clients: how many calls are in flight.
        names: of the objects; each belongs to one client, so that its answers come in order.
        class_name, method: what is called, without arguments.
        headers: further whole header lines of each call, each with its line end.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        clients: int,
        names: Sequence[str],
        *,
        class_name: str = CLASS,
        method: str = METHOD,
        headers: str = "",
    ) -> None:
        assert len(names) >= clients, "a client without objects would spin"
        self.answers: dict[str, list[int]] = {name: [] for name in names}
        self.failed: Counter[str] = Counter()
        self.calls = Calls()
        self._connect, self._what, self._headers = connect, (class_name, method), headers
        self._stopping = False
        self._tasks = [asyncio.ensure_future(self._client(names[n::clients])) for n in range(clients)]

    async def _client(self, names: Sequence[str]) -> None:
        connection = self._connect()
        class_name, method = self._what
        requests = [
            (name, rpc_request(connection.host, connection.port, class_name, name, method, headers=self._headers))
            for name in names
        ]
        try:
            while not self._stopping:
                for name, request in requests:
                    if self._stopping:
                        break
                    await self._call(connection, name, request)
        finally:
            connection.close()

    async def _call(self, connection: Connection, name: str, request: bytes) -> None:
        began = time.monotonic()
        try:
            answer = await connection.send(request, ANSWER_TIMEOUT_S)
        except OSError as error:  # a TimeoutError is one, too
            await self._fail(name, repr(error))
            return
        ended = time.monotonic()
        if answer.status != 200:
            await self._fail(name, f"{answer.status} {answer.body[:300]!r}")
            return
        self.calls.answered(began, ended)
        result = answer.result()
        if isinstance(result, int):
            self.answers[name].append(result)

    async def _fail(self, name: str, why: str) -> None:
        self.failed[name] += 1
        self.calls.failed(time.monotonic(), f"{name}: {why}")
        await asyncio.sleep(FAILURE_PAUSE_S)

    @property
    def count(self) -> int:
        """Calls that were answered."""
        return len(self.calls.ended_s)

    @property
    def slowest_s(self) -> float:
        """The longest that a call took."""
        calls = self.calls
        return max((ended - began for began, ended in zip(calls.began_s, calls.ended_s, strict=True)), default=0.0)

    def wrong(self) -> list[str]:
        """Counters of which an answer was lost or came twice, as sentences.

        A call that failed may have run all the same: it may leave a gap, and no more than one.
        """
        return [
            f"{name} answered {answers[-1]} at the end of {len(answers)} answered and {self.failed[name]} failed calls"
            for name, answers in self.answers.items()
            if answers and not whole(answers, self.failed[name])
        ]

    def check(self) -> None:
        """Raise what ended a client, if one ended."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """No new calls; returns when the last one is over."""
        self._stopping = True
        await asyncio.gather(*self._tasks)


def whole(answers: Sequence[int], failed: int) -> bool:
    """Whether a counter's answers are 1, 2, 3 and so on, with at most one gap for each call that failed.

    Example:
        >>> whole([1, 2, 4], failed=1), whole([1, 2, 4], failed=0), whole([1, 2, 2], failed=1)
        (True, False, False)
    """
    ascending = all(before < after for before, after in pairwise(answers))
    return ascending and (not answers or (answers[0] >= 1 and answers[-1] <= len(answers) + failed))
