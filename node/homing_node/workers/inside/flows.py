"""Streams that flow, at the end where an object's code writes or reads them (docs/bodies.md).

They are bodies of requests and answers, or stand in the arguments or the result of a method; each flows by itself. What
a generator yields leaves in a turn of its own, behind the turn that made it: whatever that wrote has left before. A
piece that came is an event: it wakes the code that waits for it, when the input gate lets it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from weakref import ref

from homing.errors import BadRequest, HomingError, Unavailable
from homing.flow import BROKEN, GOES_ON, WHOLE, ReceiveWindow, SendWindow, cost_of, cut
from homing.streams import ReadableStream
from homing_node.workers.inside.channel import FLOW, OF_EVENT, STOP, TAKEN

_Key = tuple[int, int, int]
"""Whose stream (`channel.OF_EVENT`, `OF_CALL`), the number of that event or call, and its own among those of that."""


class FlowIn:
    """The pieces of a stream that comes, for code to read; who drops it wants no more."""

    __slots__ = ("__weakref__", "_end", "_flows", "_key", "_pieces", "_wanted", "_window")

    def __init__(self, flows: Flows, key: _Key) -> None:
        self._flows, self._key = flows, key
        self._window = ReceiveWindow()
        self._pieces: deque[bytes] = deque()
        self._end = GOES_ON
        self._wanted: asyncio.Future[None] | None = None

    def came(self, data: bytes, end: int) -> None:
        """A piece, also an empty one, or the end.

        Raises:
            ValueError: there is no room for it.
        """
        if end == GOES_ON:
            self._window.came(data)
            self._pieces.append(data)
        else:
            self._end = end
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    def __aiter__(self) -> FlowIn:
        return self

    async def __anext__(self) -> bytes:
        """The next piece, when it is there.

        Raises:
            BadRequest: what came with an event broke off.
            Unavailable: what came with an answer did.
        """
        while not self._pieces:
            if self._end == WHOLE:
                raise StopAsyncIteration
            if self._end == BROKEN:
                raise self._broken()
            self._wanted = self._flows.loop.create_future()
            await self._wanted
        piece = self._pieces.popleft()
        self._window.took(cost_of(piece))
        if self._end == GOES_ON and (credit := self._window.due()):
            self._flows.say(TAKEN, self._key, credit)
        return piece

    def _broken(self) -> HomingError:
        if self._key[0] == OF_EVENT:
            return BadRequest("the body of the request, or a stream that the call passed, broke off")
        return Unavailable("the body of the answer, or a stream that it passed, broke off")

    async def aclose(self) -> None:
        """No more is wanted."""
        if self._end == GOES_ON:
            self._end = BROKEN
            self._pieces.clear()
            self._flows.unwanted(self._key, self)

    def __del__(self) -> None:
        if self._end == GOES_ON:
            self._flows.loop.call_soon_threadsafe(self._flows.unwanted, self._key)  # whoever collects it, and when


class _FlowOut:
    """A stream that is sent: its window, and the task that sends it."""

    __slots__ = ("begun", "task", "wanted", "window")

    def __init__(self, *, begun: bool) -> None:
        self.window = SendWindow()
        self.begun = begun  # else it waits until somebody reads it, for until then its call may be sent again
        self.task: asyncio.Task[Any] | None = None
        self.wanted: asyncio.Future[None] | None = None


class Flows:
    """The streams of one activation that flow.

    Args:
        number: the activation's.
        loop: where futures belong.
        send: queues a frame for the node.
        spawn: makes a task of the activation's.
        log_error: an error of the object's code that no caller is told of.
    """

    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[tuple[Any, ...]], None],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        log_error: Callable[[BaseException], None],
    ) -> None:
        self.loop = loop
        self._number, self._send, self._spawn, self._log_error = number, send, spawn, log_error
        self._ended = False
        self._ins: dict[_Key, ref[FlowIn]] = {}
        self._outs: dict[_Key, _FlowOut] = {}

    @property
    def comes(self) -> bool:
        """Whether a stream comes that somebody may read."""
        return bool(self._ins)

    # -- streams that come ----------------------------------------------------------------------------------------

    def receive(self, side: int, number: int, count: int, first: bytes = b"") -> list[ReadableStream]:
        """The streams that come with an event, or with the answer of a call.

        Args:
            side, number: which that is.
            count: how many they are.
            first: of an event: the piece of the first stream that came with it. The others have an empty one: who
                takes that says by it that the call cannot be sent again.
        """
        streams: list[ReadableStream] = []
        for at in range(count):
            flow = FlowIn(self, (side, number, at))
            self._ins[side, number, at] = ref(flow)
            if side == OF_EVENT:
                flow.came(b"" if at else first, GOES_ON)
            streams.append(ReadableStream(flow))
        return streams

    def came(self, side: int, number: int, at: int, data: bytes, end: int) -> None:
        """A piece of a stream, or its end."""
        key = side, number, at
        found = self._ins.get(key)
        if found is None:
            return
        if end != GOES_ON:
            del self._ins[key]
        if (flow := found()) is not None:
            flow.came(data, end)

    def unwanted(self, key: _Key, flow: FlowIn | None = None) -> None:
        """Nobody reads a stream any more: that reader is closed, or (None) it is no more."""
        found = self._ins.get(key)
        if found is not None and found() is flow:
            del self._ins[key]
            self.say(TAKEN, key, STOP)

    # -- streams that are sent ------------------------------------------------------------------------------------

    def send(self, side: int, number: int, streams: Iterable[ReadableStream]) -> None:
        """Send streams behind the answer of an event, or behind a call that was made."""
        for at, stream in enumerate(streams):
            key = side, number, at
            out = self._outs[key] = _FlowOut(begun=side == OF_EVENT)
            if not out.begun:
                out.window.sent(b"")  # the piece that goes with the call
            out.task = self._spawn(self._run(key, out, stream))

    async def _run(self, key: _Key, out: _FlowOut, stream: ReadableStream) -> None:
        end = BROKEN
        try:
            await self._pour(key, out, stream)
            end = WHOLE
        except asyncio.CancelledError:
            await stream.cancel()
        except Exception as error:
            self._log_error(error)
            await stream.cancel()
        self._outs.pop(key, None)
        self.say(FLOW, key, b"", end)

    async def _pour(self, key: _Key, out: _FlowOut, stream: ReadableStream) -> None:
        while not out.begun:
            await self._room(out)
        while (piece := await stream.homing_next()) is not None:
            for part in cut(piece):
                await asyncio.sleep(0)  # the turn ends here: what it wrote is committed, or this raises
                while not out.window.room:
                    await self._room(out)
                if self._outs.get(key) is not out:
                    raise asyncio.CancelledError  # nobody wants more, and the code did not let itself be cancelled
                out.window.sent(part)
                self.say(FLOW, key, part, GOES_ON)
        await asyncio.sleep(0)

    async def _room(self, out: _FlowOut) -> None:
        out.wanted = self.loop.create_future()
        await out.wanted

    def taken(self, side: int, number: int, at: int, cost: int) -> None:
        """So much was taken of a stream that is sent, or no more of it is wanted.

        Raises:
            ValueError: not so much was sent.
        """
        key = side, number, at
        out = self._outs.get(key)
        if out is None:
            return
        if cost == STOP:
            self._drop(key)
            return
        out.window.returned(cost)
        out.begun = True
        wanted, out.wanted = out.wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    def drop(self, side: int, number: int, count: int) -> None:
        """Streams are not to be sent any further; what makes them is closed."""
        for at in range(count):
            self._drop((side, number, at))

    def _drop(self, key: _Key) -> None:
        out = self._outs.pop(key, None)
        if out is not None and out.task is not None:
            out.task.cancel()

    # -- within ---------------------------------------------------------------------------------------------------

    def say(self, kind: int, key: _Key, *what: object) -> None:
        """Send a frame of a stream."""
        if not self._ended:
            self._send((kind, self._number, *key, *what))

    def end(self) -> None:
        """The activation is over."""
        self._ended = True
        self._ins.clear()
        self._outs.clear()
