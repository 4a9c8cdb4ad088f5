"""The routes for grants that sandboxes hold: see them, see what was done under them, revoke one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import parse_qs

from homing.errors import BadRequest
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.limits import AUDIT_RECORDS_DEFAULT, AUDIT_RECORDS_MAX
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.link import NodeLink
from homing_placement.routing.listing import every_link, link_of

GRANTS = "/homing.wire.v1.Calls/Grants"
_FACTS = ("id", "name", "kind", "holder", "calls", "sent_bytes", "received_bytes", "left_ms")
_RECORD = (
    "at_ms", "holder", "grant_id", "grant", "kind", "method", "host", "port", "path", "outcome", "rule", "detail",
    "status", "sent_bytes", "received_bytes", "took_ms",
)  # fmt: skip


class Grants:
    """Asks nodes for their grants.

    Args:
        forwarder: for its table and its links.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def live(self) -> dict[str, object]:
        """The grants that are open, on every node.

        Raises:
            Unavailable: a node does not answer.
        """
        replies = await self._every(call_pb2.GrantsRequest())
        return {"grants": [_row(link, each, _FACTS) for link, reply in replies for each in reply.grants]}

    async def audit(self, query: bytes) -> dict[str, object]:
        """What was done under grants lately, on every node, the oldest first.

        Args:
            query: of the request; `limit=` says how many at most, the newest.

        Raises:
            BadRequest: no such limit.
            Unavailable: a node does not answer.
        """
        limit = _limit(query)
        replies = await self._every(call_pb2.GrantsRequest(audit=True))
        records = [(each.at_ms, link, each) for link, reply in replies for each in reply.records]
        records.sort(key=lambda record: record[0])
        return {"records": [_row(link, each, _RECORD) for _, link, each in records[-limit:]]}

    async def revoke(self, node_id: str, grant_id: str) -> None:
        """Revoke one.

        Raises:
            NotFound: there is no such node, or none of that id is open there.
            Unavailable: it cannot be reached.
        """
        link = link_of(self._forwarder, node_id)
        reply = await link.ask(GRANTS, call_pb2.GrantsRequest(revoke=grant_id), call_pb2.GrantsReply)
        if reply.HasField("failure"):
            raise as_error(reply.failure)

    async def _every(self, request: call_pb2.GrantsRequest) -> Iterable[tuple[NodeLink, call_pb2.GrantsReply]]:
        links = await every_link(self._forwarder)
        replies = await asyncio.gather(*(link.ask(GRANTS, request, call_pb2.GrantsReply) for link in links))
        return zip(links, replies, strict=True)


def _limit(query: bytes) -> int:
    try:
        limit = int(parse_qs(query.decode("ascii"), max_num_fields=10).get("limit", [str(AUDIT_RECORDS_DEFAULT)])[0])
    except ValueError as error:
        raise BadRequest("limit must be a number") from error
    if not 1 <= limit <= AUDIT_RECORDS_MAX:
        raise BadRequest(f"limit must be from 1 to {AUDIT_RECORDS_MAX}")
    return limit


def _row(link: NodeLink, facts: call_pb2.GrantFacts | call_pb2.GrantRecord, names: Iterable[str]) -> dict[str, object]:
    return {"node": link.node.id, **{name: getattr(facts, name) for name in names}}
