"""What the objects of the simulator are: a list of numbers that only grows, with alarms and sockets.

The first number of a list is that of its life: an object that was deleted and is written to again has another. What is
added is said on every socket that the object has, so that a client with a socket is told the list as it grows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from homing.sockets import WebSocketPair, WebSocketRequestResponsePair
from homing_node.workers.inside import pages
from homing_node.workers.inside.limits import page_bytes
from homing_node.workers.inside.sockets import ObjectSockets

READ, WRITE, SLOW, TWICE, SET, PASS, ACCEPT, QUIT = b"r", b"w", b"s", b"t", b"a", b"p", b"o", b"q"
DELETE = b"d"  # no call: the object is deleted from outside
LIFE = 1 << 28  # the mark of a life's number
RANG = 1 << 31  # the mark of an alarm
PASSED = (1 << 29, 1 << 30)  # the marks of what an object has another add, in order
PING, PONG = "ping", "pong"  # a text on a socket that is answered without its object
RINGS, ENDS = b"!", b"e"  # an ALARM event; a socket's end
ADDED, ANSWERED = b"n", b"l"  # what is said on a socket: a number was added; the list, to who asked on it
CALLED = LIFE - 1  # a number without its marks is that of a call
_head = struct.Struct("<cIf")
_said = struct.Struct("<cII")
_u32 = struct.Struct("<I")
_alarm = struct.Struct("<IQ")


def encode_call(what: bytes, number: int, seconds: float) -> bytes:
    """The arguments of a call: what to do, the number to add, and how long it runs; of SET when the alarm rings."""
    return _head.pack(what, number, seconds)


def encode_pass(number: int, raw: bytes, name: str) -> bytes:
    """The arguments of a call that has its object call another."""
    return encode_call(PASS, number, 0.0) + raw + name.encode()


def decode_call(body: bytes) -> tuple[bytes, int, float, bytes]:
    """What `encode_call` was given, and what follows."""
    return *_head.unpack_from(body), body[_head.size :]


def decode_list(data: bytes) -> list[int]:
    """A list out of an answer or out of pages."""
    if not data:
        return []
    count = _u32.unpack_from(data)[0]
    return list(struct.unpack_from(f"<{count}I", data, 4))


def encode_list(numbers: list[int]) -> bytes:
    """A list as an answer."""
    return _u32.pack(len(numbers)) + struct.pack(f"<{len(numbers)}I", *numbers)


def encode_said(kind: bytes, place: int, number: int = 0) -> bytes:
    """What is said on a socket: ADDED, the place in the list and the number; ANSWERED, the question's number."""
    return _said.pack(kind, place, number)


def decode_said(data: bytes) -> tuple[bytes, int, int, bytes]:
    """What `encode_said` was given, and what follows."""
    return *_said.unpack_from(data), data[_said.size :]


def decode_alarms(data: bytes) -> dict[int, int]:
    """The alarms in pages: the number of the call that set it, and when it rings."""
    if not data:
        return {}
    at = 4 + 4 * len(decode_list(data))
    count = _u32.unpack_from(data, at)[0]
    return dict(_alarm.unpack_from(data, at + 4 + _alarm.size * i) for i in range(count))


def to_pages(numbers: list[int], alarms: dict[int, int]) -> list[bytes]:
    """A list and its alarms as pages."""
    data = encode_list(numbers) + _u32.pack(len(alarms)) + b"".join(_alarm.pack(*each) for each in alarms.items())
    count = -(-len(data) // page_bytes)
    return [data[i * page_bytes : (i + 1) * page_bytes].ljust(page_bytes, b"\0") for i in range(count)]


@dataclass(slots=True)
class Act:
    """An activation in a worker.

    Attributes:
        new_life: gives the number of an object that is written to for the first time.
        sockets: its handles, as the production runtime has them.
        running: calls that have no end yet.
        made: calls to other objects.
        passing: by the number of such a call.
    """

    id: int
    page_count: int
    data: bytes
    new_life: Callable[[], int]
    numbers: list[int] = field(default_factory=list[int])
    alarms: dict[int, int] = field(default_factory=dict[int, int])
    pages: list[bytes] = field(default_factory=list[bytes])
    sockets: ObjectSockets = field(default_factory=lambda: ObjectSockets(lambda: None))
    opened: bool = False
    commits: int = 0
    running: int = 0
    made: int = 0
    passing: dict[int, Passing] = field(default_factory=dict[int, "Passing"])

    def open(self) -> None:
        if not self.opened:
            self.opened = True
            self.numbers = decode_list(self.data)
            self.alarms = decode_alarms(self.data)
            self.pages = to_pages(self.numbers, self.alarms) if self.page_count else []

    def ring(self, wall_ms: int) -> int:
        """The number of the call whose alarm is due, marked; 0 if none is."""
        due = min(self.alarms, key=lambda number: (self.alarms[number], number), default=0)
        if not due or self.alarms[due] > wall_ms:
            return 0
        del self.alarms[due]
        return due | RANG

    def add(self, number: int) -> bytes:
        """One transaction: its pages. What it added is said on every socket."""
        if not self.numbers:
            self.numbers.append(self.new_life() | LIFE)
        said = encode_said(ADDED, len(self.numbers), number)
        self.numbers.append(number)
        for ws in self.sockets.all(None):
            ws.send(said)
        after = to_pages(self.numbers, self.alarms)
        old = [*self.pages, *[None] * (len(after) - len(self.pages))]
        commit = pages.encode(len(after), [(i + 1, old[i], after[i]) for i in range(len(after))])
        self.pages = after
        self.commits += 1
        return commit

    def accept(self, number: int) -> tuple[int, bool]:
        """A socket for the call of that number, which is attached to it; returns its own number, and that it lasts."""
        pair = WebSocketPair()
        self.sockets.set_auto_response(WebSocketRequestResponsePair(PING, PONG))
        self.sockets.accept(pair.server, ("all",))
        pair.server.serialize_attachment(number)
        return self.sockets.of_client(pair.client)

    def answer(self, socket: int, number: int) -> None:
        """Say the list on a socket, to a question that came on it."""
        ws = self.sockets.find(socket)
        if ws is not None:
            ws.send(encode_said(ANSWERED, number) + encode_list(self.numbers))


@dataclass(slots=True)
class Passing:
    """A call whose object waits for what it has another one add."""

    call_id: int
    target: str
    waits_for: dict[int, int] = field(default_factory=dict[int, int])  # the number of a call to what it adds
