"""What a worker says that its object did to sockets, checked: nothing in a worker's frame is believed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homing.sockets import AUTO_RESPONSE_CHARS_MAX, CODES, REASON_BYTES_MAX, TAG_CHARS_MAX
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects import limits
from homing_node.objects.socket_record import Said, SocketChanges
from homing_node.objects.socket_state import ObjectSockets
from homing_node.workers.inside.sockets import ACCEPT, ATTACH, AUTO, BINARY, CLOSE, LIVE, TEXT

_FRAMES = {TEXT: wire.SOCKET_FRAME_TEXT, BINARY: wire.SOCKET_FRAME_BINARY, CLOSE: wire.SOCKET_FRAME_CLOSE}


def take_item(owner: ObjectSockets, changes: SocketChanges, live: list[int], item: Sequence[Any]) -> None:
    """Add one item of a worker's frame (`workers.inside.sockets`) to what its turn did, or to its new live sockets.

    Raises:
        ValueError, TypeError, LookupError, OverflowError: it is none, or it is not within its bounds.
    """
    kind = item[0]
    if kind in (ACCEPT, LIVE):
        number, tags = item[1], () if kind == LIVE else item[2]
        if type(number) is not int or not 0 < number < 1 << 63 or number in owner.open:
            raise ValueError("a socket that cannot be accepted")
        new = len(changes.accepted) + len(live)
        if len(owner.open) + new >= limits.sockets_per_object_max or len(tags) > limits.tags_max:
            raise ValueError("a socket too many, or tags")
        if kind == LIVE:
            live.append(number)
        else:
            changes.accepted.append((number, [_text(tag, TAG_CHARS_MAX) for tag in tags]))
        return
    if kind == AUTO:
        _, request, response = item
        auto = [] if request is None else [_text(text, AUTO_RESPONSE_CHARS_MAX) for text in (request, response)]
        changes.auto = auto if auto != owner.auto else None  # a constructor says the same each time
        return
    numbers = list(item[1])
    if set(map(type, numbers)) != {int}:
        raise ValueError("sockets without numbers")
    if kind == ATTACH:
        if type(item[2]) is not bytes or len(item[2]) > limits.attachment_bytes_max:
            raise ValueError("an attachment that cannot be kept")
        changes.attached.append((numbers[0], item[2]))
        return
    data: Any = _close(item[2], item[3]) if kind == CLOSE else item[2]
    if kind != CLOSE and type(data) is not (str if kind == TEXT else bytes):
        raise ValueError("a message that is neither text nor bytes")
    seq = owner.next_seq()
    changes.said.append(Said(seq, _FRAMES[kind], numbers, data))


def _text(text: Any, chars_max: int) -> str:
    if type(text) is not str or len(text) > chars_max:
        raise ValueError("no text, or one that is too long")
    return text


def _close(code: Any, reason: Any) -> list[Any]:
    """A code and a reason that can be in a close frame."""
    code = int(code)
    if code not in CODES:
        raise ValueError(f"a socket cannot be closed with {code}")
    if len(_text(reason, REASON_BYTES_MAX).encode()) > REASON_BYTES_MAX:
        raise ValueError("the reason of a close is too long")
    return [code, reason]
