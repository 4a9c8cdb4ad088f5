"""One call on its way to the owner of its object, from the request to its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from homing.errors import ApplicationError, HomingError
from homing_placement.routing.limits import RESPONSE_BYTES_MAX

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from homing.wire.v1 import call_pb2
    from homing_placement.routing.flows import Download, Upload
    from homing_placement.routing.link import NodeLink

KIND_RPC = 1
KIND_FETCH = 2
KIND_DEFAULT = 3
KIND_METHOD = 5
KIND_LIST = 10
KIND_GRANTED = 13


class Lane:
    """The calls of one caller to one object: they arrive in the order in which they were made, whatever is sent anew.

    A call goes only where those before it are. The node does the other half: it refuses what comes after a call that
    it refused (`homing_node.objects.order`).

    Attributes:
        id: names it to the nodes.
        calls: those that have no answer yet, by number, in order.
    """

    __slots__ = ("calls", "id")

    def __init__(self, lane_id: bytes) -> None:
        self.id = lane_id
        self.calls: dict[int, Pending] = {}

    def admits(self, pending: Pending, link: NodeLink) -> bool:
        """Whether everything before a call is on that link, whole: what comes in pieces is passed by others."""
        pending.before = 0
        for other in self.calls.values():
            if other is pending:
                break
            if other.link is not link or other.in_pieces:
                return False
            pending.before = other.order
        return True


class Pending:
    """What is asked, where it is, and what came back.

    Attributes:
        kind: 1 RPC, 2 FETCH, 3 DEFAULT, 5 METHOD, 13 GRANTED, as on the wire; 10 LIST, which goes to no object.
        chain: of a call that an object makes: names the call that began the chain of which it is a part.
        lane, order, before: of such a call: what it must not overtake, its number there, and that of the call before.
        activation, target: of a call of something that was passed by reference: who passed it, and its number there.
        deadline_s: in seconds of the clock that `entered_ns` is of.
        on_done: called once, in the event loop, when `error` or the answer is set.
        id: on the stream of `link`.
        in_pieces: a part of its long body is still to be written.
        written: it was handed to a stream that still stands; no longer in a queue.
        maybe_started: it was on a stream that broke, so it may have run. Only with a key is it sent again.
        waiting_since_s: since when there was nobody to take it; 0 while somebody is.
        tries: how often it was put off.
        entered_ns, sent_ns, arrived_ns: this process's clock: request in, frame written, answer read.
        lost_ns: how long earlier sendings that came to nothing were away.
        socket: with an answer of status 101: what the connection becomes.
        answered_by: the link that the answer came on.
        uploads: what flows behind it: the rest of a body, or what a method is given; whoever made one closes it.
        downloads: what flows behind its answer; whoever is told of that takes or stops each.
        span: what is exported of it, or None.
        received_ns, started_ns, ended_ns, released_ns: the node's clock; 0 where it does not apply.
    """

    __slots__ = (
        "activation",
        "answer",
        "answer_headers",
        "answer_parts",
        "answer_reply",
        "answer_size",
        "answered_by",
        "arrived_ns",
        "before",
        "body",
        "chain",
        "class_name",
        "deadline_s",
        "downloads",
        "ended_ns",
        "entered_ns",
        "epoch",
        "error",
        "fingerprint",
        "finished",
        "headers",
        "id",
        "in_pieces",
        "key",
        "kind",
        "lane",
        "last_error",
        "link",
        "lost_ns",
        "maybe_started",
        "method",
        "name",
        "object_id",
        "on_done",
        "order",
        "received_ns",
        "released_ns",
        "request_id",
        "retry_at_s",
        "sent_ns",
        "slot",
        "socket",
        "span",
        "started_ns",
        "status",
        "target",
        "traceparent",
        "tries",
        "uploads",
        "url",
        "waiting_since_s",
        "written",
    )

    def __init__(
        self,
        kind: int,
        class_name: str,
        name: str,
        object_id: bytes,
        slot: int,
        method: str,
        body: bytes,
        request_id: str,
        deadline_s: float,
        entered_ns: int,
        on_done: Callable[[Pending], None],
    ) -> None:
        self.kind = kind
        self.class_name = class_name
        self.name = name
        self.object_id = object_id
        self.slot = slot
        self.method = method
        self.body = body
        self.request_id = request_id
        self.deadline_s = deadline_s
        self.entered_ns = entered_ns
        self.on_done = on_done
        self.key = ""
        self.fingerprint = b""
        self.traceparent = ""
        self.chain = b""
        self.lane: Lane | None = None
        self.order = 0
        self.before = 0
        self.activation = self.target = 0
        self.span: Span | None = None
        self.url = ""
        self.headers: Sequence[tuple[str, str]] = ()
        self.id = 0
        self.epoch = 0
        self.link: NodeLink | None = None
        self.written = False
        self.in_pieces = False
        self.finished = False
        self.maybe_started = False
        self.waiting_since_s = 0.0
        self.retry_at_s = 0.0
        self.tries = 0
        self.last_error: HomingError | None = None
        self.error: HomingError | None = None
        self.status = 0
        self.answer = b""
        self.answer_headers: Sequence[tuple[str, str]] = ()
        self.answer_reply: call_pb2.Reply | None = None
        self.socket: call_pb2.SocketRef | None = None
        self.answered_by: NodeLink | None = None
        self.uploads: Sequence[Upload] = ()
        self.downloads: Sequence[Download] = ()
        self.answer_parts: list[bytes] = []
        self.answer_size = 0
        self.sent_ns = self.arrived_ns = self.lost_ns = 0
        self.received_ns = self.started_ns = self.ended_ns = self.released_ns = 0

    def first_piece(self, at: int) -> bytes:
        """What goes with the call of a stream that flows behind it."""
        return self.body if at == 0 and self.kind != KIND_METHOD else b""

    def lose_sending(self, now_ns: int) -> None:
        """What was sent came to nothing; the call is here again. Nothing happens if it was not sent."""
        if self.sent_ns:
            self.lost_ns += (self.arrived_ns or now_ns) - self.sent_ns
            self.sent_ns = self.arrived_ns = self.received_ns = 0

    def begin_answer(self, reply: call_pb2.Reply) -> None:
        """Keep the first piece of a long answer."""
        self.answer_reply = reply
        self._keep(reply.body)

    def add_piece(self, piece: call_pb2.Piece) -> call_pb2.Reply | None:
        """Keep a further piece; the reply, with the whole body in `answer`, after the last one."""
        reply = self.answer_reply
        if reply is None:
            return None
        self._keep(piece.data)
        if not piece.last:
            return None
        self.answer = b"".join(self.answer_parts)
        self.forget_answer()
        return reply

    def forget_answer(self) -> None:
        """Drop what came of an answer that will not end on this stream."""
        self.answer_reply = None
        self.answer_parts = []
        self.answer_size = 0

    def _keep(self, data: bytes) -> None:
        self.answer_size += len(data)
        if self.answer_size > RESPONSE_BYTES_MAX:
            self.answer_parts = []
            self.error = ApplicationError(f"the answer is over {RESPONSE_BYTES_MAX} bytes", error_type="TooLarge")
        else:
            self.answer_parts.append(data)
