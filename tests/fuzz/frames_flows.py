"""The frames of bodies that flow, as the link to a node takes them; and a slot as a stream of frames."""

from __future__ import annotations

import contextlib

import msgspec
from tests.fuzz.mutators import behind, changed_bytes, changed_msgpack
from tests.fuzz.target import Check

from homing.cli.archive import Parts
from homing.errors import BackupUnusable
from homing.flow import BROKEN, GOES_ON, WHOLE, cost_of, cut, piece_bytes_max, window_bytes
from homing.slot_frames import frame, frame_bytes_max
from homing.wire.v1 import call_pb2 as wire
from homing_placement.routing.flows import Download, LinkFlows, Upload

UP, DOWN, MORE = 1, 1, 2  # a call of which both bodies flow, and one behind whose answer two streams do
_KEYS = ((0, 0), (DOWN, 0), (MORE, 0), (MORE, 1))
_STEPS_MAX = 200
_encode = msgspec.msgpack.encode


class _Link:
    """A link with an upload and three downloads, and what is known of them."""

    def __init__(self) -> None:
        self.flows = LinkFlows(lambda: None)
        self.upload = Upload(lambda _: None)
        self.flows.open_upload((UP, 0), self.upload, b"first")
        found: tuple[Download, ...] = (*self.flows.open_downloads(DOWN, 1), *self.flows.open_downloads(MORE, 2))
        self.downloads = dict(zip(_KEYS[1:], found, strict=True))
        self.ends = dict.fromkeys(self.downloads, GOES_ON)

    def step(self, what: int, number: int, size: int, end: int, taken: int, stop: bool) -> None:
        """The node says something, or one of this side does."""
        call_id, at = key = _KEYS[number]
        download = self.downloads.get(key)
        if what == 0:
            self.flows.take([wire.Flow(id=call_id, stream=at, data=bytes(size), end=end, taken=taken, stop=stop)])
        elif what == 1:
            for piece in cut(bytes(size)):
                if self.upload.room:
                    self.upload.put(piece)
        elif what == 2:
            self.upload.end(WHOLE if end == WHOLE else BROKEN)
        elif what == 3 and download is not None and download.pieces:
            download.took(cost_of(download.pieces.popleft()))
        elif what == 4 and download is not None:
            download.stop()
        elif what == 5:
            self.flows.break_off()
        self._check()

    def _check(self) -> None:
        """What is held of each is bounded, and an end is one for ever."""
        most = window_bytes + cost_of(bytes(piece_bytes_max))
        assert 0 <= self.upload._window.under_way < most
        for key, download in self.downloads.items():
            assert sum(map(cost_of, download.pieces)) < most
            assert self.ends[key] in (GOES_ON, download.end)
            self.ends[key] = download.end


def check_flows(data: bytes) -> None:
    """Whatever a node says of bodies, it harms these, and what is said back can be written."""
    try:
        steps = msgspec.msgpack.decode(data, type=list[tuple[int, int, int, int, int, bool]])
    except (msgspec.MsgspecError, RecursionError):
        return
    link = _Link()
    for what, number, size, end, taken, stop in steps[:_STEPS_MAX]:
        link.step(what % 6, number % 4, size % (2 * piece_bytes_max), end % 3, taken % (1 << 32), stop)
    batch = wire.CallBatch()
    while link.flows.queued:
        link.flows.fill(batch, 0, 1)
    batch.SerializeToString()
    link.flows.break_off()
    assert all(download.end != GOES_ON for download in link.downloads.values())


def check_slot_frames(data: bytes) -> None:
    """However a slot's bytes are cut, the same messages come out; and they can be put together again."""
    step, data = (data[0] + 1, data[1:]) if data else (1, b"")
    whole, piecewise = _messages(data, max(1, len(data))), _messages(data, step)
    assert whole == piecewise, "the messages depend on how the stream is cut"
    if whole is not None:
        messages, rest = whole
        assert b"".join(map(frame, messages)) + rest == data


def _messages(data: bytes, step: int) -> tuple[list[bytes], bytes] | None:
    """The messages of a stream, and what is left of it; None: it is refused."""
    parts, found = Parts(), list[bytes]()
    with contextlib.suppress(BackupUnusable):
        for at in range(0, len(data), step):
            found += [part.data for part in parts.feed(data[at : at + step])]
            assert len(parts.rest) < 4 + frame_bytes_max + step or parts.ended
        return found, parts.rest
    return None


_HEAD = wire.SlotPart(head=wire.SlotHead(cluster="c", slot=7, slots=1_024, epoch=3)).SerializeToString()
_SOME = wire.SlotPart(objects=[wire.StoredObject(object=bytes(32), page_count=1, pages=[b"p"])]).SerializeToString()
_END = wire.SlotPart(end=True).SerializeToString()
FLOWS = [
    _encode(steps)
    for steps in (
        [[0, UP, 0, 0, 133, False], [1, 0, 70_000, 0, 0, False], [0, UP, 0, 0, 500, False], [2, 0, 0, 1, 0, False]],
        [[0, DOWN, 70, 0, 0, False], [3, DOWN, 0, 0, 0, False], [0, DOWN, 0, 1, 0, False], [0, DOWN, 9, 0, 0, False]],
        [[0, DOWN, piece_bytes_max, 0, 0, False]] * 5 + [[3, DOWN, 0, 0, 0, False]] * 3,
        [[0, MORE, piece_bytes_max + 1, 0, 0, False], [0, UP, 0, 0, 999, False]],
        [[0, UP, 0, 0, 0, True], [1, 0, 5, 0, 0, False], [2, 0, 0, 2, 0, False]],
        [[4, DOWN, 0, 0, 0, False], [4, DOWN, 0, 0, 0, False], [0, DOWN, 5, 0, 0, False], [5, 0, 0, 0, 0, False]],
        [[0, UP, 0, 0, 133, False], [2, 0, 0, 0, 0, False], [0, 0, 5, 2, 5, True]],
    )
]
SLOT_FRAMES = [
    b"\x04" + b"".join(map(frame, (_HEAD, _SOME, _END))) + b"digest",
    b"\x00" + b"".join(map(frame, (_HEAD, _SOME)))[:-3],
    b"\x02" + (frame_bytes_max + 1).to_bytes(4, "big"),
    b"\x07" + frame(b"\xff\xff"),
    b"\xff" + frame(b"") * 3,
]
CHECKS = (
    Check("flows", check_flows, FLOWS, changed_msgpack),
    Check("slot frames", check_slot_frames, SLOT_FRAMES, behind(1, changed_bytes)),
)
