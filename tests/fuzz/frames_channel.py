"""The bytes of a worker: the framing of its channel, and the frames behind it, up to the log and the gateways.

The world behind a worker's frames is the real one: supervision, object host, log core, a memory store, the stream of a
gateway and the link to another node. Only the disk, the clock and the processes are played.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import msgspec
from tests.fuzz.mutators import changed_stream, frame, stream
from tests.fuzz.target import Check

from homing.errors import HomingError
from homing.flow import GOES_ON, cost_of
from homing.ids import ObjectId
from homing.observability import logs
from homing.wire.v1 import call_pb2 as wire
from homing_node.calls import _Exchange  # a gateway's stream, without gRPC
from homing_node.log import record
from homing_node.objects.images import DamagedPages, Image
from homing_node.objects.turn_record import decode_body
from homing_node.workers import limits as process_limits
from homing_node.workers.inside import limits, pages
from homing_node.workers.inside.channel import (
    BEAT,
    CALL,
    CLOSED,
    FAILED,
    FLOW,
    GIVE_UP,
    LOG,
    OF_CALL,
    OF_EVENT,
    PONG,
    READY,
    REFUSED,
    RESET,
    STOP,
    TAKEN,
    TURN,
)
from homing_node.workers.inside.framing import BadFrame, Inbox, Outbox
from homing_node.workers.inside.sockets import ACCEPT, ATTACH, AUTO, BINARY, CLOSE, LIVE, TEXT
from homing_node.workers.process import WorkerProcess, WorkerSpec
from homing_node.workers.process_pulse import Pulse
from homing_placement.records import NodeRecord
from homing_placement.routing.link import NodeLink
from host_world import HostWorld, Worker

# As small as the rules between them allow, so that short inputs reach every bound.
SMALL = {"frame_bytes_max": 512, "fragment_bytes": 64, "partial_messages_max": 4, "message_bytes_max": 1_024}
OBJECT, OTHER = (ObjectId.from_name("Counter", name).raw for name in ("a", "b"))
RETIRE = stream([77])  # where that is in an input, the worker is to be replaced
_FRAGMENT = 1 << 31
_loop = asyncio.new_event_loop()


def in_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run something in the one loop of this process."""
    _loop.run_until_complete(work)


@contextlib.contextmanager
def small_limits() -> Iterator[None]:
    """The channel's limits, small."""
    before = {name: getattr(limits, name) for name in SMALL}
    vars(limits).update(SMALL)
    try:
        yield
    finally:
        vars(limits).update(before)


# -- the framing --------------------------------------------------------------------------------------------------


def check_framing(data: bytes) -> None:
    """However a stream is cut, the same messages come out; what is held of it is bounded; and they can be sent on."""
    step, data = (data[0] + 1, data[1:]) if data else (1, b"")
    with small_limits():
        whole = _fed(data, max(1, len(data)))
        cut = _fed(data, step)
        if whole is None or cut is None:
            assert whole is cut, "whether a stream is refused depends on how it is cut"
            return
        assert repr(whole) == repr(cut), "the messages depend on how the stream is cut"
        _check_sent_on(whole)


def _fed(data: bytes, step: int) -> list[list[Any]] | None:
    """The messages of a stream; None: it is refused."""
    inbox = Inbox(message_bytes_max=limits.message_bytes_max)
    messages: list[list[Any]] = []
    for at in range(0, len(data), step):
        try:
            messages += inbox.feed(data[at : at + step])
        except BadFrame:
            return None
        parts = inbox._partial.values()
        assert sum(map(len, parts)) == inbox._partial_bytes <= limits.message_bytes_max
        assert len(parts) <= limits.partial_messages_max
        assert len(inbox._rest) < 4 + limits.frame_bytes_max
    return messages


def _check_sent_on(messages: list[list[Any]]) -> None:
    """What was decoded can be encoded, and arrives; what has the same key in its order."""
    outbox, inbox = Outbox(limits.message_bytes_max), Inbox(message_bytes_max=limits.message_bytes_max)
    for message in messages:
        outbox.put(tuple(message))
    got: list[list[Any]] = []
    while chunk := outbox.take():
        got += inbox.feed(chunk)
    assert outbox.queued_bytes == 0
    assert not outbox.has_pieces
    assert _by_key(got) == _by_key(messages)


def _by_key(messages: list[list[Any]]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for message in messages:
        key = message[1] if len(message) > 1 and type(message[1]) is int else -1
        found.setdefault(key, []).append(repr(message))
    return found


# -- what is behind it --------------------------------------------------------------------------------------------


class OtherNode(NodeLink):
    """The link to another node: what would be written is made. Nobody answers, unless `answers`."""

    def __init__(self) -> None:
        super().__init__(NodeRecord(id="n2", address="", disk="", incarnation=""), cast("Any", self))
        self.bytes = 0
        self.answers = False

    def submit(self, pending: Any) -> None:
        """See `CallPort`."""
        pending.lane.admits(pending, self)
        self.send(pending)

    def write(self) -> None:
        """Make the next message; the answers to what went before come."""
        self.bytes += len(self._next_batch().SerializeToString())
        for call_id, pending in list(self._pending.items()) if self.answers else ():
            batch = wire.ReplyBatch(replies=[wire.Reply(id=call_id, body=b"\x01")])
            if pending.url:
                batch = wire.ReplyBatch(
                    replies=[wire.Reply(id=call_id, status=200, flows=1)],
                    flows=[
                        wire.Flow(id=call_id, taken=cost_of(pending.body)), wire.Flow(id=call_id, data=b"answer"),
                        wire.Flow(id=call_id, end=wire.FLOW_END_WHOLE),
                    ],
                )  # fmt: skip
            self._take_replies(batch)

    def answered(self, pending: Any, reply: wire.Reply) -> None:
        """See `LinkOwner`."""
        pending.status = reply.status
        pending.on_done(pending)


class World(HostWorld):
    """It tells of pages that are damaged as a node does, which reads in a thread."""

    def _read(self, read: Callable[[], Image], done: Callable[[Image | ValueError], None]) -> None:
        try:
            found: Image | ValueError = read()
        except ValueError as error:
            found = error
        done(found)


class Node:
    """A node with one worker, whose bytes come from the input, and a gateway."""

    def __init__(self) -> None:
        self.world = world = World()
        self.host = world.host
        self.host._act_ids = itertools.count(1)  # the input names activations: they are the same each time
        self.other = OtherNode()
        self.host.outgoing.port, self.host.outgoing.slots = self.other, 1
        self.gateway = _Exchange(self.host)
        self.worker = WorkerProcess(1, 1, WorkerSpec(cast("Any", None), "/app", "main"), self.host.on_frame)
        self.worker._pulse = Pulse(0.0)
        self.worker.id, self.worker.classes = 1, {"Counter": ["m"]}
        world.worker = cast("Any", self.worker)
        self.answered: dict[int, int] = {}
        self.ended: set[int] = set()  # answers whose bodies have come to their end
        self.asked = 0
        self.reads = self.stops = False  # whether the gateway takes what flows, or wants none of it

    def call(self, object_id: bytes, **fields: Any) -> int:
        """A call of the gateway."""
        self.asked += 1
        call = wire.Call(
            id=self.asked, epoch=self.world.core.serving(0), object=object_id, method="m", body=b"{}", timeout_ms=5_000,
            **{"class_name": "Counter", "kind": wire.CALL_KIND_RPC, **fields},
        )  # fmt: skip
        self.gateway.on_batch(wire.CallBatch(calls=[call]))
        self.world.pump()
        return self.asked

    def begin(self) -> None:
        """Calls of every kind are under way, and a socket is attached, with a message on it."""
        self.call(OBJECT)
        self.call(OBJECT, key="k", fingerprint=b"f")
        self.call(OBJECT, key="k", fingerprint=b"f")
        self.call(OTHER, kind=wire.CALL_KIND_FETCH, url="http://h/", name="b")
        self.call(b"", kind=wire.CALL_KIND_DEFAULT, class_name="", url="http://h/")
        self.say(stream([TURN, 1, 0, None, 0, [], None, [[ACCEPT, 7, ["t"]]]]))
        ref = wire.SocketRef(class_name="Counter", object=OBJECT, number=7)
        attach = wire.FromSocket(handle=70, kind=wire.SOCKET_FRAME_ATTACH, base=1, socket=ref, epoch=1)
        came = wire.FromSocket(handle=70, kind=wire.SOCKET_FRAME_TEXT, seq=1, base=1, data=b"hi")
        self.gateway.on_batch(wire.CallBatch(sockets=[attach, came]))
        flowing = self.call(OTHER, kind=wire.CALL_KIND_FETCH, url="http://h/", name="b", flows=1)
        self.gateway.on_batch(wire.CallBatch(flows=[wire.Flow(id=flowing, data=b"more")]))
        self.take()
        assert not self.answered, "what is to be fuzzed has begun"

    def say(self, data: bytes) -> None:
        """The worker writes."""
        channel = self.worker._channel
        if not channel.closed:
            channel.data_received(data)
            if channel._close_reason is not None:
                channel.connection_lost(None)
        self.world.pump()
        self.take()

    def take(self) -> None:
        """All that is ready for others leaves: it can be written, and nobody is answered twice."""
        self.other.write()
        ready, self.gateway._ready = self.gateway._ready, []
        said, self.gateway._said = self.gateway._said, []
        flows, self.gateway._flows = list(self.gateway._flows), deque()
        wire.ReplyBatch(replies=ready, sockets=said, flows=flows).SerializeToString()
        for reply in ready:
            self.answered[reply.id] = self.answered.get(reply.id, 0) + 1
            assert self.answered[reply.id] == 1, "a call was answered twice"
        for m in flows:
            self._take_flow(m)

    def _take_flow(self, m: wire.Flow) -> None:
        """A piece of an answer's body, or its end; or what is said of a request's."""
        assert not ((m.data or m.end) and m.id in self.ended), "a body goes on behind its end"
        if m.end != GOES_ON:
            self.ended.add(m.id)
        elif m.data:
            assert self.answered[m.id], "a body before the head of its answer"
            if self.reads:
                self.gateway.on_batch(wire.CallBatch(flows=[wire.Flow(id=m.id, taken=cost_of(m.data))]))
            if self.stops:
                self.gateway.on_batch(wire.CallBatch(flows=[wire.Flow(id=m.id, stop=True)]))

    def die(self) -> Worker:
        """The worker dies, and another takes its place."""
        after = self.world.worker = Worker(2)
        self.host.on_worker_death(self.worker, "dead")
        self.world.hold_disk = False
        self.world.disk()
        self.world.pump()
        self.take()
        return after


def check_frames(data: bytes) -> None:
    """Whatever a worker says, it harms nobody but itself."""
    in_loop(_check_frames(data))


async def _check_frames(data: bytes) -> None:
    flags, data = (data[0], data[1:]) if data else (0, b"")
    node = Node()
    node.begin()
    node.world.hold_disk = bool(flags & 1)
    node.reads, node.stops, node.other.answers = bool(flags & 16), bool(flags & 32), bool(flags & 128)
    if flags & 64:
        node.gateway.on_batch(wire.CallBatch(cancels=range(1, node.asked + 1)))
    watching = node.host.tails.watch(wire.TailRequest(), lambda: None) if flags & 8 else None
    head, retired, tail = data.partition(RETIRE)
    for part in (head, tail):
        step = 64 if flags & 2 else max(1, len(part))
        for at in range(0, len(part), step):
            node.say(part[at : at + step])
        if part is head and retired:
            node.host.retire(node.worker, lambda _: False)
            node.call(OTHER)
    if flags & 4:
        node.world.wait(20.0)
        node.host.sockets.tick()
        node.take()
    after = node.die()
    if watching is not None:
        watching.take().SerializeToString()
    _check_log(node)
    node.call(OBJECT)
    node.call(OTHER)
    node.take()
    waiting: set[int] = set()
    delivered = {event[2] for event in after.frames(3)}
    for act in node.host.objects.values():
        for call in act.calls.values():
            if call.id in delivered:
                waiting |= {call.m.id, *(waiter.m.id for waiter in call.waiters or ())}
    for number in range(1, node.asked + 1):
        assert number in node.answered or number in waiting, f"call {number} is forgotten"


def _check_log(node: Node) -> None:
    """What a worker brought into the log can be read by every replica, and applied, unless it lied about checksums."""
    for data in node.world.core.replica(0).records.values():
        found = record.decode(data)
        if found.kind == record.TURN:
            decode_body(found.body)
    with contextlib.suppress(DamagedPages):  # only the pages tell, and the node does not look into them
        node.world.apply()


# -- a worker that starts -----------------------------------------------------------------------------------------


def check_start(data: bytes) -> None:
    """Before READY: it is ready with classes within bounds, or it is not."""
    in_loop(_check_start(data))


async def _check_start(data: bytes) -> None:
    worker = WorkerProcess(1, 1, WorkerSpec(cast("Any", None), "/app", "main"), lambda _worker, _frame: None)
    worker._channel.data_received(data)
    if worker.ready.done() and worker.ready.exception() is None:
        assert len(worker.classes) <= process_limits.ready_classes_max
        assert all(isinstance(name, str) for methods in worker.classes.values() for name in (*worker.classes, *methods))
    elif worker.ready.done():
        assert isinstance(worker.ready.exception(), HomingError)
    worker.kill("done")


def quiet() -> None:
    """What object code prints goes through the real renderer, and nowhere."""
    logs.configure("info", "json", stream=cast("Any", _Nowhere()))


class _Nowhere:
    def write(self, _text: str) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Nothing is kept."""

    def isatty(self) -> bool:
        """It is none."""
        return False


def _page(byte: int) -> bytes:
    return pages.encode(2, [(1, None, bytes([byte]) * 1_024), (2, None, bytes(1_024))])


def _fragments(number: int, *parts: bytes) -> bytes:
    last = len(parts) - 1
    return b"".join(
        frame(number.to_bytes(4, "little") + bytes((at == last,)) + part, _FRAGMENT) for at, part in enumerate(parts)
    )


_BIG = msgspec.msgpack.encode([2, 7, bytes(100)])
FRAMING = [
    b"\x00" + stream([6], [4, 1], [5, 0, "r", "stdout", "line", "", 20]),
    b"\x02" + stream([2, 7, bytes(80)], [2, 7, 1], [2, 8, bytes(90)], [2, 7, bytes(70)], [1, "x", bytes(99)]),
    b"\x05" + _fragments(1, _BIG[:40], _BIG[40:]) + stream([6]),
    b"\x05" + b"".join(_fragments(number, b"x")[:-1] + b"\0" for number in range(4)),
    b"\x07" + b"".join(frame(number.to_bytes(4, "little") + b"\0x", _FRAGMENT) for number in range(5)),
    b"\x07" + b"".join(frame(b"\1\0\0\0\0" + bytes(400), _FRAGMENT) for _ in range(3)),
    b"\x00" + frame(b"\1\0\0\0\2x", _FRAGMENT),
    b"\x00" + frame(b"\1\0\0\0\1", _FRAGMENT),
    b"\x00" + b"\x00\x02\x00\x00",
    b"\x00" + b"\x01\x02\x00\x00",
    b"\x00" + frame(b"\xc1"),
    b"\x00" + frame(b"\x90"),
    b"\x00" + frame(b"\x91" * 400 + b"\x01"),
]
_RAW = [OTHER, "b", "m", b"", "", [["a", "b"]]]
FRAMES = [
    b"\x00" + stream([TURN, 1, 1, _page(1), 1, [[1, 0, b"1", 1, 2]]], [TURN, 1, 0, None, 2, [[2, 0, b"2", 1, 2]]]),
    b"\x01" + stream([TURN, 1, 1, _page(1), 2, []], [TURN, 1, 2, _page(2), 2, [[2, 2, ["x", "m", "T"], 1, 2]]]),
    b"\x00" + stream([TURN, 2, 0, None, 4, [[4, 1, [200, [["a", "b"]], b"body"], 1, 2]]]),
    b"\x00" + stream([TURN, 1, 0, None, 1, [[1, 1, [101, [], b"", [7, False]], 1, 2]]]),
    b"\x00" + stream([TURN, 2, 0, None, 4, [[4, 1, [101, [], b"", ["Counter", OBJECT, "a", 7, True]], 1, 2]]]),
    b"\x04"
    + stream([TURN, 0, 0, None, 0, [[5, 1, [101, [], b"", [9, True]], 1, 2]], None, [[LIVE, 9], [TEXT, [9], "hi"]]]),
    b"\x00" + stream([TURN, 0, 0, None, 0, [], None, [[ACCEPT, 9, []]]]),
    b"\x04" + stream([TURN, 1, 1, _page(1), 6, [], None, [[LIVE, 9], [TEXT, [9], "live"], [TEXT, [7, 9], "both"]]]),
    b"\x00" + stream([TURN, 1, 0, None, 1, [[1, 2, ["code", "message", "Type", True, False], 1, 2]]]),
    b"\x00" + stream([TURN, 0, 0, None, 0, [[5, 1, [200, [], b"page"], 1, 2], [99, 0, b"", 1, 2]]]),
    b"\x04" + stream([TURN, 1, 1, _page(1), 1, [[1, 0, b"1", 1, 2]], 1_000_500]),
    b"\x04"
    + stream(
        [TURN, 1, 0, None, 6, [[6, 0, b"", 1, 2]], None,
         [[ACCEPT, 9, ["x", "y"]], [TEXT, [7, 9], "hi"], [BINARY, [7], b"\x00"], [ATTACH, [7], b"kept"],
          [AUTO, "ping", "pong"], [CLOSE, [7], 1000, "bye"]]],
    ),
    b"\x00" + stream([TURN, 1, 0, None, 6, [], None, [[AUTO, None, None], [CLOSE, [7], 3000, ""]]]),
    b"\x00" + stream([CALL, 1, 1, 1, 5, "Counter", *_RAW, 0, 0], [CALL, 2, 4, 1, 2, "Counter", *_RAW, 0, 0]),
    b"\x00" + stream([CALL, 0, 5, 1, 5, "Counter", *_RAW, 3, 4], [CALL, 1, 0, 2, 5, "Other", *_RAW, 0, 0]),
    *(
        flags
        + stream(
            [TURN, 2, 0, None, 7, [[7, 1, [200, [["a", "b"]], b""], 1, 2, 1]]], [TAKEN, 2, OF_EVENT, 7, 0, 130],
            [FLOW, 2, OF_EVENT, 7, 0, b"one", 0], [FLOW, 2, OF_EVENT, 7, 0, b"two", 0], *end,
        )
        for flags, end in (
            (b"\x00", [[FLOW, 2, OF_EVENT, 7, 0, b"", 1], [TAKEN, 2, OF_EVENT, 7, 0, 132]]),
            (b"\x10", [[FLOW, 2, OF_EVENT, 7, 0, b"", 2]]), (b"\x20", [[FLOW, 2, OF_EVENT, 7, 0, b"late", 0]]),
            (b"\x00", [[RESET, 2, "object-reset", "why"]]), (b"\x00", [[FLOW, 2, OF_EVENT, 7, 0, b"", 0]]),
            (b"\x00", [[TAKEN, 2, OF_EVENT, 7, 0, 9_999]]),
        )
    ),
    b"\x00" + stream([TAKEN, 2, OF_EVENT, 7, 0, STOP], [TURN, 2, 0, None, 7, [[7, 1, [200, [], b"whole"], 1, 2]]]),
    b"\x00" + stream([TURN, 1, 0, None, 1, [[1, 1, [200, [], b""], 1, 2, 1]]]),
    *(
        flags
        + stream(
            [CALL, 1, 1, 1, 2, "Counter", OTHER, "b", "POST", b"", "http://o/", [], 0, 0, 1],
            [FLOW, 1, OF_CALL, 1, 0, b"piece", 0], *end,
        )
        for flags, end in (
            (b"\x80", [[FLOW, 1, OF_CALL, 1, 0, b"", 1], [TAKEN, 1, OF_CALL, 1, 0, cost_of(b"answer")]]),
            (b"\x00", [[FLOW, 1, OF_CALL, 1, 0, b"", 2], [RESET, 1, "object-reset", "why"]]),
            (b"\x80", [[TAKEN, 1, OF_CALL, 1, 0, STOP]]), (b"\x80", [[TAKEN, 1, OF_CALL, 1, 0, -1]]),
        )
    ),
    b"\x80"
    + stream([CALL, 0, 5, 1, 2, "Counter", OTHER, "b", "POST", b"", "http://o/", [], 0, 0, 1],
             [FLOW, 0, OF_CALL, 1, 0, b"piece", 0], [TAKEN, 0, OF_CALL, 1, 0, STOP]),
    b"\x00"
    + stream(
        [TURN, 1, 0, None, 2, [[2, REFUSED, ["overloaded", "it waited", "wait"], 1, 2]]],
        [TURN, 1, 1, _page(1), 1, []], [TURN, 1, 0, None, 1, [[1, REFUSED, ["overloaded", "", ""], 1, 2]]],
    ),
    b"\x40" + stream([GIVE_UP, 1, 1], [GIVE_UP, 1, 2], [GIVE_UP, 2, 7], [GIVE_UP, 1, 99]),
    b"\x00" + stream([GIVE_UP, 1, 1]),
    b"\x40" + stream([TURN, 1, 1, _page(1), 2, []], [GIVE_UP, 1, 2]),
    b"\x00" + stream([RESET, 1, "object-reset", "why"], [RESET, 2, "Custom", "why"]),
    b"\x00" + stream([CLOSED, 1, True], [CLOSED, 2, False]),
    b"\x00"
    + stream([TURN, 2, 0, None, 4, [[4, 1, [200, [], b""], 1, 2]]], [77], [CLOSED, 2, False], [CLOSED, 1, True]),
    b"\x00" + stream([TURN, 2, 0, None, 4, [[4, 1, [200, [], b""], 1, 2]]], [77], [CLOSED, 2, True]),
    b"\x00" + stream([LOG, 1, "r1", "stdout", "a line", "", 20], [LOG, 0, "", "stderr", "x", "00-" + "a" * 32, 30]),
    b"\x08"
    + stream([LOG, 1, "r", "traceback", "a\nb", "", 40], [LOG, 0, "", "stdout", "x", "", 20], [LOG, 9, *[""] * 4, 0]),
    b"\x08" + stream([LOG, 1, "r1", "stdout", 5, "", 20]),
    b"\x08" + stream([LOG, 1, "r1", "stdout", "x", "", 51]),
    b"\x08"
    + stream(
        [TURN, 1, 0, None, 1, [[1, 2, ["object-reset", "why", "T"], 1, 2]]],
        [TURN, 2, 0, None, 4, [[4, 1, [200, [], b""], 1, 2]]],
    ),
    b"\x00" + stream([PONG, 0], [BEAT], [77, 1]),
    *(
        b"\x00" + stream([TURN, 1, 0, None, 6, [], None, [item]])
        for item in (
            [ACCEPT, 0, []], [LIVE, 7], [ACCEPT, 9, ["t"] * 11], [ACCEPT, 9, [5]], [ATTACH, [7], "x"],
            [CLOSE, [7], 999, ""], [CLOSE, [7], 1_000, "é" * 62], [TEXT, ["x"], "x"], [BINARY, [7], "x"],
        )
    ),
    b"\x02" + stream([READY, {}]),
]  # fmt: skip
START = [
    stream([READY, {"classes": {"Counter": ["m", "n"]}, "default": True}], [LOG, 0, "", "", "", "", 0]),
    stream([BEAT], [LOG, 0, "", "stdout", "x", "", 20], [FAILED, "ImportError", "no", "trace"]),
    stream([READY, {"classes": {"C": 1}, "default": 0}]),
    stream([READY, {"classes": {str(n): [] for n in range(process_limits.ready_classes_max + 1)}, "default": 0}]),
    stream([TURN, 1]),
    stream([FAILED]),
    stream([READY, {"classes": {}, "default": None}], [READY]),
    stream([PONG, "x"]),
]


def corrected(data: bytes) -> bytes:
    """Commit bytes with the checksums that their pages have."""
    found = bytearray(data)
    at = 6
    for number, _, kind, content in pages.entries(data):
        crc = zlib.crc32(pages.patched(None, kind, content))
        found[at : at + 8] = number.to_bytes(4, "little") + crc.to_bytes(4, "little")
        at += 11 + len(content)
    return bytes(found)


CHECKS = (
    Check("framing", check_framing, FRAMING, changed_stream(1)),
    Check("frames", check_frames, FRAMES, changed_stream(1)),
    Check("start", check_start, START, changed_stream(0)),
)
