"""Requests to the outside for code without trust, under grants: the shell around `policy` and what is beside it.

    egress = Egress(audit=records.append)
    opened = egress.open(grant, holder="sandbox 7", fetch_hosts=hosts, secrets=secrets)
    async with opened.fetch(OutboundRequest("GET", "https://api.example.com/items")) as answer:
        async for piece in answer: ...
    opened.revoke()

Each open grant has connections of its own. A name is looked up once for each of them; every address of the answer is
judged, one that is not of the open internet refuses it whole, and the connection goes to the address that was judged.
Redirects are answers like others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from homing_node.broker.audit import AuditRecord
from homing_node.broker.credentials import Credentials
from homing_node.broker.network import Network, System
from homing_node.broker.open_grant import OpenGrant
from homing_node.broker.opened import GrantUse
from homing_node.broker.outcomes import error_of
from homing_node.broker.policy import OutboundGrant, check_within
from homing_node.broker.room import Room
from homing_node.broker.running import Running
from homing_node.broker.urls import Refusal

logging.getLogger("httpcore").setLevel(logging.WARNING)  # below, it logs whole heads


class Egress:
    """The open grants of a node.

    Args:
        audit: told of every request, granted or not, when it is over. It must not raise, and must bound what it keeps.
        network: only a test of the broker gives one.
    """

    def __init__(self, audit: Callable[[AuditRecord], None], network: Network | None = None) -> None:
        self._audit = audit
        self._network = network or System()
        self._open: dict[str, OpenGrant] = {}
        self._room = Room()
        self._running = Running()

    def open(
        self, grant: OutboundGrant, *, holder: str, fetch_hosts: Sequence[str], secrets: Mapping[str, str],
        tenant: str = "", on_end: Callable[[OpenGrant], None] | None = None,
        audit: Callable[[AuditRecord], None] | None = None,
    ) -> OpenGrant:  # fmt: skip
        """Open a grant, until it is revoked or closed, or expires.

        Args:
            grant: what may be asked for.
            holder: who may, for audits.
            fetch_hosts: where the giver may send requests itself: no grant gives more than that.
            secrets: the giver's, by name; only those that the grant names are kept.
            tenant: whose requests they are: each has its share of this node.
            on_end: told when it is over.
            audit: told of its requests in place of whoever is told of all.

        Raises:
            Forbidden: the giver does not have all of that to give, or a secret is not there.
        """
        try:
            check_within(grant, fetch_hosts)
            credentials = Credentials(grant.credentials, secrets)
        except Refusal as refusal:
            raise error_of(refusal) from None
        opened = OpenGrant(
            grant, holder, credentials, network=self._network, room=self._room, tenant=tenant,
            audit=audit or self._audit, on_end=lambda opened: self._ended(opened, on_end), on_rest=self._rests,
        )  # fmt: skip
        self._open[opened.id] = opened
        return opened

    def find(self, grant_id: str) -> OpenGrant | None:
        """An open grant, by its id."""
        return self._open.get(grant_id)

    def uses(self) -> list[GrantUse]:
        """Every open grant."""
        return [opened.use() for opened in self._open.values()]

    async def close(self) -> None:
        """End every grant, and wait until its connections are closed."""
        for opened in list(self._open.values()):
            opened.close()
        await self._running.settle()
        self._network.close()

    def _ended(self, opened: OpenGrant, tell: Callable[[OpenGrant], None] | None) -> None:
        self._open.pop(opened.id, None)
        if tell is not None:
            tell(opened)
        self._running.start(opened.close_connections())

    def _rests(self, opened: OpenGrant) -> None:
        self._running.start(opened.close_connections())
