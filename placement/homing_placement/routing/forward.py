"""Takes calls to the owners of their objects, and decides what becomes of those that fail on the way.

A call is either on a link (queued or written), parked until somebody can take it, waiting for the list of classes, or
finished. All of it runs in one event loop; the only tasks are the links, the ticker, the refreshes and the class list.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable

import grpc
import structlog

from homing.errors import DeadlineExceeded, HomingError, NotFound, OutcomeUnknown, Overloaded, Unavailable
from homing.locations import Layout
from homing.observability import trace
from homing.wire.v1 import call_pb2
from homing_placement.events import TableSeen
from homing_placement.records import NodeRecord
from homing_placement.routing.classes import Classes
from homing_placement.routing.limits import IN_FLIGHT_MAX, OWNER_WAIT_S_MAX, RETRY_AFTER_S_DEFAULT, TICK_S
from homing_placement.routing.link import NodeLink
from homing_placement.routing.listing import Lists
from homing_placement.routing.nobody import gave_up, nobody
from homing_placement.routing.pending import KIND_DEFAULT, Lane, Pending
from homing_placement.routing.policy import Verdict, backoff_s, decide, error_of
from homing_placement.routing.sides import SocketSide
from homing_placement.routing.view import Table

_log = structlog.get_logger("homing.routing")


class Forwarder:
    """All links and all calls of one gateway, or of one node whose objects call others.

    Args:
        table: where slots live.
        credentials: for mutual TLS towards nodes; None: plain.
        in_flight_max: calls at once; above it they are refused as overloaded.
        owner_wait_s_max: how long a call waits while nobody can take it.
        lazy: links are made when they are needed, and nodes are not asked which classes there are: for who knows.
        layout: which slots are whose, to say why nobody has one; None: they are nobody's.

    Example:
        >>> async with asyncio.TaskGroup() as group:
        ...     group.create_task(forwarder.run())
        ...     forwarder.submit(pending)
    """

    def __init__(
        self,
        table: Table,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
        owner_wait_s_max: float = OWNER_WAIT_S_MAX,
        lazy: bool = False,
        layout: Layout | None = None,
    ) -> None:
        self.table = table
        self.links: dict[str, NodeLink] = {}
        self.sockets: SocketSide | None = None  # who holds the connections of sockets, if anybody does
        self.classes = Classes(lambda: [link for link in self.links.values() if link.up], self._classes_known)
        self._credentials = credentials
        self._in_flight_max = in_flight_max
        self._owner_wait_s_max = owner_wait_s_max
        self._lazy = lazy
        self._layout = layout
        self._live: dict[Pending, None] = {}  # Invariant: every call that is submitted and not finished
        self._busy = asyncio.Event()  # Invariant: set when there is one
        self._parked: dict[Pending, None] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refreshing: set[int] = set()
        self._lists = Lists(self)
        self._turn = itertools.count()
        self._group: asyncio.TaskGroup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._retry_soon = False
        table.on_change(self._table_changed)

    @property
    def in_flight(self) -> int:
        """Calls that are not finished."""
        return len(self._live)

    @property
    def ready(self) -> bool:
        """The table is loaded and at least one node's stream stands."""
        return self.table.ready.is_set() and any(link.up for link in self.links.values())

    async def run(self) -> None:
        """Own every task until cancelled; calls that are open then end as unavailable or unknown."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._sync_links()
                group.create_task(self._ticks(), name="ticks")
                if not self._lazy:
                    group.create_task(self.classes.run(), name="classes")
        finally:
            self._group = None
            for pending in list(self._live):
                maybe = pending.written or pending.maybe_started
                self._finish(pending, OutcomeUnknown("what called it stops") if maybe else Unavailable())

    def submit(self, pending: Pending) -> None:
        """Take a call; `pending.on_done` is called once, possibly before this returns."""
        full = len(self._live) >= self._in_flight_max
        self._live[pending] = None
        self._busy.set()
        if full:
            self._finish(pending, Overloaded("too many calls are in flight", retry_after_s=RETRY_AFTER_S_DEFAULT))
            return
        if self._lazy or pending.class_name in self.classes.known:
            self._dispatch(pending)
        else:
            self.classes.ask(pending)

    def cancel(self, pending: Pending) -> None:
        """Nobody waits for this call any more; `on_done` is not called."""
        if not pending.finished:
            pending.finished = True
            self._forget(pending)

    async def refresh(self, slot: int) -> None:
        """Read one slot's record anew; failures are left to the next try."""
        try:
            await self.table.refresh(slot)
        except HomingError as error:
            _log.warning("slot not refreshed", slot=slot, error=error.message)

    def owner(self, slot: int) -> tuple[NodeLink | None, int]:
        """The link to the owner of a slot, if it stands, and the slot's epoch."""
        node, record = self.table.route(slot)
        if node is None or record is None:
            return None, 0
        link = self.links.get(node.id)
        return (link if link is not None and link.up else None), record.epoch

    def unavailable(self, slot: int) -> Unavailable:
        """Why a slot has no owner that can be reached, for whoever asks for one of its objects."""
        bound_by = self._layout.jurisdiction_of(slot) if self._layout is not None else None
        return nobody(bound_by, self.table.nodes.values(), self._may_live)

    def _may_live(self, node_id: str) -> bool:
        link = self.links.get(node_id)
        return link is None or link.up

    def list(self, pending: Pending) -> None:
        """Take a question for a page of a class's objects; `pending.on_done` is called once."""
        if self._group is None:
            pending.error = Unavailable()
            pending.on_done(pending)
        else:
            self._group.create_task(self._lists.answer(pending), name="list")

    def link_to(self, node: NodeRecord) -> NodeLink | None:
        """The link to a node, made if need be; None before `run` and after it."""
        return self.links.get(node.id) or self._open_link(node)

    # What links report

    def link_up(self, link: NodeLink) -> None:
        """A stream stands: what waited for it can go."""
        _log.info("node reached", node=link.node.id, address=link.node.address)
        self.classes.wake()
        self._hurry()
        if self.sockets is not None:
            self.sockets.look()

    def link_down(self, link: NodeLink) -> None:
        """See `LinkOwner`."""
        if self.sockets is not None:
            self.sockets.link_down(link)

    def on_sockets(self, link: NodeLink, batch: call_pb2.ReplyBatch) -> None:
        """See `LinkOwner`."""
        if self.sockets is not None:
            self.sockets.on_batch(link, batch)

    def answered(self, pending: Pending, reply: call_pb2.Reply) -> None:
        """A node answered: finish the call, or send it again."""
        link, pending.link = pending.link, None
        timing = reply.timing
        pending.received_ns = timing.received_ns
        pending.started_ns = timing.started_ns
        pending.ended_ns = timing.ended_ns
        pending.released_ns = timing.released_ns
        if reply.HasField("failure"):
            self._failed(pending, reply.failure)
            return
        if pending.url:
            pending.status = reply.status
            pending.answer_headers = [(header.name, header.value) for header in reply.headers]
            pending.socket = reply.socket if reply.HasField("socket") else None
            pending.answered_by = link
        self._finish(pending, pending.error)

    def never_sent(self, pending: Pending) -> None:
        """The stream broke first: no node saw the call."""
        self._park(pending, pending.last_error)

    def maybe_sent(self, pending: Pending) -> None:
        """The stream broke afterwards: with a key it is sent again, without one nobody knows."""
        lost = OutcomeUnknown("the node was lost while it had the call")
        if pending.key:
            pending.maybe_started = True
            self._park(pending, lost)
        else:
            self._finish(pending, lost)

    def _failed(self, pending: Pending, failure: call_pb2.Failure) -> None:
        said = error_of(failure)
        started = failure.started or any(upload.begun for upload in pending.uploads)  # their pieces are gone
        verdict, error = decide(said, started=started, has_key=bool(pending.key))
        if verdict is Verdict.ANSWER:
            self._finish(pending, error)
            return
        if verdict is Verdict.REFRESH_AND_RETRY:
            self.refresh_soon(pending.slot)
        self._park(pending, error)

    # Where a call goes

    def _dispatch(self, pending: Pending) -> None:
        if pending.kind == KIND_DEFAULT:
            link = self.any_link()
        else:
            node, record = self.table.route(pending.slot)
            link = None if node is None else self.link_to(node)
            if record is not None:
                pending.epoch = record.epoch
        if link is None or not link.up:
            self._park(pending, pending.last_error)
        elif pending.lane is not None and not pending.lane.admits(pending, link):
            self._park(pending, pending.last_error, failed=False)
        elif not link.send(pending):
            busy = Overloaded("too many calls wait for this node", retry_after_s=RETRY_AFTER_S_DEFAULT)
            self._finish(pending, busy)

    def any_link(self) -> NodeLink | None:
        """The link to a node, each in turn, of those that stay if there are any; None: there is none that stands."""
        standing = [link for link in self.links.values() if link.up]
        nodes = self.table.nodes
        staying = [link for link in standing if link.node.id in nodes and nodes[link.node.id].state == "up"]
        standing = staying or standing
        return standing[next(self._turn) % len(standing)] if standing else None

    def _park(self, pending: Pending, why: HomingError | None, *, failed: bool = True) -> None:
        """Put a call off for a moment, longer each time it failed; give up when nobody could take it for too long."""
        now_ns = time.monotonic_ns()
        now_s = now_ns * 1e-9
        pending.lose_sending(now_ns)
        pending.last_error = why
        if not pending.waiting_since_s:
            pending.waiting_since_s = now_s
        elif now_s - pending.waiting_since_s > self._owner_wait_s_max and not pending.maybe_started:
            self._finish(pending, gave_up(self.unavailable(pending.slot), why))
            return
        self._parked[pending] = None
        if failed:
            pending.retry_at_s = now_s + backoff_s(pending.tries)
            pending.tries += 1
        else:
            pending.retry_at_s = 0.0

    def _finish(self, pending: Pending, error: HomingError | None) -> None:
        if pending.finished:
            return
        pending.finished = True
        pending.error = error
        self._forget(pending)
        try:
            pending.on_done(pending)
        except Exception:  # a fault in one request's answer must not take the stream's reader with it
            trace_id = trace.id_of(pending.traceparent)
            _log.exception("answer not delivered", request_id=pending.request_id, trace_id=trace_id)

    def _forget(self, pending: Pending) -> None:
        self._live.pop(pending, None)
        if pending.link is not None:
            pending.link.drop(pending)
        elif self._parked:
            self._parked.pop(pending, None)

    def _classes_known(self, waited: Iterable[Pending]) -> None:
        """The list of classes is fresh; what waited for it goes on or is refused."""
        known = self.classes.known
        for pending in waited:
            if pending.finished:
                continue
            if pending.class_name in known or not known:
                self._dispatch(pending)
            elif pending.class_name:
                self._finish(pending, NotFound(f"there is no class {pending.class_name[:100]}"))
            else:
                self._finish(pending, NotFound("the application has no Default entrypoint"))

    # Time, and changes of the table

    async def _ticks(self) -> None:
        while True:
            if not self._live:  # an idle process need not wake so often
                self._busy.clear()
            await self._busy.wait()
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            for pending in [each for each in self._live if each.deadline_s <= now_s]:
                self._finish(pending, DeadlineExceeded())
            self._retry_parked()

    def _retry_parked(self) -> None:
        """Try those whose time has come; of a lane in their order, up to the first that cannot go."""
        self._retry_soon = False
        now_s = time.monotonic()
        due = sorted((each for each in self._parked if each.retry_at_s <= now_s), key=lambda pending: pending.order)
        standing: set[Lane] = set()
        for pending in due:
            lane = pending.lane
            if lane in standing:
                continue
            del self._parked[pending]
            self._dispatch(pending)
            if lane is not None and pending in self._parked:
                standing.add(lane)

    def _table_changed(self, seen: TableSeen) -> None:
        if self._group is None:
            return
        if seen.nodes:
            self._sync_links()
            self._hurry()
        elif seen.slots:
            self._hurry({fact.slot for fact in seen.slots})
        if self.sockets is not None:
            self.sockets.look(None if seen.nodes else [fact.slot for fact in seen.slots])

    def _hurry(self, slots: set[int] | None = None) -> None:
        """Try parked calls of some slots, or all of them, in the next turn of the loop; many changes make one try."""
        if not self._parked:
            return
        for pending in self._parked:
            if slots is None or pending.slot in slots:
                pending.retry_at_s = 0.0
        if not self._retry_soon and self._loop is not None:
            self._retry_soon = True
            self._loop.call_soon(self._retry_parked)

    def refresh_soon(self, slot: int) -> None:
        """Read one slot's record anew; what waits for its owner is tried again then."""
        if slot not in self._refreshing and self._group is not None:
            self._refreshing.add(slot)
            self._group.create_task(self._refresh_once(slot), name=f"refresh {slot}")

    async def _refresh_once(self, slot: int) -> None:
        try:
            await self.refresh(slot)
        finally:
            self._refreshing.discard(slot)
        self._hurry({slot})
        if self.sockets is not None:
            self.sockets.look((slot,))

    # Links

    def _sync_links(self) -> None:
        """One link for each registered incarnation. A link that stands outlives its record: a lease is only a hint."""
        nodes = self.table.nodes
        for node in nodes.values():
            link = self.links.get(node.id)
            if link is None and self._lazy:
                continue
            if link is None or not _same(link.node, node):
                self._close_link(node.id)
                self._open_link(node)
        for node_id, link in list(self.links.items()):
            if node_id not in nodes and not link.up:
                self._close_link(node_id)

    def _open_link(self, node: NodeRecord) -> NodeLink | None:
        """A new link; None before `run` and after it."""
        if self._group is None:
            return None
        link = self.links[node.id] = NodeLink(node, self, self._credentials)
        self._tasks[node.id] = self._group.create_task(link.run(), name=f"link {node.id}")
        return link

    def _close_link(self, node_id: str) -> None:
        self.links.pop(node_id, None)
        task = self._tasks.pop(node_id, None)
        if task is not None:
            task.cancel()


def _same(one: NodeRecord, other: NodeRecord) -> bool:
    return one.address == other.address and one.incarnation == other.incarnation
