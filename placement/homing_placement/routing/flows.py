"""Bodies that flow between this process and a node, on the link to it (docs/bodies.md).

A request's body goes up behind its call, an answer's body comes down behind its head. Each has a window of its own
(`homing.flow`), so that a slow end holds up its own body and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from homing.flow import BROKEN, GOES_ON, ReceiveWindow, SendWindow
from homing.wire.v1 import call_pb2

_FRAME_BYTES = 32  # about what a frame takes beside its data


class Upload:
    """A request's body that is sent as it comes. Its first piece goes with the call.

    The call can be sent again for as long as no other piece has gone, and none goes before the first was taken.

    Args:
        on_room: called with how much was taken; with 0 where no more is wanted.

    Attributes:
        begun: the first piece was taken: the call runs.
        over: nothing more of it is wanted, or it has ended.
    """

    __slots__ = ("_flows", "_id", "_on_room", "_window", "begun", "over")

    def __init__(self, on_room: Callable[[int], None]) -> None:
        self._on_room = on_room
        self._flows: LinkFlows | None = None
        self._id = 0
        self._window = SendWindow()
        self.begun = False
        self.over = False

    def bind(self, flows: LinkFlows, call_id: int, first: bytes) -> None:
        """Its call is written to a link."""
        self.unbind()
        self._flows, self._id = flows, call_id
        self._window = SendWindow()
        self._window.sent(first)

    def unbind(self) -> None:
        """It is on no link any more."""
        flows, self._flows = self._flows, None
        if flows is not None:
            flows.forget_upload(self._id)

    @property
    def room(self) -> bool:
        """Whether a piece may be put."""
        return self.begun and not self.over and self._window.room

    def put(self, data: bytes) -> None:
        """Send a piece of at most `piece_bytes_max`; only where there is room."""
        if self._flows is not None and not self.over:
            self._window.sent(data)
            self._flows.send(call_pb2.Flow(id=self._id, data=data))

    def end(self, end: int) -> None:
        """It is complete, or breaks off."""
        if self._flows is not None and not self.over:
            self._flows.send(end_of(self._id, end))
        self.close()

    def close(self) -> None:
        """Its call has its answer: nothing more is wanted."""
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
    """An answer's body: pieces that have come and were not taken, and whether more will come.

    Attributes:
        end: how it ended behind these pieces, of `homing.flow`.
        on_more: called when there is more, or the end.
    """

    __slots__ = ("_flows", "_id", "_window", "end", "on_more", "pieces")

    def __init__(self, flows: LinkFlows, call_id: int) -> None:
        self._flows = flows
        self._id = call_id
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
            self._flows.send(call_pb2.Flow(id=self._id, taken=credit))

    def stop(self) -> None:
        """Nobody wants the rest: its producer is told."""
        if self.end == GOES_ON:
            self._flows.refuse(self._id)
            self.came(b"", BROKEN)


class LinkFlows:
    """The bodies that flow on one link.

    Args:
        ready: a frame is queued.
    """

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._uploads: dict[int, Upload] = {}
        self._downloads: dict[int, Download] = {}
        self._frames: deque[call_pb2.Flow] = deque()  # Invariant: of each body no more than its window holds

    @property
    def queued(self) -> bool:
        """Whether frames wait to be written."""
        return bool(self._frames)

    def open_upload(self, call_id: int, upload: Upload, first: bytes) -> None:
        """A call is written whose body is to follow."""
        upload.bind(self, call_id, first)
        self._uploads[call_id] = upload

    def forget_upload(self, call_id: int) -> None:
        """See `Upload.unbind`."""
        self._uploads.pop(call_id, None)

    def open_download(self, call_id: int) -> Download:
        """The head of an answer is there whose body follows."""
        download = self._downloads[call_id] = Download(self, call_id)
        return download

    def refuse(self, call_id: int) -> None:
        """Nobody wants the body of an answer."""
        self._downloads.pop(call_id, None)
        self.send(call_pb2.Flow(id=call_id, stop=True))

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
        """What the node says of bodies."""
        for frame in frames:
            try:
                self._take(frame)
            except ValueError:  # it says what cannot be: that body is lost
                self._lose(frame.id)

    def _take(self, frame: call_pb2.Flow) -> None:
        if (frame.taken or frame.stop) and (upload := self._uploads.get(frame.id)) is not None:
            if frame.stop:
                upload.stopped()
            else:
                upload.returned(frame.taken)
        if (frame.data or frame.end) and (download := self._downloads.get(frame.id)) is not None:
            if frame.end != GOES_ON:
                del self._downloads[frame.id]
            download.came(frame.data, frame.end)

    def _lose(self, call_id: int) -> None:
        if (upload := self._uploads.get(call_id)) is not None:
            upload.end(BROKEN)
            upload.stopped()
        if (download := self._downloads.get(call_id)) is not None:
            download.stop()

    def break_off(self) -> None:
        """The link broke: what came of answers is all that comes, and is not complete."""
        self._frames.clear()
        for upload in list(self._uploads.values()):
            upload.unbind()
        downloads, self._downloads = self._downloads, {}
        for download in downloads.values():
            download.came(b"", BROKEN)


def end_of(call_id: int, end: int) -> call_pb2.Flow:
    """The frame that says how a body ends."""
    return call_pb2.Flow(id=call_id, end=_ENDS[end])


_ENDS = (call_pb2.FLOW_END_UNSPECIFIED, call_pb2.FLOW_END_WHOLE, call_pb2.FLOW_END_BROKEN)
