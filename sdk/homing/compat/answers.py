"""What applications behind WSGI answer piece by piece, put together."""

from __future__ import annotations

from homing.errors import TooLarge

answer_bytes_max = 16 * 1024 * 1024  # what a worker can send of one; an endless answer must end before the memory does


class Body:
    """The body of an answer as it comes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._left = answer_bytes_max

    def __bool__(self) -> bool:
        """Whether something of it is there."""
        return bool(self._pieces)

    def add(self, piece: bytes) -> None:
        """The next piece.

        Raises:
            TooLarge: with it there is more than an answer may have.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise TooLarge(f"an answer that says its length has at most {answer_bytes_max} bytes")
        if piece:
            self._pieces.append(bytes(piece))

    def whole(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)
