"""Several streams of one call, both ways through two nodes, in any order of events.

Each arrives whole or is seen to be broken, no window overflows, and nothing is left behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from homing.flow import BROKEN, GOES_ON, WHOLE, ReceiveWindow, SendWindow, cost_of, piece_bytes_max
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.call_streams import CallStreams
from homing_node.objects.frames import FLOW, OF_CALL, OF_EVENT, STOP, TAKEN, TURN
from homing_placement.routing.flows import LinkFlows
from homing_placement.routing.pending import KIND_METHOD, Pending
from host_world import HostWorld

STREAMS = 2  # with the call, and as many with its result


class Source:
    """Sends a stream, as a worker does."""

    def __init__(self, sizes: list[int], *, begun: bool) -> None:
        self.left = deque(bytes([size % 251]) * size for size in sizes)
        self.all = b"".join(self.left)
        self.window = SendWindow()
        self.begun, self.over, self.broken = begun, False, False
        if not begun:
            self.window.sent(b"")

    def step(self, *, breaks: bool) -> tuple[bytes, int] | None:
        """A piece, or the end, if it can be sent now."""
        if self.over or not self.begun or not self.window.room:
            return None
        if self.left and not breaks:
            piece = self.left.popleft()
            self.window.sent(piece)
            return piece, GOES_ON
        self.over, self.broken = True, breaks
        return b"", BROKEN if breaks else WHOLE

    def heard(self, cost: int) -> None:
        if cost == STOP:
            self.over = self.broken = True
        elif not self.over:
            self.window.returned(cost)
            self.begun = True


class Sink:
    """Reads a stream, as a worker does."""

    def __init__(self, *, first: bool) -> None:
        self.window = ReceiveWindow()
        self.pieces = deque[bytes]()
        self.read, self.end, self.stopped = b"", GOES_ON, False
        if first:
            self.came(b"", GOES_ON)

    def came(self, data: bytes, end: int) -> None:
        if self.stopped:
            return
        if end == GOES_ON:
            self.window.came(data)
            self.pieces.append(data)
        else:
            self.end = end

    def step(self, say: Callable[[int], None], *, stops: bool) -> bool:
        """Read a piece, or no more; `say` is told what is to be said of it. Returns whether there was one."""
        if self.stopped or (stops and self.end != GOES_ON):
            return False
        if stops:
            self.stopped = True
            say(STOP)
            return True
        if not self.pieces:
            return False
        piece = self.pieces.popleft()
        self.read += piece
        self.window.took(cost_of(piece))
        if self.end == GOES_ON and (credit := self.window.due()):
            say(credit)
        return True


class Ends:
    """A call from one node to an object of another, with streams; the workers of both are played here."""

    def __init__(self, sizes: list[list[int]]) -> None:
        self.ups = [(Source(sizes[at], begun=False), Sink(first=True)) for at in range(STREAMS)]
        self.downs = [(Source(sizes[STREAMS + at], begun=True), Sink(first=False)) for at in range(STREAMS)]
        self.gone, self.over = False, False  # of the port; and of the caller's streams
        self._back = deque[wire.Flow]()
        self.world = HostWorld()
        self._link = LinkFlows(lambda: None)
        self._pending = Pending(
            KIND_METHOD, "Counter", "a", ObjectId.from_name("Counter", "a").raw, 0, "m", b"x", "", 0.0, 0,
            lambda _: None,
        )  # fmt: skip
        self._pending.order = 1
        self._streams = CallStreams(cast("Any", self), 7, self._pending, self.world.clock, self._end)
        self._streams.send(STREAMS)
        for at, upload in enumerate(self._pending.uploads):
            self._link.open_upload((1, at), upload, b"")
        message = wire.Call(
            id=1, slot=0, epoch=self.world.core.serving(0), object=self._pending.object_id, class_name="Counter",
            name="a", kind=wire.CALL_KIND_METHOD, method="m", flows=STREAMS,
        )  # fmt: skip
        self.world.host.call(message, lambda _: None, self)
        self.world.pump()
        self._event = self.world.event()
        self._frame(TURN, self._event[1], 0, None, self._event[2], [[self._event[2], 0, b"r", 1, 2, STREAMS]])
        self._pending.downloads = self._link.open_downloads(1, STREAMS)
        self._streams.answered()

    def _end(self) -> None:
        self.over = True

    def flow(self, m: wire.Flow) -> None:
        """The object's node says something on the stream between them."""
        self._back.append(m)

    def send(self, message: tuple[Any, ...]) -> None:
        """The caller's worker is told something."""
        kind, _, side, _, at, *what = message
        assert side == OF_CALL
        if kind == FLOW:
            self.downs[at][1].came(*what)
        else:
            self.ups[at][0].heard(*what)

    def _frame(self, *what: Any) -> None:
        self.world.host.on_frame(self.world.worker, list(what))
        self.world.pump()
        self._hear()

    def _hear(self) -> None:
        """What the object's worker was told meanwhile."""
        assert not self.world.worker.killed, self.world.worker.killed
        told, self.world.worker.sent = self.world.worker.sent, []
        for kind, *rest in told:
            if kind == FLOW:
                self.ups[rest[3]][1].came(*rest[4:])
            elif kind == TAKEN:
                self.downs[rest[3]][0].heard(*rest[4:])

    def step(self, what: int, at: int) -> bool:
        """One of what can happen next; returns whether something did."""
        there = (self._event[1], OF_EVENT, self._event[2], at)
        if what == 0:
            return self._there()
        if what == 1:
            return self._here()
        if what in (2, 3):
            piece = self.ups[at][0].step(breaks=what == 3)
            if piece is not None:
                self._streams.piece(at, *piece)()
            return piece is not None
        if what in (4, 5):
            piece = self.downs[at][0].step(breaks=what == 5)
            if piece is not None:
                self._frame(FLOW, *there, *piece)
            return piece is not None
        if what in (6, 7):
            return self.ups[at][1].step(partial(self._frame, TAKEN, *there), stops=what == 7)
        return self.downs[at][1].step(partial(self._streams.taken, at), stops=what == 9)

    def _there(self) -> bool:
        batch = wire.CallBatch()
        self._link.fill(batch, 0, 1)
        for m in batch.flows:
            self.world.host.flows.from_gateway(self, m)
            self._hear()
        return bool(batch.flows)

    def _here(self) -> bool:
        if not self._back:
            return False
        self._link.take([self._back.popleft()])
        return True


STEPS = st.tuples(st.sampled_from((0, 0, 1, 1, 2, 2, 2, 4, 4, 4, 6, 6, 8, 8, 3, 5, 7, 9)), st.integers(0, STREAMS - 1))
SIZES = st.lists(st.sampled_from((1, 100, piece_bytes_max)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(SIZES, min_size=2 * STREAMS, max_size=2 * STREAMS), st.lists(STEPS, max_size=120))
def test_streams_arrive_whole_or_are_seen_to_be_broken(sizes: list[list[int]], steps: list[tuple[int, int]]) -> None:
    """Broken by: an end that removes the others; credit that is not passed on; a stream that outlives its reader."""
    ends = Ends(sizes)
    for step in steps:
        ends.step(*step)
    went_on = 1
    while went_on:
        went_on = sum(ends.step(what, at) for what in (0, 1, 2, 4, 6, 8) for at in range(STREAMS))
    for source, sink in (*ends.ups, *ends.downs):
        assert source.all.startswith(sink.read)
        if sink.stopped:
            assert source.over
        else:
            assert sink.end == (BROKEN if source.broken else WHOLE)
            assert source.broken or sink.read == source.all
    assert len(ends.world.host.flows) == 0
    assert ends.over
