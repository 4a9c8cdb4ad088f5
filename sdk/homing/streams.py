"""Bodies that are not there as a whole: streams of pieces, with back-pressure.

Names and meanings are those of the Streams standard (https://streams.spec.whatwg.org/), as far as code for Cloudflare's
Workers uses them; each has a name in Python's manner and one in JavaScript's. Whoever writes waits until there is room.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, cast

from homing.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from homing.transform import TransformStream, WritableStream

COLLECT_BYTES_MAX = 32 * 1024 * 1024  # of a stream, in `bytes`, `text`, `json`


class RequestTooLarge(TooLarge):
    """A request's body is longer than what is read of one at once; where the code lets this pass it is 413."""


Piece = bytes | bytearray | memoryview | str
Pieces = AsyncIterable[Any] | Iterable[Any]


def as_piece(value: Any) -> bytes:
    """A piece as bytes; text is UTF-8.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(cast("bytes", value))
    raise TypeError(f"a piece of a stream is bytes or text, not {type(value).__qualname__}")


class Chunk(bytes):
    """A piece that a reader has read, with what JavaScript's bytes have in Python Workers."""

    def to_py(self) -> bytes:
        """Plain bytes."""
        return bytes(self)

    to_bytes = to_py


class ReadResult(dict[str, Any]):
    """What a reader has read: `done`, and the `value` where it is not."""

    @property
    def done(self) -> bool:
        """Whether the stream was at its end."""
        return self["done"]

    @property
    def value(self) -> bytes | None:
        """The piece."""
        return self["value"]


class ReadableStream:
    """Pieces of bytes that are there when they are there, each read once.

    Args:
        pieces: an iterable, asynchronous or not, of bytes or text; a generator, for example. What is not read is not
            made. A generator is closed when nobody reads on.

    Example:
        >>> async def lines():
        ...     for n in range(3):
        ...         yield f"data: {n}\\n\\n"
        ...         await asyncio.sleep(1)
        >>> stream = ReadableStream(lines())  # doctest: +SKIP
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = aiter(pieces) if isinstance(pieces, AsyncIterable) else _each(pieces)
        self.homing_reader: StreamReader | None = None
        self.used = False  # somebody has read, or has a reader
        self.cancelled = False
        self.homing_too_large = TooLarge  # what `collect` raises

    @property
    def locked(self) -> bool:
        """Whether it has a reader."""
        return self.homing_reader is not None

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self.homing_reader is not None:
            raise BadRequest("the stream has a reader already")
        self.used = True
        return _Reading(self)

    def get_reader(self) -> StreamReader:
        """The one reader that it may have at a time.

        Raises:
            BadRequest: it has one.
        """
        if self.homing_reader is not None:
            raise BadRequest("the stream has a reader already")
        self.used = True
        self.homing_reader = StreamReader(self)
        return self.homing_reader

    getReader = get_reader

    async def cancel(self, reason: object = None) -> None:
        """Read no more; a generator behind it is closed."""
        self.cancelled = True
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()

    async def pipe_to(self, destination: WritableStream) -> None:
        """Write every piece to another stream, and close that."""
        writer = destination.get_writer()
        try:
            async for piece in self:
                await writer.write(piece)
        except BaseException as error:
            await writer.abort(error)
            raise
        await writer.close()

    pipeTo = pipe_to

    def pipe_through(self, transform: TransformStream) -> ReadableStream:
        """What comes out of a transform stream that this one is written to, in a task of its own."""
        transform.homing_task = asyncio.ensure_future(self.pipe_to(transform.writable))
        transform.homing_task.add_done_callback(_seen)
        return transform.readable

    pipeThrough = pipe_through

    async def collect(self, bytes_max: int | None = None) -> bytes:
        """All of it.

        Args:
            bytes_max: how much that may be; None: 32 MiB.

        Raises:
            TooLarge: it is more.
            BadRequest: it was read before, or is being read.
        """
        if self.used:
            raise BadRequest("the body was read already")
        limit = COLLECT_BYTES_MAX if bytes_max is None else bytes_max
        parts: list[bytes] = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > limit:
                await self.cancel()
                raise self.homing_too_large(f"what is read as a whole has at most {limit} bytes; read it in pieces")
            parts.append(piece)
        return b"".join(parts)

    def homing_pass_on(self) -> ReadableStream:
        """What is left of it, for whoever it is given to; this one is locked from now on.

        Raises:
            BadRequest: it has a reader.
        """
        if self.homing_reader is not None:
            raise BadRequest("a stream that has a reader cannot be sent")
        passed, self._pieces = ReadableStream(self._pieces), _each(())
        passed.cancelled = self.cancelled
        self.used = True
        self.homing_reader = StreamReader(ReadableStream(()))  # nobody has it, so nobody releases the lock
        return passed

    async def homing_next(self) -> bytes | None:
        """The next piece that is not empty, or None at the end; for the runtime and for readers."""
        while not self.cancelled:
            try:
                piece = as_piece(await anext(self._pieces))
            except StopAsyncIteration:
                return None
            if piece:
                return piece
        return None


class _Reading:
    """Reads on where the last loop over a stream ended."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._stream.homing_next()
        if piece is None:
            raise StopAsyncIteration
        return piece


async def _each(pieces: Iterable[Any]) -> AsyncIterator[Any]:
    try:
        for piece in pieces:
            yield piece
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


class StreamReader:
    """Reads a stream piece by piece.

    Example:
        >>> reader = request.body.get_reader()  # doctest: +SKIP
        >>> while not (found := await reader.read()).done:  # doctest: +SKIP
        ...     handle(found.value)
    """

    def __init__(self, stream: ReadableStream) -> None:
        self._stream: ReadableStream | None = stream

    async def read(self) -> ReadResult:
        """The next piece, when it is there.

        Raises:
            BadRequest: the lock was released; or the body broke off.
        """
        piece = await self._of().homing_next()
        return ReadResult(done=piece is None, value=None if piece is None else Chunk(piece))

    async def cancel(self, reason: object = None) -> None:
        """Read no more."""
        await self._of().cancel(reason)

    def release_lock(self) -> None:
        """Let another reader read on."""
        stream, self._stream = self._stream, None
        if stream is not None and stream.homing_reader is self:
            stream.homing_reader = None

    releaseLock = release_lock

    def _of(self) -> ReadableStream:
        if self._stream is None:
            raise BadRequest("the reader has released its stream")
        return self._stream


def _seen(task: asyncio.Future[None]) -> None:
    """A pipe that failed: whoever reads the other end has met the error."""
    if not task.cancelled():
        task.exception()


class WholeBody(bytes):
    """A body that is there as a whole: bytes that can also be read as a stream is."""

    def get_reader(self) -> StreamReader:
        """A reader of its one piece."""
        return ReadableStream([bytes(self)]).get_reader()

    getReader = get_reader

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(ReadableStream([bytes(self)]))
