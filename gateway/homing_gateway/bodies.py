"""Bodies that flow through a gateway: between an HTTP connection and the link to a node (docs/bodies.md).

What is held of each is bounded by its window. A client that sends is read when there is room, an answer is taken when
the client has taken what came before.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

from homing.errors import ApplicationError, Unavailable
from homing.flow import BROKEN, WHOLE, cost_of, cut, piece_bytes_max
from homing_gateway.limits import BODY_WAIT_S_MAX
from homing_placement.routing.flows import Download, Upload
from homing_placement.routing.pending import Pending


class RequestBody:
    """What is left of a request's body, behind the first piece.

    Args:
        left: pieces that have come.
        more: others will come.
        timeout_s: the call's: as long as the code takes pieces, its deadline is as far away as at the beginning.
    """

    def __init__(self, left: Iterable[bytes], *, more: bool, timeout_s: float) -> None:
        self.upload = Upload(self._look)
        self.more = more
        self._left = deque(piece for piece in left if piece)
        self._timeout_s = timeout_s
        self._room = asyncio.Event()

    def _look(self, _: int) -> None:
        self._room.set()

    async def feed(self, receive: Callable[[], Awaitable[dict[str, Any]]], pending: Pending) -> None:
        """Pass on what is left, no faster than it is taken; cancelled, it can be begun again.

        Raises:
            ConnectionError: the client has gone.
        """
        while self._left or self.more:
            await self._wait_for_room(pending)
            if self.upload.over:
                return
            if self._left:
                self.upload.put(self._left.popleft())
                pending.deadline_s = time.monotonic() + self._timeout_s
                continue
            message = await receive()
            if message["type"] != "http.request":
                self.end()
                raise ConnectionError
            self.more = message.get("more_body", False)
            self._left.extend(cut(message.get("body", b"")))
        if not self.upload.over:
            self.upload.end(WHOLE)

    async def _wait_for_room(self, pending: Pending) -> None:
        while not (self.upload.room or self.upload.over):
            self._room.clear()
            try:
                # Before there is an answer the call has a deadline. Code that answers and reads no more is left alone.
                async with asyncio.timeout(BODY_WAIT_S_MAX if pending.downloads else None):
                    await self._room.wait()
            except TimeoutError:
                self.end()

    def end(self) -> None:
        """Whatever was not passed on is not."""
        if not self.upload.over:
            self.upload.end(BROKEN)


async def answer_pieces(download: Download, length: int | None) -> AsyncGenerator[bytes]:
    """The body of an answer as it comes, taken when what came before has been passed on.

    Args:
        download: the body; it is stopped when nobody reads on.
        length: how long it is to be, if that is known.

    Raises:
        Unavailable: it broke off.
        ApplicationError: it is of another length.
    """
    more = asyncio.Event()
    download.on_more = more.set
    left = length
    try:
        while download.pieces or download.end != WHOLE:
            if not download.pieces:
                if download.end == BROKEN:
                    raise Unavailable("the body of the answer broke off")
                more.clear()
                await more.wait()
                continue
            piece = _next(download)
            if left is not None:
                left -= len(piece)
                if left < 0:
                    raise ApplicationError("the object answered with more than it said", error_type="ResponseError")
            yield piece
        if left:
            raise ApplicationError("the object answered with less than it said", error_type="ResponseError")
    finally:
        download.stop()


def _next(download: Download) -> bytes:
    """What has come, up to a bound."""
    parts = [download.pieces.popleft()]
    size = len(parts[0])
    while download.pieces and size + len(download.pieces[0]) <= piece_bytes_max:
        parts.append(download.pieces.popleft())
        size += len(parts[-1])
    download.took(sum(map(cost_of, parts)))
    return b"".join(parts)
