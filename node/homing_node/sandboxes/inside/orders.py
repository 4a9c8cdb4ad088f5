"""What a node and a zygote say to each other: packets of fixed size over a SOCK_SEQPACKET, never a byte of a tenant.

An order comes with one descriptor, the sandbox's end of its channel; a FORKED notice with another, the sandbox's pidfd.
A sandbox that has no zygote reads its order from its channel (`strict.py`).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CONTROL_FD = 3

_order = struct.Struct("<QIQIB")
_notice = struct.Struct("<BQiQI")

ORDER_BYTES = _order.size
NOTICE_BYTES = _notice.size

UP = b"!"
"""All that a sandbox without a zygote says before it has its order."""

READY = 0
FORKED = 1
ENDED = 2
FAILED = 3

NOW, RUNS, LOADS = 0, 1, 2
"""What a sandbox does before it has work: nothing, as that is on its way; what a run does; what a dynamic worker does,
too."""


class Order(NamedTuple):
    """Fork one sandbox.

    Attributes:
        number: names it.
        uid: of its process, in the zygote's user namespace; 0: it keeps the one that there is.
        address_space_bytes: RLIMIT_AS.
        cpu_s: RLIMIT_CPU, the back-stop behind the node's own count.
        rehearsal: NOW, RUNS or LOADS.
    """

    number: int
    uid: int
    address_space_bytes: int
    cpu_s: int
    rehearsal: int

    def pack(self) -> bytes:
        """As a packet."""
        return _order.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        """Out of a packet.

        Raises:
            struct.error: it is none.
        """
        return cls(*_order.unpack(data))


class Notice(NamedTuple):
    """What became of an order.

    Attributes:
        kind: READY: the zygote takes orders; FORKED; ENDED: dead and reaped; FAILED: it was not forked.
        number: of the order.
        value: ENDED: the wait status; FAILED: the errno.
        cpu_us: ENDED: CPU that it used, in microseconds.
        memory_kib: ENDED: the most memory that was resident at one time, what it shares with the zygote included.
    """

    kind: int
    number: int = 0
    value: int = 0
    cpu_us: int = 0
    memory_kib: int = 0

    def pack(self) -> bytes:
        """As a packet."""
        return _notice.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Notice:
        """Out of a packet.

        Raises:
            struct.error: it is none.
        """
        return cls(*_notice.unpack(data))
