"""How much of a body that flows may be under way: credit, as of HTTP/2 streams (RFC 9113, 5.2). Pure.

Whoever sends a body may have a window of it under way; whoever takes pieces out of the other end says so, and as much
more may follow. The window counts bytes, and for each piece a little more, so that it also bounds how many there are.

Example:
    >>> sending, taking = SendWindow(), ReceiveWindow()
    >>> sending.sent(b"abc"), taking.came(b"abc"), sending.room
    (None, None, True)
    >>> taking.took(cost_of(b"abc")), sending.returned(taking.due()), sending.under_way
    (None, None, 0)
"""

from __future__ import annotations

from collections.abc import Iterator

window_bytes = 256 * 1024  # of one body, one way
piece_bytes_max = 64 * 1024
piece_cost_bytes = 128  # what a piece counts beside its bytes
streams_per_value_max = 16  # in the arguments of one call, and in its result

GOES_ON, WHOLE, BROKEN = 0, 1, 2
"""How a body ends: not yet, with its last byte, or before it."""


def cost_of(data: bytes) -> int:
    """What a piece takes of a window."""
    return len(data) + piece_cost_bytes


def cut(data: bytes) -> Iterator[bytes]:
    """A piece of any length as pieces of a length that can be sent; nothing for an empty one."""
    if len(data) <= piece_bytes_max:
        if data:
            yield data
        return
    for at in range(0, len(data), piece_bytes_max):
        yield data[at : at + piece_bytes_max]


class SendWindow:
    """The window of a body, where it is sent.

    Attributes:
        under_way: what was sent and not returned.
    """

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way = 0  # Invariant: below window_bytes, and one piece more at most

    @property
    def room(self) -> bool:
        """Whether a piece may be sent."""
        return self.under_way < window_bytes

    def sent(self, data: bytes) -> None:
        """A piece was sent."""
        self.under_way += cost_of(data)

    def returned(self, cost: int) -> None:
        """The other end has taken so much.

        Raises:
            ValueError: more than was under way.
        """
        if not 0 < cost <= self.under_way:
            raise ValueError(f"credit of {cost} for {self.under_way} under way")
        self.under_way -= cost


class ReceiveWindow:
    """The window of a body, where it comes, and at each place on the way."""

    __slots__ = ("_held", "_unsaid")

    def __init__(self) -> None:
        self._held = 0  # came, and was not taken
        self._unsaid = 0  # taken, and the sender was not told

    def came(self, data: bytes) -> None:
        """A piece came.

        Raises:
            ValueError: it is too long, or the sender had no room for it.
        """
        if len(data) > piece_bytes_max or self._held + self._unsaid >= window_bytes:
            raise ValueError("more of a body than there is room for")
        self._held += cost_of(data)

    def took(self, cost: int) -> None:
        """So much was taken out.

        Raises:
            ValueError: more than came.
        """
        if not 0 < cost <= self._held:
            raise ValueError(f"{cost} taken of {self._held}")
        self._held -= cost
        self._unsaid += cost

    def due(self) -> int:
        """The credit that is to be sent now; 0: more is gathered first, for each costs a frame."""
        if self._held and self._unsaid < window_bytes // 4:
            return 0
        return self.rest()

    def rest(self) -> int:
        """All the credit that was not sent."""
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid
