"""Bodies that flow, at the end where an object's code writes or reads them (docs/bodies.md).

What an answer's generator yields leaves in a turn of its own, behind the turn that made it: whatever that wrote has
left before. A piece that came is an event: it wakes the code that waits for it, when the input gate lets it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import ref

from homing.errors import BadRequest, HomingError, Unavailable
from homing.flow import BROKEN, GOES_ON, WHOLE, ReceiveWindow, SendWindow, cost_of, cut
from homing.streams import ReadableStream, RequestTooLarge
from homing_node.workers.inside.channel import FLOW, OF_EVENT, STOP, TAKEN

_Key = tuple[int, int]
"""Whose body (`channel.OF_EVENT`, `OF_CALL`), and the number of that event or call."""


class FlowIn:
    """The pieces of a body that comes, for a stream to read; who drops it wants no more."""

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
            BadRequest: the request's body broke off.
            Unavailable: the answer's did.
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
            return BadRequest("the body of the request broke off")
        return Unavailable("the body of the answer broke off")

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
    """A body that is sent: its window, and the task that sends it."""

    __slots__ = ("begun", "task", "wanted", "window")

    def __init__(self, *, begun: bool) -> None:
        self.window = SendWindow()
        self.begun = begun  # else it waits until the call runs whose body it is
        self.task: asyncio.Task[Any] | None = None
        self.wanted: asyncio.Future[None] | None = None


class Flows:
    """The bodies of one activation that flow.

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

    # -- bodies that come -----------------------------------------------------------------------------------------

    def receive(self, side: int, number: int, first: bytes | None = None, end: int = GOES_ON) -> ReadableStream:
        """The stream of a body that comes; `first`: the piece that came with the call."""
        flow = FlowIn(self, (side, number))
        self._ins[side, number] = ref(flow)
        if first is not None:
            flow.came(first, GOES_ON)
        if end != GOES_ON:
            flow.came(b"", end)
        stream = ReadableStream(flow)
        if side == OF_EVENT:
            stream.homing_too_large = RequestTooLarge
        return stream

    def came(self, side: int, number: int, data: bytes, end: int) -> bool:
        """A piece of a body, or its end; returns whether it is known here."""
        found = self._ins.get((side, number))
        if found is None:
            return False
        if end != GOES_ON:
            del self._ins[side, number]
        if (flow := found()) is not None:
            flow.came(data, end)
        return True

    def unwanted(self, key: _Key, flow: FlowIn | None = None) -> None:
        """Nobody reads a body any more: that reader is closed, or (None) it is no more."""
        found = self._ins.get(key)
        if found is not None and found() is flow:
            del self._ins[key]
            self.say(TAKEN, key, STOP)

    # -- bodies that are sent -------------------------------------------------------------------------------------

    def send(self, side: int, number: int, stream: ReadableStream) -> None:
        """Send a stream as the body of an answer (side OF_EVENT), or of a call that was made."""
        out = self._outs[side, number] = _FlowOut(begun=side == OF_EVENT)
        if not out.begun:
            out.window.sent(b"")  # the piece that goes with the call
        out.task = self._spawn(self._run((side, number), out, stream))

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

    def taken(self, side: int, number: int, cost: int) -> None:
        """So much was taken of a body that is sent, or no more of it is wanted.

        Raises:
            ValueError: not so much was sent.
        """
        out = self._outs.get((side, number))
        if out is None:
            return
        if cost == STOP:
            self.drop(side, number)
            return
        out.window.returned(cost)
        out.begun = True
        wanted, out.wanted = out.wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    def drop(self, side: int, number: int) -> None:
        """A body is not to be sent any further; what makes it is closed."""
        out = self._outs.pop((side, number), None)
        if out is not None and out.task is not None:
            out.task.cancel()

    # -- within ---------------------------------------------------------------------------------------------------

    def say(self, kind: int, key: _Key, *what: object) -> None:
        """Send a frame of a body."""
        if not self._ended:
            self._send((kind, self._number, *key, *what))

    def end(self) -> None:
        """The activation is over."""
        self._ended = True
        self._ins.clear()
        self._outs.clear()
