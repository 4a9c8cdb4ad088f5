"""What a record says of an object's sockets, and what a slot keeps of them. Pure.

The set of an object's sockets, their tags and attachments are durable: every turn that changes them is recorded. So is
what a turn that wrote said, and which message it handled, until the gateways have the one and know the other.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Said(msgspec.Struct, array_like=True, frozen=True):
    """Something that was said.

    Attributes:
        seq: its number; grows over all of an object's epochs.
        kind: of `wire.SocketFrame`.
        numbers: the sockets.
        data: a text, bytes, or the code and reason of a close.
    """

    seq: int
    kind: int
    numbers: list[int]
    data: Any


class SocketEntry(msgspec.Struct, array_like=True):
    """One socket that is open.

    Attributes:
        tags: that it was accepted with.
        attachment: of `homing.values`; None: it has none.
        handled: numbers of messages that were handled, of those that its gateway may send again.
        closing: the object has closed it, and the other side has not answered.
    """

    tags: list[str] = []
    attachment: bytes | None = None
    handled: list[int] = []
    closing: bool = False


class SocketChanges(msgspec.Struct, array_like=True):
    """What one turn did.

    Attributes:
        accepted: number and tags of new sockets.
        attached: number and attachment.
        closed: sockets that are gone.
        handled: number of a socket, of its message, and the lowest number that its gateway may send again.
        said: what it said.
        had: numbers of what was said earlier, and is known to have arrived.
        auto: request and response that are answered without the object; empty: none; None: as before.
    """

    accepted: list[tuple[int, list[str]]] = []
    attached: list[tuple[int, bytes]] = []
    closed: list[int] = []
    handled: list[tuple[int, int, int]] = []
    said: list[Said] = []
    had: list[int] = []
    auto: list[str] | None = None


class SocketsMeta(msgspec.Struct, array_like=True):
    """What a slot keeps of an object's sockets.

    Attributes:
        open: by number, in the order in which they were accepted.
        said: what may not have arrived, in order.
        auto: see `SocketChanges`; empty: none.
    """

    open: dict[int, SocketEntry] = {}
    said: list[Said] = []
    auto: list[str] = []


def fold(meta: SocketsMeta, changes: SocketChanges) -> None:
    """Add what a turn did."""
    for number, tags in changes.accepted:
        meta.open[number] = SocketEntry(list(tags))
    for number, data in changes.attached:
        if (entry := meta.open.get(number)) is not None:
            entry.attachment = data
    for number, seq, base in changes.handled:
        if (entry := meta.open.get(number)) is not None:
            entry.handled = [known for known in entry.handled if known >= base]
            entry.handled.append(seq)
    for number in changes.closed:
        meta.open.pop(number, None)
    for said in changes.said:
        if isinstance(said.data, list | tuple):
            for number in said.numbers:
                if (entry := meta.open.get(number)) is not None:
                    entry.closing = True
    if changes.had or changes.closed or changes.said:
        had = set(changes.had)
        meta.said = [
            said
            for said in (*meta.said, *changes.said)
            if said.seq not in had and any(number in meta.open for number in said.numbers)
        ]
    if changes.auto is not None:
        meta.auto = changes.auto
