"""The routes for code that runs in sandboxes: run some, see what runs, end it. Any node will do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from homing.errors import BadRequest, NotFound, SandboxNoValue, Unavailable
from homing.sandboxes import PYTHON, Asked, Ran, decode_outcome, limits_of
from homing.values import from_json, to_json, to_stored
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.limits import RUN_S_MAX
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.link import NodeLink
from homing_placement.routing.listing import every_link

RUN_CODE = "/homing.wire.v1.Calls/RunCode"
RUNS = "/homing.wire.v1.Calls/Runs"


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """What is posted."""

    code: str
    args: msgspec.Raw = msgspec.Raw(b"{}")
    stdin: str = ""
    limits: dict[str, int | float] = {}
    tenant: str = ""
    language: str = PYTHON


class Sandboxes:
    """Asks nodes to run code.

    Args:
        forwarder: for its table and its links.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def run(self, body: bytes) -> bytes:
        """Run code on some node; returns the JSON of what became of it.

        Raises:
            BadRequest: the body is none, or names limits that cannot be.
            TooLarge, Overloaded, Unavailable: as the node says.
        """
        asked = _asked(body)
        link = self._forwarder.any_link()
        if link is None:
            raise Unavailable("no node can be reached")
        request = call_pb2.RunCodeRequest(asked=asked.encode())
        reply = await link.ask(RUN_CODE, request, call_pb2.RunCodeReply, RUN_S_MAX)
        if reply.HasField("failure"):
            raise as_error(reply.failure)
        return _json_of(decode_outcome(reply.outcome))

    async def runs(self) -> dict[str, object]:
        """What runs on every node.

        Raises:
            Unavailable: a node does not answer.
        """
        links = await every_link(self._forwarder)
        replies = await asyncio.gather(
            *(link.ask(RUNS, call_pb2.RunsRequest(), call_pb2.RunsReply) for link in links)
        )  # fmt: skip
        return {"runs": [_row(link, each) for link, reply in zip(links, replies, strict=True) for each in reply.runs]}

    async def end(self, node_id: str, number: int) -> None:
        """End a run.

        Raises:
            NotFound: there is no such node, or none of that number goes on there.
            Unavailable: it cannot be reached.
        """
        if node_id not in self._forwarder.table.nodes:
            raise NotFound(f"there is no node {node_id[:100]}")
        link = self._forwarder.links.get(node_id)
        if link is None:
            raise Unavailable(f"node {node_id} cannot be reached")
        reply = await link.ask(RUNS, call_pb2.RunsRequest(end=number), call_pb2.RunsReply)
        if reply.HasField("failure"):
            raise as_error(reply.failure)


def _asked(body: bytes) -> Asked:
    try:
        given = msgspec.json.decode(body, type=_Body)
        arguments: Any = from_json(bytes(given.args))
        if not isinstance(arguments, dict):
            raise BadRequest("args are names and values")
        stored = to_stored(arguments)
        stdin = given.stdin.encode()
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise BadRequest(f'a run is {{"code": "…"}}, with args, stdin, limits, tenant, language: {error}') from error
    return Asked(given.code, stored, stdin, limits_of(given.limits), given.tenant, language=given.language)


def _json_of(ran: Ran) -> bytes:
    error = ran.error
    try:
        result = to_json(ran.result)
    except (TypeError, ValueError) as broken:  # NaN, a key that is no text: what objects can have and JSON cannot
        result, error = b"null", SandboxNoValue(str(broken))
    told = None if error is None else {
        "code": error.code, "message": error.message, "type": error.error_type, "traceback": error.traceback,
    }  # fmt: skip
    return msgspec.json.encode(
        {
            "result": msgspec.Raw(result), "stdout": ran.stdout, "stderr": ran.stderr, "error": told,
            "duration_ms": round(ran.duration_ms, 3),
        }
    )  # fmt: skip


def _row(link: NodeLink, facts: call_pb2.RunFacts) -> dict[str, object]:
    return {
        "node": link.node.id,
        "run": facts.number,
        "tenant": facts.tenant,
        "pid": facts.pid,
        "age_ms": facts.age_ms,
        "cpu_ms": facts.cpu_ms,
    }
