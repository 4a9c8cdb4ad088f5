"""Streams that flow with a call that an activation makes: its own to the other's node, the answer's back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from homing.flow import BROKEN, GOES_ON, ReceiveWindow
from homing_node.clock import Clock
from homing_node.objects.frames import FLOW, OF_CALL, STOP, TAKEN, check_piece
from homing_node.objects.ports import WorkerPort
from homing_placement.routing.flows import Download, Upload
from homing_placement.routing.pending import KIND_METHOD, Pending


class CallStreams:
    """The streams of one call.

    Args:
        worker, act_id: whose activation made it.
        pending: the call.
        clock: for its deadline, which is as far away as at its beginning for as long as pieces are taken.
        over: called when the call has its answer and nothing of it flows any more.
    """

    __slots__ = (
        "_act_id",
        "_answered",
        "_came",
        "_clock",
        "_downloads",
        "_lasts_s",
        "_over",
        "_pending",
        "_uploads",
        "_worker",
    )

    def __init__(
        self, worker: WorkerPort, act_id: int, pending: Pending, clock: Clock, over: Callable[[], object]
    ) -> None:  # fmt: skip
        self._worker, self._act_id, self._pending, self._over = worker, act_id, pending, over
        self._clock = clock
        self._lasts_s = pending.deadline_s - pending.entered_ns * 1e-9
        self._came: dict[int, ReceiveWindow] = {}
        self._answered = False
        self._downloads: dict[int, Download] = {}
        self._uploads: dict[int, Upload] = {}

    def send(self, count: int) -> None:
        """So many will flow behind the call. A piece of each goes with it: of a body that, of the others an empty one.

        Raises:
            ValueError: that piece is too long.
        """
        for at in range(count):
            window = self._came[at] = ReceiveWindow()
            window.came(self._pending.first_piece(at))
            self._uploads[at] = Upload(partial(self._returned, at))
        self._pending.uploads = tuple(self._uploads.values())

    def _returned(self, at: int, cost: int) -> None:
        self._tell(TAKEN, at, cost)
        if cost == STOP:
            self._uploads.pop(at, None)
            self._look()
        else:
            self._came[at].took(cost)
            self._came[at].rest()
            self._pending.deadline_s = self._clock.monotonic_ns() * 1e-9 + self._lasts_s

    def _look(self) -> None:
        """A request's body ends with the answer; what was passed to a method flows on for as long as it is read."""
        if not self._answered or self._downloads:
            return
        if self._pending.kind != KIND_METHOD or self._pending.error is not None:
            self._end_uploads()
        if not self._uploads:
            self._over()

    def _end_uploads(self) -> None:
        uploads, self._uploads = self._uploads, {}
        for at, upload in uploads.items():
            upload.end(BROKEN)
            self._tell(TAKEN, at, STOP)

    def piece(self, at: int, data: bytes, end: int) -> Callable[[], None]:
        """A piece of a stream that flows behind the call, or its end; it goes when what is returned is called.

        Raises:
            ValueError, TypeError, LookupError: the worker has no room for it, or it is none.
        """
        check_piece(data, end)
        window = self._came[at]
        if data:
            window.came(data)
        return partial(self._put, at, data, end)

    def _put(self, at: int, data: bytes, end: int) -> None:
        upload = self._uploads.get(at)
        if upload is None:
            return
        if end == GOES_ON:
            upload.put(data)
        else:
            del self._uploads[at]
            upload.end(end)
            self._look()

    def answered(self) -> None:
        """The call has its answer, or failed."""
        self._answered = True
        for upload in self._uploads.values():
            upload.outlives_call = True
        for at, download in enumerate(self._pending.downloads):
            if self._pending.error is not None:
                download.stop()
                continue
            self._downloads[at] = download
            download.on_more = partial(self._more, at)
        for at in list(self._downloads):
            self._more(at)
        self._look()

    def _more(self, at: int) -> None:
        download = self._downloads.get(at)
        if download is None:
            return
        while download.pieces:
            self._tell(FLOW, at, download.pieces.popleft(), GOES_ON)
        if download.end != GOES_ON:
            del self._downloads[at]
            self._tell(FLOW, at, b"", download.end)
            self._look()

    def taken(self, at: int, cost: int) -> None:
        """The worker has taken so much of a stream of the answer, or wants no more.

        Raises:
            ValueError, TypeError: it had not so much.
        """
        download = self._downloads.get(at)
        if download is None:
            return
        if cost == STOP:
            del self._downloads[at]
            download.stop()
            self._look()
        else:
            download.took(cost)

    def end(self) -> None:
        """The activation is gone: nobody reads what the answer has, and what flows behind the call breaks off."""
        uploads, self._uploads = self._uploads, {}
        for upload in uploads.values():
            upload.end(BROKEN)
        downloads, self._downloads = self._downloads, {}
        for download in downloads.values():
            download.stop()

    def _tell(self, kind: int, at: int, *what: object) -> None:
        self._worker.send((kind, self._act_id, OF_CALL, self._pending.order, at, *what))
