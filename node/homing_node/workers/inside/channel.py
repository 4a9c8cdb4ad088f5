"""The channel between a node and one of its workers: the kinds of messages, and the node's end of the socketpair.

`framing.py` says how messages become bytes. The worker has an end of its own in `wire.py`, because a second thread
writes there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from homing_node.workers.inside import limits
from homing_node.workers.inside.framing import BadFrame, Inbox, MessageTooLarge, Outbox, decode_message

__all__ = ["BadFrame", "Channel", "Inbox", "MessageTooLarge", "Outbox", "decode_message"]

# Node to worker
HELLO = 0
OPEN = 1
PAGES = 2
EVENT = 3
CLOSE = 4
ABORT = 5
PING = 6
REPLY = 7
SOCKETS = 8
CLOCK = 9
LOOK = 10
FACET = 16

# Worker to node
READY = 0
FAILED = 1
TURN = 2
CLOSED = 3
PONG = 4
LOG = 5
BEAT = 6
RESET = 7
CALL = 8
SEEN = 9

# Both ways
FLOW = 12
TAKEN = 13
GIVE_UP = 14

# The kind of an EVENT
RPC = 1
FETCH = 2
DEFAULT = 3
ALARM = 4
METHOD = 5
MESSAGE = 6
SOCKET_CLOSE = 7
SOCKET_ERROR = 8
RUN = 9
LIST = 10
OUTBOUND = 11
SANDBOX = 12
GRANTED = 13
LOADER = 15

# The method of a SANDBOX, which otherwise is a run
REVOKE = "revoke"
FOLLOW = "follow"

# The method of a LOADER that is told what became of a facet in a sandbox (`homing.loading_frames`)
KEEP_FACET = "keep"
CLOSE_FACET = "close"

# The status of an effect
RESULT = 0
ANSWER = 1
FAILURE = 2
REFUSED = 3  # as FAILURE, of a call that has not begun: nothing of it is recorded, and it may come again

# With what a stream flows: an event or its answer, or a call that was made here or its answer
OF_EVENT = 0
OF_CALL = 1

STOP = 0  # TAKEN: no more is wanted


class Channel(asyncio.Protocol):
    """The node's end of a channel.

    Args:
        on_message: called with each message. It may raise `BadFrame` to refuse it, which closes the channel.
        on_close: called once, with the reason, when the channel has ended for whatever cause.
        on_writable: called when `paused` has become False again.
        decode: see `Inbox`.
        message_bytes_max: see `Inbox`.

    Example:
        >>> transport, channel = await loop.create_unix_connection(lambda: Channel(on_message, on_close), sock=sock)
        >>> channel.send((PING, 1))
    """

    def __init__(
        self,
        on_message: Callable[[Any], None],
        on_close: Callable[[str], None],
        *,
        on_writable: Callable[[], None] | None = None,
        decode: Callable[[memoryview], Any] = decode_message,
        message_bytes_max: int = limits.message_bytes_max,
    ) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._on_writable = on_writable
        self._inbox = Inbox(decode, message_bytes_max)
        self._outbox = Outbox(message_bytes_max)
        self._transport: asyncio.WriteTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush_scheduled = False
        self._close_reason: str | None = None
        self.paused = False  # the other side does not read: the caller must stop sending, or bound what it sends
        self.closed = False  # Invariant: on_close was called if and only if closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio. Messages that were sent before leave now."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._loop = asyncio.get_running_loop()
        if self._close_reason is not None:
            self._transport.abort()
        elif self._outbox.queued_bytes:
            self._schedule_flush()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._close_reason is not None:
            return
        try:
            for message in self._inbox.feed(data):
                self._on_message(message)
                if self._close_reason is not None:
                    return
        except BadFrame as error:
            self.close(f"protocol error: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.closed = True
        self._transport = None
        self._on_close(self._close_reason or (f"lost: {exc}" if exc else "the other side closed"))

    def pause_writing(self) -> None:
        """Called by asyncio when its buffer is above the high mark."""
        self.paused = True

    def resume_writing(self) -> None:
        """Called by asyncio when its buffer has drained."""
        self.paused = False
        if self._outbox.queued_bytes:
            self._schedule_flush()
        if self._on_writable is not None:
            self._on_writable()

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue a message; it is written when the loop's turn ends. Nothing happens on a closed channel.

        Raises:
            MessageTooLarge: it is above `message_bytes_max`.
        """
        if self._close_reason is not None or self.closed:
            return
        self._outbox.put(message)
        if not self._flush_scheduled and self._loop is not None:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled and self._loop is not None:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._transport is None or self._close_reason is not None:
            return
        if self.paused:  # pieces wait in the outbox, where small messages can still pass them
            return
        data = self._outbox.take()
        if data:
            self._transport.write(data)
        if self._outbox.has_pieces and not self.paused:
            self._schedule_flush()

    @property
    def queued_bytes(self) -> int:
        """What was sent and is not yet with the operating system."""
        written = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outbox.queued_bytes + written

    def close(self, reason: str = "closed") -> None:
        """End the channel; what is queued is dropped. `on_close` gets the reason. Idempotent."""
        if self._close_reason is not None or self.closed:
            return
        self._close_reason = reason
        if self._transport is not None:
            self._transport.abort()
