"""`ReadableStream`, made with `new` of a source: it fills the stream by a controller, or is asked for more.

Names and meanings are those of the Streams standard (https://streams.spec.whatwg.org/), for streams of bytes. What
differs: `pull` is first called when somebody reads, and what is in the queue and not read is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any, cast

import homing
from homing.errors import BadRequest, TooLarge
from homing.streams import COLLECT_BYTES_MAX, as_piece


class ReadableStreamDefaultController:
    """What a source fills its stream by.

    Args:
        high_water_mark: how much is to be in the queue, in pieces, or in bytes where those are counted.
        size: of a piece; None: each counts 1.
    """

    def __init__(self, high_water_mark: float, size: Callable[[bytes], float] | None) -> None:
        self._mark, self._size = high_water_mark, size
        self._queue: deque[tuple[bytes, float]] = deque()
        self._queued = 0.0
        self._queued_bytes = 0
        self._wanted: asyncio.Future[None] | None = None  # the reader waits for it
        self.homing_error: BaseException | None = None
        self.homing_closed = False
        self.homing_filled = True  # since `pull` was last called

    @property
    def desiredSize(self) -> float | None:
        """How much more is to come, below 0 where too much is in the queue; None: the stream has an error."""
        if self.homing_error is not None:
            return None
        return 0 if self.homing_closed else self._mark - self._queued

    @property
    def byobRequest(self) -> None:
        """There is none: no reader brings a buffer of its own."""

    def enqueue(self, chunk: Any) -> None:
        """Put bytes, or text, into the queue.

        Raises:
            BadRequest: the stream is closed, or has an error.
            TooLarge: 32 MiB are in the queue and not read.
        """
        if self.homing_closed or self.homing_error is not None:
            raise BadRequest("the stream is closed")
        piece = as_piece(chunk)
        if self._queued_bytes + len(piece) > COLLECT_BYTES_MAX:
            raise TooLarge(f"at most {COLLECT_BYTES_MAX} bytes of a stream wait to be read: look at desiredSize")
        size = self._size(piece) if self._size is not None else 1
        self._queue.append((piece, size))
        self._queued += size
        self._queued_bytes += len(piece)
        self.homing_filled = True
        self.homing_wake()

    def close(self) -> None:
        """What is in the queue is the rest of it.

        Raises:
            BadRequest: it was closed before, or has an error.
        """
        if self.homing_closed or self.homing_error is not None:
            raise BadRequest("the stream is closed")
        self.homing_closed = True
        self.homing_wake()

    def error(self, reason: Any = None) -> None:
        """The stream ends here and is not complete: whoever reads it gets the reason."""
        if self.homing_error is None and not self.homing_closed:
            own = isinstance(reason, Exception)
            self.homing_error = reason if own else BadRequest(f"the stream broke off: {reason}")
            self.homing_drop()
            self.homing_wake()

    def homing_take(self) -> bytes | None:
        """The next piece in the queue."""
        if not self._queue:
            return None
        piece, size = self._queue.popleft()
        self._queued -= size
        self._queued_bytes -= len(piece)
        return piece

    def homing_drop(self) -> None:
        """Nobody reads what is in the queue."""
        self._queue.clear()
        self._queued, self._queued_bytes = 0.0, 0

    def homing_wake(self) -> None:
        """Something has changed, for whoever reads."""
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    async def homing_changed(self) -> None:
        """Wait until something has."""
        self._wanted = asyncio.get_running_loop().create_future()
        await self._wanted


class _Pieces:
    """What a source gives, piece by piece."""

    def __init__(self, source: Any, controller: ReadableStreamDefaultController) -> None:
        self._source, self._controller = source, controller
        self._pull = _member(source, "pull")
        self._starting = self._begun(_member(source, "start"))
        self._pulling: asyncio.Future[Any] | None = None
        self.reason: Any = None  # of a `cancel` that is on its way here

    def _begun(self, function: Callable[..., Any] | None) -> asyncio.Future[Any] | None:
        """A function of the source, at work; None: it was done at once."""
        result = function(self._controller) if function is not None else None
        if not isawaitable(result):
            return None
        task = asyncio.ensure_future(result)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Future[Any]) -> None:
        if task.cancelled():
            self._controller.error("its source was cancelled")
        elif (error := task.exception()) is not None:
            self._controller.error(error)
        self._controller.homing_wake()

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        controller = self._controller
        while (piece := controller.homing_take()) is None:
            if controller.homing_error is not None:
                raise controller.homing_error
            if controller.homing_closed:
                raise StopAsyncIteration
            if not self._ask():
                await controller.homing_changed()
        return piece

    def _ask(self) -> bool:
        """Call `pull`, unless it was called and has put nothing into the queue since, or still runs."""
        controller = self._controller
        runs = any(task is not None and not task.done() for task in (self._starting, self._pulling))
        if self._pull is None or runs or not controller.homing_filled:
            return False
        controller.homing_filled = False
        try:
            self._pulling = self._begun(self._pull)
        except Exception as error:
            controller.error(error)
        return True

    async def aclose(self) -> None:
        """Nobody reads on: the source is told, and does no more."""
        controller = self._controller
        if controller.homing_closed or controller.homing_error is not None:
            controller.homing_drop()
            return
        controller.homing_closed = True
        controller.homing_drop()
        cancel = _member(self._source, "cancel")
        result = cancel(self.reason) if cancel is not None else None
        if isawaitable(result):
            await result


def _member(source: Any, name: str) -> Any:
    """What an object of JavaScript, or of Python, has under a name; None: nothing."""
    return cast("Mapping[str, Any]", source).get(name) if isinstance(source, Mapping) else getattr(source, name, None)


class ReadableStream(homing.ReadableStream):
    """As `homing.ReadableStream`; made with `new`."""

    @classmethod
    def new(cls, source: Any = None, strategy: Any = None, **more: Any) -> ReadableStream:
        """A stream of what a source gives.

        Args:
            source: has `start(controller)`, `pull(controller)` and `cancel(reason)`, or some of these; each may be
                asynchronous. `type: "bytes"` asks for a stream of bytes, which each is.
            strategy: has `highWaterMark`, and may have `size(chunk)`: what `desiredSize` is reckoned from.
            more: members of the source.

        Raises:
            Exception: what `start` raised at once.
        """
        given: Any = source if source is not None else more
        if isinstance(source, Mapping):
            given = {**cast("Mapping[str, Any]", source), **more}
        mark = _member(strategy, "highWaterMark")
        if mark is None:
            mark = 0 if _member(given, "type") == "bytes" else 1
        return cls(_Pieces(given, ReadableStreamDefaultController(mark, _member(strategy, "size"))))

    async def cancel(self, reason: object = None) -> None:
        """Read no more; the source is told."""
        if isinstance(self._pieces, _Pieces):
            self._pieces.reason = reason
        await super().cancel(reason)
