"""A sandbox's asks under its grants: coroutines of its code await the node's answers, in whatever loops they run."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from homing.errors import HomingError, from_wire
from homing_node.sandboxes.inside import talk

_Loop = asyncio.AbstractEventLoop


class _Waiting(NamedTuple):
    """An ask without an answer: who awaits it, and bytes of its arguments."""

    future: asyncio.Future[bytes]
    size: int


class Asker:
    """Asks the node.

    Every loop in which somebody awaits an answer listens on the channel. It asks for no more at once than the node
    takes: what is above that waits here.

    Args:
        send: writes a message.
        come: gives the messages that have come, without waiting. None: somebody else reads, and has `hear` called.
        before: what each ask waits for, before it is made.
    """

    def __init__(
        self, send: Callable[[tuple[Any, ...]], None], come: Callable[[], Sequence[list[Any]]] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        self._send, self._come, self._before = send, come, before
        self._lock = threading.Lock()  # over all below: threads of the code have loops of their own
        self._number = 0
        self._waiting: dict[int, _Waiting] = {}
        self._bytes = 0
        self._line: deque[asyncio.Future[None]] = deque()  # who waits for room
        self._listening: dict[_Loop, int] = {}

    async def ask(self, place: int, operation: str, arguments: bytes) -> bytes:
        """Ask for something, and wait for the answer.

        Args:
            place: of the grant.
            operation: what is asked for.
            arguments: as bytes.

        Raises:
            TooLarge: there are too many bytes of arguments.
            HomingError: what the node answers.
        """
        if len(arguments) > talk.ask_bytes_max:
            raise from_wire("too-large", f"a call of {len(arguments)} bytes; at most {talk.ask_bytes_max}")
        if self._before is not None:
            await self._before()
        loop = asyncio.get_running_loop()
        with self._listens(loop):
            while (turn := self._turn(loop, len(arguments))) is not None:
                await turn
            return await self._asked(loop, place, operation, arguments)

    def _turn(self, loop: _Loop, size: int) -> asyncio.Future[None] | None:
        """What is to be awaited before there may be room; None: there is."""
        with self._lock:
            full = len(self._waiting) >= talk.asks_at_once_max or self._bytes + size > talk.asks_bytes_at_once_max
            if not full:
                return None
            self._line.append(loop.create_future())
            return self._line[-1]

    def _asked(self, loop: _Loop, place: int, operation: str, arguments: bytes) -> asyncio.Future[bytes]:
        future: asyncio.Future[bytes] = loop.create_future()
        with self._lock:  # numbers leave in their order
            self._number += 1
            self._waiting[self._number] = _Waiting(future, len(arguments))
            self._bytes += len(arguments)
            self._send((talk.ASK, self._number, place, operation, arguments))
        return future

    @contextmanager
    def _listens(self, loop: _Loop) -> Generator[None]:
        if self._come is None:
            yield
            return
        with self._lock:
            count = self._listening.get(loop, 0)
            self._listening[loop] = count + 1
            if not count:
                loop.add_reader(talk.CHANNEL_FD, self._readable)
        try:
            yield
        finally:
            with self._lock:
                self._listening[loop] -= 1
                if not self._listening[loop]:
                    del self._listening[loop]
                    loop.remove_reader(talk.CHANNEL_FD)

    def _readable(self) -> None:
        if self._come is not None:
            with self._lock:
                line = self._heard(self._come())
            _go_on(line)

    def hear(self, message: list[Any]) -> None:
        """The node has answered."""
        with self._lock:
            line = self._heard((message,))
        _go_on(line)

    def _heard(self, messages: Sequence[list[Any]]) -> deque[asyncio.Future[None]]:
        """Take answers; returns who may see now whether there is room."""
        for kind, number, *said in messages:
            waiting = self._waiting.pop(number, None)
            if waiting is None:
                continue
            self._bytes -= waiting.size
            if kind == talk.ANSWER:
                _settle(waiting.future, said[0])
            else:
                _settle(waiting.future, error_of(*said))
        line, self._line = self._line, deque()
        return line


def error_of(code: str, message: str, error_type: str, retry_after_s: float) -> HomingError:
    """What the code that asked is told of a refusal."""
    error = from_wire(code, message, error_type=error_type)
    error.retry_after_s = retry_after_s or None
    return error


def _go_on(line: Iterable[asyncio.Future[None]]) -> None:
    for turn in line:
        _settle(turn, None)


def _settle(future: asyncio.Future[Any], said: Any) -> None:
    """Tell whoever awaits, in their own loop; it may have ended."""
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(_set, future, said)


def _set(future: asyncio.Future[Any], said: Any) -> None:
    if future.done():
        return
    if isinstance(said, HomingError):
        future.set_exception(said)
    else:
        future.set_result(said)
