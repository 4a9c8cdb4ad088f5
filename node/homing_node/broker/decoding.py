"""Undoes the compression of an answer, with a bound on what comes out. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from homing_node.broker.urls import Refusal

_GZIP, _ZLIB, _RAW = 31, 15, -15  # `wbits`
_PIECE = 64 << 10  # comes out at once: memory is bounded whatever is inside
_PLAIN = frozenset(("", "identity"))


class Decoder:
    """The body of one answer.

    Args:
        coding: what `Content-Encoding` says: nothing, `gzip` or `deflate`. One in another is refused, and one in two.
        bytes_max: of what comes out.

    Attributes:
        plain: there is nothing to undo.
        bytes_out: what has come out.

    Raises:
        Refusal: the coding is another.
    """

    def __init__(self, coding: str, bytes_max: int) -> None:
        name = coding.strip().lower().removeprefix("x-")
        if name not in ("", "identity", "gzip", "deflate"):
            raise Refusal("encoding", "the answer is encoded in a way that was not asked for")
        self.plain = name in _PLAIN
        self.bytes_out = 0
        self._bytes_max = bytes_max
        self._deflate = name == "deflate"
        self._inner = zlib.decompressobj(_ZLIB if self._deflate else _GZIP)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of a part of the body, in pieces of at most 64 KiB.

        Raises:
            Refusal: too much comes out, or it is not what it says.
        """
        if self.plain:
            yield self._counted(data)
            return
        full = False  # more may come out of what has gone in
        while data or full:
            if self._inner.eof:  # another member follows, as RFC 1952 has it
                if self._deflate:
                    raise Refusal("encoding", "something follows the end of the answer's compressed body")
                self._inner = zlib.decompressobj(_GZIP)
            piece = self._inflated(data)
            full = len(piece) == _PIECE and not self._inner.eof
            data = self._inner.unconsumed_tail or self._inner.unused_data
            self._begun = True
            if piece:
                yield self._counted(piece)

    def end(self) -> None:
        """The body has ended.

        Raises:
            Refusal: it is not complete.
        """
        if self._begun and not self._inner.eof:
            raise Refusal("encoding", "the answer's compressed body breaks off")

    def _inflated(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data, _PIECE)
        except zlib.error as error:
            if self._deflate and not self._begun:  # what some servers call deflate has no head
                self._inner = zlib.decompressobj(_RAW)
                self._begun = True
                return self._inflated(data)
            raise Refusal("encoding", "the answer's body is not compressed as it says") from error

    def _counted(self, piece: bytes) -> bytes:
        self.bytes_out += len(piece)
        if self.bytes_out > self._bytes_max:
            raise Refusal("decoded_bytes_max", f"the answer is over {self._bytes_max:,} bytes, decompressed")
        return piece
