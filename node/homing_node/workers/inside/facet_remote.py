"""A facet of a dynamic class, seen by its object: it runs in a sandbox, and what it writes comes back page by page.

Nothing of what a sandbox says is believed: its pages are rows in the object's database that nobody reads but the next
sandbox, its results are values. See docs/facets.md.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Protocol

import msgspec

from homing.bindings.loader import WorkerStub, error_of, response_of
from homing.errors import ObjectReset, SandboxDied, TooLarge
from homing.facets import DynamicClass, FacetClass
from homing.loading_frames import FAILED, NEEDED, RESPONSE, Answer, Call, FacetPart, decode_answer, encode, pieces_of
from homing.untrusted import from_untrusted
from homing_node.workers.inside import limits
from homing_node.workers.inside.calls import seen
from homing_node.workers.inside.channel import CLOSE_FACET, FETCH, KEEP_FACET, LOADER
from homing_node.workers.inside.facet_places import Event, Parent, Place
from homing_node.workers.inside.facets import FacetKeeper
from homing_node.workers.inside.outgoing import NOWHERE, no_result


class RemoteParent(Parent, Protocol):
    """An activation whose facets may run in sandboxes."""

    def wait_until(self, awaitable: Any) -> None:
        """Go on with something after an answer."""
        ...


class RemoteFacet:
    """One facet in a sandbox (`facets.Runner`).

    Args:
        parent: its object.
        keeper: of the object's facets.
        place: of this one.
        kind: its class.
        session: names it to the node, and to the sandbox.
    """

    busy = False  # what goes on there beside its calls goes on without its object

    def __init__(
        self, parent: RemoteParent, keeper: FacetKeeper, place: Place, kind: DynamicClass, session: int
    ) -> None:  # fmt: skip
        self._parent, self._keeper, self._place, self._kind = parent, keeper, place, kind
        self.session = session
        self._commits = 0  # that are in the object's transaction, or were
        self._pieces = bytearray()  # of the one that comes
        self._ended = False

    def deliver(self, event: Event) -> None:
        """See `facets.Runner`."""
        _, _, _, kind, method, body, *_ = event
        if kind == FETCH:
            url, headers = event[9][:2]
            method, body = "", encode((method, url, headers, body))
        own = self._kind.limits
        call = Call(
            self._kind.worker.homing_key(), "", b"", own.cpu_ms, own.sub_requests, method, body, self.session
        )  # fmt: skip
        sent = self._parent.outgoing().begin(LOADER, NOWHERE, "call", encode(call), _answer)
        sent.add_done_callback(partial(self._answered, event))

    def _answered(self, event: Event, sent: asyncio.Future[Answer]) -> None:
        number = event[2]
        if sent.cancelled():
            return
        error = sent.exception()
        if error is not None:
            self._keeper.answer(self._place, number, error=error)
            return
        answer = sent.result()
        if answer.event is not None and not self._parent.ended:
            self._parent.wait_until(self._kind.worker.homing_tell(answer.event))
        if answer.kind == NEEDED:
            self._ended = True  # it is not there to be told
            self._keeper.again(self._place, self, event)
        elif answer.kind == FAILED:
            self._keeper.answer(self._place, number, error=error_of(answer.failure))
        else:
            self._read(number, answer)

    def _read(self, number: int, answer: Answer) -> None:
        try:
            result: Any = response_of(answer) if answer.kind == RESPONSE else from_untrusted(answer.value)
        except ValueError as error:
            broken = SandboxDied(f"its answer is none: {error}")
            self._keeper.answer(self._place, number, error=broken)
        else:
            self._keeper.answer(self._place, number, result)

    def came(self, commit: int, data: bytes, *, last: bool) -> None:
        """A piece of a commit."""
        if len(self._pieces) + len(data) > limits.commit_bytes_max + limits.commit_bytes_max // 8:
            self._keeper.reset(self._place, ObjectReset("the facet wrote too much at once"))
            return
        self._pieces += data
        if not last:
            return
        whole, self._pieces = bytes(self._pieces), bytearray()
        self._commits = commit
        self._parent.enter(0)
        self._keeper.take(self._place, whole, [])
        self._parent.leave()

    def lost(self) -> None:
        """It has reset itself; its calls are told so each, as what they answer."""
        self._ended = True
        self._keeper.sessions.pop(self.session, None)
        self._keeper.gone(self._place, self)

    def kept(self) -> None:
        """See `facets.Runner`: it leaves behind the commit, and so says that it is durable."""
        self._tell(KEEP_FACET)

    def end(self) -> None:
        """See `facets.Runner`."""
        self._keeper.sessions.pop(self.session, None)
        if not self._ended and not self._parent.ended:
            self._ended = True
            self._tell(CLOSE_FACET)

    def _tell(self, what: str) -> None:
        body = msgspec.msgpack.encode((self.session, self._commits))
        told = self._parent.outgoing().begin(LOADER, NOWHERE, what, body, no_result)
        told.add_done_callback(seen)  # where it did not come, whoever calls next hears of that


async def run_in_sandbox(
    parent: RemoteParent, keeper: FacetKeeper, place: Place, wanted: FacetClass, content: list[bytes]
) -> RemoteFacet:
    """Have a facet of a dynamic class run in the sandbox of its worker.

    Raises:
        TooLarge: its database is larger than one there may be.
        HomingError: its worker cannot be loaded.
    """
    kind = wanted.kind
    assert isinstance(kind, DynamicClass), "a class of this process runs here"
    size = len(content) * limits.page_bytes
    if size > limits.dynamic_facet_bytes_max:
        raise TooLarge(
            f"the facet {place.name!r} has {size} bytes; in a sandbox at most {limits.dynamic_facet_bytes_max}"
        )
    session = keeper.next_session()
    object_id = wanted.id or parent.facet_id()
    worker: WorkerStub = kind.worker
    head = (worker.homing_key(), session, kind.name, kind.props, object_id.raw, object_id.name or "", parent.depth + 1)
    parts = [encode(FacetPart(*head, at, data)) for at, data in pieces_of(b"".join(content), limits.facet_part_bytes)]
    runner = keeper.sessions[session] = RemoteFacet(parent, keeper, place, kind, session)
    try:
        await worker.homing_send("facet", parts)
    except BaseException:
        del keeper.sessions[session]
        raise
    return runner


def _answer(data: Any, _streams: Any) -> Answer:
    return decode_answer(data)
