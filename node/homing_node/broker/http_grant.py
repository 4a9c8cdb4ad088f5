"""Requests to the outside, as code in a sandbox asks for them: one ask, one request, one whole answer."""

from __future__ import annotations

import msgspec

from homing.errors import BadRequest, Forbidden
from homing.values import to_stored
from homing_node import limits
from homing_node.broker.exchange import OutboundRequest
from homing_node.broker.open_grant import OpenGrant
from homing_node.broker.policy import OutboundGrant

_Shape = tuple[str, str, list[tuple[str, str]], bytes]  # method, URL, header fields, body


class OpenHttpGrant:
    """A grant of requests to the outside in the hands of a sandbox.

    Args:
        opened: what it stands on.

    Attributes:
        id: of the open grant.
    """

    OPERATIONS = ("fetch",)

    def __init__(self, opened: OpenGrant) -> None:
        self.id = opened.id
        self._opened = opened
        self.use, self.revoke, self.close = opened.use, opened.revoke, opened.close

    async def ask(self, operation: str, arguments: bytes) -> bytes:
        """Send a request.

        Args:
            operation: `fetch`.
            arguments: method, URL, header fields and body, as MessagePack.

        Returns:
            Status, header fields and body (`homing.values`).

        Raises:
            BadRequest: they are no request.
            HomingError: what `OpenGrant.fetch` raises.
        """
        if operation not in self.OPERATIONS:
            raise Forbidden("the grant does not name this operation")
        try:
            method, url, headers, body = msgspec.msgpack.decode(arguments, type=_Shape)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadRequest("these are no method, URL, header fields and body") from error
        async with self._opened.fetch(OutboundRequest(method, url, headers, body)) as answer:
            return to_stored([answer.status, [list(field) for field in answer.headers], await answer.whole()])


def within_answers(grant: OutboundGrant) -> OutboundGrant:
    """A grant whose bodies fit into what a sandbox can be told."""
    most = limits.grant_answer_bytes_max
    given = grant.limits
    lower = msgspec.structs.replace(
        given,
        request_bytes_max=min(given.request_bytes_max, most),
        response_bytes_max=min(given.response_bytes_max, most),
        decoded_bytes_max=min(given.decoded_bytes_max, most),
    )
    return msgspec.structs.replace(grant, limits=lower)
