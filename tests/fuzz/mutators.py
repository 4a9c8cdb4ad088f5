"""Changes to inputs that keep their form: MessagePack stays MessagePack, frames stay frames, text stays text."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec
from tests.fuzz.target import Mutate

NODES_MAX = 2_000  # of a tree; of a larger one only the first are changed
_HEADER = struct.Struct("<I")
_FRAGMENT = 1 << 31

NUMBERS = (
    0, 1, -1, 2, 5, 255, 256, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
    -(1 << 31), -(1 << 63), 0.0, 1.0, 2.0, 1.5, 1e300, float("inf"), float("nan"),
)  # fmt: skip
SCALARS = (*NUMBERS, True, False, None, "", b"", "a", b"a", "é", bytes(32), "1" * 20)

Tree = Any


def _places(tree: Tree) -> list[tuple[Any, Any]]:
    """Every container in a tree with a key into it."""
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo and len(found) < NODES_MAX:
        node = todo.pop()
        if isinstance(node, list | dict):
            for key in list(range(len(node)) if isinstance(node, list) else node):
                found.append((node, key))
                todo.append(node[key])
    return found


def _scalar(value: Any, random: Random) -> Any:
    """Something near a value, or far from it."""
    if type(value) is int and random.random() < 0.6:
        near = value + random.choice((-1, 1, 2, 256, 1 << 20)) * random.choice((1, -1))
        return near if -(1 << 63) <= near < 1 << 64 else value
    if type(value) is bytes and value and random.random() < 0.7:
        return changed_bytes(value, random)
    if type(value) is str and random.random() < 0.5:
        return changed_text(("a", "\x00", "é", "%", "/", '"', "\n"))(value.encode(), random).decode(errors="replace")
    return random.choice(SCALARS)


def changed_bytes(data: bytes, random: Random) -> bytes:
    """Bytes with a bit, a byte or a run of them changed."""
    changed = bytearray(data)
    at = random.randrange(len(changed) + 1)
    match random.randrange(5):
        case 0 if changed:
            changed[at % len(changed)] ^= 1 << random.randrange(8)
        case 1:
            changed[at:at] = random.randbytes(random.randrange(1, 9))
        case 2:
            del changed[at : at + random.randrange(1, 9)]
        case 3:
            width = random.choice((1, 2, 4, 8))
            value = random.choice((0, 1, (1 << 8 * width) - 1, len(data), random.randrange(1 << 8 * width)))
            changed[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
        case _:
            changed[at:at] = changed[: random.randrange(1, 65)]
    return bytes(changed)


def changed_tree(tree: Tree, random: Random) -> Tree:
    """One change somewhere in a tree of lists, dicts and scalars, which may be changed itself."""
    places = _places(tree)
    if not places:
        return _scalar(tree, random)
    node, key = random.choice(places)
    other, other_key = random.choice(places)
    match random.randrange(8):
        case 0 | 1 | 2:
            if not isinstance(node[key], list | dict) or random.random() < 0.2:
                node[key] = _scalar(node[key], random)
        case 3:
            del node[key]
        case 4:
            node[key] = _copied(other[other_key])
        case 5 if isinstance(node, list):
            node.insert(key, _copied(other[other_key] if random.random() < 0.7 else random.choice(SCALARS)))
        case 6:
            wrapped = node[key]
            for _ in range(random.choice((1, 1, 2, 150, 700))):
                wrapped = [wrapped]
            node[key] = wrapped
        case _:
            if isinstance(node, dict):
                node[random.choice(("", "a", 1, True, b"k", 1 << 63))] = random.choice(SCALARS)
            else:
                node.append(random.choice(SCALARS))
    return tree


def _copied(tree: Tree) -> Tree:
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(tree))
    except (ValueError, RecursionError, OverflowError, TypeError):
        return None


def changed_msgpack(data: bytes, random: Random) -> bytes:
    """A MessagePack value, changed; bytes that are none are changed as bytes."""
    try:
        tree = msgspec.msgpack.decode(data)
        for _ in range(random.choice((1, 1, 2, 4))):
            tree = changed_tree(tree, random)
        return msgspec.msgpack.encode(tree)
    except (ValueError, RecursionError, OverflowError, TypeError):
        return changed_bytes(data, random)


def _payloads(data: bytes) -> list[tuple[int, bytes]]:
    """The frames of a stream: the bit of a fragment, and the payload."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 4 <= len(data):
        (head,) = _HEADER.unpack_from(data, at)
        length = head & ~_FRAGMENT
        found.append((head & _FRAGMENT, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def frame(payload: bytes, fragment: int = 0) -> bytes:
    """One frame of the channel."""
    return _HEADER.pack(fragment | len(payload)) + payload


def stream(*messages: Sequence[Any]) -> bytes:
    """Messages as frames of the channel."""
    return b"".join(frame(msgspec.msgpack.encode(message)) for message in messages)


def changed_stream(head_bytes: int) -> Mutate:
    """Changes a stream of frames, behind so many bytes that are none."""

    def change(data: bytes, random: Random) -> bytes:
        head, frames = data[:head_bytes].ljust(head_bytes, b"\0"), _payloads(data[head_bytes:])
        if random.random() < 0.1:
            head = random.randbytes(head_bytes)
        if not frames:
            return head + frame(b"\x91\x01")
        at = random.randrange(len(frames))
        bit, payload = frames[at]
        match random.randrange(9):
            case 0:
                frames.insert(random.randrange(len(frames) + 1), frames[at])
            case 1:
                del frames[at]
            case 2:
                other = random.randrange(len(frames))
                frames[at], frames[other] = frames[other], frames[at]
            case 3 if not bit and len(payload) > 1:
                cut = random.randrange(1, len(payload))
                number = struct.pack("<I", random.randrange(4))
                pieces = [(_FRAGMENT, number + b"\0" + payload[:cut]), (_FRAGMENT, number + b"\1" + payload[cut:])]
                frames[at : at + 1] = pieces
            case _ if not bit:
                frames[at] = 0, changed_msgpack(payload, random)
            case _:
                frames[at] = bit, changed_bytes(payload, random)
        return head + b"".join(frame(payload, bit) for bit, payload in frames)

    return change


def behind(head_bytes: int, change: Mutate) -> Mutate:
    """Changes what follows so many bytes, and those at times."""

    def changed(data: bytes, random: Random) -> bytes:
        head = data[:head_bytes].ljust(head_bytes, b"\0")
        return (random.randbytes(head_bytes) if random.random() < 0.15 else head) + change(data[head_bytes:], random)

    return changed


def changed_text(words: Sequence[str]) -> Mutate:
    """Puts words into a text, and takes pieces out, doubles and moves them."""
    encoded = [word.encode() for word in words]

    def change(data: bytes, random: Random) -> bytes:
        at, to = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
        match random.randrange(6):
            case 0:
                return data[:at] + data[to:]
            case 1 if to - at < 200:
                return data[:to] + data[at:to] * random.choice((1, 1, 2, 30)) + data[to:]
            case 2:
                return data[:at] + random.choice(encoded) + data[to:]
            case 3:
                return data[:at] + random.choice(encoded) * random.choice((2, 40, 700)) + data[at:]
            case _:
                return data[:at] + random.choice(encoded) + data[at:]

    return change


def either(*changes: Callable[[bytes, Random], bytes]) -> Mutate:
    """One of several ways, by chance."""
    return lambda data, random: random.choice(changes)(data, random)
