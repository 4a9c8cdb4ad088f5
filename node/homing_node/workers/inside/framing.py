"""Framing of the channel, without I/O: messages to bytes and back.

A frame is a little-endian u32 header, whose low 31 bits are the payload's length and whose top bit marks a fragment,
and the payload. A plain payload is one message: a MessagePack array that begins with its kind. A message above
`fragment_bytes` travels in fragments (u32 message id, u8 last, bytes), and other messages pass between them.
Messages whose second element is the same integer (an activation) never overtake each other.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from homing_node.workers.inside import limits

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
