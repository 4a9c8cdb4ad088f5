"""The objects of a class, in pages, from all nodes at once. It wakes none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from homing.errors import HomingError, NotFound, Overloaded, Unavailable
from homing.listing import ListedObject, ObjectList, encode
from homing.wire.v1 import call_pb2
from homing_placement.records import NodeRecord
from homing_placement.routing.limits import CONNECT_S_MAX, LISTS_AT_ONCE_MAX, RETRY_AFTER_S_DEFAULT, TICK_S
from homing_placement.routing.link import NodeLink
from homing_placement.routing.pending import Pending
from homing_placement.routing.policy import error_of
from homing_placement.routing.view import Table


class Links(Protocol):
    """Where links to nodes are."""

    table: Table

    def link_to(self, node: NodeRecord) -> NodeLink | None:
        """The link to a node, made if need be."""
        ...


async def every_link(links: Links) -> list[NodeLink]:
    """The links of all registered nodes.

    Raises:
        Unavailable: one does not stand, so what is asked of all nodes would have holes.
    """
    for _ in range(int(CONNECT_S_MAX / TICK_S)):
        found = [links.link_to(node) for node in links.table.nodes.values()]
        standing = [link for link in found if link is not None and link.up]
        if standing and len(standing) == len(found):
            return standing
        await asyncio.sleep(TICK_S)
    raise Unavailable("a node cannot be reached, so the list would be incomplete", retry_after_s=RETRY_AFTER_S_DEFAULT)


def link_of(links: Links, node_id: str) -> NodeLink:
    """The link of one node.

    Raises:
        NotFound: no such node is registered.
        Unavailable: it cannot be reached.
    """
    node = links.table.nodes.get(node_id)
    if node is None:
        raise NotFound(f"there is no node {node_id[:100]}")
    link = links.link_to(node)
    if link is None:
        raise Unavailable(f"node {node_id} cannot be reached")
    return link


async def list_objects(links: Sequence[NodeLink], class_name: str, after: bytes, limit: int) -> ObjectList:
    """One page, in the order of ids.

    Args:
        links: to every node.
        class_name: of the objects.
        after: an id; the page begins above it.
        limit: at most so many.

    Raises:
        Unavailable: a node does not answer.
    """
    request = call_pb2.InspectRequest(list=call_pb2.ListObjects(class_name=class_name, after=after, limit=limit + 1))
    replies = await asyncio.gather(*(link.inspect(request) for link in links))
    found: dict[bytes, ListedObject] = {}
    for link, reply in zip(links, replies, strict=True):
        if reply.HasField("failure"):
            raise Unavailable(error_of(reply.failure).message)
        for facts in reply.objects:
            found[facts.object] = _listed(facts, link.node.id)
    page = sorted(found)[:limit]
    more = len(found) > limit or any(reply.next for reply in replies)
    return ObjectList([found[each] for each in page], page[-1].hex() if page and more else None)


def _listed(facts: call_pb2.ObjectFacts, owner: str) -> ListedObject:
    return ListedObject(
        facts.object.hex(), facts.name or None, facts.active, facts.database_bytes, facts.alarm_ms or None,
        facts.sockets, facts.used_ms or None, owner,
    )  # fmt: skip


class Lists:
    """Pages that the objects of a node ask for.

    Args:
        links: of the node.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._running = 0

    async def answer(self, pending: Pending) -> None:
        """Make the page that begins above the id that is asked for, with as many objects as the body says."""
        self._running += 1
        try:
            if self._running > LISTS_AT_ONCE_MAX:
                raise Overloaded("too many lists of objects are asked for", retry_after_s=RETRY_AFTER_S_DEFAULT)
            links = await every_link(self._links)
            limit = int.from_bytes(pending.body, "big")
            pending.answer = encode(await list_objects(links, pending.class_name, pending.object_id, limit))
        except HomingError as error:
            pending.error = error
        finally:
            self._running -= 1
        pending.on_done(pending)
