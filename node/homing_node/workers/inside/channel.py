"""The channel between a node and one of its workers: framed MessagePack on a socketpair.

A frame is a little-endian u32 header, whose low 31 bits are the payload's length and whose top bit marks a fragment,
and the payload. A plain payload is one message: a MessagePack array that begins with its kind. A message above
`fragment_bytes` travels in fragments (u32 message id, u8 last, bytes), and other messages pass between them.
Messages whose second element is the same integer (an activation) never overtake each other.

`Inbox` and `Outbox` are the pure halves; `Channel` is the shell around them for the node. The worker has a shell of its
own in `wire.py`, because a second thread writes there.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgspec

from homing_node.workers.inside import limits

# Node to worker
HELLO = 0
OPEN = 1
PAGES = 2
EVENT = 3
CLOSE = 4
ABORT = 5
PING = 6

# Worker to node
READY = 0
FAILED = 1
TURN = 2
CLOSED = 3
PONG = 4
LOG = 5
BEAT = 6
RESET = 7

# The kind of an EVENT
RPC = 1
FETCH = 2
DEFAULT = 3

# The status of an effect
RESULT = 0
ANSWER = 1
FAILURE = 2

Message = list[Any]

_FRAGMENT_BIT = 1 << 31
_header = struct.Struct("<I")
_fragment = struct.Struct("<IIB")  # header, message id, last
_fragment_prefix = struct.Struct("<IB")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Any])


class BadFrame(Exception):
    """The other side broke the framing; the channel cannot go on."""


class MessageTooLarge(ValueError):
    """A message is above `message_bytes_max` and was not sent."""


def decode_message(payload: memoryview | bytes | bytearray) -> Message:
    """One message of any kind, its shape unchecked but for the kind.

    Raises:
        BadFrame: not MessagePack, too deep, or not an array that begins with an integer.
    """
    try:
        message = _decoder.decode(payload)
    except (ValueError, RecursionError) as error:  # msgspec's errors and bad UTF-8 are ValueErrors
        raise BadFrame(f"not a message: {error}") from None
    if not message or type(message[0]) is not int:
        raise BadFrame("a message begins with its kind")
    return message


class Inbox:
    """Bytes in, messages out. Pure: it neither waits nor reads.

    Args:
        decode: makes a message of a payload, and raises `BadFrame` when it cannot.
        message_bytes_max: what unfinished messages may hold together.
    """

    def __init__(
        self,
        decode: Callable[[memoryview], Any] = decode_message,
        message_bytes_max: int = limits.message_bytes_max,
    ) -> None:
        self._decode = decode
        self._message_bytes_max = message_bytes_max
        self._rest = bytearray()  # the beginning of a frame whose end has not come
        self._rest_needs = 0  # Invariant: nothing can be decoded while len(_rest) < _rest_needs
        self._partial: dict[int, bytearray] = {}
        self._partial_bytes = 0  # Invariant: the sum over _partial, at most _message_bytes_max

    def feed(self, data: bytes | bytearray | memoryview) -> list[Any]:
        """The messages that these bytes complete, in order. Nothing keeps a reference to `data`.

        Raises:
            BadFrame: a frame or message over its bound, or bytes that are no message. Do not feed on.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._rest_needs:
                return []
            data, self._rest = self._rest, bytearray()
        view = memoryview(data)
        end = len(data)
        at = 0
        messages: list[Any] = []
        needs = _header.size
        while end - at >= 4:
            (head,) = _header.unpack_from(view, at)
            length = head & ~_FRAGMENT_BIT
            if length > limits.frame_bytes_max:
                raise BadFrame(f"a frame of {length} bytes; at most {limits.frame_bytes_max}")
            stop = at + 4 + length
            if stop > end:
                needs = 4 + length
                break
            if head == length:
                messages.append(self._decode(view[at + 4 : stop]))
            else:
                self._add_fragment(view[at + 4 : stop], messages)
            at = stop
        if at < end:
            self._rest += view[at:]
            self._rest_needs = needs
        return messages

    def _add_fragment(self, payload: memoryview, messages: list[Any]) -> None:
        if len(payload) <= _fragment_prefix.size:
            raise BadFrame("an empty fragment")
        number, last = _fragment_prefix.unpack_from(payload)
        if last > 1:
            raise BadFrame("a fragment is the last or it is not")
        data = payload[_fragment_prefix.size :]
        whole = self._partial.get(number)
        if whole is None:
            if len(self._partial) >= limits.partial_messages_max:
                raise BadFrame(f"more than {limits.partial_messages_max} messages in pieces")
            whole = self._partial[number] = bytearray()
        self._partial_bytes += len(data)
        if self._partial_bytes > self._message_bytes_max:
            raise BadFrame(f"pieces of more than {self._message_bytes_max} bytes")
        whole += data
        if last:
            del self._partial[number]
            self._partial_bytes -= len(whole)
            messages.append(self._decode(memoryview(whole)))


class _Queued:
    """A message that could not go into the next chunk: too large, or behind a large one of its key."""

    __slots__ = ("data", "key", "number", "sent")

    def __init__(self, data: bytes, key: int) -> None:
        self.data = data
        self.key = key
        self.number = 0
        self.sent = 0


class Outbox:
    """Messages in, bytes out, large ones in pieces between the others. Pure: it neither waits nor writes."""

    def __init__(self, message_bytes_max: int = limits.message_bytes_max) -> None:
        self._message_bytes_max = message_bytes_max
        self._ready: list[bytes] = []
        self._ready_bytes = 0
        self._started: deque[_Queued] = deque()  # Invariant: within the receiver's bounds on partial messages
        self._started_bytes = 0
        self._waiting: deque[_Queued] = deque()
        self._keys: dict[int, int] = {}  # Invariant: counts the messages of each key in _started and _waiting
        self._large_bytes = 0
        self._next_number = 0

    def put(self, message: tuple[Any, ...]) -> None:
        """Queue a message.

        Raises:
            MessageTooLarge: it is above `message_bytes_max`; nothing was queued.
        """
        data = _encoder.encode(message)
        size = len(data)
        if size > limits.fragment_bytes or self._keys:
            self._put_slowly(message, data)
            return
        self._ready.append(_header.pack(size))
        self._ready.append(data)
        self._ready_bytes += size

    def _put_slowly(self, message: tuple[Any, ...], data: bytes) -> None:
        if len(data) > self._message_bytes_max:
            raise MessageTooLarge(f"a message of {len(data)} bytes; at most {self._message_bytes_max}")
        second = message[1] if len(message) > 1 else None
        key = second if type(second) is int else -1  # what has no key keeps its order too
        if len(data) <= limits.fragment_bytes and key not in self._keys:
            self._append(data)
            return
        self._large_bytes += len(data)
        self._keys[key] = self._keys.get(key, 0) + 1
        self._waiting.append(_Queued(data, key))

    def _append(self, data: bytes) -> None:
        self._ready.append(_header.pack(len(data)))
        self._ready.append(data)
        self._ready_bytes += len(data)

    def take(self) -> bytes:
        """What may be written now: every small message and one piece of a large one; b"" when nothing is queued."""
        if self._keys:
            self._start_waiting()
            self._take_piece()
        if not self._ready:
            return b""
        data = b"".join(self._ready)
        self._ready.clear()
        self._ready_bytes = 0
        return data

    def _start_waiting(self) -> None:
        """Move on what is the first of its key, as far as the receiver's bounds allow."""
        busy = {queued.key for queued in self._started}
        kept: deque[_Queued] = deque()
        full = False
        for queued in self._waiting:
            small = len(queued.data) <= limits.fragment_bytes
            full = full or not (small or self._fits(queued))  # nobody passes one that waits for room: it would starve
            if queued.key in busy or (full and not small):
                kept.append(queued)
                busy.add(queued.key)
            elif small:
                self._large_bytes -= len(queued.data)
                self._append(queued.data)
                self._forget(queued.key)
            else:
                busy.add(queued.key)
                queued.number = self._next_number
                self._next_number = (self._next_number + 1) & 0xFFFFFFFF
                self._started.append(queued)
                self._started_bytes += len(queued.data)
        self._waiting = kept

    def _fits(self, queued: _Queued) -> bool:
        return (
            len(self._started) < limits.partial_messages_max
            and self._started_bytes + len(queued.data) <= self._message_bytes_max
        )

    def _take_piece(self) -> None:
        if not self._started:
            return
        large = self._started.popleft()
        stop = min(large.sent + limits.fragment_bytes, len(large.data))
        piece = large.data[large.sent : stop]
        last = stop == len(large.data)
        self._ready.append(_fragment.pack(_FRAGMENT_BIT | (_fragment_prefix.size + len(piece)), large.number, last))
        self._ready.append(piece)
        self._large_bytes -= len(piece)
        large.sent = stop
        if last:
            self._started_bytes -= len(large.data)
            self._forget(large.key)
        else:
            self._started.append(large)  # round robin: no large message waits for another to end

    def _forget(self, key: int) -> None:
        left = self._keys.pop(key) - 1
        if left:
            self._keys[key] = left

    @property
    def queued_bytes(self) -> int:
        """What `put` accepted and `take` has not returned."""
        return self._ready_bytes + self._large_bytes

    @property
    def has_pieces(self) -> bool:
        """Whether `take` must be called again after the loop has had its turn."""
        return bool(self._keys)


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
