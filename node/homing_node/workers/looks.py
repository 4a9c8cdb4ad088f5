"""Questions to databases, answered by workers in their jails; see `workers.inside.looks`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from homing.errors import BadRequest, DeadlineExceeded, HomingError, Unavailable
from homing_node.objects.limits import pages_inline_bytes_max
from homing_node.workers import limits
from homing_node.workers.inside.channel import LOOK, PAGES
from homing_node.workers.inside.limits import page_bytes

if TYPE_CHECKING:
    from homing_node.objects.ports import WorkerPort


class Looks:
    """The questions of a node.

    Args:
        pick: the worker for an object, or None while none is ready.
    """

    def __init__(self, pick: Callable[[bytes], WorkerPort | None]) -> None:
        self._pick = pick
        self._numbers = itertools.count(-1, -1)  # activations have those above 0
        self._waiting: dict[int, tuple[int, asyncio.Future[Any]]] = {}  # worker's id and answer, by number

    async def query(self, object_id: bytes, pages: bytes, query: str) -> bytes:
        """The columns and rows of a query, as JSON.

        Raises:
            BadRequest: it is no query, takes too long, or its answer is too large.
            Unavailable: no worker is there, or it ended.
            DeadlineExceeded: it does not answer.
        """
        answer = await self._ask(object_id, pages, query)
        if not isinstance(answer, bytes):
            raise BadRequest("the worker's answer cannot be understood")
        return answer

    async def check(self, object_id: bytes, pages: bytes) -> int:
        """When the earliest alarm of a database rings, in milliseconds since 1970; 0: none does.

        Raises:
            BadRequest: an object cannot have this database.
            Unavailable: no worker is there, or it ended.
            DeadlineExceeded: it does not answer.
        """
        answer = await self._ask(object_id, pages, None)
        if type(answer) is not int:
            raise BadRequest("the worker's answer cannot be understood")
        return answer

    async def _ask(self, object_id: bytes, pages: bytes, query: str | None) -> Any:
        worker = self._pick(object_id)
        if worker is None:
            raise Unavailable("no worker is ready", retry_after_s=1.0)
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = (worker.id, answer)
        try:
            worker.send((LOOK, number, len(pages) // page_bytes, query))
            for at in range(0, len(pages), pages_inline_bytes_max):
                worker.send((PAGES, number, pages[at : at + pages_inline_bytes_max]))
            async with asyncio.timeout(limits.look_answer_s_max):
                return await answer
        except TimeoutError as error:
            raise DeadlineExceeded("the worker did not answer in time") from error
        finally:
            del self._waiting[number]

    def seen(self, worker: WorkerPort, number: Any, well: Any, answer: Any) -> None:
        """A worker has an answer, or says why it has none."""
        if type(number) is int:
            self._settle(worker, number, answer if well else BadRequest(str(answer)[: limits.look_refusal_chars_max]))

    def on_death(self, worker: WorkerPort, reason: str) -> None:
        """A worker is dead."""
        for number in list(self._waiting):
            self._settle(worker, number, Unavailable(f"its worker ended: {reason}"))

    def _settle(self, worker: WorkerPort, number: int, answer: Any) -> None:
        worker_id, waiting = self._waiting.get(number, (0, None))
        if waiting is None or worker_id != worker.id or waiting.done():
            return
        if isinstance(answer, HomingError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
