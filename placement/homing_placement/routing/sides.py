"""Who is told of what comes on links: of calls, and of sockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from homing.wire.v1 import call_pb2
    from homing_placement.routing.link import NodeLink
    from homing_placement.routing.pending import Pending


class LinkOwner(Protocol):
    """Who is told of what happens on a link. Called in the event loop; must not raise or wait."""

    def link_up(self, link: NodeLink) -> None:
        """Calls can be sent."""
        ...

    def answered(self, pending: Pending, reply: call_pb2.Reply) -> None:
        """The whole answer of a call is there; its body is in `pending.answer`."""
        ...

    def never_sent(self, pending: Pending) -> None:
        """The stream broke before the call was written."""
        ...

    def maybe_sent(self, pending: Pending) -> None:
        """The stream broke after the call was written and before its answer."""
        ...

    def on_sockets(self, link: NodeLink, batch: call_pb2.ReplyBatch) -> None:
        """Something of sockets is in a message."""
        ...

    def link_down(self, link: NodeLink) -> None:
        """The stream broke; its calls are handed back, and its sockets are attached to nothing."""
        ...


class SocketSide(Protocol):
    """Who holds the connections of sockets, and is told what concerns them. Called in the event loop."""

    def on_batch(self, link: NodeLink, batch: call_pb2.ReplyBatch) -> None:
        """A node's message has something for sockets."""
        ...

    def link_down(self, link: NodeLink) -> None:
        """A stream broke."""
        ...

    def look(self, slots: Iterable[int] | None = None) -> None:
        """Owners of these slots have changed; None: streams have, of any."""
        ...
