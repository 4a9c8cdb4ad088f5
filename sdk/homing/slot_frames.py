"""A slot as a stream of bytes, in backups and on the admin routes: frames, each a length (u32) and a message.

The length is big endian. The message is a serialized `SlotPart` of `proto/homing/wire/v1/call.proto`; nothing here
looks into it. Pure.

Example:
    >>> frames = Frames()
    >>> list(frames.feed(frame(b"one") + frame(b"two")[:5])), bytes(frames.rest)
    ([b'one'], b'\\x00\\x00\\x00\\x03t')
"""

from __future__ import annotations

from collections.abc import Iterator

frame_bytes_max = 1_048_576  # of one message; nodes send less
_LENGTH_BYTES = 4


def frame(message: bytes) -> bytes:
    """A message with its length before it."""
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


class Frames:
    """Takes bytes as they come, gives out what is in their frames; holds no more than one frame and what came last.

    Attributes:
        rest: what has come and was not given out.
    """

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that `data` completes. Whoever stops in between finds the others in `rest`.

        Raises:
            ValueError: a frame is longer than one can be.
        """
        self.rest += data
        while len(self.rest) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self.rest[:_LENGTH_BYTES], "big")
            if end > _LENGTH_BYTES + frame_bytes_max:
                raise ValueError(f"a frame has at most {frame_bytes_max} bytes, and one says that it has more")
            if len(self.rest) < end:
                return
            message = bytes(self.rest[_LENGTH_BYTES:end])
            del self.rest[:end]
            yield message
