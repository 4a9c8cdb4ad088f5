"""Streams that are written to at one end and read at the other.

Names and meanings are those of the Streams standard (https://streams.spec.whatwg.org/). Whoever writes waits until
there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import Any, cast

from homing.errors import BadRequest, TooLarge
from homing.streams import Piece, Pieces, ReadableStream, as_piece

UNREAD_BYTES_MAX = 64 * 1024  # written and not read; then a writer waits
UNAWAITED_BYTES_MAX = 1024 * 1024  # and so much if it does not


class _Pipe:
    """What was written to a transform stream and not read."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._error: BaseException | None = None
        self._gone = False  # nobody will read
        self.on_gone: Callable[[], object] | None = None
        self._wanted: asyncio.Future[None] | None = None  # the reader waits for it
        self._room: deque[asyncio.Future[None]] = deque()  # writers wait for these

    def write(self, value: Any) -> asyncio.Future[None]:
        """Take a piece at once; what is returned is done when there is room for the next."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            piece = as_piece(value)
            if self._gone or self._closed:
                raise BadRequest("the stream is closed" if self._closed else "nobody reads the stream any more")
            if self._bytes > UNAWAITED_BYTES_MAX:
                raise TooLarge("the stream is not read as fast as it is written: await what write returns")
        except Exception as error:
            done.set_exception(error)
            return done
        self._pieces.append(piece)
        self._bytes += len(piece)
        self._wake()
        if self._bytes <= UNREAD_BYTES_MAX:
            done.set_result(None)
        else:
            self._room.append(done)
        return done

    @property
    def free_bytes(self) -> int:
        """How much more is taken without waiting."""
        return UNREAD_BYTES_MAX - self._bytes

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more is written; with an error, the reader meets that."""
        if not self._closed:
            self._closed, self._error = True, error
            self._wake()

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    async def read(self) -> AsyncIterator[bytes]:
        """What was written, to its end; writers wait while nothing is read, and fail when nobody will."""
        try:
            while True:
                while self._pieces:
                    piece = self._pieces.popleft()
                    self._bytes -= len(piece)
                    while self._room and self._bytes <= UNREAD_BYTES_MAX:
                        _settle(self._room.popleft())
                    yield piece
                if self._closed:
                    if self._error is not None:
                        raise self._error
                    return
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted
        finally:
            self._gone = True
            if self.on_gone is not None:
                self.on_gone()
            while self._room:
                _settle(self._room.popleft(), BadRequest("nobody reads the stream any more"))


def _settle(future: asyncio.Future[None], error: Exception | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # whoever awaits it gets it; nobody may


class StreamWriter:
    """Writes to a stream piece by piece."""

    def __init__(self, stream: WritableStream) -> None:
        self._stream: WritableStream | None = stream

    def _pipe(self) -> _Pipe:
        if self._stream is None:
            raise BadRequest("the writer has released its stream")
        return self._stream.homing_pipe

    def write(self, piece: Piece) -> Awaitable[None]:
        """Write bytes or text; await it to wait until there is room for more.

        Raises:
            BadRequest: nobody reads any more, or the stream is closed.
            TooLarge: much was written and never awaited.
        """
        return self._pipe().write(piece)

    async def close(self) -> None:
        """The stream is complete."""
        self._pipe().end()

    async def abort(self, reason: object = None) -> None:
        """The stream ends here and is not complete: whoever reads it gets an error."""
        self._pipe().end(reason if isinstance(reason, Exception) else BadRequest(f"the stream broke off: {reason}"))

    @property
    def desired_size(self) -> int:
        """How many bytes are taken without waiting; below 0 where too many wait."""
        return self._pipe().free_bytes

    desiredSize = desired_size

    def release_lock(self) -> None:
        """Let another writer write on."""
        stream, self._stream = self._stream, None
        if stream is not None and stream.homing_writer is self:
            stream.homing_writer = None

    releaseLock = release_lock


class WritableStream:
    """The end of a `TransformStream` that is written to."""

    def __init__(self, pipe: _Pipe) -> None:
        self.homing_pipe = pipe
        self.homing_writer: StreamWriter | None = None

    @property
    def locked(self) -> bool:
        """Whether it has a writer."""
        return self.homing_writer is not None

    def get_writer(self) -> StreamWriter:
        """The one writer that it may have at a time.

        Raises:
            BadRequest: it has one.
        """
        if self.homing_writer is not None:
            raise BadRequest("the stream has a writer already")
        self.homing_writer = StreamWriter(self)
        return self.homing_writer

    getWriter = get_writer


class TransformStream:
    """What is written to its `writable` can be read from its `readable`.

    Example:
        >>> stream = TransformStream()  # doctest: +SKIP
        >>> self.ctx.wait_until(write_to(stream.writable.get_writer()))  # doctest: +SKIP
        >>> return Response(stream.readable, headers={"content-type": "text/event-stream"})  # doctest: +SKIP
    """

    def __init__(self) -> None:
        pipe = self.homing_pipe = _Pipe()
        self.writable = WritableStream(pipe)
        self.readable = ReadableStream(pipe.read())
        self.homing_task: asyncio.Future[None] | None = None

    def __iter__(self) -> Generator[Any]:
        yield self.readable
        yield self.writable


def streamed(body: Any) -> ReadableStream | None:
    """The stream that a body is, or stands for; None for what is no iterable."""
    if isinstance(body, ReadableStream):
        return body
    if isinstance(body, TransformStream):
        return body.readable
    if isinstance(body, (AsyncIterable, Iterable)) and not isinstance(body, dict):
        return ReadableStream(cast("Pieces", body))
    return None
