"""Bodies that flow with a call that an activation makes: its request's to the other's node, the answer's back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from homing.flow import BROKEN, GOES_ON, ReceiveWindow
from homing_node.objects.frames import FLOW, OF_CALL, STOP, TAKEN, check_piece
from homing_node.objects.ports import WorkerPort
from homing_placement.routing.flows import Download, Upload
from homing_placement.routing.pending import Pending


class CallBodies:
    """The bodies of one call.

    Args:
        worker: whose activation made it.
        act_id, number: the activation, and the call's number there.
        over: called when the call has its answer and no body of it flows any more.
    """

    __slots__ = ("_act_id", "_answered", "_came", "_download", "_number", "_over", "_upload", "_worker")

    def __init__(self, worker: WorkerPort, act_id: int, number: int, over: Callable[[], object]) -> None:
        self._worker, self._act_id, self._number, self._over = worker, act_id, number, over
        self._came = ReceiveWindow()
        self._answered = False
        self._download: Download | None = None
        self._upload: Upload | None = None

    def send(self, pending: Pending) -> None:
        """The call's body will flow; the piece that goes with the call is empty."""
        self._came.came(pending.body)
        pending.upload = self._upload = Upload(self._returned)

    def _returned(self, cost: int) -> None:
        self._tell(TAKEN, cost)
        if cost == STOP:
            self._upload = None
            self._look()
        else:
            self._came.took(cost)
            self._came.rest()

    def _look(self) -> None:
        if self._answered and self._upload is None and self._download is None:
            self._over()

    def piece(self, data: bytes, end: int) -> Callable[[], None]:
        """A piece of the request's body, or its end; it goes when what is returned is called.

        Raises:
            ValueError, TypeError: the worker has no room for it, or it is none.
        """
        check_piece(data, end)
        if data:
            self._came.came(data)
        return partial(self._put, data, end)

    def _put(self, data: bytes, end: int) -> None:
        upload = self._upload
        if upload is None:
            return
        if end == GOES_ON:
            upload.put(data)
        else:
            self._upload = None
            upload.end(end)
            self._look()

    def receive(self, download: Download) -> None:
        """The answer's head is there, and its body flows."""
        self._answered, self._download = True, download
        download.on_more = self._more
        self._more()

    def _more(self) -> None:
        download = self._download
        if download is None:
            return
        while download.pieces:
            self._tell(FLOW, download.pieces.popleft(), GOES_ON)
        if download.end != GOES_ON:
            self._download = None
            self._tell(FLOW, b"", download.end)
            self._look()

    def taken(self, cost: int) -> None:
        """The worker has taken so much of the answer's body, or wants no more.

        Raises:
            ValueError, TypeError: it had not so much.
        """
        download = self._download
        if download is None:
            return
        if cost == STOP:
            self._download = None
            download.stop()
            self._look()
        else:
            download.took(cost)

    def answered(self) -> None:
        """The call has its answer, as a whole."""
        self._answered = True
        if self._upload is not None:
            self._upload.close()
            self._returned(STOP)
        self._look()

    def end(self) -> None:
        """The activation is gone: nobody reads the answer, and the request's body breaks off."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.end(BROKEN)
        download, self._download = self._download, None
        if download is not None:
            download.stop()

    def _tell(self, kind: int, *what: object) -> None:
        self._worker.send((kind, self._act_id, OF_CALL, self._number, *what))
