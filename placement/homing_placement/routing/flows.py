"""Streams that flow between this process and a node, on the link to it (docs/bodies.md).

A request's body, and what the arguments of a method hold, go up behind the call; an answer's body, and what a result
holds, come down behind the answer. Each has a window of its own (`homing.flow`), so that a slow end holds up its own
stream and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from homing.flow import BROKEN, GOES_ON, ReceiveWindow, SendWindow, streams_per_value_max
from homing.wire.v1 import call_pb2

_FRAME_BYTES = 32  # about what a frame takes beside its data

Key = tuple[int, int]
"""The id of a call, and the number of a stream among those that flow with it or with its answer."""


class Upload:
    """A stream that is sent as it comes, behind a call. Its first piece goes with the call; it may be empty.

    The call can be sent again for as long as no other piece has gone, and none goes before the first was taken.

    Args:
        on_room: called with how much was taken; with 0 where no more is wanted.

    Attributes:
        begun: the first piece was taken: the call runs.
        over: nothing more of it is wanted, or it has ended.
        outlives_call: its call has been answered: a link that breaks ends it.
    """

    __slots__ = ("_flows", "_key", "_on_room", "_window", "begun", "outlives_call", "over")

    def __init__(self, on_room: Callable[[int], None]) -> None:
        self._on_room = on_room
        self._flows: LinkFlows | None = None
        self._key: Key = (0, 0)
        self._window = SendWindow()
        self.begun = False
        self.over = False
        self.outlives_call = False

    def bind(self, flows: LinkFlows, key: Key, first: bytes) -> None:
        """Its call is written to a link."""
        self.unbind()
        self._flows, self._key = flows, key
        self._window = SendWindow()
        self._window.sent(first)

    def unbind(self) -> None:
        """It is on no link any more."""
        flows, self._flows = self._flows, None
        if flows is not None:
            flows.forget_upload(self._key)

    @property
    def room(self) -> bool:
        """Whether a piece may be put."""
        return self.begun and not self.over and self._window.room

    def put(self, data: bytes) -> None:
        """Send a piece of at most `piece_bytes_max`; only where there is room."""
        if self._flows is not None and not self.over:
            self._window.sent(data)
            call_id, at = self._key
            self._flows.send(call_pb2.Flow(id=call_id, stream=at, data=data))

    def end(self, end: int) -> None:
        """It is complete, or breaks off."""
        if self._flows is not None and not self.over:
            self._flows.send(end_of(*self._key, end))
        self.close()

    def close(self) -> None:
        """Nothing more of it is wanted."""
        self.over = True
        self.unbind()

    def returned(self, cost: int) -> None:
        """The node says that so much was taken. Raises `ValueError` where it was not sent."""
        self._window.returned(cost)
        self.begun = True
        self._on_room(cost)

    def stopped(self) -> None:
        """The node wants no more of it."""
        self.close()
        self._on_room(0)


class Download:
    """A stream of an answer: pieces that have come and were not taken, and whether more will come.

    Attributes:
        end: how it ended behind these pieces, of `homing.flow`.
        on_more: called when there is more, or the end.
    """

    __slots__ = ("_flows", "_key", "_window", "end", "on_more", "pieces")

    def __init__(self, flows: LinkFlows, key: Key) -> None:
        self._flows = flows
        self._key = key
        self._window = ReceiveWindow()
        self.pieces: deque[bytes] = deque()
        self.end = GOES_ON
        self.on_more: Callable[[], None] | None = None

    def came(self, data: bytes, end: int) -> None:
        """The node says more. Raises `ValueError` where there was no room for it."""
        if self.end != GOES_ON:
            return
        if data:
            self._window.came(data)
            self.pieces.append(data)
        self.end = end
        if self.on_more is not None:
            self.on_more()

    def took(self, cost: int) -> None:
        """So much of the window is free again. Raises `ValueError` where there was not so much."""
        self._window.took(cost)
        if self.end == GOES_ON and (credit := self._window.due()):
            call_id, at = self._key
            self._flows.send(call_pb2.Flow(id=call_id, stream=at, taken=credit))

    def stop(self) -> None:
        """Nobody wants the rest: its producer is told."""
        if self.end == GOES_ON:
            self._flows.refuse(self._key)
            self.came(b"", BROKEN)


class LinkFlows:
    """The streams that flow on one link.

    Args:
        ready: a frame is queued.
    """

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._uploads: dict[Key, Upload] = {}
        self._downloads: dict[Key, Download] = {}
        self._frames: deque[call_pb2.Flow] = deque()  # Invariant: of each stream no more than its window holds

    @property
    def queued(self) -> bool:
        """Whether frames wait to be written."""
        return bool(self._frames)

    def open_upload(self, key: Key, upload: Upload, first: bytes) -> None:
        """A call is written behind which a stream is to follow."""
        if upload.over:
            self.send(end_of(*key, BROKEN))  # whoever sends it has gone meanwhile
            return
        upload.bind(self, key, first)
        self._uploads[key] = upload

    def forget_upload(self, key: Key) -> None:
        """See `Upload.unbind`."""
        self._uploads.pop(key, None)

    def open_downloads(self, call_id: int, count: int) -> tuple[Download, ...]:
        """An answer is there behind which streams follow."""
        keys = _keys(call_id, count)
        self._downloads.update((key, Download(self, key)) for key in keys)
        return tuple(self._downloads[key] for key in keys)

    def refuse_all(self, call_id: int, count: int) -> None:
        """Nobody waits for an answer behind which streams follow."""
        for key in _keys(call_id, count):
            self.refuse(key)

    def refuse(self, key: Key) -> None:
        """Nobody wants a stream of an answer."""
        self._downloads.pop(key, None)
        call_id, at = key
        self.send(call_pb2.Flow(id=call_id, stream=at, stop=True))

    def send(self, frame: call_pb2.Flow) -> None:
        """Queue a frame."""
        self._frames.append(frame)
        self._ready()

    def fill(self, batch: call_pb2.CallBatch, size: int, size_max: int) -> None:
        """Put what is queued into a message, behind its calls, which have that size."""
        frames = self._frames
        while frames and size < size_max:
            frame = frames.popleft()
            batch.flows.append(frame)
            size += _FRAME_BYTES + len(frame.data)

    def take(self, frames: Iterable[call_pb2.Flow]) -> None:
        """What the node says of streams."""
        for frame in frames:
            key = frame.id, frame.stream
            try:
                self._take(key, frame)
            except ValueError:  # it says what cannot be: that stream is lost
                self._lose(key)

    def _take(self, key: Key, frame: call_pb2.Flow) -> None:
        if (frame.taken or frame.stop) and (upload := self._uploads.get(key)) is not None:
            if frame.stop:
                upload.stopped()
            else:
                upload.returned(frame.taken)
        if (frame.data or frame.end) and (download := self._downloads.get(key)) is not None:
            download.came(frame.data, frame.end)
            if frame.end != GOES_ON:
                self._downloads.pop(key, None)

    def _lose(self, key: Key) -> None:
        if (upload := self._uploads.get(key)) is not None:
            upload.end(BROKEN)
            upload.stopped()
        if (download := self._downloads.get(key)) is not None:
            download.stop()

    def break_off(self) -> None:
        """The link broke: what came of answers is all that comes, and is not complete."""
        self._frames.clear()
        for upload in list(self._uploads.values()):
            if upload.outlives_call:
                upload.stopped()
            else:
                upload.unbind()  # what becomes of its call is said by whoever has that
        downloads, self._downloads = self._downloads, {}
        for download in downloads.values():
            download.came(b"", BROKEN)


def _keys(call_id: int, count: int) -> list[Key]:
    return [(call_id, at) for at in range(min(count, streams_per_value_max))]


def end_of(call_id: int, at: int, end: int) -> call_pb2.Flow:
    """The frame that says how a stream ends."""
    return call_pb2.Flow(id=call_id, stream=at, end=_ENDS[end])


_ENDS = (call_pb2.FLOW_END_UNSPECIFIED, call_pb2.FLOW_END_WHOLE, call_pb2.FLOW_END_BROKEN)
