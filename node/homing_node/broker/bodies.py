"""Bodies that flow with a request to the outside: what a node is to a link, for one that goes to no node."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from homing.errors import BadRequest
from homing.flow import BROKEN, GOES_ON, WHOLE, SendWindow, cost_of, cut
from homing.wire.v1 import call_pb2 as wire
from homing_placement.routing.flows import LinkFlows, end_of
from homing_placement.routing.pending import Pending

_CALL = 0  # its number, where there is no other
_KEY = (_CALL, 0)


class OutsideBodies:
    """The body of one request, and that of its answer.

    Args:
        pending: the request.
        on_unwanted: called when nobody reads the answer any more.

    Attributes:
        answered: the answer flows.
    """

    def __init__(self, pending: Pending, on_unwanted: Callable[[], object]) -> None:
        self._pending, self._on_unwanted = pending, on_unwanted
        self._flows = LinkFlows(self._take)
        self._pieces: deque[bytes] = deque()  # of the request. Invariant: no more than its window holds
        self._end = GOES_ON
        self._window = SendWindow()  # of the answer
        self._changed = asyncio.Event()
        self.answered = False
        for upload in pending.uploads:
            self._flows.open_upload(_KEY, upload, b"")

    def _take(self) -> None:
        """The object's node says something: of the request's body a piece, or its end; or of the answer's."""
        said = wire.CallBatch()
        self._flows.fill(said, 0, 1 << 20)
        for m in said.flows:
            if m.data:
                self._pieces.append(m.data)
            if m.end:
                self._end = int(m.end)
            if m.taken:
                self._window.returned(m.taken)
            if m.stop:
                self._on_unwanted()
        self._changed.set()

    async def request(self, length: int | None, on_progress: Callable[[], object]) -> AsyncGenerator[bytes]:
        """The request's body, each piece taken when the next is asked for, which is told to `on_progress`.

        Raises:
            BadRequest: it broke off, or is not of the length that was said.
        """
        left = length
        self._took(b"")
        while self._pieces or self._end == GOES_ON:
            if not self._pieces:
                self._changed.clear()
                await self._changed.wait()
                continue
            piece = self._pieces.popleft()
            if left is not None:
                left -= len(piece)
                if left < 0:
                    raise BadRequest("the body of the request is longer than its content-length")
            yield piece
            on_progress()
            if self._end == GOES_ON:
                self._took(piece)
        if self._end == BROKEN:
            raise BadRequest("the body of the request broke off")
        if left:
            raise BadRequest("the body of the request is shorter than its content-length")

    def _took(self, piece: bytes) -> None:
        self._flows.take([wire.Flow(id=_CALL, taken=cost_of(piece))])

    def answer(self) -> None:
        """The head of the answer is there; its body follows."""
        self.answered = True
        self._pending.downloads = self._flows.open_downloads(_CALL, 1)
        self._pending.on_done(self._pending)

    async def put(self, data: bytes) -> None:
        """Pass a part of the answer on, when there is room for it."""
        for piece in cut(data):
            while not self._window.room:
                self._changed.clear()
                await self._changed.wait()
            self._window.sent(piece)
            self._flows.take([wire.Flow(id=_CALL, data=piece)])

    def end(self, *, whole: bool) -> None:
        """The answer is complete, or breaks off."""
        self._flows.take([end_of(*_KEY, WHOLE if whole else BROKEN)])
